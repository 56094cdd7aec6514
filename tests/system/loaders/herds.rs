//! Many at once who want the same keys, or some of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{KEPT, Log, asked_for, counted, good, knowing, load, loading, metric, purge, records};
use crate::{
    cached::service::Service,
    client::{ask, connect, whole},
    harness::Gate,
};

const CLIENTS: usize = 200;
const REQUESTS: usize = 10_000;
const CONNECTIONS: usize = 20;

/// Keeps each request until it is told to answer it.
async fn holding(fields: &'static [(&'static str, &'static str)]) -> (Service, Log) {
    let log = Log::default();
    let noted = log.clone();
    let service = Service::holding(move |request, number| {
        noted.add(request);
        records(fields, &asked_for(request), number)
    })
    .await;
    (service, log)
}

fn spawn(asking: &mut JoinSet<Value>, gate: &Gate, keys: &str) {
    let asked = ask(gate.address(), "GET", &format!("/load?{keys}"));
    asking.spawn(async move { asked.send().await.expect(200).json() });
}

/// Waits until so many requests are in the gateway.
async fn in_flight(gate: &Gate, count: u64) {
    let waiting = async { while metric(gate, "gateway_requests_in_flight").await != count {} };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("so many are in flight");
}

#[tokio::test]
async fn of_two_hundred_who_miss_the_same_one_asks() {
    let (service, log) = holding(&[("cache-control", "max-age=60")]).await;
    let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
    (0..CLIENTS).for_each(|_| spawn(&mut asking, &gate, "1,2,3"));
    in_flight(&gate, CLIENTS as u64).await;
    service.answer(usize::MAX);
    for answer in asking.join_all().await {
        assert_eq!(answer, json!({"1": good("1", 1), "2": good("2", 1), "3": good("3", 1)}));
    }
    assert_eq!(log.all(), ["1,2,3"]);
    let shared = counted(&gate, "coalesced").await + counted(&gate, "hit").await;
    assert_eq!((counted(&gate, "miss").await, shared), (3, 3 * (CLIENTS as u64 - 1)));
}

#[tokio::test]
async fn a_request_asks_only_for_what_nobody_asks_for_and_waits_for_the_rest() {
    let (service, log) = holding(&[("cache-control", "max-age=60")]).await;
    let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
    spawn(&mut asking, &gate, "1,2");
    service.sees(1).await;
    spawn(&mut asking, &gate, "2,3");
    service.sees(2).await;
    service.answer(usize::MAX);
    for answer in asking.join_all().await {
        assert_eq!(answer["2"], good("2", 1));
    }
    let mut asked = log.all();
    asked.sort();
    assert_eq!(asked, ["1,2", "3"]);
}

#[tokio::test]
async fn who_asked_and_left_is_replaced_by_one_of_those_who_wait() {
    let (service, _) = holding(&[("cache-control", "max-age=60")]).await;
    let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
    let first = ask(gate.address(), "GET", "/load?1,2");
    let first = tokio::spawn(async move { first.send().await.status });
    service.sees(1).await;
    (0..10).for_each(|_| spawn(&mut asking, &gate, "1,2"));
    in_flight(&gate, 11).await;
    first.abort();
    service.sees(2).await;
    service.answer(usize::MAX);
    for answer in asking.join_all().await {
        assert_eq!(answer, json!({"1": good("1", 2), "2": good("2", 2)}));
    }
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn a_call_that_fails_fails_its_own_keys_for_all_who_wait() {
    let service = Service::holding(|request, number| {
        let keys = asked_for(request);
        let mut answer = records(&[("cache-control", "max-age=60")], &keys, number);
        if keys.contains(&"1".to_owned()) {
            *answer.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        answer
    })
    .await;
    let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
    spawn(&mut asking, &gate, "1");
    service.sees(1).await;
    spawn(&mut asking, &gate, "1,2");
    service.sees(2).await;
    service.answer(usize::MAX);
    for answer in asking.join_all().await {
        assert_eq!(answer["1"], json!({"fault": "status"}));
        assert!(answer.get("2").is_none_or(|other| *other == good("2", 2)), "{answer}");
    }
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn what_is_not_for_everybody_is_given_to_nobody_who_waits() {
    let (service, _) = holding(&[("cache-control", "private, max-age=60")]).await;
    let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
    (0..20).for_each(|_| spawn(&mut asking, &gate, "1"));
    in_flight(&gate, 20).await;
    service.answer(usize::MAX);
    let mut numbers: Vec<u64> =
        asking.join_all().await.iter().map(|answer| answer["1"]["is"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>(), "each has an answer of its own");
    assert_eq!(counted(&gate, "coalesced").await, 0);
}

#[tokio::test]
async fn who_comes_after_a_purge_gets_nothing_that_was_asked_for_before() {
    for purged in ["tag=thing:1", "all", "tag=thing:1&soft"] {
        let (service, _) = holding(&[("cache-control", "max-age=60")]).await;
        let (gate, mut asking) = (loading(service.address, KEPT), JoinSet::new());
        spawn(&mut asking, &gate, "1");
        service.sees(1).await;
        purge(&gate, purged).await;
        let after = ask(gate.address(), "GET", "/load?1");
        let after = tokio::spawn(async move { after.send().await.expect(200).json() });
        in_flight(&gate, 2).await;
        service.answer(usize::MAX);
        assert_eq!(after.await.unwrap()["1"], good("1", 2), "{purged}");
        assert_eq!(asking.join_all().await[0]["1"], good("1", 1));
        assert_eq!(load(&gate, "1").await["1"], good("1", 2), "{purged}");
    }
}

/// Ten thousand requests over twenty connections for seven of a hundred keys each, while keys are purged.
#[tokio::test]
async fn of_ten_thousand_requests_none_gets_what_is_another_keys() {
    let (service, _) = knowing(&[("cache-control", "max-age=60")]).await;
    let gate = loading(service.address, KEPT);
    let mut asking = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let address = gate.address();
        asking.spawn(async move {
            let mut sender = connect(address).await;
            for request in 0..REQUESTS / CONNECTIONS {
                let keys = (0..7).map(|n| (connection * 7 + request * 13 + n * (request % 11 + 1)) % 100);
                let mut keys: Vec<String> = keys.map(|key| key.to_string()).collect();
                keys.sort();
                keys.dedup();
                let target = format!("/load?{}", keys.join(","));
                let request = http::Request::get(target).header("host", "a").body(axum::body::Body::empty());
                let response = sender.send_request(request.unwrap()).await.expect("an answer");
                let answer = whole(response).await.expect(200).json();
                let answer = answer.as_object().unwrap();
                assert_eq!(answer.keys().cloned().collect::<Vec<_>>(), keys);
                assert!(answer.iter().all(|(key, told)| told["is"]["id"] == **key), "{answer:?}");
            }
        });
    }
    while !asking.is_empty() {
        for key in 0..100 {
            purge(&gate, &format!("tag=thing:{key}")).await;
            while asking.try_join_next().is_some_and(|joined| joined.is_ok() || panic!("{joined:?}")) {}
        }
    }
    let given =
        [counted(&gate, "hit").await, counted(&gate, "coalesced").await, counted(&gate, "miss").await];
    assert!(given[0] > 10_000 && given[2] > 100, "{given:?}");
    assert!((service.seen() as u64) < REQUESTS as u64, "{} calls", service.seen());
}
