//! `server.max_in_flight`: browsing is turned away first, then reads, then writes, and nobody else; a place is given back
//! however a request ends.

use std::time::{Duration, Instant};

use axum::body::Body;
use futures_util::future::join_all;
use http::Request;
use tokio::{io::AsyncWriteExt, sync::oneshot, task::JoinHandle};

use crate::{
    client::{Answer, Ask, connect, connect_h2, whole},
    harness::{Gate, until},
    replicas::{Replica, Then},
    wire,
};

/// Ten places, four workers, `slow` behind what hangs and `quick` behind what does not.
fn gate(slow: &Replica, quick: &Replica) -> Gate {
    Gate::start(&format!(
        "server: {{ workers: 4, max_in_flight: 10 }}\nupstreams:\n  slow: {{ url: \"http://{}\" }}\n  \
         quick: {{ url: \"http://{}\" }}\ncors: {{ web: {{ origins: [\"*\"] }} }}\nroutes:\n  \
         - {{ path: /browse, auth: none, priority: low, cors: web, forward: {{ to: slow }} }}\n  \
         - {{ path: /read, methods: [GET, POST], auth: none, forward: {{ to: slow }} }}\n  \
         - {{ path: /order, methods: [GET, PUT], auth: none, forward: {{ to: quick }} }}\n",
        slow.address, quick.address
    ))
}

async fn both() -> (Replica, Replica, Gate) {
    let (slow, quick) = (Replica::start(Duration::ZERO).await, Replica::start(Duration::ZERO).await);
    slow.does(Then::Hang, Duration::ZERO);
    let gate = gate(&slow, &quick);
    (slow, quick, gate)
}

/// Sends so many requests that hang.
async fn hang(slow: &Replica, many: usize, ask: impl Fn() -> Ask) -> Vec<JoinHandle<Answer>> {
    let waiting = slow.waiting() + many;
    let hanging = (0..many).map(|_| tokio::spawn(ask().send())).collect();
    until("they hang", || slow.waiting() == waiting).await;
    hanging
}

async fn metric(gate: &Gate, name: &str) -> String {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_default().to_owned()
}

async fn until_free(gate: &Gate) {
    let free = async {
        while metric(gate, "gateway_requests_in_flight").await != "0" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("all places are given back");
}

fn overloaded(answer: Answer) {
    let answer = answer.expect(503);
    assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("overloaded", "1"));
}

#[tokio::test]
async fn browsing_is_turned_away_first_and_writes_last() {
    let (slow, quick, gate) = both().await;
    let mut hanging = hang(&slow, 7, || gate.get("/browse")).await;
    // 70 %: nobody browses any more, all else goes on.
    let shed = gate.get("/browse").send().await;
    assert_eq!(shed.header("access-control-allow-origin"), "*");
    overloaded(shed);
    gate.get("/order").send().await.expect(200);
    gate.ask("PUT", "/order").send().await.expect(200);
    // 90 %: reads are turned away, writes are not.
    hanging.extend(hang(&slow, 2, || gate.get("/read")).await);
    overloaded(gate.get("/order").send().await);
    gate.ask("HEAD", "/order").send_h2().await.expect(503);
    gate.ask("PUT", "/order").send().await.expect(200);
    // All: writes too. Who asks for health, for nothing or before a request, is answered.
    hanging.extend(hang(&slow, 1, || gate.ask("POST", "/read")).await);
    overloaded(gate.ask("PUT", "/order").send().await);
    gate.admin("/healthz").send().await.expect(200);
    gate.admin("/readyz").send().await.expect(200);
    gate.ask("OPTIONS", "/order").send().await.expect(204);
    gate.get("/nothing").send().await.expect(404);
    assert_eq!((slow.seen(), quick.seen()), (10, 3), "what is turned away costs no service anything");
    assert_eq!(metric(&gate, "gateway_requests_in_flight").await, "10");
    for (priority, count) in [("low", "1"), ("normal", "2"), ("high", "1")] {
        let name = format!("gateway_requests_shed_total{{priority=\"{priority}\"}}");
        assert_eq!(metric(&gate, &name).await, count, "{priority}");
    }
    // Afterwards everything passes again.
    slow.does(Then::Answer(200), Duration::ZERO);
    for hung in hanging {
        hung.await.unwrap().expect(200);
    }
    until_free(&gate).await;
    for ask in [gate.get("/browse"), gate.get("/read"), gate.ask("PUT", "/order")] {
        ask.send().await.expect(200);
    }
}

#[tokio::test]
async fn there_are_never_more_however_many_come_at_once_on_all_workers() {
    let (slow, _quick, gate) = both().await;
    let all: Vec<_> = (0..100).map(|_| tokio::spawn(gate.get("/browse").send())).collect();
    until("all others are refused", || all.iter().filter(|one| one.is_finished()).count() == 93).await;
    assert_eq!((slow.waiting(), slow.seen()), (7, 7));
    slow.does(Then::Answer(200), Duration::ZERO);
    let answers = join_all(all).await;
    assert_eq!(answers.into_iter().filter(|answer| answer.as_ref().unwrap().status == 200).count(), 7);
    until_free(&gate).await;
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_gives_its_place_back() {
    let (slow, _quick, gate) = both().await;
    for http2 in [false, true] {
        let ask = || gate.get("/browse");
        let address = gate.address();
        let hanging: Vec<JoinHandle<()>> = if http2 {
            let sender = connect_h2(address).await;
            let request = || Request::get("http://ftgo.example/browse").body(Body::empty()).unwrap();
            let pending = (0..7).map(|_| sender.clone().send_request(request()));
            pending.map(|pending| tokio::spawn(async move { drop(pending.await) })).collect()
        } else {
            (0..7).map(|_| ask()).map(|ask| tokio::spawn(async move { drop(ask.send().await) })).collect()
        };
        until("they hang", || slow.waiting() == 7).await;
        overloaded(ask().send().await);
        hanging.iter().for_each(JoinHandle::abort);
        until_free(&gate).await;
    }
}

#[tokio::test]
async fn a_place_is_held_until_the_last_byte_has_left() {
    let (rest, held) = oneshot::channel::<()>();
    let held = std::sync::Arc::new(tokio::sync::Mutex::new(Some(held)));
    let address = wire::service(move |mut stream| {
        let held = held.clone();
        async move {
            wire::read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
            if let Some(held) = held.lock().await.take() {
                _ = held.await;
            }
            stream.write_all(b"cd").await.unwrap();
        }
    })
    .await;
    let gate = Gate::start(&format!("server: {{ max_in_flight: 1 }}\n{}", wire::yaml(address, "")));
    let response = gate.get("/it").begin().await;
    assert_eq!(response.status(), 200);
    overloaded(gate.get("/it").send().await);
    rest.send(()).unwrap();
    assert_eq!(whole(response).await.bytes(), "abcd");
    until_free(&gate).await;
    gate.get("/it").send().await.expect(200);
}

#[tokio::test]
async fn being_turned_away_takes_no_time() {
    let (slow, _quick, gate) = both().await;
    let _hanging = hang(&slow, 7, || gate.get("/browse")).await;
    let mut sender = connect(gate.address()).await;
    let mut took = Vec::new();
    for _ in 0..200 {
        let request = Request::get("/browse").header("host", "ftgo.example").body(Body::empty()).unwrap();
        let begun = Instant::now();
        overloaded(whole(sender.send_request(request).await.unwrap()).await);
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    eprintln!("turned away: median {:?}, the 199th of 200 {:?}", took[100], took[198]);
    // A build without optimization, on a machine that runs other tests.
    assert!(took[100] < Duration::from_millis(10), "{took:?}");
}

/// The number is the configuration's, the count is the process's.
#[tokio::test]
async fn a_new_number_holds_from_the_next_request_on() {
    let (slow, _quick, gate) = both().await;
    let hanging = hang(&slow, 7, || gate.get("/browse")).await;
    overloaded(gate.get("/browse").send().await);
    let yaml = std::fs::read_to_string(gate.file()).unwrap();
    gate.rewrite(&yaml.replace("max_in_flight: 10", "max_in_flight: 20"));
    let more = async {
        while metric(&gate, "gateway_config_reloads_total").await != "1" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), more).await.expect("it is reloaded");
    let also = hang(&slow, 7, || gate.get("/browse")).await;
    overloaded(gate.get("/browse").send().await);
    slow.does(Then::Answer(200), Duration::ZERO);
    for hung in hanging.into_iter().chain(also) {
        hung.await.unwrap().expect(200);
    }
    until_free(&gate).await;
}
