//! The control API, call by call.

use serde_json::json;

use super::*;
use crate::stubs::service::Service;

#[tokio::test]
async fn faults_are_set_and_healed_by_service_and_altogether() {
    let stubs = stubs();
    let (control, order) = (stubs.control(), stubs.address(Service::Order));
    let fault = || json!({"fault": {"status": 418}});
    for heal in ["/faults/order", "/faults"] {
        assert_eq!(call(control, Method::PUT, "/faults/order", fault()).await.status, StatusCode::OK);
        assert_eq!(get(order, "/orders/99").await.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(call(control, Method::DELETE, heal, json!(null)).await.status, StatusCode::OK);
        assert_eq!(get(order, "/orders/99").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_wrong_field_is_refused_by_name_and_changes_nothing() {
    let stubs = stubs();
    for (method, path, body, field) in [
        (Method::PUT, "/faults/order", json!({"fault": "hang", "patth": "/"}), "patth"),
        (Method::PUT, "/faults/order", json!([{"fault": {"status": "x"}}]), "[0].fault.status"),
        (Method::POST, "/tokens", json!({"sub": "1", "role": []}), "role"),
        (Method::POST, "/tokens", json!({"sub": "1", "kind": "saml"}), "kind"),
        (Method::POST, "/tokens", json!({"sub": "1", "expiresIn": 5}), "expiresIn"),
        (Method::PUT, "/clock", json!({"sagaStep": "-1s"}), "sagaStep"),
        (Method::PUT, "/clock", json!({}), "sagaStep"),
        (Method::POST, "/seed", json!({"consumer": []}), "consumer"),
    ] {
        let seen = call(stubs.control(), method, path, body).await;
        assert_eq!(seen.status, StatusCode::BAD_REQUEST);
        assert_eq!(seen.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = seen.json();
        assert_eq!(problem["field"], field);
        assert!(problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
    assert_eq!(get(stubs.address(Service::Order), "/orders/99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_unknown_service_is_told_which_there_are() {
    let stubs = stubs();
    let seen = call(stubs.control(), Method::PUT, "/faults/oder", json!([])).await;
    assert_eq!(seen.status, StatusCode::NOT_FOUND);
    let detail = seen.json()["detail"].to_string();
    assert!(detail.contains("order, kitchen") && detail.contains("order-history"), "{detail}");
    assert_eq!(get(stubs.control(), "/requests/oder").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(stubs.control(), "/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn requests_are_told_by_service_and_cleared() {
    let stubs = stubs();
    get(stubs.address(Service::Order), "/orders/99").await;
    let one = get(stubs.control(), "/requests/order").await.json();
    assert_eq!(one["byRoute"], json!({"GET /orders/{id}": 1}));
    assert_eq!(one["last"][0]["headers"], json!([["host", "stub"]]));
    for field in ["total", "cancelled", "inFlight", "maxInFlight"] {
        assert!(one[field].is_u64(), "{field}");
    }
    let all = get(stubs.control(), "/requests").await.json();
    assert_eq!((&all["order"]["total"], &all["delivery"]["total"]), (&json!(1), &json!(0)));
    call(stubs.control(), Method::DELETE, "/requests", json!(null)).await;
    assert_eq!(get(stubs.control(), "/requests/order").await.json()["total"], 0);
}

#[tokio::test]
async fn control_answers_while_a_service_refuses() {
    let stubs = stubs();
    let refuse = json!({"fault": "refuse"});
    call(stubs.control(), Method::PUT, "/faults/order", refuse).await;
    assert!(TcpStream::connect(stubs.address(Service::Order)).await.is_err());
    assert_eq!(get(stubs.control(), "/requests/order").await.status, StatusCode::OK);
    call(stubs.control(), Method::POST, "/reset", json!(null)).await;
    assert_eq!(get(stubs.address(Service::Order), "/orders/99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_reset_heals_and_clears() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    call(stubs.control(), Method::PUT, "/faults/order", json!({"fault": {"status": 500}})).await;
    get(order, "/orders/99").await;
    assert_eq!(call(stubs.control(), Method::POST, "/reset", json!(null)).await.status, StatusCode::OK);
    assert_eq!(stubs.recorder().counts(Service::Order).total, 0);
    assert_eq!(get(order, "/orders/99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_clock_and_a_seed_are_taken() {
    let stubs = stubs();
    let clock = call(stubs.control(), Method::PUT, "/clock", json!({"sagaStep": "1ms"})).await;
    assert_eq!(clock.status, StatusCode::OK);
    let consumer =
        json!({"consumerId": 9_007_199_254_740_993_i64, "name": {"firstName": "A", "lastName": "B"}});
    let seed = call(stubs.control(), Method::POST, "/seed", json!({"consumers": [consumer]})).await;
    assert_eq!(seed.status, StatusCode::OK);
}
