//! What a refusal gives away: nothing. A foreign order looks like one that does not exist.

use ftgo::stubs::service::Service;

use crate::{
    harness::{Ftgo, MARY},
    wire::{exchange, field},
};

/// The answer to John's request as it is on the wire, without what is new in every answer.
async fn raw(ftgo: &Ftgo, method: &str, path: &str, token: &str) -> String {
    let body = match path.rsplit('/').next() {
        Some("revise") => r#"{"revisedOrderLineItems":[{"menuItemId":"1","quantity":10}]}"#,
        Some("accept") => r#"{"readyBy":"2099-01-01T19:00:00"}"#,
        _ => "",
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: ftgo.example\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\
         content-type: application/json\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(ftgo.gate.address(), &request).await;
    let (id, date) = (field(&answer, "x-request-id"), field(&answer, "date"));
    let standing = field(&answer, "ratelimit"); // goes down with every request
    assert!(id.len() == 32 && !date.is_empty() && !standing.is_empty(), "{answer}");
    answer.replace(id, "ID").replace(date, "DATE").replace(standing, "STANDING")
}

#[tokio::test]
async fn a_foreign_order_looks_like_an_unknown_one_byte_for_byte() {
    let ftgo = Ftgo::start().await;
    let mary = ftgo.consumer(MARY);
    for (method, end) in [("GET", ""), ("HEAD", ""), ("POST", "/cancel"), ("POST", "/revise")] {
        let foreign = raw(&ftgo, method, &format!("/orders/99{end}"), &mary).await;
        let unknown = raw(&ftgo, method, &format!("/orders/555{end}"), &mary).await;
        assert!(foreign.starts_with("HTTP/1.1 404 "), "{foreign}");
        assert_eq!(foreign, unknown, "{method} {end}");
    }
}

#[tokio::test]
async fn a_foreign_ticket_or_delivery_looks_like_an_unknown_one() {
    let ftgo = Ftgo::start().await;
    let scope = "restaurants:write deliveries:write";
    let restaurant = ftgo.stubs.token("restaurant-2", &["restaurant"], scope);
    let courier = ftgo.stubs.token("courier-98", &["courier"], scope);
    for (token, kind, action) in [
        (&restaurant, "tickets", "accept"),
        (&restaurant, "tickets", "preparing"),
        (&restaurant, "tickets", "ready"),
        (&courier, "tickets", "pickup"),
        (&courier, "deliveries", "dropoff"),
    ] {
        let foreign = raw(&ftgo, "POST", &format!("/{kind}/107/{action}"), token).await;
        let unknown = raw(&ftgo, "POST", &format!("/{kind}/555/{action}"), token).await;
        assert!(foreign.starts_with("HTTP/1.1 404 "), "{foreign}");
        assert_eq!(foreign, unknown, "{action}");
    }
}

#[tokio::test]
async fn a_foreign_order_is_refused_while_its_slow_parts_are_still_awaited() {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Delivery, serde_json::json!({"fault": "hang"})).await;
    let begun = std::time::Instant::now();
    let answer = ftgo.get("/orders/99").token(&ftgo.consumer(MARY)).send().await.expect(404);
    assert_eq!(answer.code(), "not_found");
    assert!(begun.elapsed().as_millis() < 900, "it waited for the hung part: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_rule_whose_service_is_down_lets_nobody_in() {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Order, serde_json::json!({"method": "GET", "fault": {"status": 500}})).await;
    let token = ftgo.consumer(crate::harness::JOHN);
    let answer = ftgo.post("/orders/99/cancel").token(&token).send().await.expect(502);
    assert_eq!(answer.code(), "upstream_failed");
    let written = ftgo.stubs.recorder().counts(Service::Order).last;
    assert!(written.iter().all(|seen| seen.method == "GET"), "{written:?}");
}
