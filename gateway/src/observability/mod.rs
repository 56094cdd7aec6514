//! What operators see: one access-log line a request, metrics for Prometheus, the trace that services continue.
//!
//! Not here: what to think of it. Nothing in this folder decides anything about a request.

pub mod access_log;
mod endpoints;
pub mod handshakes;
pub mod metrics;
pub mod record;
pub mod trace;
