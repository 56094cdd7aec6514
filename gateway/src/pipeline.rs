//! placeholder: being written
use std::sync::{Arc, atomic::AtomicBool};

use hyper::body::Incoming;

use crate::{
    config::Config,
    handler::Downstream,
    observability::{metrics::Metrics, record::Recorded},
};

/// placeholder
pub struct Gateway {
    /// Set when the drain begins: answers of HTTP/1.1 then say `Connection: close`.
    pub draining: AtomicBool,
    /// All metrics.
    pub metrics: Metrics,
}

impl Gateway {
    /// Answers one request.
    pub async fn handle(
        &self,
        _request: http::Request<Incoming>,
        _from: &Arc<Downstream>,
    ) -> http::Response<Recorded> {
        std::future::pending().await
    }
    /// What each worker does ten times a second: hands over its log lines, closes connections that nobody uses.
    pub fn tick(&self) {}
    /// Whether this instance can take requests: keys are there, and it is not draining.
    pub fn ready(&self) -> bool {
        false
    }
    /// The configuration in use.
    pub fn config(&self) -> Arc<Config> {
        unimplemented!()
    }
}
