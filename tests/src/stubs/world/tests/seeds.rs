//! The fixtures, and records put in from outside.

use super::*;
use Service::{Accounting, Consumer, Delivery, Kitchen, Order, OrderHistory, Restaurant};

#[tokio::test]
async fn the_fixtures_are_those_of_the_reference() {
    let world = World::seeded();
    let order = world.get(Order, "/orders/99").await.json();
    assert_eq!((&order["state"], &order["orderTotal"]), (&json!("APPROVED"), &json!("61.70")));
    assert_eq!((&order["consumerId"], &order["restaurantId"]), (&json!(JOHN), &json!(1)));
    let john = world.get(Consumer, &format!("/consumers/{JOHN}")).await.json();
    assert_eq!(john["name"], json!({ "firstName": "John", "lastName": "Doe" }));
    let ajanta = world.get(Restaurant, "/restaurants/1").await.json();
    let vindaloo = json!({ "id": "1", "name": "Chicken Vindaloo", "price": "12.34" });
    assert_eq!((&ajanta["name"], &ajanta["menu"]["menuItems"][0]), (&json!("Ajanta"), &vindaloo));
    assert_eq!(ajanta["zips"], json!([]));
}

#[tokio::test]
async fn an_order_is_put_into_all_services_that_hold_it() {
    let world = World::seeded();
    let id = i64::MAX;
    let order = json!({ "orderId": id, "state": "CANCELLED", "orderTotal": "5.00", "createdAt": "2026-01-01T10:00:00" });
    world.seed(&json!({ "orders": [order] })).unwrap();
    assert_eq!(world.get(Order, &format!("/orders/{id}")).await.json()["orderTotal"], "5.00");
    assert_eq!(world.get(Kitchen, &format!("/tickets/{id}")).await.json()["state"], "CANCELLED");
    assert_eq!(world.get(Accounting, &format!("/bills/{id}")).await.json()["state"], "REVERSED");
    let delivery = world.get(Delivery, &format!("/deliveries/{id}")).await.json();
    assert_eq!(delivery["deliveryInfo"], json!({ "id": id, "state": "CANCELLED" }));
    let entry = world.get(OrderHistory, &format!("/orders/{id}")).await.json();
    assert_eq!((&entry["orderId"], &entry["status"]), (&json!(id.to_string()), &json!("CANCELLED")));
}

#[tokio::test]
async fn what_a_service_answers_can_be_put_back() {
    let world = World::seeded();
    let order = world.get(Order, "/orders/102").await.json();
    let ticket = world.get(Kitchen, "/tickets/102").await.json();
    let bill = world.get(Accounting, "/bills/102").await.json();
    let delivery = world.get(Delivery, "/deliveries/102").await.json();
    let restaurant = world.get(Restaurant, "/restaurants/2").await.json();
    let consumer = world.get(Consumer, &format!("/consumers/{JOHN}")).await.json();
    let seeds = json!({
        "consumers": [consumer], "restaurants": [restaurant], "orders": [order],
        "tickets": [ticket], "bills": [bill], "deliveries": [delivery],
    });
    world.seed(&seeds).unwrap();
    assert_eq!(world.get(Order, "/orders/102").await.json(), order);
    assert_eq!(world.get(Kitchen, "/tickets/102").await.json(), ticket);
    assert_eq!(world.get(Delivery, "/deliveries/102").await.json(), delivery);
    assert_eq!(world.get(Restaurant, "/restaurants/2").await.json(), restaurant);
}

#[tokio::test]
async fn a_seed_is_taken_as_a_whole_or_not_at_all() {
    let world = World::seeded();
    let unpriced = json!({ "orderId": 701, "lineItems": [{ "menuItemId": "77" }] });
    let wrong = world.seed(&json!({ "orders": [{ "orderId": 700 }, unpriced] })).unwrap_err();
    assert_eq!(wrong.field, "orders[1].lineItems[0].menuItemId");
    assert_eq!(world.get(Order, "/orders/700").await.status, 404);
}

#[test]
fn the_wrong_field_of_a_seed_is_named() {
    let world = World::seeded();
    for (seed, field) in [
        (json!({ "order": [] }), "order"),
        (json!({ "orders": {} }), "orders"),
        (json!({ "orders": [{}] }), "orders[0].orderId"),
        (json!({ "orders": [{ "orderId": 1, "state": "LOST" }] }), "orders[0].state"),
        (json!({ "orders": [{ "orderId": 1, "total": "1" }] }), "orders[0].total"),
        (json!({ "orders": [{ "orderId": 1, "orderTotal": 1 }] }), "orders[0].orderTotal"),
        (json!({ "consumers": [{ "consumerId": "x" }] }), "consumers[0].consumerId"),
        (json!({ "restaurants": [{ "id": 7, "name": "x", "opens": "7" }] }), "restaurants[0].opens"),
        (json!({ "tickets": [{ "id": 555, "state": "ACCEPTED" }] }), "tickets[0].id"),
    ] {
        assert_eq!(world.seed(&seed).unwrap_err().field, field, "{seed}");
    }
}
