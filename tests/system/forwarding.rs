//! What a service sees of a forwarded request and a client of its answer, and what is never forwarded at all.
//!
//! Not here: bodies in motion (`streaming.rs`), answers that break off (`broken_answers.rs`).

use crate::{
    harness::{Ftgo, Gate},
    wire::{Scripted, exchange, field},
};

const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close, x-hop\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nupgrade: h2c\r\n\
    proxy-connection: close\r\nx-mine: kept\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-length: 2\r\n\r\nok";

async fn scripted() -> (Scripted, Gate) {
    let service = Scripted::start(OK).await;
    let gate = Gate::start(&service.yaml(""));
    (service, gate)
}

#[tokio::test]
async fn fields_of_one_connection_do_not_go_on() {
    let (service, gate) = scripted().await;
    let answer = exchange(
        gate.address(),
        "GET /it?a=%20b&a HTTP/1.1\r\nhost: ftgo.example\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\n\
         te: trailers\r\nproxy-authorization: secret\r\nproxy-connection: x\r\nx-mine: kept\r\n\r\n",
    )
    .await;
    let asked = &service.heads()[0];
    assert!(asked.starts_with("get /it?a=%20b&a http/1.1\r\n"), "{asked}");
    assert_eq!(field(asked, "x-mine"), "kept");
    for name in
        ["x-hop", "keep-alive", "te", "proxy-authorization", "proxy-connection", "connection", "upgrade"]
    {
        assert_eq!(field(asked, name), "", "{asked}");
    }
    assert_eq!((field(&answer, "x-mine"), field(&answer, "connection")), ("kept", "close"));
    assert!(answer.contains("set-cookie: a=1\r\nset-cookie: b=2\r\n"), "{answer}");
    for name in ["x-hop", "keep-alive", "upgrade", "proxy-connection"] {
        assert_eq!(field(&answer, name), "", "{answer}");
    }
}

#[tokio::test]
async fn a_service_is_told_where_the_request_came_from_and_by_nobody_else() {
    let (service, gate) = scripted().await;
    let ask = gate.get("/it").header("x-forwarded-for", "6.6.6.6").header("forwarded", "for=6.6.6.6");
    let ask = ask
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-host", "evil")
        .header("via", "1.0 fred");
    let answer = ask.send().await.expect(200);
    let asked = &service.heads()[0];
    assert_eq!(field(asked, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(field(asked, "x-forwarded-proto"), "http");
    assert_eq!(field(asked, "x-forwarded-host"), "ftgo.example");
    assert_eq!(field(asked, "forwarded"), "for=127.0.0.1;proto=http;host=\"ftgo.example\"");
    assert_eq!(field(asked, "host"), service.address.to_string());
    assert!(asked.contains("via: 1.0 fred\r\nvia: 1.1 gateway\r\n"), "{asked}");
    assert_eq!(answer.header("via"), "1.1 gateway");
    assert!(!asked.contains("6.6.6.6") && !asked.contains("evil"), "{asked}");
}

#[tokio::test]
async fn a_request_over_http2_goes_on_with_its_host_and_version() {
    let (service, gate) = scripted().await;
    gate.get("/it").send_h2().await.expect(200);
    let asked = &service.heads()[0];
    assert_eq!((field(asked, "x-forwarded-host"), field(asked, "via")), ("ftgo.example", "2 gateway"));
    assert_eq!(field(asked, "host"), service.address.to_string());
}

#[tokio::test]
async fn head_goes_on_as_head_and_its_answer_has_no_body() {
    let (service, gate) = scripted().await;
    let request = "HEAD /it HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(service.heads()[0].starts_with("head /it "), "{:?}", service.heads());
    assert!(answer.ends_with("\r\n\r\n") && field(&answer, "content-length") == "2", "{answer}");
}

#[tokio::test]
async fn options_is_answered_by_the_gateway() {
    let (service, gate) = scripted().await;
    let answer = gate.ask("OPTIONS", "/it").send().await.expect(204);
    assert_eq!(allowed(answer.header("allow")), ["GET", "HEAD", "OPTIONS", "POST"]);
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn an_unknown_path_is_404_and_an_unknown_method_405_with_what_is_allowed() {
    let (service, gate) = scripted().await;
    assert_eq!(gate.get("/nowhere").send().await.expect(404).code(), "not_found");
    for method in ["DELETE", "PUT", "PATCH", "BREW"] {
        let refused = gate.ask(method, "/it").send().await.expect(405);
        assert_eq!(refused.code(), "method_not_allowed");
        assert_eq!(allowed(refused.header("allow")), ["GET", "HEAD", "OPTIONS", "POST"]);
    }
    assert!(service.heads().is_empty());
}

fn allowed(allow: &str) -> Vec<&str> {
    let mut methods: Vec<&str> = allow.split(',').map(str::trim).collect();
    methods.sort_unstable();
    methods
}

#[tokio::test]
async fn what_the_reference_offered_and_led_nowhere_is_405() {
    let ftgo = Ftgo::start().await;
    for path in ["/orders", "/consumers"] {
        ftgo.gate.ask("PUT", path).send().await.expect(405);
    }
}

#[tokio::test]
async fn a_path_that_can_be_read_in_two_ways_is_refused() {
    let ftgo = Ftgo::start().await;
    for path in [
        "/restaurants/../consumers/1",
        "/restaurants/./1",
        "/restaurants/%2e%2e/consumers/1",
        "/restaurants/.%2E/1",
        "//restaurants",
        "/restaurants//1",
        "/restaurants/1%2f..",
        "/restaurants/1%5c2",
        "/restaurants/1\\2",
        "/restaurants/%zz",
        "/restaurants/%00",
        "/restaurants/%0d%0aevil:1",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(ftgo.gate.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
    }
    let seen = ftgo.stubs.recorder().counts(ftgo::stubs::service::Service::Restaurant);
    assert_eq!(seen.total, 0, "{:?}", seen.last);
}

#[tokio::test]
async fn a_header_section_that_is_too_large_is_431() {
    let (service, gate) = scripted().await;
    let large = "x".repeat(33 << 10);
    assert_eq!(
        gate.get("/it").header("x-large", &large).send().await.expect(431).code(),
        "headers_too_large"
    );
    assert_eq!(
        gate.get("/it").header("x-large", &large).send_h2().await.expect(431).code(),
        "headers_too_large"
    );
    assert!(service.heads().is_empty());
    gate.get("/it").header("x-large", &"x".repeat(20 << 10)).send().await.expect(200);
}

#[tokio::test]
async fn a_request_that_could_be_smuggled_is_refused() {
    let (service, gate) = scripted().await;
    for fields in [
        "host: a\r\ncontent-length: 4\r\ncontent-length: 5",
        "host: a\r\ntransfer-encoding: chunked, identity",
        "host: a\r\ncontent-length: +4",
        "host: a\r\nhost: b",
        "x-no-host: 1",
        "host: a\r\nx : 1",
        "host: a\r\n folded: 1",
    ] {
        let request = format!("POST /it HTTP/1.1\r\n{fields}\r\nconnection: close\r\n\r\nabcd");
        let answer = exchange(gate.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{fields}: {answer}");
    }
    assert!(service.heads().is_empty(), "{:?}", service.heads());
}

#[tokio::test]
async fn a_length_beside_chunks_never_reaches_a_service_as_two_lengths() {
    let (service, gate) = scripted().await;
    let request = "POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\
                   connection: close\r\n\r\n0\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    for asked in service.heads() {
        let both =
            !field(&asked, "content-length").is_empty() && !field(&asked, "transfer-encoding").is_empty();
        assert!(!both, "{asked}");
    }
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}
