//! Configurations that read well and make no sense, and what is said about them. Read the snapshots: they are what an
//! operator sees.
//!
//! Not here: what cannot even be read (`wrong_configs.rs`), limits (`wrong_limits.rs`), graphs of
//! parts (`wrong_graphs.rs`), gRPC (`wrong_grpc.rs`).

use std::sync::Arc;

use super::{
    build::{Ground, build},
    load::load,
};
use crate::{
    handler::{Handlers, Nothing},
    observability::metrics::Metrics,
};

const FILE: &str = "config/bff-web.yaml";

/// What every file here begins with. It is right.
pub(super) const RIGHT: &str = r#"listen: [{ address: "127.0.0.1:8087" }]
providers:
  ftgo: { jwt: { issuer: "http://127.0.0.1:8090", audience: ftgo, jwks: "http://127.0.0.1:8090/jwks" } }
upstreams:
  kitchen: { url: "http://kitchen:8083" }
  order: { url: "http://order:8082" }
limits:
  browse: { rate: 5/s, by: address }
"#;

/// What is said when `yaml` is built; nothing when it is right.
pub(super) fn said(yaml: &str) -> String {
    said_of(FILE, yaml)
}

/// The same of a file of this name.
pub(super) fn said_of(file: &str, yaml: &str) -> String {
    crate::auth::install_crypto();
    let mut loaded = load(file, yaml, &|_| None);
    let (handlers, metrics) =
        (Handlers::default().with("own", |_| Ok(Arc::new(Nothing))), Metrics::default());
    let built = build(&mut loaded, &Ground { before: None, handlers: &handlers, metrics: &metrics });
    assert_eq!(
        built.is_some(),
        loaded.mistakes.is_empty(),
        "what is built has no mistakes, and the other way round"
    );
    loaded.render()
}

/// What is said of each must not change unseen.
macro_rules! wrong {
    ($($name:ident: $yaml:expr;)*) => {$(
        #[test]
        fn $name() {
            let said = said(&$yaml);
            assert!(!said.is_empty(), "nothing was found");
            insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
                insta::assert_snapshot!(stringify!($name), said);
            });
        }
    )*};
}
pub(super) use wrong;

/// A file that is right, with one route that is typed as these lines say.
pub(super) fn route(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("    {line}\n")).collect();
    format!("{RIGHT}routes:\n  - {}", lines.trim_start())
}

/// A route to `order` with this rule.
fn ruled(rule: &str) -> String {
    route(&format!(
        "path: /orders/{{orderId}}\nauth: {{ provider: ftgo, allow: \"{rule}\" }}\nforward: {{ to: order }}\n"
    ))
}

/// An open route that composes these parts.
fn composed(parts: &str) -> String {
    route(&format!("path: /orders/{{orderId}}\nauth: none\ncompose:\n{parts}"))
}

/// A file with this upstream and no route.
fn upstream(url: &str) -> String {
    format!("{RIGHT}  \nroutes: []\n").replace("http://kitchen:8083", url)
}

/// A file with an upstream `kitchen` of these keys and no route.
fn kitchen(keys: &str) -> String {
    format!("{RIGHT}routes: []\n").replace("url: \"http://kitchen:8083\"", keys)
}

/// A file whose upstream `kitchen` keeps calls together by this path parameter, and a route to it.
fn hashed(by: &str) -> String {
    let keys = format!("url: \"http://kitchen:8083\", balance: {{ hash: {{ path: {by} }} }}");
    let other = "  - path: /other/{id}\n    auth: none\n    forward: { to: order }\n";
    let one = "routes:\n  - path: /orders/{orderId}/ticket\n    auth: none\n    compose:\n      \
               ticket: { get: \"kitchen/tickets/{orderId}\" }\n";
    kitchen(&keys).replace("routes: []\n", &format!("{one}{other}"))
}

/// A file with a route whose answer has this fallback.
fn fallback(fallback: &str) -> String {
    route(&format!("path: /orders\nauth: none\nforward:\n  to: order\n  fallback: {fallback}\n"))
}

/// A token store of these keys.
fn token_store(keys: &str) -> String {
    format!("token_store: {{ {keys}, jwt: {{ issuer: a, audience: b, jwks: \"http://a/jwks\" }} }}")
}

/// A file with this set `web` under `cors` and a route that names one.
fn cors(keys: &str, named: &str) -> String {
    let sets = format!("cors:\n  web: {{ {keys} }}\n");
    let route = route(&format!("path: /orders\nauth: none\ncors: {named}\nforward: {{ to: order }}\n"));
    route.replace("routes:\n", &format!("{sets}routes:\n"))
}

/// A file with this set `pages` under `security_headers` and a route that names one.
fn security_headers(keys: &str, named: &str) -> String {
    let sets = format!("security_headers:\n  pages: {{ {keys} }}\n");
    let route =
        route(&format!("path: /orders\nauth: none\nsecurity_headers: {named}\nforward: {{ to: order }}\n"));
    route.replace("routes:\n", &format!("{sets}routes:\n"))
}

/// A file with this Redis and no route.
pub(super) fn redis(keys: &str) -> String {
    format!("{RIGHT}redis: {{ {keys} }}\nroutes: []\n")
}

/// A file whose provider `ftgo` is this, and no route.
fn provider(kind: &str) -> String {
    let jwt =
        "jwt: { issuer: \"http://127.0.0.1:8090\", audience: ftgo, jwks: \"http://127.0.0.1:8090/jwks\" }";
    assert!(RIGHT.contains(jwt));
    format!("{RIGHT}routes: []\n").replace(jwt, kind)
}

wrong! {
    versions_that_end_before_they_are_old: route(
        "path: /a/{id}\nauth: none\nforward: { to: order }\nversions:\n  v1: { path: \"/v1/a/{id}\", deprecated: { since: 2026-11-02, sunset: 2026-11-01, link: none, successor: \"/a/{x}\" } }\n  v2: { path: \"/v1/a/{id}\", deprecated: { since: tomorrow, after_sunset: gone } }\n");
    versions_of_other_parameters_and_shapes: route(
        "path: /a/{id}\nauth: none\ncompose: { a: { get: \"order/{id}\" } }\nversions:\n  v1: { path: \"/v1/a/{x}\" }\n  v2: { path: \"/v2/a/{id}\", respond: { body: { b: b.c } } }\n  v3: { path: v3 }\n");
    a_version_of_a_websocket_in_another_shape: route(
        "path: /a\nauth: none\nforward: { to: order, websocket: {} }\nversions: { v1: { path: /v1/a, respond: { body: answer.b } } }\n");
    a_version_of_nothing: route("path: /a\nauth: none\nforward: { to: order }\nversions: { v1: { deprecated: { sunset: 2027-01-01, after_sunset: never } } }\n");
    a_shaped_version_of_a_forwarded_write: route(
        "path: /a\nmethods: [POST]\nauth: none\nforward: { to: order }\nversions: { v1: { path: /v1/a, respond: { body: answer.x } } }\n");
    cors_for_everybody_with_credentials: cors("origins: [\"*\"], credentials: true", "web");
    cors_for_pages_without_an_origin_with_credentials: cors("origins: [\"null\"], credentials: true", "web");
    cors_for_everybody_and_others: cors("origins: [\"*\", https://app.ftgo.example]", "web");
    cors_for_nobody: cors("origins: []", "web");
    cors_for_an_origin_with_a_path: cors("origins: [https://app.ftgo.example/]", "web");
    cors_for_an_origin_with_a_star_in_it: cors("origins: [\"https://app.*.example\"]", "web");
    cors_for_all_of_a_domain_of_all: cors("origins: [\"https://*.example\"]", "web");
    cors_with_an_unknown_method: cors("origins: [https://app.ftgo.example], methods: [POTS]", "web");
    cors_with_a_star_for_fields: cors("origins: [https://app.ftgo.example], headers: [\"*\"]", "web");
    a_route_with_an_unknown_set_of_cors: cors("origins: [https://app.ftgo.example]", "wed");
    an_unknown_set_of_cors_by_default:
        cors("origins: [https://app.ftgo.example]", "web").replace("routes:\n", "default_cors: wed\nroutes:\n");
    csrf_for_what_changes_nothing:
        route("path: /orders\nauth: none\ncsrf: true\nforward: { to: order }\n");
    a_route_with_unknown_security_headers: security_headers("nosniff: true", "page");
    strict_transport_that_is_never_said:
        security_headers("strict_transport_security: { max_age: 1h }", "pages");
    a_field_that_cannot_be_removed: security_headers("remove: [Content-Type]", "pages");
    a_policy_of_two_lines: security_headers("content_security_policy: \"a\\nb\"", "pages");
    a_set_of_cors_that_is_called_none:
        cors("origins: [https://app.ftgo.example]", "none").replace("  web:", "  none:");
    a_secret_that_is_too_short: provider("jwt: { issuer: a, audience: b, secret: { value: \"${A:-short}\", algorithm: HS512 } }");
    a_secret_from_nowhere: provider("jwt: { issuer: a, audience: b, secret: { algorithm: HS256 } }");
    a_secret_in_a_file_that_is_not_there:
        provider("jwt: { issuer: a, audience: b, secret: { file: missing.key } }");
    a_secret_beside_published_keys:
        provider("jwt: { issuer: a, audience: b, jwks: \"http://a/jwks\", secret: { file: missing.key } }");
    a_provider_by_nothing: provider("");
    certificates_that_nobody_asks_for: provider("certificate: { callers: [{ name: \"dns:a.example\", id: a }] }");
    fields_that_services_cannot_be_told: format!("{RIGHT}identity:\n  headers:\n    X_Tenant: claims.tenant\n    \
        Host: claims.host\n    X-User-Id: claims.sub\n    X-Level: tenant\n    x-a: claims.a\n    X-A: claims.b\nroutes: []\n");
    references_from_nowhere: provider("introspect: { url: id.example, client_id: a, client_secret: \"${A:-b}\" }");
    references_asked_about_by_nobody: provider("introspect: { url: \"http://a/i\", client_id: \"\", client_secret: \"${A:-b}\" }");
    a_token_store_that_is_none: provider(&token_store("url: \"http://sessions\""));
    a_token_store_of_a_wrong_prefix: provider(&token_store("url: \"redis://sessions\", prefix: \"{a}\""));
    tokens_that_die_before_they_are_asked_about:
        provider(&token_store("url: \"redis://sessions\", idle: 3s"));
    tokens_that_are_idle_for_longer_than_they_live:
        provider(&token_store("url: \"redis://sessions\", max_life: 10m"));
    a_token_store_that_is_too_late: provider(&token_store("url: \"redis://sessions\", timeout: 6s"));
    a_token_store_without_keys: provider("token_store: { url: \"redis://a\", jwt: { issuer: a, audience: b } }");
    a_token_store_without_value_tokens: provider("token_store: { url: \"redis://a\", ttl: 5s }");
    references_that_are_too_old_when_they_come:
        provider("introspect: { url: \"http://a/i\", client_id: a, client_secret: \"${A:-b}\", max_age: 1s, timeout: 2s }");
    certificates_of_nobody: provider("certificate: { callers: [] }");
    certificates_of_wrong_names: provider(
        "certificate: { callers: [{ name: a.example, id: a }, { name: \"cn:\", id: b, plan: gold }] }");
    clients_by_an_authority_that_is_not_there: RIGHT.replace(
        "\"127.0.0.1:8087\"",
        "\"127.0.0.1:8087\", tls: { cert: missing.pem, key: missing.key, clients: { ca: ca.pem } }")
        + "routes: []\n";
    a_provider_by_two_things:
        provider("jwt: { issuer: a, audience: b, jwks: \"http://a/jwks\" }, keys: { list: [] }");
    keys_from_nowhere: provider("keys: {}");
    keys_from_a_missing_file: provider("keys: { file: missing.yaml }");
    keys_that_are_no_hashes: provider(
        "keys: { list: [{ sha256: secret, id: a }, { sha256: \"00\", id: b, plan: gold, scopes: [\"a b\"] }] }");
    a_key_for_a_caller_that_cannot_be_named:
        provider(&format!("keys: {{ list: [{{ sha256: \"{}\", id: \" \" }}] }}", "0".repeat(64)));
    keys_in_a_field_of_another_meaning: provider("keys: { header: Cookie, list: [] }");
    keys_without_a_scheme: provider("keys: { header: Authorization, list: [] }");
    keys_with_a_scheme_of_their_own: provider("keys: { scheme: ApiKey, list: [] }");
    a_plan_of_nothing: format!(
        "{RIGHT}plans:\n  free: {{ limits: [browse, dayly], routes: [\"/order\"] }}\n{}",
        "routes:\n  - path: /orders\n    auth: none\n    forward: { to: order }\n");
    a_plan_of_too_many_limits: format!(
        "{RIGHT}plans:\n  free: {{ limits: [{}] }}\nroutes: []\n", "mine, ".repeat(17))
        .replace("  browse:", "  mine: { rate: 5/s, by: principal }\n  browse:");
    a_rule_of_two_minds:
        route("path: /orders\nauth: { provider: ftgo, providers: [ftgo, ftgoo, ftgo] }\nforward: { to: order }\n");
    a_rule_of_nobody: route("path: /orders\nauth: { scopes: [a] }\nforward: { to: order }\n");
    tokens_without_any_keys: provider("jwt: { issuer: a, audience: b }");
    an_upstream_in_two_places: kitchen("url: \"http://kitchen:8083\", dns: { name: kitchen, port: 8083 }");
    a_list_for_a_url: kitchen("url: [\"http://kitchen:8083\"]");
    an_upstream_nowhere: kitchen("max_idle: 5");
    an_upstream_by_service_and_name: kitchen("dns: { name: kitchen, srv: _http._tcp.kitchen }");
    an_upstream_of_wrong_endpoints: kitchen(
        "endpoints: [\"http://10.0.0.1:80/v1\", { url: \"http://10.0.0.2:80\", weight: 0 }, \"http://10.0.0.3:80\"]");
    endpoints_with_tls: kitchen("endpoints: [\"https://10.0.0.1:443\"]");
    tls_for_a_plaintext_url: kitchen("url: \"http://kitchen:8083\", tls: { server_name: kitchen }");
    a_service_of_several_wrong_certificates: kitchen(
        "url: \"https://kitchen:8083\", tls: { ca: missing-ca.pem, cert: missing.pem, key: missing-key.pem }");
    a_client_certificate_without_its_key: kitchen(
        "url: \"https://kitchen:8083\", tls: { ca: Cargo.toml, cert: missing.pem }");
    a_server_name_that_is_none: kitchen(
        "url: \"https://10.0.0.1:8083\", tls: { ca: missing-ca.pem, server_name: \"kitchen:8083\" }");
    a_service_record_with_tls: kitchen("dns: { srv: _https._tcp.kitchen }, tls: { ca: missing-ca.pem }");
    no_stream_at_all: kitchen("url: \"http://kitchen:8083\", protocol: http2, max_streams: 0");
    a_breaker_out_of_bounds:
        kitchen("url: \"http://kitchen:8083\", circuit_breaker: { statuses: [503, 404], failure_rate: 101 }");
    a_retry_out_of_bounds: kitchen(
        "url: \"http://kitchen:8083\", retry: { attempts: 0, statuses: [404], budget: { percent: 150 } }");
    a_hedge_for_every_call: kitchen("url: \"http://kitchen:8083\", hedge: { at_most: 80 }");
    a_hedge_at_once: kitchen("url: \"http://kitchen:8083\", hedge: { after: 0ms }");
    no_call_at_all: kitchen("url: \"http://kitchen:8083\", in_flight: { limit: 0, adaptive: { min: 9, max: 5 } }");
    percentages_of_more_than_all:
        kitchen("url: \"http://kitchen:8083\", panic_threshold: 120, ejection: { max_percent: 101 }");
    a_health_check_without_a_path: kitchen("url: \"http://kitchen:8083\", health: { path: healthz, interval: 5ms }");
    a_health_check_that_never_ends_or_decides: kitchen(
        "url: \"http://kitchen:8083\", health: { path: /healthz, interval: 1s, timeout: 2s, healthy_after: 0, \
         unhealthy_after: 0, jitter_percent: 101, statuses: [] }");
    an_ejection_for_no_time:
        kitchen("url: \"http://kitchen:8083\", ejection: { interval: 0s, base_time: 1m, max_time: 30s }");
    times_and_sizes_of_nothing: format!("{}server: {{ header_timeout: 0s, body_timeout: 0s, max_header_size: 1B, max_uri: 9B, max_connections: 0, max_connections_per_address: 0, max_in_flight: 0 }}\n{}",
        kitchen("url: \"http://kitchen:8083\", connect_timeout: 0s, attempt_timeout: 0ms, max_header_size: 9B, max_response: 0B")
            .replace("routes: []\n", ""),
        "routes:\n  - path: /a\n    auth: none\n    timeout: 0s\n    compose:\n      \
           a: { get: order/a, timeout: 0ms, max_size: 0B }\n");
    keys_that_are_fetched_all_the_time: format!("{RIGHT}routes: []\n").replace("/jwks\"", "/jwks\", refresh: 0s");
    a_hash_by_a_path_parameter_that_no_route_has: hashed("oderId");
    a_hash_by_a_path_parameter_of_other_routes: hashed("id");
    a_deadline_in_fields_that_mean_something_else:
        format!("{RIGHT}deadline: {{ read: Content-Length, send: \"x budget\" }}\nroutes: []\n");
    a_deadline_in_a_field_that_servers_read_differently: format!("{RIGHT}deadline: {{ read: X_Budget }}\nroutes: []\n");
    a_fallback_of_a_required_part: composed("  a: { get: order/a, fallback: { value: [] } }\n");
    a_fallback_of_nothing: composed("  a: { get: order/a, optional: true, fallback: { value: ~ } }\n");
    a_fallback_of_what_decides: route(
        "path: /tickets/{id}\nauth: { provider: ftgo, allow: claims.sub == ticket.owner }\n\
         ask:\n  ticket: { get: \"kitchen/tickets/{id}\", optional: true, fallback: { value: {} } }\nforward: { to: kitchen }\n");
    a_fallback_that_is_two_answers:
        fallback("{ value: [], problem: { code: closed, detail: Closed. } }");
    a_fallback_that_is_no_answer: fallback("{ status: 503 }");
    a_fallback_of_wrong_statuses: fallback("{ value: [], status: 204, statuses: [503, 404] }");
    a_fallback_that_is_no_problem: fallback("{ problem: { code: \"Menu Closed\", detail: Closed. }, status: 200 }");
    a_fallback_of_writes: fallback("{ value: {} }").replace("auth: none", "auth: none\n    methods: [POST]");
    a_hash_of_no_header: kitchen("url: \"http://kitchen:8083\", balance: { hash: { header: \"X Cart\" } }");
    an_unknown_upstream: route("path: /tickets\nauth: none\nforward: { to: kitchn }\n");
    an_unknown_upstream_of_a_part: composed("  ticketInfo: { get: \"kitchn/tickets/{orderId}\" }\n");
    an_unknown_upstream_of_an_ask: route(
        "path: /tickets/{id}\nauth: { provider: ftgo, allow: claims.sub == ticket.owner }\n\
         ask:\n  ticket: { get: \"kichen/tickets/{id}\" }\nforward: { to: kitchen }\n");
    an_unknown_provider: route("path: /orders\nauth: { provider: fgto }\nforward: { to: order }\n");
    an_unknown_limit: route("path: /orders\nauth: none\nlimits: [brows]\nforward: { to: order }\n");
    an_unknown_default_limit: format!("{RIGHT}default_limits: [browze]\nroutes: []\n");
    an_unknown_handler: route("path: /graphql\nauth: none\nhandle: graphql\n");
    an_unknown_method: route("path: /orders\nmethods: [GET, PSOT]\nauth: none\nforward: { to: order }\n");
    a_method_in_small_letters: route("path: /orders\nmethods: [get]\nauth: none\nforward: { to: order }\n");
    no_method_at_all: route("path: /orders\nmethods: []\nauth: none\nforward: { to: order }\n");
    an_unknown_parameter_in_a_part: composed("  orderInfo: { get: \"order/orders/{oderId}\" }\n");
    an_unknown_parameter_in_a_forward:
        route("path: /v1/orders/{orderId}\nauth: none\nforward:\n  to: order\n  path: \"/orders/{id}\"\n");
    an_unknown_parameter_in_a_rule: ruled("claims.sub == path.consumerId");
    an_unknown_part_in_a_rule: ruled("claims.sub == order.consumerId");
    a_rule_over_an_optional_part: route(
        "path: /orders/{id}\nauth: { provider: ftgo, allow: claims.sub == bill.consumerId }\ncompose:\n  \
         order: { get: \"order/orders/{id}\" }\n  bill: { get: \"order/bills/{id}\", optional: true }\n");
    a_rule_over_two_parts: route(
        "path: /orders/{id}\nauth: { provider: ftgo, allow: claims.sub == order.consumerId or claims.sub == bill.owner }\n\
         compose:\n  order: { get: \"order/orders/{id}\" }\n  bill: { get: \"order/bills/{id}\" }\n");
    a_rule_over_the_body_of_a_composition: route(
        "path: /orders/{id}\nauth: { provider: ftgo, allow: claims.sub == body.consumerId }\ncompose:\n  \
         order: { get: \"order/orders/{id}\" }\n");
    a_rule_that_breaks_off: ruled("claims.sub ==");
    a_rule_with_a_wrong_operator: ruled("claims.sub = path.orderId");
    a_rule_with_an_unknown_word: ruled("claim.sub == path.orderId");
    a_rule_with_an_open_bracket: ruled("('support' in claims.roles");
    an_ask_of_two_parts: route(
        "path: /tickets/{id}\nauth: { provider: ftgo, allow: claims.sub == a.owner }\nask:\n  \
         a: { get: \"kitchen/a/{id}\" }\n  b: { get: \"kitchen/b/{id}\" }\nforward: { to: kitchen }\n");
    an_ask_that_no_rule_speaks_of: route(
        "path: /tickets/{id}\nauth: { provider: ftgo, allow: claims.sub == path.id }\nask:\n  \
         ticket: { get: \"kitchen/tickets/{id}\" }\nforward: { to: kitchen }\n");
    an_ask_of_an_open_route: route(
        "path: /tickets/{id}\nauth: none\nask:\n  ticket: { get: \"kitchen/tickets/{id}\" }\nforward: { to: kitchen }\n");
    a_token_that_nobody_looks_at: route("path: /orders\nauth: none\nforward: { to: order, token: true }\n");
    a_route_that_does_nothing: route("path: /orders\nauth: none\n");
    a_route_that_does_two_things:
        route("path: /orders\nauth: none\nforward: { to: order }\nhandle: graphql\n");
    a_composition_of_nothing: composed("  {}\n");
    a_part_without_a_path: composed("  orderInfo: { get: order }\n");
    a_part_whose_name_cannot_be_told: composed("  \"order info\": { get: \"order/orders/{orderId}\" }\n");
    a_duplicate_route: format!("{}{}",
        route("path: /orders/{orderId}\nauth: none\nforward: { to: order }\n"),
        "  - path: /orders/{orderId}\n    methods: [POST, GET]\n    auth: none\n    forward: { to: kitchen }\n");
    a_path_that_cannot_be_told_from_another: format!("{}{}",
        route("path: /files/{*rest}\nauth: none\nforward: { to: order }\n"),
        "  - path: /files/{id}\n    auth: none\n    forward: { to: order }\n  \
           - path: /files/{*all}\n    auth: none\n    forward: { to: order }\n");
    a_path_without_its_slash: route("path: orders\nauth: none\nforward: { to: order }\n");
    a_path_with_an_open_brace: route("path: \"/orders/{orderId\"\nauth: none\nforward: { to: order }\n");
    a_path_that_goes_up: route("path: /orders/../secret\nauth: none\nforward: { to: order }\n");
    a_template_with_an_open_brace: composed("  orderInfo: { get: \"order/orders/{orderId\" }\n");
    a_url_without_a_scheme: upstream("kitchen:8083");
    a_url_with_a_path: upstream("http://kitchen:8083/v1");
    a_url_that_is_none: upstream("http://kitchen:99999");
    scopes_of_an_optional_caller:
        route("path: /orders\nauth: { provider: ftgo, optional: true, scopes: [a] }\nforward: { to: order }\n");
    a_scope_that_is_two: route("path: /orders\nauth: { provider: ftgo, scopes: [\"a b\\\"\"] }\nforward: { to: order }\n");
    proxies_that_announce_and_are_not_trusted: format!("{RIGHT}routes: []\n").replace(":8087\"", ":8087\", proxy_protocol: true");
    an_address_that_is_listened_on_twice: [
        "listen: [{ address: 127.0.0.1:0 }, { address: 127.0.0.1:0 }, { address: 127.0.0.1:80 }, { address: 127.0.0.1:80 }]",
        "admin: { address: 0.0.0.0:80 }", "routes: []", ""].join("\n");
    a_host_of_operators_that_is_none: format!("{RIGHT}admin: {{ address: 127.0.0.1:90, hosts: [gateway.internal, \"http://gateway:90\"] }}\nroutes: []\n");
    more_workers_than_there_can_be: format!("{RIGHT}server: {{ workers: 100 }}\nroutes: []\n");
    the_only_address_is_wrong: ["listen: [{ address: nowhere }]", "routes: []", ""].join("\n");
    an_upstream_beside_one_that_cannot_be_read: ["listen: [{ address: 127.0.0.1:80 }]", "upstreams: { order: { url: [] } }",
        "routes: [{ path: /a, auth: none, forward: { to: kitchen } }]", ""].join("\n");
    a_parameter_with_its_star: route("path: /files/{*rest}\nauth: none\nforward: { to: order, path: \"/{*rest}\" }\n");
    secrets_that_stand_in_the_file: format!("{}redis: {{ url: \"redis://me:hunter2@cache\", timeuot: 1s }}\n",
        provider("introspect: { url: \"http://a/i\", client_id: a, client_secret: hunter22 }"));
    a_short_secret_that_stands_in_the_file: provider("jwt: { issuer: a, audience: b, secret: { value: hunter2, algorithm: HS512 } }");
    a_cache_of_what_is_composed: route("path: /orders\nauth: none\ncache: {}\ncompose:\n  a: { get: order/a }\n");
    a_cache_of_writes: route("path: /orders\nmethods: [POST]\nauth: none\ncache: {}\nforward: { to: order }\n");
    a_cache_for_everyone_where_nobody_is_known:
        route("path: /orders\nauth: none\ncache: { by: everyone, ttl: 500ms }\nforward: { to: order }\n");
    a_tag_of_what_is_not_there: route("path: /orders/{orderId}\nauth: none\ncache: { tags: [\"order:{id}\", \"u:{claims.sub}\", \"{\"] }\nforward: { to: order }\n");
    a_stale_part_that_is_never_kept: composed("  a: { get: order/a, optional: true, fallback: stale }\n");
    a_stale_part_that_is_required: composed("  a: { get: order/a, fallback: stale, cache: { ttl: 5s, client_directives: true } }\n");
    a_rule_over_what_is_no_longer_good: route("path: /orders\nauth: { provider: ftgo, allow: \"claims.sub == a.b\" }\ncompose:\n  \
           a: { get: order/a, cache: { ttl: 5s, stale_if_error: 5m, stale_while_revalidate: 1s } }\n");
    invalidation_by_reads: format!("{}{}",
        route("path: /orders\nauth: none\ninvalidates: [orders]\nforward: { to: order }\n"),
        "  - path: /orders\n    methods: [POST]\n    auth: none\n    invalidates: [orders]\n    forward: { to: order }\n  \
           - path: /a\n    auth: none\n    invalidates: [\"{order.id}\"]\n    compose: { a: { get: order/a } }\n");
    one_answer_larger_than_all: format!("{RIGHT}cache: {{ max_size: 1MiB }}\nroutes: []\n");
    a_loader_that_can_ask_for_nothing: format!("{RIGHT}routes: []\n{}", concat!(
        "loaders:\n  a: { get: order/orders, key: id }\n  b: { get: \"orde/orders?ids={keys}\", key: id }\n",
        "  c: { get: order, key: id }\n  d: { get: \"order/orders?ids={keys}&of={id}\", key: id }\n",
        "  e: { get: \"order/../orders?ids={keys}\", key: a..b }\n  f: { get: \"order/orders#{keys}\", key: \"a[0]\" }\n"));
    a_loader_with_times_and_sizes_for_nothing: format!("{RIGHT}routes: []\n{}", concat!(
        "loaders:\n  a:\n    get: order/orders?ids={keys}\n    key: id\n    max_keys: 0\n    timeout: 0s\n    max_size: 0B\n",
        "    cache: { ttl: 500ms, stale_while_revalidate: 0s, stale_if_error: 1ms, tags: [orders, \"{key}-{id}\"] }\n"));
    a_shared_cache_without_a_redis: format!("{RIGHT}cache: {{ shared: {{}} }}\nroutes: []\n");
    a_shared_cache_out_of_bounds:
        redis("url: \"redis://cache:6379\"").replace("routes:", "cache: { shared: { timeout: 1ms, max_age: 721h } }\nroutes:");
    a_shared_cache_that_is_only_wanted: format!("{RIGHT}cache: {{ shared: true }}\nroutes: []\n");
    a_watch_that_watches_nothing: route("path: /orders\nauth: none\nmethods: [GET, POST]\nwatch: { parts: {}, by: everyone }\n");
    a_watch_out_of_bounds: route("path: /orders\nauth: none\nwatch:\n  parts: { a: { get: order/a } }\n  every: 10ms\n  \
        heartbeat: 1ms\n  stale_after: 25h\n  linger: 11m\n  max_age: 0s\n  keep: 0\n  max_clients: 0\n  max_per_client: 0\n  \
        max_keys: 0\n");
    a_watch_of_what_is_not_so: route("path: /orders\nauth: none\nwatch:\n  parts:\n    \
        a: { get: order/a, optional: true, cache: { ttl: 5s }, fallback: { value: [] } }\n");
    a_websocket_out_of_bounds: route("path: /orders\nauth: none\nforward:\n  to: order\n  websocket:\n    idle_timeout: 0s\n    \
        max_age: 25h\n    max_clients: 0\n    max_per_client: 0\n");
    a_websocket_beside_what_means_nothing_for_it: route("path: /orders\nauth: none\nmethods: [GET, POST]\ncache: { ttl: 5s }\nforward:\n  \
        to: order\n  websocket: {}\n  fallback: { value: [] }\n");
    a_websocket_to_a_service_of_http2: RIGHT.replace("kitchen:8083\"", "kitchen:8083\", protocol: http2")
        + "routes: [{ path: /chat, auth: none, forward: { to: kitchen, websocket: {} } }]\n";
    a_watch_until_what_nobody_knows: route("path: /orders\nauth: none\nwatch:\n  parts: { order: { get: order/a } }\n  \
        until: claims.sub == ordr.state\n");
    a_watch_until_nonsense: route("path: /orders\nauth: none\nwatch: { parts: { a: { get: order/a } }, until: a.state = 5 }\n");
    a_watch_with_a_rule_over_an_optional_part: route("path: /orders\nauth: { provider: ftgo, allow: claims.sub == order.consumerId }\n\
        watch: { parts: { order: { get: order/a, optional: true } } }\n");
    a_watch_that_composes_as_well: route("path: /orders\nauth: none\nwatch: { parts: { a: { get: order/a } } }\n\
        compose: { a: { get: order/a } }\n");
    nowhere_to_listen: ["listen: []", "routes: []", ""].join("\n");
    several_wrong_meanings_at_once: format!("{}{}",
        route("path: /orders/{orderId}\nmethods: [FETCH]\nauth: { provider: nobody }\nlimits: [none]\ncompose:\n  \
               a: { get: \"ordr/orders/{x}\" }\n"),
        "  - path: /tickets\n    auth: none\n");
}

#[test]
fn what_every_file_here_begins_with_is_right() {
    assert_eq!(said(&format!("{RIGHT}routes: []\n")), "");
}

#[test]
fn what_is_said_of_deadlines_fallbacks_and_keys_may_be_right() {
    assert_eq!(said(&hashed("orderId")), "");
    assert_eq!(
        said(&format!("{RIGHT}deadline: {{ read: grpc-timeout, send: grpc-timeout }}\nroutes: []\n")),
        ""
    );
    for right in [
        "{ value: [] }",
        "{ value: { open: false }, status: 503, statuses: [500, 503], methods: all }",
        "{ problem: { code: menu_closed, detail: The menu cannot be read. } }",
    ] {
        assert_eq!(said(&fallback(right)), "", "{right}");
    }
    assert_eq!(said(&composed("  a: { get: order/a, optional: true, fallback: { value: { a: ~ } } }\n")), "");
}

#[test]
fn what_is_said_of_caches_may_be_right() {
    for right in ["{}", "{ ttl: 30s, heuristic: true }", "{ stale_if_error: 5m, stale_while_revalidate: 1s }"]
    {
        let route = route(&format!("path: /orders\nauth: none\ncache: {right}\nforward: {{ to: order }}\n"));
        assert_eq!(said(&format!("{route}cache: {{ max_size: 1GiB, max_object: 64MiB }}\n")), "", "{right}");
    }
    let part = "  a: { get: order/a, optional: true, fallback: stale, cache: { ttl: 5s, tags: [\"order:{orderId}\"] } }\n";
    assert_eq!(said(&composed(part)), "");
    let write = "  - path: /orders/{orderId}\n    methods: [POST]\n    auth: none\n    ask: { o: { get: \"order/{orderId}\" } }\n    \
         invalidates: [\"order:{orderId}\", \"history:{o.consumerId}\"]\n    forward: { to: order }\n";
    assert_eq!(said(&format!("{}{write}", composed(part))), "");
    for right in ["{}", "{ timeout: 1s, max_object: 64KiB, max_age: 720h }"] {
        let redis = redis("url: \"redis://cache:6379\"");
        assert_eq!(said(&format!("{redis}cache: {{ shared: {right} }}\n")), "", "{right}");
    }
    let by = "path: /orders\nauth: { provider: ftgo }\ncache: { by: everyone }\nforward: { to: order }\n";
    assert_eq!(said(&route(by)), "");
}

#[test]
fn what_is_said_of_loaders_may_be_right() {
    for right in [
        "{ get: order/orders?ids={keys}, key: id }",
        "{ get: \"order/orders/{keys}\", key: info.id, max_keys: 1, timeout: 1s, max_size: 1KiB, cache: {} }",
        "{ get: order/orders?ids={keys}, key: id, cache: { ttl: 1s, stale_if_error: 1h, tags: [\"order:{key}\"] } }",
    ] {
        assert_eq!(said(&format!("{RIGHT}routes: []\nloaders:\n  orders: {right}\n")), "", "{right}");
    }
}

#[test]
fn routes_may_call_one_segment_by_their_own_names() {
    let other = "  - path: /orders/{id}\n    methods: [POST]\n    auth: none\n    forward: { to: order }\n";
    let one = route("path: /orders/{orderId}\nauth: none\nforward: { to: order }\n");
    assert_eq!(said(&format!("{one}{other}")), "");
}
