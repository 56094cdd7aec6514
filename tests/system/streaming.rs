//! Bodies in motion: passed on as they come, in both directions, up to the limit of the route.

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use tokio::{net::TcpListener, sync::mpsc};

use crate::{
    client::{ask, connect_h2, whole},
    harness::{Ftgo, Gate, until},
    wire::{self, Scripted, exchange},
};

/// A gateway in front of a service that sends back what it gets, as it comes.
async fn echo(more: &str) -> Gate {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = Router::new().route("/it", any(|body: Body| async { body }));
    tokio::spawn(async { axum::serve(listener, service).await });
    Gate::start(&wire::yaml(address, more))
}

/// A body whose parts are sent by hand.
fn by_hand() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let parts = stream::unfold(receiver, |mut receiver| async {
        let part: Option<Bytes> = receiver.recv().await;
        part.map(|part| (Ok::<_, std::io::Error>(part), receiver))
    });
    (sender, Body::from_stream(parts))
}

/// Ten mebibytes that are not all the same.
fn large() -> Bytes {
    (0..10 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn ten_mebibytes_pass_in_both_directions() {
    let gate = echo("    max_body: 16MiB\n").await;
    let sent = large();
    let declared = gate.ask("POST", "/it").body(sent.clone()).send().await.expect(200);
    assert!(declared.bytes() == &sent);
    let over_h2 = gate.ask("POST", "/it").body(sent.clone()).send_h2().await.expect(200);
    assert!(over_h2.bytes() == &sent);
    let chunks: Vec<_> =
        sent.chunks(10_007).map(|part| Ok::<_, std::io::Error>(Bytes::copy_from_slice(part))).collect();
    let chunked =
        gate.ask("POST", "/it").body(Body::from_stream(stream::iter(chunks))).send().await.expect(200);
    assert!(chunked.bytes() == &sent);
}

#[tokio::test]
async fn the_first_byte_arrives_before_the_last_is_sent_in_both_directions() {
    let gate = echo("").await;
    let (sender, body) = by_hand();
    sender.send("first".into()).unwrap();
    let mut answer = gate.ask("POST", "/it").body(body).begin().await.into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    sender.send("last".into()).unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "last");
    drop(sender);
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn the_same_holds_over_http2() {
    let gate = echo("").await;
    let (sender, body) = by_hand();
    sender.send("first".into()).unwrap();
    let mut http2 = connect_h2(gate.address()).await;
    let request = http::Request::post("http://ftgo.example/it").body(body).unwrap();
    let mut answer = http2.send_request(request).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    sender.send("last".into()).unwrap();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "last");
    drop(sender);
    assert!(answer.collect().await.expect("it ends well").to_bytes().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_declared_or_not() {
    let gate = echo("    max_body: 1KiB\n").await;
    let fits = gate.ask("POST", "/it").body("x".repeat(1_024)).send().await.expect(200);
    assert_eq!(fits.bytes().len(), 1_024);
    let declared = gate.ask("POST", "/it").body("x".repeat(1_025)).send().await.expect(413);
    assert_eq!(declared.code(), "body_too_large");
    let parts = || stream::iter((0..2).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 600]))));
    let ask = || gate.ask("POST", "/it").body(Body::from_stream(parts()));
    // The service may have begun to answer: then the answer is cut, and never looks complete.
    for answer in [ask().send().await, ask().send_h2().await] {
        let refused = answer.status == 413 || answer.status == 200 && answer.body.is_err();
        assert!(refused, "{answer:?}");
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_of_a_bff_is_413() {
    let ftgo = Ftgo::start().await;
    let parts = || stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 100 << 10]))));
    let ask = || {
        ftgo.post("/consumers").header("content-type", "application/json").body(Body::from_stream(parts()))
    };
    assert_eq!(ask().send().await.expect(413).code(), "body_too_large");
    assert_eq!(ask().send_h2().await.expect(413).code(), "body_too_large");
    let declared = ftgo.post("/consumers").body(vec![b' '; (1 << 20) + 1]).send().await;
    assert_eq!(declared.expect(413).code(), "body_too_large");
    let ordering = ftgo.post("/orders").token(&ftgo.consumer("1")).header("content-type", "application/json");
    let ordering = ordering.body(Body::from_stream(parts()));
    assert_eq!(ordering.send().await.expect(413).code(), "body_too_large");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_told_to_go_on_or_refused_at_once() {
    let gate = echo("    max_body: 1KiB\n").await;
    let refused = exchange(
        gate.address(),
        "POST /it HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9999\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    let taken = exchange(
        gate.address(),
        "POST /it HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
    )
    .await;
    assert!(
        taken.starts_with("HTTP/1.1 100 ") && taken.contains("HTTP/1.1 200 OK") && taken.ends_with("ok"),
        "{taken}"
    );
}

const TRAILERS: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                        5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";

#[tokio::test]
async fn trailers_do_not_break_an_answer_and_reach_clients_that_can_take_them() {
    let service = Scripted::start(TRAILERS).await;
    let gate = Gate::start(&service.yaml(""));
    assert_eq!(gate.get("/it").send().await.expect(200).bytes(), "hello");
    let taking = gate.get("/it").header("te", "trailers").send().await.expect(200);
    assert_eq!(taking.bytes(), "hello");
    let over_h2 = gate.get("/it").header("te", "trailers").send_h2().await.expect(200);
    assert_eq!(over_h2.bytes(), "hello");
    assert_eq!(over_h2.trailers.expect("they came")["x-sum"], "42");
}

#[tokio::test]
async fn trailers_of_a_request_do_not_break_it() {
    let gate = echo("").await;
    let request = "POST /it HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nconnection: close\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = exchange(gate.address(), request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello"), "{answer}");
}

#[tokio::test]
async fn a_slow_reader_holds_its_service_back() {
    let (sent, address) = endless().await;
    let gate = Gate::start(&wire::yaml(address, ""));
    let answer = gate.get("/it").begin().await;
    let (mut last, mut same) = (0, 0);
    until("the service can send no more", || {
        let now = sent.load(std::sync::atomic::Ordering::Relaxed);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same > 200
    })
    .await;
    assert!(last < 64 << 20, "{last} bytes are held somewhere");
    drop(answer);
}

/// A service that sends for as long as anybody takes it, and how much it has sent.
async fn endless() -> (std::sync::Arc<std::sync::atomic::AtomicUsize>, std::net::SocketAddr) {
    use tokio::io::AsyncWriteExt;
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    let address = wire::service(move |mut stream| {
        let counted = counted.clone();
        async move {
            wire::read_head(&mut stream).await;
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            while let Ok(bytes) = stream.write(&[b'x'; 64 << 10]).await {
                counted.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            }
        }
    })
    .await;
    (sent, address)
}

#[tokio::test]
async fn a_request_that_breaks_off_is_never_complete_for_the_service() {
    let gate = echo("").await;
    let mut stream = tokio::net::TcpStream::connect(gate.address()).await.unwrap();
    let request = b"POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nonly this";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let mut answer = String::new();
    drop(tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await);
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    // The gateway lives on.
    let after = ask(gate.address(), "POST", "/it").body("ok").begin().await;
    assert_eq!(whole(after).await.expect(200).bytes(), "ok");
}
