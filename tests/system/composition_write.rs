//! The one write of a composition: that it comes last or not at all, what it carries, and what a client is told of it.
//!
//! Not here: writes that are forwarded (`forwarding.rs`, `who_may_do_what.rs`).

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, Uri},
    response::IntoResponse,
    routing::any,
};
use ftgo::stubs::{Stubs, service::Service};
use http::{StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    client::Answer,
    composition_graph::{composing, told},
    harness::{Gate, stubs, until},
};

/// An order is cancelled once its ticket and its bill are there; the courier is told of if possible.
const CANCEL: &str = r#"
methods: [POST]
compose:
  cancel: { post: "order/orders/{ticket.orderId}/cancel", timeout: 300ms }
  ticket: { get: "kitchen/tickets/{id}" }
  bill: { get: "accounting/bills/{ticket.orderId}" }
  delivery: { get: "delivery/deliveries/{id}", optional: true }
"#;

fn writes(stubs: &Stubs) -> u64 {
    let counts = stubs.recorder().counts(Service::Order);
    counts.by_route.get("POST /orders/{id}/cancel").copied().unwrap_or_default()
}

/// The header field of the last write.
fn carried(stubs: &Stubs, name: &str) -> String {
    let counts = stubs.recorder().counts(Service::Order);
    let seen = counts.last.iter().find(|seen| seen.method == "POST").expect("it was sent");
    let found = seen.headers.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

async fn cancel(gate: &Gate) -> Answer {
    gate.ask("POST", "/it/99").send().await
}

async fn fault(stubs: &Stubs, service: Service, fault: Value) {
    stubs.faults().set(service, json!({ "fault": fault })).await.unwrap();
}

async fn metrics(gate: &Gate) -> String {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    String::from_utf8(metrics.bytes().to_vec()).unwrap()
}

/// How many writes of the route came to this.
async fn counted(gate: &Gate, outcome: &str) -> String {
    let line = format!(r#"gateway_composition_writes_total{{route="POST /it/{{id}}",outcome="{outcome}"}} "#);
    metrics(gate)
        .await
        .lines()
        .find_map(|told| told.strip_prefix(&line).map(str::to_owned))
        .unwrap_or_default()
}

#[tokio::test]
async fn a_write_comes_last_and_is_a_part_like_others() {
    let stubs = stubs();
    let gate = composing(&stubs, CANCEL);
    let answer = cancel(&gate).await.expect(200);
    assert_eq!(told(&answer), "cancel;s=ok, ticket;s=ok, bill;s=ok, delivery;s=ok");
    assert_eq!(answer.json()["cancel"]["orderId"], 99);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(writes(&stubs), 1);
    assert_eq!(carried(&stubs, "idempotency-key"), answer.header("x-request-id"), "made for the request");
    assert_eq!(counted(&gate, "done").await, "1");
    gate.get("/it/99").send().await.expect(405);
}

#[tokio::test]
async fn a_write_is_never_sent_while_something_that_is_required_fails() {
    let stubs = stubs();
    let gate = composing(&stubs, &CANCEL.replace("timeout: 300ms", "timeout: 2s"));
    for service in [Service::Kitchen, Service::Accounting] {
        for (broken, status) in [
            (json!({"status": 500}), 502),
            (json!({"status": 404}), 404),
            (json!({"status": 409}), 409),
            (json!("reset"), 502),
            (json!("refuse"), 502),
            (json!({"truncate": 5}), 502),
            (json!("malformed"), 502),
            (json!("hang"), 504),
        ] {
            fault(&stubs, service, broken.clone()).await;
            let answer = cancel(&gate).await.expect(status);
            assert!(!answer.code().starts_with("write_"), "{broken}");
        }
        stubs.faults().heal(service).await;
    }
    assert_eq!(writes(&stubs), 0);
    fault(&stubs, Service::Delivery, json!("hang")).await;
    let answer = cancel(&gate).await.expect(200);
    assert!(told(&answer).starts_with("cancel;s=ok"), "what is optional keeps nobody waiting but the client");
}

#[tokio::test]
async fn a_write_of_what_a_part_does_not_hold_is_not_sent() {
    let stubs = stubs();
    let gate = composing(&stubs, CANCEL);
    let body = json!({"status": 200, "headers": {"content-type": "application/json"}, "body": "{}"});
    fault(&stubs, Service::Kitchen, body).await;
    cancel(&gate).await.expect(502);
    assert_eq!(writes(&stubs), 0);
}

#[tokio::test]
async fn what_was_refused_is_said_to_be_and_what_nobody_knows_too() {
    let stubs = stubs();
    let gate = composing(&stubs, CANCEL);
    let before = "ticket;s=ok, bill;s=ok";
    for (broken, status, code, state) in [
        (json!({"status": 400}), 400, "bad_request", "failed;reason=status;code=400"),
        (json!({"status": 403}), 502, "upstream_failed", "failed;reason=status;code=403"),
        (json!({"status": 404}), 404, "not_found", "failed;reason=not-found"),
        (json!({"status": 409}), 409, "conflict", "failed;reason=status;code=409"),
        (json!({"status": 422}), 422, "unprocessable", "failed;reason=status;code=422"),
        (json!({"status": 503}), 503, "upstream_unavailable", "failed;reason=status;code=503"),
        (json!("refuse"), 502, "upstream_failed", "failed;reason=refused"),
        (json!({"status": 500}), 502, "write_unconfirmed", "unknown;reason=status;code=500"),
        (json!("reset"), 502, "write_unconfirmed", "unknown;reason=reset"),
        (json!({"truncate": 5}), 502, "write_unconfirmed", "unknown;reason=cut-short"),
        (json!("malformed"), 502, "write_unconfirmed", "unknown;reason=malformed"),
        (json!("hang"), 504, "write_timeout", "unknown;reason=timeout"),
    ] {
        fault(&stubs, Service::Order, broken.clone()).await;
        let answer = cancel(&gate).await.expect(status);
        let all = told(&answer);
        assert!(all.starts_with(&format!("cancel;s={state}, {before}")), "{broken}: {all}");
        assert_eq!(answer.code(), code, "{broken}");
        let key = if code.starts_with("write_") { carried(&stubs, "idempotency-key") } else { String::new() };
        assert_eq!(answer.header("idempotency-key"), key, "{broken}: what it may be sent again by");
    }
    assert_eq!((counted(&gate, "failed").await, counted(&gate, "unknown").await), ("7".into(), "5".into()));
    assert_eq!(writes(&stubs), 11, "none was sent twice, and one not at all");
}

#[tokio::test]
async fn a_key_is_the_clients_and_is_asked_for_where_it_must_be() {
    let stubs = stubs();
    let keyed = |typed: &str| {
        composing(&stubs, &CANCEL.replace("timeout: 300ms", &format!("timeout: 2s, idempotency: {typed}")))
    };
    for typed in ["generated", "required", "client"] {
        let gate = keyed(typed);
        let asking = gate.ask("POST", "/it/99").header("idempotency-key", "\"k 1\"");
        let status = asking.send().await.status;
        assert!([200, 409].contains(&status), "{typed}: {status}");
        assert_eq!(carried(&stubs, "idempotency-key"), "\"k 1\"", "{typed}");
    }
    let status = cancel(&keyed("client")).await.status;
    assert!([200, 409].contains(&status), "{status}");
    assert_eq!(carried(&stubs, "idempotency-key"), "");
    stubs.recorder().clear();
    let gate = keyed("required");
    assert_eq!(cancel(&gate).await.expect(400).code(), "missing_input");
    for wrong in [&["a", "b"][..], &[""], &[&"k".repeat(256)]] {
        let asking = gate.ask("POST", "/it/99");
        let asking = wrong.iter().fold(asking, |asking, key| asking.header("idempotency-key", key));
        assert_eq!(asking.send().await.expect(400).code(), "bad_request", "{wrong:?}");
    }
    assert_eq!(stubs.recorder().counts(Service::Kitchen).total, 0, "nothing is asked for it");
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_write_and_nobody_is_told_that_it_failed() {
    let stubs = stubs();
    let gate = composing(&stubs, &CANCEL.replace("timeout: 300ms", "timeout: 2s"));
    fault(&stubs, Service::Order, json!("hang")).await;
    let asking = tokio::spawn(gate.ask("POST", "/it/99").send());
    until("it is sent", || stubs.recorder().counts(Service::Order).in_flight == 1).await;
    asking.abort();
    until("the service sees it", || stubs.recorder().counts(Service::Order).cancelled == 1).await;
    assert_eq!((counted(&gate, "unknown").await, writes(&stubs)), ("1".into(), 1));
}

type Seen = Arc<Mutex<Vec<(Method, Uri, HeaderMap, Bytes)>>>;

/// A service that says what it gets; its first answers are the statuses in `script`, then 204.
async fn scripted(script: &[u16]) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let (kept, script) = (seen.clone(), Arc::new(Mutex::new(script.to_vec())));
    let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
        kept.lock().push((method, uri, headers, body));
        let mut script = script.lock();
        let status = if script.is_empty() { 204 } else { script.remove(0) };
        StatusCode::from_u16(status).unwrap().into_response()
    };
    tokio::spawn(async { axum::serve(listener, Router::new().fallback(any(answer))).await });
    (address, seen)
}

/// A gateway whose one route writes to `address` as these lines say, and reads an order first.
fn writing(stubs: &Stubs, address: SocketAddr, retry: &str, write: &str) -> Gate {
    let order = stubs.address(Service::Order);
    Gate::start(&format!(
        "upstreams:\n  order: {{ url: \"http://{order}\" }}\n  it: {{ url: \"http://{address}\", {retry} }}\nroutes:\n  \
         - path: /it/{{id}}\n    auth: none\n    methods: [POST]\n    max_body: 64B\n    compose:\n      \
         order: {{ get: \"order/orders/{{id}}\" }}\n      write: {{ {write} }}\n"
    ))
}

#[tokio::test]
async fn a_body_is_written_from_parts_as_they_are_and_from_texts_as_texts() {
    let stubs = stubs();
    let (address, seen) = scripted(&[]).await;
    let body = r#"body: { a: "{order.restaurantId}", b: "{order.lineItems}", c: "{order.state} of {id}", "d\"": [1, null, "{query.q}", { value: "{x}" }] }"#;
    let write =
        format!(r#"put: "it/a/{{order.orderId}}", {body}, headers: {{ If-Match: "\"{{order.orderId}}\"" }}"#);
    let gate = writing(&stubs, address, "retry: { attempts: 1 }", &write);
    let asking = gate.ask("POST", "/it/99?q=%22x%5C").body("{\"ignored\":1}");
    let answer = asking.header("cookie", "a=b").send().await.expect(200);
    assert_eq!((told(&answer).as_str(), &answer.json()["write"]), ("order;s=ok, write;s=ok", &Value::Null));
    let (method, uri, headers, body) = seen.lock().remove(0);
    assert_eq!((method.as_str(), uri.path()), ("PUT", "/a/99"));
    assert_eq!(headers["if-match"], "\"99\"");
    assert_eq!(headers["content-type"], "application/json");
    assert!(headers.get("cookie").is_none(), "nothing of the client's goes on unseen");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["a"], &body["c"]), (&json!(1), &json!("APPROVED of 99")));
    assert_eq!(body["b"][0]["quantity"], 5);
    assert_eq!(body["d\""], json!([1, null, "\"x\\", "{x}"]));
    gate.ask("POST", "/it/99").send().await.expect(400);
    assert_eq!(seen.lock().len(), 0, "`query.q` is missing");
}

#[tokio::test]
async fn a_clients_body_goes_on_as_it_came_and_only_if_it_came_whole() {
    let stubs = stubs();
    let (address, seen) = scripted(&[]).await;
    let gate = writing(&stubs, address, "retry: { attempts: 1 }", r#"patch: "it/a", body: request"#);
    let asking = gate.ask("POST", "/it/99").header("content-type", "text/x").body("as { it came");
    asking.send().await.expect(200);
    let (method, _, headers, body) = seen.lock().remove(0);
    assert_eq!(
        (method.as_str(), &headers[header::CONTENT_TYPE], &*body),
        ("PATCH", &"text/x".parse().unwrap(), &b"as { it came"[..])
    );
    gate.ask("POST", "/it/99").body("x".repeat(65)).send().await.expect(413);
    assert_eq!((seen.lock().len(), stubs.recorder().counts(Service::Order).total), (0, 1));
}

#[tokio::test]
async fn a_write_is_sent_again_only_where_its_upstream_says_so_and_by_the_same_key() {
    let stubs = stubs();
    let retry = "retry: { methods: all, attempts: 2, backoff: 1ms, budget: { per_second: 1000 } }";
    for (retry, script, asked, status) in [
        ("retry: { attempts: 3 }", &[502][..], 1, 502),
        (retry, &[502], 2, 200),
        // The second attempt is refused, maybe since the first was not.
        (retry, &[502, 409], 2, 502),
    ] {
        let (address, seen) = scripted(script).await;
        let gate = writing(&stubs, address, retry, r#"post: "it/a", body: request"#);
        let answer = gate.ask("POST", "/it/99").body("b").send().await.expect(status);
        let keys: Vec<_> =
            seen.lock().iter().map(|(_, _, headers, _)| headers["idempotency-key"].clone()).collect();
        assert_eq!(keys.len(), asked, "{script:?}");
        assert!(keys.iter().all(|key| *key == answer.header("x-request-id")), "{keys:?}");
        if status == 502 {
            assert_eq!(answer.code(), "write_unconfirmed");
        }
    }
}

#[tokio::test]
async fn a_write_ends_what_is_kept_unless_it_was_refused() {
    let stubs = stubs();
    let (address, seen) = scripted(&[409, 500]).await;
    let order = stubs.address(Service::Order);
    let gate = Gate::start(&format!(
        "upstreams:\n  order: {{ url: \"http://{order}\" }}\n  it: {{ url: \"http://{address}\" }}\nroutes:\n  \
         - path: /it/{{id}}\n    auth: none\n    compose: {{ order: {{ get: \"order/orders/{{id}}\", cache: {{ ttl: 1h, tags: [\"order:{{id}}\"] }} }} }}\n  \
         - path: /it/{{id}}\n    auth: none\n    methods: [POST]\n    invalidates: [\"order:{{id}}\"]\n    compose: {{ it: {{ post: it/a }} }}\n"
    ));
    let read = async || told(&gate.get("/it/99").send().await.expect(200));
    assert_eq!(read().await, "order;s=ok");
    cancel(&gate).await.expect(409);
    assert!(read().await.starts_with("order;s=hit"), "nothing has changed");
    for status in [502, 200] {
        cancel(&gate).await.expect(status);
        assert_eq!(read().await, "order;s=ok", "after {status}");
    }
    assert_eq!(seen.lock().len(), 3);
}

#[tokio::test]
async fn a_write_ends_what_is_kept_of_its_own_url_unless_it_was_refused() {
    let stubs = stubs();
    let (address, _seen) = scripted(&[409, 500]).await;
    let order = stubs.address(Service::Order);
    let gate = Gate::start(&format!(
        "upstreams:\n  order: {{ url: \"http://{order}\" }}\n  it: {{ url: \"http://{address}\" }}\nroutes:\n  \
         - path: /orders/{{id}}\n    auth: none\n    cache: {{ ttl: 1h }}\n    forward: {{ to: order }}\n  \
         - path: /orders/{{id}}\n    auth: none\n    methods: [POST]\n    compose: {{ it: {{ post: it/a }} }}\n"
    ));
    let asked = || stubs.recorder().counts(Service::Order).total;
    let read = async |path: &str| gate.get(path).send().await.expect(200);
    let write = async |status| gate.ask("POST", "/orders/99").send().await.expect(status);
    read("/orders/99").await;
    write(409).await;
    read("/orders/99").await;
    assert_eq!(asked(), 1, "nothing has changed");
    for (status, total) in [(502, 2), (200, 3)] {
        write(status).await;
        read("/orders/99").await;
        read("/orders/99").await;
        assert_eq!(asked(), total, "after {status}");
    }
    read("/orders/99?x=1").await;
    write(200).await;
    read("/orders/99?x=1").await;
    assert_eq!(asked(), 4, "another URL stays");
}

#[tokio::test]
async fn a_write_that_is_repeated_by_its_key_is_done_once() {
    let stubs = stubs();
    let gate = composing(&stubs, "methods: [POST]\ncompose:\n  made: { post: order/orders, body: request }");
    let order = |quantity: u32| {
        json!({
            "consumerId": 1_511_300_065_921_u64, "restaurantId": 1, "deliveryTime": "2099-01-01T19:00:00",
            "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
            "lineItems": [{"menuItemId": "1", "quantity": quantity}],
        })
    };
    let make = async |key: &str, quantity: u32, status: u16| {
        let asking = gate.ask("POST", "/it/1").header("idempotency-key", key).json(&order(quantity));
        asking.send().await.expect(status).json()["made"]["orderId"].clone()
    };
    // The first answer is lost: nobody knows whether there is an order.
    fault(&stubs, Service::Order, json!({"truncate": 5})).await;
    make("k", 5, 502).await;
    stubs.faults().heal(Service::Order).await;
    let first = make("k", 5, 200).await;
    assert_eq!(make("k", 5, 200).await, first);
    make("k", 6, 422).await;
    let other = make("l", 5, 200).await;
    assert_eq!(other.as_u64(), first.as_u64().map(|id| id + 1), "no other order was made before it");
}

#[tokio::test]
async fn a_body_is_written_from_the_clients_own() {
    let stubs = stubs();
    let (address, seen) = scripted(&[]).await;
    let body = r#"body: { a: "{body.x}", b: "{body.y.z} of {id}", c: "{order.restaurantId}" }"#;
    let write = format!(r#"post: "it/a/{{order.orderId}}", {body}, headers: {{ If-Match: "{{body.y.z}}" }}"#);
    let gate = writing(&stubs, address, "retry: { attempts: 1 }", &write);
    let send = |body: &'static str| {
        let asking = gate.ask("POST", "/it/99").header("content-type", "application/json");
        asking.body(body).send()
    };
    send(r#"{"x": {"n":1.50, "a":[1]}, "y":{"z":"q"}}"#).await.expect(200);
    let (_, _, headers, body) = seen.lock().remove(0);
    assert_eq!(body, r#"{"a":{"n":1.50, "a":[1]},"b":"q of 99","c":1}"#, "byte for byte");
    assert_eq!(headers["if-match"], "q");
    let asked = stubs.recorder().counts(Service::Order).total;
    assert_eq!(send(r#"{"x":1,"y":{}}"#).await.expect(400).code(), "missing_input");
    for (wrong, status) in [("", 400), ("{", 400), (r#"{"x":1,"x":2,"y":{"z":1}}"#, 400)] {
        send(wrong).await.expect(status);
    }
    gate.ask("POST", "/it/99").header("content-type", "text/plain").body("{}").send().await.expect(415);
    assert_eq!(seen.lock().len(), 0);
    assert_eq!(stubs.recorder().counts(Service::Order).total, asked + 1, "a body that is none asks nobody");
}

#[tokio::test]
async fn a_body_that_does_not_fit_is_refused_and_one_that_does_goes_on_whole() {
    let (address, seen) = scripted(&[]).await;
    let gate = Gate::start(&format!(
        "upstreams:\n  it: {{ url: \"http://{address}\" }}\nschemas:\n  N: {{ type: object, required: [n], properties: {{ n: \
         {{ type: integer }} }} }}\nroutes:\n  - path: /it\n    auth: none\n    methods: [POST]\n    request: {{ body: N }}\n    \
         compose: {{ it: {{ post: it/a, body: request }} }}\n"
    ));
    let wrong = gate.ask("POST", "/it").json(&json!({"n": "1"})).send().await.expect(400);
    assert_eq!((wrong.code().as_str(), seen.lock().len()), ("invalid_request", 0));
    gate.ask("POST", "/it").json(&json!({"n": 1})).send().await.expect(200);
    assert_eq!(seen.lock()[0].3, "{\"n\":1}");
}
