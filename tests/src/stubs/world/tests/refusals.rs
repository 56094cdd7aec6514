//! What is malformed, missing or in the wrong state.

use super::*;
use Service::{Accounting, Consumer, Delivery, Kitchen, Order, OrderHistory, Restaurant};

#[tokio::test]
async fn what_is_unknown_is_a_404_without_a_body() {
    let world = World::seeded();
    let paths = [
        (Consumer, "/consumers/1"),
        (Order, "/orders/555"),
        (Order, "/restaurants/999"),
        (Kitchen, "/tickets/555"),
        (Restaurant, "/restaurants/999"),
        (Accounting, "/accounts/1"),
        (Accounting, "/bills/555"),
        (OrderHistory, "/orders/555"),
        (Delivery, "/deliveries/555"),
    ];
    for (service, path) in paths {
        let answer = world.get(service, path).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (404, ""), "{service:?} {path}");
    }
}

#[tokio::test]
async fn a_malformed_id_is_a_400() {
    let world = World::seeded();
    for (service, path) in [
        (Consumer, "/consumers/abc"),
        (Order, "/orders/99999999999999999999"),
        (Kitchen, "/tickets/1.5"),
        (Order, "/orders?ids=1,x"),
        (Kitchen, "/tickets?orderIds=99,x"),
        (OrderHistory, "/orders?consumerId=x"),
        (OrderHistory, "/orders"),
        (Accounting, "/bills"),
    ] {
        world.get(service, path).await.wrong_field();
    }
}

#[tokio::test]
async fn a_wrong_order_is_a_400_that_names_the_field() {
    let world = World::seeded();
    let with = |pointer: &str, value: Value| {
        let mut order = john_orders(1);
        *order.pointer_mut(pointer).unwrap() = value;
        order
    };
    for (order, field) in [
        (with("/restaurantId", json!(999)), "restaurantId"),
        (with("/lineItems/0/menuItemId", json!("99")), "lineItems[0].menuItemId"),
        (with("/lineItems/0/quantity", json!(0)), "lineItems[0].quantity"),
        (with("/lineItems/0/quantity", json!("many")), "lineItems[0].quantity"),
        (with("/lineItems", json!([])), "lineItems"),
        (with("/deliveryTime", json!("soon")), "deliveryTime"),
        (with("/consumerId", json!("me")), "consumerId"),
        (with("/deliveryAddress", json!({ "street1": "x" })), "deliveryAddress.city"),
        (json!({}), "consumerId"),
        (json!([]), "body"),
    ] {
        assert_eq!(world.post(Order, "/orders", order).await.wrong_field(), field);
    }
}

#[tokio::test]
async fn a_numeric_string_is_an_id_too() {
    let world = World::seeded();
    let mut order = john_orders(1);
    order["consumerId"] = json!(JOHN.to_string());
    assert!(world.order(order).await > 555);
}

#[tokio::test]
async fn a_revision_of_what_is_not_in_the_order_is_a_400() {
    let world = World::seeded();
    let revision = json!({ "revisedOrderLineItems": [{ "menuItemId": "4", "quantity": 1 }] });
    let answer = world.post(Order, "/orders/99/revise", revision).await;
    assert_eq!(answer.wrong_field(), "revisedOrderLineItems[0].menuItemId");
    assert_eq!(world.order_state(99).await, "APPROVED");
}

#[tokio::test]
async fn only_an_approved_order_is_cancelled_or_revised() {
    let world = World::seeded();
    let revision = json!({ "revisedOrderLineItems": [] });
    assert_eq!(world.post(Order, "/orders/101/cancel", json!({})).await.status, 409);
    assert_eq!(world.post(Order, "/orders/101/revise", revision).await.status, 409);
    assert_eq!(world.post(Order, "/orders/555/cancel", json!({})).await.status, 404);
}

#[tokio::test]
async fn the_wrong_method_is_a_405() {
    let world = World::seeded();
    assert_eq!(world.post(Order, "/orders/99", json!({})).await.status, 405);
    assert_eq!(world.post(OrderHistory, "/orders", json!({})).await.status, 405);
}

#[tokio::test]
async fn every_route_is_answered_by_its_service() {
    let world = World::seeded();
    for service in Service::ALL {
        for (method, path) in service.routes() {
            let path = path.replace("{id}", "99").replace("{orderId}", "99");
            let request = Request::builder().method(*method).uri(&path).body(Body::empty()).unwrap();
            let answer = world.send(service, request).await;
            let routed = answer.status != 405 && (answer.status != 404 || path.contains("99"));
            assert!(routed, "{service:?} {method} {path}: {}", answer.status);
        }
    }
}
