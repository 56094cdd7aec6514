//! Bulk reads, consumers, and the search for restaurants.

use super::*;
use Service::{Accounting, Consumer, Delivery, Kitchen, Order, Restaurant};

#[tokio::test]
async fn a_bulk_read_answers_those_found_in_the_order_asked() {
    let world = World::seeded();
    for (service, path, id) in [
        (Order, "/orders?ids=102,555,99,102", "/orderId"),
        (Kitchen, "/tickets?orderIds=102,555,99", "/orderId"),
        (Accounting, "/bills?orderIds=102,555,99", "/orderId"),
        (Delivery, "/deliveries?orderIds=102,555,99", "/deliveryInfo/id"),
    ] {
        let found = world.get(service, path).await.json();
        let ids: Vec<_> =
            found.as_array().unwrap().iter().map(|record| record.pointer(id).unwrap()).collect();
        assert_eq!(ids, [102, 99], "{service:?}");
    }
    assert_eq!(world.get(Consumer, "/consumers?ids=").await.json(), json!([]));
    let names = world.get(Restaurant, "/restaurants?ids=3,1").await.json();
    assert_eq!((&names[0]["id"], &names[1]["name"]), (&json!(3), &json!("Ajanta")));
}

#[tokio::test]
async fn a_registered_consumer_is_known_by_name_and_has_an_account() {
    let world = World::seeded();
    let name = json!({ "firstName": "Jane", "lastName": "Roe" });
    let registered = world.post(Consumer, "/consumers", json!({ "name": name })).await.json();
    let id = registered["consumerId"].as_i64().unwrap();
    let consumer = world.get(Consumer, &format!("/consumers/{id}")).await.json();
    assert_eq!(consumer, json!({ "consumerId": id, "name": name }));
    assert_eq!(world.get(Accounting, &format!("/accounts/{id}")).await.json(), json!({ "accountId": id }));
    let nameless = world.post(Consumer, "/consumers", json!({ "name": { "firstName": "x" } })).await;
    assert_eq!(nameless.wrong_field(), "name.lastName");
}

#[tokio::test]
async fn the_replicas_know_a_new_restaurant() {
    let world = World::seeded();
    let id = new_restaurant(&world).await;
    for service in [Order, Kitchen] {
        let replica = world.get(service, &format!("/restaurants/{id}")).await.json();
        assert_eq!(replica, json!({ "restaurantId": id }));
    }
}

async fn new_restaurant(world: &World) -> i64 {
    let address = json!({ "street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611" });
    let menu = json!({ "menuItems": [{ "id": "1", "name": "Stroopwafel", "price": "3.50" }] });
    let new = json!({
        "name": "Nachtzon", "address": address, "menu": menu, "zips": ["99999"], "opens": "22:00", "closes": "02:00",
    });
    world.post(Restaurant, "/restaurants", new).await.json()["id"].as_i64().unwrap()
}

async fn found(world: &World, query: &str) -> Vec<i64> {
    let page = world.get(Restaurant, &format!("/restaurants?{query}")).await.json();
    page["restaurants"].as_array().unwrap().iter().map(|found| found["id"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn restaurants_are_found_by_zip_hour_and_dish() {
    let world = World::seeded();
    let id = new_restaurant(&world).await;
    assert_eq!(found(&world, "q=STROOP").await, [id]);
    assert_eq!(found(&world, "q=nachtz").await, [id]);
    assert!(found(&world, "zip=99999&at=23:30").await.contains(&id));
    assert!(found(&world, "zip=99999&at=2030-01-01T01:59:00").await.contains(&id));
    assert!(!found(&world, "zip=99999&at=02:00").await.contains(&id));
    assert!(!found(&world, "zip=94611").await.contains(&id));
    assert!(found(&world, "zip=12345").await.contains(&1), "Ajanta serves all");
    assert_eq!(found(&world, "").await.len(), 14);
    assert_eq!(world.get(Restaurant, "/restaurants?at=noon").await.wrong_field(), "at");
}

#[tokio::test]
async fn restaurants_come_in_pages() {
    let world = World::seeded();
    let mut all = Vec::new();
    let mut query = "pageSize=5".to_owned();
    loop {
        let page = world.get(Restaurant, &format!("/restaurants?{query}")).await.json();
        all.extend(page["restaurants"].as_array().unwrap().iter().map(|found| found["id"].as_i64().unwrap()));
        let Some(key) = page["startKey"].as_str() else { break };
        query = format!("pageSize=5&startKey={key}");
    }
    assert_eq!(all, (1..=13).collect::<Vec<_>>());
    for (query, field) in
        [("pageSize=0", "pageSize"), ("pageSize=201", "pageSize"), ("startKey=7", "startKey")]
    {
        assert_eq!(world.get(Restaurant, &format!("/restaurants?{query}")).await.wrong_field(), field);
    }
}
