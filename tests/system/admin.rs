//! What operators are told: whether it lives, whether it is ready, how it does.

use std::time::{Duration, Instant};

use ftgo::stubs::backend::Backend;
use serde_json::json;

use crate::harness::{Ftgo, Gate, JOHN, stubs, until, web_yaml};

#[tokio::test]
async fn a_gateway_that_runs_is_alive_and_ready() {
    let ftgo = Ftgo::start().await;
    assert_eq!(ftgo.gate.admin("/healthz").send().await.expect(200).json()["status"], "alive");
    assert_eq!(ftgo.gate.admin("/readyz").send().await.expect(200).json()["status"], "ready");
}

#[tokio::test]
async fn it_is_not_ready_before_it_has_keys_and_becomes_ready_by_itself() {
    let stubs = stubs();
    stubs.faults().set(Backend::Identity, json!({"fault": "refuse"})).await.unwrap();
    let gate = Gate::of(&web_yaml(&stubs));
    assert_eq!(gate.admin("/healthz").send().await.expect(200).json()["status"], "alive");
    let waiting = gate.admin("/readyz").send().await.expect(503);
    let told = json!({"status": "starting", "reasons": ["provider `ftgo` has no keys yet"]});
    assert_eq!(waiting.json(), told);
    gate.get("/restaurants").send().await.expect(200);
    let token = stubs.token(JOHN, &["consumer"], "orders:read");
    let refused = gate.get("/orders/99").token(&token).send().await.expect(503);
    assert_eq!(refused.code(), "auth_unavailable");
    assert!(!refused.header("retry-after").is_empty());

    stubs.faults().heal(Backend::Identity).await;
    until("the keys are fetched", || gate.ready()).await;
    gate.admin("/readyz").send().await.expect(200);
    gate.get("/orders/99").token(&token).send().await.expect(200);
}

/// Nobody answers on the port of DNS here, so no address is ever found.
#[tokio::test]
async fn it_is_not_ready_while_no_endpoint_of_an_upstream_has_been_found() {
    let gate = Gate::start(
        "upstreams: { kitchen: { dns: { name: kitchen.example, port: 80, server: \"127.0.0.1:1\", timeout: 100ms } } }\n\
         routes: [{ path: /tickets, auth: none, forward: { to: kitchen } }]\n",
    );
    let waiting = gate.admin("/readyz").send().await.expect(503);
    let told = json!({"status": "starting", "reasons": ["upstream `kitchen`: no endpoint found"]});
    assert_eq!(waiting.json(), told);
    assert!(!gate.ready());
    assert_eq!(gate.get("/tickets").send().await.expect(502).code(), "upstream_failed");
}

#[tokio::test]
async fn a_token_of_a_new_key_is_soon_good_and_one_of_the_old_key_still() {
    let stubs = stubs();
    let jwks = format!("jwks: http://{}/jwks", stubs.identity());
    let gate = Gate::of(&web_yaml(&stubs).replace(&jwks, &format!("{jwks}\n      cooldown: 50ms")));
    until("the gateway has keys", || gate.ready()).await;
    let old = stubs.token(JOHN, &["consumer"], "orders:read");
    stubs.tokens().rotate();
    let new = stubs.token(JOHN, &["consumer"], "orders:read");
    let rotated = Instant::now();
    while gate.get("/orders/99").token(&new).send().await.status != 200 {
        assert!(rotated.elapsed() < Duration::from_secs(2), "the new key is not known yet");
    }
    gate.get("/orders/99").token(&old).send().await.expect(200);
}

#[tokio::test]
async fn metrics_count_requests_and_calls_by_what_is_in_the_configuration() {
    let ftgo = Ftgo::start().await;
    ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    ftgo.get("/orders/99").send().await.expect(401);
    ftgo.get("/nowhere").send().await.expect(404);
    let metrics = ftgo.gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(metrics.bytes().to_vec()).unwrap();
    for line in [
        r#"gateway_requests_total{route="GET /orders/{orderId}",status="2xx"} 1"#,
        r#"gateway_requests_total{route="GET /orders/{orderId}",status="4xx"} 1"#,
        r#"gateway_requests_total{route="(none)",status="4xx"} 1"#,
        r#"gateway_request_duration_seconds_count{route="GET /orders/{orderId}"} 2"#,
        r#"gateway_upstream_calls_total{upstream="order",outcome="ok"} 1"#,
        r#"gateway_upstream_in_flight{upstream="order"} 0"#,
        r#"gateway_upstream_latency_seconds_count{upstream="kitchen"} 1"#,
        "gateway_connections_total 3",
        "gateway_config_reloads_total 0",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains(JOHN), "what callers send is no label");
}
