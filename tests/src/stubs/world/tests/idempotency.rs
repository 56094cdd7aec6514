//! Writes to the order service, sent twice.

use super::*;
use Service::Order;

#[tokio::test(start_paused = true)]
async fn the_same_key_and_body_make_one_order() {
    let world = World::seeded();
    let first = world.post_with_key("/orders", "k", john_orders(2)).await.json();
    world.steps(6).await;
    assert_eq!(world.post_with_key("/orders", "k", john_orders(2)).await.json(), first);
    assert_ne!(world.post_with_key("/orders", "l", john_orders(2)).await.json(), first);
}

#[tokio::test]
async fn the_same_key_with_another_body_is_a_422() {
    let world = World::seeded();
    world.post_with_key("/orders", "k", john_orders(2)).await.json();
    let other = world.post_with_key("/orders", "k", john_orders(3)).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.header("content-type"), "application/problem+json");
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_sent_again_is_answered_as_the_first_was() {
    let world = World::seeded();
    let first = world.post_with_key("/orders/99/cancel", "k", json!({})).await.json();
    world.steps(5).await;
    assert_eq!(world.post_with_key("/orders/99/cancel", "k", json!({})).await.json(), first);
    assert_eq!(world.post(Order, "/orders/99/cancel", json!({})).await.status, 409);
}

#[tokio::test]
async fn a_revision_with_the_key_of_another_is_a_422() {
    let world = World::seeded();
    let to = |quantity| json!({ "revisedOrderLineItems": [{ "menuItemId": "1", "quantity": quantity }] });
    world.post_with_key("/orders/99/revise", "k", to(10)).await.json();
    assert_eq!(world.post_with_key("/orders/99/revise", "k", to(10)).await.status, 200);
    assert_eq!(world.post_with_key("/orders/99/revise", "k", to(11)).await.status, 422);
}

#[tokio::test]
async fn a_key_counts_for_http_and_grpc_alike() {
    let world = World::seeded();
    let id = world.post_with_key("/orders", "k", john_orders(2)).await.json()["orderId"].as_i64().unwrap();
    let order = serde_json::from_value(john_orders(2)).unwrap();
    assert_eq!(world.create_order_once(Some("k"), &order), Ok(id));
}
