//! What is counted per upstream: calls by outcome, calls in flight, time to the head of the answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Instant,
};

use prometheus_client::metrics::counter::Counter;

use super::Fault;
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
    /// The client left before the answer.
    Cancelled,
}

impl Outcome {
    /// All of them, in the order of [`UpstreamMetrics::outcomes`].
    pub const ALL: [Outcome; 6] = [
        Outcome::Ok,
        Outcome::ServerError,
        Outcome::Timeout,
        Outcome::Refused,
        Outcome::Broken,
        Outcome::Cancelled,
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
        }
    }

    fn of(result: &Result<Response, Fault>) -> Self {
        use super::Reason;
        match result {
            Ok(response) if response.status().is_server_error() => Outcome::ServerError,
            Ok(_) => Outcome::Ok,
            Err(fault) => match fault.reason {
                Reason::Timeout => Outcome::Timeout,
                Reason::Refused => Outcome::Refused,
                Reason::Request(_) => Outcome::Cancelled,
                _ => Outcome::Broken,
            },
        }
    }
}

/// The counters of one upstream.
#[derive(Default)]
pub struct UpstreamMetrics {
    /// Calls by outcome, as [`Outcome::ALL`].
    pub outcomes: [Counter; 6],
    /// Time to the head of the answer.
    pub latency: Histogram,
    /// Calls that have no head of an answer yet.
    pub in_flight: Arc<AtomicI64>,
}

impl UpstreamMetrics {
    pub(super) fn begin(&self) -> Flight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Flight { metrics: self, begun: Instant::now(), outcome: Outcome::Cancelled }
    }
}

/// One call under way; counted as cancelled when it is dropped before its end.
pub(super) struct Flight<'a> {
    metrics: &'a UpstreamMetrics,
    begun: Instant,
    outcome: Outcome,
}

impl Flight<'_> {
    pub(super) fn end(mut self, result: &Result<Response, Fault>) {
        self.outcome = Outcome::of(result);
        self.metrics.latency.observe(self.begun.elapsed());
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.metrics.outcomes[self.outcome as usize].inc();
    }
}
