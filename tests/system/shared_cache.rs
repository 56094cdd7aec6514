//! Answers that two gateways share over one Redis: what one of them keeps and makes invalid, and what becomes of it when Redis
//! does.
//!
//! The figures are printed; `--nocapture` shows them. Not here: the rules of keeping (`cached/`).

mod outages;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, header};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    cached::{Service, metric, ok, told},
    client::{Answer, connect, connect_h2, whole},
    harness::{Gate, JOHN, MARY, after_listen, stubs, until},
    redis::Redis,
    replicas::{Replica, Then},
};

/// Where it is not the time that is looked at, a machine that is busy elsewhere is not to look like a Redis that is away.
const PATIENT: &str = "{ timeout: 900ms }";
const TIMEOUT: Duration = Duration::from_millis(20);

fn yaml(redis: &Redis, service: SocketAddr, shared: &str, cache: &str) -> String {
    after_listen(&format!(
        "server: {{ workers: 1 }}\nredis: {{ url: \"{}\" }}\ncache: {{ shared: {shared} }}\n\
         upstreams:\n  it: {{ url: \"http://{service}\", retry: {{ attempts: 1 }}, circuit_breaker: {{ min_calls: 10000 }} }}\n\
         routes:\n  - path: /{{*rest}}\n    methods: [GET, POST]\n    auth: none\n    timeout: 30s\n    \
         cache: {cache}\n    forward: {{ to: it }}\n",
        redis.url()
    ))
}

async fn until_up(gate: &Gate, up: bool) {
    while metric(gate, "gateway_cache_shared_up").await != u64::from(up) {
        sleep(Duration::from_millis(5)).await;
    }
}

async fn gate(yaml: &str) -> Gate {
    let gate = Gate::of(yaml);
    until_up(&gate, true).await;
    gate
}

async fn two(redis: &Redis, service: SocketAddr) -> [Gate; 2] {
    let yaml = yaml(redis, service, PATIENT, "{}");
    [gate(&yaml).await, gate(&yaml).await]
}

async fn counted(gate: &Gate, what: &str, outcome: &str) -> u64 {
    metric(gate, &format!("gateway_cache_shared_{what}_total{{outcome=\"{outcome}\"}}")).await
}

/// Waits until a gateway has counted so many.
async fn until_counted(gate: &Gate, what: &str, outcome: &str, count: u64) {
    let counted = async {
        while counted(gate, what, outcome).await < count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), counted).await.expect("it is counted");
}

async fn get(gate: &Gate, path: &str) -> Answer {
    gate.get(path).send().await.expect(200)
}

fn is_shared(answer: &Answer) -> bool {
    told(answer).starts_with("gateway;hit;ttl=") && told(answer).ends_with(";detail=shared")
}

#[tokio::test]
async fn what_one_has_asked_for_the_others_answer() {
    let redis = Redis::start().await;
    let service = Service::start(|_, number| {
        let tag = [("cache-control", "max-age=60"), ("etag", "\"a\""), ("x-many", "a"), ("x-many", "b")];
        ok(&tag, format!("answer {number}"))
    })
    .await;
    let [one, other] = two(&redis, service.address).await;
    let first = get(&one, "/a?b").await;
    until_counted(&one, "writes", "written", 1).await;
    let answer = get(&other, "/a?b").await;
    assert!(is_shared(&answer) && answer.bytes() == "answer 1", "{answer:?}");
    assert!(answer.header("age").parse::<u64>().is_ok_and(|age| age < 60), "{answer:?}");
    for name in ["etag", "cache-control", "date", "content-length", "x-many"] {
        assert_eq!(answer.header(name), first.header(name), "{name}");
    }
    let again = get(&other, "/a?b").await;
    assert!(
        told(&again).starts_with("gateway;hit;ttl=") && !is_shared(&again),
        "now it has its own: {again:?}"
    );
    let late = gate(&yaml(&redis, service.address, PATIENT, "{}")).await;
    assert!(is_shared(&get(&late, "/a?b").await));
    late.get("/a?b").header("if-none-match", "\"a\"").send().await.expect(304);
    // Another configuration of the route has answers of its own.
    let stranger = gate(&yaml(&redis, service.address, PATIENT, "{ ttl: 1m }")).await;
    assert_eq!(get(&stranger, "/a?b").await.bytes(), "answer 2");
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn a_herd_asks_redis_once_and_the_service_once() {
    let redis = Redis::start().await;
    let service = Service::start(|_, _| ok(&[("cache-control", "max-age=60")], "it")).await;
    let [one, other] = two(&redis, service.address).await;
    get(&one, "/a").await;
    until_counted(&one, "writes", "written", 1).await;
    let mut herd = JoinSet::new();
    for _ in 0..100 {
        herd.spawn(other.get("/a").send());
    }
    assert!(herd.join_all().await.iter().all(|answer| answer.status == 200));
    assert_eq!((service.seen(), counted(&other, "lookups", "hit").await), (1, 1));
}

#[tokio::test]
async fn what_one_makes_invalid_is_so_for_all_within_a_second() {
    let redis = Redis::start().await;
    let service = Service::start(|request, number| {
        let tag = format!("menu, t{}", request.uri().path().trim_start_matches('/'));
        ok(&[("cache-control", "max-age=60"), ("cache-tag", &tag)], format!("answer {number}"))
    })
    .await;
    let [one, other] = two(&redis, service.address).await;
    let purges =
        ["url=http://ftgo.example/a", "tag=ta", "tag=menu", "all", "url=http://ftgo.example/a&soft", ""];
    for (number, purge) in purges.into_iter().enumerate() {
        let kept = get(&one, "/a").await;
        until_counted(&one, "writes", "written", number as u64 + 1).await;
        assert_eq!(get(&other, "/a").await.bytes(), kept.bytes(), "{purge}");
        let (begun, heard) = (Instant::now(), counted(&other, "purges", "heard").await);
        if purge.is_empty() {
            one.ask("POST", "/a").send().await.expect(200);
        } else {
            let told = one.admin_ask("DELETE", &format!("/cache?{purge}")).send().await.expect(200);
            assert_eq!(told.json()["shared"], true);
        }
        until_counted(&other, "purges", "heard", heard + 1).await;
        let took = begun.elapsed();
        println!("`{purge}` was heard of by the other after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        let asked = service.seen();
        let anew = get(&other, "/a").await;
        assert_ne!(anew.bytes(), kept.bytes(), "neither its own memory nor Redis has it: {purge}");
        assert_eq!(service.seen(), asked + 1);
        // It is written, and good for the one that has purged.
        until_counted(&other, "writes", "written", number as u64 + 1).await;
        let back = get(&one, "/a").await;
        assert!(is_shared(&back) && back.bytes() == anew.bytes(), "{purge}: {back:?}");
        one.admin_ask("DELETE", "/cache?all").send().await.expect(200);
        until_counted(&other, "purges", "heard", heard + 2).await;
    }
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_when_another_purged_it_is_nobodys() {
    let redis = Redis::start().await;
    let service =
        Service::holding(|_, number| ok(&[("cache-control", "max-age=60")], format!("{number}"))).await;
    let [one, other] = two(&redis, service.address).await;
    let asking = tokio::spawn(one.get("/a").send());
    service.sees(1).await;
    other.admin_ask("DELETE", "/cache?url=http://ftgo.example/a").send().await.expect(200);
    until_counted(&one, "purges", "heard", 1).await;
    service.answer(usize::MAX);
    assert_eq!(asking.await.unwrap().expect(200).bytes(), "1");
    assert_eq!(get(&other, "/a").await.bytes(), "2");
    until_counted(&other, "writes", "written", 1).await;
    assert_eq!(get(&one, "/a").await.bytes(), "2");
    assert_eq!(counted(&one, "writes", "written").await, 0);
}

#[tokio::test]
async fn what_is_no_longer_good_is_asked_for_by_what_another_has_kept() {
    let redis = Redis::start().await;
    let service = Service::start(|request, number| {
        let fields = [("cache-control", "max-age=3, stale-if-error=60"), ("etag", "\"a\"")];
        let mut answer = ok(&fields, format!("answer {number}"));
        if request.headers().get("if-none-match").is_some_and(|tag| tag == "\"a\"") {
            *answer.status_mut() = http::StatusCode::NOT_MODIFIED;
            *answer.body_mut() = Body::empty();
        }
        answer
    })
    .await;
    let [one, other] = two(&redis, service.address).await;
    let third = gate(&yaml(&redis, service.address, PATIENT, "{}")).await;
    get(&one, "/a").await;
    until_counted(&one, "writes", "written", 1).await;
    sleep(Duration::from_millis(3_100)).await; // ages are counted by the clock
    let renewed = get(&other, "/a").await;
    assert_eq!(
        (told(&renewed), renewed.bytes().as_ref()),
        ("gateway;fwd=stale;fwd-status=304;stored", &b"answer 1"[..])
    );
    until_counted(&other, "writes", "written", 1).await;
    assert!(is_shared(&get(&third, "/a").await), "both tiers are renewed");
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn variants_are_shared_each_for_whom_it_fits() {
    let redis = Redis::start().await;
    let service = Service::start(|request, _| {
        let language = request.headers().get("accept-language").map_or("", |value| value.to_str().unwrap());
        ok(&[("cache-control", "max-age=60"), ("vary", "Accept-Language")], format!("in {language}"))
    })
    .await;
    let [one, other] = two(&redis, service.address).await;
    for (count, language) in (1..).zip(["en", "de", "fr"]) {
        one.get("/a").header("accept-language", language).send().await.expect(200);
        until_counted(&one, "writes", "written", count).await;
    }
    for language in ["fr", "EN", "de"] {
        let answer = other.get("/a").header("accept-language", language).send().await.expect(200);
        assert!(is_shared(&answer), "{answer:?}");
        assert_eq!(answer.bytes(), &format!("in {}", language.to_lowercase()));
    }
    assert_eq!(get(&other, "/a").await.bytes(), "in ");
    assert_eq!(service.seen(), 4);
}

#[tokio::test]
async fn what_broke_off_is_never_in_redis_nor_what_a_request_holds() {
    let redis = Redis::start().await;
    let replica = Replica::start(Duration::ZERO).await;
    let yaml = yaml(&redis, replica.address, PATIENT, "{ ttl: 1m }");
    let (one, other) = (gate(&yaml).await, gate(&yaml).await);
    let cuts = [Then::CutByLength, Then::CutChunked, Then::CutInChunk, Then::ResetInBody, Then::ResetChunked];
    for (number, cut) in cuts.into_iter().enumerate() {
        let path = format!("/{number}");
        replica.once([cut]);
        assert!(one.get(&path).send().await.body.is_err(), "{cut:?}");
        let asked = replica.seen();
        assert_eq!(get(&other, &path).await.bytes(), "{}");
        assert_eq!(replica.seen(), asked + 1, "{cut:?}");
    }
    until_counted(&other, "writes", "written", cuts.len() as u64).await;
    assert_eq!(counted(&one, "writes", "written").await, 0);
    // Its log and five answers, and nothing by a name that says who has asked for what; a probe may still be there.
    let keys: usize =
        redis.run(&["EVAL", "return #redis.call('KEYS', 'gateway:cache*')", "0"]).await.parse().unwrap();
    let named: usize =
        redis.run(&["EVAL", "return #redis.call('KEYS', '*ftgo*')", "0"]).await.parse().unwrap();
    assert_eq!((keys, named), (1 + cuts.len(), 0));
}

#[tokio::test]
async fn what_cannot_be_read_is_a_miss() {
    let redis = Redis::start().await;
    let service =
        Service::start(|_, number| ok(&[("cache-control", "max-age=60")], format!("{number}"))).await;
    let [one, other] = two(&redis, service.address).await;
    let spoil = "for _, key in ipairs(redis.call('KEYS', 'gateway:cache1:*')) do \
                 redis.call('SETRANGE', key, ARGV[1], ARGV[2]) end return 1";
    for (number, (at, bytes)) in [("0", "x"), ("1", "xxxxxxx"), ("100000", "x")].into_iter().enumerate() {
        let path = format!("/{number}");
        get(&one, &path).await;
        until_counted(&one, "writes", "written", number as u64 + 1).await;
        redis.run(&["EVAL", spoil, "0", at, bytes]).await;
        let asked = service.seen();
        get(&other, &path).await;
        assert_eq!(service.seen(), asked + 1);
        assert_eq!(counted(&other, "lookups", "unreadable").await, number as u64 + 1);
    }
    // What is of another kind ends nobody's connection.
    get(&one, "/list").await;
    until_counted(&one, "writes", "written", 4).await;
    let replace = "for _, key in ipairs(redis.call('KEYS', 'gateway:cache1:*')) do \
                   redis.call('DEL', key) redis.call('RPUSH', key, 'x') end return 1";
    redis.run(&["EVAL", replace, "0"]).await;
    assert_ne!(get(&other, "/list").await.bytes(), get(&one, "/list").await.bytes());
    assert_eq!(counted(&other, "lookups", "unreadable").await, 4);
    until_counted(&other, "writes", "written", 4).await;
    let late = gate(&yaml(&redis, service.address, PATIENT, "{}")).await;
    assert!(is_shared(&get(&late, "/list").await), "it was replaced");
    get(&late, "/other").await;
    assert_eq!(counted(&late, "lookups", "away").await, 0);
}

#[tokio::test]
async fn what_its_service_has_ended_does_not_come_back_from_redis() {
    let redis = Redis::start().await;
    let service = Service::start(|_, number| match number {
        1 => ok(&[("cache-control", "max-age=1, stale-while-revalidate=60, stale-if-error=60")], "1"),
        _ => ok(&[("cache-control", "no-store")], format!("{number}")),
    })
    .await;
    let [one, other] = two(&redis, service.address).await;
    get(&one, "/a").await;
    until_counted(&one, "writes", "written", 1).await;
    sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
    assert_eq!(get(&one, "/a").await.bytes(), "1", "while it is asked for anew");
    let ended = async {
        while get(&one, "/a").await.bytes() == "1" || get(&other, "/a").await.bytes() == "1" {
            sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("it is gone everywhere");
}

#[tokio::test]
async fn what_is_newer_here_is_not_replaced_by_what_is_older_in_redis() {
    let redis = Redis::start().await;
    let large = 200_000;
    let service = Service::start(move |_, number| match number {
        1 => ok(&[("cache-control", "max-age=1, stale-if-error=60")], "old"),
        2 => ok(&[("cache-control", "max-age=1, stale-if-error=60")], "x".repeat(large)),
        _ => http::Response::builder().status(503).body(Body::empty()).unwrap(),
    })
    .await;
    let gate = gate(&yaml(&redis, service.address, "{ timeout: 900ms, max_object: 1KiB }", "{}")).await;
    get(&gate, "/a").await;
    until_counted(&gate, "writes", "written", 1).await;
    for _ in 0..2 {
        sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
        assert_eq!(get(&gate, "/a").await.bytes().len(), large);
    }
    assert_eq!(service.seen(), 3);
}

#[tokio::test]
async fn parts_are_shared_and_a_write_at_one_ends_them_at_all() {
    let redis = Redis::start().await;
    let service =
        Service::start(|_, number| ok(&[("content-type", "application/json")], format!("{number}"))).await;
    let yaml = after_listen(&format!(
        "redis: {{ url: \"{}\" }}\ncache: {{ shared: {PATIENT} }}\nupstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
         - path: /{{id}}\n    auth: none\n    compose:\n      a: {{ get: \"it/a/{{id}}\", cache: {{ ttl: 60s, tags: [\"a:{{id}}\"] }} }}\n  \
         - path: /{{id}}/done\n    methods: [POST]\n    auth: none\n    invalidates: [\"a:{{id}}\"]\n    forward: {{ to: it }}\n",
        redis.url(),
        service.address
    ));
    let [one, other] = [gate(&yaml).await, gate(&yaml).await];
    let first = get(&one, "/7").await;
    until_counted(&one, "writes", "written", 1).await;
    let same = get(&other, "/7").await;
    assert_eq!((same.json(), service.seen()), (first.json(), 1));
    assert!(same.header("composition-status").starts_with("a;s=hit;age="), "{same:?}");
    one.ask("POST", "/7/done").send().await.expect(200);
    until_counted(&other, "purges", "heard", 2).await; // the tag, and the URL of the write
    assert_eq!(get(&other, "/7").await.json()["a"], 3);
}

#[tokio::test]
async fn two_users_in_turns_at_two_gateways_never_see_what_is_the_others() {
    const REQUESTS: usize = 4_000;
    let (redis, stubs) = (Redis::start().await, stubs());
    let service = Service::start(|request, _| {
        let field =
            |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let body = format!("{} {} {}", field("x-user-id"), field("accept-language"), request.uri().path());
        ok(&[("cache-control", "max-age=60"), ("vary", "accept-language")], body)
    })
    .await;
    let identity = stubs.identity();
    let yaml = after_listen(&format!(
        "redis: {{ url: \"{}\" }}\ncache: {{ shared: {PATIENT} }}\nproviders:\n  \
         ftgo: {{ jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }} }}\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  - path: /{{*rest}}\n    auth: {{ provider: ftgo }}\n    \
         timeout: 60s\n    cache: {{}}\n    forward: {{ to: it }}\n",
        redis.url(),
        service.address,
    ));
    let gates = [gate(&yaml).await, gate(&yaml).await];
    until("both have keys", || gates.iter().all(Gate::ready)).await;
    let mut asking = JoinSet::new();
    for client in 0..8 {
        let user = [JOHN, MARY][client % 2];
        let token = format!("Bearer {}", stubs.token(user, &["consumer"], "orders:read"));
        let mut senders = [connect_h2(gates[0].address()).await, connect_h2(gates[1].address()).await];
        asking.spawn(async move {
            for number in 0..REQUESTS / 8 {
                let language = ["en", "de", "fr"][(number / 5 + client) % 3];
                let path = number % 50;
                let request = Request::get(format!("http://ftgo.example/{path}"))
                    .header("authorization", &token)
                    .header("accept-language", language);
                let sender = &mut senders[(number / 7 + client) % 2];
                let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
                let answer = whole(response).await.expect(200);
                assert_eq!(answer.bytes(), &format!("{user} {language} /{path}"));
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    let hits = counted(&gates[0], "lookups", "hit").await + counted(&gates[1], "lookups", "hit").await;
    println!(
        "{REQUESTS} requests, 0 crossed: {} asked of the service, {hits} found in Redis",
        service.seen()
    );
    assert!(hits > 0);
}

#[tokio::test]
async fn purges_made_while_redis_is_away_are_said_not_to_be_shared_and_told_once_it_is_back() {
    let mut redis = Redis::start().await;
    let service =
        Service::start(|_, number| ok(&[("cache-control", "max-age=60")], format!("{number}"))).await;
    let [one, other] = two(&redis, service.address).await;
    // It hangs, and has forgotten nothing.
    get(&one, "/a").await;
    until_counted(&one, "writes", "written", 1).await;
    assert_eq!(get(&other, "/a").await.bytes(), "1");
    redis.hang();
    let told = one.admin_ask("DELETE", "/cache?url=http://ftgo.example/a").send().await.expect(200);
    assert_eq!((&told.json()["status"], &told.json()["shared"]), (&"purged".into(), &false.into()));
    assert_eq!(get(&one, "/a").await.bytes(), "2", "here it is gone");
    assert_eq!(get(&other, "/a").await.bytes(), "1", "the other goes on with what it has");
    redis.go_on();
    until_counted(&other, "purges", "heard", 1).await;
    until_up(&other, true).await;
    assert_ne!(get(&other, "/a").await.bytes(), "1");
    // It comes back with nothing: what may have been missed cannot be known.
    let kept = get(&other, "/a").await;
    redis.kill();
    until_up(&other, false).await;
    assert_eq!(get(&other, "/a").await.bytes(), kept.bytes());
    redis.start_again().await;
    until_up(&other, true).await;
    until_up(&one, true).await;
    let asked = service.seen();
    assert_ne!(get(&other, "/a").await.bytes(), kept.bytes());
    assert_eq!(service.seen(), asked + 1);
    until_counted(&other, "writes", "written", 1).await;
}

#[tokio::test]
async fn who_cannot_know_what_was_purged_answers_nothing_that_it_kept_before() {
    let redis = Redis::start().await;
    let service =
        Service::start(|_, number| ok(&[("cache-control", "max-age=60")], format!("{number}"))).await;
    let [one, other] = two(&redis, service.address).await;
    get(&one, "/a").await;
    until_counted(&one, "writes", "written", 1).await;
    assert!(is_shared(&get(&other, "/a").await));
    redis.run(&["DEL", "gateway:cache:log"]).await;
    // The next purge, of whatever, begins another log: what was in the one before cannot be known.
    one.admin_ask("DELETE", "/cache?tag=other").send().await.expect(200);
    for gate in [&one, &other] {
        let asked = async {
            while get(gate, "/a").await.bytes() == "1" {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), asked).await.expect("it is asked for anew");
    }
    for gate in [&one, &other] {
        until_up(gate, true).await;
    }
    until_shared(&one, &other).await;
}

/// Waits until one finds what the other keeps.
async fn until_shared(one: &Gate, other: &Gate) {
    let shared = async {
        for number in 0.. {
            let path = format!("/again/{number}");
            get(one, &path).await;
            sleep(Duration::from_millis(50)).await; // until it is written
            if is_shared(&get(other, &path).await) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shared).await.expect("it is shared");
}
