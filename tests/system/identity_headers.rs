//! Who a service believes the caller to be: what the gateway says, whatever the client said.

use ftgo::stubs::{recorder::Seen, service::Service};

use crate::{
    client::ask,
    harness::{Ftgo, Gate, JOHN, stubs, until},
    wire::exchange,
};

/// Every spelling of the gateway's own fields that some server reads as one of them.
const SPELLINGS: [&str; 17] = [
    "X-User-Id",
    "x-user-id",
    "X_User_Id",
    "X-User_Id",
    "X-User-Roles",
    "x_user_roles",
    "X-Request-Id",
    "x_request_id",
    "X-Request-Timeout-Ms",
    "X_Request_Timeout_Ms",
    "X-Forwarded-For",
    "X_Forwarded_For",
    "X_Forwarded-Host",
    "x-forwarded_proto",
    "X-Forwarded-Proto",
    "Forwarded",
    "X_Forwarded_Port",
];

/// Claims to be someone else in every way, and asks for our own fields to be dropped.
async fn pretend(ftgo: &Ftgo, method: &str, path: &str, token: &str) -> String {
    let said: String = SPELLINGS.iter().map(|name| format!("{name}: 31337\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: ftgo.example\r\n{said}authorization: Bearer {token}\r\n\
         connection: close, x-user-id, X-User-Roles, x-request-id, x-request-timeout-ms, authorization\r\n\
         content-length: 0\r\n\r\n"
    );
    exchange(ftgo.gate.address(), &request).await
}

fn values<'a>(seen: &'a Seen, name: &str) -> Vec<&'a str> {
    seen.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
}

/// What came to the service last, which must know nothing of the pretence.
fn last(ftgo: &Ftgo, service: Service) -> Seen {
    let seen = ftgo.stubs.recorder().counts(service).last.remove(0);
    let told = |value: &str| seen.headers.iter().any(|(name, said)| name != "host" && said.contains(value));
    assert!(!told("31337"), "{:?}", seen.headers);
    assert!(seen.headers.iter().all(|(name, _)| !name.contains('_')), "{:?}", seen.headers);
    assert_eq!(values(&seen, "x-request-id").len(), 1);
    assert_eq!(values(&seen, "x-request-timeout-ms").len(), 1);
    seen
}

#[tokio::test]
async fn a_composed_call_tells_each_service_who_the_token_says_it_is() {
    let ftgo = Ftgo::start().await;
    let answer = pretend(&ftgo, "GET", "/orders/99", &ftgo.consumer(JOHN)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for service in [Service::Order, Service::Kitchen, Service::Delivery, Service::Accounting] {
        let seen = last(&ftgo, service);
        assert_eq!(values(&seen, "x-user-id"), [JOHN]);
        assert_eq!(values(&seen, "x-user-roles"), ["consumer"]);
        assert!(values(&seen, "authorization").is_empty());
        let budget: u64 = values(&seen, "x-request-timeout-ms")[0].parse().unwrap();
        assert!((1..=1_500).contains(&budget), "{budget}");
    }
}

#[tokio::test]
async fn a_forwarded_call_tells_the_service_who_the_token_says_it_is() {
    let ftgo = Ftgo::start().await;
    let answer = pretend(&ftgo, "POST", "/orders/99/cancel", &ftgo.consumer(JOHN)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = last(&ftgo, Service::Order);
    assert_eq!((seen.method.as_str(), values(&seen, "x-user-id")), ("POST", vec![JOHN]));
    assert_eq!(values(&seen, "x-user-roles"), ["consumer"]);
}

#[tokio::test]
async fn a_public_route_tells_the_service_of_nobody() {
    let ftgo = Ftgo::start().await;
    pretend(&ftgo, "GET", "/restaurants/1", &ftgo.consumer(JOHN)).await;
    let seen = last(&ftgo, Service::Restaurant);
    assert!(values(&seen, "x-user-id").is_empty() && values(&seen, "x-user-roles").is_empty());
    assert!(values(&seen, "authorization").is_empty());
}

#[tokio::test]
async fn the_request_id_is_the_same_for_client_and_services_and_new_each_time() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let first = ftgo.get("/orders/99").token(&token).send().await.expect(200);
    for service in [Service::Order, Service::Kitchen, Service::Delivery, Service::Accounting] {
        assert_eq!(values(&last(&ftgo, service), "x-request-id"), [first.header("x-request-id")]);
    }
    let second = ftgo.get("/orders/99").token(&token).send().await.expect(200);
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn a_valid_trace_is_continued_and_a_broken_one_begun_anew() {
    let ftgo = Ftgo::start().await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let valid = format!("00-{trace}-b7ad6b7169203331-01");
    for (sent, continued) in [(valid.as_str(), true), ("00-none-of-it-01", false)] {
        let asked = ftgo.get("/restaurants/1").header("cache-control", "no-store"); // from the service each time
        asked.header("traceparent", sent).send().await.expect(200);
        let seen = last(&ftgo, Service::Restaurant);
        let told = values(&seen, "traceparent");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].split('-').nth(1) == Some(trace), continued, "{told:?}");
        assert_ne!(told[0], sent);
    }
}

#[tokio::test]
async fn claims_are_told_in_fields_of_ones_own_and_clients_cannot_say_them() {
    let stubs = stubs();
    let (identity, order) = (stubs.identity(), stubs.address(Service::Order));
    let gate = Gate::start(&format!(
        r#"
identity: {{ headers: {{ X-Tenant: claims.org.tenant, X-Level: claims.level }} }}
providers:
  ftgo: {{ jwt: {{ issuer: "http://{identity}", audience: ftgo, jwks: "http://{identity}/jwks" }} }}
upstreams: {{ order: {{ url: "http://{order}" }} }}
routes:
  - path: /orders/{{orderId}}
    auth: {{ provider: ftgo, optional: true }}
    forward: {{ to: order }}
  - path: /composed
    auth: {{ provider: ftgo }}
    compose: {{ one: {{ get: order/orders/99 }} }}
"#
    ));
    until("the gateway has keys", || gate.ready()).await;
    let wanted = serde_json::json!({"sub": JOHN, "claims": {"org": {"tenant": "acme"}}});
    let token = ask(stubs.control(), "POST", "/tokens").json(&wanted).send().await.expect(200).json();
    let token = format!("authorization: Bearer {}\r\n", token["access_token"].as_str().unwrap());
    for (path, authorization, tenant) in [
        ("/orders/99", token.as_str(), vec!["acme"]),
        ("/orders/99", "", vec![]),
        ("/composed", &token, vec!["acme"]),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nx-tenant: evil\r\nX_Tenant: evil\r\nX-TENANT: evil\r\nx-level: evil\r\n\
             X_LEVEL: evil\r\n{authorization}connection: close, x-tenant, X-Level\r\n\r\n"
        );
        let answer = exchange(gate.address(), &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let seen = stubs.recorder().counts(Service::Order).last.remove(0);
        assert_eq!(values(&seen, "x-tenant"), tenant, "{path}");
        assert!(!seen.headers.iter().any(|(_, value)| value == "evil"), "{:?}", seen.headers);
    }
}
