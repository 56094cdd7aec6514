//! Wrong configurations and what is said about them. Read the snapshots: they are what an operator sees.
//!
//! Not here: mistakes that only building finds, such as unknown upstreams.

use proptest::prelude::*;

use super::load::{Loaded, load};
use crate::mistake::{Mistake, Mistakes};

const FILE: &str = "config/bff-web.yaml";

const LISTEN: &str = "listen: [{ address: \"127.0.0.1:8087\" }]\n";

fn loaded(yaml: &str) -> Loaded {
    let env = |name: &str| match name {
        "TOKEN" => Some("hunter2-secret".to_owned()),
        "PORT" => Some("8087".to_owned()),
        "WORKERS" => Some("4".to_owned()),
        _ => None,
    };
    load(FILE, yaml, &env)
}

/// A file that begins with `listen:` and goes on with `rest`.
fn after_listen(rest: &str) -> String {
    format!("{LISTEN}{rest}")
}

fn snapshot(name: &str, said: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, said);
    });
}

macro_rules! wrong {
    ($($name:ident: $yaml:expr;)*) => {$(
        #[test]
        fn $name() {
            snapshot(stringify!($name), &loaded($yaml).render());
        }
    )*};
}

macro_rules! wrong_after_listen {
    ($($name:ident: $rest:expr;)*) => { wrong! { $($name: &after_listen($rest);)* } };
}

wrong! {
    an_empty_file: "# nothing but a comment\n";
    a_missing_listen: "routes: []\n";
    text_for_the_whole_file: "listen";
    a_list_for_the_whole_file: "- listen\n";
    a_proxy_that_is_no_network: "listen: [{ address: \"127.0.0.1:8087\", trusted_proxies: [10.0.0.7/8] }]\nroutes: []\n";
    a_proxy_that_is_everybody: "listen: [{ address: \"127.0.0.1:8087\", trusted_proxies: [\"::/0\"] }]\nroutes: []\n";
    an_unknown_version_of_tls: "listen: [{ address: \"127.0.0.1:8087\", tls: { cert: a, key: b, min_version: 1.1 } }]\nroutes: []\n";
    a_certificate_by_name_without_its_key: "listen: [{ address: \"127.0.0.1:8087\", tls: { cert: a, key: b, sni: [{ cert: c }] } }]\nroutes: []\n";
    a_proxy_without_a_list: "listen: [{ address: \"127.0.0.1:8087\", trusted_proxies: 10.0.0.0/8 }]\nroutes: []\n";
    lines_that_end_as_on_windows: "listen: []\r\nroutes: []\r\nserver: []\r\n";
}

wrong_after_listen! {
    an_unknown_key_at_the_top: "route: []\nroutes: []\n";
    an_unknown_key_in_a_route: "routes:\n  - path: /orders\n    auth: none\n    timout: 2s\n";
    an_unknown_key_in_a_part:
        "routes:\n  - path: /orders/{orderId}\n    auth: none\n    compose:\n      ticketInfo: { get: kitchen/tickets, optonal: true }\n";
    an_unknown_key_in_a_watch:
        "routes:\n  - path: /orders\n    auth: none\n    watch: { parts: {}, evry: 5s }\n";
    an_unknown_key_in_a_websocket:
        "routes:\n  - path: /chat\n    auth: none\n    forward: { to: chat, websocket: { max_live: 1h } }\n";
    an_unknown_key_in_auth: "routes:\n  - path: /orders\n    auth: { provider: ftgo, scope: [orders] }\n";
    an_unknown_key_in_an_upstream: "upstreams:\n  kitchen: { url: http://kitchen, max_idel: 5 }\nroutes: []\n";
    a_hedge_after_a_percentile_that_is_none: "upstreams:\n  kitchen: { url: http://kitchen, hedge: { after: p42 } }\nroutes: []\n";
    a_hedge_after_nonsense: "upstreams:\n  kitchen: { url: http://kitchen, hedge: { after: soon } }\nroutes: []\n";
    an_unknown_key_in_the_tls_of_an_upstream:
        "upstreams:\n  kitchen: { url: https://kitchen, tls: { sever_name: kitchen } }\nroutes: []\n";
    an_unknown_protocol: "upstreams:\n  kitchen: { url: https://kitchen, protocol: http3 }\nroutes: []\n";
    an_unknown_key_in_a_breaker: "upstreams:\n  kitchen: { url: http://kitchen, circuit_breaker: { treshold: 5 } }\nroutes: []\n";
    an_unknown_way_to_balance: "upstreams:\n  kitchen: { url: http://kitchen, balance: round-robin }\nroutes: []\n";
    a_health_check_of_a_status_that_is_none:
        "upstreams:\n  kitchen: { url: http://kitchen, health: { path: /healthz, statuses: [\"2xx\"] } }\nroutes: []\n";
    an_unknown_key_in_a_provider: "providers:\n  ftgo:\n    jwt: { issuer: a, audience: b, jwks: c, kid: d }\nroutes: []\n";
    an_unknown_key_in_a_limit: "limits:\n  browse: { rate: 5/s, by: address, bursts: 5 }\nroutes: []\n";
    an_unknown_key_in_the_server: "server:\n  threads: 5\nroutes: []\n";
    a_wrong_duration: "routes:\n  - path: /orders\n    auth: none\n    timeout: 2 weeks\n";
    a_bare_number_as_duration: "routes:\n  - path: /orders\n    auth: none\n    timeout: 5\n";
    a_wrong_size: "server: { max_body: 1MB }\nroutes: []\n";
    a_wrong_rate: "limits:\n  browse: { rate: 5/week, by: address }\nroutes: []\n";
    a_missing_auth: "routes:\n  - path: /orders\n    timeout: 2s\n";
    auth_that_is_true: "routes:\n  - path: /orders\n    auth: true\n";
    auth_with_an_empty_rule: "routes:\n  - path: /orders\n    auth:\n      provider: ftgo\n      allow:\n";
    an_unknown_value: "limits:\n  browse: { rate: 5/s, by: principle }\nroutes: []\n";
    a_wrong_address: "admin: { address: localhost }\nroutes: []\n";
    an_unknown_key_in_a_set_of_cors: "cors:\n  web: { origins: [https://app.ftgo.example], orgins: [] }\nroutes: []\n";
    an_origin_that_is_yamls_null: "cors:\n  web: { origins: [null] }\nroutes: []\n";
    an_unknown_way_to_be_shown_in_frames: "security_headers:\n  pages: { frame_options: allow }\nroutes: []\n";
    an_unknown_priority: "routes:\n  - { path: /orders, auth: none, priority: urgent }\n";
    a_list_for_a_mapping: "server:\n  - workers: 5\nroutes: []\n";
    text_for_a_list: "routes:\n  - path: /orders\n    auth: none\n    methods: GET\n";
    a_number_in_quotes: "server: { workers: \"4\" }\nroutes: []\n";
    a_number_that_is_too_large: "limits:\n  browse: { rate: 5/s, by: address, burst: 5000000000 }\nroutes: []\n";
    a_key_with_nothing_behind_it: "server:\nroutes: []\n";
    a_duplicate_key: "routes:\n  - path: /orders\n    auth: none\n    path: /consumers\n";
    a_tab_as_indentation: "routes:\n  - path: /orders\n\tauth: none\n";
    an_unset_variable: "upstreams:\n  kitchen:\n    url: http://${KITCHEN_HOST}:8080\nroutes: []\n";
    a_variable_that_is_never_closed: "upstreams:\n  kitchen:\n    url: http://${KITCHEN_HOST:8080\nroutes: []\n";
    a_variable_without_quotes_in_braces: "upstreams:\n  kitchen: { url: http://${KITCHEN_HOST} }\nroutes: []\n";
    braces_without_quotes_in_braces:
        "routes:\n  - path: /orders\n    auth: none\n    compose:\n      a: { get: {service}/orders, optional: true }\n";
    two_documents: "routes: []\n---\nroutes: []\n";
    an_anchor_and_an_alias:
        "upstreams:\n  kitchen: &kitchen { url: http://kitchen }\n  order: *kitchen\nroutes: []\n";
    a_tag: "server: { workers: !!int 4 }\nroutes: []\n";
    a_key_that_is_a_list: "? [a, b]\n: c\nroutes: []\n";
    no_yaml: "routes:\n  - path: /orders\n   auth: none\n";
    an_unclosed_quote: "routes: []\nserver: \"\n";
    nested_too_deep: &format!("routes: {}{}\n", "[".repeat(50), "]".repeat(50));
    several_mistakes_at_once: "upstreams:\n  kitchen: { connect_timeout: 1 }\nroutes:\n  - path: /orders\n    \
        timeout: 5\n    methods: GET\n  - path: /consumers\n    auth: none\n  - paht: /tickets\n    auth: nobody\n    \
        compose:\n      a: { get: kitchen/a, timeout: [] }\n      b: { optional: yes }\n";
    several_missing_keys_of_one_mapping: "providers:\n  ftgo: { jwt: { issuer: a } }\nroutes:\n  - methods: [GET]\n";
    a_secret_in_a_wrong_duration: "routes:\n  - path: /orders\n    auth: none\n    timeout: ${TOKEN}\n";
    a_secret_in_a_wrong_number: "server:\n  workers: x${TOKEN}\nroutes: []\n";
    a_secret_in_a_wrong_value: "limits:\n  browse:\n    rate: 5/s\n    by: ${TOKEN}\nroutes: []\n";
    a_mistyped_key_that_is_mandatory: "upstreams:\n  kitchen: { ulr: http://kitchen }\nroutes: []\n";
    a_mistake_behind_a_comment_of_many_bytes: "server: # größe 測試\n  workers: [ # ü\n    ü\n    ]\n  drain_timeout: 5\nroutes: []\n";
    a_long_line: &format!("routes: [{{ path: {}, auth: none, timeout: 5 }}]\n", "/orders".repeat(60));
    a_line_with_letters_of_many_bytes: "routes:\n  - { path: /größe, auth: none, \"größe 測試\": 1, timeout: ein Jahr } # größe\n";
}

const ORDERS: &str = r#"
routes:
  - path: /orders/{orderId}
    auth: none
    compose:
      orderInfo:    { get: "order/orders/{orderId}" }
      ticketInfo:   { get: "kitchn/tickets/{orderId}", optional: true }
"#;

#[test]
fn a_mistake_that_the_caller_found_is_shown_like_the_others() {
    let mut loaded = loaded(&format!("{LISTEN}{ORDERS}"));
    let mut found = Mistakes::default();
    let message = "route `/orders/{orderId}`: part `ticketInfo` calls the unknown upstream `kitchn`";
    let mistake = Mistake::new("routes[0].compose.ticketInfo.get", message).words("kitchn");
    found.add(mistake.one_of("upstreams", ["accounting", "consumer", "delivery", "kitchen"], "kitchn"));
    loaded.join(found);
    snapshot("a_mistake_of_the_caller", &loaded.render());
}

#[test]
fn a_right_configuration_is_read_without_a_word() {
    let yaml = "listen:\n- address: 127.0.0.1:${PORT}\nserver:\n  workers: ${WORKERS}\nroutes: []\n";
    let loaded = loaded(yaml);
    assert_eq!(loaded.render(), "");
    let config = loaded.config.expect("nothing is wrong");
    assert_eq!((config.listen[0].address.port(), config.server.workers), (8087, 4));
}

#[test]
fn a_limit_whose_rate_cannot_be_read_is_not_told_to_say_one() {
    let yaml = format!("{LISTEN}limits:\n  bad: {{ by: address, rate: 5 }}\nroutes: []\n");
    assert_eq!(loaded(&yaml).render().matches("error:").count(), 1);
}

#[test]
fn what_is_right_beside_mistakes_is_kept_and_paths_find_it() {
    let mut loaded = loaded(&format!(
        "{LISTEN}limits:\n  bad: {{ rate: 5/s, by: [] }}\nroutes:\n  - auth: none\n  - path: /b\n    auth: none\n    forward: {{ to: bad }}\n"
    ));
    let config = loaded.config.as_ref().expect("a route remains");
    assert_eq!((config.routes.len(), config.routes[0].path.as_str(), config.limits.len()), (1, "/b", 0));
    assert!(loaded.has_erased("limits.bad.by") && !loaded.has_erased("routes[0].forward"));
    let mut found = Mistakes::default();
    found.add(Mistake::new("routes[0].forward.to", "unknown"));
    found.add(Mistake::new("limits.bad", "never used"));
    loaded.join(found);
    assert_eq!(loaded.mistakes.0.last().map(|mistake| mistake.at.as_str()), Some("routes[1].forward.to"));
}

#[test]
fn the_full_example_is_right() {
    assert_eq!(loaded(FULL).render(), "");
}

/// Generated files are large; what is generated wrongly is wrong many times.
#[test]
fn a_large_file_full_of_mistakes_is_read_soon() {
    let unit = |number| if number < 1_900 { "s" } else { "" };
    let route =
        |number| format!("  - {{ path: /orders/{number}, timeout: 5{}, auth: none }}\n", unit(number));
    let yaml = after_listen(&format!("routes:\n{}", (0..2_000).map(route).collect::<String>()));
    let start = std::time::Instant::now();
    let loaded = loaded(&yaml);
    assert!(loaded.render().ends_with("100 mistakes in config/bff-web.yaml\n"));
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn a_missing_list_is_read_as_empty_so_that_the_rest_is_looked_at() {
    let loaded = loaded("upstreams: { a: { url: http://a } }\n");
    assert_eq!(loaded.config.as_ref().map(|config| config.upstreams.len()), Some(1));
    assert!(loaded.has_erased("listen") && loaded.has_erased("routes"));
}

#[test]
fn what_came_from_a_variable_is_hidden_in_the_callers_mistakes_too() {
    let mut loaded =
        loaded(&format!("{LISTEN}routes: []\nupstreams:\n  a:\n    url: ${{TOKEN}}:${{PORT}}\n"));
    let mut found = Mistakes::default();
    found.add(Mistake::new("upstreams.a.url", "upstream `a`: `hunter2-secret:8087` is no URL"));
    loaded.join(found);
    let said = loaded.render();
    assert!(said.contains("`***:***` is no URL") && !said.contains("hunter2"), "{said}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        let _ = loaded(&text).render();
    }

    #[test]
    fn no_text_that_looks_like_a_configuration_makes_the_loader_panic(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60)
    ) {
        let _ = loaded(&words.concat()).render();
        let _ = loaded(&format!("{LISTEN}{}", words.concat())).render();
    }

    #[test]
    fn no_place_of_a_variable_makes_a_message_tell_its_value(
        line in 0..FULL.lines().count(), wrong in prop::sample::select(&["${TOKEN}", "[${TOKEN}]", "{ a: x${TOKEN} }"][..])
    ) {
        let replaced = FULL.lines().enumerate().map(|(number, typed)| match typed.split_once(": ") {
            Some((key, _)) if number == line => format!("{key}: {}\n", wrong.replace("${TOKEN}", "\"${TOKEN}\"")),
            _ => format!("{typed}\n"),
        });
        let loaded = loaded(&replaced.collect::<String>());
        let told = format!("{:?}", loaded.mistakes);
        prop_assert!(!told.contains("hunter2"), "{told}");
    }
}

/// One value a line.
const FULL: &str = "\
listen:
  - address: 127.0.0.1:8087
    tls:
      cert: a
      key: b
admin:
  address: 127.0.0.1:9087
server:
  workers: 4
  drain_timeout: 5s
  max_body: 1MiB
limits:
  browse:
    rate: 5/s
    burst: 5
    by: address
upstreams:
  kitchen:
    url: http://kitchen
    max_idle: 5
routes:
  - path: /orders
    auth: none
    methods: [GET]
    limits: [browse]
    compose:
      ticketInfo:
        get: kitchen/tickets
        optional: true
  - path: /tickets
    auth:
      provider: ftgo
      scopes: [orders]
      optional: false
      allow: claims.sub == path.id
    handle: tickets
";

const WORDS: &[&str] = &[
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    "\n  - ",
    " ",
    "\t",
    "\r\n",
    "\r",
    "# ",
    "---",
    "...",
    "%YAML 1.2",
    ": ",
    ":",
    "? ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "'",
    "|",
    ">",
    "&a ",
    "*a",
    "!!str ",
    "!",
    "~",
    "${",
    "${TOKEN}",
    "}",
    "ü",
    "測",
    "\u{feff}",
    "\u{0}",
    "\u{85}",
    "listen",
    "routes",
    "upstreams",
    "auth",
    "none",
    "path",
    "/orders",
    "compose",
    "get",
    "provider",
    "server",
    "workers",
    "5",
    "2s",
    "true",
    "5/s",
    "by",
    "limits",
    "url",
    "\\",
    "\\x",
];
