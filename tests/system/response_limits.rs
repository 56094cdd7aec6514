//! An answer that is larger than its upstream may send is never delivered as if it were whole.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::Request;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::Notify};

use crate::{
    client::{connect_h2, whole},
    harness::Gate,
    wire::{Scripted, exchange, read_head, service},
};

const TEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n\"12345678\"";
const ELEVEN: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n\"123456789\"";
const TEN_CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n";
const ELEVEN_CHUNKED: &str =
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n6\r\n678901\r\n0\r\n\r\n";
const ELEVEN_TO_THE_END: &str = "HTTP/1.1 200 OK\r\n\r\n12345678901";

/// At most ten bytes from `service`, forwarded and as a part.
fn gate(service: SocketAddr) -> Gate {
    Gate::start(&format!(
        "upstreams:\n  it: {{ url: \"http://{}\", max_response: 10B }}\nroutes:\n  \
         - {{ path: /it, auth: none, forward: {{ to: it }} }}\n  \
         - path: /part\n    auth: none\n    compose: {{ it: {{ get: it/it, optional: true }} }}\n",
        service
    ))
}

async fn counted(gate: &Gate) -> String {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with("gateway_upstream_answers_too_large_total"));
    line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_answer_that_declares_too_much_is_a_bad_gateway_of_which_nothing_is_delivered() {
    let service = Scripted::start(ELEVEN).await;
    let gate = gate(service.address);
    for answer in [gate.get("/it").send().await, gate.get("/it").send_h2().await] {
        let answer = answer.expect(502);
        assert_eq!(answer.code(), "upstream_failed");
        assert!(!answer.bytes().windows(4).any(|bytes| bytes == b"1234"), "{answer:?}");
    }
    let composed = gate.get("/part").send().await.expect(200);
    assert!(
        composed.header("composition-status").starts_with("it;s=missing;reason=too-large;t="),
        "{composed:?}"
    );
    assert_eq!(counted(&gate).await, "3");
}

/// Answers five bytes, and six more once the client has had those.
async fn in_two_steps() -> (SocketAddr, Arc<Notify>) {
    let go_on = Arc::new(Notify::new());
    let told = go_on.clone();
    let serve = move |mut stream: TcpStream| {
        let told = told.clone();
        async move {
            read_head(&mut stream).await;
            let (begin, end) =
                ELEVEN_CHUNKED.split_at(ELEVEN_CHUNKED.len() - "6\r\n678901\r\n0\r\n\r\n".len());
            stream.write_all(begin.as_bytes()).await.unwrap();
            told.notified().await;
            stream.write_all(end.as_bytes()).await.unwrap();
        }
    };
    (service(serve).await, go_on)
}

#[tokio::test]
async fn an_answer_that_turns_out_to_be_too_much_is_cut_off() {
    let (address, go_on) = in_two_steps().await;
    let gate = gate(address);
    let response = gate.get("/it").begin().await;
    assert_eq!(response.status(), 200);
    go_on.notify_one();
    assert!(whole(response).await.body.is_err(), "delivered as whole");
    let request = Request::get("http://ftgo.example/it").body(Body::empty()).unwrap();
    let response = connect_h2(gate.address()).await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    go_on.notify_one();
    assert!(whole(response).await.body.is_err(), "delivered as whole");
    assert_eq!(counted(&gate).await, "2");
}

#[tokio::test]
async fn an_answer_that_is_too_much_at_once_never_has_an_end_on_the_wire() {
    for answer in [ELEVEN_CHUNKED, ELEVEN_TO_THE_END] {
        let service = Scripted::start(answer).await;
        let gate = gate(service.address);
        let wire = exchange(gate.address(), "GET /it HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(!wire.contains("0\r\n\r\n") && !wire.contains("678901"), "{wire}");
        assert_eq!(counted(&gate).await, "1");
    }
}

#[tokio::test]
async fn an_answer_of_exactly_as_much_as_may_be_is_whole() {
    for answer in [TEN, TEN_CHUNKED] {
        let service = Scripted::start(answer).await;
        let gate = gate(service.address);
        for delivered in [gate.get("/it").send().await, gate.get("/it").send_h2().await] {
            assert_eq!(delivered.expect(200).bytes().len(), 10, "{answer}");
        }
        assert_eq!(counted(&gate).await, "0");
    }
}

#[tokio::test]
async fn what_head_is_told_of_a_large_answer_is_no_large_answer() {
    let service = Scripted::start("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n").await;
    let gate = gate(service.address);
    let head = gate.ask("HEAD", "/it").send().await.expect(200);
    assert_eq!(head.header("content-length"), "11");
}
