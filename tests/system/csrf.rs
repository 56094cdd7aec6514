//! What a page of another site sends reaches no service whose route says `csrf: true`.

use crate::{client::Ask, harness::Gate, wire::Scripted};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const APP: &str = "https://app.ftgo.example";

async fn gate() -> (Scripted, Gate) {
    let service = Scripted::start(OK).await;
    let gate = Gate::start(&format!(
        "cors:\n  web: {{ origins: [{APP}], credentials: true }}\n  any: {{ origins: [\"*\"] }}\n\
         limits: {{ one: {{ rate: 1/h, by: address }} }}\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
         - {{ path: /cart, methods: [GET, POST, DELETE], auth: none, csrf: true, cors: web, forward: {{ to: it }} }}\n  \
         - {{ path: /any, methods: [POST], auth: none, csrf: true, cors: any, forward: {{ to: it }} }}\n  \
         - {{ path: /once, methods: [POST], auth: none, csrf: true, limits: [one], forward: {{ to: it }} }}\n  \
         - {{ path: /open, methods: [POST], auth: none, forward: {{ to: it }} }}\n",
        service.address
    ));
    (service, gate)
}

fn with(ask: Ask, fields: &[(&str, &str)]) -> Ask {
    fields.iter().fold(ask.header("cookie", "session=1"), |ask, (name, value)| ask.header(name, value))
}

#[tokio::test]
async fn what_another_site_sends_is_refused_and_what_the_site_itself_sends_is_not() {
    let (service, gate) = gate().await;
    let refused: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("referer", "https://evil.example/form")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
    ];
    for fields in refused {
        for path in ["/cart", "/any"] {
            let answer = with(gate.ask("POST", path), fields).send().await.expect(403);
            assert_eq!(answer.code(), "cross_site", "{fields:?}");
            let answer = with(gate.ask("POST", path), fields).send_h2().await.expect(403);
            assert_eq!(answer.code(), "cross_site", "{fields:?}");
        }
    }
    assert!(service.heads().is_empty());
    let let_in: [&[(&str, &str)]; 6] = [
        &[("sec-fetch-site", "same-origin"), ("origin", "https://ftgo.example")],
        &[("sec-fetch-site", "none")],
        &[("origin", "https://ftgo.example")],
        &[("referer", "https://ftgo.example/cart")],
        &[("sec-fetch-site", "same-site"), ("origin", APP)],
        &[],
    ];
    for fields in let_in {
        with(gate.ask("POST", "/cart"), fields).send().await.expect(200);
        with(gate.ask("DELETE", "/cart"), fields).send_h2().await.expect(200);
    }
}

#[tokio::test]
async fn everybody_may_read_is_not_everybody_may_write() {
    let (_service, gate) = gate().await;
    let answer = with(gate.ask("POST", "/any"), &[("origin", APP)]).send().await.expect(403);
    assert_eq!((answer.code().as_str(), answer.header("access-control-allow-origin")), ("cross_site", "*"));
}

#[tokio::test]
async fn reading_is_everybodys_and_a_route_that_says_nothing_takes_what_comes() {
    let (_service, gate) = gate().await;
    let cross = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    with(gate.get("/cart"), &cross).send().await.expect(200);
    with(gate.ask("HEAD", "/cart"), &cross).send_h2().await.expect(200);
    with(gate.ask("POST", "/open"), &cross).send().await.expect(200);
}

#[tokio::test]
async fn what_its_sender_did_not_mean_costs_the_sender_nothing() {
    let (_service, gate) = gate().await;
    for _ in 0..3 {
        with(gate.ask("POST", "/once"), &[("sec-fetch-site", "cross-site")]).send().await.expect(403);
    }
    gate.ask("POST", "/once").send().await.expect(200);
}
