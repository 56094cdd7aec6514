//! Callers by reference token, in front of the stubs' provider: let in, told to services, revoked, and the provider gone.

use std::time::{Duration, Instant};

use ftgo::stubs::{Stubs, service::Service};
use serde_json::json;

use crate::{
    client::ask,
    harness::{Gate, JOHN, MARY, stubs, until},
};

fn yaml(stubs: &Stubs, introspect: &str) -> String {
    let (identity, order) = (stubs.identity(), stubs.address(Service::Order));
    format!(
        r#"
providers:
  signed: {{ jwt: {{ issuer: "http://{identity}", audience: ftgo, jwks: "http://{identity}/jwks" }} }}
  references:
    introspect: {{ url: "{introspect}", client_id: gateway, client_secret: "${{NO_SUCH_SECRET:-s}}", audience: ftgo, max_age: 500ms, timeout: 400ms }}
upstreams: {{ order: {{ url: "http://{order}" }} }}
routes:
  - path: /orders/{{orderId}}
    auth: {{ providers: [signed, references], allow: claims.sub == '{JOHN}' }}
    forward: {{ to: order }}
"#
    )
}

/// A reference to what a signed token would say.
async fn reference(stubs: &Stubs, sub: &str) -> String {
    let wanted = json!({"sub": sub, "roles": ["consumer"], "scope": "orders:read", "kind": "reference"});
    let answer = ask(stubs.control(), "POST", "/tokens").json(&wanted).send().await.expect(200);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_reference_is_as_good_as_the_token_it_stands_for_until_it_is_revoked() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(&stubs, &format!("http://{}/introspect", stubs.identity())));
    until("the gateway has keys", || gate.ready()).await;
    let get = |token: &str| gate.get("/orders/99").token(token);
    let (john, mary) = (reference(&stubs, JOHN).await, reference(&stubs, MARY).await);
    get(&john).send().await.expect(200);
    let seen = stubs.recorder().counts(Service::Order).last.remove(0);
    let told =
        |name: &str| seen.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    assert_eq!(told("x-user-id").as_deref(), Some(JOHN));
    assert_eq!(told("authorization"), None);
    get(&mary).send().await.expect(403);
    get("made-up").send().await.expect(401);
    get(&stubs.token(JOHN, &["consumer"], "")).send().await.expect(200);

    let form = "application/x-www-form-urlencoded";
    let revoke = ask(stubs.identity(), "POST", "/revoke").header("content-type", form);
    revoke.body(format!("token={john}")).send().await.expect(200);
    let revoked = Instant::now();
    while get(&john).send().await.status == 200 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "the bound is half a second");
    }
    get(&john).send().await.expect(401);
}

#[tokio::test]
async fn without_the_provider_nobody_new_is_let_in() {
    let stubs = stubs();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gate = Gate::start(&yaml(&stubs, &format!("http://{nobody}/introspect")));
    let refused = gate.get("/orders/99").token("opaque").send().await.expect(503);
    assert_eq!((refused.code().as_str(), refused.header("retry-after")), ("auth_unavailable", "1"));
    assert_eq!(stubs.recorder().counts(Service::Order).total, 0);
}
