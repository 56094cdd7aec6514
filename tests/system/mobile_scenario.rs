//! What a consumer does in a day, all of it through `bff-mobile`.

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::{
    client::ask,
    harness::until_answer,
    mobile::{Mobile, data},
};

const CREATE: &str = "mutation($input: CreateOrderInput!) { createOrder(input: $input) { orderId } }";
/// As apps of old declare it: `Int!`.
const ORDER: &str = "query($id: Int!) { order(orderId: $id) { orderId consumerId state orderTotal \
     lineItems { menuItemId name price quantity } consumer { firstName lastName } \
     restaurant { id name } ticket { state } bill { state amount } deliveryInfo { status } } }";

struct Scene {
    mobile: Mobile,
    consumer: String,
    token: String,
}

impl Scene {
    async fn begin() -> Scene {
        let mobile = Mobile::start().await;
        let register = "mutation { createConsumer(c: {firstName: \"Ada\", lastName: \"Byron\"}) { \
             id firstName lastName orders { orderId } } }";
        let answer = mobile.ask("", register).await;
        let created = &data(&answer)["createConsumer"];
        let consumer = created["id"].as_str().expect("ids come out as strings").to_owned();
        let expected = json!({"id": consumer, "firstName": "Ada", "lastName": "Byron", "orders": []});
        assert_eq!(*created, expected);
        let token = mobile.consumer(&consumer);
        Scene { mobile, consumer, token }
    }

    async fn order(&self) -> String {
        let input = json!({
            "consumerId": self.consumer,
            "restaurantId": 1,
            "deliveryTime": "2099-01-01T19:00:00",
            "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
            "lineItems": [{"menuItemId": 1, "quantity": 5}],
        });
        let answer = self.mobile.ask_with(&self.token, CREATE, json!({ "input": input })).await;
        data(&answer)["createOrder"]["orderId"].as_str().expect("ids come out as strings").to_owned()
    }

    /// Asks until the answer is as it should be.
    async fn until(&self, query: &str, variables: Value, so: impl Fn(&Value) -> bool) -> Value {
        let body = json!({"query": query, "variables": variables});
        until_answer(|| self.mobile.post(&self.token, &body), so).await["data"].take()
    }

    async fn order_is(&self, order: &str, so: impl Fn(&Value) -> bool) -> Value {
        let shown = |answer: &Value| so(&answer["data"]["order"]);
        self.until(ORDER, json!({ "id": order }), shown).await["order"].take()
    }

    /// Both lists show the order in this state.
    async fn history_shows(&self, order: &str, state: &str) {
        let query = "query($id: ID!) { orders(consumerId: $id) { orderId state } \
             orderHistory(consumerId: $id) { nodes { orderId state } edges { node { orderId } } } }";
        let expected = json!([{"orderId": order, "state": state}]);
        let shown = |answer: &Value| {
            let data = &answer["data"];
            data["orders"] == expected && data["orderHistory"]["nodes"] == expected
        };
        let data = self.until(query, json!({"id": self.consumer}), shown).await;
        assert_eq!(data["orderHistory"]["edges"][0]["node"]["orderId"], order);
    }

    async fn write(&self, mutation: &str, order: &str) -> Value {
        data(&self.mobile.ask_with(&self.token, mutation, json!({ "id": order })).await).clone()
    }
}

#[tokio::test]
async fn an_order_is_placed_and_approved_and_shows_all_its_parts() {
    let scene = Scene::begin().await;
    let order = scene.order().await;
    let seen = scene.order_is(&order, |order| order["state"] == "APPROVED").await;
    let expected = json!({
        "orderId": order, "consumerId": scene.consumer, "state": "APPROVED", "orderTotal": "61.70",
        "lineItems": [{"menuItemId": "1", "name": "Chicken Vindaloo", "price": "12.34", "quantity": 5}],
        "consumer": {"firstName": "Ada", "lastName": "Byron"}, "restaurant": {"id": "1", "name": "Ajanta"},
        "ticket": {"state": "AWAITING_ACCEPTANCE"}, "bill": {"state": "AUTHORIZED", "amount": "61.70"},
        "deliveryInfo": {"status": "PREPARING"},
    });
    assert_eq!(seen, expected);
    scene.history_shows(&order, "APPROVED").await;
}

#[tokio::test]
async fn an_order_is_revised_and_cancelled() {
    let scene = Scene::begin().await;
    let order = scene.order().await;
    scene.order_is(&order, |order| order["state"] == "APPROVED").await;

    let revise = "mutation($id: ID!) { reviseOrder(input: {orderId: $id, \
         lineItems: [{menuItemId: 1, quantity: 10}]}) { orderId state orderTotal restaurant { name } } }";
    let before = &scene.write(revise, &order).await["reviseOrder"];
    assert_eq!((&before["state"], &before["orderTotal"]), (&json!("APPROVED"), &json!("61.70")));
    assert_eq!(before["restaurant"]["name"], "Ajanta");
    let revised = |order: &Value| order["state"] == "APPROVED" && order["orderTotal"] == "123.40";
    let revised = scene.order_is(&order, revised).await;
    assert_eq!(revised["bill"], json!({"state": "REVISED", "amount": "123.40"}));

    let cancel = "mutation($id: Int!) { cancelOrder(input: {orderId: $id}) { orderId state } }";
    let before = scene.write(cancel, &order).await;
    assert_eq!(before["cancelOrder"], json!({"orderId": order, "state": "APPROVED"}));
    let cancelled = scene.order_is(&order, |order| order["state"] == "CANCELLED").await;
    assert_eq!(cancelled["deliveryInfo"], json!({ "status": null }));
    scene.history_shows(&order, "CANCELLED").await;
}

async fn act(mobile: &Mobile, service: Service, path: &str) {
    let ready_by = json!({"readyBy": "2099-01-01T18:30:00"});
    ask(mobile.stubs.address(service), "POST", path).json(&ready_by).send().await.expect(200);
}

/// `deliveryInfo` of order 99.
async fn delivery(mobile: &Mobile) -> Value {
    let query = "{ order(orderId: 99) { deliveryInfo { status assignedCourier estimatedDeliveryTime } } }";
    data(&mobile.ask(&mobile.john(), query).await)["order"]["deliveryInfo"].clone()
}

#[tokio::test]
async fn a_delivery_is_followed_from_the_kitchen_to_the_door() {
    let mobile = Mobile::start().await;
    let waiting = delivery(&mobile).await;
    assert_eq!((&waiting["status"], &waiting["assignedCourier"]), (&json!("PREPARING"), &Value::Null));
    for (service, step, status) in [
        (Service::Kitchen, "/tickets/99/accept", "PREPARING"),
        (Service::Kitchen, "/tickets/99/preparing", "PREPARING"),
        (Service::Kitchen, "/tickets/99/ready", "READY_FOR_PICKUP"),
        (Service::Kitchen, "/tickets/99/pickup", "PICKED_UP"),
    ] {
        act(&mobile, service, step).await;
        let seen = delivery(&mobile).await;
        assert_eq!(seen["status"], status, "after {step}");
        assert!(seen["assignedCourier"].is_string(), "after {step}: {seen}");
        assert!(seen["estimatedDeliveryTime"].as_i64().is_some_and(|minutes| minutes > 0), "{seen}");
    }
    act(&mobile, Service::Delivery, "/deliveries/99/dropoff").await;
    let delivered = delivery(&mobile).await;
    assert_eq!(
        (&delivered["status"], &delivered["estimatedDeliveryTime"]),
        (&json!("DELIVERED"), &Value::Null)
    );
}
