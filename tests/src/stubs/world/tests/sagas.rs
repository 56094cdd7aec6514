//! What becomes of an order, step by step.

use std::time::Duration;

use super::*;
use Service::{Accounting, Delivery, Kitchen, Order, OrderHistory};

#[tokio::test(start_paused = true)]
async fn a_new_order_is_pending_and_then_approved() {
    let world = World::seeded();
    let id = world.order(john_orders(5)).await;
    assert_eq!(world.order_state(id).await, "APPROVAL_PENDING");
    assert_eq!(world.get(Kitchen, &format!("/tickets/{id}")).await.status, 404);
    world.steps(2).await;
    let ticket = world.get(Kitchen, &format!("/tickets/{id}")).await.json();
    assert_eq!(ticket["state"], "CREATE_PENDING");
    world.steps(2).await;
    let order = world.get(Order, &format!("/orders/{id}")).await.json();
    assert_eq!((&order["state"], &order["orderTotal"]), (&json!("APPROVED"), &json!("61.70")));
    let bill = world.get(Accounting, &format!("/bills/{id}")).await.json();
    assert_eq!(bill, json!({ "orderId": id, "consumerId": JOHN, "state": "AUTHORIZED", "amount": "61.70" }));
    let ticket = world.get(Kitchen, &format!("/tickets/{id}")).await.json();
    assert_eq!(ticket["state"], "AWAITING_ACCEPTANCE");
    let delivery = world.get(Delivery, &format!("/deliveries/{id}")).await.json();
    assert_eq!(delivery["deliveryInfo"], json!({ "id": id, "state": "PENDING" }));
}

#[tokio::test(start_paused = true)]
async fn the_history_follows_a_step_later() {
    let world = World::seeded();
    let id = world.order(john_orders(1)).await;
    let path = format!("/orders/{id}");
    assert_eq!(world.get(OrderHistory, &path).await.status, 404);
    world.steps(1).await;
    assert_eq!(world.get(OrderHistory, &path).await.json()["status"], "APPROVAL_PENDING");
    world.steps(3).await;
    assert_eq!(world.order_state(id).await, "APPROVED");
    let entry = world.get(OrderHistory, &path).await.json();
    assert_eq!(entry["orderId"], id.to_string());
    world.steps(1).await;
    assert_eq!(world.get(OrderHistory, &path).await.json()["status"], "APPROVED");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_consumer_is_rejected_by_the_saga_and_not_by_the_request() {
    let world = World::seeded();
    let id = world.order(orders_of(42, 1)).await;
    assert_eq!(world.order_state(id).await, "APPROVAL_PENDING");
    world.steps(2).await;
    assert_eq!(world.order_state(id).await, "REJECTED");
    assert_eq!(world.get(OrderHistory, &format!("/orders/{id}")).await.json()["status"], "REJECTED");
}

#[tokio::test(start_paused = true)]
async fn an_expired_card_rejects_and_the_bill_says_so() {
    let world = World::seeded();
    let expired =
        json!({ "consumerId": 7, "name": { "firstName": "A", "lastName": "B" }, "card": "expired" });
    world.seed(&json!({ "consumers": [expired] })).unwrap();
    let id = world.order(orders_of(7, 1)).await;
    world.steps(4).await;
    assert_eq!(world.order_state(id).await, "REJECTED");
    assert_eq!(world.get(Accounting, &format!("/bills/{id}")).await.json()["state"], "FAILED");
    assert_eq!(world.get(Kitchen, &format!("/tickets/{id}")).await.json()["state"], "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_order_takes_ticket_bill_and_delivery_with_it() {
    let world = World::seeded();
    let before = world.post(Order, "/orders/99/cancel", json!({})).await.json();
    assert_eq!(before["state"], "APPROVED");
    assert_eq!(world.order_state(99).await, "CANCEL_PENDING");
    world.steps(1).await;
    assert_eq!(world.get(Kitchen, "/tickets/99").await.json()["state"], "CANCEL_PENDING");
    world.steps(3).await;
    assert_eq!(world.order_state(99).await, "CANCELLED");
    assert_eq!(world.get(Kitchen, "/tickets/99").await.json()["state"], "CANCELLED");
    assert_eq!(world.get(Accounting, "/bills/99").await.json()["state"], "REVERSED");
    assert_eq!(world.get(Delivery, "/deliveries/99").await.json()["deliveryInfo"]["state"], "CANCELLED");
    assert_eq!(world.get(OrderHistory, "/orders/99").await.json()["status"], "CANCELLED");
}

#[tokio::test(start_paused = true)]
async fn what_is_being_cooked_is_not_cancelled() {
    let world = World::seeded();
    world.seed(&json!({ "tickets": [{ "id": 99, "state": "PREPARING" }] })).unwrap();
    world.post(Order, "/orders/99/cancel", json!({})).await.json();
    world.steps(3).await;
    assert_eq!(world.order_state(99).await, "APPROVED");
    assert_eq!(world.get(Kitchen, "/tickets/99").await.json()["state"], "PREPARING");
}

#[tokio::test(start_paused = true)]
async fn a_revision_changes_the_lines_it_names_and_all_that_follows_from_them() {
    let world = World::seeded();
    let lines = json!([{ "menuItemId": "1", "quantity": 5 }, { "menuItemId": "3", "quantity": 2 }]);
    world.seed(&json!({ "orders": [{ "orderId": 700, "lineItems": lines }] })).unwrap();
    let revision = json!({ "revisedOrderLineItems": [{ "quantity": 10, "menuItemId": "1" }] });
    let before = world.post(Order, "/orders/700/revise", revision).await.json();
    assert_eq!((&before["state"], &before["orderTotal"]), (&json!("APPROVED"), &json!("68.20")));
    assert_eq!(world.order_state(700).await, "REVISION_PENDING");
    world.steps(4).await;
    let order = world.get(Order, "/orders/700").await.json();
    assert_eq!((&order["state"], &order["orderTotal"]), (&json!("APPROVED"), &json!("129.90")));
    assert_eq!(order["lineItems"][1]["quantity"], 2);
    let ticket = world.get(Kitchen, "/tickets/700").await.json();
    assert_eq!(
        (&ticket["state"], &ticket["lineItems"][0]["quantity"]),
        (&json!("AWAITING_ACCEPTANCE"), &json!(10))
    );
    let bill = world.get(Accounting, "/bills/700").await.json();
    assert_eq!((&bill["state"], &bill["amount"]), (&json!("REVISED"), &json!("129.90")));
    assert_eq!(world.get(OrderHistory, "/orders/700").await.json()["orderTotal"], "129.90");
}

#[tokio::test(start_paused = true)]
async fn a_reset_stops_the_sagas_begun_before_it() {
    let world = World::seeded();
    world.post(Order, "/orders/99/cancel", json!({})).await.json();
    let id = world.order(john_orders(1)).await;
    world.steps(1).await;
    world.reset();
    world.steps(8).await;
    assert_eq!(world.order_state(99).await, "APPROVED");
    assert_eq!(world.get(Order, &format!("/orders/{id}")).await.status, 404);
    assert_eq!(world.get(Kitchen, &format!("/tickets/{id}")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn ids_are_never_given_twice() {
    let world = World::seeded();
    let first = world.order(john_orders(1)).await;
    world.reset();
    world.seed(&json!({ "orders": [{ "orderId": first + 1 }] })).unwrap();
    assert_eq!(world.order(john_orders(1)).await, first + 2);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_step_can_be_changed_and_a_reset_changes_it_back() {
    let world = World::seeded();
    world.set_saga_step(Duration::from_secs(5));
    let id = world.order(john_orders(1)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(world.get(Kitchen, &format!("/tickets/{id}")).await.status, 404);
    world.set_saga_step(Duration::ZERO);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.order_state(id).await, "APPROVED");
    world.reset();
    assert_eq!(world.state().saga_step, Duration::from_millis(100));
}
