//! A consumer's orders: newest first, filtered, in pages.

use super::*;
use Service::OrderHistory;

async fn page(world: &World, query: &str) -> Value {
    world.get(OrderHistory, &format!("/orders?consumerId={JOHN}{query}")).await.json()
}

async fn ids(world: &World, query: &str) -> Vec<String> {
    let page = page(world, query).await;
    page["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["orderId"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn orders_come_newest_first_and_ids_are_strings() {
    let world = World::seeded();
    let page = page(&world, "").await;
    let newest = json!({
        "orderId": "99", "status": "APPROVED", "restaurantId": "1", "restaurantName": "Ajanta",
        "createdAt": "2025-10-20T18:05:00", "orderTotal": "61.70",
    });
    assert_eq!(page["orders"][0], newest);
    assert_eq!(page["startKey"], Value::Null);
    assert_eq!(ids(&world, "").await, ["99", "100", "101", "102", "103", "104"]);
}

#[tokio::test]
async fn an_unknown_consumer_has_an_empty_history() {
    let world = World::seeded();
    let page = world.get(OrderHistory, "/orders?consumerId=42").await.json();
    assert_eq!(page, json!({ "orders": [], "startKey": null }));
}

#[tokio::test]
async fn orders_are_filtered_by_status_time_and_words() {
    let world = World::seeded();
    assert_eq!(ids(&world, "&status=CANCELLED").await, ["101"]);
    assert_eq!(ids(&world, "&since=2025-10-18T18:30:00").await, ["99", "100"]);
    assert_eq!(ids(&world, "&keywords=AJANTA").await, ["99", "102"]);
    assert_eq!(ids(&world, "&keywords=vindaloo,pizza").await, ["99", "100"]);
    assert_eq!(ids(&world, "&keywords=ajanta&since=2025-10-20").await, ["99"]);
    assert_eq!(ids(&world, "&keywords=nothing").await, [] as [&str; 0]);
}

#[tokio::test]
async fn pages_go_on_where_the_last_one_ended() {
    let world = World::seeded();
    let first = page(&world, "&pageSize=4").await;
    let key = first["startKey"].as_str().unwrap();
    // Newer orders do not move what comes after a key.
    world.seed(&json!({ "orders": [{ "orderId": 800 }] })).unwrap();
    assert_eq!(ids(&world, &format!("&pageSize=4&startKey={key}")).await, ["103", "104"]);
    let exact = page(&world, &format!("&pageSize=2&startKey={key}")).await;
    assert_eq!(exact["startKey"], Value::Null);
    let filtered = page(&world, "&pageSize=1&status=APPROVED").await;
    assert!(filtered["startKey"].is_string());
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let world = World::seeded();
    for (query, field) in [
        ("pageSize=0", "pageSize"),
        ("pageSize=201", "pageSize"),
        ("pageSize=x", "pageSize"),
        ("startKey=x", "startKey"),
        ("startKey=", "startKey"),
        ("since=yesterday", "since"),
        ("status=LOST", "status"),
    ] {
        let answer = world.get(OrderHistory, &format!("/orders?consumerId={JOHN}&{query}")).await;
        assert_eq!(answer.wrong_field(), field);
    }
}
