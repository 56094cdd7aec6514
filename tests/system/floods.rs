//! Clients that are too many, too slow, or too busy with frames: they are cut off, and all others are served as before.
//!
//! Not here: single requests that are wrong (`security/`). `FTGO_SLOW_CLIENTS` says how many slow ones there are.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{
    client::{connect, connect_h2},
    harness::{Gate, until},
    security::frames::{
        CONTINUATION, DATA, END, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, block,
        frame,
    },
    slow_uploads::one_slot,
    wire::{read_head, service},
};

const LONG: Duration = Duration::from_secs(20);

/// A gateway with these keys of its server, before a service that answers at once, and at `/large` with a lot.
async fn gate(server: &str) -> Gate {
    let address = service(|mut stream| async move {
        loop {
            stream.set_nodelay(true).unwrap();
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let length = if head.starts_with("get /large") { 8 << 20 } else { 2 };
            let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + length, b'x');
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
    .await;
    Gate::start(&format!(
        "server: {{ workers: 1, {server} }}\nupstreams:\n  it: {{ url: \"http://{address}\" }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, POST], auth: none, timeout: 60s, forward: {{ to: it }} }}\n  \
         - {{ path: /large, auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ))
}

fn request(method: &[u8], path: &[u8]) -> Vec<u8> {
    block(&[(b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")])
}

async fn http2(to: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
    stream
}

/// Reads until the gateway ends the connection, in order or not.
async fn ends(stream: &mut TcpStream) {
    let mut all = Vec::new();
    drop(timeout(LONG, stream.read_to_end(&mut all)).await.expect("the connection is ended in time"));
}

#[tokio::test]
async fn a_connection_above_the_cap_is_closed_at_once_and_counted() {
    let gate = gate("max_connections_per_address: 2").await;
    let mut first = connect(gate.address()).await;
    let second = connect(gate.address()).await;
    let mut third = TcpStream::connect(gate.address()).await.unwrap();
    ends(&mut third).await;
    let ask = || http::Request::get("/it").header("host", "a").body(axum::body::Body::empty()).unwrap();
    assert_eq!(first.send_request(ask()).await.unwrap().status(), 200);
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8_lossy(metrics.bytes()).into_owned();
    assert!(text.contains("gateway_connections_refused_total{reason=\"address\"} 1\n"), "{text}");
    drop(second);
    // Its place is free as soon as the gateway has seen that it left.
    let again = async {
        loop {
            let mut again = connect(gate.address()).await;
            if again.send_request(ask()).await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
        }
    };
    timeout(LONG, again).await.expect("there is a place again");
}

#[tokio::test]
async fn an_idle_http2_connection_is_told_to_go() {
    let gate = gate("header_timeout: 300ms").await;
    let mut sender = connect_h2(gate.address()).await;
    let ask = http::Request::get("http://a/it").body(axum::body::Body::empty()).unwrap();
    assert_eq!(sender.send_request(ask).await.unwrap().status(), 200);
    until("the connection has ended", || sender.is_closed()).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off_over_either_http() {
    let gate = gate("header_timeout: 300ms").await;
    let window_of_none = [0, 4, 0, 0, 0, 0];
    let mut over_http2 = http2(gate.address(), &window_of_none).await;
    over_http2.write_all(&frame(HEADERS, END | WHOLE, 1, &request(b"GET", b"/large"))).await.unwrap();
    ends(&mut over_http2).await;
    let mut over_http1 = TcpStream::connect(gate.address()).await.unwrap();
    over_http1.write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let metrics = || async { gate.admin("/metrics").send().await.expect(200).bytes().clone() };
    let closed = async {
        while !String::from_utf8_lossy(&metrics().await).contains("gateway_connections_open 0\n") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, closed).await.expect("nothing is open any more");
    drop(over_http1);
}

#[tokio::test]
async fn half_a_request_of_http2_does_not_hold_a_connection() {
    let gate = gate("header_timeout: 300ms").await;
    let mut half = http2(gate.address(), &[]).await;
    half.write_all(&frame(HEADERS, END, 1, &request(b"GET", b"/it")[..9])).await.unwrap();
    ends(&mut half).await;
}

/// How many slow clients there are: a thousand when it is to be shown, fewer when it is only to be checked.
fn slow_clients() -> usize {
    #[expect(clippy::disallowed_methods, reason = "a test's own size")]
    let typed = std::env::var("FTGO_SLOW_CLIENTS");
    typed.ok().and_then(|typed| typed.parse().ok()).unwrap_or(200)
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_hold_up_nobody_else() {
    let gate = gate("header_timeout: 30s").await;
    let mut slow = Vec::new();
    for at in 0..slow_clients() {
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        let begun: &[u8] = if at % 2 == 0 {
            b"GET /it HTTP/1.1\r\nhost: a\r\nx-slow: "
        } else {
            b"POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nabc"
        };
        stream.write_all(begun).await.unwrap();
        slow.push(stream);
    }
    let (mut answered, mut asked) = (0, 0);
    while asked < 1_000 {
        if asked % 50 == 0 {
            for stream in &mut slow {
                drop(stream.write_all(b"x").await);
            }
        }
        asked += 1;
        answered += usize::from(gate.get("/it").send().await.status == 200);
    }
    assert!(answered * 1_000 >= asked * 999, "{answered} of {asked}");
}

/// How long each of some requests of a client took that does nothing wrong, sorted.
async fn times(to: SocketAddr, count: usize) -> Vec<Duration> {
    let mut sender = connect_h2(to).await;
    let mut times = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        let ask = http::Request::get("http://a/it").body(axum::body::Body::empty()).unwrap();
        let answer = timeout(LONG, sender.send_request(ask)).await.expect("an answer in time").unwrap();
        assert_eq!(answer.status(), 200);
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times
}

/// What the process holds, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends these bytes until the connection ends or `most` have been sent; whether it ended.
async fn flood(to: SocketAddr, opening: Vec<u8>, frames: impl Fn(u32) -> Vec<u8>, most: usize) -> bool {
    let mut stream = http2(to, &[]).await;
    drop(stream.write_all(&opening).await);
    let (mut reader, mut writer) = stream.into_split();
    let ended = tokio::spawn(async move {
        let mut ignored = vec![0; 64 << 10];
        while reader.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
    });
    let mut sent = 0;
    let mut round = 0;
    while sent < most && !ended.is_finished() {
        let frames = frames(round);
        match timeout(LONG, writer.write_all(&frames)).await {
            Ok(Ok(())) => {}
            _ => break,
        }
        sent += frames.len();
        round += 1;
        tokio::task::yield_now().await;
    }
    timeout(Duration::from_secs(2), ended).await.is_ok()
}

/// Runs the flood four times over while somebody else asks; whether all of the floods were ended.
async fn others_are_served(
    opening: Vec<u8>,
    frames: impl Fn(u32) -> Vec<u8> + Clone + Send + 'static,
) -> bool {
    let gate = gate("header_timeout: 30s").await;
    let quiet = times(gate.address(), 300).await;
    let before = resident();
    let mut floods = JoinSet::new();
    for _ in 0..4 {
        let (to, opening, frames) = (gate.address(), opening.clone(), frames.clone());
        floods.spawn(async move { flood(to, opening, frames, 4 << 20).await });
    }
    let flooded = times(gate.address(), 300).await;
    let mut all_ended = true;
    while let Some(ended) = floods.join_next().await {
        all_ended &= ended.unwrap();
    }
    let (p99, p99_before) = (flooded[296], quiet[296]);
    let grown = resident().saturating_sub(before);
    println!("p99 {p99_before:?} -> {p99:?}, {grown} KiB more, ended: {all_ended}");
    // Half the allowance is the machine's: client, gateway and flood share it here.
    assert!(p99 <= (p99_before * 2).max(Duration::from_millis(100)), "{p99_before:?} -> {p99:?}");
    assert!(grown < 64 << 10, "{grown} KiB more");
    all_ended
}

/// CVE-2023-44487.
#[tokio::test]
async fn a_flood_of_requests_that_are_reset_at_once_ends_its_connection() {
    let frames = |round: u32| {
        let one = |at: u32| {
            let stream = (round * 100 + at) * 2 + 1;
            let head = frame(HEADERS, END | WHOLE, stream, &request(b"GET", b"/it"));
            [head, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        };
        (0..100).flat_map(one).collect()
    };
    assert!(others_are_served(Vec::new(), frames).await);
}

/// CVE-2024-27316 and its family.
#[tokio::test]
async fn a_flood_of_continuations_ends_its_connection() {
    let opening = frame(HEADERS, END, 1, &request(b"GET", b"/it"));
    let frames = |_| {
        let one = frame(CONTINUATION, 0, 1, &block(&[(b"x", &[b'y'; 100])]));
        one.repeat(50)
    };
    assert!(others_are_served(opening.clone(), frames).await);
    assert!(
        others_are_served(opening, |_| frame(CONTINUATION, 0, 1, &[]).repeat(500)).await,
        "empty ones too"
    );
}

/// CVE-2019-9518, CVE-2019-9512 and CVE-2019-9515.
#[tokio::test]
async fn a_flood_of_frames_that_say_nothing_ends_its_connection() {
    let opening = frame(HEADERS, WHOLE, 1, &request(b"POST", b"/it"));
    assert!(others_are_served(opening, |_| frame(DATA, 0, 1, &[]).repeat(500)).await);
    assert!(others_are_served(Vec::new(), |_| frame(PING, 0, 0, &[0; 8]).repeat(500)).await);
    assert!(others_are_served(Vec::new(), |_| frame(SETTINGS, 0, 0, &[]).repeat(500)).await);
}

#[tokio::test]
async fn a_stream_of_http2_whose_body_stands_still_ends_and_the_others_go_on() {
    let gate = one_slot().await;
    let mut sender = connect_h2(gate.address()).await;
    let silent = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let request =
        |method, body| http::Request::builder().method(method).uri("http://a/it").body(body).unwrap();
    let silent = sender.send_request(request("POST", silent));
    let answer = timeout(LONG, silent).await.expect("an answer in time").unwrap();
    assert_eq!(answer.status(), 408);
    let other = sender.send_request(request("GET", axum::body::Body::empty()));
    assert_eq!(timeout(LONG, other).await.expect("an answer in time").unwrap().status(), 200);
}

/// The next frame, or none at the end: its kind, its stream and what is in it.
async fn next_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
}

/// Answers of which nothing is taken end, whatever else is asked on their connection: their slots are for others.
#[tokio::test]
async fn an_answer_that_nobody_takes_ends_though_others_of_its_connection_go_on() {
    let large = service(|mut stream| async move {
        drop(read_head(&mut stream).await);
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8388608\r\n\r\n".to_vec();
        answer.resize(answer.len() + (8 << 20), b'x');
        drop(stream.write_all(&answer).await);
    })
    .await;
    let gate = Gate::start(&format!(
        "server: {{ workers: 1, header_timeout: 1s, max_in_flight: 100 }}\nupstreams:\n  \
         it: {{ url: \"http://{large}\", in_flight: {{ limit: 2, max_wait: 0s }} }}\nroutes:\n  \
         - {{ path: /large, auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    let mut held = http2(gate.address(), &[0, 4, 0, 0, 0, 0]).await; // a window of none
    for stream in [1, 3] {
        held.write_all(&frame(HEADERS, END | WHOLE, stream, &request(b"GET", b"/large"))).await.unwrap();
    }
    let (mut resets, mut answered, mut next) = (Vec::new(), 0, 5);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let held_up = async {
        while resets.len() < 2 {
            tokio::select! {
                _ = ticks.tick() => {
                    let ask = frame(HEADERS, END | WHOLE, next, &request(b"HEAD", b"/nowhere"));
                    held.write_all(&ask).await.unwrap();
                    next += 2;
                }
                readable = held.readable() => {
                    readable.unwrap();
                    match next_frame(&mut held).await.expect("the connection stays open") {
                        (HEADERS, 1 | 3, _) if answered < 2 => {
                            answered += 1;
                            if answered == 2 {
                                gate.get("/large").send().await.expect(503);
                            }
                        }
                        (RST_STREAM, stream, reason) => resets.push((stream, reason)),
                        _ => {}
                    }
                }
            }
        }
    };
    timeout(LONG, held_up).await.expect("both end in time");
    resets.sort();
    assert_eq!(resets, [(1, vec![0, 0, 0, 8]), (3, vec![0, 0, 0, 8])], "CANCEL");
    gate.get("/large").send().await.expect(200);
    drop(held);
}

/// A service that sends small pieces, and two clients: one takes a piece now and then, the other is slow and means it.
#[tokio::test]
async fn an_answer_that_is_taken_in_drops_ends_and_one_that_is_taken_slowly_does_not() {
    let drops = service(|mut stream| async move {
        drop(read_head(&mut stream).await);
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        answer.extend(
            b"64\r\n".iter().chain(&[b'x'; 100]).chain(b"\r\n").copied().collect::<Vec<_>>().repeat(10_000),
        );
        drop(stream.write_all(&answer).await);
        drop(stream.read_u8().await);
    })
    .await;
    let gate = Gate::start(&format!(
        "server: {{ workers: 1, header_timeout: 1s, min_progress: 4KiB }}\nupstreams:\n  it: {{ url: \"http://{drops}\" }}\nroutes:\n  \
         - {{ path: /it, auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    let mut held = http2(gate.address(), &[0, 4, 0, 0, 0, 0]).await; // a window of none
    for stream in [1, 3] {
        held.write_all(&frame(HEADERS, END | WHOLE, stream, &request(b"GET", b"/it"))).await.unwrap();
    }
    let (mut reader, mut writer) = held.into_split();
    let opening = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            for (stream, bytes) in [(0, 2_100_u32), (1, 100), (3, 2_000)] {
                writer.write_all(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await.unwrap();
            }
        }
    };
    let mut taken = [0; 2];
    let reading = async {
        loop {
            match next_frame(&mut reader).await.expect("the connection stays open") {
                (RST_STREAM, stream, reason) => return (stream, reason),
                (DATA, stream, bytes) => taken[stream as usize / 2] += bytes.len(),
                _ => {}
            }
        }
    };
    let until_reset = async {
        tokio::select! {
            reset = reading => reset,
            () = opening => unreachable!("it never ends"),
        }
    };
    let reset = timeout(LONG, until_reset).await.expect("one ends in time");
    assert_eq!(reset, (1, vec![0, 0, 0, 8]), "CANCEL");
    assert!(taken[0] > 100 && taken[0] < 4 << 10 && taken[1] > 4 << 10, "{taken:?}");
}

/// CVE-2023-44487, slowly enough that each request has begun, and fast enough to keep services busy with nothing.
#[tokio::test]
async fn requests_that_are_reset_in_pace_end_their_connection_too() {
    let silent = service(|mut stream| async move {
        drop(read_head(&mut stream).await);
        drop(stream.read_u8().await);
    })
    .await;
    let gate = Gate::start(&format!(
        "server: {{ workers: 1 }}\nupstreams:\n  it: {{ url: \"http://{silent}\" }}\nroutes:\n  \
         - {{ path: /it, auth: none, timeout: 60s, forward: {{ to: it }} }}\n"
    ));
    let mut stream = http2(gate.address(), &[]).await;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let mut rounds = 0;
    let ended = async {
        for first in (1..).step_by(160) {
            let streams = (first..first + 160).step_by(2);
            let heads: Vec<u8> = streams
                .clone()
                .flat_map(|at| frame(HEADERS, END | WHOLE, at, &request(b"GET", b"/it")))
                .collect();
            let resets: Vec<u8> = streams.flat_map(|at| frame(RST_STREAM, 0, at, &[0, 0, 0, 8])).collect();
            for bytes in [heads, resets] {
                pace.tick().await;
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            rounds += 1;
        }
    };
    timeout(LONG, ended).await.expect("the connection is ended in time");
    assert!(rounds < 200, "{rounds}");
    drop(gate);
}

/// Windows that grow without need, and frames that nobody knows.
#[tokio::test]
async fn a_flood_of_windows_and_of_unknown_frames_ends_its_connection() {
    assert!(others_are_served(Vec::new(), |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(500)).await);
    assert!(others_are_served(Vec::new(), |_| frame(0xbe, 0, 0, &[]).repeat(500)).await);
}

/// A field of the codec's table takes one byte of HTTP/2, and a hundred times as many here.
#[tokio::test]
async fn more_than_a_hundred_fields_are_refused_over_either_http() {
    let gate = gate("header_timeout: 30s").await;
    let mut stream = http2(gate.address(), &[]).await;
    let (mut status, mut at) = (Vec::new(), 1);
    // `accept-charset` of the static table (RFC 7541 appendix A), which has no value there.
    for (fields, expected) in [(100, 200), (101, 431), (1_000, 431), (4_000, 431)] {
        let head = [request(b"GET", b"/it"), vec![0x80 | 15; fields]].concat();
        stream.write_all(&frame(HEADERS, END | WHOLE, at, &head)).await.unwrap();
        let whole = async {
            loop {
                match next_frame(&mut stream).await.expect("the connection stays open") {
                    (HEADERS, stream, block) if stream == at => return block[0],
                    _ => {}
                }
            }
        };
        // 200 stands in the static table; 431 does not, and is written out.
        let came = timeout(LONG, whole).await.expect("an answer in time");
        status.push((if came == 0x88 { 200 } else { 431 }, expected));
        at += 2;
    }
    assert!(status.iter().all(|(came, expected)| came == expected), "{status:?}");
    for (fields, expected) in [(99, 200), (100, 431)] {
        let many = "accept-charset:\r\n".repeat(fields); // besides `host`
        let answer = format!("GET /it HTTP/1.1\r\nhost: a\r\n{many}\r\n");
        let mut stream = TcpStream::connect(gate.address()).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        let head = timeout(LONG, read_head(&mut stream)).await.expect("an answer in time");
        assert!(head.starts_with(&format!("http/1.1 {expected} ")), "{fields}: {head}");
    }
}
