//! The server with real sockets: which protocols it speaks, whom it cuts off, how it drains.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use super::{
    Server, bind,
    testing::{Http1, LONG, Stub, asked, bound, http2, listener, settings, started},
};
use crate::units::Span;

#[tokio::test]
async fn http1_connections_are_used_again() {
    let (address, stub, _server) = started(&settings());
    let mut client = Http1::connect(address).await;
    for _ in 0..3 {
        client.ask("/").await;
        assert!(client.answer().await.ends_with("HTTP/1.1 tls=false"));
    }
    assert_eq!(stub.process.connections.get(), 1);
    assert_eq!(stub.process.open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn http2_is_known_by_its_preface() {
    let (address, _, _server) = started(&settings());
    let client = http2(TcpStream::connect(address).await.unwrap()).await;
    for _ in 0..3 {
        assert_eq!(asked(client.clone(), "/").await, "HTTP/2.0 tls=false");
    }
}

#[tokio::test]
async fn a_request_that_begins_like_the_preface_is_http1() {
    let (address, _, _server) = started(&settings());
    let mut client = Http1::connect(address).await;
    client.0.write_all(b"P").await.unwrap();
    client.0.flush().await.unwrap();
    client.0.write_all(b"RI / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(client.answer().await.ends_with("HTTP/1.1 tls=false"));
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_header_is_cut_off_and_others_are_served() {
    let (address, stub, server) =
        started(&super::ServerConfig { workers: 1, header_timeout: Span::millis(300), ..settings() });
    let (mut slow, mut silent) = (Http1::connect(address).await, Http1::connect(address).await);
    slow.0.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    let mut quick = Http1::connect(address).await;
    quick.ask("/").await;
    assert!(quick.answer().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(slow.rest().await, "");
    assert_eq!(silent.rest().await, "");
    assert_eq!(quick.rest().await, "", "idle for too long");
    server.drain().await;
    assert_eq!(stub.process.broken.get(), 1, "only the slow one began something");
}

#[tokio::test]
async fn a_header_section_above_what_is_read_gets_the_gateways_own_answer() {
    let (address, _, _server) = started(&settings());
    let mut client = Http1::connect(address).await;
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "x".repeat(100 << 10));
    client.0.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(client.rest().await, "refused with 431");
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let (address, stub, _server) = started(&super::ServerConfig { workers: 1, ..settings() });
    let (mut other, mut fatal) = (Http1::connect(address).await, Http1::connect(address).await);
    other.ask("/held").await;
    stub.holds(1).await;
    fatal.ask("/panic").await;
    assert_eq!(fatal.rest().await, "");
    stub.released.send_replace(true);
    assert!(other.answer().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(stub.process.open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_address_in_use_is_refused_by_name() {
    let (address, _listeners) = bound(&settings(), None);
    let again = bind(&[listener(address, None)], &settings());
    let error = again.err().expect("refused");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(error.to_string(), format!("cannot listen on {address}: the address is in use"));
}

#[tokio::test]
async fn an_address_is_free_again_after_the_drain() {
    let (address, _, server) = started(&settings());
    let mut client = Http1::connect(address).await;
    client.ask("/").await;
    client.answer().await;
    server.drain().await;
    bind(&[listener(address, None)], &settings()).map(drop).unwrap();
}

#[tokio::test]
async fn a_drain_fails_no_request_in_flight_and_takes_no_new_connections() {
    let (address, stub, server) = started(&settings());
    let mut in_flight = JoinSet::new();
    for _ in 0..50 {
        let mut client = Http1::connect(address).await;
        in_flight.spawn(async move {
            client.ask("/held").await;
            let answer = client.answer().await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"));
            assert_eq!(client.rest().await, "");
        });
    }
    for _ in 0..5 {
        let client = http2(TcpStream::connect(address).await.unwrap()).await;
        for _ in 0..20 {
            let client = client.clone();
            in_flight.spawn(async move {
                assert_eq!(asked(client, "/held").await, "HTTP/2.0 tls=false");
            });
        }
    }
    stub.holds(150).await;
    let drained = tokio::spawn(server.drain());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stub.released.send_replace(true);
    while let Some(answered) = in_flight.join_next().await {
        answered.unwrap();
    }
    timeout(LONG, drained).await.expect("drained in time").unwrap();
    assert_eq!(stub.process.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn connections_that_wait_when_the_drain_begins_are_served() {
    let (address, listeners) = bound(&settings(), None);
    let mut clients = Vec::new();
    for _ in 0..40 {
        let mut client = Http1::connect(address).await;
        client.ask("/").await;
        clients.push(client);
    }
    let server = Server::start(Stub::new(), listeners).unwrap();
    let drained = tokio::spawn(server.drain());
    for mut client in clients {
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
    }
    timeout(LONG, drained).await.expect("drained in time").unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_grace() {
    let (address, _, server) = started(&settings());
    let (mut used, mut unused) = (Http1::connect(address).await, Http1::connect(address).await);
    used.ask("/").await;
    used.answer().await;
    let begun = Instant::now();
    let drained = tokio::spawn(server.drain());
    assert_eq!(used.rest().await, "");
    assert_eq!(unused.rest().await, "");
    assert!(begun.elapsed() >= super::connection::GRACE);
    timeout(LONG, drained).await.expect("drained in time").unwrap();
}

#[tokio::test]
async fn an_idle_connection_still_gets_an_answer_within_the_grace() {
    let (address, stub, server) = started(&settings());
    let mut client = Http1::connect(address).await;
    client.ask("/").await;
    client.answer().await;
    let drained = tokio::spawn(server.drain());
    while !stub.draining.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    client.ask("/").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close\r\n"));
    timeout(LONG, drained).await.expect("drained in time").unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout_even_if_requests_do_not() {
    let (address, stub, server) =
        started(&super::ServerConfig { drain_timeout: Span::millis(100), ..settings() });
    let mut client = Http1::connect(address).await;
    client.ask("/held").await;
    stub.holds(1).await;
    timeout(LONG, server.drain()).await.expect("drained in time");
    assert_eq!(client.rest().await, "");
    assert_eq!(Arc::strong_count(&stub), 1, "nothing of the server is left");
}
