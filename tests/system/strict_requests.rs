//! What of a request's head is taken literally: its host, its coding, its target's form.
//!
//! Not here: bytes that two readers could take for two requests (`forwarding.rs`).

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    harness::Gate,
    wire::{Scripted, exchange, field, read_head, service, yaml},
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
async fn a_target_with_a_user_of_another_scheme_or_without_a_path_is_a_bad_request() {
    let (service, gate) = scripted().await;
    for target in ["http://a:b@x/it", "http://a@x/it", "ftp://x/it", "ws://x/it", "restaurants", "x:80"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = exchange(gate.address(), &request).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"code\":\"bad_request\""),
            "{target}: {answer}"
        );
    }
    let request = "CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    let request = "GET HTTPS://x/it HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(service.heads().len(), 1);
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

#[tokio::test]
async fn what_is_no_request_gets_a_problem_document_and_is_counted() {
    let (service, gate) = scripted().await;
    let many = "x-y: 1\r\n".repeat(120);
    let unread = [
        ("GET /it HTTP/1.1\r\nhost: a\r\nno field\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /it HTTP/9.9\r\nhost: a\r\n\r\n".to_owned(), 400, "bad_request"),
        ("GET /it HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 2\r\n\r\n".to_owned(), 400, "bad_request"),
        (format!("GET /it HTTP/1.1\r\nhost: a\r\n{many}\r\n"), 431, "headers_too_large"),
        (
            format!("GET /it HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(400_000)),
            431,
            "headers_too_large",
        ),
        (format!("GET /it?{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(70_000)), 431, "headers_too_large"),
    ];
    for (request, status, code) in &unread {
        let answer = exchange(gate.address(), request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{code}: {answer}");
        assert_eq!(field(head, "content-type"), "application/problem+json");
        assert_eq!(field(head, "connection"), "close");
        assert_eq!(field(head, "content-length"), body.len().to_string());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["code"], *code);
        assert_eq!(problem["requestId"], field(head, "x-request-id"));
    }
    assert!(service.heads().is_empty());
    let metrics = metrics(&gate).await;
    let counted = format!("gateway_requests_total{{route=\"(none)\",status=\"4xx\"}} {}", unread.len());
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn after_a_good_request_a_broken_one_gets_a_problem_document_too() {
    let service = Scripted::start(OK).await;
    let gate = Gate::start(&service.yaml(""));
    let mut stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    let mut body = vec![0; field(&head, "content-length").parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"no request at all\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 400 ") && rest.contains("\"code\":\"bad_request\""), "{rest}");
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_body_is_told_that_it_is_late() {
    let reads_all =
        service(|mut stream| async move { drop(stream.read_to_end(&mut Vec::new()).await) }).await;
    let gate = Gate::start(&yaml(reads_all, "    timeout: 300ms\n"));
    let request = "POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345";
    let answer = exchange(gate.address(), request).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"request_timeout\""),
        "{answer}"
    );
    let metrics = metrics(&gate).await;
    assert!(metrics.contains("outcome=\"cancelled\"} 1"), "no service is to blame: {metrics}");
}

#[tokio::test]
async fn head_of_an_answer_that_the_gateway_makes_has_its_length_and_no_body() {
    let (_service, gate) = scripted().await;
    for path in ["/nothing", "/it/../it"] {
        let (got, headed) = (gate.get(path).send().await, gate.ask("HEAD", path).send().await);
        let over_h2 = gate.ask("HEAD", path).send_h2().await;
        for answer in [&headed, &over_h2] {
            assert_eq!(answer.status, got.status);
            assert_eq!(answer.header("content-length"), got.bytes().len().to_string());
            assert!(answer.bytes().is_empty());
        }
    }
}

async fn metrics(gate: &Gate) -> String {
    let answer = gate.admin("/metrics").send().await;
    String::from_utf8(answer.bytes().to_vec()).unwrap()
}
