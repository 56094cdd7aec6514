//! The server with real sockets: which protocols it speaks, whom it cuts off, how it drains.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::timeout};

use super::{
    Server, bind,
    testing::{Http1, LONG, Stub, announced, asked, bound, http2, listener, settings, started},
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
    let again = bind(&[listener(address, None)], &[None], &settings());
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
    bind(&[listener(address, None)], &[None], &settings()).map(drop).unwrap();
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

const LINE: &[u8] = b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n";
const BLOCK: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\xc6\x33\x64\x07\xc0\0\x02\x01\x12\x67\x01\xbb\x04\0\x04tlv!";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 6.6.6.6\r\n\r\n";

#[tokio::test]
async fn an_announced_client_is_whom_the_header_names_and_its_first_bytes_are_its_own() {
    let (address, _, _server) = announced(&settings(), &["127.0.0.0/8"]);
    for header in [LINE, BLOCK] {
        for split in [1, 11, 12, 13, 30, header.len() - 1, header.len()] {
            let mut client = Http1::connect(address).await;
            client.0.set_nodelay(true).unwrap();
            client.0.write_all(&header[..split]).await.unwrap();
            tokio::task::yield_now().await;
            client.0.write_all(&[&header[split..], REQUEST].concat()).await.unwrap();
            let answer = client.answer().await;
            assert!(answer.contains("x-peer: 198.51.100.7:4711\r\n"), "{answer}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(header).await.unwrap();
        assert_eq!(asked(http2(stream).await, "/").await, "HTTP/2.0 tls=false");
    }
}

#[tokio::test]
async fn a_connection_of_the_proxys_own_comes_from_it_and_names_nobody_else() {
    let (address, _, _server) = announced(&settings(), &["127.0.0.0/8"]);
    for header in [LOCAL, b"PROXY UNKNOWN\r\n"] {
        let mut client = Http1::connect(address).await;
        client.0.write_all(&[header, REQUEST].concat()).await.unwrap();
        let answer = client.answer().await;
        assert!(answer.contains("x-peer: 127.0.0.1:"), "{answer}");
    }
}

#[tokio::test]
async fn an_announced_proxy_that_is_trusted_may_name_its_client() {
    let (address, _, _server) = announced(&settings(), &["127.0.0.1", "198.51.100.0/24"]);
    let mut client = Http1::connect(address).await;
    client.0.write_all(&[LINE, REQUEST].concat()).await.unwrap();
    assert!(client.answer().await.contains("x-peer: 6.6.6.6\r\n"));
}

#[tokio::test]
async fn who_is_not_announced_rightly_and_in_time_is_cut_off_and_counted() {
    let settings = super::ServerConfig { header_timeout: Span::millis(300), ..settings() };
    let (address, stub, _server) = announced(&settings, &["127.0.0.1"]);
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100], b"\r\n", REQUEST].concat();
    let huge = [&BLOCK[..14], b"\xff\xff", &[0; 100]].concat();
    let wrong = [REQUEST, &LINE[..20], &BLOCK[..20], b"PROXY nonsense of no kind\r\n", &long, &huge, b"P"];
    for (at, sent) in wrong.into_iter().enumerate() {
        let mut client = Http1::connect(address).await;
        client.0.write_all(sent).await.unwrap();
        assert_eq!(client.rest().await, "", "{at}");
    }
    drop(TcpStream::connect(address).await.unwrap()); // somebody who asks whether the port is open
    let (elsewhere, other, _server) = announced(&settings, &["10.0.0.0/8"]);
    let mut client = Http1::connect(elsewhere).await;
    _ = client.0.write_all(&[LINE, REQUEST].concat()).await;
    assert_eq!(client.rest().await, "");
    assert_eq!(other.process.refused_unannounced.get(), 1);
    assert_eq!(stub.process.refused_unannounced.get(), wrong.len() as u64);
}
