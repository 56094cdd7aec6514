//! What of a request's head is taken literally: its host, its coding, its target's form.
//!
//! Not here: bytes that two readers could take for two requests (`forwarding.rs`).

use crate::{
    harness::Gate,
    wire::{Scripted, exchange, field},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn scripted() -> (Scripted, Gate) {
    let service = Scripted::start(OK).await;
    let gate = Gate::start(&service.yaml(""));
    (service, gate)
}

#[tokio::test]
async fn a_host_that_names_none_is_a_bad_request_and_reaches_nobody() {
    let (service, gate) = scripted().await;
    for host in ["", "a b", "a/b", "user@a", ":80", "a\"b", "a?b", "a#b", "a\\b", "<a>"] {
        let request = format!("GET /it HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(gate.address(), &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"bad_request\""),
            "{answer}"
        );
    }
    assert!(service.heads().is_empty());
    for host in ["a", "127.0.0.1:8087", "[::1]:8087", "a.example."] {
        let request = format!("GET /it HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = exchange(gate.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_coding_other_than_chunked_is_not_implemented_and_reaches_nobody() {
    let (service, gate) = scripted().await;
    for coding in ["gzip, chunked", "chunked, chunked", "identity, chunked"] {
        let request = format!(
            "POST /it HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
        );
        let answer = exchange(gate.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{coding}: {answer}");
        assert!(answer.contains("\"code\":\"not_implemented\""), "{coding}: {answer}");
    }
    assert!(service.heads().is_empty());
    let request =
        "POST /it HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: Chunked\r\n\r\n0\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn options_of_the_whole_server_are_answered_here() {
    let (service, gate) = scripted().await;
    let request = "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert_eq!(field(&answer, "allow"), "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
    let other = exchange(gate.address(), &request.replace("OPTIONS", "GET")).await;
    assert!(other.starts_with("HTTP/1.1 400 "), "{other}");
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn the_host_of_a_whole_url_counts_and_not_the_field() {
    let (service, gate) = scripted().await;
    let request =
        "GET http://shop.example:8087/it?a=1 HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let asked = &service.heads()[0];
    assert!(asked.starts_with("get /it?a=1 http/1.1\r\n"), "{asked}");
    assert_eq!(field(asked, "x-forwarded-host"), "shop.example:8087");
    assert_eq!(field(asked, "forwarded"), "for=127.0.0.1;proto=http;host=\"shop.example:8087\"");
    assert!(!asked.contains("other.example"), "{asked}");
}
