//! Services that fail behind GraphQL: what they had to say is null with a code, and all else is there.

use std::time::{Duration, Instant};

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::mobile::{Mobile, data, errors};

const PARTS: &str = "{ order(orderId: 99) { orderId state ticket { state } bill { state amount } \
     restaurant { name } consumer { firstName } deliveryInfo { estimatedDeliveryTime } } }";

async fn parts(mobile: &Mobile) -> (Value, Duration) {
    let begun = Instant::now();
    let answer = mobile.ask(&mobile.john(), PARTS).await;
    (answer, begun.elapsed())
}

/// The answer is whole but for this part of the order.
#[track_caller]
fn lacks_only(answer: &Value, part: &str) {
    let order = answer["data"]["order"].as_object().expect("the order is there");
    for (field, value) in order {
        assert_eq!(value.is_null(), field == part, "{field}: {answer}");
    }
    assert_eq!(order.len(), 7);
}

#[tokio::test]
async fn a_hung_kitchen_costs_its_ticket_and_a_second_and_a_half() {
    let mobile = Mobile::start().await;
    mobile.fault(Service::Kitchen, json!({"fault": "hang"})).await;
    let (answer, took) = parts(&mobile).await;
    assert_eq!(errors(&answer), ["order.ticket UPSTREAM_TIMEOUT"]);
    lacks_only(&answer, "ticket");
    assert!((Duration::from_millis(1_450)..Duration::from_millis(1_900)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn what_is_delivered_is_known_without_the_kitchen() {
    let mobile = Mobile::start().await;
    let delivery = |id: i64, state: &str| json!({"deliveryInfo": {"id": id, "state": state}});
    mobile.seed(&json!({
        "orders": [{"orderId": 7_004}, {"orderId": 7_005}],
        "deliveries": [delivery(7_004, "DELIVERED"), delivery(7_005, "SCHEDULED")],
    }));
    mobile.fault(Service::Kitchen, json!({"fault": "hang"})).await;
    let query = "{ there: order(orderId: 7004) { deliveryInfo { status } } \
         unclear: order(orderId: 7005) { deliveryInfo { status assignedCourier } } }";
    let answer = mobile.ask(&mobile.john(), query).await;
    assert_eq!(answer["data"]["there"]["deliveryInfo"]["status"], "DELIVERED");
    let unclear = &answer["data"]["unclear"]["deliveryInfo"];
    assert!(unclear["assignedCourier"].is_string() && unclear["status"].is_null(), "{answer}");
    assert_eq!(errors(&answer), ["unclear.deliveryInfo.status UPSTREAM_TIMEOUT"]);
}

#[tokio::test]
async fn what_is_there_after_two_and_a_half_seconds_is_answered() {
    let mobile = Mobile::start().await;
    mobile.fault(Service::Order, json!({"latency": "1300ms"})).await;
    mobile.fault(Service::Kitchen, json!({"fault": "hang"})).await;
    mobile.fault(Service::Accounting, json!({"latency": "1400ms"})).await;
    let (answer, took) = parts(&mobile).await;
    assert_eq!(errors(&answer), ["order.bill UPSTREAM_TIMEOUT", "order.ticket UPSTREAM_TIMEOUT"]);
    let order = &answer["data"]["order"];
    assert_eq!((&order["state"], &order["restaurant"]["name"]), (&json!("APPROVED"), &json!("Ajanta")));
    assert!((Duration::from_millis(2_300)..Duration::from_millis(2_500)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_service_that_fails_in_any_way_nulls_its_own_fields() {
    for fault in [
        json!("refuse"),
        json!("reset"),
        json!("malformed"),
        json!("wrong-type"),
        json!("huge"),
        json!({"truncate": 10}),
        json!({"status": 500}),
        json!({"status": 503}),
    ] {
        let mobile = Mobile::start().await;
        for (service, part) in [
            (Service::Accounting, "bill"),
            (Service::Kitchen, "ticket"),
            (Service::Restaurant, "restaurant"),
            (Service::Consumer, "consumer"),
        ] {
            mobile.fault(service, json!({ "fault": fault })).await;
            // Restaurants are kept for all: what the part before has left there would bridge the fault.
            mobile.gate.admin_ask("DELETE", "/cache?all").send().await.expect(200);
            let (answer, _) = parts(&mobile).await;
            assert_eq!(errors(&answer), [format!("order.{part} UPSTREAM_UNAVAILABLE")], "with {fault}");
            lacks_only(&answer, part);
            mobile.stubs.faults().heal(service).await;
        }
    }
}

/// In which ways services fail, and the code of that.
fn ways() -> Vec<(Value, &'static str)> {
    vec![
        (json!("refuse"), "UPSTREAM_UNAVAILABLE"),
        (json!("reset"), "UPSTREAM_UNAVAILABLE"),
        (json!({"status": 500}), "UPSTREAM_UNAVAILABLE"),
        (json!({"status": 404}), "NOT_FOUND"),
        (json!("hang"), "UPSTREAM_TIMEOUT"),
        (json!("malformed"), "UPSTREAM_UNAVAILABLE"),
        (json!({"truncate": 10}), "UPSTREAM_UNAVAILABLE"),
        (json!("huge"), "UPSTREAM_UNAVAILABLE"),
    ]
}

async fn fails_in_every_way(service: Service, path: &str) {
    for (fault, code) in ways() {
        let mobile = Mobile::start().await;
        mobile.fault(service, json!({ "fault": fault })).await;
        let (answer, took) = parts(&mobile).await;
        assert_eq!(errors(&answer), [format!("{path} {code}")], "{path} with {fault}");
        let part = path.split('.').nth(1);
        assert_eq!(answer["data"]["order"].is_null(), part.is_none(), "{answer}");
        for (field, value) in answer["data"]["order"].as_object().into_iter().flatten() {
            let below = path.split('.').nth(2).map(|leaf| &value[leaf]);
            let lacks = below.unwrap_or(value).is_null() && part == Some(field);
            assert_eq!(lacks || value.is_null(), part == Some(field), "{field} with {fault}: {answer}");
        }
        assert!(took < Duration::from_millis(2_500), "{path} with {fault} took {took:?}");
    }
}

#[tokio::test]
async fn every_service_fails_in_every_way_at_the_cost_of_its_own_fields_within_the_deadline() {
    tokio::join!(
        fails_in_every_way(Service::Order, "order"),
        fails_in_every_way(Service::Kitchen, "order.ticket"),
        fails_in_every_way(Service::Accounting, "order.bill"),
        fails_in_every_way(Service::Restaurant, "order.restaurant"),
        fails_in_every_way(Service::Consumer, "order.consumer"),
        fails_in_every_way(Service::Delivery, "order.deliveryInfo.estimatedDeliveryTime"),
    );
}

#[tokio::test]
async fn a_failed_order_service_leaves_the_rest_of_the_query() {
    let mobile = Mobile::start().await;
    mobile.fault(Service::Order, json!({"fault": "refuse"})).await;
    let query = "{ order(orderId: 99) { state } restaurant(restaurantId: 1) { name } }";
    let answer = mobile.ask(&mobile.john(), query).await;
    assert_eq!(errors(&answer), ["order UPSTREAM_UNAVAILABLE"]);
    assert_eq!(answer["data"], json!({"order": null, "restaurant": {"name": "Ajanta"}}));
}

#[tokio::test]
async fn unknown_states_and_fields_of_a_service_break_nothing() {
    let mobile = Mobile::start().await;
    let mut order = json!([{"orderId": 99, "consumerId": 1_511_300_065_921_i64, "restaurantId": 1,
        "state": "TELEPORTED", "orderTotal": "61.70", "crew": {"size": [1, 2]}}]);
    mobile.script(Service::Order, &order).await;
    let ticket = json!([{"id": 99, "orderId": 99, "state": "ON_FIRE", "readyBy": "2099-01-01T18:30:00",
        "smoke": [{"deep": {"er": null}}]}]);
    mobile.script(Service::Kitchen, &ticket).await;
    mobile
        .script(Service::Accounting, &json!([{"orderId": 99, "state": "BARTERED", "amount": "61.70"}]))
        .await;
    let query = "{ order(orderId: 99) { state orderTotal ticket { state readyBy } bill { state amount } \
         deliveryInfo { status } } }";
    let answer = mobile.ask(&mobile.john(), query).await;
    order = data(&answer)["order"].clone();
    let expected = json!({"state": null, "orderTotal": "61.70", "deliveryInfo": {"status": null},
        "ticket": {"state": null, "readyBy": "2099-01-01T18:30:00"},
        "bill": {"state": null, "amount": "61.70"}});
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_record_that_makes_no_sense_spoils_only_its_own_fields() {
    let mobile = Mobile::start().await;
    let good = json!({"id": 1, "name": "Good"});
    mobile.script(Service::Restaurant, &json!([good, {"id": 2, "name": {"not": "text"}}])).await;
    let query = "{ good: restaurant(restaurantId: 1) { name } bad: restaurant(restaurantId: 2) { name } }";
    let answer = mobile.ask("", query).await;
    assert_eq!(errors(&answer), ["bad UPSTREAM_UNAVAILABLE"]);
    assert_eq!(answer["data"], json!({"good": {"name": "Good"}, "bad": null}));
}
