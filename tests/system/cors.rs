//! Which pages of other origins may read answers: preflights, answers of services, and refusals of all kinds.

use crate::{
    client::Answer,
    harness::{Gate, until},
    wire::Scripted,
};

const APP: &str = "https://app.ftgo.example";
const EVIL: &str = "https://evil.example";
/// A service that would let everybody in.
const LAX: &str = "HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\naccess-control-allow-methods: TRACE\r\n\
                   vary: Accept\r\ncontent-length: 2\r\n\r\nok";

/// Routes with and without CORS to `service`, which says the last word where the gateway says none.
fn yaml(service: &Scripted) -> String {
    format!(
        "cors:\n  web: {{ origins: [{APP}], headers: [Authorization, X-Cart], credentials: true, expose: [X-Total] }}\n  \
         any: {{ origins: [\"*\"], methods: [GET] }}\ndefault_cors: web\n\
         limits: {{ one: {{ rate: 1/h, by: address }} }}\n\
         providers:\n  keys: {{ keys: {{ list: [{{ sha256: {sha}, id: a }}] }} }}\n\
         upstreams:\n  it: {{ url: \"http://{address}\" }}\n  gone: {{ url: \"http://127.0.0.1:9\" }}\nroutes:\n  \
         - {{ path: /it, methods: [GET, DELETE], auth: none, forward: {{ to: it }} }}\n  \
         - {{ path: /it, methods: [PUT], auth: none, cors: any, forward: {{ to: it }} }}\n  \
         - {{ path: /open, auth: none, cors: any, forward: {{ to: it }} }}\n  \
         - {{ path: /own, methods: [GET, OPTIONS], auth: none, cors: none, forward: {{ to: it }} }}\n  \
         - {{ path: /mine, methods: [POST], auth: {{ provider: keys }}, forward: {{ to: it }} }}\n  \
         - {{ path: /rare, auth: none, limits: [one], forward: {{ to: it }} }}\n  \
         - {{ path: /gone, auth: none, forward: {{ to: gone }} }}\n",
        address = service.address,
        sha = "a".repeat(64),
    )
}

async fn gate() -> (Scripted, Gate) {
    let service = Scripted::start(LAX).await;
    let gate = Gate::start(&yaml(&service));
    until("the gateway is ready", || gate.ready()).await;
    (service, gate)
}

async fn preflight(gate: &Gate, path: &str, origin: &str, method: &str, fields: &str) -> Answer {
    let ask = gate.ask("OPTIONS", path).header("origin", origin);
    let ask = ask.header("access-control-request-method", method);
    let ask = if fields.is_empty() { ask } else { ask.header("access-control-request-headers", fields) };
    ask.send().await
}

/// All that an answer says of CORS, in the order of names.
fn said(answer: &Answer) -> Vec<String> {
    let own = answer.headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let mut said: Vec<String> = own
        .map(|(name, value)| {
            format!("{}: {}", &name.as_str()["access-control-".len()..], value.to_str().unwrap())
        })
        .collect();
    said.sort();
    said
}

fn vary(answer: &Answer) -> String {
    let all: Vec<&str> = answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    all.join(", ").to_lowercase()
}

#[tokio::test]
async fn a_preflight_is_answered_before_tokens_and_no_service_hears_of_it() {
    let (service, gate) = gate().await;
    let allowed = |method: &str| {
        [
            "allow-credentials: true".to_owned(),
            "allow-headers: authorization, x-cart".to_owned(),
            format!("allow-methods: {method}"),
            format!("allow-origin: {APP}"),
            "max-age: 600".to_owned(),
        ]
    };
    for (path, method) in
        [("/it", "DELETE"), ("/it", "HEAD"), ("/mine", "POST"), ("/rare", "GET"), ("/rare", "GET")]
    {
        let answer = preflight(&gate, path, APP, method, "authorization,x-cart").await.expect(204);
        assert_eq!(said(&answer), allowed(method), "{path}");
        assert_eq!(vary(&answer), "origin, access-control-request-method, access-control-request-headers");
        assert!(answer.bytes().is_empty() && answer.header("x-request-id").len() == 32);
    }
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn a_preflight_for_what_may_not_be_is_told_nothing() {
    let (service, gate) = gate().await;
    for (path, origin, method, fields, status) in [
        ("/it", EVIL, "DELETE", "", 204),
        ("/it", "null", "DELETE", "", 204),
        ("/it", "https://app.ftgo.example.evil.example", "DELETE", "", 204),
        ("/it", APP, "DELETE", "x-other", 204),
        ("/it", APP, "PATCH", "", 204),
        ("/it", APP, "not a method", "", 204),
        ("/it", APP, "PUT", "", 204), // its route lets everybody GET
    ] {
        let answer = preflight(&gate, path, origin, method, fields).await.expect(status);
        assert_eq!(said(&answer), Vec::<String>::new(), "{origin} {method} {fields}");
        assert!(vary(&answer).starts_with("origin, access-control-request-method"), "{answer:?}");
    }
    preflight(&gate, "/nothing", APP, "GET", "").await.expect(404);
    assert!(service.heads().is_empty());
}

#[tokio::test]
async fn options_that_is_no_preflight_is_answered_as_ever() {
    let (_service, gate) = gate().await;
    for ask in [
        gate.ask("OPTIONS", "/it"),
        gate.ask("OPTIONS", "/it").header("origin", APP),
        gate.ask("OPTIONS", "/it").header("access-control-request-method", "GET"),
    ] {
        let answer = ask.send().await.expect(204);
        assert_eq!((answer.header("allow"), said(&answer).len()), ("DELETE, GET, HEAD, OPTIONS, PUT", 0));
    }
}

#[tokio::test]
async fn a_route_without_cors_leaves_it_to_its_service() {
    let (service, gate) = gate().await;
    let answer = preflight(&gate, "/own", EVIL, "GET", "").await.expect(200);
    assert_eq!(said(&answer), ["allow-methods: TRACE", "allow-origin: *"]);
    assert!(service.heads()[0].starts_with("options /own "));
    assert_eq!(vary(&answer), "accept");
}

#[tokio::test]
async fn an_answer_says_what_the_gateway_says_and_not_what_the_service_does() {
    let (_service, gate) = gate().await;
    let exposed = "expose-headers: x-total, composition-status, proxy-status, ratelimit, ratelimit-policy, \
                   retry-after, x-request-id";
    let read = ["allow-credentials: true".to_owned(), format!("allow-origin: {APP}"), exposed.to_owned()];
    for answer in [
        gate.get("/it").header("origin", APP).send().await,
        gate.get("/it").header("origin", APP).send_h2().await,
        gate.ask("HEAD", "/it").header("origin", APP).send_h2().await,
    ] {
        let answer = answer.expect(200);
        assert_eq!((said(&answer).as_slice(), vary(&answer).as_str()), (read.as_slice(), "accept, origin"));
    }
    for ask in [
        gate.get("/it"),
        gate.get("/it").header("origin", EVIL),
        gate.get("/it").header("origin", "null"),
        gate.get("/it").header("origin", APP).header("origin", EVIL),
    ] {
        let answer = ask.send().await.expect(200);
        assert_eq!((said(&answer).len(), vary(&answer).as_str()), (0, "accept, origin"), "{answer:?}");
    }
    for ask in [gate.get("/open"), gate.get("/open").header("origin", EVIL)] {
        let answer = ask.send().await.expect(200);
        assert_eq!((said(&answer)[0].as_str(), vary(&answer).as_str()), ("allow-origin: *", "accept"));
        assert!(!said(&answer).concat().contains("credentials"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_page_can_read_why_it_was_refused() {
    let (_service, gate) = gate().await;
    gate.get("/rare").send().await.expect(200);
    for (method, path, status, code) in [
        ("POST", "/mine", 401, "unauthenticated"),
        ("GET", "/rare", 429, "rate_limited"),
        ("GET", "/gone", 502, "upstream_failed"),
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/it", 405, "method_not_allowed"),
        ("GET", "/it/../it", 400, "bad_path"),
    ] {
        let answer = gate.ask(method, path).header("origin", APP).send().await.expect(status);
        assert_eq!(
            (answer.code().as_str(), answer.header("access-control-allow-origin")),
            (code, APP),
            "{path}"
        );
        assert_eq!(
            (answer.header("access-control-allow-credentials"), vary(&answer).as_str()),
            ("true", "origin")
        );
        let other = gate.ask(method, path).header("origin", EVIL).send().await.expect(status);
        assert_eq!((said(&other).len(), vary(&other).as_str()), (0, "origin"));
    }
}
