//! Orders that are looked at while they change: server-sent events, one watcher for all who look, and nothing missed by
//! those who lose their connection.
//!
//! Not here: the log and its ids one by one (`gateway/src/live/`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::body::Body;
use ftgo::stubs::{Stubs, service::Service};
use http::Request;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{
    client::{ask, connect_h2},
    event_stream::Events,
    harness::{Ftgo, Gate, JOHN, MARY, after_listen, stubs, until, web_yaml},
    wire,
};

const PATIENCE: Duration = Duration::from_secs(15);

/// A gateway whose route of events goes on with `more`, in front of `stubs`.
fn yaml(stubs: &Stubs, more: &str) -> String {
    let (order, kitchen) = (stubs.address(Service::Order), stubs.address(Service::Kitchen));
    let identity = stubs.identity();
    after_listen(&format!(
        "server: {{ max_in_flight: 50, max_connections_per_address: 2000 }}\n\
         providers:\n  ftgo:\n    jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }}\n\
         upstreams:\n  order: {{ url: \"http://{order}\" }}\n  kitchen: {{ url: \"http://{kitchen}\" }}\n\
         routes:\n  - path: /orders/{{id}}/events\n    timeout: 2s\n    auth:\n      provider: ftgo\n      \
         allow: \"'support' in claims.roles or claims.sub == order.consumerId\"\n    watch:\n      \
         parts: {{ order: {{ get: \"order/orders/{{id}}\" }}, ticket: {{ get: \"kitchen/tickets/{{id}}\", optional: true }} }}\n{more}"
    ))
}

async fn gate(stubs: &Stubs, more: &str) -> Gate {
    let gate = Gate::of(&yaml(stubs, more));
    until("the gateway has keys", || gate.ready()).await;
    gate
}

fn consumer(stubs: &Stubs, sub: &str) -> String {
    stubs.token(sub, &["consumer"], "orders:read orders:write")
}

fn support(stubs: &Stubs) -> String {
    stubs.token("support-1", &["support"], "orders:read")
}

const QUICK: &str = "      by: everyone\n      every: 50ms\n      max_per_client: 2000\n";

async fn metric(gate: &Gate, line: &str) -> bool {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    String::from_utf8_lossy(metrics.bytes()).lines().any(|told| told.contains(line))
}

async fn until_metric(gate: &Gate, line: &str) {
    let begun = Instant::now();
    while !metric(gate, line).await {
        assert!(begun.elapsed() < PATIENCE, "it never was told: {line}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_order_is_told_as_it_is_and_as_it_changes_and_no_more_when_it_is_over() {
    let ftgo = Ftgo::start().await;
    ftgo.stubs.world().set_saga_step(Duration::from_millis(1_200));
    let token = ftgo.consumer(JOHN);
    let mut events = Events::of(ftgo.get("/orders/99/events").token(&token)).await;
    let (id, first) = events.state().await;
    assert_eq!(first["order"]["state"], "APPROVED");
    assert_eq!(first["ticket"]["id"], 99);
    assert_eq!(first["delivery"]["deliveryInfo"]["id"], 99);
    ftgo.post("/orders/99/cancel").token(&token).send().await.expect(200);
    let orders = events.orders_until(|order| order["state"] == "CANCELLED").await;
    assert_eq!(orders[0].1["state"], "CANCEL_PENDING", "{orders:?}");
    let last = events.event().await.unwrap();
    assert_eq!((last.name.as_str(), last.id.as_str()), ("end", "end"));
    assert_eq!(events.block().await, None);
    // Who lost its connection before the end comes back for all that it has missed, and the end.
    let mut back = Events::of(ftgo.get("/orders/99/events").token(&token).header("last-event-id", &id)).await;
    assert_eq!(back.orders_until(|order| order["state"] == "CANCELLED").await, orders);
    assert_eq!(back.event().await.unwrap().name, "end");
    assert_eq!(back.block().await, None);
    // Browsers come back by themselves, and are told not to.
    ftgo.get("/orders/99/events").token(&token).header("last-event-id", "end").send().await.expect(204);
}

#[tokio::test]
async fn an_order_is_there_for_those_who_may_see_it_and_for_nobody_else() {
    let ftgo = Ftgo::start().await;
    let mut johns = Events::of(ftgo.get("/orders/99/events").token(&ftgo.consumer(JOHN))).await;
    let mut marys = Events::of(ftgo.get("/orders/105/events").token(&ftgo.consumer(MARY))).await;
    assert_eq!(johns.state().await.1["order"]["orderId"], 99);
    assert_eq!(marys.state().await.1["order"]["orderId"], 105);
    let foreign = ftgo.get("/orders/99/events").token(&ftgo.consumer(MARY)).send().await.expect(404);
    let unknown = ftgo.get("/orders/555/events").token(&ftgo.consumer(MARY)).send().await.expect(404);
    assert_eq!((foreign.code(), unknown.code()), ("not_found".to_owned(), "not_found".to_owned()));
    assert_eq!(foreign.json()["detail"], unknown.json()["detail"]);
    ftgo.get("/orders/99/events").send().await.expect(401);
    let no_scope = ftgo.stubs.token(JOHN, &["consumer"], "consumers:read");
    ftgo.get("/orders/99/events").token(&no_scope).send().await.expect(403);
    let head =
        ftgo.gate.ask("HEAD", "/orders/99/events").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    assert!(head.bytes().is_empty());
}

/// Ten orders that have just been made.
async fn ten_orders(stubs: &Stubs) -> Vec<i64> {
    let order = json!({
        "consumerId": JOHN.parse::<i64>().unwrap(), "restaurantId": 1, "deliveryTime": "2030-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "lineItems": [{"menuItemId": "1", "quantity": 5}],
    });
    let mut ids = Vec::new();
    for _ in 0..10 {
        let made =
            ask(stubs.address(Service::Order), "POST", "/orders").json(&order).send().await.expect(200);
        ids.push(made.json()["orderId"].as_i64().unwrap());
    }
    ids
}

/// Hundred streams over one connection of HTTP/2.
async fn hundred(to: SocketAddr, token: &str, ids: &[i64]) -> Vec<Events> {
    let mut sender = connect_h2(to).await;
    let mut streams = Vec::new();
    for number in 0..100 {
        let uri = format!("http://ftgo.example/orders/{}/events", ids[number % ids.len()]);
        let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
        sender.ready().await.unwrap();
        let response = sender.send_request(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "stream {number}");
        streams.push(Events { body: response.into_body(), text: String::new() });
    }
    streams
}

/// Reads all of them until their orders are in this state.
async fn all_until(all: &mut [Events], state: &str) {
    let reading = all.iter_mut().map(async |events| {
        events.orders_until(|order| order["state"] == state).await;
    });
    let read = timeout(2 * PATIENCE, futures_util::future::join_all(reading)).await;
    assert_eq!(read.map(|all| all.len()).ok(), Some(1000));
}

#[tokio::test]
async fn a_thousand_who_look_at_ten_orders_cost_the_services_ten_watchers() {
    let stubs = stubs();
    let gate = gate(&stubs, "      by: everyone\n      every: 300ms\n      max_per_client: 2000\n").await;
    let (token, ids) = (support(&stubs), ten_orders(&stubs).await);
    let begun = Instant::now();
    let connecting = (0..10).map(|_| hundred(gate.address(), &token, &ids));
    let mut all: Vec<Events> =
        futures_util::future::join_all(connecting).await.into_iter().flatten().collect();
    all_until(&mut all, "APPROVED").await;
    // More than fifty answers are open, which is `max_in_flight`: they do not count as that.
    assert!(metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 1000").await);
    assert!(metric(&gate, "gateway_live_watchers{route=\"GET /orders/{id}/events\"} 10").await);
    assert!(metric(&gate, "gateway_requests_in_flight 0").await);
    for id in ids {
        let cancelled = ask(stubs.address(Service::Order), "POST", &format!("/orders/{id}/cancel"));
        cancelled.send().await.expect(200);
    }
    all_until(&mut all, "CANCELLED").await;
    let rounds = begun.elapsed().as_millis() as u64 / 270 + 2;
    let calls = stubs.recorder().counts(Service::Order).by_route["GET /orders/{id}"];
    println!("1000 streams, {calls} calls to the order service in {:?}", begun.elapsed());
    assert!(calls <= 10 * rounds, "{calls} calls in {rounds} rounds of ten watchers");
    drop(all);
    until_metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 0").await;
    until_metric(&gate, "gateway_live_watchers{route=\"GET /orders/{id}/events\"} 0").await;
}

#[tokio::test]
async fn who_drops_and_comes_back_misses_nothing_and_gets_nothing_twice() {
    let stubs = stubs();
    stubs.world().set_saga_step(Duration::from_millis(150));
    let gate = gate(&stubs, QUICK).await;
    let token = consumer(&stubs, JOHN);
    let to = stubs.address(Service::Order);
    let get = || gate.get("/orders/99/events").token(&token);
    let mut steady = Events::of(get()).await;
    let mut dropping = Events::of(get()).await;
    let first = dropping.state().await;
    let mut seen = vec![(first.0.clone(), first.1["order"].clone())];
    drop(dropping);
    let revision = json!({"revisedOrderLineItems": [{"quantity": 10, "menuItemId": "1"}]});
    ask(to, "POST", "/orders/99/revise").json(&revision).send().await.expect(200);
    let revised = |order: &Value| order["orderTotal"] == "123.40" && order["state"] == "APPROVED";
    let mut all = steady.orders_until(revised).await;
    // Back in the middle of it, and away again after each event.
    while !revised(&seen.last().unwrap().1) {
        let last = seen.last().unwrap().0.clone();
        let mut events = Events::of(get().header("last-event-id", &last)).await;
        let (id, state) = events.state().await;
        seen.push((id, state["order"].clone()));
    }
    ask(to, "POST", "/orders/99/cancel").send().await.expect(200);
    let cancelled = |order: &Value| order["state"] == "CANCELLED";
    all.extend(steady.orders_until(cancelled).await);
    let mut events = Events::of(get().header("last-event-id", &seen.last().unwrap().0)).await;
    seen.extend(events.orders_until(cancelled).await);
    assert_eq!(seen, all);
    let states: Vec<_> = all.iter().map(|(_, order)| order["state"].as_str().unwrap()).collect();
    for state in ["REVISION_PENDING", "CANCEL_PENDING", "CANCELLED"] {
        assert!(states.contains(&state), "{states:?}");
    }
    // What nobody here has sent is no place to go on from: the state as it is comes, once.
    let mut lost = Events::of(get().header("last-event-id", "0123456789abcdef-3")).await;
    assert_eq!(lost.state().await.1["order"]["state"], "CANCELLED");
    assert!(
        metric(
            &gate,
            "gateway_live_resumes_total{route=\"GET /orders/{id}/events\",outcome=\"restarted\"} 1"
        )
        .await
    );
}

#[tokio::test]
async fn silence_is_broken_by_heartbeats_and_the_stream_outlives_the_timeout_of_its_route() {
    let stubs = stubs();
    let more = format!("{QUICK}      heartbeat: 100ms\n");
    let text = yaml(&stubs, &more).replace("timeout: 2s", "timeout: 500ms");
    let gate = Gate::of(&text);
    until("the gateway has keys", || gate.ready()).await;
    let begun = Instant::now();
    let mut events = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    events.state().await;
    while begun.elapsed() < Duration::from_millis(1_200) {
        let beat = events.block().await.expect("it stays open");
        assert!(beat.name.is_empty() && beat.id.is_empty() && beat.data.is_empty(), "{beat:?}");
    }
}

#[tokio::test]
async fn a_drain_ends_streams_cleanly_and_says_when_to_come_back() {
    let mut ftgo = Ftgo::start().await;
    let mut events = Events::of(ftgo.get("/orders/99/events").token(&ftgo.consumer(JOHN))).await;
    events.state().await;
    let reading = async {
        let mut last = None;
        while let Some(block) = events.block().await {
            last = Some(block);
        }
        last
    };
    let (begun, (last, ())) = (Instant::now(), futures_util::future::join(reading, ftgo.gate.drain()).await);
    assert!(last.expect("a last word").retry.is_some_and(|millis| millis >= 1_000));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_token_that_expires_ends_its_stream() {
    let stubs = stubs();
    let gate = gate(&stubs, QUICK).await;
    let grant = json!({"sub": JOHN, "roles": ["consumer"], "scope": "orders:read", "expiresIn": "2s"});
    let given = ask(stubs.control(), "POST", "/tokens").json(&grant).send().await.expect(200).json();
    let short = given["access_token"].as_str().or(given["token"].as_str()).unwrap().to_owned();
    let mut expiring = Events::of(gate.get("/orders/99/events").token(&short)).await;
    let mut lasting = Events::of(gate.get("/orders/99/events").token(&consumer(&stubs, JOHN))).await;
    expiring.state().await;
    lasting.state().await;
    let begun = Instant::now();
    while expiring.block().await.is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    gate.get("/orders/99/events").token(&short).send().await.expect(401);
    ask(stubs.address(Service::Order), "POST", "/orders/99/cancel").send().await.expect(200);
    lasting.orders_until(|order| order["state"] == "CANCELLED").await;
}

#[tokio::test]
async fn whoever_reads_nothing_holds_up_nobody() {
    let stubs = stubs();
    let gate = gate(&stubs, QUICK).await;
    let token = support(&stubs);
    let mut stuck = TcpStream::connect(gate.address()).await.unwrap();
    let request =
        format!("GET /orders/99/events HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
    stuck.write_all(request.as_bytes()).await.unwrap();
    let mut events = Events::of(gate.get("/orders/99/events").token(&token)).await;
    until_metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 2").await;
    ask(stubs.address(Service::Order), "POST", "/orders/99/cancel").send().await.expect(200);
    events.orders_until(|order| order["state"] == "CANCELLED").await;
    drop(stuck);
    until_metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 1").await;
}

#[tokio::test]
async fn a_service_that_fails_makes_the_stream_stale_and_does_not_end_it() {
    let stubs = stubs();
    let gate = gate(&stubs, &format!("{QUICK}      stale_after: 100ms\n")).await;
    let mut events = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    events.state().await;
    stubs.faults().set(Service::Kitchen, json!({"fault": {"status": 500}})).await.unwrap();
    assert_eq!(events.event().await.unwrap().name, "stale");
    // What is known of the ticket stays, and the order is still told.
    ask(stubs.address(Service::Order), "POST", "/orders/99/cancel").send().await.expect(200);
    let (_, state) = events.state().await;
    assert_eq!(state["ticket"]["id"], 99);
    stubs.faults().set(Service::Kitchen, json!([])).await.unwrap();
    loop {
        let event = events.event().await.unwrap();
        if event.name == "fresh" {
            break;
        }
        assert_eq!(event.name, "state");
    }
}

#[tokio::test]
async fn what_goes_away_while_it_is_looked_at_is_gone() {
    let stubs = stubs();
    let gate = gate(&stubs, QUICK).await;
    let mut events = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    events.state().await;
    stubs.faults().set(Service::Order, json!({"fault": {"status": 404}})).await.unwrap();
    let last = events.event().await.unwrap();
    assert_eq!((last.name.as_str(), last.id.as_str()), ("gone", "end"));
    assert_eq!(events.block().await, None);
}

#[tokio::test]
async fn an_order_that_becomes_somebody_elses_is_gone_for_its_owner() {
    let stubs = stubs();
    let gate = gate(&stubs, QUICK).await;
    let mut johns = Events::of(gate.get("/orders/99/events").token(&consumer(&stubs, JOHN))).await;
    let mut supports = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    johns.state().await;
    supports.state().await;
    let body = json!({"orderId": 99, "consumerId": MARY, "state": "APPROVED"}).to_string();
    let answer = json!({"status": 200, "headers": {"content-type": "application/json"}, "body": body});
    stubs.faults().set(Service::Order, json!({"fault": answer})).await.unwrap();
    assert_eq!(johns.event().await.unwrap().name, "gone");
    assert_eq!(supports.state().await.1["order"]["consumerId"], MARY);
}

#[tokio::test]
async fn there_are_no_more_streams_than_may_be() {
    let stubs = stubs();
    let gate = gate(&stubs, "      by: everyone\n      max_per_client: 1\n      max_clients: 2\n").await;
    let (john, mary) = (consumer(&stubs, JOHN), consumer(&stubs, MARY));
    let held = Events::of(gate.get("/orders/99/events").token(&john)).await;
    let more = gate.get("/orders/99/events").token(&john).send().await.expect(429);
    assert_eq!(more.code(), "rate_limited");
    let _marys = Events::of(gate.get("/orders/105/events").token(&mary)).await;
    let full = gate.get("/orders/99/events").token(&support(&stubs)).send().await.expect(503);
    assert_eq!((full.code().as_str(), full.header("retry-after")), ("overloaded", "5"));
    drop(held);
    until_metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 1").await;
    Events::of(gate.get("/orders/99/events").token(&john)).await;
}

#[tokio::test]
async fn what_nobody_looks_at_any_more_holds_no_place_that_another_needs() {
    let stubs = stubs();
    let gate =
        gate(&stubs, "      by: everyone\n      every: 50ms\n      linger: 10m\n      max_keys: 2\n").await;
    let (john, mary) = (consumer(&stubs, JOHN), consumer(&stubs, MARY));
    let left = [
        Events::of(gate.get("/orders/99/events").token(&john)).await,
        Events::of(gate.get("/orders/100/events").token(&john)).await,
    ];
    let full = gate.get("/orders/105/events").token(&mary).send().await.expect(503);
    assert_eq!(full.code(), "overloaded");
    drop(left);
    until_metric(&gate, "gateway_live_streams{route=\"GET /orders/{id}/events\"} 0").await;
    let mut marys = Events::of(gate.get("/orders/105/events").token(&mary)).await;
    assert_eq!(marys.state().await.1["order"]["orderId"], 105);
    until_metric(&gate, "gateway_live_watchers{route=\"GET /orders/{id}/events\"} 2").await;
    // What was given up begins anew, and whoever may not see a thing keeps nobody from it.
    gate.get("/orders/99/events").token(&mary).send().await.expect(404);
    Events::of(gate.get("/orders/100/events").token(&john)).await;
}

#[tokio::test]
async fn callers_share_a_watcher_only_where_the_route_says_that_they_are_answered_the_same() {
    let stubs = stubs();
    let gate = gate(&stubs, "      every: 50ms\n").await;
    let mut johns = Events::of(gate.get("/orders/99/events").token(&consumer(&stubs, JOHN))).await;
    let mut supports = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    johns.state().await;
    supports.state().await;
    assert!(metric(&gate, "gateway_live_watchers{route=\"GET /orders/{id}/events\"} 2").await);
    let seen = stubs.recorder().counts(Service::Order).last;
    let asked_for = |sub: &str| {
        seen.iter().any(|seen| seen.headers.iter().any(|(name, value)| name == "x-user-id" && value == sub))
    };
    assert!(asked_for(JOHN) && asked_for("support-1"));
}

#[tokio::test]
async fn a_reload_keeps_streams_that_it_does_not_change_and_ends_the_others() {
    let stubs = stubs();
    let gate = gate(&stubs, QUICK).await;
    let mut events = Events::of(gate.get("/orders/99/events").token(&support(&stubs))).await;
    events.state().await;
    let another = "  - { path: /new, auth: none, forward: { to: order, path: /orders/99 } }\n";
    gate.rewrite(&yaml(&stubs, &format!("{QUICK}{another}")));
    let begun = Instant::now();
    while gate.get("/new").send().await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "it is not taken up");
    }
    ask(stubs.address(Service::Order), "POST", "/orders/99/cancel").send().await.expect(200);
    events.orders_until(|order| order["state"] == "CANCELLED").await;
    gate.rewrite(&yaml(&stubs, &QUICK.replace("50ms", "60ms")));
    while let Some(block) = events.block().await {
        assert!(block.name.is_empty(), "{block:?}");
    }
}

/// A service that knows by its tag what has not changed.
#[tokio::test]
async fn what_has_not_changed_is_not_sent_again_by_a_service_that_can_tell() {
    let (sender, mut heads) = tokio::sync::mpsc::unbounded_channel();
    let address = wire::service(move |mut stream| {
        let sender = sender.clone();
        async move {
            loop {
                let head = wire::read_head(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                let unchanged = wire::field(&head, "if-none-match") == "\"a\"";
                let answer: &[u8] = if unchanged {
                    b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"
                } else {
                    b"HTTP/1.1 200 OK\r\netag: \"a\"\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}"
                };
                stream.write_all(answer).await.unwrap();
                _ = sender.send(unchanged);
            }
        }
    })
    .await;
    let gate = Gate::start(&format!(
        "upstreams: {{ it: {{ url: \"http://{address}\" }} }}\nroutes:\n  - path: /it\n    auth: none\n    \
         watch: {{ every: 50ms, parts: {{ it: {{ get: it/it }} }} }}\n"
    ));
    let mut events = Events::of(gate.get("/it")).await;
    assert_eq!(events.state().await.1, json!({"it": {"a": 1}}));
    assert_eq!(heads.recv().await, Some(false));
    for _ in 0..3 {
        assert_eq!(timeout(PATIENCE, heads.recv()).await.unwrap(), Some(true));
    }
}

#[tokio::test]
async fn the_shipped_route_is_watched_by_one_for_all() {
    let stubs = stubs();
    let gate = Gate::of(&web_yaml(&stubs));
    until("the gateway has keys", || gate.ready()).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        let mut events = Events::of(gate.get("/orders/99/events").token(&consumer(&stubs, JOHN))).await;
        events.state().await;
        all.push(events);
    }
    assert!(metric(&gate, "gateway_live_watchers{route=\"GET /orders/{orderId}/events\"} 1").await);
}
