//! The services driven through their routers, on a paused clock.

mod conditional_reads;
mod history;
mod idempotency;
mod kitchen_and_delivery;
mod lists;
mod refusals;
mod sagas;
mod seeds;

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::World;
use crate::stubs::service::Service;

const JOHN: i64 = 1_511_300_065_921;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The field a 400 names.
    fn wrong_field(&self) -> String {
        assert_eq!(self.status, 400, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        serde_json::from_str::<Value>(&self.text).unwrap()["field"].as_str().unwrap().to_owned()
    }
}

impl World {
    async fn send(&self, service: Service, request: Request<Body>) -> Answer {
        let response = self.router(service).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    async fn get(&self, service: Service, path: &str) -> Answer {
        self.send(service, Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, service: Service, path: &str, body: Value) -> Answer {
        self.send(service, Request::post(path).body(body.to_string().into()).unwrap()).await
    }

    async fn post_with_key(&self, path: &str, key: &str, body: Value) -> Answer {
        let request = Request::post(path).header("idempotency-key", key).body(body.to_string().into());
        self.send(Service::Order, request.unwrap()).await
    }

    /// Takes an order and returns its id.
    async fn order(&self, order: Value) -> i64 {
        self.post(Service::Order, "/orders", order).await.json()["orderId"].as_i64().unwrap()
    }

    async fn order_state(&self, id: i64) -> Value {
        self.get(Service::Order, &format!("/orders/{id}")).await.json()["state"].clone()
    }

    /// Lets so many steps of the sagas pass, and a little more.
    async fn steps(&self, steps: u32) {
        let step = self.state().saga_step;
        tokio::time::sleep(step * steps + step / 2).await;
    }
}

fn john_orders(quantity: i64) -> Value {
    orders_of(JOHN, quantity)
}

fn orders_of(consumer_id: i64, quantity: i64) -> Value {
    json!({
        "consumerId": consumer_id,
        "restaurantId": 1,
        "deliveryTime": "2030-01-01T19:00:00",
        "deliveryAddress": { "street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612" },
        "lineItems": [{ "menuItemId": "1", "quantity": quantity }],
    })
}
