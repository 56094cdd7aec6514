//! Parts of compositions that are kept: each by itself, for whom it is, and never what is no answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Service, metric, ok};
use crate::{
    client::{Answer, connect_h2},
    harness::{Gate, JOHN, MARY, stubs, until},
};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A route `/{id}` of these parts of the service `it`, before `more`.
pub(super) fn composed(service: SocketAddr, parts: &str, more: &str) -> Gate {
    Gate::start(&format!(
        "upstreams:\n  it: {{ url: \"http://{service}\", in_flight: {{ limit: 5000 }}, retry: {{ attempts: 1 }}, circuit_breaker: {{ min_calls: 10000 }} }}\n\
         routes:\n  - path: /{{id}}\n    auth: none\n    timeout: 10s\n    compose:\n{parts}{more}"
    ))
}

/// The members of `Composition-Status` without their times and ages, which are small; a service's `Date` makes its answer up
/// to a second older.
pub(super) fn status(answer: &Answer) -> Vec<String> {
    let members = answer.header("composition-status").split(", ");
    let without_times = members.map(|member| {
        let told = member.rsplit_once(";t=").expect("a member tells its time").0;
        let aged = told.contains(";s=hit") || told.contains(";s=stale");
        let Some((told, age)) = told.split_once(";age=") else {
            assert!(!aged, "{member} tells its age");
            return told.to_owned();
        };
        assert!(aged && age.parse::<u64>().is_ok_and(|age| age < 5), "{member}");
        told.to_owned()
    });
    without_times.collect()
}

/// Answers of `/name/id` say which one they are; `/told` says for how long, and `/never` that it is not to be kept.
async fn numbered() -> Service {
    Service::start(|request, number| {
        let control = match request.uri().path().split('/').nth(1) {
            Some("told") => "public, max-age=60, s-maxage=120",
            Some("never") => "no-store",
            _ => "",
        };
        ok(&[JSON, ("cache-control", control)], format!("{number}"))
    })
    .await
}

#[tokio::test]
async fn each_part_is_kept_on_its_own_terms_and_the_whole_is_not() {
    let service = numbered().await;
    let gate = composed(
        service.address,
        "      told: { get: \"it/told/{id}\", cache: {} }\n      \
         given: { get: \"it/given/{id}\", cache: { ttl: 60s } }\n      \
         silent: { get: \"it/silent/{id}\", cache: {} }\n      \
         never: { get: \"it/never/{id}\", cache: { ttl: 60s } }\n      \
         plain: { get: \"it/plain/{id}\" }\n",
        "",
    );
    let first = gate.get("/7").send().await.expect(200);
    assert_eq!(status(&first), ["told;s=ok", "given;s=ok", "silent;s=ok", "never;s=ok", "plain;s=ok"]);
    let again = gate.get("/7").send().await.expect(200);
    let same = |part: &str| first.json()[part] == again.json()[part];
    assert_eq!(["told", "given", "silent", "never", "plain"].map(same), [true, true, false, false, false]);
    assert_eq!(status(&again), ["told;s=hit", "given;s=hit", "silent;s=ok", "never;s=ok", "plain;s=ok"]);
    assert_eq!(service.seen(), 8);
    assert_eq!(again.header("cache-control"), "no-store");
    gate.get("/8").send().await.expect(200);
    assert_eq!(service.seen(), 13, "another target is another part");
    let counted = |part, outcome| {
        let labels = format!(r#"route="GET /{{id}}",part="{part}",outcome="{outcome}""#);
        let name = format!("gateway_cache_part_requests_total{{{labels}}}");
        async { metric(&gate, &{ name }).await }
    };
    assert_eq!((counted("told", "hit").await, counted("told", "miss").await), (1, 2));
}

#[tokio::test]
async fn clients_may_keep_what_is_composed_for_as_long_as_the_strictest_part_says() {
    let service = Service::start(|request, _| {
        let control = match request.uri().path() {
            "/a/1" => "max-age=60, s-maxage=600",
            "/a/2" => "max-age=60, no-cache",
            "/b/3" => "s-maxage=600",
            "/b/5" => "max-age=90, s-maxage=30",
            "/b/6" => "max-age=90, s-maxage=0",
            _ => "max-age=500",
        };
        ok(&[JSON, ("cache-control", control), ("etag", "\"x\"")], "1")
    })
    .await;
    let parts =
        "      a: { get: \"it/a/{id}\", cache: {} }\n      b: { get: \"it/b/{id}\", cache: { ttl: 9s } }\n";
    let gate = composed(service.address, parts, "");
    for (path, control) in [("/1", 60), ("/4", 500), ("/5", 30)] {
        let answer = gate.get(path).send().await.expect(200);
        let told = answer.header("cache-control").strip_prefix("max-age=").map(str::parse::<u64>);
        assert!(told.is_some_and(|told| [Ok(control), Ok(control - 1)].contains(&told)), "{answer:?}");
    }
    for path in ["/2", "/3", "/6"] {
        assert_eq!(gate.get(path).send().await.expect(200).header("cache-control"), "no-store", "{path}");
    }
}

#[tokio::test]
async fn two_users_in_turns_never_see_the_others_parts() {
    let stubs = stubs();
    let service = Service::start(|request, _| {
        let user = request.headers().get("x-user-id").map_or("", |value| value.to_str().unwrap());
        let (control, body) = match request.uri().path() {
            "/private" => ("private, max-age=60", user),
            "/public" => ("public, max-age=60", ""),
            _ => ("max-age=60", user),
        };
        ok(&[JSON, ("cache-control", control)], format!("\"{user}\"").replace(user, body))
    })
    .await;
    let identity = stubs.identity();
    let gate = Gate::start(&format!(
        "providers:\n  ftgo: {{ jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }} }}\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\n\
         routes:\n  - path: /a\n    auth: {{ provider: ftgo }}\n    timeout: 60s\n    compose:\n      \
         own: {{ get: it/own, cache: {{}} }}\n      \
         tagged: {{ get: it/tagged, cache: {{ tags: [\"{{claims.sub}}\"] }} }}\n      \
         private: {{ get: it/private, cache: {{}} }}\n      \
         authorized: {{ get: it/authorized, cache: {{ by: everyone }} }}\n      \
         public: {{ get: it/public, cache: {{ by: everyone }} }}\n",
        service.address,
    ));
    until("the gateway has keys", || gate.ready()).await;
    let mut asking = JoinSet::new();
    for client in 0..10 {
        let user = [JOHN, MARY][client % 2];
        let token = format!("Bearer {}", stubs.token(user, &["consumer"], "orders:read"));
        let mut sender = connect_h2(gate.address()).await;
        asking.spawn(async move {
            let all = json!({"own": user, "tagged": user, "private": user, "authorized": user, "public": ""});
            for _ in 0..100 {
                let request = Request::get("http://ftgo.example/a").header("authorization", &token);
                let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(
                    (response.status().as_u16(), &response.headers()["cache-control"]),
                    (200, &"no-store".parse().unwrap())
                );
                let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
                assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), all);
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    // Two of five are never kept; of the others each is asked for once a user, or once.
    assert!((2_005..=2_030).contains(&service.seen()), "{}", service.seen());
}

/// So many GETs of `/7` at once.
async fn herd(to: SocketAddr, clients: usize) -> JoinSet<u16> {
    let mut asking = JoinSet::new();
    for begin in (0..clients).step_by(50) {
        let sender = connect_h2(to).await;
        for _ in begin..clients.min(begin + 50) {
            let mut sender = sender.clone();
            asking.spawn(async move {
                let request = Request::get("http://ftgo.example/7").body(Body::empty()).unwrap();
                sender.send_request(request).await.expect("an answer").status().as_u16()
            });
        }
    }
    asking
}

async fn in_flight(gate: &Gate, count: u64) {
    let waiting = async { while metric(gate, "gateway_requests_in_flight").await < count {} };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("all are in flight");
}

const TWO: &str = "      a: { get: \"it/a/{id}\", cache: { ttl: 60s } }\n      b: { get: \"it/b/{id}\", cache: { ttl: 60s } }\n";
const COUNTED: &str = "server: { max_in_flight: 5000 }\n";

#[tokio::test]
async fn of_two_hundred_who_want_the_same_parts_one_asks_for_each() {
    let service = Service::holding(|_, _| ok(&[JSON], "1")).await;
    let gate = composed(service.address, TWO, COUNTED);
    let asking = herd(gate.address(), 200).await;
    in_flight(&gate, 200).await;
    service.answer(usize::MAX);
    assert_eq!(asking.join_all().await, [200; 200]);
    assert_eq!(service.seen(), 2);
}

#[tokio::test]
async fn who_asked_for_the_others_and_left_is_replaced() {
    let service = Service::holding(|_, _| ok(&[JSON], "1")).await;
    let gate = composed(service.address, TWO, COUNTED);
    let leading = tokio::spawn(gate.get("/7").send());
    service.sees(2).await;
    let asking = herd(gate.address(), 50).await;
    in_flight(&gate, 51).await;
    leading.abort();
    service.sees(4).await;
    service.answer(usize::MAX);
    assert_eq!(asking.join_all().await, [200; 50]);
    assert_eq!(service.seen(), 4);
}

/// A service that does as told: 0 is an answer that is good for a second, 3 one that says nothing of that, 1 is broken JSON, 2
/// no JSON, and any other number that status.
async fn moody() -> (Service, Arc<AtomicUsize>) {
    let mood = Arc::new(AtomicUsize::new(0));
    let told = mood.clone();
    let script = move |_: &Request<Incoming>, number: usize| match told.load(Ordering::SeqCst) {
        0 => ok(&[JSON, ("cache-control", "max-age=1")], format!("{number}")),
        3 => ok(&[JSON], format!("{number}")),
        1 => ok(&[JSON, ("cache-control", "max-age=60")], "{\"cut"),
        2 => ok(&[("content-type", "text/html"), ("cache-control", "max-age=60")], "1"),
        status => Response::builder()
            .status(status as u16)
            .header("content-type", "application/json")
            .header("cache-control", "max-age=60")
            .body(Body::from("1"))
            .unwrap(),
    };
    (Service::start(script).await, mood)
}

#[tokio::test]
async fn the_last_good_copy_stands_in_for_a_part_that_fails_and_is_told() {
    let (service, mood) = moody().await;
    let gate = composed(
        service.address,
        "      must: { get: \"it/m\", cache: { stale_if_error: 1m } }\n      \
         may: { get: \"it/o\", optional: true, fallback: stale, cache: {} }\n      \
         not: { get: \"it/n\", optional: true, cache: {} }\n",
        "",
    );
    let first = gate.get("/7").send().await.expect(200).json();
    tokio::time::sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
    let alone = |told: &str| {
        [
            format!("must;s=stale;{told}"),
            format!("may;s=stale;{told};fallback"),
            format!("not;s=missing;{told}"),
        ]
    };
    for (now, told) in [
        (503, "reason=status;code=503"),
        (429, "reason=status;code=429"),
        (1, "reason=malformed"),
        (2, "reason=wrong-type"),
    ] {
        mood.store(now, Ordering::SeqCst);
        let stale = gate.get("/7").send().await.expect(200);
        assert_eq!(status(&stale), alone(told), "{now}");
        assert_eq!((&stale.json()["must"], &stale.json()["may"]), (&first["must"], &first["may"]));
        assert_eq!(stale.header("cache-control"), "no-store");
    }
    assert_eq!(metric(&gate, r#"gateway_upstream_fallbacks_total{upstream="it"}"#).await, 4);
    // What a service says of the thing itself is no failure, and what was so before is not so any more.
    mood.store(404, Ordering::SeqCst);
    assert_eq!(gate.get("/7").send().await.status, 404);
    mood.store(503, Ordering::SeqCst);
    assert_eq!(gate.get("/7").send().await.status, 503);
}

#[tokio::test]
async fn the_last_good_copy_outlives_its_service() {
    let (service, _) = moody().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let to = service.address;
    let living = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            open.spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let gate =
        composed(address, "      may: { get: \"it/o\", optional: true, fallback: stale, cache: {} }\n", "");
    let first = gate.get("/7").send().await.expect(200).json();
    living.abort(); // with all that it holds: refused from now on
    assert!(living.await.unwrap_err().is_cancelled());
    tokio::time::sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
    let stale = gate.get("/7").send().await.expect(200);
    assert_eq!(
        (stale.json(), status(&stale)),
        (first, vec!["may;s=stale;reason=refused;fallback".to_owned()])
    );
}

#[tokio::test]
async fn what_is_no_answer_is_never_kept() {
    let (service, mood) = moody().await;
    let gate = composed(service.address, "      a: { get: \"it/a\", cache: { ttl: 60s } }\n", "");
    for now in [1, 2, 400, 404, 410, 500, 503] {
        mood.store(now, Ordering::SeqCst);
        let before = service.seen();
        assert!(gate.get("/7").send().await.status >= 400);
        assert!(gate.get("/7").send().await.status >= 400);
        assert_eq!(service.seen(), before + 2, "{now}");
    }
    mood.store(3, Ordering::SeqCst);
    gate.get("/7").send().await.expect(200);
    assert_eq!(status(&gate.get("/7").send().await.expect(200)), ["a;s=hit"]);
}

#[tokio::test]
async fn a_part_that_is_no_longer_good_is_asked_for_by_its_tag_or_stands_in_meanwhile() {
    let service = Service::start(|request, number| {
        let known = request.headers().get("if-none-match").is_some_and(|tag| tag == "\"x\"");
        let etag = [JSON, ("cache-control", "max-age=1"), ("etag", "\"x\"")];
        match request.uri().path() {
            "/r" if known => Response::builder()
                .status(304)
                .header("cache-control", "max-age=60")
                .body(Body::empty())
                .unwrap(),
            "/r" => ok(&etag, format!("{number}")),
            _ if number > 2 => ok(&[JSON, ("cache-control", "max-age=60")], format!("{number}")),
            _ => ok(&[JSON, ("cache-control", "max-age=1, stale-while-revalidate=60")], format!("{number}")),
        }
    })
    .await;
    let parts = "      r: { get: it/r, cache: {} }\n      w: { get: it/w, cache: {} }\n";
    let gate = composed(service.address, parts, "");
    let first = gate.get("/7").send().await.expect(200).json();
    tokio::time::sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
    let second = gate.get("/7").send().await.expect(200);
    assert_eq!((second.json(), status(&second)), (first, vec!["r;s=ok".to_owned(), "w;s=stale".to_owned()]));
    service.sees(4).await;
    let renewed = async {
        while status(&gate.get("/7").send().await.expect(200)) != ["r;s=hit", "w;s=hit"] {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_millis(900), renewed).await.expect("both are good again");
    assert_eq!(service.seen(), 4);
}

#[tokio::test]
async fn a_rule_decides_by_a_kept_part_and_never_by_one_that_is_no_longer_good() {
    let (stubs, mood) = (stubs(), Arc::new(AtomicUsize::new(200)));
    let told = mood.clone();
    let service = Service::start(move |_, _| {
        let status = told.load(Ordering::SeqCst) as u16;
        let fields = [JSON, ("cache-control", "max-age=2, stale-if-error=60, stale-while-revalidate=60")];
        let builder =
            fields.iter().fold(Response::builder(), |builder, (name, value)| builder.header(*name, *value));
        builder.status(status).body(Body::from(format!("{{\"owner\":\"{JOHN}\"}}"))).unwrap()
    })
    .await;
    let identity = stubs.identity();
    let gate = Gate::start(&format!(
        "providers:\n  ftgo: {{ jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }} }}\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\n\
         routes:\n  - path: /a\n    auth: {{ provider: ftgo, allow: claims.sub == a.owner }}\n    compose:\n      \
         a: {{ get: it/a, cache: {{}} }}\n",
        service.address,
    ));
    until("the gateway has keys", || gate.ready()).await;
    let [john, mary] = [JOHN, MARY].map(|user| stubs.token(user, &["consumer"], "orders:read"));
    for _ in 0..2 {
        gate.get("/a").token(&john).send().await.expect(200);
        gate.get("/a").token(&mary).send().await.expect(404);
    }
    assert_eq!(service.seen(), 2);
    tokio::time::sleep(Duration::from_millis(2_100)).await; // ages are counted by the clock
    mood.store(503, Ordering::SeqCst);
    gate.get("/a").token(&john).send().await.expect(503);
}
