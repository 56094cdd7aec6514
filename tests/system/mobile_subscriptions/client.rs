//! A client that follows orders over a WebSocket.
//!
//! Not here: what is asserted of what it is told (`mod.rs`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{client::Ask, mobile::Mobile};

pub(super) const PATIENCE: Duration = Duration::from_secs(15);
pub(super) const FOLLOW: &str = "subscription F($id: ID!, $after: String) { orderChanged(orderId: $id, after: $after) \
                      { cursor order { orderId state ticket { state } } } }";

/// A client of `graphql-transport-ws`.
pub(super) struct Client(pub(super) WebSocketStream<TcpStream>);

pub(super) async fn connect(to: SocketAddr, fields: &[(&'static str, &str)]) -> Result<Client, Error> {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut request = "ws://ftgo.example/graphql".into_client_request().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, stream).await.map(|(socket, _)| Client(socket))
}

impl Client {
    pub(super) async fn open(mobile: &Mobile) -> Client {
        connect(mobile.gate.address(), &[("sec-websocket-protocol", "graphql-transport-ws")]).await.unwrap()
    }

    /// One that has said whose it is.
    pub(super) async fn of(mobile: &Mobile, token: &str) -> Client {
        let mut client = Client::open(mobile).await;
        client.init(token).await;
        assert_eq!(client.hear().await["type"], "connection_ack");
        client
    }

    pub(super) async fn init(&mut self, token: &str) {
        let payload = json!({"Authorization": format!("Bearer {token}")});
        self.say(&json!({"type": "connection_init", "payload": payload})).await;
    }

    pub(super) async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(super) async fn ask(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({"query": query, "variables": variables});
        self.say(&json!({"id": id, "type": "subscribe", "payload": payload})).await;
    }

    pub(super) async fn follow(&mut self, id: &str, order: i64, after: Option<&str>) {
        self.ask(id, FOLLOW, json!({"id": order, "after": after})).await;
    }

    /// The next message that means something.
    pub(super) async fn hear(&mut self) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("something in time");
            match message.expect("it goes on").unwrap() {
                Message::Text(text) => {
                    let message: Value = serde_json::from_str(&text).unwrap();
                    if message["type"] != "ping" {
                        return message;
                    }
                }
                Message::Close(frame) => panic!("it was closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The states up to this one, with their cursors.
    pub(super) async fn states_until(&mut self, last: &str) -> Vec<(String, String)> {
        let mut seen = Vec::new();
        loop {
            let message = self.hear().await;
            assert_eq!(message["type"], "next", "{message}");
            let change = &message["payload"]["data"]["orderChanged"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            seen.push((text(&change["order"]["state"]), text(&change["cursor"])));
            if change["order"]["state"] == last {
                return seen;
            }
        }
    }

    /// The code that it is closed with.
    pub(super) async fn closed(&mut self) -> u16 {
        loop {
            let message = timeout(PATIENCE, self.0.next()).await.expect("something in time");
            if let Message::Close(frame) = message.expect("it says goodbye").unwrap() {
                return frame.expect("with a code").code.into();
            }
        }
    }
}

pub(super) fn sse(mobile: &Mobile, token: &str, order: i64) -> Ask {
    let body = json!({"query": FOLLOW, "variables": {"id": order}});
    mobile.post(token, &body).header("accept", "text/event-stream")
}

pub(super) async fn cancel(mobile: &Mobile, token: &str, order: i64) {
    let cancel = format!("mutation {{ cancelOrder(input: {{orderId: {order}}}) {{ state }} }}");
    let answer = mobile.ask(token, &cancel).await;
    assert!(answer.get("errors").is_none(), "{answer}");
}

pub(super) async fn told(mobile: &Mobile, line: &str) -> bool {
    let metrics = mobile.gate.admin("/metrics").send().await.expect(200);
    String::from_utf8_lossy(metrics.bytes()).lines().any(|told| told.starts_with(line))
}

pub(super) async fn until_told(mobile: &Mobile, line: &str) {
    let begun = Instant::now();
    while !told(mobile, line).await {
        assert!(begun.elapsed() < PATIENCE, "it never was told: {line}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
