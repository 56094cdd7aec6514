//! Answers that are kept: for whom, for how long, and who asks when they are not there.
//!
//! Not here: the rules one by one (`gateway/src/cache/control.rs` and the public HTTP cache tests).

mod herds;
mod parts;
mod safety;
pub(crate) mod service;
mod writes;

use std::{net::SocketAddr, time::Duration};

pub(crate) use service::{Service, ok};

use crate::{
    client::Answer,
    harness::{Gate, until},
    replicas::{Replica, Then},
};

/// A route `/{*rest}` to the service, with this cache.
fn cached(service: SocketAddr, cache: &str) -> Gate {
    Gate::start(&yaml(service, cache))
}

/// The same with so much room.
fn sized(service: SocketAddr, room: &str) -> Gate {
    Gate::start(&format!("cache: {room}\n{}", yaml(service, "{}")))
}

fn yaml(service: SocketAddr, cache: &str) -> String {
    format!(
        "server: {{ max_in_flight: 50000 }}\nupstreams:\n  \
         it: {{ url: \"http://{service}\", in_flight: {{ limit: 5000 }}, retry: {{ attempts: 1 }}, circuit_breaker: {{ min_calls: 10000 }} }}\n\
         routes:\n  - path: /{{*rest}}\n    methods: [GET, POST]\n    auth: none\n    timeout: 30s\n    \
         cache: {cache}\n    forward: {{ to: it }}\n"
    )
}

pub(crate) async fn metric(gate: &Gate, name: &str) -> u64 {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

async fn outcome(gate: &Gate, outcome: &str) -> u64 {
    metric(
        gate,
        &format!(r#"gateway_cache_requests_total{{route="GET,POST /{{*rest}}",outcome="{outcome}"}}"#),
    )
    .await
}

pub(crate) fn told(answer: &Answer) -> &str {
    answer.header("cache-status")
}

#[tokio::test]
async fn what_is_kept_is_given_out_until_it_is_no_longer_good_and_a_write_ends_it() {
    let service = Service::start(|_, number| {
        ok(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], format!("answer {number}"))
    })
    .await;
    let gate = cached(service.address, "{}");
    let first = gate.get("/a?b").send().await.expect(200);
    assert_eq!(
        (told(&first), first.bytes().as_ref()),
        ("gateway;fwd=uri-miss;stored", b"answer 1".as_slice())
    );
    let again = gate.get("/a?b").send().await.expect(200);
    assert_eq!(again.bytes(), "answer 1");
    assert!(told(&again).starts_with("gateway;hit;ttl="), "{again:?}");
    assert!(again.header("age").parse::<u64>().is_ok_and(|age| age < 60), "{again:?}");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(gate.get("/a?b").send_h2().await.expect(200).bytes(), "answer 1");
    let head = gate.ask("HEAD", "/a?b").send().await.expect(200);
    assert_eq!((head.header("content-length"), head.bytes().len()), ("8", 0));
    gate.get("/a?b").header("if-none-match", "\"a\"").send().await.expect(304);
    let part = gate.get("/a?b").header("range", "bytes=7-").send().await.expect(206);
    assert_eq!((part.bytes().as_ref(), part.header("content-range")), (b"1".as_slice(), "bytes 7-7/8"));
    assert_eq!(gate.get("/a?c").send().await.expect(200).bytes(), "answer 2");
    gate.ask("POST", "/a?b").send().await.expect(200);
    assert_eq!(gate.get("/a?b").send().await.expect(200).bytes(), "answer 4");
    assert_eq!(gate.get("/a?c").send().await.expect(200).bytes(), "answer 2");
    assert_eq!((outcome(&gate, "hit").await, outcome(&gate, "miss").await), (6, 3));
    assert!(metric(&gate, "gateway_cache_bytes").await > 1_000);
}

#[tokio::test]
async fn a_304_about_another_representation_renews_nothing() {
    let service = Service::start(|request, number| match request.headers().contains_key("if-none-match") {
        true => http::Response::builder()
            .status(304)
            .header("cache-control", "max-age=60")
            .header("etag", "\"b\"")
            .body(axum::body::Body::empty())
            .unwrap(),
        false => ok(&[("cache-control", "max-age=0"), ("etag", "\"a\"")], format!("answer {number}")),
    })
    .await;
    let gate = cached(service.address, "{}");
    assert_eq!(told(&gate.get("/a").send().await.expect(200)), "gateway;fwd=uri-miss;stored");
    let renewed = gate.get("/a").send().await.expect(200);
    assert_eq!(told(&renewed), "gateway;fwd=stale;fwd-status=304");
    assert_eq!(renewed.header("cache-control"), "max-age=0");
    let anew = gate.get("/a").send().await.expect(200);
    assert_eq!((told(&anew), anew.bytes().as_ref()), ("gateway;fwd=uri-miss;stored", b"answer 3".as_slice()));
}

#[tokio::test]
async fn an_answer_that_forgot_to_say_what_it_varies_by_takes_the_place_of_no_other() {
    let service = Service::start(|request, number| {
        let vary = if request.headers().contains_key("x-a") { ("vary", "x-a") } else { ("x-b", "") };
        ok(&[("cache-control", "max-age=60"), vary], format!("answer {number}"))
    })
    .await;
    let gate = cached(service.address, "{}");
    let asked = async |a: &str| gate.get("/a").header("x-a", a).send().await.expect(200).bytes().clone();
    assert_eq!(asked("1").await, "answer 1");
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 2");
    assert_eq!(asked("1").await, "answer 1");
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 2");
}

#[tokio::test]
async fn a_head_and_a_part_are_stood_in_for_as_well() {
    let service = Service::start(|_, number| match number {
        1 => ok(&[("cache-control", "max-age=0"), ("etag", "\"a\"")], "whole"),
        _ => http::Response::builder().status(500).body(axum::body::Body::empty()).unwrap(),
    })
    .await;
    let gate = cached(service.address, "{ stale_if_error: 60s }");
    gate.get("/a").send().await.expect(200);
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "whole");
    let head = gate.ask("HEAD", "/a").send().await.expect(200);
    assert_eq!((head.header("content-length"), head.bytes().len()), ("5", 0));
    assert_eq!(gate.get("/a").header("range", "bytes=1-2").send().await.expect(206).bytes(), "ho");
    gate.ask("HEAD", "/b").send().await.expect(500);
}

#[tokio::test]
async fn only_what_is_kept_can_be_asked_for() {
    let service = Service::start(|_, _| ok(&[("cache-control", "max-age=60")], "it")).await;
    let gate = cached(service.address, "{}");
    let asked = || gate.get("/a").header("cache-control", "only-if-cached").send();
    assert_eq!(asked().await.expect(504).code(), "not_cached");
    gate.get("/a").send().await.expect(200);
    assert_eq!(asked().await.expect(200).bytes(), "it");
    assert_eq!(service.seen(), 1);
}

#[tokio::test]
async fn what_is_no_longer_good_is_given_out_at_once_while_one_asks_for_it_anew() {
    let service = Service::holding(|_, number| {
        ok(&[("cache-control", "max-age=1, stale-while-revalidate=60")], format!("answer {number}"))
    })
    .await;
    service.answer(1);
    let gate = cached(service.address, "{}");
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 1");
    tokio::time::sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
    for _ in 0..10 {
        assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 1");
    }
    service.sees(2).await;
    service.answer(2);
    let renewed = async {
        while gate.get("/a").send().await.expect(200).bytes() != "answer 2" {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(900), renewed).await.expect("it is renewed");
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn what_is_no_longer_good_stands_in_for_errors_where_that_is_allowed() {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = cached(replica.address, "{ ttl: 1s, stale_if_error: 1m }");
    gate.get("/a").send().await.expect(200);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for then in [Then::Answer(503), Then::Reset] {
        replica.does(then, Duration::ZERO);
        let stale = gate.get("/a").send().await.expect(200);
        assert!(told(&stale).starts_with("gateway;hit;ttl=") && stale.bytes() == "{}", "{stale:?}");
        assert_eq!(gate.get("/b").send().await.status / 100, 5);
    }
    assert_eq!(outcome(&gate, "stale").await, 2);
}

/// Says that it changed, as a service or an operator would.
async fn purge(gate: &Gate, query: &str) {
    gate.admin_ask("DELETE", &format!("/cache?{query}")).send().await.expect(200);
}

#[tokio::test]
async fn what_has_changed_is_purged_by_url_by_tag_and_altogether() {
    let service = Service::start(|request, number| {
        let tag =
            if request.uri().path() == "/a" { ("cache-tag", "menu, a") } else { ("surrogate-key", "menu b") };
        ok(&[("cache-control", "max-age=60, stale-while-revalidate=60"), tag], format!("answer {number}"))
    })
    .await;
    let gate = cached(service.address, "{}");
    let both = async || {
        let [a, b] = ["/a", "/b"].map(|path| gate.get(path).send());
        (a.await.expect(200).bytes().clone(), b.await.expect(200).bytes().clone())
    };
    assert_eq!(both().await, ("answer 1".into(), "answer 2".into()));
    purge(&gate, "url=http://FTGO.example/a").await;
    assert_eq!(both().await, ("answer 3".into(), "answer 2".into()));
    purge(&gate, "tag=b").await;
    assert_eq!(both().await, ("answer 3".into(), "answer 4".into()));
    purge(&gate, "tag=menu").await;
    assert_eq!(both().await, ("answer 5".into(), "answer 6".into()));
    purge(&gate, "all").await;
    assert_eq!(both().await, ("answer 7".into(), "answer 8".into()));
    purge(&gate, "tag=a&soft").await;
    assert_eq!(
        both().await,
        ("answer 7".into(), "answer 8".into()),
        "it stands in while it is asked for anew"
    );
    service.sees(9).await;
    let renewed = async { while both().await.0 != "answer 9" {} };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.expect("it is renewed");
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_when_it_was_purged_is_not_kept() {
    let service = Service::holding(|_, number| {
        ok(&[("cache-control", "max-age=60"), ("cache-tag", "menu")], format!("answer {number}"))
    })
    .await;
    let gate = cached(service.address, "{}");
    for (number, query) in ["url=http://ftgo.example/a", "tag=menu", "all"].into_iter().enumerate() {
        let asking = tokio::spawn(gate.get("/a").send());
        service.sees(number + 1).await;
        purge(&gate, query).await;
        service.answer(number + 1);
        assert_eq!(asking.await.unwrap().expect(200).bytes(), &format!("answer {}", number + 1));
    }
    service.answer(usize::MAX);
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 4");
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "answer 4");
}
