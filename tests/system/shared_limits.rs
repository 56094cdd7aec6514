//! Limits that two gateways share over one Redis: what they let in together, and what becomes of it when Redis does.
//!
//! The figures are printed; `--nocapture` shows them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gateway::{
    body::{Body, Request, Response},
    handler::{Admitted, Answer, Handler, Handlers, Services, Unmade},
};
use tokio::time::sleep;

use crate::{
    harness::{Gate, after_listen},
    open_load::{Due, offer},
    redis::{Redis, until_up},
    replicas::quantile,
};

/// Answers at once, so that a limit is all that is measured.
struct AtOnce;

impl Handler for AtOnce {
    fn answer<'a>(&'a self, _request: &'a mut Request, _admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(async { Ok(Response::new(Body::full("here"))) })
    }
}

fn make(_: &Services) -> Result<Arc<dyn Handler>, Unmade> {
    Ok(Arc::new(AtOnce))
}

/// Where it is the count that is looked at, a machine that is busy elsewhere is not to look like a Redis that is away.
const PATIENT: &str = "100ms";

fn yaml(redis: &Redis, limit: &str, timeout: &str) -> String {
    after_listen(&format!(
        "redis: {{ url: \"{}\", timeout: {timeout} }}\nlimits:\n  it: {{ {limit}, by: address, shared: true }}\n\
         routes: [{{ path: /it, auth: none, limits: [it], handle: at-once }}]\n",
        redis.url()
    ))
}

async fn gate(redis: &Redis, limit: &str, timeout: &str) -> Gate {
    let gate = Gate::with(&yaml(redis, limit, timeout), Handlers::default().with("at-once", make));
    until_up(&gate, true).await;
    gate
}

/// How many were let in during these milliseconds of the load.
fn let_in(load: &[Due], from: u64, to: u64) -> usize {
    let within = Duration::from_millis(from)..Duration::from_millis(to);
    load.iter().filter(|due| due.sample.status == 200 && within.contains(&due.sample.at)).count()
}

fn all_are_200_or_429(load: &[Due]) -> bool {
    load.iter().all(|due| due.sample.status == 200 || due.sample.status == 429 && due.retry_after)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_admit_in_sum_what_one_limit_says() {
    let redis = Redis::start().await;
    let (one, other) = (
        gate(&redis, "rate: 100/s, burst: 10", PATIENT).await,
        gate(&redis, "rate: 100/s, burst: 10", PATIENT).await,
    );
    let lasting = Duration::from_secs(6);
    let (a, b) = tokio::join!(offer(one.address(), 150, lasting), offer(other.address(), 150, lasting));
    assert!(all_are_200_or_429(&a) && all_are_200_or_429(&b));
    let (of_a, of_b) = (let_in(&a, 1_000, 6_000), let_in(&b, 1_000, 6_000));
    println!("of 300/s offered over 5 s, 100/s allowed: {of_a} + {of_b} = {} were let in", of_a + of_b);
    assert!((475..=525).contains(&(of_a + of_b)), "{of_a} + {of_b}");
    assert!(of_a > 50 && of_b > 50, "{of_a} + {of_b}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_under_load_fails_nobody_and_shares_again_when_it_is_back() {
    let mut redis = Redis::start().await;
    let (one, other) = (
        gate(&redis, "rate: 100/s, burst: 10", PATIENT).await,
        gate(&redis, "rate: 100/s, burst: 10", PATIENT).await,
    );
    let lasting = Duration::from_secs(12);
    let dying = async {
        sleep(Duration::from_secs(2)).await;
        redis.kill();
        sleep(Duration::from_secs(3)).await;
        redis.start_again().await;
        let begun = Instant::now();
        tokio::join!(until_up(&one, true), until_up(&other, true));
        begun.elapsed()
    };
    let (a, b, back) =
        tokio::join!(offer(one.address(), 150, lasting), offer(other.address(), 150, lasting), dying);
    assert!(all_are_200_or_429(&a) && all_are_200_or_429(&b));
    // Each by itself: the whole rate, and no more.
    let (of_a, of_b) = (let_in(&a, 2_500, 4_500), let_in(&b, 2_500, 4_500));
    let again = let_in(&a, 7_500, 11_500) + let_in(&b, 7_500, 11_500);
    println!("without Redis over 2 s: {of_a} and {of_b}; shared again after {back:?}; then in 4 s {again}");
    for alone in [of_a, of_b] {
        assert!((180..=220).contains(&alone), "{of_a}, {of_b}");
    }
    assert!(back < Duration::from_secs(5), "{back:?}");
    assert!((380..=420).contains(&again), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_nobody_up_for_more_than_its_timeout() {
    let redis = Redis::start().await;
    let gate = gate(&redis, "rate: 1000000/s", "5ms").await;
    let lasting = Duration::from_secs(2);
    let mut added = Duration::MAX;
    // A machine that is busy elsewhere is late by itself: what Redis adds shows in the best of three.
    for _ in 0..3 {
        let before = offer(gate.address(), 300, lasting).await;
        redis.hang();
        let hanging = offer(gate.address(), 300, lasting).await;
        redis.go_on();
        assert!(before.iter().chain(&hanging).all(|due| due.sample.status == 200));
        let [before, hanging] = [before, hanging].map(|load| {
            let samples: Vec<_> = load.iter().map(|due| due.sample).collect();
            (quantile(&samples, 990), quantile(&samples, 1_000))
        });
        println!("p99 and longest: {before:?} before, {hanging:?} while Redis hangs");
        added = added.min(hanging.0.saturating_sub(before.0));
        until_up(&gate, true).await;
    }
    assert!(added <= Duration::from_millis(5), "{added:?}");
}

#[tokio::test]
async fn shared_counts_outlive_a_reload_and_a_gateway() {
    let redis = Redis::start().await;
    let first = gate(&redis, "rate: 3/h", PATIENT).await;
    for _ in 0..2 {
        first.get("/it").send().await.expect(200);
    }
    first.rewrite(&yaml(&redis, "rate: 3/h", PATIENT).replace("path: /it", "path: /{it}"));
    while first.get("/other").send().await.status == 404 {}
    let second = gate(&redis, "rate: 3/h", PATIENT).await;
    let answer = second.get("/it").send().await.expect(429);
    assert_eq!(answer.header("retry-after"), "1200");
    assert_eq!(answer.header("ratelimit-policy"), r#""it";q=3;w=3600"#);
    assert_eq!(answer.header("ratelimit"), r#""it";r=0;t=3600"#);
}

#[tokio::test]
async fn two_gateways_let_in_one_quota_which_is_back_when_its_period_is_over() {
    let redis = Redis::start().await;
    let limit = "quota: 5/day";
    let (one, other) = (gate(&redis, limit, PATIENT).await, gate(&redis, limit, PATIENT).await);
    let mut statuses = Vec::new();
    for gate in [&one, &other].into_iter().cycle().take(8) {
        statuses.push(gate.get("/it").send().await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
    let answer = one.get("/it").send().await.expect(429);
    let midnight: u64 = answer.header("retry-after").parse().unwrap();
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let left = 86_400 - since_1970.as_secs() % 86_400;
    assert!(midnight.abs_diff(left) <= 1, "{midnight} and {left}");
    assert!(answer.header("ratelimit").starts_with(r#""it";r=0;t="#), "{answer:?}");

    // A second is a period that one can wait for: seven at once, and again seven when the next one begins.
    let gate = gate(&redis, "quota: 7/s", PATIENT).await;
    let mut let_in = std::collections::BTreeMap::<u64, u32>::new();
    let second = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let first = second();
    let mut between = 0;
    while second() < first + 4 {
        let (before, status, after) = (second(), gate.get("/it").send().await.status, second());
        assert!(status == 200 || status == 429);
        match (status, before == after) {
            (200, true) => *let_in.entry(before).or_default() += 1,
            (200, false) => between += 1,
            _ => {}
        }
    }
    println!("let in by a quota of 7/s, by the second: {let_in:?}, and {between} between two");
    let whole: u32 = (first + 1..first + 4).filter_map(|second| let_in.get(&second)).sum();
    assert!(let_in.values().all(|let_in| *let_in <= 7) && whole + between >= 21, "{let_in:?}, {between}");
}
