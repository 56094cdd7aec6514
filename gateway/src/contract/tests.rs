//! Requests against contracts, and documents of configurations.

use http::HeaderMap;
use serde_json::{Value, json};

use super::{
    check::{Check, Place},
    document::document,
    *,
};
use crate::{
    config::{Config, load::load},
    routing::{Found, Router},
};

/// A configuration that goes on like this.
fn config(rest: &str) -> Config {
    let loaded = load("bff.yaml", &format!("listen: [{{ address: \"127.0.0.1:0\" }}]\n{rest}"), &|_| None);
    assert_eq!(loaded.render(), "");
    loaded.config.unwrap()
}

/// What is wrong with `value` by the schema `S` of these: places and messages.
fn wrong(schemas: &str, value: &Value) -> Vec<String> {
    let config = config(&format!("routes: []\nschemas:\n{schemas}"));
    let mut mistakes = Mistakes::default();
    let named = Schemas::build(&config.schemas, "schemas", &mut mistakes);
    assert!(mistakes.is_empty(), "{:?}", mistakes.0);
    let mut check = Check::new(&named.0);
    check.fits(&named.0[0], value, &Place::WHOLE);
    check.found().iter().map(|wrong| format!("{} {}", wrong.at, wrong.message)).collect()
}

fn fits(schema: &str, value: &Value) -> bool {
    wrong(&format!("  S: {schema}\n"), value).is_empty()
}

#[test]
fn each_keyword_takes_what_it_says_and_nothing_else() {
    for (schema, good, bad) in [
        ("{ type: string }", json!("a"), json!(5)),
        ("{ type: [string, null] }", json!(null), json!(false)),
        ("{ type: integer }", json!(5.0), json!(5.5)),
        ("{ type: number }", json!(5), json!("5")),
        ("{ type: boolean }", json!(true), json!("true")),
        ("{ type: array }", json!([]), json!({})),
        ("{ type: object }", json!({}), json!([])),
        ("{ enum: [a, 1, null] }", json!(1.0), json!("1")),
        ("{ const: { a: [1] } }", json!({"a": [1]}), json!({"a": [1, 1]})),
        ("{ minimum: 1 }", json!(1), json!(0)),
        ("{ exclusiveMinimum: 1 }", json!(1.1), json!(1)),
        ("{ maximum: 9007199254740992 }", json!(9_007_199_254_740_992_u64), json!(9_007_199_254_740_993_u64)),
        ("{ exclusiveMaximum: 1 }", json!(0), json!(1)),
        ("{ multipleOf: 3 }", json!(-9), json!(10)),
        ("{ minLength: 2 }", json!("\u{1f600}\u{e9}"), json!("\u{1f600}")),
        ("{ maxLength: 1 }", json!("\u{1f600}"), json!("ab")),
        ("{ pattern: \"^a+$\" }", json!("aa"), json!("ab")),
        ("{ format: uuid }", json!("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), json!("f81d4fae")),
        ("{ minItems: 1 }", json!([1]), json!([])),
        ("{ maxItems: 1 }", json!([1]), json!([1, 2])),
        ("{ uniqueItems: true }", json!([1, "1", {"a": 1}]), json!([{"a": 1}, {"a": 1.0}])),
        ("{ items: { type: string } }", json!(["a"]), json!(["a", 1])),
        ("{ required: [a] }", json!({"a": null}), json!({"b": null})),
        ("{ properties: { a: { type: string } } }", json!({"b": 1}), json!({"a": 1})),
        ("{ properties: { a: true }, additionalProperties: false }", json!({"a": 1}), json!({"b": 1})),
        ("{ additionalProperties: { type: string } }", json!({"a": "a"}), json!({"a": 1})),
        ("{ anyOf: [{ type: string }, { minimum: 5 }] }", json!(5), json!(4)),
        ("{ oneOf: [{ minimum: 1 }, { minimum: 5 }] }", json!(4), json!(5)),
        ("{ allOf: [{ minimum: 1 }, { maximum: 5 }] }", json!(5), json!(6)),
        ("false", json!(null), json!(null)),
    ] {
        assert!(fits(schema, &good) || schema == "false", "{schema} takes {good}");
        assert!(!fits(schema, &bad), "{schema} takes no {bad}");
    }
}

#[test]
fn what_is_wrong_is_told_by_json_pointers_in_words_and_bounded() {
    let schemas = "  S: { type: object, required: [a, \"b/c\"], properties: { a: { type: array, items: T } } }\n  \
                   T: { type: object, properties: { n: { type: integer, minimum: 1 } } }\n";
    let told = wrong(schemas, &json!({"a": [{"n": 1}, {"n": 0}, {"n": "x"}]}));
    assert_eq!(told, ["/b~1c is needed", "/a/1/n must be at least 1", "/a/2/n must be a whole number"]);
    let many: Vec<Value> = (0..1_000).map(|_| json!({"n": 0})).collect();
    assert_eq!(wrong(schemas, &json!({"a": many, "b/c": 1})).len(), 10);
    let long = "\u{e9}".repeat(1_000);
    let told = wrong("  S: { additionalProperties: false }\n", &json!({ long: 1 }));
    assert!(told[0].len() < 300, "{}", told[0].len());
}

#[test]
fn no_value_makes_a_check_long() {
    let schemas =
        "  S: { anyOf: [{ type: object, properties: { a: S } }, { type: object, properties: { a: S } }] }\n";
    let mut value = json!(0);
    for _ in 0..100 {
        value = json!({ "a": value });
    }
    // The innermost fits neither, and each level looks twice at what is in it.
    assert_eq!(wrong(schemas, &value), [" is more than can be checked"]);
}

#[test]
fn a_list_whose_items_are_lists_is_not_written_out_for_ever() {
    let mut value = json!("x".repeat(1 << 20));
    for _ in 0..100 {
        value = json!([value]);
    }
    let schemas = "  S: { type: [array, string], uniqueItems: true, items: S }\n";
    assert_eq!(wrong(schemas, &value), [" is more than can be checked"]);
}

#[test]
fn another_spelling_of_a_name_is_not_let_through_as_a_name_that_nobody_described() {
    let schema = "{ properties: { kind: { maximum: 5 }, list: { items: { properties: { a: true } } } } }";
    assert!(fits(schema, &json!({ "kind": 5, "kinds": 6, "other": { "KIND": 6 } })));
    for other in ["Kind", "KIND", "\u{212a}ind", "kind\0", "kind\0x"] {
        let told = wrong(&format!("  S: {schema}\n"), &json!({ "kind": 5, other: 6 }));
        assert_eq!(told, [format!("/{other} must be spelt `kind`")]);
    }
    assert!(!fits(schema, &json!({ "list": [{ "A": 1 }] })));
}

/// The problem that `target` of a route with this `request` has.
fn asked(request: &str, target: &str, headers: &[(&'static str, &'static str)]) -> Vec<String> {
    let config =
        config(&format!("routes:\n  - path: /orders/{{orderId}}\n    auth: none\n    request: {request}\n"));
    let mut mistakes = Mistakes::default();
    let (named, typed) = (Schemas::default(), config.routes[0].request.as_ref().unwrap());
    let contract = Contract::build(typed, &["orderId".into()], &[], &named, "request", &mut mistakes);
    assert!(mistakes.is_empty(), "{:?}", mistakes.0);
    let mut router = Router::default();
    router.add("/orders/{orderId}", &[http::Method::GET], &(), "").unwrap();
    let target = target.parse().unwrap();
    let Found::Route((), params) = router.find(&http::Method::GET, &target) else { panic!("no route") };
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    match contract.check(&Head { params: &params, headers: &headers }, None) {
        Ok(()) => Vec::new(),
        Err(error) => error.cause().split("; ").map(str::to_owned).collect(),
    }
}

#[test]
fn parameters_are_read_as_their_types_and_are_there_once() {
    let ids = "{ path: { orderId: { type: integer } } }";
    assert_eq!(asked(ids, "/orders/99", &[]), [""; 0]);
    assert_eq!(asked(ids, "/orders/99x", &[]), ["path must be a whole number"]);
    let query = "{ query: { n: { type: integer }, w: { type: array, items: { type: string, minLength: 1 } } }, required: [n] }";
    assert_eq!(asked(query, "/orders/1?n=5&w=a,b%20c", &[]), [""; 0]);
    assert_eq!(
        asked(query, "/orders/1?w=a,", &[]),
        ["query must have at least 1 characters", "query is needed"]
    );
    assert_eq!(asked(query, "/orders/1?n=5&n=6", &[]), ["query must be given once"]);
    assert_eq!(asked(query, "/orders/1?n=5&%6e=6", &[]), ["query must be given once"]);
    assert_eq!(asked(query, "/orders/1?n=5&m=6", &[]), ["query is not known here"]);
    assert_eq!(
        asked(query, "/orders/1?n=5&w=a;n=6", &[]),
        ["query must be UTF-8, percent-encoded, also each `;`"]
    );
    assert_eq!(
        asked(query, "/orders/1?n=5&w=%ff", &[]),
        ["query must be UTF-8, percent-encoded, also each `;`"]
    );
    for broken in ["w=%zz", "w=%u0041", "w=%4", "w=%", "%u006e=6"] {
        assert_eq!(
            asked(query, &format!("/orders/1?n=5&{broken}"), &[]),
            ["query must be UTF-8, percent-encoded, also each `;`"],
            "{broken}"
        );
    }
    let header = "{ headers: { X-Page: { type: integer } }, required: [X-Page] }";
    assert_eq!(asked(header, "/orders/1", &[("x-page", "5")]), [""; 0]);
    assert_eq!(asked(header, "/orders/1", &[]), ["header is needed"]);
    assert_eq!(asked(header, "/orders/1", &[("x-page", "five")]), ["header must be a whole number"]);
}

const ORDERS: &str = "openapi: { title: Orders, version: \"1.0\" }
providers: { ftgo: { jwt: { issuer: a, audience: b, jwks: \"http://127.0.0.1/jwks\" } } }
limits: { browse: { rate: 5/s, by: address } }
routes:
  - path: /orders/{orderId}
    summary: An order.
    operation: getOrder
    group: orders
    auth: { provider: ftgo, scopes: [orders:read] }
    limits: [browse]
    request: { path: { orderId: Id }, query: { status: { enum: [A], type: string } } }
    compose:
      order: { get: order/orders/{orderId}, schema: Order }
      ticket: { get: kitchen/tickets/{orderId}, optional: true }
      names: { each: order.items, key: id, from: names, into: name, optional: true, schema: Name }
    respond: { body: { id: order.id, items: order.items, ticket: ticket, fixed: { value: 5 } } }
  - path: /orders
    methods: [POST]
    auth: none
    request: { body: Order }
    answers: { 201: Order, 409: problem, 404: empty }
    forward: { to: order }
schemas:
  Id: { type: integer }
  Order: { type: object, required: [id], properties: { id: Id, items: { type: array, items: { $ref: '#/components/schemas/Name' } } } }
  Name: { type: [object, null] }
";

#[test]
fn the_document_tells_what_was_typed_and_what_follows_from_it() {
    let config = config(ORDERS);
    let told: Value = serde_json::from_str(&document(config.openapi.as_ref().unwrap(), &config)).unwrap();
    assert_eq!(told["openapi"], "3.1.1");
    let get = &told["paths"]["/orders/{orderId}"]["get"];
    assert_eq!(get["security"], json!([{ "ftgo": ["orders:read"] }]));
    let id = json!({ "name": "orderId", "in": "path", "required": true, "schema": { "$ref": "#/components/schemas/Id" } });
    assert_eq!(get["parameters"][0], id);
    let statuses: Vec<&String> = get["responses"].as_object().unwrap().keys().collect();
    assert_eq!(statuses, ["200", "400", "401", "403", "404", "429", "502", "503", "504"]);
    let found = &get["responses"]["200"]["content"]["application/json"]["schema"];
    let name = json!({ "$ref": "#/components/schemas/Name" });
    let items = json!({ "type": "array", "items": { "allOf": [name, { "properties": { "name": name } }] } });
    let properties = json!({
        "id": { "$ref": "#/components/schemas/Id" }, "items": items, "ticket": {}, "fixed": { "const": 5 },
    });
    assert_eq!(*found, json!({ "type": "object", "properties": properties, "required": ["id", "fixed"] }));
    assert!(get["responses"]["200"]["headers"]["Composition-Status"].is_object());
    let post = &told["paths"]["/orders"]["post"];
    assert_eq!((&post["security"], &post["requestBody"]["required"]), (&json!([]), &json!(true)));
    assert!(post["responses"]["404"].get("content").is_none());
    assert!(post["responses"]["409"]["content"]["application/problem+json"].is_object());
    assert_eq!(told["components"]["schemas"]["Name"], json!({ "type": ["object", "null"] }));
    assert_eq!(told["components"]["securitySchemes"]["ftgo"]["scheme"], "bearer");
}

/// A write of a composition may be refused, and may be lost; a route that opens WebSockets is no operation.
#[test]
fn a_composed_write_and_a_websocket_are_told_as_what_they_are() {
    let config = config(
        "upstreams: { it: { url: \"http://it\" } }\nroutes:\n  - path: /w\n    auth: none\n    methods: [DELETE]\n    \
         compose:\n      a: { get: it/a }\n      b: { post: it/b, body: { x: \"{body.x}\" }, idempotency: required }\n  \
         - path: /r\n    auth: none\n    compose: { a: { get: it/a } }\n  \
         - path: /ws\n    auth: none\n    forward: { to: it, websocket: {} }\nopenapi: { title: It, version: \"1\" }\n",
    );
    let told = document(config.openapi.as_ref().unwrap(), &config);
    let told: Value = serde_json::from_str(&told).unwrap();
    let statuses = |path: &str, method: &str| -> Vec<String> {
        told["paths"][path][method]["responses"].as_object().unwrap().keys().cloned().collect()
    };
    let write = ["200", "400", "404", "408", "409", "410", "413", "415", "422", "502", "503", "504"];
    assert_eq!(statuses("/w", "delete"), write);
    assert_eq!(statuses("/r", "get"), ["200", "400", "404", "502", "503", "504"]);
    let write = &told["paths"]["/w"]["delete"];
    let headers = write["responses"]["504"]["headers"].as_object().unwrap();
    assert!(
        headers.contains_key("Idempotency-Key") && headers.contains_key("Composition-Status"),
        "{headers:?}"
    );
    assert!(told["components"]["headers"]["Idempotency-Key"].is_object());
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": true,
        "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
    });
    assert_eq!(write["parameters"], json!([key]));
    assert!(told["paths"].get("/ws").is_none());
}
