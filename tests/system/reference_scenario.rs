//! What a consumer, a restaurant and a courier do in a day, all of it through `bff-web`.

use serde_json::{Value, json};

use crate::{
    client::Answer,
    harness::{Ftgo, until_answer},
};

/// The people of the scenario, with their tokens.
struct Scene {
    ftgo: Ftgo,
    consumer_id: i64,
    restaurant_id: i64,
    consumer: String,
    restaurant: String,
}

impl Scene {
    async fn begin() -> Scene {
        let ftgo = Ftgo::start().await;
        let name = json!({"name": {"firstName": "Ada", "lastName": "Byron"}});
        let consumer_id = id(&ftgo.post("/consumers").json(&name).send().await, "consumerId");
        let restaurant = json!({
            "name": "Curry House",
            "address": {"street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611"},
            "menu": {"menuItems": [{"id": "1", "name": "Chicken Vindaloo", "price": "12.34"}]},
        });
        let created = ftgo.post("/restaurants").token(&ftgo.support()).json(&restaurant).send().await;
        let restaurant_id = id(&created, "id");
        let consumer = ftgo.consumer(&consumer_id.to_string());
        let sub = format!("restaurant-{restaurant_id}");
        let restaurant = ftgo.stubs.token(&sub, &["restaurant"], "orders:read restaurants:write");
        Scene { ftgo, consumer_id, restaurant_id, consumer, restaurant }
    }

    async fn order(&self) -> i64 {
        let order = json!({
            "consumerId": self.consumer_id,
            "restaurantId": self.restaurant_id,
            "deliveryTime": "2099-01-01T19:00:00",
            "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
            "lineItems": [{"menuItemId": "1", "quantity": 5}],
        });
        let created = self.ftgo.post("/orders").token(&self.consumer).json(&order).send().await;
        id(&created, "orderId")
    }

    /// Asks for the order until it is as it should be.
    async fn order_is(&self, order: i64, so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/orders/{order}");
        until_answer(|| self.ftgo.get(&path).token(&self.consumer), so).await
    }

    async fn history_shows(&self, order: i64, status: &str) {
        let path = format!("/orders?consumerId={}", self.consumer_id);
        let id = order.to_string();
        let shown = |answer: &Value| {
            let orders = answer["orders"].as_array().unwrap();
            orders.iter().any(|one| one["orderId"] == *id && one["status"] == status)
        };
        until_answer(|| self.ftgo.get(&path).token(&self.consumer), shown).await;
    }

    async fn act(&self, path: &str, token: &str, body: &Value) {
        self.ftgo.post(path).token(token).json(body).send().await.expect(200);
    }
}

fn id(answer: &Answer, field: &str) -> i64 {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()[field].as_i64().expect("an id is a number")
}

fn state(part: &'static str, wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |order| order[part]["state"] == wanted
}

#[tokio::test]
async fn an_order_is_placed_approved_revised_and_cancelled() {
    let scene = Scene::begin().await;
    let order = scene.order().await;
    let approved = scene.order_is(order, state("orderInfo", "APPROVED")).await;
    assert_eq!(approved["orderInfo"]["orderTotal"], "61.70");
    scene.history_shows(order, "APPROVED").await;

    let revision = json!({"revisedOrderLineItems": [{"menuItemId": "1", "quantity": 10}]});
    scene.act(&format!("/orders/{order}/revise"), &scene.consumer, &revision).await;
    let revised =
        |order: &Value| order["orderInfo"]["orderTotal"] == "123.40" && state("orderInfo", "APPROVED")(order);
    scene.order_is(order, revised).await;

    scene.act(&format!("/orders/{order}/cancel"), &scene.consumer, &json!({})).await;
    scene.order_is(order, state("orderInfo", "CANCELLED")).await;
    scene.history_shows(order, "CANCELLED").await;
}

#[tokio::test]
async fn an_order_is_cooked_and_delivered() {
    let scene = Scene::begin().await;
    let order = scene.order().await;
    scene.order_is(order, state("orderInfo", "APPROVED")).await;
    scene.order_is(order, state("ticketInfo", "AWAITING_ACCEPTANCE")).await;
    let ready_by = json!({"readyBy": "2099-01-01T18:30:00"});
    scene.act(&format!("/tickets/{order}/accept"), &scene.restaurant, &ready_by).await;
    for step in ["preparing", "ready"] {
        scene.act(&format!("/tickets/{order}/{step}"), &scene.restaurant, &json!({})).await;
    }
    let scheduled = scene.order_is(order, |order| order["deliveryInfo"]["assignedCourier"].is_number()).await;
    let sub = format!("courier-{}", scheduled["deliveryInfo"]["assignedCourier"]);
    let courier = scene.ftgo.stubs.token(&sub, &["courier"], "deliveries:write");
    scene.act(&format!("/tickets/{order}/pickup"), &courier, &json!({})).await;
    scene.act(&format!("/deliveries/{order}/dropoff"), &courier, &json!({})).await;
    let delivered =
        scene.order_is(order, |order| order["deliveryInfo"]["deliveryInfo"]["state"] == "DELIVERED");
    assert_eq!(delivered.await["ticketInfo"]["state"], "PICKED_UP");
}

#[tokio::test]
async fn a_registered_consumer_sees_its_own_name() {
    let scene = Scene::begin().await;
    let path = format!("/consumers/{}", scene.consumer_id);
    let seen = scene.ftgo.get(&path).token(&scene.consumer).send().await.expect(200).json();
    assert_eq!(seen["name"], json!({"firstName": "Ada", "lastName": "Byron"}));
}
