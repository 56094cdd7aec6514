//! The history page of `bff-mobile`: restaurants are kept for all, and nothing else is.

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::mobile::{Mobile, data};

const PAGE: &str = "{ orders(consumerId: 777) { orderId restaurant { id name } bill { amount } } }";

/// Consumers 777 and 778 with twenty orders each over restaurants 901 to 910, and what the first page of one asks for.
async fn warm() -> Mobile {
    let mobile = Mobile::start().await;
    let restaurant = |id: i64| json!({"id": id, "name": format!("R{id}")});
    let order = |id: i64| json!({"orderId": id, "consumerId": if id % 2 == 0 { 777 } else { 778 }, "restaurantId": 901 + id / 2 % 10});
    mobile.seed(&json!({
        "consumers": [{"consumerId": 777}, {"consumerId": 778}],
        "restaurants": (901..=910).map(restaurant).collect::<Vec<_>>(),
        "orders": (5_000..5_040).map(order).collect::<Vec<_>>(),
    }));
    mobile.stubs.recorder().clear();
    check(&page(&mobile).await);
    assert_eq!(mobile.counts(Service::Restaurant).total, 1);
    mobile.stubs.recorder().clear();
    mobile
}

async fn page(mobile: &Mobile) -> Value {
    mobile.ask(&mobile.consumer("777"), PAGE).await
}

fn check(answer: &Value) {
    let orders = data(answer)["orders"].as_array().unwrap();
    assert_eq!(orders.len(), 20);
    for order in orders {
        let id = 901 + order["orderId"].as_str().unwrap().parse::<i64>().unwrap() / 2 % 10;
        assert_eq!(order["restaurant"], json!({"id": id.to_string(), "name": format!("R{id}")}));
    }
}

#[tokio::test]
async fn a_history_page_of_known_restaurants_asks_for_none_of_them() {
    let mobile = warm().await;
    for _ in 0..3 {
        check(&page(&mobile).await);
    }
    assert_eq!(mobile.counts(Service::Restaurant).total, 0);
    assert_eq!(mobile.counts(Service::OrderHistory).total, 3, "orders are asked for each time");
    assert_eq!(mobile.counts(Service::Accounting).total, 3, "and so are bills");
}

#[tokio::test]
async fn with_three_of_ten_gone_one_bulk_call_asks_for_exactly_those_three() {
    let mobile = warm().await;
    let purge = "/cache?tag=restaurant:902&tag=restaurant:905&tag=restaurant:909";
    mobile.gate.admin_ask("DELETE", purge).send().await.expect(200);
    check(&page(&mobile).await);
    let counts = mobile.counts(Service::Restaurant);
    assert_eq!(counts.total, 1);
    let asked = counts.last[0].path.strip_prefix("/restaurants?ids=").unwrap();
    let mut asked: Vec<_> = asked.split(',').collect();
    asked.sort_unstable();
    assert_eq!(asked, ["902", "905", "909"]);
    check(&page(&mobile).await);
    assert_eq!(mobile.counts(Service::Restaurant).total, 1);
}

#[tokio::test]
async fn what_is_kept_for_all_is_asked_for_in_nobodys_name() {
    let mobile = warm().await;
    mobile.gate.admin_ask("DELETE", "/cache?all").send().await.expect(200);
    let other = PAGE.replace("777", "778");
    data(&mobile.ask(&mobile.consumer("778"), &other).await);
    check(&page(&mobile).await);
    let restaurants = mobile.counts(Service::Restaurant).last;
    assert_eq!(restaurants.len(), 1, "what one consumer has asked for is there for the other");
    let names = |seen: &[(String, String)]| seen.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let told = names(&restaurants[0].headers);
    assert!(told.contains(&"x-request-id".to_owned()) && !told.contains(&"x-user-id".to_owned()), "{told:?}");
    let bills = mobile.counts(Service::Accounting).last;
    assert!(names(&bills[0].headers).contains(&"x-user-id".to_owned()));
}

#[tokio::test]
async fn a_page_goes_on_showing_restaurants_while_their_service_is_down() {
    let mobile = warm().await;
    mobile.fault(Service::Restaurant, json!({"method": "GET", "fault": {"status": 503}})).await;
    mobile.gate.admin_ask("DELETE", "/cache?all&soft").send().await.expect(200);
    for _ in 0..3 {
        check(&page(&mobile).await);
    }
}
