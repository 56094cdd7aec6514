//! What one types under `upstreams:`.

use serde::Deserialize;

use crate::units::{Size, Span};

/// A service behind the gateway, as typed under `upstreams:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where it answers: `http://host:port`. A path is not allowed here.
    pub url: String,
    /// How long connecting may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How long a connection may stay idle before it is closed. Keep it below the service's own keep-alive.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Span,
    /// How many idle connections each worker keeps.
    #[serde(default = "max_idle")]
    pub max_idle: usize,
    /// The most that the header section of an answer may take.
    #[serde(default = "max_header_size")]
    pub max_header_size: Size,
}

/// A service in the same data centre answers a SYN in a millisecond; a lost one is sent again after one second, which
/// must not be too late.
fn connect_timeout() -> Span {
    Span::secs(2)
}

/// Below the 60 s at which most servers close, so that we close first.
fn idle_timeout() -> Span {
    Span::secs(30)
}

/// Enough for a burst, little enough to be forgotten by the service.
fn max_idle() -> usize {
    256
}

fn max_header_size() -> Size {
    Size::kib(64)
}
