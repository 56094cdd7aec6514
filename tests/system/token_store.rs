//! Reference tokens that a store in Redis exchanges for value tokens: forwarded, revoked, kept alive by use, and the store gone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ftgo::stubs::{Stubs, service::Service};
use futures_util::future::join_all;
use gateway::{
    body::{Body, Request, Response},
    handler::{Admitted, Answer, Handler, Handlers, Services, Unmade},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    client::ask,
    harness::{Gate, JOHN, after_listen, stubs, until},
    redis::Redis,
};

/// Says who the caller is, what services would be sent of the token, and by when all that it opens ends.
struct Who;

impl Handler for Who {
    fn answer<'a>(&'a self, _request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        let principal = admitted.caller.principal.as_ref().expect("there is no route without a rule");
        let token =
            principal.authorization.as_ref().and_then(|field| field.to_str().ok()).unwrap_or_default();
        let told = format!("{} {token}", principal.sub);
        let mut response = Response::new(Body::full(told));
        let expires = principal.expires.expect("every token here ends");
        response.headers_mut().insert("ends", expires.into());
        Box::pin(async { Ok(response) })
    }
}

fn make(_: &Services) -> Result<Arc<dyn Handler>, Unmade> {
    Ok(Arc::new(Who))
}

/// The stubs, a store, and a gateway over both.
struct Scene {
    stubs: Stubs,
    redis: Redis,
    gate: Gate,
}

async fn scene(times: &str) -> Scene {
    let (stubs, redis) = (stubs(), Redis::start().await);
    let (identity, order) = (stubs.identity(), stubs.address(Service::Order));
    let store = redis.url();
    let gate = Gate::with(
        &after_listen(&format!(
            r#"
providers:
  sessions:
    token_store:
      url: "{store}"
      jwt: {{ issuer: "http://{identity}", audience: ftgo, jwks: "http://{identity}/jwks" }}
{times}
upstreams: {{ order: {{ url: "http://{order}" }} }}
routes:
  - path: /orders/{{orderId}}
    auth: {{ provider: sessions }}
    forward: {{ to: order, token: true }}
  - path: /quiet/{{orderId}}
    auth: {{ provider: sessions }}
    forward: {{ to: order, path: "/orders/{{orderId}}" }}
  - {{ path: /who, auth: {{ provider: sessions }}, handle: who }}
"#
        )),
        Handlers::default().with("who", make),
    );
    until("the gateway has keys", || gate.ready()).await;
    Scene { stubs, redis, gate }
}

/// The key of a token, as whoever logs people in would make it.
fn key(token: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("token:{digits}")
}

impl Scene {
    /// Lets a reference token stand for a value for so many milliseconds.
    async fn put(&self, token: &str, value: &str, millis: u32) {
        self.redis.run(&["SET", &key(token), value, "PX", &millis.to_string()]).await;
    }

    /// A value token with these claims besides the usual ones.
    async fn value(&self, sub: &str, claims: Value) -> String {
        let wanted = json!({"sub": sub, "roles": ["consumer"], "scope": "orders:read", "claims": claims});
        let answer = ask(self.stubs.control(), "POST", "/tokens").json(&wanted).send().await.expect(200);
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    async fn left(&self, token: &str) -> i64 {
        self.redis.run(&["PTTL", &key(token)]).await.parse().unwrap()
    }

    fn who(&self, token: &str) -> crate::client::Ask {
        self.gate.get("/who").token(token)
    }
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn services_get_the_value_token_and_never_the_reference() {
    let scene = scene("").await;
    let jwt = scene.stubs.token(JOHN, &["consumer"], "orders:read");
    scene.put("reference-1", &jwt, 60_000).await;
    for (path, sent) in [("/orders/99", Some(format!("Bearer {jwt}"))), ("/quiet/99", None)] {
        scene.gate.get(path).token("reference-1").send().await.expect(200);
        let seen = scene.stubs.recorder().counts(Service::Order).last.remove(0);
        let field =
            |name: &str| seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        assert_eq!((field("authorization"), field("x-user-id").as_deref()), (sent, Some(JOHN)));
        assert!(!format!("{:?}", seen.headers).contains("reference-1"), "{:?}", seen.headers);
    }
    // What stands in the store is no token to come with, and neither is what it stands for.
    for other in ["made-up", &jwt, key("reference-1").strip_prefix("token:").unwrap()] {
        let refused = scene.who(other).send().await.expect(401);
        assert!(refused.header("www-authenticate").contains("invalid_token"), "{refused:?}");
    }
}

#[tokio::test]
async fn what_is_no_good_value_token_lets_nobody_in() {
    let scene = scene("").await;
    let good = scene.stubs.token(JOHN, &["consumer"], "orders:read");
    let (head, _) = good.rsplit_once('.').unwrap();
    let values = [
        ("rubbish", "{\"sub\":\"1511300065921\"}".to_owned()),
        ("two-parts", head.to_owned()),
        ("no-signature", format!("{head}.")),
        ("too-long", "a".repeat(70_000)),
        ("no-text", "\u{0}\u{1}".to_owned()),
        ("expired", scene.value(JOHN, json!({"exp": now() - 1})).await),
        ("of-another-issuer", scene.value(JOHN, json!({"iss": "https://other.example"})).await),
        ("for-somebody-else", scene.value(JOHN, json!({"aud": "other"})).await),
        ("without-a-beginning", scene.value(JOHN, json!({"iat": null})).await),
        ("that-has-lived", scene.value(JOHN, json!({"iat": now() - 12 * 3_600})).await),
    ];
    for (token, value) in &values {
        scene.put(token, value, 60_000).await;
        scene.who(token).send().await.expect(401);
    }
    scene.redis.run(&["LPUSH", &key("a-list"), &good]).await;
    let refused = scene.who("a-list").send().await.expect(503);
    assert_eq!(refused.code(), "auth_unavailable");
    scene.put("good", &good, 60_000).await;
    scene.who("good").send().await.expect(200);
}

#[tokio::test]
async fn a_token_that_is_deleted_is_refused_within_the_bound() {
    let scene = scene("      max_age: 400ms\n      timeout: 400ms").await;
    let jwt = scene.stubs.token(JOHN, &["consumer"], "orders:read");
    scene.put("reference", &jwt, 60_000).await;
    scene.who("reference").send().await.expect(200);
    assert_eq!(scene.redis.run(&["DEL", &key("reference")]).await, "1");
    let revoked = Instant::now();
    while scene.who("reference").send().await.status == 200 {}
    let took = revoked.elapsed();
    println!("a deleted token is refused after {took:?}, and 400ms at most");
    assert!(took < Duration::from_millis(600), "{took:?}");
    assert_eq!(scene.left("reference").await, -2, "an extension brings nothing back");
}

#[tokio::test]
async fn a_token_in_use_lives_on_and_the_store_is_asked_and_written_to_once_in_its_bound() {
    let scene = scene("      max_age: 500ms\n      idle: 20s").await;
    for n in 0..10 {
        let jwt = scene.stubs.token(&format!("user-{n}"), &[], "");
        scene.put(&format!("reference-{n}"), &jwt, 3_000).await;
    }
    let begun = Instant::now();
    let mut asked = 0_u64;
    while begun.elapsed() < Duration::from_secs(2) {
        let answers = join_all((0..10).map(|n| scene.who(&format!("reference-{n}")).send())).await;
        assert!(answers.iter().all(|answer| answer.status == 200));
        asked += 10;
    }
    let rounds = begun.elapsed().as_millis() as u64 / 500 + 1;
    let (reads, writes) = (scene.redis.calls("getrange").await, scene.redis.calls("pexpireat").await);
    println!("{asked} requests of 10 tokens in {:?}: {reads} reads, {writes} writes", begun.elapsed());
    assert!(reads <= 10 * rounds && writes <= reads && asked > reads, "{reads} reads, {writes} writes");
    for n in 0..10 {
        let token = format!("reference-{n}");
        while scene.left(&token).await < 15_000 {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is never extended");
        }
        assert!(scene.left(&token).await <= 20_500);
    }
}

#[tokio::test]
async fn no_life_is_longer_than_the_value_token_allows_and_none_is_shortened() {
    let scene = scene("      idle: 1h\n      max_life: 2h").await;
    let oldest = now() - 7_190;
    let old = scene.value("old", json!({"iat": oldest})).await; // ten seconds of its two hours are left
    let short = scene.value("short", json!({"exp": now() + 8})).await;
    let long = scene.value("long", json!({})).await;
    for (token, value, millis) in [("old", &old, 3_000), ("short", &short, 3_000), ("long", &long, 7_000_000)]
    {
        scene.put(token, value, millis).await;
        let answer = scene.who(token).send().await.expect(200);
        if token == "old" {
            let end = (oldest + 7_200).to_string();
            assert_eq!(answer.header("ends"), end, "streams and sockets end with the life");
        }
    }
    let begun = Instant::now();
    for (token, least, most) in [("old", 4_000, 10_000), ("short", 4_000, 8_000)] {
        while scene.left(token).await < least {
            assert!(begun.elapsed() < Duration::from_secs(3), "{token} is never extended");
        }
        assert!(scene.left(token).await <= most, "{token}");
    }
    assert!(scene.left("long").await > 6_000_000, "what ends later ends no sooner");
    // Whatever the store says of its key: what has lived is over.
    scene.redis.run(&["PERSIST", &key("short")]).await;
    while scene.who("short").send().await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it has no end");
    }
}

#[tokio::test]
async fn without_the_store_nobody_new_is_let_in_and_nobody_stays_for_longer_than_the_bound() {
    let mut scene = scene("      max_age: 1s").await;
    let jwt = scene.stubs.token(JOHN, &["consumer"], "orders:read");
    for token in ["in-use", "new"] {
        scene.put(token, &jwt, 60_000).await;
    }
    scene.who("in-use").send().await.expect(200);
    let seen = Instant::now();
    scene.redis.kill();
    let refused = scene.who("new").send().await.expect(503);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("auth_unavailable", "1"));
    while scene.who("in-use").send().await.status == 200 {}
    let stayed = seen.elapsed();
    scene.who("in-use").send().await.expect(503);
    scene.redis.start_again().await;
    scene.put("new", &jwt, 60_000).await;
    let back = Instant::now();
    while scene.who("new").send().await.status == 503 {
        assert!(back.elapsed() < Duration::from_secs(5), "it never comes back");
    }
    scene.who("new").send().await.expect(200);
    println!("without the store a token stays for {stayed:?}, 1 s at most; back after {:?}", back.elapsed());
    assert!(stayed < Duration::from_millis(1_300), "{stayed:?}");
    scene.who("in-use").send().await.expect(401); // it is not there any more
}

/// Milliseconds for which the store stands still: for a moment, and for longer than anybody waits.
const STILL: [u64; 2] = [200, 4_500];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_taken_for_another_while_the_store_stands_still() {
    let scene = scene("      max_age: 2s\n      timeout: 2s").await;
    let mut told = Vec::new();
    for n in 0..100 {
        let jwt = scene.stubs.token(&format!("user-{n}"), &[], "");
        for still in STILL {
            scene.put(&format!("{still}-{n}"), &jwt, 60_000).await;
        }
        told.push(format!("user-{n} Bearer {jwt}"));
    }
    let mut sum = (0, 0);
    for still in STILL {
        let before = scene.redis.calls("getrange").await;
        scene.redis.hang();
        let asking = join_all((0..2_000).map(|n| scene.who(&format!("{still}-{}", n % 100)).send()));
        let going_on = async {
            sleep(Duration::from_millis(still)).await;
            scene.redis.go_on();
        };
        let (answers, ()) = tokio::join!(asking, going_on);
        let (mut right, mut unavailable) = (0, 0);
        for (n, answer) in answers.iter().enumerate() {
            match answer.status {
                200 => {
                    assert_eq!(String::from_utf8_lossy(answer.bytes()), told[n % 100]);
                    right += 1;
                }
                _ => {
                    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
                    unavailable += 1;
                }
            }
        }
        let reads = scene.redis.calls("getrange").await - before;
        println!(
            "2,000 at once, the store still for {still} ms: {right} right, {unavailable} unavailable, {reads} reads"
        );
        sum = (sum.0 + right, sum.1 + unavailable);
        while scene.who(&format!("{still}-0")).send().await.status != 200 {}
    }
    assert!(sum.0 >= 1_000 && sum.1 >= 1_000, "{sum:?}");
}
