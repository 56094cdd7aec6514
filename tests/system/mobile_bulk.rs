//! Lists with what belongs to each item: one call to each service, and one bad key spoils nothing but itself.

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::mobile::{Mobile, data, errors};

const UNKNOWN_RESTAURANT: i64 = 999_999;
const LIST: &str = "{ orders(consumerId: 777) { orderId state orderTotal restaurant { id name } } }";

/// Consumer 777 with 50 orders over restaurants 901 to 910.
async fn fifty(restaurant_of: impl Fn(i64) -> i64) -> Mobile {
    let mobile = Mobile::offering("{ max_batch: 10 }").await;
    let menu = json!({"menuItems": [{"id": "1", "name": "Soup", "price": "4.50"}]});
    let restaurant = |id: i64| json!({"id": id, "name": format!("R{id}"), "menu": menu});
    let line = json!([{"menuItemId": "1", "name": "Soup", "price": "4.50", "quantity": 2}]);
    let order = |id: i64| json!({"orderId": id, "consumerId": 777, "restaurantId": restaurant_of(id), "lineItems": line});
    mobile.seed(&json!({
        "consumers": [{"consumerId": 777}],
        "restaurants": (901..=910).map(restaurant).collect::<Vec<_>>(),
        "orders": (5_001..=5_050).map(order).collect::<Vec<_>>(),
    }));
    mobile.stubs.recorder().clear();
    mobile
}

fn spread(order: i64) -> i64 {
    901 + order % 10
}

async fn list(mobile: &Mobile, query: &str) -> Value {
    mobile.ask(&mobile.consumer("777"), query).await
}

#[tokio::test]
async fn fifty_orders_of_ten_restaurants_are_two_calls() {
    let mobile = fifty(spread).await;
    let answer = list(&mobile, LIST).await;
    let orders = data(&answer)["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 50);
    for order in orders {
        let id = spread(order["orderId"].as_str().unwrap().parse().unwrap());
        assert_eq!(order["restaurant"], json!({"id": id.to_string(), "name": format!("R{id}")}));
        assert_eq!((&order["state"], &order["orderTotal"]), (&json!("APPROVED"), &json!("9.00")));
    }
    assert_eq!(mobile.counts(Service::OrderHistory).by_route, [("GET /orders".to_owned(), 1)].into());
    assert_eq!(mobile.counts(Service::Restaurant).by_route, [("GET /restaurants".to_owned(), 1)].into());
    assert_eq!(mobile.asked(), 2);
}

#[tokio::test]
async fn every_part_of_fifty_orders_is_one_call_more() {
    let mobile = fifty(spread).await;
    let query = "{ orders(consumerId: 777) { orderId restaurant { name } ticket { state } bill { amount } \
         deliveryInfo { status assignedCourier } consumer { firstName } lineItems { name } } }";
    let answer = list(&mobile, query).await;
    for order in data(&answer)["orders"].as_array().unwrap() {
        assert_eq!(order["ticket"]["state"], "AWAITING_ACCEPTANCE");
        assert_eq!(order["bill"]["amount"], "9.00");
        assert_eq!(order["consumer"]["firstName"], "John");
        assert_eq!(order["lineItems"][0]["name"], "Soup");
    }
    for service in Service::ALL {
        assert_eq!(mobile.counts(service).total, 1, "{}", service.name());
    }
}

#[tokio::test]
async fn the_same_list_under_two_names_is_asked_for_once() {
    let mobile = fifty(spread).await;
    let query = "{ a: orders(consumerId: 777) { orderId restaurant { name } } \
         b: orders(consumerId: 777) { orderId restaurant { name } } }";
    let answer = list(&mobile, query).await;
    assert_eq!(data(&answer)["a"], data(&answer)["b"]);
    assert_eq!(mobile.asked(), 2);
}

#[tokio::test]
async fn an_unknown_restaurant_is_missing_where_it_was_and_nowhere_else() {
    let mobile = fifty(|order| if order == 5_010 { UNKNOWN_RESTAURANT } else { spread(order) }).await;
    let answer = list(&mobile, LIST).await;
    let orders = answer["data"]["orders"].as_array().unwrap();
    let at = orders.iter().position(|order| order["orderId"] == "5010").unwrap();
    assert_eq!(errors(&answer), [format!("orders.{at}.restaurant NOT_FOUND")]);
    assert_eq!(orders[at]["restaurant"], Value::Null);
    assert_eq!(orders[at]["orderTotal"], "9.00");
    let with = orders.iter().filter(|order| order["restaurant"]["name"].is_string()).count();
    assert_eq!((orders.len(), with, mobile.asked()), (50, 49, 2));
}

#[tokio::test]
async fn the_queries_of_a_batch_ask_together_and_for_each_thing_once() {
    let mobile = fifty(spread).await;
    let name = |id: i64| json!({"query": format!("{{ restaurant(restaurantId: {id}) {{ name }} }}")});
    let batch = json!([name(901), name(902), {"query": LIST}, name(901)]);
    let answers = mobile.post(&mobile.consumer("777"), &batch).send().await.expect(200).json();
    assert_eq!(answers[3]["data"]["restaurant"]["name"], "R901");
    assert_eq!(answers[2]["data"]["orders"].as_array().unwrap().len(), 50);
    let asked = mobile.counts(Service::Restaurant).last;
    let asked: Vec<_> = asked.iter().rev().map(|seen| seen.path.as_str()).collect();
    assert_eq!(asked[0], "/restaurants?ids=901,902");
    assert_eq!((asked.len(), asked[1].split(',').count()), (2, 8), "{asked:?}");
}

#[tokio::test]
async fn in_a_batch_that_writes_nobody_sees_what_was_read_before_the_write() {
    let mobile = fifty(spread).await;
    let state = json!({"query": "{ orders(consumerId: 777) { state } }"});
    let cancel = json!({"query": "mutation { cancelOrder(input: {orderId: 5001}) { orderId } }"});
    let batch = json!([state, cancel, state]);
    let answers = mobile.post(&mobile.consumer("777"), &batch).send().await.expect(200).json();
    assert!(answers.as_array().unwrap().iter().all(|answer| answer.get("errors").is_none()), "{answers}");
    assert_eq!(mobile.counts(Service::OrderHistory).total, 2);
}
