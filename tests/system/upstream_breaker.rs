//! A service that fails is left alone, is tried by a few, and is used again once it has recovered.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    client::Answer,
    harness::{Gate, until},
    replicas::{Load, Replica, Then, failed, quantile, yaml},
};

async fn behind(open_for: &str) -> (Replica, Gate) {
    let replica = Replica::start(Duration::ZERO).await;
    let upstream = format!(
        "url: \"http://{}\", retry: {{ attempts: 1 }}, circuit_breaker: {{ open_for: {open_for}, probes: 3 }}",
        replica.address
    );
    (replica, Gate::start(&yaml(&upstream)))
}

/// Asks until the gateway answers by itself; how often the service was asked.
async fn until_open(gate: &Gate) -> (usize, Answer) {
    for asked in 0..50 {
        let answer = gate.get("/it").send().await;
        if answer.status == 503 {
            return (asked, answer);
        }
        answer.expect(500);
    }
    panic!("the breaker never opened");
}

async fn at_once(gate: &Gate, many: usize) -> Vec<u16> {
    join_all((0..many).map(|_| gate.get("/it").send()))
        .await
        .into_iter()
        .map(|answer| answer.status)
        .collect()
}

#[tokio::test]
async fn a_burst_of_failures_opens_the_breaker_and_nothing_but_probes_is_sent() {
    let (replica, gate) = behind("2s").await;
    replica.does(Then::Answer(500), Duration::ZERO);
    let (asked, refused) = until_open(&gate).await;
    let opened = Instant::now();
    assert!(asked <= 20, "{asked}");
    assert_eq!(refused.code(), "upstream_unavailable");
    let retry_after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=3).contains(&retry_after), "{retry_after}");

    let samples = Load::new(gate.address(), 1).times(300).await;
    assert!(opened.elapsed() < Duration::from_millis(1_500), "it is still open");
    assert!(samples.iter().all(|sample| sample.status == 503));
    let median = quantile(&samples, 500);
    assert!(median < Duration::from_millis(1), "{median:?}");
    assert_eq!(replica.seen(), asked, "nothing is sent while it is open");
    eprintln!(
        "breaker: opened after {asked} calls; 300 refused, median {median:?}; the service saw 0 of them"
    );

    // Half-open: the probes hang, so whoever comes later must be refused.
    replica.does(Then::Hang, Duration::ZERO);
    let first = tokio::spawn({
        let address = gate.address();
        async move {
            loop {
                let answer = crate::client::ask(address, "GET", "/it").send().await;
                if answer.status == 200 {
                    return;
                }
            }
        }
    });
    until("a probe is let through", || replica.seen() > asked).await;
    let (answers, ()) = tokio::join!(at_once(&gate, 200), async {
        until("all probes are taken", || replica.seen() == asked + 3).await;
        until("it has all of them", || replica.waiting() == 3).await;
        at_once(&gate, 100).await.iter().for_each(|status| assert_eq!(*status, 503));
        assert_eq!(replica.seen(), asked + 3);
        replica.does(Then::Answer(200), Duration::ZERO);
    });
    first.await.unwrap();
    let served = answers.iter().filter(|status| **status == 200).count();
    eprintln!("breaker: half-open, 301 at once: 3 probes, {served} of the 200 served");
    assert_eq!(served, 2, "the first probe was let through before");
}

/// What was well before is no reason to go on asking.
#[tokio::test]
async fn a_burst_of_failures_after_good_times_opens_the_breaker_within_a_second() {
    let (replica, gate) = behind("5s").await;
    let load = Load::new(gate.address(), 2);
    assert_eq!(failed(&load.lasting(Duration::from_secs(2)).await), 0);
    let (before, burst) = (replica.seen(), Instant::now());
    replica.does(Then::Answer(503), Duration::ZERO);
    load.lasting(Duration::from_secs(1)).await;
    let sent = replica.seen() - before;
    load.times(100).await;
    eprintln!("breaker: a burst after {before} good calls: {sent} of them sent in {:?}", burst.elapsed());
    assert_eq!(replica.seen() - before, sent, "it is open");
}

#[tokio::test]
async fn a_service_that_has_healed_is_soon_used_again() {
    let (replica, gate) = behind("500ms").await;
    replica.does(Then::Answer(500), Duration::ZERO);
    until_open(&gate).await;
    replica.does(Then::Answer(200), Duration::ZERO);
    let healed = Instant::now();
    let load = Load::new(gate.address(), 4);
    let mut recovered = None;
    while recovered.is_none() && healed.elapsed() < Duration::from_secs(5) {
        let begun = healed.elapsed();
        recovered = (failed(&load.times(200).await) <= 2).then_some(begun);
    }
    let recovered = recovered.expect("99 % succeed within 5 s");
    assert!(recovered < Duration::from_secs(5), "{recovered:?}");
    let samples = load.times(1_000).await;
    eprintln!("breaker: healed, 99 % succeed after {recovered:?}; then {} of 1000 fail", failed(&samples));
    assert_eq!(failed(&samples), 0);
}
