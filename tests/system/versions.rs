//! Versions of one route beside each other: what each answers, and what clients are told of the one that ends.

use ftgo::stubs::service::Service;
use serde_json::json;

use crate::{
    client::Answer,
    harness::{Ftgo, Gate, JOHN, stubs},
};

fn links(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect()
}

const LINKS: [&str; 3] = [
    "<https://ftgo.example/api/orders-v2>; rel=\"deprecation\"; type=\"text/html\"",
    "<https://ftgo.example/api/orders-v2>; rel=\"sunset\"; type=\"text/html\"",
    "</v2/orders/99>; rel=\"successor-version\"",
];

#[tokio::test]
async fn an_order_is_read_in_two_shapes_and_the_old_one_says_so_with_every_answer() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let ask = |path: &str| ftgo.get(path).token(&token).send();
    let (plain, new) = (ask("/orders/99").await.expect(200), ask("/v2/orders/99").await.expect(200));
    assert_eq!(plain.bytes(), new.bytes());
    assert_eq!((new.header("deprecation"), new.header("sunset"), links(&new).len()), ("", "", 0));
    let old = ask("/v1/orders/99").await.expect(200);
    let whole = plain.json();
    assert_eq!(
        old.json(),
        json!({
            "orderId": 99, "status": "APPROVED", "total": whole["orderInfo"]["orderTotal"],
            "ticket": whole["ticketInfo"]["state"], "delivery": whole["deliveryInfo"]["deliveryInfo"]["state"],
            "bill": whole["billInfo"]["state"], "restaurantName": "Ajanta",
        })
    );
    let refused = ftgo.get("/v1/orders/99").send().await.expect(401);
    for answer in [&old, &refused] {
        assert_eq!(answer.header("deprecation"), "@1793491200");
        assert_eq!(answer.header("sunset"), "Tue, 01 Jun 2027 00:00:00 GMT");
        assert_eq!(links(answer), LINKS);
    }
    ftgo.fault(Service::Order, json!({"fault": "reset"})).await;
    assert_eq!(links(&ask("/v1/orders/99").await.expect(502)), LINKS);
    let metrics = ftgo.gate.admin("/metrics").send().await.expect(200);
    let metrics = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    let line = r#"gateway_deprecated_requests_total{route="GET /v1/orders/{orderId}"} 3"#;
    assert!(metrics.lines().any(|told| told == line), "{metrics}");
}

#[tokio::test]
async fn fields_that_a_service_adds_change_nothing_for_those_who_name_what_they_read() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let before = ftgo.get("/v1/orders/99").token(&token).send().await.expect(200);
    let order = r#"{"new":[{"x":1e400}],"orderId":99,"consumerId":1511300065921,"restaurantId":1,"state":"APPROVED","orderTotal":61.70,"more":null}"#;
    let told = json!({"status": 200, "headers": {"content-type": "application/json"}, "body": order});
    ftgo.fault(Service::Order, json!({ "fault": told })).await;
    let after = ftgo.get("/v1/orders/99").token(&token).send().await.expect(200).json();
    for name in ["orderId", "status", "ticket", "delivery", "bill", "restaurantName"] {
        assert_eq!(after[name], before.json()[name], "{name}");
    }
}

#[tokio::test]
async fn a_forwarded_route_has_versions_too_and_a_service_that_knows_one() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    let gate = Gate::start(&format!(
        "upstreams:\n  order: {{ url: \"http://{order}\" }}\nroutes:\n  - path: /orders/{{id}}\n    auth: none\n    \
         forward: {{ to: order }}\n    versions:\n      v1: {{ path: \"/v1/orders/{{id}}\", deprecated: {{ since: 2020-01-01, \
         sunset: 2020-02-01, after_sunset: gone }} }}\n      v2: {{ path: \"/v2/orders/{{id}}\", deprecated: {{ since: 2020-01-01, \
         sunset: 2020-02-01, successor: \"/orders/{{id}}\" }}, respond: {{ body: {{ id: answer.orderId }} }} }}\n      \
         v3: {{ path: \"/v3/orders/{{id}}\" }}\n"
    ));
    assert_eq!(gate.get("/v3/orders/99?a=b").send().await.expect(200).json()["orderId"], 99);
    assert_eq!(gate.get("/v2/orders/99?a=b").send().await.expect(200).json(), json!({"id": 99}));
    let seen = stubs.recorder().counts(Service::Order).last;
    assert!(seen.iter().all(|seen| seen.path == "/orders/99?a=b"), "{seen:?}");
    let old = gate.get("/v2/orders/99").send().await.expect(200);
    assert_eq!(
        links(&old),
        ["</orders/99>; rel=\"successor-version\""],
        "its sunset is over, and it goes on"
    );
    let gone = gate.get("/v1/orders/99").send().await.expect(410);
    assert_eq!((gone.code().as_str(), gone.header("deprecation")), ("gone", "@1577836800"));
    assert_eq!(links(&gone), ["</v3/orders/99>; rel=\"successor-version\""]);
    assert_eq!(stubs.recorder().counts(Service::Order).total, 3, "nobody is asked for what is gone");
}
