//! One answer from four services: all asked at once, their bytes as they sent them, and nothing left running.
//!
//! Not here: what happens when one of them fails (`partial_failure.rs`).

use std::time::{Duration, Instant};

use ftgo::stubs::service::Service;
use serde_json::json;

use crate::{
    composition_graph::composing,
    harness::{Ftgo, JOHN, stubs, until},
    wire::exchange,
};

const PARTS: [Service; 4] = [Service::Order, Service::Kitchen, Service::Delivery, Service::Accounting];

#[tokio::test]
async fn four_services_of_a_tenth_of_a_second_take_a_tenth_of_a_second() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    for service in PARTS {
        ftgo.fault(service, json!({"latency": "100ms"})).await;
    }
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        ftgo.get("/orders/99").token(&token).send().await.expect(200);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    assert!(took[9] < Duration::from_millis(115), "{took:?}");
}

#[tokio::test]
async fn parts_are_spliced_as_their_services_sent_them() {
    let ftgo = Ftgo::start().await;
    let odd = [
        (Service::Order, "{ \"orderId\" : 99 ,\n \"new\": [1.0, 12345678901234567890] }"),
        (Service::Kitchen, "{\"state\":\"NEVER_HEARD_OF\",\"state\":1e400}"),
        (Service::Delivery, "  [ null ]\t"),
        (Service::Accounting, "\"\\u00fc \u{fc}\""),
    ];
    for (service, body) in odd {
        ftgo.fault(
            service,
            json!({"fault": {"status": 200, "headers": {"content-type": "application/json"}, "body": body}}),
        )
        .await;
    }
    let answer = ftgo.get("/orders/99").token(&ftgo.support()).send().await.expect(200);
    let [order, ticket, delivery, bill] = odd.map(|(_, body)| body);
    let spliced = format!(
        "{{\"orderInfo\":{order},\"ticketInfo\":{ticket},\"deliveryInfo\":{delivery},\"billInfo\":{bill}}}"
    );
    assert_eq!(answer.bytes(), &spliced);
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn the_composed_answer_holds_what_each_service_answers() {
    let ftgo = Ftgo::start().await;
    let answer = ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    let composed = answer.json();
    let paths = [
        ("orderInfo", Service::Order, "/orders/99"),
        ("ticketInfo", Service::Kitchen, "/tickets/99"),
        ("deliveryInfo", Service::Delivery, "/deliveries/99"),
        ("billInfo", Service::Accounting, "/bills/99"),
    ];
    for (part, service, path) in paths {
        let own = crate::client::ask(ftgo.stubs.address(service), "GET", path).send().await.expect(200);
        assert_eq!(composed[part], own.json(), "{part}");
        assert!(answer.header("composition-status").contains(&format!("{part};s=ok;t=")), "{answer:?}");
    }
}

#[tokio::test]
async fn head_is_answered_as_get_without_a_body() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let get = ftgo.get("/orders/99").token(&token).send().await.expect(200);
    let head = ftgo.gate.ask("HEAD", "/orders/99").token(&token).send().await.expect(200);
    assert!(head.bytes().is_empty());
    for name in ["content-type", "content-length"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_all_calls_made_for_it() {
    let ftgo = Ftgo::start().await;
    for service in PARTS {
        ftgo.fault(service, json!({"fault": "hang"})).await;
    }
    let in_flight = || PARTS.map(|service| ftgo.stubs.recorder().counts(service).in_flight);
    let cancelled = || PARTS.map(|service| ftgo.stubs.recorder().counts(service).cancelled);
    let asked = ftgo.get("/orders/99").token(&ftgo.consumer(JOHN));
    let asking = tokio::spawn(asked.send());
    until("all services are asked", || in_flight() == [1; 4]).await;
    asking.abort();
    until("all calls are cancelled", || cancelled() == [1; 4]).await;
}

#[tokio::test]
async fn a_refused_composition_stops_what_it_had_begun() {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Order, json!({"latency": "100ms", "fault": {"status": 500}})).await;
    ftgo.fault(Service::Delivery, json!({"fault": "hang"})).await;
    ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await.expect(502);
    until("the hung call is cancelled", || ftgo.stubs.recorder().counts(Service::Delivery).cancelled == 1)
        .await;
}

#[tokio::test]
async fn ids_go_to_the_services_as_they_were_sent() {
    let stubs = stubs();
    let gate = composing(&stubs, "compose:\n  order: { get: \"order/orders/{id}\" }");
    let request = "GET /it/9%3F9%20%26 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    exchange(gate.address(), request).await;
    let seen = stubs.recorder().counts(Service::Order).last;
    assert_eq!(seen[0].path, "/orders/9%3F9%20%26");
}
