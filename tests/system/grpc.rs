//! JSON outside, gRPC inside: what reaches a service, what becomes of its statuses, and of answers that are none.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use ftgo::stubs::{Stubs, service::Service};
use http::{HeaderMap, HeaderName, Request, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    client::{Answer, connect},
    harness::{Ftgo, Gate, JOHN, TempFile, config_folder, stubs, until},
};

const CREATE: &str = "gRPC orderservice.OrderService/createOrder";
/// A message with `orderId` 7, framed.
const SEVEN: &[u8] = b"\0\0\0\0\x02\x08\x07";

fn order() -> Value {
    json!({
        "consumerId": 1_511_300_065_921_u64, "restaurantId": 1, "deliveryTime": "2099-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "lineItems": [{"menuItemId": "1", "quantity": 5}],
    })
}

/// A route `/orders` to the gRPC side of `address`, which may take 400 ms.
fn yaml(address: SocketAddr, keys: &str) -> String {
    let descriptors = config_folder().join("order.binpb");
    format!(
        "grpc: {{ descriptors: [{}] }}\nupstreams:\n  it: {{ url: \"http://{address}\", protocol: http2, \
         circuit_breaker: {{ min_calls: 5 }}{keys} }}\nroutes:\n  - path: /orders\n    methods: [POST]\n    auth: none\n    \
         timeout: 400ms\n    forward: {{ grpc: it/orderservice.OrderService/createOrder }}\n",
        descriptors.display()
    )
}

async fn created(gate: &Gate) -> Answer {
    gate.ask("POST", "/orders").json(&order()).send().await
}

/// How often the order service was asked over gRPC.
fn asked(stubs: &Stubs) -> u64 {
    stubs.recorder().counts(Service::Order).by_route.get(CREATE).copied().unwrap_or_default()
}

async fn metrics(gate: &Gate) -> String {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    String::from_utf8(metrics.bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn an_order_is_created_over_grpc_as_it_was_typed() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let asking = ftgo.post("/orders").token(&token).json(&order()).header("idempotency-key", "k1");
    let asking = asking.header("grpc-timeout", "1H").header("cookie", "a=b").header("x-tenant", "mine");
    let answer = asking.send().await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let id = answer.json()["orderId"].as_i64().expect("a number");
    let counts = ftgo.stubs.recorder().counts(Service::Order);
    assert_eq!((counts.by_route.get(CREATE), counts.by_route.get("POST /orders")), (Some(&1), None));
    let last = &counts.last[0];
    let values = |name: &str| -> Vec<&str> {
        last.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(values("content-type"), ["application/grpc+proto"]);
    assert_eq!((values("te"), values("grpc-encoding")), (vec!["trailers"], vec!["identity"]));
    assert_eq!((values("x-user-id"), values("x-user-roles")), (vec![JOHN], vec!["consumer"]));
    assert_eq!(values("x-request-id"), [answer.header("x-request-id")]);
    assert_eq!((values("idempotency-key"), values("traceparent").len()), (vec!["k1"], 1));
    for name in ["authorization", "cookie", "x-tenant", "accept-encoding"] {
        assert!(values(name).is_empty(), "{name}");
    }
    let [timeout] = values("grpc-timeout")[..] else { panic!("{last:?}") };
    let millis: u64 = timeout.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=5_000).contains(&millis), "{timeout}: the route's, not the client's");
    // What has arrived shows that the descriptors and the service speak of the same messages.
    let kept = ftgo.get(&format!("/orders/{id}")).token(&token).send().await.expect(200).json();
    for (name, value) in order().as_object().unwrap() {
        let arrived = &kept["orderInfo"][name];
        match name.as_str() {
            "lineItems" => assert_eq!(arrived[0]["quantity"], 5),
            "deliveryAddress" => {}
            _ => assert_eq!(arrived, value, "{name}"),
        }
    }
}

#[tokio::test]
async fn the_same_key_is_the_same_order_and_another_order_with_it_is_refused() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let send = |order: Value, key: &str| {
        ftgo.post("/orders").token(&token).json(&order).header("idempotency-key", key).send()
    };
    let first = send(order(), "k").await.expect(200).json();
    assert_eq!(send(order(), "k").await.expect(200).json(), first);
    assert_ne!(send(order(), "l").await.expect(200).json(), first);
    let mut other = order();
    other["lineItems"][0]["quantity"] = json!(6);
    // gRPC has no status that stands for 422, and the service says why.
    assert_eq!(send(other, "k").await.expect(422).code(), "unprocessable");
    let mut unknown = order();
    unknown["restaurantId"] = json!(424_242);
    assert_eq!(send(unknown, "m").await.expect(400).code(), "bad_request");
}

#[tokio::test]
async fn each_status_becomes_the_one_that_clients_are_promised_and_says_nothing_more() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(stubs.grpc(), "").replace("min_calls: 5 ", "min_calls: 10000 "));
    for (scripted, status, code) in [
        (400, 400, "bad_request"),
        (401, 502, "upstream_failed"),
        (403, 403, "forbidden"),
        (404, 404, "not_found"),
        (409, 409, "conflict"),
        (412, 409, "conflict"),
        (429, 429, "rate_limited"),
        (500, 502, "upstream_failed"),
        (501, 502, "upstream_failed"),
        (503, 503, "upstream_unavailable"),
        (504, 504, "upstream_timeout"),
        (418, 502, "upstream_failed"),
    ] {
        let fault = json!({"fault": {"status": scripted, "headers": {"x-inside": "1"}, "body": "the database db-7 is gone"}});
        stubs.faults().set(Service::Order, fault).await.unwrap();
        let answer = created(&gate).await.expect(status);
        assert_eq!(answer.code(), code, "{scripted}");
        assert!(!String::from_utf8_lossy(answer.bytes()).contains("db-7"), "{answer:?}");
        assert_eq!(answer.header("x-inside"), "");
        assert_eq!(
            answer.header("retry-after"),
            if [429, 503].contains(&status) { "1" } else { "" },
            "{scripted}"
        );
    }
    assert_eq!(asked(&stubs), 12, "none is asked for twice");
    let metrics = metrics(&gate).await;
    for (outcome, count) in [("ok", 8), ("5xx", 4)] {
        let line = format!(r#"gateway_upstream_calls_total{{upstream="it",outcome="{outcome}"}} {count}"#);
        assert!(metrics.lines().any(|told| told == line), "{line} is not in\n{metrics}");
    }
    let retry = json!({"fault": {"status": 503, "headers": {"retry-after": "7"}}});
    stubs.faults().set(Service::Order, retry).await.unwrap();
    assert_eq!(created(&gate).await.expect(503).header("retry-after"), "7");
}

#[tokio::test]
async fn answers_that_are_none_are_502_and_none_in_time_is_504() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(stubs.grpc(), "").replace("min_calls: 5 ", "min_calls: 10000 "));
    for fault in ["malformed", "huge", "wrong-type", "reset", "refuse"] {
        stubs.faults().set(Service::Order, json!({ "fault": fault })).await.unwrap();
        assert_eq!(created(&gate).await.expect(502).code(), "upstream_failed", "{fault}");
    }
    stubs.faults().set(Service::Order, json!({"fault": {"truncate": 3}})).await.unwrap();
    created(&gate).await.expect(502);
    for fault in [json!("hang"), json!({"trickle": "1s"})] {
        stubs.faults().set(Service::Order, json!({ "fault": fault })).await.unwrap();
        let begun = Instant::now();
        assert_eq!(created(&gate).await.expect(504).code(), "upstream_timeout");
        assert!(begun.elapsed() >= Duration::from_millis(390), "{:?}", begun.elapsed());
    }
    let told = stubs.recorder().counts(Service::Order);
    let timeout = told.last[0].headers.iter().find(|(name, _)| name == "grpc-timeout").unwrap();
    let millis: u64 = timeout.1.strip_suffix('m').unwrap().parse().unwrap();
    assert!((1..=400).contains(&millis), "{millis}");
    stubs.faults().heal(Service::Order).await;
    created(&gate).await.expect(200);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(stubs.grpc(), "").replace("400ms", "10s"));
    stubs.faults().set(Service::Order, json!({"fault": "hang"})).await.unwrap();
    let mut client = connect(gate.address()).await;
    let request = Request::post("/orders").header("host", "a").header("content-type", "application/json");
    let request = request.body(Body::from(order().to_string())).unwrap();
    let asking = tokio::spawn(async move { client.send_request(request).await });
    until("it hangs", || stubs.recorder().counts(Service::Order).in_flight == 1).await;
    asking.abort();
    until("the service sees it", || stubs.recorder().counts(Service::Order).cancelled == 1).await;
}

#[tokio::test]
async fn what_is_no_message_is_a_400_that_names_the_field_and_asks_nobody() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(stubs.grpc(), ""));
    for (body, told) in [
        (
            r#"{"lineItems":[{"quantity":"five"}]}"#,
            "`lineItems[0].quantity` is not of a kind that is taken here.",
        ),
        (r#"{"deliveryAddress":{"zip":94612}}"#, "`deliveryAddress.zip` must be a string."),
        (r#"{"consumerId":true}"#, "`consumerId` must be "),
        (r#"{"consumerId":1,"consumerId":2}"#, "The body must be valid JSON that names no field twice."),
        ("[1]", "The body must be an object."),
        ("{", "The body must be valid JSON that names no field twice."),
    ] {
        let asking = gate.ask("POST", "/orders").header("content-type", "application/json");
        let answer = asking.body(body).send().await.expect(400);
        assert_eq!(answer.code(), "bad_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(told), "{body}: {detail}");
    }
    let typed = gate.ask("POST", "/orders").header("content-type", "text/plain").body("{}").send().await;
    assert_eq!(typed.expect(415).code(), "unsupported_media_type");
    let coded = gate.ask("POST", "/orders").json(&order()).header("content-encoding", "gzip").send().await;
    assert_eq!(coded.expect(415).code(), "unsupported_media_type");
    assert_eq!(asked(&stubs), 0);
    let mut more = order();
    (more["channel"], more["lineItems"][0]["note"]) = (json!("app"), json!({"hot": true}));
    gate.ask("POST", "/orders").json(&more).send().await.expect(200);
}

#[tokio::test]
async fn a_service_that_is_not_available_opens_the_breaker_and_one_that_refuses_does_not() {
    let stubs = stubs();
    let gate = Gate::start(&yaml(stubs.grpc(), ""));
    let scripted = |status: u16| stubs.faults().set(Service::Order, json!({"fault": {"status": status}}));
    scripted(404).await.unwrap();
    for _ in 0..10 {
        created(&gate).await.expect(404);
    }
    scripted(503).await.unwrap();
    let mut answered = 0;
    while asked(&stubs) > answered && answered < 50 {
        answered = asked(&stubs);
        created(&gate).await.expect(503);
    }
    assert!((12..=25).contains(&asked(&stubs)), "{}", asked(&stubs));
}

/// What a service answers, byte by byte.
#[derive(Clone, Default)]
pub(crate) struct Said {
    status: u16,
    head: Vec<(&'static str, &'static str)>,
    body: Vec<&'static [u8]>,
    trailers: Vec<(&'static str, &'static str)>,
}

impl Said {
    pub(crate) fn whole(body: &[&'static [u8]], trailers: &[(&'static str, &'static str)]) -> Said {
        let head = vec![("content-type", "application/grpc")];
        Said { status: 200, head, body: body.to_vec(), trailers: trailers.to_vec() }
    }

    pub(crate) fn headed(status: u16, head: &[(&'static str, &'static str)]) -> Said {
        Said { status, head: head.to_vec(), ..Said::default() }
    }
}

/// The paths and bodies of requests.
pub(crate) type Sent = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A service of HTTP/2 that says what it is told to, and what it has been sent.
pub(crate) struct Byte {
    pub(crate) address: SocketAddr,
    says: Arc<Mutex<Said>>,
    pub(crate) sent: Sent,
}

impl Byte {
    pub(crate) async fn start() -> Byte {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (says, sent) = (Arc::new(Mutex::new(Said::default())), Arc::default());
        let byte = Byte { address: listener.local_addr().unwrap(), says, sent };
        let (says, sent) = (byte.says.clone(), byte.sent.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (says, sent) = (says.clone(), sent.clone());
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(answer(request, respond, says.lock().clone(), sent.clone()));
                    }
                });
            }
        });
        byte
    }

    pub(crate) fn says(&self, said: Said) {
        *self.says.lock() = said;
    }
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    said: Said,
    sent: Sent,
) {
    let path = request.uri().path().to_owned();
    let (mut body, mut whole) = (request.into_body(), Vec::new());
    while let Some(Ok(data)) = body.data().await {
        whole.extend_from_slice(&data);
    }
    sent.lock().push((path, whole));
    let mut head = Response::builder().status(said.status).body(()).unwrap();
    *head.headers_mut() = fields(&said.head);
    let alone = said.body.is_empty() && said.trailers.is_empty();
    let mut sending = respond.send_response(head, alone).unwrap();
    for (index, data) in said.body.iter().enumerate() {
        let last = index + 1 == said.body.len() && said.trailers.is_empty();
        sending.send_data(Bytes::from_static(data), last).unwrap();
    }
    if !said.trailers.is_empty() {
        sending.send_trailers(fields(&said.trailers)).unwrap();
    }
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in pairs {
        fields.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    fields
}

#[tokio::test]
async fn an_answer_is_one_message_and_a_status_or_none() {
    const OK: &[(&str, &str)] = &[("grpc-status", "0")];
    let service = Byte::start().await;
    let gate = Gate::start(&yaml(service.address, "").replace("min_calls: 5 ", "min_calls: 10000 "));
    let (grpc, html) = (("content-type", "application/grpc"), ("content-type", "text/html"));
    for (name, said, status) in [
        ("whole", Said::whole(&[SEVEN], OK), 200),
        ("in pieces", Said::whole(&[b"\0\0", b"\0\0\x02\x08", b"\x07"], OK), 200),
        ("a field of a later version", Said::whole(&[b"\0\0\0\0\x04\x08\x07\x10\x01"], OK), 200),
        ("two messages", Said::whole(&[SEVEN, SEVEN], OK), 502),
        ("no message", Said::whole(&[], OK), 502),
        ("a message cut short", Said::whole(&[b"\0\0\0\0\x02\x08"], OK), 502),
        ("a compressed message", Said::whole(&[b"\x01\0\0\0\x02\x08\x07"], OK), 502),
        ("what is no message", Said::whole(&[b"\0\0\0\0\x02\xff\xff"], OK), 502),
        ("no status", Said::whole(&[SEVEN], &[]), 502),
        ("a message and an error", Said::whole(&[SEVEN], &[("grpc-status", "14")]), 503),
        ("a status that is none", Said::whole(&[SEVEN], &[("grpc-status", "fine")]), 502),
        ("a status at once", Said::headed(200, &[grpc, ("grpc-status", "8")]), 429),
        ("JSON", Said { head: vec![("content-type", "application/json")], ..Said::whole(&[b"{}"], OK) }, 502),
        ("a proxy's 503", Said { status: 503, head: vec![html], ..Said::whole(&[b"<p>"], &[]) }, 503),
        ("a proxy's 401", Said::headed(401, &[html]), 502),
        ("a page", Said::headed(200, &[html]), 502),
    ] {
        service.says(said);
        let answer = created(&gate).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.bytes(), r#"{"orderId":7}"#, "{name}");
        }
    }
    service.says(Said::whole(&[b"\0\0\0\0\x09\x08\x81\x80\x80\x80\x80\x80\x80\x10"], OK));
    assert_eq!(created(&gate).await.expect(200).bytes(), r#"{"orderId":9007199254740993}"#, "exact");
}

#[tokio::test]
async fn a_reason_has_the_status_that_is_typed_for_it_and_only_a_refusal_has_one() {
    const DETAILS: &str = "grpc-status-details-bin";
    let service = Byte::start().await;
    let yaml = yaml(service.address, "").replace("min_calls: 5 ", "min_calls: 10000 ");
    let gate = Gate::start(&yaml.replace("grpc: { descriptors", "grpc: { reasons: { A: 410 }, descriptors"));
    let (right, of_14) = (details(3, "A"), details(14, "A"));
    let (other, long) = (details(3, "B"), details(3, &"A".repeat(9_000)));
    let grpc = ("content-type", "application/grpc");
    for (name, said, status) in [
        ("in trailers", Said::whole(&[], &[("grpc-status", "3"), (DETAILS, right)]), 410),
        ("at once", Said::headed(200, &[grpc, ("grpc-status", "3"), (DETAILS, right)]), 410),
        ("another reason", Said::whole(&[], &[("grpc-status", "3"), (DETAILS, other)]), 400),
        ("of another status", Said::whole(&[], &[("grpc-status", "5"), (DETAILS, right)]), 404),
        ("of a failure", Said::whole(&[], &[("grpc-status", "14"), (DETAILS, of_14)]), 503),
        ("twice", Said::whole(&[], &[("grpc-status", "3"), (DETAILS, right), (DETAILS, right)]), 400),
        ("no details", Said::whole(&[], &[("grpc-status", "3"), (DETAILS, "%%%")]), 400),
        ("too long", Said::whole(&[], &[("grpc-status", "3"), (DETAILS, long)]), 400),
    ] {
        service.says(said);
        let answer = created(&gate).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(!String::from_utf8_lossy(answer.bytes()).contains("ErrorInfo"), "{answer:?}");
    }
}

/// `google.rpc.Status` with one `ErrorInfo`, as a field has it.
fn details(status: u8, reason: &str) -> &'static str {
    let field = |number: u8, bytes: &[u8]| -> Vec<u8> {
        let (low, high) = ((bytes.len() % 128) as u8 | 0x80, (bytes.len() / 128) as u8);
        [&[(number << 3) | 2, low, high], bytes].concat()
    };
    let info = field(1, reason.as_bytes());
    let detail = [field(1, b"type.googleapis.com/google.rpc.ErrorInfo"), field(2, &info)].concat();
    STANDARD_NO_PAD.encode([&[8, status], &field(3, &detail)[..]].concat()).leak()
}

#[tokio::test]
async fn a_service_that_fails_after_its_answer_has_begun_opens_the_breaker_too() {
    let service = Byte::start().await;
    let gate = Gate::start(&yaml(service.address, ""));
    service.says(Said::whole(&[SEVEN], &[("grpc-status", "13")]));
    for _ in 0..20 {
        let answer = created(&gate).await;
        assert!([502, 503].contains(&answer.status), "{answer:?}");
    }
    assert!(service.sent.lock().len() < 20, "{}", service.sent.lock().len());
}

#[tokio::test]
async fn fields_are_written_from_the_path_and_the_body_must_not_say_them_again() {
    let service = Byte::start().await;
    let descriptors = config_folder().join("../gateway/src/proxy/grpc/testing.binpb");
    let gate = Gate::start(&format!(
        "grpc: {{ descriptors: [{}], defaults: false, int64: string }}\nupstreams:\n  it: {{ url: \"http://{}\", \
         protocol: http2 }}\nroutes:\n  - path: /things/{{id}}/{{words}}\n    methods: [GET, POST]\n    auth: none\n    \
         forward: {{ grpc: it/testing.Things/Find, fields: {{ id: \"{{id}}\", textWords: \"{{words}}\" }} }}\n",
        descriptors.display(),
        service.address
    ));
    service.says(Said::whole(&[SEVEN], &[("grpc-status", "0")]));
    let found = gate.get("/things/7/a%20b").send().await.expect(200);
    assert_eq!(found.bytes(), r#"{"bigNumber":"7"}"#);
    let sent = service.sent.lock().clone();
    assert_eq!(sent, [("/testing.Things/Find".to_owned(), b"\0\0\0\0\x07\x08\x07\x12\x03a b".to_vec())]);
    gate.ask("POST", "/things/7/a").json(&json!({"deep": true})).send().await.expect(200);
    assert_eq!(service.sent.lock()[1].1, b"\0\0\0\0\x07\x08\x07\x12\x01a\x18\x01");
    for (path, body, told) in [
        ("/things/7/a", json!({"id": 8}), "`id` must be said by the path only."),
        ("/things/7/a", json!({"text_words": "b"}), "`textWords` must be said by the path only."),
        ("/things/seven/a", json!({}), "`id` is not of a kind that is taken here."),
    ] {
        let answer = gate.ask("POST", path).json(&body).send().await.expect(400);
        assert_eq!(answer.json()["detail"], told);
    }
}

#[tokio::test]
async fn descriptors_that_change_are_taken_up_and_those_that_are_none_are_not() {
    let stubs = stubs();
    let file = TempFile::new("order.binpb", "");
    let right = fs::read(config_folder().join("order.binpb")).unwrap();
    fs::write(file.name(), &right).unwrap();
    let shipped = config_folder().join("order.binpb").display().to_string();
    let gate = Gate::start(&yaml(stubs.grpc(), "").replace(&shipped, file.name()));
    created(&gate).await.expect(200);
    let told = |line: &'static str| {
        let gate = &gate;
        async move {
            let begun = Instant::now();
            while !metrics(gate).await.lines().any(|told| told == line) {
                assert!(begun.elapsed() < Duration::from_secs(10), "{line}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    fs::write(file.name(), "no descriptors").unwrap();
    told("gateway_config_refused_total 1").await;
    created(&gate).await.expect(200);
    fs::write(file.name(), &right).unwrap();
    told("gateway_config_reloads_total 1").await;
    created(&gate).await.expect(200);
}
