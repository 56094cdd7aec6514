//! Clients whose bodies come slowly, late or not at all: they wait for themselves, and no service is blamed.
//!
//! Not here: clients that hold what others need (`floods.rs`).

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    harness::Gate,
    wire::{read_head, service},
};

const LONG: Duration = Duration::from_secs(20);

/// A gateway of one slot at a service that answers GET only, and reads all that it is sent.
pub(crate) async fn one_slot() -> Gate {
    let service = service(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let mut body = [0; 10];
        if head.starts_with("get ") || stream.read_exact(&mut body).await.is_ok() {
            drop(
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await,
            );
        }
    })
    .await;
    Gate::start(&format!(
        "server: {{ workers: 1, body_timeout: 500ms }}\nupstreams:\n  \
         it: {{ url: \"http://{service}\", in_flight: {{ limit: 1, max_wait: 10s }} }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, POST], auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ))
}

const HALF: &[u8] = b"POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345";

#[tokio::test]
async fn a_body_that_stands_still_gives_its_slot_back_and_its_connection_ends() {
    let gate = one_slot().await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(HALF).await.unwrap();
    let mut answer = String::new();
    let read = timeout(LONG, stream.read_to_string(&mut answer));
    let (read, other) = tokio::join!(read, gate.get("/it").send());
    read.expect("the connection ends").unwrap();
    other.expect(200);
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"request_timeout\""),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let metrics = String::from_utf8_lossy(metrics.bytes()).into_owned();
    assert!(metrics.contains("outcome=\"cancelled\"} 1"), "no service is to blame: {metrics}");
}

#[tokio::test]
async fn a_body_that_comes_slowly_and_steadily_is_taken() {
    let gate = one_slot().await;
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    stream.write_all(HALF).await.unwrap();
    let mut every = tokio::time::interval(Duration::from_millis(150)); // longer than the limit in all
    for byte in b"67890" {
        every.tick().await;
        stream.write_all(&[*byte]).await.unwrap();
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
/// The client's last byte comes just before the time is over: the service has had none of it, and is not to blame.
#[tokio::test]
async fn uploads_that_end_late_neither_open_the_breaker_nor_lower_the_limit() {
    let service = service(|mut stream| async move {
        loop {
            let head = read_head(&mut stream).await;
            let mut body = [0; 10];
            if head.is_empty() || (head.starts_with("post ") && stream.read_exact(&mut body).await.is_err()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await; // the time that its work takes
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
        }
    })
    .await;
    let breaker = "circuit_breaker: { slow_call: 500ms, min_calls: 10, open_for: 30s }";
    let gate = Gate::start(&format!(
        "server: {{ workers: 1 }}\nupstreams:\n  it: {{ url: \"http://{service}\", attempt_timeout: 700ms, \
         in_flight: {{ limit: 200, adaptive: {{}} }}, {breaker} }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, POST], auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    let told = async |name: &str| {
        let metrics = gate.admin("/metrics").send().await.expect(200);
        let metrics = String::from_utf8_lossy(metrics.bytes()).into_owned();
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    // The limit begins low. Quick calls let it grow to what the uploads need.
    let (mut limit, begun) = (0.0, Instant::now());
    while limit < 100.0 {
        assert!(begun.elapsed() < LONG, "it stays at {limit}");
        futures_util::future::join_all((0..100).map(|_| gate.get("/it").send())).await;
        limit = told("gateway_upstream_slots_limit{").await;
    }
    let mut late = JoinSet::new();
    for at in 0..80 {
        let to = gate.address();
        late.spawn(async move {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(HALF).await.unwrap();
            // Half of them late, half of them slow: those are answered.
            tokio::time::sleep(Duration::from_millis(if at % 2 == 0 { 650 } else { 550 })).await;
            stream.write_all(b"67890").await.unwrap();
            let head = timeout(LONG, read_head(&mut stream)).await.expect("an answer in time");
            head["http/1.1 ".len()..][..3].to_owned()
        });
    }
    let mut came = std::collections::BTreeMap::<String, u32>::new();
    while let Some(status) = late.join_next().await {
        *came.entry(status.unwrap()).or_default() += 1;
    }
    println!("{came:?}");
    assert!(came.get("504").is_some_and(|late| *late >= 20), "{came:?}");
    assert_eq!(told("gateway_endpoint_breaker_opened_total{").await, 0.0);
    assert!(told("gateway_upstream_slots_limit{").await >= limit);
    let others = (0..20).map(|_| gate.get("/it").send());
    for other in futures_util::future::join_all(others).await {
        other.expect(200);
    }
}

/// The service answers before it has all of the request, whose rest is then no HTTP. Its answer breaks off, and it is well.
#[tokio::test]
async fn uploads_that_are_spoiled_in_mid_answer_do_not_open_the_breaker() {
    let service = service(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer: &[u8] = match head.starts_with("post ") {
            true => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n",
            false => b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        };
        drop(stream.write_all(answer).await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    })
    .await;
    let gate = Gate::start(&format!(
        "server: {{ workers: 1 }}\nupstreams:\n  it: {{ url: \"http://{service}\", circuit_breaker: {{ min_calls: 5, \
         open_for: 30s }} }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, POST], auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    for _ in 0..20 {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        let begin = b"POST /it HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        stream.write_all(begin).await.unwrap();
        let head = timeout(LONG, read_head(&mut stream)).await.expect("an answer in time");
        assert!(head.starts_with("http/1.1 200"), "{head}");
        stream.write_all(b"no size\r\n").await.unwrap();
        let mut rest = Vec::new();
        drop(timeout(LONG, stream.read_to_end(&mut rest)).await.expect("an end"));
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it is not whole");
    }
    gate.get("/it").send().await.expect(200);
}

/// A service that gives a slow upload up, sooner than the gateway does, is well.
#[tokio::test]
async fn services_that_do_not_wait_for_slow_uploads_are_not_called_broken() {
    let service = service(|mut stream| async move {
        let head = read_head(&mut stream).await;
        if head.starts_with("post ") {
            let mut body = [0; 10];
            drop(timeout(Duration::from_millis(200), stream.read_exact(&mut body)).await);
        } else {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            drop(stream.write_all(answer).await);
        }
    })
    .await;
    let gate = Gate::start(&format!(
        "server: {{ workers: 1 }}\nupstreams:\n  it: {{ url: \"http://{service}\", circuit_breaker: {{ min_calls: 10, \
         open_for: 30s }} }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, POST], auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    let mut slow = JoinSet::new();
    for _ in 0..40 {
        let to = gate.address();
        slow.spawn(async move {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(HALF).await.unwrap();
            timeout(LONG, read_head(&mut stream)).await.expect("an answer in time")
        });
    }
    while let Some(head) = slow.join_next().await {
        let head = head.unwrap();
        assert!(head.starts_with("http/1.1 50"), "{head}");
    }
    gate.get("/it").send().await.expect(200);
}
