//! Every fault, as a client meets it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::stubs::backend::Backend;
use crate::stubs::service::Service;

const REQUEST: &[u8] = b"GET /orders/99 HTTP/1.1\r\nhost: stub\r\n\r\n";

async fn order_with(fault: Value) -> (Stubs, SocketAddr) {
    let stubs = stubs();
    stubs.faults().set(Service::Order, fault).await.unwrap();
    let order = stubs.address(Service::Order);
    (stubs, order)
}

#[tokio::test]
async fn a_scripted_answer_replaces_the_real_one() {
    let fault = json!({"fault": {"status": 503, "headers": {"retry-after": "7"}, "body": "busy"}});
    let (_stubs, order) = order_with(fault).await;
    let seen = get(order, "/orders/99").await;
    assert_eq!(seen.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(seen.headers["retry-after"], "7");
    assert_eq!(seen.bytes(), "busy");
}

#[tokio::test]
async fn a_scripted_204_has_no_body() {
    let (_stubs, order) = order_with(json!({"fault": {"status": 204, "body": "no"}})).await;
    let seen = get(order, "/orders/99").await;
    assert_eq!(seen.status, StatusCode::NO_CONTENT);
    assert!(seen.bytes().is_empty());
}

#[tokio::test]
async fn the_first_match_wins_and_the_rest_stays_healthy() {
    let faults = json!([
        {"method": "GET", "path": "/orders/99", "fault": {"status": 500}},
        {"method": "GET", "path": "/orders/*", "fault": {"status": 429}},
    ]);
    let (stubs, order) = order_with(faults).await;
    assert_eq!(get(order, "/orders/99?a=b").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(get(order, "/orders/1").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(get(order, "/health").await.status, StatusCode::OK);
    let history = stubs.address(Service::OrderHistory);
    assert_eq!(get(history, "/orders/99").await.status, StatusCode::OK);
    stubs.faults().heal(Service::Order).await;
    assert_eq!(get(order, "/orders/99").await.status, StatusCode::OK);
}

#[tokio::test]
async fn latency_alone_delays_the_real_answer() {
    let (_stubs, order) = order_with(json!({"latency": "50ms", "jitter": "10ms"})).await;
    let began = Instant::now();
    assert_eq!(get(order, "/orders/99").await.json()["orderId"], 99);
    assert!(began.elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn a_hung_request_gets_no_answer_and_counts() {
    let (stubs, order) = order_with(json!({"fault": "hang"})).await;
    let mut stream = TcpStream::connect(order).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    until(&stubs, Service::Order, |counts| counts.in_flight == 1).await;
    let answer = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;
    assert!(answer.is_err(), "{answer:?}");
    drop(stream);
    until(&stubs, Service::Order, |counts| counts.cancelled == 1).await;
}

#[tokio::test]
async fn a_reset_comes_before_any_byte_and_is_nobody_leaving() {
    let (stubs, order) = order_with(json!({"fault": "reset"})).await;
    let mut stream = TcpStream::connect(order).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!((counts.total, counts.cancelled, counts.in_flight), (1, 0, 0));
    assert_eq!(counts.last[0].status, None);
}

#[tokio::test]
async fn a_truncated_answer_promises_all_and_brings_some() {
    let whole = get(stubs().address(Service::Order), "/orders/99").await.bytes();
    let (stubs, order) = order_with(json!({"fault": {"truncate": 10}})).await;
    let seen = get(order, "/orders/99").await;
    assert_eq!(seen.headers[header::CONTENT_LENGTH], whole.len().to_string());
    assert!(seen.body.is_err());

    let mut stream = TcpStream::connect(order).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut raw = Vec::new();
    stream.read_to_end(&mut raw).await.unwrap();
    assert!(raw.ends_with(&[b"\r\n\r\n", &whole[..10]].concat()), "{}", String::from_utf8_lossy(&raw));
    assert_eq!(stubs.recorder().counts(Service::Order).cancelled, 0);
}

#[tokio::test]
async fn a_truncated_answer_is_cut_even_if_more_bytes_were_asked_for_than_it_has() {
    let (_stubs, order) = order_with(json!({"fault": {"truncate": 1_000_000}})).await;
    assert!(get(order, "/orders/99").await.body.is_err());
}

#[tokio::test]
async fn a_trickled_answer_comes_whole_and_slowly() {
    let whole = get(stubs().address(Service::Order), "/orders/99").await.bytes();
    let (stubs, order) = order_with(json!({"fault": {"trickle": "1ms"}})).await;
    let began = Instant::now();
    assert_eq!(get(order, "/orders/99").await.bytes(), whole);
    assert!(began.elapsed() >= Duration::from_millis(whole.len() as u64 - 1));
    until(&stubs, Service::Order, |counts| counts.in_flight == 0).await;
    assert_eq!(stubs.recorder().counts(Service::Order).cancelled, 0);
}

#[tokio::test]
async fn a_malformed_answer_calls_itself_json() {
    let (_stubs, order) = order_with(json!({"fault": "malformed"})).await;
    let seen = get(order, "/orders/99").await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.headers[header::CONTENT_TYPE], "application/json");
    assert!(serde_json::from_slice::<Value>(&seen.bytes()).is_err());
}

#[tokio::test]
async fn a_huge_answer_is_a_hundred_mebibytes() {
    let (_stubs, order) = order_with(json!({"fault": "huge"})).await;
    assert_eq!(get(order, "/orders/99").await.bytes().len(), 100 << 20);
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_is_a_page() {
    let (_stubs, order) = order_with(json!({"fault": "wrong-type"})).await;
    let seen = get(order, "/orders/99").await;
    assert_eq!(seen.status, StatusCode::OK);
    assert_eq!(seen.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
}

#[tokio::test]
async fn refusing_ends_listener_and_connections_until_healed() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    let mut idle = TcpStream::connect(order).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    assert_ne!(idle.read(&mut [0; 4096]).await.unwrap(), 0);
    for _ in 0..3 {
        stubs.faults().set(Service::Order, json!({"fault": "refuse"})).await.unwrap();
        for address in [order, stubs.grpc()] {
            let refused = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
        stubs.faults().heal(Service::Order).await;
        assert_eq!(get(order, "/orders/99").await.status, StatusCode::OK);
    }
    assert!(matches!(idle.read(&mut [0; 1]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn refusing_is_nobody_leaving() {
    let (stubs, order) = order_with(json!({"fault": "hang"})).await;
    let mut stream = TcpStream::connect(order).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    until(&stubs, Service::Order, |counts| counts.in_flight == 1).await;
    stubs.faults().set(Service::Order, json!({"fault": "refuse"})).await.unwrap();
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!((counts.in_flight, counts.cancelled), (0, 0));
}

#[tokio::test]
async fn the_identity_provider_takes_faults_too() {
    let stubs = stubs();
    stubs.faults().set(Backend::Identity, json!({"path": "/jwks", "fault": {"status": 500}})).await.unwrap();
    assert_eq!(get(stubs.identity(), "/jwks").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(stubs.recorder().counts(Backend::Identity).by_route["GET /jwks"], 1);
}
