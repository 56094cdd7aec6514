//! What is counted of operations that stay open.
//!
//! Not here: operations as such (`graphql/metrics.rs`), what is watched for them (`live/metrics.rs`).

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
};

/// How events get to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::graphql) enum Transport {
    Sse,
    Multipart,
    WebSocket,
}

impl Transport {
    const ALL: [(Transport, &'static str); 3] =
        [(Transport::Sse, "sse"), (Transport::Multipart, "multipart"), (Transport::WebSocket, "websocket")];
}

/// Those that are open of one operation, by transport.
type Open = Arc<[AtomicI64; Transport::ALL.len()]>;

/// The counters of one route.
#[derive(Debug, Default)]
pub(crate) struct SubscriptionMetrics {
    open: Mutex<BTreeMap<Box<str>, Open>>,
    pub(super) events: [Counter; Transport::ALL.len()],
    /// By why they have ended, which the code says.
    ended: Mutex<BTreeMap<&'static str, Counter>>,
    /// WebSockets that are open.
    pub(super) sockets: AtomicI64,
    /// The same by why they have ended.
    closed: Mutex<BTreeMap<&'static str, Counter>>,
    /// What was refused since there are too many.
    pub(super) refused: Counter,
}

/// A subscription that is counted for as long as it is open.
pub(super) struct Counted {
    metrics: Arc<SubscriptionMetrics>,
    open: Open,
    transport: Transport,
    /// Why it ends; the client leaves unless something else is known.
    pub(super) ended: &'static str,
}

impl SubscriptionMetrics {
    /// Counts one of `operation`, which is a trusted one's name, or none.
    pub(super) fn open(self: &Arc<Self>, operation: Option<&str>, transport: Transport) -> Counted {
        let name = operation.unwrap_or("other");
        let open = {
            let mut all = self.open.lock();
            match all.get(name) {
                Some(open) => open.clone(),
                None => all.entry(name.into()).or_default().clone(),
            }
        };
        open[transport as usize].fetch_add(1, Relaxed);
        Counted { metrics: self.clone(), open, transport, ended: "client" }
    }

    pub(super) fn closed(&self, why: &'static str) {
        self.closed.lock().entry(why).or_default().inc();
    }
}

impl Counted {
    pub(super) fn event(&self) {
        self.metrics.events[self.transport as usize].inc();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open[self.transport as usize].fetch_sub(1, Relaxed);
        self.metrics.ended.lock().entry(self.ended).or_default().inc();
    }
}

/// Writes all of it as OpenMetrics text.
pub(in crate::graphql) fn encode(
    all: &HashMap<&str, &Arc<SubscriptionMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, help) = ("gateway_graphql_subscriptions", "Subscriptions that are open");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (route, metrics) in all {
        for (operation, open) in &*metrics.open.lock() {
            for (transport, told) in Transport::ALL {
                let labels = [("route", *route), ("operation", operation), ("transport", told)];
                let open = open[transport as usize].load(Relaxed);
                ConstGauge::new(open).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let (name, help) = ("gateway_graphql_sockets", "WebSockets of GraphQL that are open");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (route, metrics) in all {
        let labels = [("route", *route)];
        ConstGauge::new(metrics.sockets.load(Relaxed)).encode(family.encode_family(&labels)?)?;
    }
    counters(all, encoder, ("gateway_graphql_events", "Events of subscriptions", "transport"), |metrics| {
        Transport::ALL.iter().map(|(at, told)| (*told, metrics.events[*at as usize].get())).collect()
    })?;
    let ended = ("gateway_graphql_subscriptions_ended", "Subscriptions that have ended", "reason");
    counters(all, encoder, ended, |metrics| of(&metrics.ended))?;
    let closed = ("gateway_graphql_sockets_ended", "WebSockets of GraphQL that have ended", "reason");
    counters(all, encoder, closed, |metrics| of(&metrics.closed))?;
    let refused = ("gateway_graphql_subscriptions_refused", "Refused since there are too many", "outcome");
    counters(all, encoder, refused, |metrics| vec![("limit", metrics.refused.get())])
}

fn of(counters: &Mutex<BTreeMap<&'static str, Counter>>) -> Vec<(&'static str, u64)> {
    counters.lock().iter().map(|(why, counter)| (*why, counter.get())).collect()
}

fn counters(
    all: &HashMap<&str, &Arc<SubscriptionMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    values: impl Fn(&SubscriptionMetrics) -> Vec<(&'static str, u64)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, metrics) in all {
        for (told, value) in values(metrics) {
            let labels = [("route", *route), (label, told)];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
