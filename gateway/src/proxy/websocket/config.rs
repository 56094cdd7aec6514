//! What one types under a route's `forward.websocket:`.

use serde::Deserialize;

use crate::units::Span;

/// Open WebSockets and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSocketConfig {
    /// After what silence in both directions one is ended.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Span,
    /// How long one may last.
    #[serde(default = "max_age")]
    pub max_age: Span,
    /// How many may be open.
    #[serde(default = "max_clients")]
    pub max_clients: u32,
    /// Of these, those of one caller; where nobody is known, of one address.
    #[serde(default = "max_per_client")]
    pub max_per_client: u32,
}

/// Clients and services that want to stay send a ping twice a minute, or more often.
fn idle_timeout() -> Span {
    Span::secs(60)
}

/// What was revoked meanwhile is seen then at the latest.
fn max_age() -> Span {
    Span::secs(3_600)
}

/// One takes two sockets and some 30 KiB.
fn max_clients() -> u32 {
    1_000
}

/// The tabs of one person.
fn max_per_client() -> u32 {
    10
}
