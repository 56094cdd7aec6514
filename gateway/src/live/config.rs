//! What one types under a route's `watch:`.

use indexmap::IndexMap;
use serde::Deserialize;

use crate::{cache::config::By, composition::config::PartConfig, units::Span};

/// Tell what changes while it does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchConfig {
    /// What is asked for again and again, and told together, in the order typed.
    pub parts: IndexMap<String, PartConfig>,
    /// Who shares one watcher: those to whom the services would answer the same.
    #[serde(default)]
    pub by: By,
    /// How often the parts are asked for.
    #[serde(default = "every")]
    pub every: Span,
    /// After what silence something is sent that means nothing.
    #[serde(default = "heartbeat")]
    pub heartbeat: Span,
    /// For how long a part cannot be had before clients are told.
    #[serde(default = "stale_after")]
    pub stale_after: Span,
    /// For how long it is watched on when the last client has gone, or kept when it has come to its end.
    #[serde(default = "linger")]
    pub linger: Span,
    /// How many events are kept for those who come back, for each thing watched.
    #[serde(default = "keep")]
    pub keep: u32,
    /// Streams at a time.
    #[serde(default = "max_clients")]
    pub max_clients: u32,
    /// Of these, streams of one caller; where nobody is known, of one address.
    #[serde(default = "max_per_client")]
    pub max_per_client: u32,
    /// Things that are watched at a time.
    #[serde(default = "max_keys")]
    pub max_keys: u32,
    /// How long a stream may last.
    #[serde(default = "max_age")]
    pub max_age: Span,
    /// A rule over the parts: once it holds, nothing changes any more. Never unless given.
    #[serde(default)]
    pub until: Option<String>,
}

/// People do not see the difference to half of it; services do.
fn every() -> Span {
    Span::secs(1)
}

/// Below the half minute after which many proxies give a silent connection up (WHATWG HTML section 9.2.7 advises 15 s).
fn heartbeat() -> Span {
    Span::secs(15)
}

/// Longer than a restart of a service takes.
fn stale_after() -> Span {
    Span::secs(10)
}

/// Clients that lost their connection are back by then.
fn linger() -> Span {
    Span::secs(5)
}

/// More changes than an order sees in its life.
fn keep() -> u32 {
    100
}

/// A stream takes some ten kilobytes.
fn max_clients() -> u32 {
    10_000
}

/// The tabs of one person.
fn max_per_client() -> u32 {
    10
}

/// Each costs its services a call in every interval.
fn max_keys() -> u32 {
    1_000
}

/// What was revoked meanwhile is seen then at the latest.
fn max_age() -> Span {
    Span::secs(3_600)
}
