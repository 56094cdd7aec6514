//! What is no longer good: it is given out while it is asked for anew, and stands in when asking fails.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::StatusCode;
use serde_json::{Value, json};

use super::{Gate, Log, Service, asked_for, counted, good, load, loading, metric, ok, purge, records};

const TAGGED: &[(&str, &str)] = &[("cache-control", "max-age=1"), ("etag", "\"a\"")];
const WORN: &str = r#"cache: { stale_while_revalidate: 60s, tags: ["thing:{key}"] }"#;

/// Ages are counted by the clock.
async fn no_longer_good() {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
}

async fn refreshed(gate: &Gate, outcome: &str) -> u64 {
    metric(gate, &format!(r#"gateway_loader_refreshes_total{{loader="things",outcome="{outcome}"}}"#)).await
}

async fn until_refreshed(gate: &Gate, outcome: &str, count: u64) {
    let waiting = async { while refreshed(gate, outcome).await < count {} };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it is asked for anew");
}

fn worn(key: &str, number: usize) -> Value {
    json!({"state": "worn", "is": {"id": key, "n": number}})
}

#[tokio::test]
async fn what_came_together_is_asked_for_anew_together_and_a_304_renews_it_all() {
    let log = Log::default();
    let noted = log.clone();
    let service = Service::holding(move |request, number| {
        noted.add(request);
        match request.headers().get("if-none-match") {
            Some(tag) if tag == "\"a\"" => {
                let mut answer = ok(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], "");
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                answer
            }
            _ => records(TAGGED, &asked_for(request), number),
        }
    })
    .await;
    service.answer(1);
    let gate = loading(service.address, WORN);
    load(&gate, "1,2,3").await;
    no_longer_good().await;
    for _ in 0..10 {
        assert_eq!(load(&gate, "2").await["2"], worn("2", 1));
    }
    service.sees(2).await;
    service.answer(2);
    until_refreshed(&gate, "renewed", 1).await;
    let all = json!({"1": good("1", 1), "2": good("2", 1), "3": good("3", 1)});
    assert_eq!((load(&gate, "1,2,3").await, service.seen()), (all, 2));
    assert_eq!(log.all(), ["1,2,3", "1,2,3 if \"a\""]);
    assert_eq!(counted(&gate, "stale").await, 10);
}

#[tokio::test]
async fn a_new_answer_replaces_all_and_what_it_leaves_out_is_no_longer_there() {
    let service = Service::start(|request, number| {
        let keys: Vec<_> = asked_for(request).into_iter().filter(|key| number == 1 || key != "3").collect();
        let fresh = [("cache-control", "max-age=60"), ("etag", "\"b\"")];
        records(if number == 1 { TAGGED } else { &fresh }, &keys, number)
    })
    .await;
    let gate = loading(service.address, WORN);
    load(&gate, "1,2,3").await;
    no_longer_good().await;
    assert_eq!(load(&gate, "1").await["1"], worn("1", 1));
    until_refreshed(&gate, "replaced", 1).await;
    let all = load(&gate, "1,2").await;
    assert_eq!((all, service.seen()), (json!({"1": good("1", 2), "2": good("2", 2)}), 2));
    assert_eq!((load(&gate, "3").await["3"].clone(), service.seen()), (Value::Null, 3));
}

#[tokio::test]
async fn what_an_operator_says_is_no_longer_good_is_asked_for_anew_in_the_background() {
    let log = Log::default();
    let noted = log.clone();
    let service = Service::start(move |request, number| {
        noted.add(request);
        records(&[("cache-control", "max-age=60"), ("etag", "\"a\"")], &asked_for(request), number)
    })
    .await;
    let gate = loading(service.address, WORN);
    load(&gate, "1,2").await;
    purge(&gate, "tag=thing:1&soft").await;
    assert_eq!(load(&gate, "1,2").await, json!({"1": worn("1", 1), "2": good("2", 1)}));
    until_refreshed(&gate, "replaced", 1).await;
    assert_eq!(load(&gate, "1").await["1"], good("1", 2));
    assert_eq!(log.all(), ["1,2", "1,2 if \"a\""]);
}

#[tokio::test]
async fn a_value_stands_in_while_the_service_is_down_and_that_is_told() {
    let down = Arc::new(AtomicBool::new(false));
    let script = down.clone();
    let service = Service::start(move |request, number| {
        let mut answer = records(TAGGED, &asked_for(request), number);
        if script.load(Ordering::Relaxed) {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    })
    .await;
    let gate = loading(service.address, "cache: { stale_if_error: 60s }");
    load(&gate, "1").await;
    no_longer_good().await;
    down.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let told = json!({"1": {"state": "status", "is": {"id": "1", "n": 1}}, "2": {"fault": "status"}});
        assert_eq!(load(&gate, "1,2").await, told);
    }
    assert_eq!(counted(&gate, "stale").await, 2);
    down.store(false, Ordering::Relaxed);
    assert_eq!(load(&gate, "1").await["1"], good("1", 4));
}

#[tokio::test]
async fn without_being_told_so_nothing_stands_in() {
    let service = Service::start(|request, number| {
        let mut answer = records(TAGGED, &asked_for(request), number);
        if number > 1 {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    })
    .await;
    let gate = loading(service.address, "cache: {}");
    assert_eq!(load(&gate, "1").await["1"], good("1", 1));
    no_longer_good().await;
    assert_eq!(load(&gate, "1").await, json!({"1": {"fault": "status"}}));
}

#[tokio::test]
async fn what_is_done_in_the_background_is_bounded_and_not_repeated_while_it_fails() {
    let service = Service::holding(|request, number| {
        let mut answer = records(TAGGED, &asked_for(request), number);
        if number > 8 {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    })
    .await;
    service.answer(8);
    let gate = loading(service.address, WORN);
    for key in 1..=8 {
        load(&gate, &key.to_string()).await;
    }
    no_longer_good().await;
    for _ in 0..5 {
        load(&gate, "1,2,3,4,5,6,7,8").await;
    }
    service.sees(12).await;
    assert_eq!(service.seen(), 12, "four at once");
    service.answer(usize::MAX);
    until_refreshed(&gate, "failed", 4).await;
    load(&gate, "1,2,3,4,5,6,7,8").await;
    assert_eq!(service.seen(), 12, "a service that is down is left alone for a second");
}
