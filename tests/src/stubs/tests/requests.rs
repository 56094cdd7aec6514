//! What is counted.

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::stubs::service::Service;

#[tokio::test]
async fn requests_are_counted_by_template_and_health_checks_are_not() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    for path in ["/orders/99?full=1", "/orders/555", "/nowhere", "/health"] {
        get(order, path).await;
    }
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!(counts.total, 3);
    assert_eq!(counts.by_route["GET /orders/{id}"], 2);
    assert_eq!(counts.by_route["GET (unknown)"], 1);
    assert_eq!((counts.in_flight, counts.max_in_flight, counts.cancelled), (0, 1, 0));
    assert_eq!(stubs.recorder().counts(Service::Kitchen).total, 0);
}

#[tokio::test]
async fn the_last_requests_are_told_newest_first_with_all_they_sent() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    for n in 0..105 {
        get(order, &format!("/orders/99?n={n}")).await;
    }
    let last = stubs.recorder().counts(Service::Order).last;
    assert_eq!(last.len(), 100);
    assert_eq!((last[0].path.as_str(), last[99].path.as_str()), ("/orders/99?n=104", "/orders/99?n=5"));
    assert_eq!(last[0].headers, [("host".to_owned(), "stub".to_owned())]);
    assert_eq!((last[0].method.as_str(), last[0].status, last[0].cancelled), ("GET", Some(200), false));
    assert!(chrono::DateTime::parse_from_rfc3339(&last[0].at).is_ok());
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_the_answer_is_counted() {
    let stubs = stubs();
    stubs.faults().set(Service::Order, json!({"fault": {"trickle": "1h"}})).await.unwrap();
    let mut stream = TcpStream::connect(stubs.address(Service::Order)).await.unwrap();
    stream.write_all(b"GET /orders/99 HTTP/1.1\r\nhost: stub\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    drop(stream);
    until(&stubs, Service::Order, |counts| counts.cancelled == 1).await;
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!((counts.in_flight, counts.last[0].status, counts.last[0].cancelled), (0, Some(200), true));
}

#[tokio::test]
async fn clearing_keeps_what_is_in_flight_and_counts_nothing_of_it_later() {
    let stubs = stubs();
    stubs.faults().set(Service::Order, json!({"fault": "hang"})).await.unwrap();
    let mut stream = TcpStream::connect(stubs.address(Service::Order)).await.unwrap();
    stream.write_all(b"GET /orders/99 HTTP/1.1\r\nhost: stub\r\n\r\n").await.unwrap();
    until(&stubs, Service::Order, |counts| counts.in_flight == 1).await;
    stubs.recorder().clear();
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!((counts.total, counts.in_flight, counts.last.len()), (0, 1, 0));
    drop(stream);
    until(&stubs, Service::Order, |counts| counts.in_flight == 0).await;
    assert_eq!(stubs.recorder().counts(Service::Order).cancelled, 0);
}

#[tokio::test]
async fn answers_without_a_body_end_as_well() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    send(order, request(Method::HEAD, "/orders/99", Body::empty())).await.unwrap();
    get(order, "/orders/555").await;
    until(&stubs, Service::Order, |counts| counts.in_flight == 0).await;
    assert_eq!(stubs.recorder().counts(Service::Order).cancelled, 0);
}
