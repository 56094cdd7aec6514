//! What one types under `cache:`, at the top level and in a route.

use serde::Deserialize;

use super::control::Rules;
use crate::units::{Size, Span};

/// How much is kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// The most bytes of all answers that are kept, with what it takes to keep them.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// The most bytes of one answer's body.
    #[serde(default = "max_object")]
    pub max_object: Size,
    /// Whether instances find what others keep, by the top-level `redis`; each keeps its own unless given.
    #[serde(default)]
    pub shared: Option<SharedCacheConfig>,
}

/// How instances share what they keep.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedCacheConfig {
    /// How long Redis is waited for by who has missed.
    #[serde(default = "shared_timeout")]
    pub timeout: Span,
    /// The most bytes of one answer's body.
    #[serde(default = "shared_max_object")]
    pub max_object: Size,
    /// How long an answer stands in Redis at most.
    #[serde(default = "shared_max_age")]
    pub max_age: Span,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { max_size: max_size(), max_object: max_object(), shared: None }
    }
}

/// A small part of what machines have, and enough for the answers that are asked for again and again.
fn max_size() -> Size {
    Size::mib(256)
}

/// Larger ones push out hundreds of others.
fn max_object() -> Size {
    Size::mib(8)
}

/// Some times what Redis takes, and less than most services do.
fn shared_timeout() -> Span {
    Span::millis(20)
}

/// What goes through a network within the timeout.
fn shared_max_object() -> Size {
    Size::mib(1)
}

/// What nobody has made invalid for so long is asked for anew for once.
fn shared_max_age() -> Span {
    Span::secs(24 * 3_600)
}

/// Whose answers a route's are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Each caller's own. Services are told who calls, and may answer accordingly.
    #[default]
    Principal,
    /// Everybody's, as far as the service says so (RFC 9111 section 3.5).
    Everyone,
}

/// How the answers of one route are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteCacheConfig {
    /// How long an answer is good that says nothing of that itself; such answers are not kept unless given.
    #[serde(default)]
    pub ttl: Option<Span>,
    /// Whether that may be guessed from `Last-Modified` (RFC 9111 section 4.2.2).
    #[serde(default)]
    pub heuristic: bool,
    /// Whose the answers are.
    #[serde(default)]
    pub by: By,
    /// How long an answer may stand in while it is asked for anew, where it does not say so itself (RFC 5861 section 3).
    #[serde(default)]
    pub stale_while_revalidate: Option<Span>,
    /// How long an answer may stand in for one that cannot be had, where it does not say so itself (RFC 5861 section 4).
    #[serde(default)]
    pub stale_if_error: Option<Span>,
    /// Whether clients may ask for fresher and for staler answers by `Cache-Control` (RFC 9111 section 5.2.1).
    #[serde(default)]
    pub client_directives: bool,
    /// What they can be purged by, besides what the service names: text with places such as `order:{orderId}`.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl RouteCacheConfig {
    /// The same for deciding over answers.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            ttl: self.ttl.map(|ttl| ttl.0),
            heuristic: self.heuristic,
            stale_while_revalidate: self.stale_while_revalidate.map(|span| span.0),
            stale_if_error: self.stale_if_error.map(|span| span.0),
            client_directives: self.client_directives,
        }
    }
}
