//! A stream of server-sent events as a client reads it (WHATWG HTML section 9.2).
//!
//! Not here: what is told by it (`live_events.rs`).

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::timeout;

use crate::client::Ask;

const PATIENCE: Duration = Duration::from_secs(15);

/// A stream as a client reads it.
pub(crate) struct Events {
    pub(crate) body: Incoming,
    pub(crate) text: String,
}

/// One event, or a comment or `retry` by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) retry: Option<u64>,
}

impl Events {
    pub(crate) async fn of(ask: Ask) -> Events {
        let response = ask.begin().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut events = Events { body: response.into_body(), text: String::new() };
        assert!(events.block().await.expect("it begins").retry.is_some());
        events
    }

    /// What stands up to the next empty line; nothing at the end of the stream.
    pub(crate) async fn block(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                return Some(Event::read(&block));
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("something in time")?;
            let data = frame.expect("it ends cleanly").into_data().expect("data");
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event that is one.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if !block.name.is_empty() {
                return Some(block);
            }
        }
    }

    pub(crate) async fn state(&mut self) -> (String, Value) {
        let event = self.event().await.expect("a state");
        assert_eq!(event.name, "state", "{event:?}");
        (event.id.clone(), serde_json::from_str(&event.data).unwrap())
    }

    /// All states up to the first whose order is as it should be, by state and total.
    pub(crate) async fn orders_until(&mut self, so: impl Fn(&Value) -> bool) -> Vec<(String, Value)> {
        let mut seen = Vec::new();
        loop {
            let (id, state) = self.state().await;
            let order = state["order"].clone();
            seen.push((id, order.clone()));
            if so(&order) {
                return seen;
            }
        }
    }
}

impl Event {
    pub(crate) fn read(block: &str) -> Event {
        let field = |name: &str| {
            let prefix = format!("{name}: ");
            block.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
        };
        let retry = field("retry").parse().ok();
        Event { id: field("id"), name: field("event"), data: field("data"), retry }
    }
}
