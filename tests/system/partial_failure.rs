//! A service of a composition fails in every way there is: without an optional part the answer is given and says so,
//! without the required one it is refused by the contract's table.

use std::time::{Duration, Instant};

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::{
    client::Answer,
    harness::{Ftgo, JOHN},
};

/// `GET /orders/99` while one service has this fault.
async fn order_while(ftgo: &Ftgo, service: Service, fault: &Value) -> (Answer, Duration) {
    ftgo.fault(service, json!({"fault": fault})).await;
    let begun = Instant::now();
    let answer = ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await;
    let took = begun.elapsed();
    ftgo.stubs.faults().heal(service).await;
    (answer, took)
}

fn status(code: u16) -> Value {
    json!({"status": code})
}

/// The member of `Composition-Status` about this part, without its time.
fn member<'a>(answer: &'a Answer, part: &str) -> &'a str {
    let members = answer.header("composition-status").split(", ");
    let member = members.filter(|member| member.starts_with(part)).last().unwrap_or_default();
    member.rsplit_once(";t=").expect("a member tells its time").0
}

#[tokio::test]
async fn an_optional_part_that_fails_is_left_out_and_told() {
    let ftgo = Ftgo::start().await;
    for (fault, told) in [
        (status(500), "reason=status;code=500"),
        (status(429), "reason=status;code=429"),
        (status(404), "reason=not-found"),
        (json!("reset"), "reason=reset"),
        (json!("refuse"), "reason=refused"),
        (json!({"truncate": 10}), "reason=cut-short"),
        (json!("malformed"), "reason=malformed"),
        (json!("huge"), "reason=too-large"),
        (json!("wrong-type"), "reason=wrong-type"),
        (json!("hang"), "reason=timeout"),
        (json!({"trickle": "1s"}), "reason=timeout"),
    ] {
        for (service, part) in [
            (Service::Kitchen, "ticketInfo"),
            (Service::Delivery, "deliveryInfo"),
            (Service::Accounting, "billInfo"),
            (Service::Restaurant, "restaurantInfo"),
        ] {
            let (answer, _) = order_while(&ftgo, service, &fault).await;
            assert_eq!(answer.status, 200, "{part} with {fault}: {answer:?}");
            assert_eq!(member(&answer, part), format!("{part};s=missing;{told}"), "with {fault}");
            let body = answer.json();
            assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
            assert!(body.get(part).is_none() && body["orderInfo"]["orderId"] == 99, "{body}");
        }
    }
}

#[tokio::test]
async fn a_required_part_that_fails_refuses_the_answer() {
    for (fault, expected, code) in [
        (status(400), 400, "bad_request"),
        (status(404), 404, "not_found"),
        (status(409), 409, "conflict"),
        (status(410), 410, "gone"),
        (status(422), 422, "unprocessable"),
        (status(429), 503, "upstream_unavailable"),
        (status(503), 503, "upstream_unavailable"),
        (status(401), 502, "upstream_failed"),
        (status(403), 502, "upstream_failed"),
        (status(500), 502, "upstream_failed"),
        (status(504), 502, "upstream_failed"),
        (status(302), 502, "upstream_failed"),
        (json!("reset"), 502, "upstream_failed"),
        (json!("refuse"), 502, "upstream_failed"),
        (json!({"truncate": 10}), 502, "upstream_failed"),
        (json!("malformed"), 502, "upstream_failed"),
        (json!("wrong-type"), 502, "upstream_failed"),
        (json!("huge"), 502, "upstream_failed"),
        (json!("hang"), 504, "upstream_timeout"),
        (json!({"trickle": "1s"}), 504, "upstream_timeout"),
    ] {
        // Each with a gateway of its own: together they are enough failures to open the circuit breaker.
        let ftgo = Ftgo::start().await;
        let (answer, took) = order_while(&ftgo, Service::Order, &fault).await;
        assert_eq!((answer.status, answer.code().as_str()), (expected, code), "with {fault}: {answer:?}");
        assert_eq!(!answer.header("retry-after").is_empty(), expected == 503, "with {fault}: {answer:?}");
        assert!(took < Duration::from_millis(1_700), "with {fault}: {took:?}");
    }
}

#[tokio::test]
async fn a_services_retry_after_is_passed_on() {
    let ftgo = Ftgo::start().await;
    let busy = json!({"status": 503, "headers": {"retry-after": "7"}, "body": "busy"});
    let (answer, _) = order_while(&ftgo, Service::Order, &busy).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "7"));
}

#[tokio::test]
async fn a_hung_optional_part_costs_its_own_time_and_not_the_answer() {
    let ftgo = Ftgo::start().await;
    let (answer, took) = order_while(&ftgo, Service::Delivery, &json!("hang")).await;
    assert_eq!(answer.status, 200);
    assert!((Duration::from_millis(990)..Duration::from_millis(1_500)).contains(&took), "{took:?}");
    let told = answer.header("composition-status");
    let millis: u64 =
        told.split("deliveryInfo;s=missing;reason=timeout;t=").nth(1).unwrap()[..4].parse().unwrap();
    assert!((1_000..1_100).contains(&millis), "{told}");
}

#[tokio::test]
async fn a_forwarded_failure_passes_as_the_service_gave_it() {
    let ftgo = Ftgo::start().await;
    for code in [400, 404, 409, 418, 429, 500, 503] {
        let fault =
            json!({"status": code, "headers": {"x-mine": "1", "retry-after": "9"}, "body": "as it is"});
        ftgo.fault(Service::Restaurant, json!({"fault": fault})).await;
        let answer = ftgo.get("/restaurants/1").send().await.expect(code);
        assert_eq!((answer.header("x-mine"), answer.header("retry-after")), ("1", "9"));
        assert_eq!(answer.bytes(), "as it is");
    }
    ftgo.stubs.faults().heal(Service::Restaurant).await;
    let unknown = ftgo.get("/restaurants/555").send().await.expect(404);
    assert!(unknown.bytes().is_empty(), "{unknown:?}");
}

#[tokio::test]
async fn a_forwarded_call_without_an_answer_is_a_problem_of_the_gateways() {
    let ftgo = Ftgo::start().await;
    for (fault, status, code) in [
        ("reset", 502, "upstream_failed"),
        ("refuse", 502, "upstream_failed"),
        ("hang", 504, "upstream_timeout"),
    ] {
        ftgo.fault(Service::Restaurant, json!({"fault": fault})).await;
        let answer = ftgo.get("/restaurants/1").send().await.expect(status);
        assert_eq!(answer.code(), code);
    }
}
