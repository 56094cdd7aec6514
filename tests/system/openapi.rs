//! The contract of `bff-web`: the document and the page that shows it, and requests that do not fit.
//!
//! Not here: every request that fits and does not (`schemathesis.rs`, `gateway/src/contract/`).

use std::collections::BTreeSet;

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::{
    client::ask,
    harness::{Ftgo, Gate, JOHN, MARY},
};

fn order() -> Value {
    json!({
        "consumerId": 1_511_300_065_921_u64, "restaurantId": 1, "deliveryTime": "2099-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "lineItems": [{"menuItemId": "1", "quantity": 5}],
    })
}

#[tokio::test]
async fn the_document_tells_of_every_route_and_is_not_sent_twice() {
    let ftgo = Ftgo::start().await;
    let answer = ftgo.get("/openapi.json").send().await.expect(200);
    assert_eq!(answer.header("content-type"), "application/openapi+json;version=3.1");
    let told = answer.json();
    let operations: usize =
        told["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
    assert_eq!((&told["openapi"], operations), (&json!("3.1.1"), 21));
    for methods in told["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{operation}");
            assert!(operation["responses"]["200"].is_object(), "{operation}");
        }
    }
    let tag = answer.header("etag").to_owned();
    let again = ftgo.get("/openapi.json").header("if-none-match", &tag).send().await.expect(304);
    assert_eq!((again.bytes().len(), again.header("etag")), (0, &*tag));
}

/// Every `$ref` leads somewhere.
#[tokio::test]
async fn the_document_refers_to_what_is_in_it() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let ftgo = Ftgo::start().await;
    let told = ftgo.get("/openapi.json").send().await.expect(200).json();
    let mut found = BTreeSet::new();
    references(&told, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        assert!(told.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_page_runs_its_own_script_and_nothing_else() {
    let ftgo = Ftgo::start().await;
    let answer = ftgo.get("/reference").send().await.expect(200);
    let policy = answer.header("content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("connect-src 'self'"), "{policy}");
    let page = String::from_utf8(answer.bytes().to_vec()).unwrap();
    assert!(page.contains("fetch('/openapi.json')") && !page.contains("OPENAPI_PATH"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://"), "it takes nothing from elsewhere");
}

#[tokio::test]
async fn what_does_not_fit_is_told_where_and_no_service_sees_it() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let before: u64 = Service::ALL.iter().map(|service| ftgo.stubs.recorder().counts(*service).total).sum();
    let mut wrong = order();
    wrong["lineItems"][0]["quantity"] = json!(0);
    wrong["deliveryAddress"].as_object_mut().unwrap().remove("city");
    let answer = ftgo.post("/orders").token(&token).json(&wrong).send().await.expect(400);
    assert_eq!(answer.code(), "invalid_request");
    let errors = json!([
        { "in": "body", "at": "/deliveryAddress/city", "message": "is needed" },
        { "in": "body", "at": "/lineItems/0/quantity", "message": "must be at least 1" },
    ]);
    assert_eq!(answer.json()["errors"], errors);
    for (path, at) in [
        ("/orders?consumerId=1511300065921&pageSize=0", "/pageSize"),
        ("/orders?consumerId=1511300065921&page=1", "/page"),
        ("/orders/ninety-nine", "/orderId"),
    ] {
        let answer = ftgo.get(path).token(&token).send().await.expect(400);
        assert_eq!(
            (answer.code(), &answer.json()["errors"][0]["at"]),
            ("invalid_request".to_owned(), &json!(at))
        );
    }
    // A rule over the order would be asked about it first.
    let revision = json!({ "revisedOrderLineItems": [{ "menuItemId": "1", "quantity": "ten" }] });
    ftgo.post("/orders/99/revise").token(&token).json(&revision).send().await.expect(400);
    let after: u64 = Service::ALL.iter().map(|service| ftgo.stubs.recorder().counts(*service).total).sum();
    assert_eq!(before, after);
}

#[tokio::test]
async fn who_may_not_is_told_that_first() {
    let ftgo = Ftgo::start().await;
    ftgo.post("/orders").json(&json!({})).send().await.expect(401);
    let foreign =
        ftgo.post("/orders").token(&ftgo.consumer(MARY)).json(&json!({ "consumerId": 1 })).send().await;
    assert_eq!(foreign.expect(403).code(), "forbidden");
    let unread = ftgo.get("/consumers/1511300065921?x=1").token(&ftgo.consumer(MARY)).send().await;
    unread.expect(403);
}

#[tokio::test]
async fn a_body_is_json_that_says_so() {
    let ftgo = Ftgo::start().await;
    let plain = ftgo.post("/consumers").header("content-type", "text/plain").body("{}").send().await;
    assert_eq!(plain.expect(415).code(), "unsupported_media_type");
    let twice =
        ftgo.post("/consumers").header("content-type", "application/json").body("{\"name\":1,\"name\":2}");
    assert_eq!(twice.send().await.expect(400).code(), "bad_request");
}

#[tokio::test]
async fn what_is_not_configured_is_not_there() {
    let gate = Gate::start("routes: []\n");
    ask(gate.address(), "GET", "/openapi.json").send().await.expect(404);
}
