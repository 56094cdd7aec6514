//! Answers that services frame badly, or break off: no client takes one for whole.
//!
//! Not here: faults of the stub services (`partial_failure.rs`, `broken_answers.rs`).

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    harness::Gate,
    wire::{exchange, field, read_head, service, yaml},
};

/// A service that sends these bytes and then closes, or does nothing more if `hangs`.
async fn sends(answer: &'static str, hangs: bool) -> SocketAddr {
    service(move |mut stream| async move {
        read_head(&mut stream).await;
        stream.write_all(answer.as_bytes()).await.unwrap();
        if hangs {
            std::future::pending::<()>().await;
        }
    })
    .await
}

async fn gate(answer: &'static str, hangs: bool) -> Gate {
    Gate::start(&yaml(sends(answer, hangs).await, "    timeout: 300ms\n"))
}

/// What a client of HTTP/1.0 gets, and whether the connection was reset rather than closed.
async fn over_http10(gate: &Gate) -> (String, bool) {
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(b"GET /it HTTP/1.0\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read =
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("it ends in time");
    let reset = read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset);
    (String::from_utf8(answer).unwrap(), reset)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
const GET: &str = "GET /it HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_client_of_http10_sees_a_reset_when_an_answer_breaks_off() {
    for hangs in [false, true] {
        let (answer, reset) = over_http10(&gate(CHUNKED, hangs).await).await;
        assert!(reset, "hangs: {hangs}, {answer}");
    }
    let whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (answer, reset) = over_http10(&gate(whole, false).await).await;
    assert!(!reset && answer.ends_with("\r\n\r\nabc"), "{answer}");
}

#[tokio::test]
async fn an_answer_of_http10_is_passed_on_in_our_version_and_its_cut_is_seen() {
    let answer = exchange(gate("HTTP/1.0 200 OK\r\n\r\nabc", true).await.address(), GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.ends_with("abc\r\n") && !answer.ends_with("0\r\n\r\n"), "{answer}");
    let answer = exchange(gate("HTTP/1.0 200 OK\r\n\r\nabc", false).await.address(), GET).await;
    assert!(answer.ends_with("3\r\nabc\r\n0\r\n\r\n"), "closed in order, it is whole: {answer}");
}

#[tokio::test]
async fn a_length_beside_a_coding_does_not_count() {
    for length in ["2", "9"] {
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"
        );
        let gate = gate(Box::leak(answer.into_boxed_str()), false).await;
        let answer = exchange(gate.address(), GET).await;
        assert_eq!(field(&answer, "content-length"), "", "{answer}");
        assert!(answer.ends_with("5\r\nabcde\r\n0\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_a_bad_gateway() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
    ] {
        let got = exchange(gate(answer, false).await.address(), GET).await;
        assert!(got.starts_with("HTTP/1.1 502 ") && got.contains("\"code\":\"upstream_failed\""), "{got}");
    }
}

#[tokio::test]
async fn trailers_of_a_client_do_not_reach_services() {
    let (sender, mut seen) = tokio::sync::mpsc::channel(1);
    let address = service(move |mut stream| {
        let sender = sender.clone();
        async move {
            let mut all = Vec::new();
            while !all.ends_with(b"0\r\n\r\n") && stream.read_buf(&mut all).await.unwrap() > 0 {}
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            sender.send(String::from_utf8(all).unwrap()).await.unwrap();
        }
    })
    .await;
    let gate = Gate::start(&yaml(address, "    timeout: 3s\n"));
    let request = "POST /it HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntrailer: x-user-id\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-user-id: 1\r\nx_user_roles: support\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = seen.recv().await.unwrap().to_lowercase();
    assert!(
        seen.ends_with("abc\r\n0\r\n\r\n") && !seen.contains("x-user-id: 1") && !seen.contains("trailer"),
        "{seen}"
    );
}
