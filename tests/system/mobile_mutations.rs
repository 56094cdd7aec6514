//! Writes through GraphQL: what services refuse, idempotency keys, and the limit on registrations.

use std::collections::BTreeMap;
use std::fmt::Write;

use ftgo::stubs::service::Service;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    harness::JOHN,
    mobile::{Mobile, data, errors},
};

const CREATE: &str = "mutation($input: CreateOrderInput!) { createOrder(input: $input) { orderId } }";

fn order(restaurant: i64, quantity: i64, key: &str) -> Value {
    json!({"input": {
        "consumerId": JOHN, "restaurantId": restaurant, "deliveryTime": "2099-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "lineItems": [{"menuItemId": "1", "quantity": quantity}], "idempotencyKey": key,
    }})
}

/// The `Idempotency-Key`s of the writes that reached the order service, newest first.
fn keys(mobile: &Mobile) -> Vec<String> {
    let writes = mobile.counts(Service::Order).last.into_iter().filter(|seen| seen.method == "POST");
    let headers = writes.flat_map(|seen| seen.headers);
    headers.filter(|(name, _)| name == "idempotency-key").map(|(_, value)| value).collect()
}

#[tokio::test]
async fn an_order_in_the_wrong_state_is_a_conflict() {
    let mobile = Mobile::start().await;
    mobile.seed(&json!({"orders": [{"orderId": 7_001, "state": "CANCELLED"}]}));
    let query = "mutation { cancelOrder(input: {orderId: 7001}) { orderId } \
         reviseOrder(input: {orderId: 7001, lineItems: [{menuItemId: 1, quantity: 2}]}) { orderId } }";
    let answer = mobile.ask(&mobile.john(), query).await;
    assert_eq!(errors(&answer), ["cancelOrder CONFLICT", "reviseOrder CONFLICT"]);
    assert_eq!(answer["data"], json!({"cancelOrder": null, "reviseOrder": null}));
}

#[tokio::test]
async fn a_write_of_which_a_variable_is_missing_is_not_done_by_halves() {
    let mobile = Mobile::start().await;
    let query = "mutation($other: ID!) { a: cancelOrder(input: {orderId: 99}) { state } \
         b: cancelOrder(input: {orderId: $other}) { state } }";
    let answer = mobile.ask(&mobile.john(), query).await;
    assert_eq!(errors(&answer), [" BAD_USER_INPUT"], "{answer}");
    assert_eq!(answer["errors"][0]["message"], "The variable `$other` is needed.");
    assert_eq!((answer.get("data"), mobile.writes()), (None, 0));
}

#[tokio::test]
async fn an_order_that_the_service_does_not_take_is_the_clients_mistake() {
    let mobile = Mobile::start().await;
    for wrong in [order(999_999, 1, "a"), order(1, 0, "b"), order(1, -1, "c")] {
        let answer = mobile.ask_with(&mobile.john(), CREATE, wrong).await;
        assert_eq!(errors(&answer), ["createOrder BAD_USER_INPUT"], "{answer}");
    }
}

#[tokio::test]
async fn a_write_that_gets_no_answer_tells_why() {
    let mobile = Mobile::start().await;
    let cancel = "mutation { cancelOrder(input: {orderId: 99}) { orderId } }";
    for (fault, code) in [
        (json!("hang"), "UPSTREAM_TIMEOUT"),
        (json!("reset"), "UPSTREAM_UNAVAILABLE"),
        (json!({"status": 500}), "UPSTREAM_UNAVAILABLE"),
    ] {
        mobile.fault(Service::Order, json!({"method": "POST", "fault": fault})).await;
        let answer = mobile.ask(&mobile.john(), cancel).await;
        assert_eq!(errors(&answer), [format!("cancelOrder {code}")], "with {fault}");
    }
    assert_eq!(mobile.writes(), 3, "a write is not tried again");
}

#[tokio::test]
async fn an_idempotency_key_reaches_the_order_service() {
    let mobile = Mobile::start().await;
    let token = mobile.john();
    let first = mobile.ask_with(&token, CREATE, order(1, 5, "key-1")).await;
    let again = mobile.ask_with(&token, CREATE, order(1, 5, "key-1")).await;
    assert_eq!(data(&first), data(&again), "the same order");
    let other = mobile.ask_with(&token, CREATE, order(1, 6, "key-1")).await;
    assert_eq!(errors(&other), ["createOrder BAD_USER_INPUT"], "the key was used for another order");
    assert_eq!(keys(&mobile), ["key-1"; 3]);
}

#[tokio::test]
async fn every_write_to_the_order_service_carries_its_key() {
    let mobile = Mobile::start().await;
    mobile.seed(&json!({"orders": [{"orderId": 7_002}, {"orderId": 7_003}]}));
    let query = "mutation { cancelOrder(input: {orderId: 7002, idempotencyKey: \"c\"}) { orderId } \
         reviseOrder(input: {orderId: 7003, lineItems: [{menuItemId: 1, quantity: 2}], \
         idempotencyKey: \"r\"}) { orderId } }";
    data(&mobile.ask(&mobile.john(), query).await);
    assert_eq!(keys(&mobile), ["r", "c"], "written one after the other");
}

#[tokio::test]
async fn the_clients_own_idempotency_key_goes_on_where_the_mutation_has_none() {
    let mobile = Mobile::start().await;
    let query = json!({"query": "mutation { cancelOrder(input: {orderId: 99}) { orderId } }"});
    let ask = mobile.post(&mobile.john(), &query).header("idempotency-key", "from-the-header");
    data(&ask.send().await.expect(200).json());
    assert_eq!(keys(&mobile), ["from-the-header"]);
}

/// How often each code came, an empty one for success.
fn tally(answers: &[Value]) -> BTreeMap<String, u64> {
    let mut tally = BTreeMap::new();
    for answer in answers {
        for (_, created) in answer["data"].as_object().unwrap() {
            *tally.entry(String::new()).or_default() += u64::from(!created.is_null());
        }
        for told in errors(answer) {
            *tally.entry(told.split_once(' ').unwrap().1.to_owned()).or_default() += 1;
        }
    }
    tally
}

/// 60 registrations, so many to a document: at least 50 go through, some do not, and those reach no service.
async fn sixty(in_one: usize) {
    let mobile = Mobile::start().await;
    let mut query = "mutation {".to_owned();
    for n in 0..in_one {
        write!(query, " c{n}: createConsumer(c: {{firstName: \"A\", lastName: \"B\"}}) {{ id }}").unwrap();
    }
    query.push('}');
    let answers = join_all((0..60 / in_one).map(|_| mobile.ask("", &query))).await;
    let tally = tally(&answers);
    assert!(tally[""] >= 50 && tally.get("RATE_LIMITED").is_some_and(|refused| *refused > 0), "{tally:?}");
    assert_eq!((tally.len(), tally[""] + tally["RATE_LIMITED"]), (2, 60));
    assert_eq!(mobile.counts(Service::Consumer).total, tally[""]);
}

#[tokio::test]
async fn sixty_registrations_at_once_are_too_many() {
    sixty(1).await;
}

#[tokio::test]
async fn registrations_under_aliases_count_one_by_one() {
    sixty(20).await;
}

#[tokio::test]
async fn a_consumer_without_a_name_is_not_registered() {
    let mobile = Mobile::start().await;
    let query = "mutation { a: createConsumer { id } b: createConsumer(c: {firstName: \"A\"}) { id } }";
    assert_eq!(errors(&mobile.ask("", query).await), ["a BAD_USER_INPUT", "b BAD_USER_INPUT"]);
    assert_eq!(mobile.writes(), 0);
}
