//! A thousand clients at once for what is not there.

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Gate, Service, cached, metric, ok, outcome, sized, until};
use crate::client::{connect, connect_h2};

const CLIENTS: usize = 1_000;
const STREAMS: usize = 50;

/// So many GETs of a path, over HTTP/2.
pub(super) async fn herd(
    to: SocketAddr,
    path: &str,
    clients: usize,
) -> JoinSet<(u16, Result<Bytes, hyper::Error>)> {
    let mut asking = JoinSet::new();
    for begin in (0..clients).step_by(STREAMS) {
        let sender = connect_h2(to).await;
        for _ in begin..clients.min(begin + STREAMS) {
            let (mut sender, url) = (sender.clone(), format!("http://ftgo.example{path}"));
            asking.spawn(async move {
                let request = Request::get(url).body(Body::empty()).unwrap();
                let response = sender.send_request(request).await.expect("an answer");
                let status = response.status().as_u16();
                (status, response.into_body().collect().await.map(|body| body.to_bytes()))
            });
        }
    }
    asking
}

/// Waits until so many requests are in the gateway.
pub(super) async fn in_flight(gate: &Gate, count: u64) {
    let waiting = async { while metric(gate, "gateway_requests_in_flight").await < count {} };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("all are in flight");
}

pub(super) async fn all_answered(
    asking: JoinSet<(u16, Result<Bytes, hyper::Error>)>,
    count: usize,
    body: &str,
) {
    let answers = tokio::time::timeout(Duration::from_secs(30), asking.join_all()).await.expect("in time");
    assert_eq!(answers.len(), count);
    let wrong = answers
        .iter()
        .find(|(status, read)| *status != 200 || read.as_ref().ok().is_none_or(|read| read != body));
    assert!(wrong.is_none(), "{wrong:?}");
}

#[tokio::test]
async fn of_a_thousand_who_miss_the_same_one_asks() {
    let service = Service::holding(|_, _| ok(&[("cache-control", "max-age=60")], "it")).await;
    let gate = cached(service.address, "{}");
    let asking = herd(gate.address(), "/a", CLIENTS).await;
    in_flight(&gate, CLIENTS as u64).await;
    service.answer(usize::MAX);
    all_answered(asking, CLIENTS, "it").await;
    assert_eq!(service.seen(), 1);
    assert_eq!((outcome(&gate, "miss").await, outcome(&gate, "coalesced").await), (1, CLIENTS as u64 - 1));
}

#[tokio::test]
async fn a_leader_that_goes_away_is_replaced() {
    let service = Service::holding(|_, _| ok(&[("cache-control", "max-age=60")], "it")).await;
    let gate = cached(service.address, "{}");
    let mut leader = connect(gate.address()).await;
    let request = Request::get("/a").header(header::HOST, "ftgo.example").body(Body::empty()).unwrap();
    let leading = tokio::spawn(async move { leader.send_request(request).await.map(drop) });
    service.sees(1).await;
    let asking = herd(gate.address(), "/a", CLIENTS - 1).await;
    in_flight(&gate, CLIENTS as u64).await;
    leading.abort();
    service.sees(2).await;
    service.answer(usize::MAX);
    all_answered(asking, CLIENTS - 1, "it").await;
    assert!(service.seen() <= 3, "{}", service.seen());
}

#[tokio::test]
async fn none_waits_for_another_if_the_answer_cannot_be_kept() {
    let service = Service::holding(|_, _| ok(&[("cache-control", "no-store")], "it")).await;
    let gate = cached(service.address, "{}");
    let asking = herd(gate.address(), "/a", CLIENTS).await;
    in_flight(&gate, CLIENTS as u64).await;
    assert_eq!(service.seen(), 1);
    service.answer(1);
    service.sees(CLIENTS).await; // all at once, while none of them is answered
    let late = herd(gate.address(), "/a", 20).await;
    service.sees(CLIENTS + 20).await; // nor do those who come later
    service.answer(usize::MAX);
    all_answered(asking, CLIENTS, "it").await;
    all_answered(late, 20, "it").await;
}

/// A body in chunks whose length nobody knows before.
fn chunks(count: usize) -> Body {
    let chunk = Bytes::from_static(&[b'x'; 30_000]);
    let frames = std::iter::repeat_n(chunk, count).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(futures_util::stream::iter(frames))
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_too_large_is_passed_on_whole_and_not_kept() {
    let service = Service::start(|_, _| ok(&[("cache-control", "max-age=60")], chunks(100))).await;
    let gate = sized(service.address, "{ max_size: 4MiB, max_object: 64KiB }");
    for _ in 0..2 {
        let asking = herd(gate.address(), "/a", 20).await;
        let answers =
            tokio::time::timeout(Duration::from_secs(30), asking.join_all()).await.expect("in time");
        let whole =
            |read: &Result<Bytes, hyper::Error>| read.as_ref().is_ok_and(|body| body.len() == 3_000_000);
        assert!(answers.iter().all(|(status, read)| *status == 200 && whole(read)));
    }
    let before = service.seen();
    assert_eq!(gate.get("/a").send().await.expect(200).bytes().len(), 3_000_000);
    assert_eq!(service.seen(), before + 1, "it is not kept");
}

#[tokio::test]
async fn bodies_that_clients_do_not_read_take_no_more_than_their_share() {
    let service = Service::start(|_, _| ok(&[("cache-control", "max-age=60")], chunks(34))).await;
    let gate = sized(service.address, "{ max_size: 4MiB, max_object: 1MiB }");
    // Each reads a little, so that what comes is held for others; all together would hold 20 MiB.
    let mut slow = Vec::new();
    for number in 0..20 {
        let mut answer = gate.get(&format!("/slow/{number}")).begin().await;
        answer.body_mut().frame().await.unwrap().unwrap();
        slow.push(answer);
    }
    for answer in slow {
        let rest = answer.into_body().collect().await.unwrap().to_bytes().len();
        assert!(rest < 1_020_000 && rest > 900_000, "{rest}");
    }
    gate.get("/after").send().await.expect(200);
    let again = gate.get("/after").send().await.expect(200);
    assert!(again.header("cache-status").starts_with("gateway;hit"), "there is room again: {again:?}");
}

#[tokio::test]
async fn all_read_one_body_while_it_comes_and_go_on_when_the_first_one_leaves() {
    let (frames, coming) = mpsc::unbounded_channel::<Bytes>();
    let coming = parking_lot::Mutex::new(Some(coming));
    let service = Service::start(move |_, _| {
        let coming = coming.lock().take().expect("it is asked once");
        let stream = futures_util::stream::unfold(coming, |mut coming| async {
            let frame = coming.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(frame), coming))
        });
        ok(&[("cache-control", "max-age=60")], Body::from_stream(stream))
    })
    .await;
    let gate = cached(service.address, "{}");
    frames.send(Bytes::from_static(b"one ")).unwrap();
    let mut first = gate.get("/a").begin().await;
    assert_eq!(first.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
    let mut second = gate.get("/a").begin().await;
    assert_eq!(second.headers()["cache-status"], "gateway;fwd=uri-miss;collapsed");
    assert_eq!(second.body_mut().frame().await.unwrap().unwrap().into_data().unwrap(), "one ");
    drop(first);
    let third = gate.get("/a").begin().await;
    frames.send(Bytes::from_static(b"two")).unwrap();
    drop(frames);
    assert_eq!(second.into_body().collect().await.unwrap().to_bytes(), "two");
    assert_eq!(third.into_body().collect().await.unwrap().to_bytes(), "one two");
    let kept = gate.get("/a").send().await.expect(200);
    assert!(kept.bytes() == "one two" && kept.header("cache-status").starts_with("gateway;hit"), "{kept:?}");
    assert_eq!(service.seen(), 1);
    until("the gateway is still there", || gate.ready()).await;
}
