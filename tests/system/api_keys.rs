//! Callers by API key: what their plan offers, how much of it, and that their key goes no further.

use ftgo::stubs::{recorder::Seen, service::Service};

use crate::{
    harness::{Gate, JOHN, TempFile, stubs, until},
    wire::exchange,
};

const KEY: &str = "acme-key-7c9e6679f3b14d3a";

/// The hash as an operator would make it.
fn hash(key: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_file() -> String {
    format!(
        "keys:\n  - {{ sha256: {:?}, id: acme, scopes: [\"restaurants:read\"], plan: free }}\n",
        hash(KEY)
    )
}

fn yaml(stubs: &ftgo::stubs::Stubs, keys: &str) -> String {
    let (restaurant, order) = (stubs.address(Service::Restaurant), stubs.address(Service::Order));
    let identity = stubs.identity();
    format!(
        r#"
providers:
  partners: {{ keys: {{ file: "{keys}" }} }}
  ftgo: {{ jwt: {{ issuer: "http://{identity}", audience: ftgo, jwks: "http://{identity}/jwks" }} }}
upstreams:
  restaurant: {{ url: "http://{restaurant}" }}
  order: {{ url: "http://{order}" }}
limits:
  daily: {{ quota: 3/day, by: principal }}
  mine: {{ rate: 5/h, by: principal }}
  all: {{ rate: 9/h, by: address }}
plans:
  free: {{ limits: [daily], routes: ["/restaurants", "/open"] }}
routes:
  - path: /restaurants
    auth: {{ providers: [partners, ftgo], scopes: ["restaurants:read"] }}
    limits: [mine, all]
    forward: {{ to: restaurant, token: true }}
  - path: /orders/{{orderId}}
    auth: {{ providers: [ftgo, partners] }}
    forward: {{ to: order }}
  - path: /open
    auth: none
    forward: {{ to: restaurant, path: /restaurants }}
"#
    )
}

fn fields(seen: &Seen) -> Vec<&str> {
    seen.headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_plan_says_what_a_key_opens_and_how_often() {
    let (stubs, keys) = (stubs(), TempFile::new("keys.yaml", &key_file()));
    let gate = Gate::start(&yaml(&stubs, keys.name()));
    let ask = |path: &str| gate.get(path).header("x-api-key", KEY);
    ask("/orders/99").send().await.expect(403);
    for _ in 0..3 {
        ask("/restaurants").send().await.expect(200);
    }
    let refused = ask("/restaurants").send().await.expect(429);
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=86_400).contains(&seconds), "until the day is over: {seconds}");
    assert_eq!(stubs.recorder().counts(Service::Order).total, 0);
}

#[tokio::test]
async fn what_a_plan_refuses_counts_at_no_limit_of_the_route_and_clients_are_told_of_both() {
    let (stubs, keys) = (stubs(), TempFile::new("keys.yaml", &key_file()));
    let gate = Gate::start(&yaml(&stubs, keys.name()));
    until("the gateway has keys", || gate.ready()).await;
    let of_plan = || gate.get("/restaurants").header("x-api-key", KEY);
    let answer = of_plan().send().await.expect(200);
    let policy = r#""all";q=9;w=3600, "mine";q=5;w=3600, "daily";q=3;w=86400"#;
    assert_eq!(answer.header("ratelimit-policy"), policy);
    let standing = answer.header("ratelimit").to_owned();
    assert!(standing.starts_with(r#""all";r=8;t=400, "mine";r=4;t=720, "daily";r=2;t="#), "{standing}");
    for expected in [200, 200, 429, 429, 429, 429, 429, 429] {
        of_plan().send().await.expect(expected);
    }
    // The same principal, by a token and so without the plan: three of each were counted, and no more.
    let token = stubs.token("acme", &[], "restaurants:read");
    let answer = gate.get("/restaurants").token(&token).send().await.expect(200);
    assert_eq!(answer.header("ratelimit-policy"), r#""all";q=9;w=3600, "mine";q=5;w=3600"#);
    let standing = answer.header("ratelimit").to_owned();
    assert!(standing.contains(r#""all";r=5;"#) && standing.contains(r#""mine";r=1;"#), "{standing}");
}

#[tokio::test]
async fn a_key_in_any_spelling_goes_no_further_and_one_in_the_query_is_none() {
    let (stubs, keys) = (stubs(), TempFile::new("keys.yaml", &key_file()));
    let gate = Gate::start(&yaml(&stubs, keys.name()));
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\nX_Api_Key: {KEY}\r\nX-Api_Key: {KEY}\r\n\
             connection: close, x-user-id\r\n\r\n"
        )
    };
    for path in ["/restaurants", "/open"] {
        let answer = exchange(gate.address(), &request(path)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = stubs.recorder().counts(Service::Restaurant).last.remove(0);
        let told = |field: &&str| field.replace('_', "-") == "x-api-key" || *field == "authorization";
        assert!(!fields(&seen).iter().any(told), "{:?}", seen.headers);
        assert_eq!(fields(&seen).contains(&"x-user-id"), path == "/restaurants");
    }
    gate.get(&format!("/restaurants?x-api-key={KEY}")).send().await.expect(401);
}

#[tokio::test]
async fn the_first_provider_whose_credential_is_there_decides() {
    let (stubs, keys) = (stubs(), TempFile::new("keys.yaml", &key_file()));
    let gate = Gate::start(&yaml(&stubs, keys.name()));
    until("the gateway has keys", || gate.ready()).await;
    let token = stubs.token(JOHN, &["consumer"], "restaurants:read");
    let ask = || gate.get("/restaurants");
    ask().token(&token).send().await.expect(200);
    assert_eq!(fields_of(&stubs, "authorization").len(), 1, "the route asks for the token");
    ask().token(&token).header("x-api-key", KEY).send().await.expect(200);
    assert_eq!(fields_of(&stubs, "x-user-id"), ["acme"]);
    ask().token(&token).header("x-api-key", "wrong").send().await.expect(401);
    ask().header("authorization", "Basic YTpi").send().await.expect(401);
    ask().token("opaque").send().await.expect(401);
    // The other way round: the token decides, good or bad.
    let ask = || gate.get("/orders/99").header("x-api-key", KEY);
    ask().token(&token).send().await.expect(200);
    ask().token(&format!("{token}x")).send().await.expect(401);
    ask().send().await.expect(403);
    let nobody = gate.get("/orders/99").send().await.expect(401);
    let told: Vec<_> = nobody.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(told, ["Bearer realm=\"ftgo\"", "ApiKey realm=\"partners\""]);
}

fn fields_of(stubs: &ftgo::stubs::Stubs, name: &str) -> Vec<String> {
    let seen = stubs.recorder().counts(Service::Restaurant).last.remove(0);
    seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
}

#[tokio::test]
async fn what_a_plan_refuses_is_given_back_to_the_key_that_it_was_counted_under() {
    let (stubs, keys) = (stubs(), TempFile::new("keys.yaml", &key_file()));
    let by_key = yaml(&stubs, keys.name())
        .replace("mine: { rate: 5/h, by: principal }", "mine: { rate: 4/h, by: { header: X-Api-Key } }");
    let gate = Gate::start(&by_key);
    let ask = || gate.get("/restaurants").header("x-api-key", KEY);
    for _ in 0..3 {
        ask().send().await.expect(200);
    }
    for _ in 0..10 {
        let refused = ask().send().await.expect(429);
        assert!(refused.header("ratelimit").contains("\"daily\";r=0"), "refused by the plan: {refused:?}");
    }
    // Nobody without a key has got more by it.
    for expected in [401, 401, 401, 401, 429] {
        gate.get("/restaurants").send().await.expect(expected);
    }
}
