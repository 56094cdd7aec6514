//! Parts that call methods of gRPC: their messages, what becomes of statuses, and the write that one of them may be.
//!
//! Not here: requests that are forwarded to gRPC (`grpc.rs`), what else a write of a composition is (`composition_write.rs`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use ftgo::stubs::{Stubs, service::Service};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::Answer,
    composition_graph::told,
    grpc::{Byte, Said},
    harness::{Gate, JOHN, MARY, config_folder, stubs, until, web_yaml},
};

const GET: &str = "gRPC orderservice.OrderService/getOrder";
const CREATE: &str = "gRPC orderservice.OrderService/createOrder";

/// An order over gRPC, by what its ticket says of it, and its bill by what the order says.
const READ: &str = r#"
timeout: 3s
compose:
  ticket: { get: "kitchen/tickets/{id}" }
  order: { grpc: calls/orderservice.OrderService/getOrder, message: { orderId: "{ticket.orderId}" } }
  bill: { get: "accounting/bills/{order.orderId}" }
"#;

/// An order at the restaurant of a ticket, with all else from the client's body.
const WRITE: &str = r#"
methods: [POST]
timeout: 3s
compose:
  ticket: { get: "kitchen/tickets/{id}" }
  created:
    grpc: calls/orderservice.OrderService/createOrder
    write: true
    timeout: 1s
    message:
      restaurantId: "{ticket.restaurantId}"
      consumerId: "{body.consumerId}"
      deliveryTime: "{body.deliveryTime}"
      deliveryAddress: "{body.deliveryAddress}"
      lineItems: [{ menuItemId: "{body.dish.id}", quantity: "{body.dish.count}" }]
"#;

/// A gateway before `stubs` with one open route `/it/{id}` of these lines; `keys` are the gRPC side's.
fn calling(stubs: &Stubs, calls: SocketAddr, keys: &str, lines: &str) -> Gate {
    let upstream = |service: &Service| {
        format!(
            "  {}: {{ url: \"http://{}\", retry: {{ attempts: 1 }} }}\n",
            service.name(),
            stubs.address(*service)
        )
    };
    let upstreams: String = Service::ALL.iter().map(upstream).collect();
    let lines: String = lines.trim().lines().map(|line| format!("    {line}\n")).collect();
    Gate::start(&format!(
        "grpc: {{ descriptors: [{}], reasons: {{ IDEMPOTENCY_KEY_REUSED: 422 }} }}\nupstreams:\n{upstreams}  \
         calls: {{ url: \"http://{calls}\", protocol: http2, {keys} }}\nroutes:\n  - path: /it/{{id}}\n    auth: none\n{lines}",
        config_folder().join("order.binpb").display()
    ))
}

fn patient(stubs: &Stubs, lines: &str) -> Gate {
    calling(stubs, stubs.grpc(), "circuit_breaker: { min_calls: 10000 }", lines)
}

async fn fault(stubs: &Stubs, service: Service, fault: Value) {
    stubs.faults().set(service, json!({ "fault": fault })).await.unwrap();
}

fn asked(stubs: &Stubs, method: &str) -> u64 {
    stubs.recorder().counts(Service::Order).by_route.get(method).copied().unwrap_or_default()
}

/// What the last call carried under `name`.
fn carried(stubs: &Stubs, name: &str) -> Vec<String> {
    let counts = stubs.recorder().counts(Service::Order);
    let fields = counts.last[0].headers.iter();
    fields.filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
}

fn body() -> Value {
    json!({
        "consumerId": 1_511_300_065_921_u64, "deliveryTime": "2099-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "dish": {"id": "1", "count": 5},
    })
}

async fn create(gate: &Gate, key: &str, body: &Value) -> Answer {
    gate.ask("POST", "/it/99").header("idempotency-key", key).json(body).send().await
}

#[tokio::test]
async fn a_part_is_read_over_grpc_between_others() {
    let stubs = stubs();
    let gate = patient(&stubs, READ);
    let asking = gate
        .get("/it/99")
        .header("cookie", "a=b")
        .header("idempotency-key", "k")
        .header("grpc-timeout", "1H");
    let answer = asking.send().await.expect(200);
    assert_eq!(told(&answer), "ticket;s=ok, order;s=ok, bill;s=ok");
    let order = json!({
        "orderId": 99, "consumerId": 1_511_300_065_921_u64, "restaurantId": 1, "state": "APPROVED", "orderTotal": "61.70"
    });
    assert_eq!((&answer.json()["order"], &answer.json()["bill"]["orderId"]), (&order, &json!(99)));
    assert_eq!((asked(&stubs, GET), asked(&stubs, "GET /orders/{id}")), (1, 0));
    assert_eq!(carried(&stubs, "content-type"), ["application/grpc+proto"]);
    assert_eq!(carried(&stubs, "te"), ["trailers"]);
    assert_eq!(carried(&stubs, "x-request-id"), [answer.header("x-request-id")]);
    for name in ["cookie", "idempotency-key", "authorization", "accept"] {
        assert!(carried(&stubs, name).is_empty(), "{name}");
    }
    let [timeout] = &carried(&stubs, "grpc-timeout")[..] else { panic!("one deadline") };
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=3_000).contains(&millis), "{timeout}: the route's");
}

#[tokio::test]
async fn a_rule_is_decided_by_what_is_read_over_grpc() {
    let stubs = stubs();
    let rest = "orderInfo: { get: order/orders/{orderId}, schema: Order }";
    let grpc = "orderInfo: { grpc: order-grpc/orderservice.OrderService/getOrder, message: { orderId: \"{orderId}\" }, schema: Order }";
    let yaml = web_yaml(&stubs);
    assert!(yaml.contains(rest));
    let gate = Gate::of(&yaml.replace(rest, grpc));
    until("the gateway has keys", || gate.ready()).await;
    let token = |sub| stubs.token(sub, &["consumer"], "orders:read");
    let answer = gate.get("/orders/99").token(&token(JOHN)).send().await.expect(200).json();
    assert_eq!(answer["orderInfo"]["consumerId"].as_u64(), JOHN.parse().ok());
    assert_eq!(answer["restaurantInfo"]["name"], "Ajanta");
    gate.get("/orders/99").token(&token(MARY)).send().await.expect(404);
    let old = gate.get("/v1/orders/99").token(&token(JOHN)).send().await.expect(200).json();
    assert_eq!((&old["status"], &old["total"]), (&json!("APPROVED"), &json!("61.70")), "versions too");
    let document = gate.get("/openapi.json").send().await.expect(200).json();
    let schema = &document["paths"]["/orders/{orderId}"]["get"]["responses"]["200"]["content"]["application/json"]
        ["schema"];
    assert_eq!(schema["properties"]["orderInfo"]["$ref"], "#/components/schemas/Order");
    assert_eq!(schema["required"], json!(["orderInfo"]));
}

#[tokio::test]
async fn statuses_make_of_a_part_what_those_of_http_do() {
    let stubs = stubs();
    let optional = READ.replace("{ticket.orderId}\" }", "{ticket.orderId}\" }, optional: true");
    let optional = optional.replace("bills/{order.orderId}\"", "bills/{order.orderId}\", optional: true");
    let (required, optional) = (patient(&stubs, READ), patient(&stubs, &optional));
    for (scripted, status, code, reason) in [
        (json!({"status": 400}), 400, "bad_request", "status;code=400"),
        (json!({"status": 401}), 502, "upstream_failed", "status;code=502"),
        (json!({"status": 403}), 502, "upstream_failed", "status;code=403"),
        (json!({"status": 404}), 404, "not_found", "not-found"),
        (json!({"status": 409}), 409, "conflict", "status;code=409"),
        (json!({"status": 429}), 503, "upstream_unavailable", "status;code=429"),
        (json!({"status": 500}), 502, "upstream_failed", "status;code=502"),
        (json!({"status": 503}), 503, "upstream_unavailable", "status;code=503"),
        (json!({"status": 504}), 504, "upstream_timeout", "timeout"),
        (json!("malformed"), 502, "upstream_failed", "malformed"),
        (json!("wrong-type"), 502, "upstream_failed", "wrong-type"),
        (json!("reset"), 502, "upstream_failed", "reset"),
    ] {
        fault(&stubs, Service::Order, scripted.clone()).await;
        let answer = required.get("/it/99").send().await.expect(status);
        assert_eq!(answer.code(), code, "{scripted}");
        assert_eq!(answer.header("retry-after"), if status == 503 { "1" } else { "" }, "{scripted}");
        let answer = optional.get("/it/99").send().await.expect(200);
        assert_eq!(told(&answer), format!("ticket;s=ok, order;s=missing;reason={reason}, bill;s=skipped"));
        assert!(answer.json().get("order").is_none());
    }
    let refusals = asked(&stubs, GET);
    assert_eq!(refusals, 24, "none is asked for twice");
}

#[tokio::test]
async fn a_part_has_its_own_time_and_its_service_knows_it() {
    let stubs = stubs();
    let gate =
        patient(&stubs, &READ.replace("\"{ticket.orderId}\" }", "\"{ticket.orderId}\" }, timeout: 200ms"));
    fault(&stubs, Service::Order, json!("hang")).await;
    let begun = Instant::now();
    assert_eq!(gate.get("/it/99").send().await.expect(504).code(), "upstream_timeout");
    assert!(begun.elapsed() >= Duration::from_millis(195), "{:?}", begun.elapsed());
    let timeout = carried(&stubs, "grpc-timeout").remove(0);
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=200).contains(&millis), "{timeout}");
    until("the service sees the end", || stubs.recorder().counts(Service::Order).cancelled == 1).await;
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_whose_it_is_and_asks_nobody() {
    let stubs = stubs();
    let gate = patient(&stubs, &READ.replace("{ticket.orderId}", "{query.order}"));
    assert_eq!(gate.get("/it/99?order=seven").send().await.expect(400).code(), "bad_request");
    assert_eq!(gate.get("/it/99?order=1&order=2").send().await.expect(400).code(), "missing_input");
    assert_eq!(gate.get("/it/99").send().await.expect(400).code(), "missing_input");
    assert_eq!(asked(&stubs, GET), 0);
    gate.get("/it/99?order=99").send().await.expect(200);
    let gate = patient(&stubs, READ);
    for ticket in [r#"{"orderId":"x"}"#, r#"{"orderId":{}}"#, r#"{"orderId":1.5}"#, "{}"] {
        let said = json!({"status": 200, "headers": {"content-type": "application/json"}, "body": ticket});
        fault(&stubs, Service::Kitchen, said).await;
        assert_eq!(gate.get("/it/99").send().await.expect(502).code(), "upstream_failed", "{ticket}");
    }
    assert_eq!(asked(&stubs, GET), 1);
}

#[tokio::test]
async fn a_service_that_is_not_available_is_not_asked_for_long() {
    let stubs = stubs();
    let gate = calling(&stubs, stubs.grpc(), "circuit_breaker: { min_calls: 5 }", READ);
    fault(&stubs, Service::Order, json!({"status": 404})).await;
    for _ in 0..10 {
        gate.get("/it/99").send().await.expect(404);
    }
    fault(&stubs, Service::Order, json!({"status": 503})).await;
    for _ in 0..40 {
        gate.get("/it/99").send().await.expect(503);
    }
    assert!((11..=30).contains(&asked(&stubs, GET)), "{}", asked(&stubs, GET));
}

#[tokio::test]
async fn fields_of_a_later_version_change_nothing() {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    let (stubs, service) = (stubs(), Byte::start().await);
    let lines = READ.replace(
        "bill: { get: \"accounting/bills/{order.orderId}\" }",
        "bill: { get: \"accounting/bills/{id}\" }",
    );
    let gate = calling(&stubs, service.address, "", &lines);
    service.says(Said::whole(&[b"\0\0\0\0\x09\x08\x63\x22\x05READY"], OK));
    let before = gate.get("/it/99").send().await.expect(200);
    let order = r#"{"orderId":99,"consumerId":0,"restaurantId":0,"state":"READY","orderTotal":""}"#;
    assert_eq!(before.json()["order"], serde_json::from_str::<Value>(order).unwrap());
    // A number as field 15, a text as field 16, and a message as field 100.
    let later: &[u8] = b"\0\0\0\0\x13\x78\x07\x08\x63\x82\x01\x01a\x22\x05READY\xa2\x06\x01\x08";
    service.says(Said::whole(&[later], OK));
    let after = gate.get("/it/99").send().await.expect(200);
    assert_eq!(after.bytes(), before.bytes());
    assert_eq!(service.sent.lock()[1].1, b"\0\0\0\0\x02\x08\x63", "by the ticket's number");
}

#[tokio::test]
async fn a_write_over_grpc_is_one_order_for_one_key() {
    let stubs = stubs();
    let gate = patient(&stubs, WRITE);
    let first = create(&gate, "k", &body()).await.expect(200);
    assert_eq!(told(&first), "ticket;s=ok, created;s=ok");
    assert_eq!(carried(&stubs, "idempotency-key"), ["k"]);
    let again = create(&gate, "k", &body()).await.expect(200);
    assert_eq!(again.json()["created"], first.json()["created"]);
    let other = create(&gate, "l", &body()).await.expect(200);
    assert_ne!(other.json()["created"], first.json()["created"]);
    let mut changed = body();
    changed["dish"]["count"] = json!(6);
    let refused = create(&gate, "k", &changed).await.expect(422);
    assert_eq!(refused.code(), "unprocessable");
    assert!(told(&refused).contains("created;s=failed;reason=status;code=422"), "{}", told(&refused));
    let id = first.json()["created"]["orderId"].as_u64().unwrap();
    let kept = crate::client::ask(stubs.address(Service::Order), "GET", &format!("/orders/{id}"));
    let kept = kept.send().await.expect(200).json();
    assert_eq!((&kept["restaurantId"], &kept["lineItems"][0]["quantity"]), (&json!(1), &json!(5)));
    let unnamed = gate.ask("POST", "/it/99").json(&body()).send().await.expect(200);
    assert_eq!(carried(&stubs, "idempotency-key"), [unnamed.header("x-request-id")], "made for the request");
}

#[tokio::test]
async fn a_write_of_what_the_body_does_not_say_is_not_sent() {
    let stubs = stubs();
    let gate = patient(&stubs, WRITE);
    let mut wrong = body();
    wrong["dish"].as_object_mut().unwrap().remove("count");
    assert_eq!(create(&gate, "k", &wrong).await.expect(400).code(), "missing_input");
    wrong["dish"]["count"] = json!("many");
    assert_eq!(create(&gate, "k", &wrong).await.expect(400).code(), "bad_request");
    let kitchen = stubs.recorder().counts(Service::Kitchen).total;
    for (kind, text, status) in [
        ("text/plain", "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        ("application/json", "{", StatusCode::BAD_REQUEST),
        ("application/json", "{\"dish\":1,\"dish\":2}", StatusCode::BAD_REQUEST),
    ] {
        let asking = gate.ask("POST", "/it/99").header("content-type", kind).body(text);
        asking.send().await.expect(status.as_u16());
    }
    assert_eq!(stubs.recorder().counts(Service::Kitchen).total, kitchen, "nothing is asked for it");
    fault(&stubs, Service::Kitchen, json!({"status": 404})).await;
    create(&gate, "k", &body()).await.expect(404);
    assert_eq!(asked(&stubs, CREATE), 0);
}

#[tokio::test]
async fn what_was_refused_over_grpc_is_said_to_be_and_what_nobody_knows_too() {
    let stubs = stubs();
    let gate = patient(&stubs, &WRITE.replace("timeout: 1s", "timeout: 300ms"));
    for (broken, status, code, state) in [
        (json!({"status": 400}), 400, "bad_request", "failed;reason=status;code=400"),
        (json!({"status": 403}), 502, "upstream_failed", "failed;reason=status;code=403"),
        (json!({"status": 404}), 404, "not_found", "failed;reason=not-found"),
        (json!({"status": 412}), 409, "conflict", "failed;reason=status;code=409"),
        (json!("refuse"), 502, "upstream_failed", "failed;reason=refused"),
        // Not said to be temporary by whoever has not done it: the call may have been under way (gRPC, "Status codes").
        (json!({"status": 503}), 502, "write_unconfirmed", "unknown;reason=status;code=503"),
        (json!({"status": 500}), 502, "write_unconfirmed", "unknown;reason=status;code=502"),
        (json!("malformed"), 502, "write_unconfirmed", "unknown;reason=malformed"),
        (json!("hang"), 504, "write_timeout", "unknown;reason=timeout"),
        (json!({"status": 504}), 504, "write_timeout", "unknown;reason=timeout"),
    ] {
        fault(&stubs, Service::Order, broken.clone()).await;
        let answer = create(&gate, "k", &body()).await.expect(status);
        let all = told(&answer);
        assert!(all.contains(&format!("created;s={state}")), "{broken}: {all}");
        assert_eq!(answer.code(), code, "{broken}");
        let key = if code.starts_with("write_") { "k" } else { "" };
        assert_eq!(answer.header("idempotency-key"), key, "{broken}: what it may be sent again by");
    }
    assert_eq!(asked(&stubs, CREATE), 9, "none was sent twice, and one not at all");
}

#[tokio::test]
async fn a_call_is_repeated_where_its_upstream_says_so_and_a_write_by_the_same_key() {
    let stubs = stubs();
    let retry = "retry: { methods: all, attempts: 2, backoff: 1ms, budget: { per_second: 1000 } }";
    fault(&stubs, Service::Order, json!({"status": 503, "headers": {"retry-after": "0"}})).await;
    calling(&stubs, stubs.grpc(), retry, READ).get("/it/99").send().await.expect(503);
    assert_eq!(asked(&stubs, GET), 2);
    create(&calling(&stubs, stubs.grpc(), retry, WRITE), "k", &body()).await.expect(502);
    assert_eq!(asked(&stubs, CREATE), 2);
    let counts = stubs.recorder().counts(Service::Order);
    let keys = counts
        .last
        .iter()
        .take(2)
        .flat_map(|seen| &seen.headers)
        .filter(|(name, _)| name == "idempotency-key");
    assert_eq!(keys.map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["k", "k"]);
}
