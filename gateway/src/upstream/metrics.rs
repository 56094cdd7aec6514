//! What is counted per upstream and per endpoint: calls by outcome, attempts, time to the head of the answer.
//!
//! Not here: how it is told (`observability/metrics.rs`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use super::{Fault, Reason, circuit_breaker::State, endpoint::millis, grpc, in_flight::InFlight};
use crate::{body::Response, histogram::Histogram};

/// The kinds of outcome that calls are counted by: label values are fixed here, never taken from traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Ok,
    /// An answer of 5xx.
    ServerError,
    /// No answer in time.
    Timeout,
    /// No connection.
    Refused,
    /// The connection broke before the answer.
    Broken,
    /// The client left before the answer, or what it sent was bad.
    Cancelled,
    /// Nothing was sent: the circuit breaker is open, or too many calls are under way.
    Rejected,
}

impl Outcome {
    /// All of them, in the order of [`UpstreamMetrics::outcomes`].
    pub const ALL: [Outcome; 7] = [
        Outcome::Ok,
        Outcome::ServerError,
        Outcome::Timeout,
        Outcome::Refused,
        Outcome::Broken,
        Outcome::Cancelled,
        Outcome::Rejected,
    ];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ServerError => "5xx",
            Outcome::Timeout => "timeout",
            Outcome::Refused => "refused",
            Outcome::Broken => "broken",
            Outcome::Cancelled => "cancelled",
            Outcome::Rejected => "rejected",
        }
    }

    /// What an answer of `status` is.
    pub(super) fn of_status(status: StatusCode) -> Self {
        if status.is_server_error() { Outcome::ServerError } else { Outcome::Ok }
    }

    /// What a call without an answer is.
    pub(super) fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::Timeout => Outcome::Timeout,
            Reason::Refused => Outcome::Refused,
            Reason::Request(_) => Outcome::Cancelled,
            Reason::CircuitOpen | Reason::Limit => Outcome::Rejected,
            _ => Outcome::Broken,
        }
    }

    fn of(result: &Result<Response, Fault>) -> Self {
        match result {
            Ok(response) => Outcome::of_status(grpc::seen(
                response.version(),
                response.status(),
                response.headers(),
                response.body().is_empty(),
            )),
            Err(fault) => Outcome::of_reason(fault.reason),
        }
    }
}

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub struct EndpointMetrics {
    /// Attempts that were sent there.
    pub picks: Counter,
    /// How often it was ejected.
    pub ejections: Counter,
    /// How often its circuit breaker opened.
    pub opened: Counter,
    /// Its breaker: 0 closed, 1 half-open, 2 open.
    pub breaker: AtomicI64,
    /// Whether checks say that it is not well.
    pub unhealthy: AtomicBool,
    /// The millisecond at which it is back from its last ejection, on the clock of balancing.
    pub ejected_until: AtomicU64,
    /// Connections to it, as [`Spoken::ALL`].
    pub connections: [Connections; 2],
}

/// Connections that speak one protocol.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many were opened.
    pub opened: Counter,
    /// How many are open.
    pub open: AtomicI64,
}

/// What is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Spoken {
    /// Both, in the order of [`EndpointMetrics::connections`].
    pub const ALL: [Spoken; 2] = [Spoken::Http1, Spoken::Http2];

    /// The label's value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Spoken::Http1 => "http1",
            Spoken::Http2 => "http2",
        }
    }
}

/// A connection that counts as open until this is dropped.
pub(super) struct Open(Arc<EndpointMetrics>, Spoken);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections[self.1 as usize].open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EndpointMetrics {
    pub(super) fn opened_connection(self: &Arc<Self>, spoken: Spoken) -> Open {
        let connections = &self.connections[spoken as usize];
        connections.opened.inc();
        connections.open.fetch_add(1, Ordering::Relaxed);
        Open(self.clone(), spoken)
    }

    /// Whether it is ejected.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        millis(Instant::now()) < self.ejected_until.load(Ordering::Relaxed)
    }

    pub(super) fn breaker_changed(&self, to: State) {
        let number = match to {
            State::Closed => 0,
            State::HalfOpen => 1,
            State::Open => 2,
        };
        self.breaker.store(number, Ordering::Relaxed);
        if to == State::Open {
            self.opened.inc();
        }
    }
}

/// The counters of one upstream.
#[derive(Default)]
pub struct UpstreamMetrics {
    /// Calls by outcome, as [`Outcome::ALL`].
    pub outcomes: [Counter; 7],
    /// Time to the head of the answer.
    pub latency: Histogram,
    /// Calls that have no head of an answer yet.
    pub in_flight: Arc<AtomicI64>,
    /// Attempts after the first.
    pub retries: Counter,
    /// Second attempts beside a slow first one.
    pub hedges: Counter,
    /// Fallbacks served in the place of its answers.
    pub fallbacks: Counter,
    /// Answers over `max_response`: not delivered, or cut off.
    pub too_large: Counter,
    /// Those of each endpoint, as long as it lives: the addresses of all that ever were would add up.
    endpoints: Mutex<BTreeMap<SocketAddr, Weak<EndpointMetrics>>>,
    /// The slots of the upstreams so named: of the one in use, which is the last that lives, and of those before it that
    /// still have calls. One of a configuration that was refused is gone at once.
    slots: Mutex<Vec<Weak<InFlight>>>,
}

/// How many calls an upstream has under way, and how many it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    /// Taken, by calls before a reload too.
    pub taken: u32,
    /// How many there are now.
    pub limit: u32,
}

impl UpstreamMetrics {
    /// Those of an endpoint that begins, with a closed breaker: those of the one before it at this address, if it lives.
    pub(super) fn endpoint(&self, address: SocketAddr) -> Arc<EndpointMetrics> {
        let mut endpoints = self.endpoints.lock();
        endpoints.retain(|_, metrics| metrics.strong_count() > 0);
        let metrics = endpoints.get(&address).and_then(Weak::upgrade).unwrap_or_default();
        metrics.breaker.store(0, Ordering::Relaxed);
        metrics.unhealthy.store(false, Ordering::Relaxed);
        metrics.ejected_until.store(0, Ordering::Relaxed);
        endpoints.insert(address, Arc::downgrade(&metrics));
        metrics
    }

    /// Those of each endpoint that lives.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(SocketAddr, Arc<EndpointMetrics>)> {
        let endpoints = self.endpoints.lock();
        endpoints.iter().filter_map(|(address, metrics)| Some((*address, metrics.upgrade()?))).collect()
    }

    /// Tells about these slots too, as long as they live.
    pub(super) fn watch(&self, slots: Arc<InFlight>) -> Arc<InFlight> {
        let mut all = self.slots.lock();
        all.retain(|slots| slots.strong_count() > 0);
        all.push(Arc::downgrade(&slots));
        slots
    }

    /// The slots in use and their limit; nothing before there are any.
    #[must_use]
    pub fn slots(&self) -> Option<Slots> {
        let living: Vec<_> = self.slots.lock().iter().filter_map(Weak::upgrade).collect();
        let limit = living.last()?.limit();
        Some(Slots { taken: living.iter().map(|slots| slots.in_flight()).sum(), limit })
    }

    pub(super) fn begin(&self) -> Flight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight { metrics: self, begun: Instant::now(), answered: None, outcome: Outcome::Cancelled }
    }
}

/// One call under way; counted as cancelled when it is dropped before its end.
pub(super) struct Flight<'a> {
    metrics: &'a UpstreamMetrics,
    pub(super) begun: Instant,
    /// When the head of the answer came, where somebody has looked at the clock then: it is looked at as seldom as can be.
    pub(super) answered: Option<Instant>,
    outcome: Outcome,
}

impl Flight<'_> {
    pub(super) fn end(mut self, result: &Result<Response, Fault>) {
        self.outcome = Outcome::of(result);
        let now = self.answered.unwrap_or_else(Instant::now);
        self.metrics.latency.observe(now.saturating_duration_since(self.begun));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.metrics.outcomes[self.outcome as usize].inc();
    }
}
