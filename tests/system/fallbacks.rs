//! What stands in for a service that does not answer: given beforehand, told as what it is, and counted as a fault.

use std::time::Duration;

use serde_json::json;

use crate::{
    client::Answer,
    harness::Gate,
    replicas::{Replica, Then},
};

const MS: Duration = Duration::from_millis(1);

/// A route to `replica` with this fallback.
fn forwarded(replica: &Replica, fallback: &str) -> Gate {
    Gate::start(&format!(
        "upstreams:\n  menu: {{ url: \"http://{}\", retry: {{ attempts: 1 }}, circuit_breaker: {{ min_calls: 10000 }} }}\n\
         routes:\n  - path: /menu\n    methods: [GET, POST]\n    auth: none\n    timeout: 400ms\n    max_body: 8B\n    \
         forward: {{ to: menu, fallback: {fallback} }}\n",
        replica.address
    ))
}

async fn metric(gate: &Gate, line: &str) -> bool {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    text.lines().any(|told| told == line)
}

#[tokio::test]
async fn a_read_without_an_answer_is_answered_by_the_given_value_which_says_what_it_is() {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = forwarded(&replica, "{ value: { dishes: [] }, statuses: [503] }");
    for (then, told) in [
        (Then::Hang, "gateway;error=http_response_timeout"),
        (Then::Reset, "gateway;error=connection_terminated"),
        (Then::Answer(503), "gateway;received-status=503"),
    ] {
        replica.does(then, Duration::ZERO);
        for answer in [gate.get("/menu").send().await, gate.get("/menu").send_h2().await] {
            let answer = answer.expect(200);
            assert_eq!(answer.bytes(), r#"{"dishes":[]}"#);
            assert_eq!(answer.header("content-type"), "application/json");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("proxy-status"), told);
        }
    }
    replica.does(Then::Answer(200), Duration::ZERO);
    let answer = gate.get("/menu").send().await.expect(200);
    assert_eq!((answer.header("proxy-status"), answer.bytes().as_ref()), ("", b"{}".as_slice()));
    assert!(metric(&gate, r#"gateway_upstream_fallbacks_total{upstream="menu"} 6"#).await);
    for (outcome, count) in [("timeout", 2), ("broken", 2), ("5xx", 2), ("ok", 1)] {
        let line = format!(r#"gateway_upstream_calls_total{{upstream="menu",outcome="{outcome}"}} {count}"#);
        assert!(metric(&gate, &line).await, "{line}");
    }
}

#[tokio::test]
async fn what_has_an_answer_or_is_the_clients_own_doing_has_no_fallback() {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = forwarded(&replica, "{ value: [], methods: all }");
    for status in [404, 500, 503] {
        replica.does(Then::Answer(status), Duration::ZERO);
        assert_eq!(gate.get("/menu").send().await.expect(status).bytes(), "{}");
    }
    let too_large = gate.ask("POST", "/menu").body("more than eight bytes").send().await.expect(413);
    assert_eq!(too_large.code(), "body_too_large");
    replica.does(Then::CutByLength, Duration::ZERO);
    let cut = gate.get("/menu").send().await.expect(200);
    assert!(cut.body.is_err(), "{cut:?}");
    gate.get("/menus").send().await.expect(404);
}

#[tokio::test]
async fn a_write_has_a_fallback_only_where_that_is_said() {
    let replica = Replica::start(Duration::ZERO).await;
    replica.does(Then::Reset, Duration::ZERO);
    let safe = forwarded(&replica, "{ value: [] }");
    safe.get("/menu").send().await.expect(200);
    assert_eq!(safe.ask("POST", "/menu").send().await.expect(502).code(), "upstream_failed");
    let all = forwarded(&replica, "{ value: { queued: true }, status: 202, methods: all }");
    assert_eq!(all.ask("POST", "/menu").send().await.expect(202).json(), json!({"queued": true}));
}

#[tokio::test]
async fn a_given_problem_is_a_problem_document_of_its_own_code() {
    let nobody = Replica::start(Duration::ZERO).await;
    nobody.does(Then::Reset, Duration::ZERO);
    let gate = forwarded(&nobody, "{ problem: { code: menu_closed, detail: The menu cannot be read. } }");
    let answer = gate.get("/menu").send().await.expect(503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem = json!({
        "type": "about:blank", "status": 503, "title": "Service Unavailable", "code": "menu_closed",
        "detail": "The menu cannot be read.",
    });
    assert_eq!(answer.json(), problem);
    let head = gate.ask("HEAD", "/menu").send().await.expect(503);
    assert_eq!(head.header("content-length"), answer.bytes().len().to_string());
}

/// Of two parts, `ticket` may be missing.
fn composed(order: &Replica, kitchen: &Replica) -> Gate {
    let once = "retry: { attempts: 1 }, circuit_breaker: { min_calls: 10000 }";
    Gate::start(&format!(
        "upstreams:\n  order: {{ url: \"http://{}\", {once} }}\n  kitchen: {{ url: \"http://{}\", {once} }}\nroutes:\n  \
         - path: /orders/{{id}}\n    auth: none\n    timeout: 2s\n    compose:\n      \
         ticket:\n        get: \"kitchen/tickets/{{id}}\"\n        optional: true\n        timeout: 200ms\n        \
         fallback: {{ value: {{ state: UNKNOWN, tags: [1, ~] }} }}\n      order: {{ get: \"order/orders/{{id}}\" }}\n",
        order.address, kitchen.address
    ))
}

fn told(answer: &Answer) -> &str {
    answer.header("composition-status").split(";t=").next().unwrap_or_default()
}

#[tokio::test]
async fn a_missing_part_is_spliced_in_from_its_fallback_and_told_as_missing() {
    let (order, kitchen) = (Replica::start(Duration::ZERO).await, Replica::start(Duration::ZERO).await);
    let gate = composed(&order, &kitchen);
    let answer = gate.get("/orders/99").send().await.expect(200);
    assert_eq!(
        (told(&answer), answer.bytes().as_ref()),
        ("ticket;s=ok", br#"{"ticket":{},"order":{}}"#.as_slice())
    );
    for (then, reason) in [
        (Then::Hang, "timeout"),
        (Then::Reset, "reset"),
        (Then::CutByLength, "wrong-type"),
        (Then::Answer(404), "not-found"),
        (Then::Answer(500), "status;code=500"),
    ] {
        kitchen.does(then, MS);
        let answer = gate.get("/orders/99").send().await.expect(200);
        assert_eq!(told(&answer), format!("ticket;s=missing;reason={reason};fallback"));
        assert_eq!(answer.bytes(), r#"{"ticket":{"state":"UNKNOWN","tags":[1,null]},"order":{}}"#);
    }
    assert!(metric(&gate, r#"gateway_upstream_fallbacks_total{upstream="kitchen"} 5"#).await);
    assert!(metric(&gate, r#"gateway_upstream_calls_total{upstream="kitchen",outcome="timeout"} 1"#).await);
    order.does(Then::Answer(500), MS);
    assert_eq!(gate.get("/orders/99").send().await.expect(502).code(), "upstream_failed");
}
