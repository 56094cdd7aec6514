//! The end of a gateway: what was asked is answered, and then nobody is let in.

use std::io::ErrorKind;

use axum::body::Body;
use ftgo::stubs::service::Service;
use http::Request;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    client::{ask, connect, connect_h2, whole},
    harness::{Ftgo, Gate, until, web_yaml},
};

const CONNECTIONS: usize = 50;

/// A gateway whose restaurant service takes its time.
async fn slow() -> Ftgo {
    let ftgo = Ftgo::start().await;
    ftgo.fault(Service::Restaurant, json!({"latency": "300ms"})).await;
    ftgo
}

fn request() -> Request<Body> {
    // From the service each time, and not from what is kept.
    let request = Request::get("/restaurants/1").header("cache-control", "no-store");
    request.header("host", "ftgo.example").body(Body::empty()).unwrap()
}

async fn refused(ftgo_address: std::net::SocketAddr) {
    let connected = TcpStream::connect(ftgo_address).await;
    assert_eq!(connected.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn requests_in_flight_are_answered_and_then_connecting_is_refused() {
    let mut ftgo = slow().await;
    let address = ftgo.gate.address();
    let mut asking = JoinSet::new();
    for number in 0..CONNECTIONS {
        asking.spawn(async move {
            if number.is_multiple_of(2) {
                return whole(connect(address).await.send_request(request()).await.unwrap()).await;
            }
            let mut over_h2 = request();
            *over_h2.uri_mut() = "http://ftgo.example/restaurants/1".parse().unwrap();
            whole(connect_h2(address).await.send_request(over_h2).await.unwrap()).await
        });
    }
    let in_flight = || ftgo.stubs.recorder().counts(Service::Restaurant).in_flight;
    until("all are in flight", || in_flight() == CONNECTIONS as u64).await;
    ftgo.gate.drain().await;
    for answer in asking.join_all().await {
        assert_eq!(answer.expect(200).json()["name"], "Ajanta");
    }
    refused(address).await;
}

/// Asks again and again until told that the connection ends, which must come with an answer.
async fn ask_until_the_end(address: std::net::SocketAddr) -> usize {
    let mut sender = connect(address).await;
    for asked in 1.. {
        let answer = whole(sender.send_request(request()).await.expect("an answer")).await.expect(200);
        assert_eq!(answer.json()["name"], "Ajanta");
        if answer.header("connection") == "close" {
            return asked;
        }
    }
    unreachable!("the drain ends it")
}

#[tokio::test]
async fn clients_that_never_pause_lose_nothing() {
    let mut ftgo = Ftgo::start().await;
    ftgo.fault(Service::Restaurant, json!({"latency": "200ms"})).await;
    let address = ftgo.gate.address();
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        asking.spawn(ask_until_the_end(address));
    }
    let seen = || ftgo.stubs.recorder().counts(Service::Restaurant).total;
    until("all have asked twice", || seen() >= 2 * CONNECTIONS as u64).await;
    ftgo.gate.drain().await;
    let asked: usize = asking.join_all().await.into_iter().sum();
    assert!(asked >= 2 * CONNECTIONS, "{asked}");
    assert_eq!(seen(), asked as u64, "what was forwarded was answered");
    refused(address).await;
}

#[tokio::test]
async fn connections_that_do_nothing_do_not_hold_it_up() {
    let mut ftgo = Ftgo::start().await;
    let address = ftgo.gate.address();
    let mut idle = connect(address).await;
    whole(idle.send_request(request()).await.unwrap()).await.expect(200);
    let _silent = TcpStream::connect(address).await.unwrap();
    let begun = std::time::Instant::now();
    ftgo.gate.drain().await;
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    refused(address).await;
}

#[tokio::test]
async fn before_the_drain_it_is_not_ready_and_lets_clients_in_for_as_long_as_it_was_told() {
    let stubs = crate::harness::stubs();
    let mut gate = Gate::of(&format!("{}server: {{ drain_delay: 2s }}\n", web_yaml(&stubs)));
    until("the gateway has keys", || gate.ready()).await;
    let (address, admin) = (gate.address(), gate.admin_address());
    let begun = std::time::Instant::now();
    let ending = tokio::spawn(async move { gate.drain().await });
    while ask(admin, "GET", "/readyz").host("localhost").send().await.status != 503 {
        assert!(begun.elapsed().as_secs() < 2, "it is still ready");
    }
    let answer = whole(connect(address).await.send_request(request()).await.unwrap()).await.expect(200);
    assert_eq!(answer.header("connection"), "", "the connection may be used again");
    ending.await.unwrap();
    assert!(begun.elapsed().as_secs() >= 2, "{:?}", begun.elapsed());
    refused(address).await;
}
