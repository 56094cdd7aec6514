//! An answer that the service did not finish is never delivered as if it were complete, whoever speaks which HTTP.

use std::time::{Duration, Instant};

use ftgo::stubs::service::Service;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    client::Answer,
    harness::{Ftgo, Gate, JOHN, MARY, stubs, until},
    wire::{self, Scripted, exchange},
};

const BY_LENGTH: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this much";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n";
const IN_A_CHUNK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\nonly";

async fn over_both(gate: &Gate) -> [Answer; 2] {
    [gate.get("/it").send().await, gate.get("/it").send_h2().await]
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_client_too() {
    for cut in [BY_LENGTH, CHUNKED, IN_A_CHUNK] {
        let service = Scripted::start(cut).await;
        let gate = Gate::start(&service.yaml(""));
        for answer in over_both(&gate).await {
            assert_eq!(answer.status, 200, "{cut}");
            assert!(answer.body.is_err(), "delivered as complete: {cut}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_cut_chunked_answer_has_no_last_chunk_on_the_wire() {
    let service = Scripted::start(CHUNKED).await;
    let gate = Gate::start(&service.yaml(""));
    let answer = exchange(gate.address(), "GET /it HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(!answer.contains("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_part_that_is_no_utf_8_does_not_break_the_answer() {
    let service = crate::cached::service::Service::start(|request, _| {
        let text: &'static [u8] =
            if request.uri().path() == "/a" { b"{\"a\":1.0}" } else { b"{\"b\":\"caf\xe9\"}" };
        axum::response::Response::builder()
            .header("content-type", "application/json")
            .body(axum::body::Body::from(text))
            .unwrap()
    })
    .await;
    let gate = Gate::start(&format!(
        "upstreams: {{ it: {{ url: \"http://{}\" }} }}\nroutes:\n  - path: /{{id}}\n    auth: none\n    compose:\n      \
         a: {{ get: \"it/{{id}}\" }}\n      b: {{ get: it/b, optional: true }}\n",
        service.address
    ));
    let answer = gate.get("/a").send().await.expect(200);
    assert_eq!(answer.bytes(), r#"{"a":{"a":1.0}}"#);
    assert!(answer.header("composition-status").contains("b;s=missing;reason=malformed"), "{answer:?}");
    gate.get("/b").send().await.expect(502);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let service = Scripted::start("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    let gate = Gate::start(&service.yaml(""));
    for answer in over_both(&gate).await {
        assert_eq!(answer.bytes(), "all of it");
    }
}

#[tokio::test]
async fn what_is_no_http_is_a_bad_gateway() {
    for no_http in
        ["SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", ""]
    {
        let service = Scripted::start(no_http).await;
        let gate = Gate::start(&service.yaml(""));
        for answer in over_both(&gate).await {
            assert_eq!((answer.status, answer.code().as_str()), (502, "upstream_failed"), "{no_http}");
        }
    }
}

#[tokio::test]
async fn a_connection_with_a_cut_answer_is_not_used_again() {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Restaurant, json!({"fault": {"truncate": 10}})).await;
    for _ in 0..5 {
        assert!(ftgo.get("/restaurants/1").send().await.body.is_err());
    }
    ftgo.stubs.faults().heal(Service::Restaurant).await;
    for _ in 0..5 {
        assert_eq!(ftgo.get("/restaurants/1").send().await.expect(200).json()["name"], "Ajanta");
    }
}

#[tokio::test]
async fn a_trickled_answer_is_cut_at_the_deadline() {
    let stubs = stubs();
    stubs.faults().set(Service::Restaurant, json!({"fault": {"trickle": "50ms"}})).await.unwrap();
    let yaml = wire::yaml(stubs.address(Service::Restaurant), "    timeout: 400ms\n");
    let gate = Gate::start(&yaml.replace("forward: { to: it }", "forward: { to: it, path: /restaurants/1 }"));
    let begun = Instant::now();
    for answer in over_both(&gate).await {
        assert_eq!(answer.status, 200);
        assert!(answer.body.is_err(), "{answer:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    until("the calls are cancelled", || stubs.recorder().counts(Service::Restaurant).cancelled == 2).await;
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_body_cancels_the_call() {
    let stubs = stubs();
    stubs.faults().set(Service::Restaurant, json!({"fault": {"trickle": "50ms"}})).await.unwrap();
    let yaml = wire::yaml(stubs.address(Service::Restaurant), "");
    let gate = Gate::start(&yaml.replace("forward: { to: it }", "forward: { to: it, path: /restaurants/1 }"));
    let begun = gate.get("/it").begin().await;
    assert_eq!(stubs.recorder().counts(Service::Restaurant).in_flight, 1);
    drop(begun);
    until("the call is cancelled", || stubs.recorder().counts(Service::Restaurant).cancelled == 1).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_cancels_the_call() {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Restaurant, json!({"fault": "hang"})).await;
    let counts = || ftgo.stubs.recorder().counts(Service::Restaurant);
    let asked = || ftgo.get("/restaurants/1").header("cache-control", "no-store"); // each for itself
    let over_h1 = tokio::spawn(asked().send());
    let over_h2 = tokio::spawn(asked().send_h2());
    until("both are asked", || counts().in_flight == 2).await;
    over_h1.abort();
    over_h2.abort();
    until("both calls are cancelled", || counts().cancelled == 2).await;
}

#[tokio::test]
async fn a_service_that_closes_idle_connections_is_no_fault() {
    let address = wire::service(|mut stream| async move {
        // Keep-alive is promised, and after one answer the connection is closed all the same.
        wire::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    })
    .await;
    let gate = Gate::start(&wire::yaml(address, ""));
    for _ in 0..30 {
        assert_eq!(gate.get("/it").send().await.expect(200).bytes(), "ok");
    }
}

#[tokio::test]
async fn a_number_that_nothing_can_hold_is_no_matter_to_a_rule_that_does_not_look_at_it() {
    let ftgo = Ftgo::start().await;
    let order =
        r#"{"orderId":99,"state":"APPROVED","consumerId":1511300065921,"restaurantId":1,"weight":1e400}"#;
    let headers = json!({"content-type": "application/json"});
    let fault = json!({"status": 200, "headers": headers, "body": order});
    ftgo.fault(Service::Order, json!({"method": "GET", "fault": fault})).await;
    let composed = ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    let text = String::from_utf8(composed.bytes().to_vec()).unwrap();
    assert!(text.contains(order), "{text}");
    ftgo.get("/orders/99").token(&ftgo.consumer(MARY)).send().await.expect(404);
    ftgo.post("/orders/99/cancel").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    ftgo.post("/orders/99/cancel").token(&ftgo.consumer(MARY)).send().await.expect(404);
}
