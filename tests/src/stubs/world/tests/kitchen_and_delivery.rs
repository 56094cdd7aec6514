//! From the kitchen's acceptance to the door.

use super::*;
use Service::{Delivery, Kitchen};

async fn accept(world: &World, id: i64) -> Answer {
    world.post(Kitchen, &format!("/tickets/{id}/accept"), json!({ "readyBy": "2030-01-01T18:00:00" })).await
}

/// Fresh orders of these ids.
fn with_orders(ids: std::ops::Range<i64>) -> World {
    let world = World::seeded();
    let orders: Vec<_> = ids.map(|id| json!({ "orderId": id })).collect();
    world.seed(&json!({ "orders": orders })).unwrap();
    world
}

async fn courier(world: &World, id: i64) -> Value {
    world.get(Delivery, &format!("/deliveries/{id}")).await.json()["assignedCourier"].clone()
}

#[tokio::test]
async fn an_order_is_accepted_cooked_picked_up_and_delivered() {
    let world = with_orders(700..701);
    assert_eq!(accept(&world, 700).await.json()["readyBy"], "2030-01-01T18:00:00");
    let delivery = world.get(Delivery, "/deliveries/700").await.json();
    assert_eq!(delivery["deliveryInfo"]["state"], "SCHEDULED");
    assert!(delivery["assignedCourier"].is_i64());
    assert_eq!(delivery["estimatedDeliveryTime"], "2030-01-01T18:30:00");
    assert_eq!(delivery["courierActions"], json!([{ "type": "PICKUP" }, { "type": "DROPOFF" }]));
    assert_eq!(world.post(Delivery, "/deliveries/700/dropoff", json!({})).await.status, 409);
    for (step, time) in
        [("preparing", "preparingTime"), ("ready", "readyForPickupTime"), ("pickup", "pickedUpTime")]
    {
        let ticket = world.post(Kitchen, &format!("/tickets/700/{step}"), json!({})).await.json();
        assert!(ticket[time].is_string(), "{ticket}");
    }
    let delivery = world.get(Delivery, "/deliveries/700").await.json();
    assert_eq!(delivery["courierActions"], json!([{ "type": "DROPOFF" }]));
    let delivered = world.post(Delivery, "/deliveries/700/dropoff", json!({})).await.json();
    assert_eq!(delivered["deliveryInfo"]["state"], "DELIVERED");
    assert!(delivered["deliveredAt"].is_string() && delivered["estimatedDeliveryTime"].is_null());
}

#[tokio::test]
async fn a_ticket_cannot_be_taken_out_of_turn() {
    let world = with_orders(700..701);
    for step in ["preparing", "ready", "pickup"] {
        let answer = world.post(Kitchen, &format!("/tickets/700/{step}"), json!({})).await;
        assert_eq!(answer.status, 409);
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    accept(&world, 700).await.json();
    assert_eq!(accept(&world, 700).await.status, 409);
}

#[tokio::test]
async fn food_cannot_be_ready_before_now() {
    let world = with_orders(700..701);
    let past = json!({ "readyBy": "2020-01-01T00:00:00" });
    assert_eq!(world.post(Kitchen, "/tickets/700/accept", past).await.wrong_field(), "readyBy");
    assert_eq!(world.post(Kitchen, "/tickets/700/accept", json!({})).await.wrong_field(), "readyBy");
}

#[tokio::test]
async fn couriers_take_turns_and_those_off_work_are_left_out() {
    let world = with_orders(700..706);
    world.post(Delivery, "/couriers/3/availability", json!({ "available": false })).await;
    let mut turns = Vec::new();
    for id in 700..705 {
        accept(&world, id).await.json();
        turns.push(courier(&world, id).await);
    }
    assert_eq!(turns, [1, 2, 4, 5, 1]);
}

#[tokio::test]
async fn without_a_courier_a_delivery_stays_pending_until_one_is_back() {
    let world = with_orders(700..701);
    for id in 1..=5 {
        let path = format!("/couriers/{id}/availability");
        assert_eq!(world.post(Delivery, &path, json!({ "available": false })).await.status, 200);
    }
    accept(&world, 700).await.json();
    assert_eq!(courier(&world, 700).await, Value::Null);
    let delivery = world.get(Delivery, "/deliveries/700").await.json();
    assert_eq!(delivery["deliveryInfo"]["state"], "PENDING");
    world.post(Delivery, "/couriers/7/availability", json!({ "available": true })).await;
    assert_eq!(courier(&world, 700).await, 7);
}
