//! Nobody is given what is another's, or what is not whole.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use super::{
    Service, cached,
    herds::{all_answered, herd, in_flight},
    ok,
};
use crate::{
    client::{ask, connect_h2},
    harness::{Gate, JOHN, MARY, stubs, until},
    replicas::{Replica, Then},
};

const REQUESTS: usize = 10_000;

/// Says in its body who asks and in which language; by the path, for whom that is.
async fn echo() -> Service {
    Service::start(|request, _| {
        let field = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap());
        let path = request.uri().path();
        let control = match path {
            "/private" => "private, max-age=60",
            "/public" | "/told" => "public, max-age=60",
            _ => "max-age=60",
        };
        let (user, language) = (field("x-user-id"), field("accept-language"));
        let body = match path {
            "/public" => format!(" {language}"),
            _ => format!("{user} {language}"),
        };
        let vary = if path == "/told" { "Accept-Language, X-User-Id" } else { "Accept-Language" };
        ok(&[("cache-control", control), ("vary", vary)], body)
    })
    .await
}

/// What makes a client's answers nobody else's, so that they are not kept.
const OWN: [(&str, &str); 2] = [("cookie", "a=b"), ("authorization", "Bearer x")];

#[tokio::test]
async fn who_sends_what_is_not_kept_takes_the_cache_from_nobody() {
    for (name, value) in OWN {
        let service = Service::holding(|_, number| ok(&[], format!("{number}"))).await;
        let gate = cached(service.address, "{ ttl: 60s }");
        let one = tokio::spawn(gate.get("/a").header(name, value).send());
        service.sees(1).await;
        let others = herd(gate.address(), "/a", 2).await;
        service.sees(2).await;
        in_flight(&gate, 3).await;
        service.answer(usize::MAX);
        assert_eq!(one.await.unwrap().expect(200).bytes(), "1");
        all_answered(others, 2, "2").await;
        assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "2", "it is kept beside {name}");
    }
}

#[tokio::test]
async fn who_sends_what_is_not_kept_does_not_end_what_is() {
    for ((name, value), status) in OWN.into_iter().flat_map(|own| [(own, 200), (own, 304)]) {
        let service = Service::start(move |request, number| {
            let mut answer = ok(&[("etag", "\"a\"")], format!("{number}"));
            *answer.status_mut() = match number {
                1 => 200,
                2 if request.headers().contains_key("if-none-match") => status,
                _ => 503,
            }
            .try_into()
            .unwrap();
            answer
        })
        .await;
        let gate = cached(service.address, "{ ttl: 1s, stale_if_error: 60s }");
        gate.get("/a").send().await.expect(200);
        tokio::time::sleep(Duration::from_millis(1_100)).await; // ages are counted by the clock
        gate.get("/a").header(name, value).send().await.expect(200);
        assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "1", "after {name} and a {status}");
        assert_eq!(service.seen(), 3);
    }
}

#[tokio::test]
async fn two_users_in_turns_never_see_what_is_the_others() {
    let (stubs, service) = (stubs(), echo().await);
    let identity = stubs.identity();
    let route = |path: &str, by: &str| {
        format!(
            "  - path: {path}\n    auth: {{ provider: ftgo }}\n    timeout: 60s\n    cache: {{ by: {by} }}\n    forward: {{ to: it }}\n"
        )
    };
    let gate = Gate::start(&format!(
        "providers:\n  ftgo: {{ jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }} }}\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n{}{}{}{}{}",
        service.address,
        route("/own", "principal"),
        route("/private", "principal"),
        route("/authorized", "everyone"), // nothing says that others may have it
        route("/public", "everyone"),
        route("/told", "everyone"), // by whom it is asked, which a client does not say
    ));
    until("the gateway has keys", || gate.ready()).await;
    let mut asking = JoinSet::new();
    for client in 0..20 {
        let user = [JOHN, MARY][client % 2];
        let token = format!("Bearer {}", stubs.token(user, &["consumer"], "orders:read"));
        let mut sender = connect_h2(gate.address()).await;
        asking.spawn(async move {
            for number in 0..REQUESTS / 20 {
                let path = ["own", "private", "authorized", "public", "told"][number % 5];
                let language = ["en", "de", "fr"][(number / 5 + client) % 3];
                let request = Request::get(format!("http://ftgo.example/{path}"))
                    .header("authorization", &token)
                    .header("accept-language", language);
                let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(response.status(), 200);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let whose = if path == "public" { "" } else { user };
                assert_eq!(body, format!("{whose} {language}"), "{path}");
            }
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    // Three of five are never kept; of the others each variant is asked for once a user, or once.
    let never = REQUESTS / 5 * 3;
    assert!((never..=never + 30).contains(&service.seen()), "{}", service.seen());
    let nobody = ask(gate.address(), "GET", "/public").send().await;
    assert_eq!(nobody.status, 401, "who may not ask is not answered from the cache either");
}

#[tokio::test]
async fn what_broke_off_is_never_kept() {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = cached(replica.address, "{ ttl: 1m }");
    let cuts = [Then::CutByLength, Then::CutChunked, Then::CutInChunk, Then::ResetInBody, Then::ResetChunked];
    for (number, cut) in cuts.into_iter().enumerate() {
        let path = format!("/{number}");
        for _ in 0..3 {
            replica.once([cut]);
            assert!(gate.get(&path).send().await.body.is_err(), "{cut:?}");
        }
        assert_eq!(gate.get(&path).send().await.expect(200).bytes(), "{}");
        let asked = replica.seen();
        assert_eq!(gate.get(&path).send().await.expect(200).bytes(), "{}");
        assert_eq!((asked, replica.seen()), (4 * (number + 1), asked), "{cut:?}");
    }
}

#[tokio::test]
async fn what_a_proxy_or_the_gateway_itself_says_is_never_kept() {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = cached(replica.address, "{ ttl: 1m }");
    for then in [Then::Reset, Then::Answer(500), Then::Answer(503), Then::Answer(403)] {
        let before = replica.seen();
        replica.once([then, then]);
        let first = gate.get("/a").send().await;
        assert_eq!(first.status, gate.get("/a").send().await.status);
        assert_eq!(replica.seen(), before + 2, "{then:?}");
    }
    // One host's answer is not another's, since services are told which was asked for.
    let plain = gate.get("/b").send().await.expect(200);
    assert_eq!(plain.header("cache-status"), "gateway;fwd=uri-miss;stored");
    let other = gate.get("/b").send_h2().await.expect(200);
    assert!(other.header("cache-status").starts_with("gateway;hit"), "the same host over HTTP/2: {other:?}");
}

/// A field that `Connection` names does not reach the service (RFC 9110 section 7.6.1), so nothing is kept as its answer to it.
#[tokio::test]
async fn what_the_service_was_not_told_is_not_kept_as_its_answer_to_that() {
    let service = echo().await;
    let gate = cached(service.address, "{}");
    let german = || gate.get("/it").header("accept-language", "de");
    let untold = german().header("connection", "Accept-Language").send().await.expect(200);
    assert_eq!(untold.bytes(), " ");
    assert_eq!(german().send().await.expect(200).bytes(), " de");
    let conditional = gate.get("/it").header("if-none-match", "*").header("connection", "if-none-match");
    assert_eq!(conditional.send().await.expect(200).bytes(), " ", "no condition either");
}
