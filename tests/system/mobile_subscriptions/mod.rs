//! Orders that apps follow: over `graphql-transport-ws`, server-sent events and multipart.
//!
//! Not here: clients that others have written (`graphql_clients.rs`), the watcher itself (`live_events.rs`).

mod client;

use std::time::Duration;

use ftgo::stubs::service::Service;
use futures_util::SinkExt;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::timeout};
use tokio_tungstenite::tungstenite::{Error, Message};

use self::client::{Client, FOLLOW, PATIENCE, cancel, connect, sse, told, until_told};
use crate::{
    client::{Ask, ask},
    event_stream::Events,
    harness::{JOHN, MARY},
    mobile::{Mobile, offering, yaml},
};

fn slowly(mobile: &Mobile) {
    mobile.stubs.world().set_saga_step(Duration::from_millis(1_200));
}

#[tokio::test]
async fn an_order_is_told_as_it_is_and_as_it_changes_and_is_complete_when_it_is_over() {
    let mobile = Mobile::start().await;
    slowly(&mobile);
    let token = mobile.john();
    let mut client = Client::of(&mobile, &token).await;
    client.follow("1", 99, None).await;
    let first = client.hear().await;
    let order = &first["payload"]["data"]["orderChanged"]["order"];
    assert_eq!(
        (&first["id"], &order["orderId"], &order["state"]),
        (&json!("1"), &json!("99"), &json!("APPROVED"))
    );
    // Over the same connection: a mutation, and a query.
    client.ask("2", "mutation { cancelOrder(input: {orderId: 99}) { state } }", json!({})).await;
    let (mut states, mut others) = (Vec::new(), Vec::new());
    loop {
        let message = client.hear().await;
        match (message["id"].as_str().unwrap(), message["type"].as_str().unwrap()) {
            ("1", "complete") => break,
            ("1", "next") => {
                states.push(message["payload"]["data"]["orderChanged"]["order"]["state"].to_string());
            }
            (_, kind) => others.push(kind.to_owned()),
        }
    }
    states.dedup();
    assert_eq!(states, ["\"CANCEL_PENDING\"", "\"CANCELLED\""]);
    assert_eq!(others, ["next", "complete"]);
    client.say(&json!({"type": "ping"})).await;
    assert_eq!(client.hear().await, json!({"type": "pong"}));
    assert!(
        told(&mobile, "gateway_graphql_subscriptions_ended_total{route=\"/graphql\",reason=\"done\"} 1")
            .await
    );
}

#[tokio::test]
async fn whoever_comes_back_with_a_cursor_misses_nothing() {
    let mobile = Mobile::start().await;
    slowly(&mobile);
    let token = mobile.john();
    let mut client = Client::of(&mobile, &token).await;
    client.follow("1", 99, None).await;
    let (_, cursor) = client.states_until("APPROVED").await.remove(0);
    let mut other = Client::of(&mobile, &token).await;
    other.follow("1", 99, None).await;
    other.states_until("APPROVED").await;
    drop(client);
    cancel(&mobile, &token, 99).await;
    let mut all = other.states_until("CANCEL_PENDING").await;
    let mut back = Client::of(&mobile, &token).await;
    back.follow("1", 99, Some(&cursor)).await;
    all.extend(other.states_until("CANCELLED").await);
    assert_eq!(back.states_until("CANCELLED").await, all);
    assert_eq!(back.hear().await["type"], "complete");
    // After the end, too, for a while.
    let mut late = Client::of(&mobile, &token).await;
    late.follow("1", 99, Some(&cursor)).await;
    assert_eq!(late.states_until("CANCELLED").await, all);
    assert_eq!(late.hear().await["type"], "complete");
}

#[tokio::test]
async fn many_who_follow_one_order_have_it_watched_once() {
    let mobile = Mobile::edited(&|yaml| {
        yaml.replace("subscriptions:\n", "subscriptions:\n        max_per_client: 200\n")
    })
    .await;
    let token = mobile.john();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = Client::of(&mobile, &token).await;
        for id in 0..10 {
            client.follow(&id.to_string(), 99, None).await;
        }
        clients.push(client);
    }
    for client in &mut clients {
        for _ in 0..10 {
            assert_eq!(client.hear().await["type"], "next");
        }
    }
    assert!(told(&mobile, "gateway_live_watchers{route=\"/graphql order\"} 1").await);
    let open =
        "gateway_graphql_subscriptions{route=\"/graphql\",operation=\"other\",transport=\"websocket\"}";
    assert!(told(&mobile, &format!("{open} 100")).await);
    // The first round, and a few since: none of the hundred asked by itself.
    let asked = mobile.counts(Service::Kitchen).total;
    assert!(asked < 30, "{asked}");
    println!("100 subscriptions of one order: {asked} calls to the kitchen");
    drop(clients);
    until_told(&mobile, &format!("{open} 0")).await;
    until_told(&mobile, "gateway_graphql_sockets{route=\"/graphql\"} 0").await;
}

#[tokio::test]
async fn an_order_is_there_for_those_who_may_see_it_and_for_nobody_else() {
    let mobile = Mobile::start().await;
    for (token, code) in [
        (mobile.consumer(MARY), "NOT_FOUND"),
        (mobile.stubs.token(JOHN, &["consumer"], "consumers:read"), "FORBIDDEN"),
    ] {
        let mut client = Client::of(&mobile, &token).await;
        client.follow("1", 99, None).await;
        let error = client.hear().await;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("1")), "{error}");
        assert_eq!(error["payload"][0]["extensions"]["code"], code, "{error}");
        // The id is free again, and what is not there looks the same as what is somebody else's.
        client.follow("1", 555, None).await;
        assert_eq!(client.hear().await["payload"][0]["extensions"]["code"], code);
    }
    let mut nobody = Client::open(&mobile).await;
    nobody.say(&json!({"type": "connection_init"})).await;
    assert_eq!(nobody.hear().await["type"], "connection_ack");
    nobody.follow("1", 99, None).await;
    assert_eq!(nobody.hear().await["payload"][0]["extensions"]["code"], "UNAUTHENTICATED");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_by_which_code() {
    let mobile = Mobile::offering(&yaml_offer("init_timeout: 300ms, ")).await;
    let john = mobile.john();
    // Says nothing.
    assert_eq!(Client::open(&mobile).await.closed().await, 4408);
    // A token that is none.
    let mut client = Client::open(&mobile).await;
    client.init("a.b.c").await;
    assert_eq!(client.closed().await, 4403);
    // Asks before it says who it is.
    let mut client = Client::open(&mobile).await;
    client.follow("1", 99, None).await;
    assert_eq!(client.closed().await, 4401);
    // Says it twice.
    let mut client = Client::of(&mobile, &john).await;
    client.init(&john).await;
    assert_eq!(client.closed().await, 4429);
    // Asks twice under one id.
    let mut client = Client::of(&mobile, &john).await;
    client.follow("1", 99, None).await;
    client.hear().await;
    client.follow("1", 99, None).await;
    assert_eq!(client.closed().await, 4409);
    // The same with what cannot be read: the first goes on for neither.
    let mut client = Client::of(&mobile, &john).await;
    client.follow("1", 99, None).await;
    client.hear().await;
    client.say(&json!({"id": "1", "type": "subscribe", "payload": 5})).await;
    assert_eq!(client.closed().await, 4409);
    // What is no message.
    for wrong in [Message::text("{"), Message::text("{\"type\":\"start\"}"), Message::binary(&b"{}"[..])] {
        let mut client = Client::of(&mobile, &john).await;
        client.0.send(wrong).await.unwrap();
        assert_eq!(client.closed().await, 4400);
    }
    let mut client = Client::of(&mobile, &john).await;
    client.0.send(Message::text(" ".repeat(70_000))).await.unwrap();
    assert_eq!(client.closed().await, 1009);
}

/// What ships, in one line, with `more` before it.
fn yaml_offer(more: &str) -> String {
    let parts =
        "order: { get: \"order/orders/{key}\" }, ticket: { get: \"kitchen/tickets/{key}\", optional: true }";
    format!(
        "{{ subscriptions: {{ {more}watches: {{ order: {{ by: everyone, every: 100ms, parts: {{ {parts} }} }} }} }} }}"
    )
}

#[tokio::test]
async fn a_handshake_is_refused_from_other_pages_without_the_protocol_and_with_a_bad_token() {
    let mobile = Mobile::start().await;
    let to = mobile.gate.address();
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    for (fields, status) in [
        (vec![], 400),
        (vec![("sec-websocket-protocol", "graphql-ws")], 400),
        (vec![protocol, ("origin", "https://evil.example")], 403),
        (vec![protocol, ("authorization", "Bearer a.b.c")], 401),
    ] {
        match connect(to, &fields).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{fields:?}"),
            other => panic!("{fields:?}: {:?}", other.is_ok()),
        }
    }
    // The handshake's own token suffices.
    let token = format!("Bearer {}", mobile.john());
    let mut client = connect(to, &[protocol, ("authorization", &token)]).await.unwrap();
    client.say(&json!({"type": "connection_init"})).await;
    assert_eq!(client.hear().await["type"], "connection_ack");
    client.follow("1", 99, None).await;
    assert_eq!(client.hear().await["type"], "next");
}

#[tokio::test]
async fn what_is_open_is_limited_in_one_connection_and_for_one_client() {
    let mobile = Mobile::offering(&yaml_offer(
        "max_per_connection: 2, max_per_client: 3, max_connections_per_client: 2, ",
    ))
    .await;
    let john = mobile.john();
    let (mut first, mut second) = (Client::of(&mobile, &john).await, Client::of(&mobile, &john).await);
    for id in ["1", "2"] {
        first.follow(id, 99, None).await;
        assert_eq!(first.hear().await["type"], "next");
    }
    first.follow("3", 99, None).await;
    let refused = first.hear().await;
    assert_eq!(
        (&refused["type"], &refused["payload"][0]["extensions"]["code"]),
        (&json!("error"), &json!("RATE_LIMITED"))
    );
    second.follow("1", 99, None).await;
    assert_eq!(second.hear().await["type"], "next");
    second.follow("2", 99, None).await;
    assert_eq!(second.hear().await["payload"][0]["extensions"]["code"], "RATE_LIMITED");
    sse(&mobile, &john, 99).send().await.expect(429);
    let third = connect(mobile.gate.address(), &[("sec-websocket-protocol", "graphql-transport-ws")]).await;
    assert!(matches!(third.err(), Some(Error::Http(answer)) if answer.status() == 429));
    // What is complete makes room.
    first.say(&json!({"type": "complete", "id": "1"})).await;
    until_told(
        &mobile,
        "gateway_graphql_subscriptions{route=\"/graphql\",operation=\"other\",transport=\"websocket\"} 2",
    )
    .await;
    first.follow("3", 99, None).await;
    assert_eq!(first.hear().await["type"], "next");
}

#[tokio::test]
async fn a_drain_and_another_configuration_say_goodbye() {
    let mut mobile = Mobile::start().await;
    let john = mobile.john();
    let mut client = Client::of(&mobile, &john).await;
    client.follow("1", 99, None).await;
    client.hear().await;
    mobile.gate.rewrite(&offering(&yaml(&mobile.stubs), &yaml_offer("heartbeat: 5s, ")));
    assert_eq!(client.closed().await, 1001);
    let mut client = Client::of(&mobile, &john).await;
    client.follow("1", 99, None).await;
    client.hear().await;
    let mut events = sse_events(sse(&mobile, &john, 99)).await;
    assert_eq!(events.event().await.unwrap().name, "next");
    let (code, ()) = tokio::join!(client.closed(), mobile.gate.drain());
    assert_eq!(code, 1001);
    // Not complete: whoever was cut off comes back.
    while let Some(event) = events.block().await {
        assert_ne!(event.name, "complete");
    }
}

async fn sse_events(ask: Ask) -> Events {
    let response = ask.begin().await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (200, &"text/event-stream".parse().unwrap())
    );
    Events { body: response.into_body(), text: String::new() }
}

#[tokio::test]
async fn server_sent_events_tell_the_same_and_errors_as_events() {
    let mobile = Mobile::start().await;
    slowly(&mobile);
    let john = mobile.john();
    let mut events = sse_events(sse(&mobile, &john, 99)).await;
    let first = events.event().await.unwrap();
    assert!(first.name == "next" && first.data.contains("APPROVED"), "{first:?}");
    cancel(&mobile, &john, 99).await;
    let mut last = first;
    while let Some(event) = events.event().await {
        assert!(last.name == "next");
        last = event;
    }
    assert_eq!(last.name, "complete");
    // What was not executed, and what needs no transport that stays open.
    for (query, told) in [
        ("subscription { nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ order(orderId: 99) { state } }", "\"state\""),
        (
            "subscription { a: orderChanged(orderId: 99) { cursor } b: orderChanged(orderId: 99) { cursor } }",
            "one root field",
        ),
        ("subscription { orderChanged(orderId: 99) @skip(if: false) { cursor } }", "must not decide"),
        (
            "subscription { ...F } fragment F on Subscription { orderChanged(orderId: 99) @include(if: true) { cursor } }",
            "must not decide",
        ),
    ] {
        let ask = mobile.post(&john, &json!({"query": query})).header("accept", "text/event-stream");
        let mut events = sse_events(ask).await;
        let (next, complete) = (events.event().await.unwrap(), events.event().await.unwrap());
        assert!(next.name == "next" && next.data.contains(told), "{next:?}");
        assert!(complete.name == "complete" && events.event().await.is_none());
    }
    let plain =
        mobile.post(&john, &json!({"query": FOLLOW, "variables": {"id": 99}})).send().await.expect(200);
    assert!(plain.json()["errors"][0]["message"].as_str().unwrap().contains("text/event-stream"));
}

#[tokio::test]
async fn multipart_wraps_each_result_as_a_payload() {
    let mobile = Mobile::start().await;
    slowly(&mobile);
    let john = mobile.john();
    let body = json!({"query": FOLLOW, "variables": {"id": 99}});
    let accept = "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json";
    let response = mobile.post(&john, &body).header("accept", accept).begin().await;
    let typed = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(typed, "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0");
    cancel(&mobile, &john, 99).await;
    let all = timeout(PATIENCE, response.into_body().collect()).await.unwrap().unwrap().to_bytes();
    let all = String::from_utf8(all.to_vec()).unwrap();
    let parts = all.split("\r\n--graphql").filter_map(|part| part.split_once("\r\n\r\n"));
    let parts: Vec<Value> = parts.map(|(_, json)| serde_json::from_str(json).unwrap()).collect();
    let state = |part: &Value| part["payload"]["data"]["orderChanged"]["order"]["state"].clone();
    assert_eq!((state(&parts[0]), state(parts.last().unwrap())), (json!("APPROVED"), json!("CANCELLED")));
    assert!(all.ends_with("--graphql--\r\n"));
}

#[tokio::test]
async fn who_takes_nothing_is_ended_and_holds_up_nobody() {
    let mobile = Mobile::offering(&yaml_offer("heartbeat: 200ms, max_per_client: 100, ")).await;
    let john = mobile.john();
    let mut slow = Client::of(&mobile, &john).await;
    let name = "a".repeat(20_000);
    // Answers of 20 KB each, none of which is read, until no more fit into the sockets.
    let payload = json!({"query": "query A { __typename } query B { __typename }", "operationName": name});
    for id in 0.. {
        let text = json!({"id": id.to_string(), "type": "subscribe", "payload": payload}).to_string();
        if timeout(PATIENCE, slow.0.send(Message::text(text))).await.expect("it is ended").is_err() {
            break;
        }
    }
    until_told(&mobile, "gateway_graphql_sockets_ended_total{route=\"/graphql\",reason=\"slow\"} 1").await;
}

#[tokio::test]
async fn who_sends_pings_and_reads_no_pong_is_ended() {
    let mobile = Mobile::offering(&yaml_offer("heartbeat: 200ms, ")).await;
    let mut slow = Client::of(&mobile, &mobile.john()).await;
    // The longest there are (RFC 6455 section 5.5), with a mask of zeros, until no more pongs fit into the sockets.
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let (pings, socket) = (ping.repeat(500), slow.0.get_mut());
    let flood = async { while socket.write_all(&pings).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("it is ended");
    until_told(&mobile, "gateway_graphql_sockets_ended_total{route=\"/graphql\",reason=\"slow\"} 1").await;
}

#[tokio::test]
async fn messages_that_ask_for_nothing_that_can_be_read_count_against_the_limits() {
    let few = |yaml: &str| yaml.replace("principal: { rate: 300/s", "principal: { rate: 3/m");
    let mobile = Mobile::edited(&few).await;
    let mut client = Client::of(&mobile, &mobile.john()).await;
    let mut told = Vec::new();
    for (id, payload) in [json!({"query": 5}), json!([]), json!(5), json!({}), json!([])].iter().enumerate() {
        client.say(&json!({"id": id.to_string(), "type": "subscribe", "payload": payload})).await;
        let refused = client.hear().await;
        assert_eq!(refused["type"], "error", "{refused}");
        told.push(refused["payload"][0]["extensions"]["code"].as_str().unwrap().to_owned());
    }
    assert_eq!(told, [["BAD_USER_INPUT"; 3].as_slice(), &["RATE_LIMITED"; 2]].concat());
}

#[tokio::test]
async fn a_token_that_expires_ends_what_it_opened() {
    let mobile = Mobile::start().await;
    let grant = json!({"sub": JOHN, "roles": ["consumer"], "scope": "orders:read", "expiresIn": "3s"});
    let given = ask(mobile.stubs.control(), "POST", "/tokens").json(&grant).send().await.expect(200).json();
    let short = given["access_token"].as_str().or(given["token"].as_str()).unwrap().to_owned();
    let mut client = Client::of(&mobile, &short).await;
    client.follow("1", 99, None).await;
    assert_eq!(client.hear().await["type"], "next");
    let mut events = sse_events(sse(&mobile, &short, 99)).await;
    assert_eq!(events.event().await.unwrap().name, "next");
    assert_eq!(client.closed().await, 4403);
    while let Some(event) = events.block().await {
        assert_ne!(event.name, "complete");
    }
    // A token that has expired already.
    let mut client = Client::open(&mobile).await;
    client.init(&short).await;
    assert_eq!(client.closed().await, 4403);
}
