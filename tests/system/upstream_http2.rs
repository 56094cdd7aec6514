//! HTTP/2 to services: how many connections there are, and that a stream's end is never taken for another's.

use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::future::join_all;
use h2::Reason;
use http::Request;
use http_body_util::BodyExt;

use crate::{
    client::connect,
    harness::{Gate, until},
    origins::{Manner, Origin, Then},
    replicas::{Load, failed, tries, yaml},
};

/// A gateway of one worker in front of `origin`, with prior knowledge.
fn gate(origin: &Origin, keys: &str) -> Gate {
    let upstream = format!("url: \"http://{}\", protocol: http2{keys}", origin.address);
    Gate::start(&format!("server: {{ workers: 1 }}\n{}", yaml(&upstream)))
}

async fn statuses(gate: &Gate, many: usize) -> Vec<u16> {
    let asked = join_all((0..many).map(|_| gate.get("/it").send())).await;
    asked.into_iter().filter(|answer| answer.body.is_ok()).map(|answer| answer.status).collect()
}

#[tokio::test]
async fn what_http2_says_in_its_own_fields_is_not_said_twice_and_trailers_come_through() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    let asked = gate.ask("POST", "/it?a=b").header("connection", "x-mine").header("x-mine", "1");
    let answer = asked.header("te", "trailers").body("hello").send_h2().await.expect(200);
    assert_eq!((answer.bytes().as_ref(), answer.header("via")), (&b"ok"[..], "2 gateway"));
    assert_eq!(answer.trailers.unwrap()["x-sum"], "7");
    let head = &origin.heads()[0];
    assert_eq!(head.uri().to_string(), format!("http://{}/it?a=b", origin.address));
    assert_eq!(head.headers()["content-length"], "5");
    for name in ["host", "connection", "te", "x-mine", "transfer-encoding", "keep-alive"] {
        assert!(!head.headers().contains_key(name), "{name}");
    }
    assert_eq!(origin.bodies(), [5]);
}

#[tokio::test]
async fn fifty_at_once_share_one_connection_from_the_first_on() {
    let origin = Origin::start(Manner::default()).await;
    origin.does(Then::Answer(Duration::from_millis(50)));
    let gate = gate(&origin, "");
    for _ in 0..3 {
        assert_eq!(statuses(&gate, 50).await, [200; 50]);
    }
    assert_eq!((origin.accepted(), origin.requests()), (1, 150));
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let metrics = String::from_utf8_lossy(metrics.bytes()).into_owned();
    for (name, protocol, number) in [
        ("opened_total", "http2", 1),
        ("opened_total", "http1", 0),
        ("open", "http2", 1),
        ("open", "http1", 0),
    ] {
        let line = format!(
            "gateway_endpoint_connections_{name}{{upstream=\"it\",endpoint=\"{}\",protocol=\"{protocol}\"}} {number}",
            origin.address
        );
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn three_hundred_at_once_have_the_connections_that_the_service_makes_necessary() {
    for (max_streams, keys) in [(100, ", max_streams: 1000"), (1000, "")] {
        let origin = Origin::start(Manner { max_streams, ..Manner::default() }).await;
        origin.does(Then::Answer(Duration::from_millis(500)));
        let gate = gate(&origin, keys);
        assert_eq!(statuses(&gate, 300).await, [200; 300]);
        let accepted = origin.accepted();
        eprintln!("300 at once, {max_streams} streams allowed{keys}: {accepted} connections");
        assert!((3..=4).contains(&accepted), "{accepted}");
    }
}

#[tokio::test]
async fn connections_that_end_with_goaway_under_load_are_never_noticed() {
    let origin = Origin::start(Manner { goaway_after: 25, ..Manner::default() }).await;
    origin.does(Then::Answer(Duration::from_millis(1)));
    let gate = gate(&origin, "");
    let total = tries(3_000);
    let samples = Load::new(gate.address(), 16).times(total).await;
    eprintln!("GOAWAY: {total} asked, {} failed, {} connections", failed(&samples), origin.accepted());
    assert_eq!((samples.len(), failed(&samples)), (total, 0));
    assert!(origin.accepted() >= total / 100, "{}", origin.accepted());
}

#[tokio::test]
async fn what_the_service_has_not_looked_at_is_sent_again_whatever_it_asks_for() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    origin.once(Then::Refuse);
    gate.get("/it").send().await.expect(200);
    assert_eq!(origin.requests(), 2);
    // A body that streams is gone.
    origin.once(Then::Refuse);
    gate.ask("POST", "/it").body("hello").send().await.expect(502);
    assert_eq!(origin.requests(), 3);
    origin.does(Then::Refuse);
    gate.get("/it").send().await.expect(502);
    assert!(origin.requests() <= 3 + 6, "{}", origin.requests());
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    for then in [Then::Hang, Then::HangInBody] {
        let mut took = Vec::new();
        for number in 0..tries(50) {
            let seen = origin.resets().len();
            origin.once(then);
            let mut client = connect(gate.address()).await;
            let request = Request::get("/it").header("host", "a").body(Body::empty()).unwrap();
            let asked = tokio::spawn(async move {
                let mut answer = client.send_request(request).await.unwrap();
                while let Some(frame) = answer.frame().await {
                    drop(frame.unwrap());
                }
            });
            until("it hangs", || origin.waiting() == 1).await;
            gate.get("/it").send().await.expect(200);
            let left = Instant::now();
            asked.abort();
            until("the service sees it", || origin.resets().len() > seen).await;
            took.push(origin.resets()[seen] - left);
            assert_eq!(origin.accepted(), 1, "the connection stays, after {number}");
        }
        took.sort_unstable();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        eprintln!("client leaves, {then:?}: the service sees it after {median:?} (median), {longest:?} at most");
        let late = took.iter().filter(|took| **took >= Duration::from_millis(100)).count();
        assert!(late <= took.len() / 50, "{late} of {}, {longest:?} at most", took.len());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_delivered_as_complete() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, ", circuit_breaker: { failure_rate: 100 }");
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        for number in 0..tries(20) {
            origin.once(Then::Cut(reason));
            let asked = gate.get("/it");
            let answer = if number % 2 == 0 { asked.send().await } else { asked.send_h2().await };
            assert!(answer.status == 502 || answer.body.is_err(), "{reason:?}: {answer:?}");
        }
    }
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_stream_is_not() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, ", idle_timeout: 200ms");
    origin.once(Then::Answer(Duration::from_millis(800)));
    gate.get("/it").send().await.expect(200);
    assert_eq!((origin.accepted(), origin.requests()), (1, 1));
    until("it is closed", || origin.open() == 0).await;
    gate.get("/it").send().await.expect(200);
    assert_eq!(origin.accepted(), 2);
}

#[tokio::test]
async fn a_service_that_speaks_no_http2_is_sent_no_request() {
    let origin = Origin::start(Manner { http2: false, ..Manner::default() }).await;
    let gate = gate(&origin, "");
    gate.get("/it").send().await.expect(502);
    assert!(origin.accepted() > 0 && origin.requests() == 0);
}

#[tokio::test]
async fn a_large_body_streams_through_and_one_that_is_too_large_is_the_clients_fault() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    let large = vec![b'x'; 900 << 10];
    gate.ask("POST", "/it").body(large.clone()).send().await.expect(200);
    assert_eq!(origin.bodies(), [large.len()]);
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b'x'; 100 << 10])));
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let answer = gate.ask("POST", "/it").body(body).send().await.expect(413);
    assert_eq!(answer.code(), "body_too_large");
    gate.get("/it").send().await.expect(200);
    assert_eq!(origin.accepted(), 1);
}

#[tokio::test]
async fn readers_who_stall_hold_up_nobody_else() {
    const STALLED: usize = 20;
    const LENGTH: usize = 16 << 20;
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    origin.does(Then::Flood(LENGTH));
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(gate.get("/it").begin().await);
    }
    until("nobody takes any more", || origin.waiting() == STALLED).await;
    origin.does(Then::Answer(Duration::ZERO));
    let begun = Instant::now();
    assert_eq!(statuses(&gate, 20).await, [200; 20]);
    eprintln!("beside {STALLED} who stall, 20 are answered in {:?}", begun.elapsed());
    assert_eq!(origin.accepted(), 1);
    let whole = crate::client::whole(stalled.remove(0)).await;
    assert_eq!(whole.bytes().len(), LENGTH);
}

#[tokio::test]
async fn a_service_that_answers_once_a_connection_answers_all_who_come_at_once() {
    let origin = Origin::start(Manner { goaway_after: 1, ..Manner::default() }).await;
    let gate = gate(&origin, "");
    let many = 20;
    let answered = statuses(&gate, many).await.iter().filter(|status| **status == 200).count();
    eprintln!("one answer a connection: {answered} of {many} at once, {} connections", origin.accepted());
    assert_eq!(answered, many);
}
