//! What both BFFs expect of each service, held against the services: a contract that its consumers drive. A service that renames
//! a field that somebody reads fails here, and one that adds or drops another does not.
//!
//! Read are: what `config/bff-web.yaml` names in rules, targets, joins and shapes, and the records of `bff-mobile`. Not here: what
//! services promise besides (their own `/openapi.json`, and `schemathesis.rs` for what clients of `bff-web` see).

use ftgo::stubs::service::Service;
use serde_json::Value;

use crate::{
    client::ask,
    harness::{JOHN, stubs},
};

/// What is expected at a place.
#[derive(Clone, Copy, Debug)]
enum Is {
    /// An id: a number, or a text of digits.
    Id,
    Text,
    /// A number in a text.
    Money,
    /// ISO 8601 without offset, or null while it has not come to pass.
    Time,
    /// A text, or null.
    Maybe,
    Whole,
    List,
}

impl Is {
    fn so(self, value: &Value) -> bool {
        let text = value.as_str();
        let digits = |text: &str| text.parse::<i64>().is_ok();
        match self {
            Is::Id => value.is_i64() || text.is_some_and(digits),
            Is::Text => value.is_string(),
            Is::Money => text.is_some_and(|text| text.parse::<f64>().is_ok()),
            Is::Time => {
                value.is_null() || text.is_some_and(|text| text.len() >= 19 && text.as_bytes()[10] == b'T')
            }
            Is::Maybe => value.is_null() || value.is_string(),
            Is::Whole => value.is_i64(),
            Is::List => value.is_array(),
        }
    }
}

/// A service, what is asked, who needs it, and what they read, by JSON Pointer.
type Expected = (Service, String, &'static str, &'static [(&'static str, Is)]);

fn expected() -> Vec<Expected> {
    const ORDER: &[(&str, Is)] =
        &[("/orderId", Is::Id), ("/state", Is::Text), ("/consumerId", Is::Id), ("/restaurantId", Is::Id)];
    const ORDERS: &[(&str, Is)] = &[
        ("/0/orderId", Is::Id),
        ("/0/state", Is::Text),
        ("/0/consumerId", Is::Id),
        ("/0/restaurantId", Is::Id),
        ("/0/orderTotal", Is::Money),
        ("/0/createdAt", Is::Time),
        ("/0/lineItems/0/menuItemId", Is::Text),
        ("/0/lineItems/0/name", Is::Text),
        ("/0/lineItems/0/price", Is::Money),
        ("/0/lineItems/0/quantity", Is::Whole),
    ];
    const HISTORY: &[(&str, Is)] = &[
        ("/orders", Is::List),
        ("/orders/0/orderId", Is::Id),
        ("/orders/0/restaurantId", Is::Id),
        ("/orders/0/status", Is::Text),
        ("/orders/0/orderTotal", Is::Money),
        ("/orders/0/createdAt", Is::Time),
        ("/startKey", Is::Maybe),
    ];
    const RESTAURANTS: &[(&str, Is)] = &[
        ("/0/id", Is::Id),
        ("/0/name", Is::Text),
        ("/0/address/street1", Is::Text),
        ("/0/address/city", Is::Text),
        ("/0/address/state", Is::Text),
        ("/0/address/zip", Is::Text),
        ("/0/menu/menuItems/0/id", Is::Text),
        ("/0/menu/menuItems/0/name", Is::Text),
        ("/0/menu/menuItems/0/price", Is::Money),
    ];
    let mut all = vec![
        (Service::Consumer, format!("/consumers/{JOHN}"), "web", &[("/consumerId", Is::Id)][..]),
        (
            Service::Consumer,
            format!("/consumers?ids={JOHN}"),
            "mobile",
            &[("/0/consumerId", Is::Id), ("/0/name/firstName", Is::Text), ("/0/name/lastName", Is::Text)],
        ),
        (Service::OrderHistory, format!("/orders?consumerId={JOHN}"), "both", HISTORY),
    ];
    all.extend(
        by_order(ORDER, ORDERS).map(|(service, path, who, fields)| (service, path.to_owned(), who, fields)),
    );
    let restaurants = [
        (Service::Restaurant, "/restaurants?ids=1", "both", RESTAURANTS),
        (
            Service::Restaurant,
            "/restaurants",
            "mobile",
            &[("/restaurants/0/id", Is::Id), ("/startKey", Is::Maybe)],
        ),
    ];
    all.extend(restaurants.map(|(service, path, who, fields)| (service, path.to_owned(), who, fields)));
    all
}

type Asked = (Service, &'static str, &'static str, &'static [(&'static str, Is)]);

fn by_order(order: &'static [(&'static str, Is)], orders: &'static [(&'static str, Is)]) -> [Asked; 8] {
    const TIMES: &[(&str, Is)] = &[
        ("/0/orderId", Is::Id),
        ("/0/state", Is::Text),
        ("/0/readyBy", Is::Time),
        ("/0/acceptTime", Is::Time),
        ("/0/readyForPickupTime", Is::Time),
        ("/0/pickedUpTime", Is::Time),
    ];
    const DELIVERIES: &[(&str, Is)] = &[
        ("/0/deliveryInfo/id", Is::Id),
        ("/0/deliveryInfo/state", Is::Text),
        ("/0/estimatedDeliveryTime", Is::Time),
    ];
    [
        (Service::Order, "/orders/99", "web", order),
        (Service::Order, "/orders?ids=99", "mobile", orders),
        (Service::Kitchen, "/tickets/99", "web", &[("/restaurantId", Is::Id)]),
        (Service::Kitchen, "/tickets?orderIds=99", "mobile", TIMES),
        (Service::Delivery, "/deliveries/99", "web", &[("/deliveryInfo/state", Is::Text)]),
        (Service::Delivery, "/deliveries?orderIds=99", "mobile", DELIVERIES),
        (Service::Accounting, "/bills/99", "web", &[("/orderId", Is::Id)]),
        (
            Service::Accounting,
            "/bills?orderIds=99",
            "mobile",
            &[("/0/orderId", Is::Id), ("/0/state", Is::Text), ("/0/amount", Is::Money)],
        ),
    ]
}

#[tokio::test]
async fn each_service_answers_what_its_consumers_read() {
    let stubs = stubs();
    let mut broken = Vec::new();
    for (service, path, who, fields) in expected() {
        let answer = ask(stubs.address(service), "GET", &path).send().await.expect(200).json();
        for (place, is) in fields {
            if !answer.pointer(place).is_some_and(|value| is.so(value)) {
                broken.push(format!("{} GET {path}, for {who}: {place} is no {is:?}", service.name()));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}
