//! HTTP/2 to services: how many connections there are, and that a stream's end is never taken for another's.

use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::future::join_all;
use h2::Reason;
use http::Request;
use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

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
        origin.does(Then::Answer(Duration::from_secs(1)));
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
async fn a_service_that_refuses_all_streams_sees_no_more_than_any_that_fails() {
    let origin = Origin::start(Manner::default()).await;
    origin.does(Then::Refuse);
    let gate = gate(&origin, ", circuit_breaker: { min_calls: 10000 }, retry: { budget: { per_second: 0 } }");
    let samples = Load::new(gate.address(), 8).times(1_000).await;
    let asked = origin.requests();
    eprintln!("refused streams: {} calls, the service saw {asked}", samples.len());
    assert!(failed(&samples) == 1_000 && asked <= 1_200 + 1, "{asked}");
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
        eprintln!(
            "client leaves, {then:?}: the service sees it after {median:?} (median), {longest:?} at most"
        );
        let late = took.iter().filter(|took| **took >= Duration::from_millis(100)).count();
        assert!(late <= took.len() / 50, "{late} of {}, {longest:?} at most", took.len());
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_never_delivered_as_complete() {
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, ", circuit_breaker: { min_calls: 10000 }");
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        for number in 0..tries(20) {
            origin.once(Then::Cut(reason));
            let asked = gate.get("/it");
            let answer = if number % 2 == 0 { Ok(asked.send().await) } else { asked.try_send_h2().await };
            let broken = answer.as_ref().map_or(true, |answer| answer.status == 502 || answer.body.is_err());
            assert!(broken, "{reason:?}: {answer:?}");
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

/// Serves one connection frame by frame: once `wanted` requests are there, the first `answered` of them are answered, and
/// the others are said not to have been looked at. Gives back how many there were.
async fn first_few(mut stream: TcpStream, wanted: usize, answered: usize) -> usize {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const ACK: u8 = 1;
    const NOTHING: [u8; 9] = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    stream.read_exact(&mut [0; 24]).await.unwrap();
    stream.write_all(&NOTHING).await.unwrap();
    let mut asked: Vec<[u8; 4]> = Vec::new();
    let mut head = [0; 9];
    while asked.len() < wanted {
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        match head[3] {
            SETTINGS if head[4] & ACK == 0 => {
                stream.write_all(&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0]).await.unwrap();
            }
            HEADERS => asked.push([head[5], head[6], head[7], head[8]]),
            _ => {}
        }
    }
    let mut said = Vec::new();
    if answered < asked.len() {
        said.extend([0, 0, 8, 7, 0, 0, 0, 0, 0]); // GOAWAY, without an error
        said.extend(asked[answered - 1]);
        said.extend([0; 4]);
    }
    for id in &asked[..answered] {
        said.extend([0, 0, 1, HEADERS, 0x5]); // the end of the head and of the stream
        said.extend(id);
        said.push(0x88); // `:status: 200`
    }
    stream.write_all(&said).await.unwrap();
    while stream.read(&mut [0; 1024]).await.is_ok_and(|length| length > 0) {}
    asked.len()
}

#[tokio::test]
async fn what_goaway_leaves_out_is_asked_of_the_next_connection_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = tokio::spawn(async move {
        let first = tokio::spawn(first_few(listener.accept().await.unwrap().0, 20, 8));
        let second = tokio::spawn(first_few(listener.accept().await.unwrap().0, 12, 12));
        first.await.unwrap() + second.await.unwrap()
    });
    let upstream = format!("url: \"http://{address}\", protocol: http2, retry: {{ attempts: 1 }}");
    let mut gate = Gate::start(&format!("server: {{ workers: 1 }}\n{}", yaml(&upstream)));
    let asked = (0..20).map(|number| gate.ask(["GET", "POST"][number % 2], "/it").send());
    let answers = join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    gate.drain().await;
    assert_eq!(service.await.unwrap(), 32);
}

#[tokio::test]
async fn however_many_clients_leave_in_mid_answer_their_connection_serves_the_others() {
    const AT_ONCE: usize = 40;
    let origin = Origin::start(Manner::default()).await;
    let gate = gate(&origin, "");
    origin.once(Then::HangInBody);
    let other = gate.get("/it").begin().await;
    origin.does(Then::Flood(8 << 20));
    let left = tries(1_600);
    for _ in 0..left / AT_ONCE {
        drop(join_all((0..AT_ONCE).map(|_| gate.get("/it").begin())).await);
    }
    origin.does(Then::Answer(Duration::ZERO));
    gate.get("/it").send().await.expect(200);
    assert_eq!((origin.accepted(), origin.resets().len()), (1, 0));
    drop(other);
    until("the last one is reset", || origin.resets().len() == 1).await;
}
