//! The listeners themselves.

use hyper_util::rt::TokioExecutor;
use serde_json::json;

use super::*;
use crate::stubs::service::Service;

#[tokio::test]
async fn a_port_in_use_is_told_with_service_and_address() {
    let stubs = stubs();
    let taken = stubs.address(Service::Kitchen);
    let mut ports = Ports::free();
    ports.services[2] = taken.port();
    let error = Stubs::start(ports).err().expect("the port is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("kitchen cannot listen on {taken}: ")), "{error}");
}

#[tokio::test]
async fn hundreds_of_connections_are_served_at_once() {
    // Both ends are in this process, and some machines allow it no more than 1024 descriptors.
    const NUMBER: u64 = 300;
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    stubs.faults().set(Service::Order, json!({"latency": "100ms"})).await.unwrap();
    let answers = futures_util::future::join_all((0..NUMBER).map(|_| get(order, "/orders/99"))).await;
    assert!(answers.iter().all(|seen| seen.status == StatusCode::OK));
    let counts = stubs.recorder().counts(Service::Order);
    assert_eq!((counts.total, counts.cancelled), (NUMBER, 0));
    assert!(counts.max_in_flight > 100, "{}", counts.max_in_flight);
}

#[tokio::test]
async fn http2_without_tls_is_understood_and_a_cut_stream_is_an_error() {
    let stubs = stubs();
    let stream = TcpStream::connect(stubs.address(Service::Order)).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let ask = || request(Method::GET, "http://stub/orders/99", Body::empty());
    let whole = sender.send_request(ask()).await.unwrap().into_body().collect().await.unwrap();
    assert!(!whole.to_bytes().is_empty());
    stubs.faults().set(Service::Order, json!({"fault": {"truncate": 5}})).await.unwrap();
    let mut cut = sender.send_request(ask()).await.unwrap().into_body();
    assert_eq!(cut.frame().await.unwrap().unwrap().into_data().unwrap().len(), 5);
    assert!(cut.frame().await.unwrap().is_err());
    stubs.faults().set(Service::Order, json!({"fault": "hang"})).await.unwrap();
    let hung = tokio::time::timeout(Duration::from_millis(50), sender.send_request(ask())).await;
    assert!(hung.is_err());
    until(&stubs, Service::Order, |counts| counts.cancelled == 1).await;
}

#[tokio::test]
async fn stopping_lets_an_answer_under_way_end_and_frees_the_ports() {
    let stubs = stubs();
    let order = stubs.address(Service::Order);
    stubs.faults().set(Service::Order, json!({"latency": "100ms"})).await.unwrap();
    let answer = tokio::spawn(async move { get(order, "/orders/99").await.status });
    until(&stubs, Service::Order, |counts| counts.in_flight == 1).await;
    stubs.stop().await;
    assert_eq!(answer.await.unwrap(), StatusCode::OK);
    assert!(TcpStream::connect(order).await.is_err());
}

#[tokio::test]
async fn stopping_waits_neither_for_hung_requests_nor_for_healing() {
    let stubs = stubs();
    stubs.faults().set(Service::Kitchen, json!({"fault": "refuse"})).await.unwrap();
    stubs.faults().set(Service::Order, json!({"fault": "hang"})).await.unwrap();
    let order = stubs.address(Service::Order);
    tokio::spawn(async move { send(order, request(Method::GET, "/orders/99", Body::empty())).await.is_ok() });
    until(&stubs, Service::Order, |counts| counts.in_flight == 1).await;
    tokio::time::timeout(Duration::from_secs(5), stubs.stop()).await.unwrap();
}
