//! What one types under `loaders:`.

use serde::Deserialize;

use crate::{
    cache::control::Rules,
    units::{Size, Span},
};

/// How values of one kind are had, many by one call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderConfig {
    /// The upstream and the path to GET, with `{keys}` where the keys are written: `restaurant/restaurants?ids={keys}`.
    pub get: String,
    /// The member of each element of the answer that holds its key: `id`, or `info.id`.
    pub key: String,
    /// The most keys of one call. For more, there are more calls at once.
    #[serde(default = "max_keys")]
    pub max_keys: usize,
    /// How long a call may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// The most bytes of an answer.
    #[serde(default = "max_size")]
    pub max_size: Size,
    /// How values are kept for all callers; not at all unless given.
    #[serde(default)]
    pub cache: Option<LoaderCacheConfig>,
}

/// How a loader's values are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderCacheConfig {
    /// How long values are good whose answer says nothing of that itself; such are not kept unless given.
    #[serde(default)]
    pub ttl: Option<Span>,
    /// How long values may stand in while they are asked for anew, where the answer does not say so itself (RFC 5861
    /// section 3).
    #[serde(default)]
    pub stale_while_revalidate: Option<Span>,
    /// How long values may stand in for those that cannot be had, where the answer does not say so itself (RFC 5861
    /// section 4).
    #[serde(default)]
    pub stale_if_error: Option<Span>,
    /// What each value can be purged by, with `{key}` in the place of its key.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// As many as a page of a list shows, and no more than a service's line of a request takes.
fn max_keys() -> usize {
    100
}

/// One call of several that a person waits for.
fn timeout() -> Span {
    Span::millis(1_500)
}

/// An answer is held in memory until it is taken apart.
fn max_size() -> Size {
    Size::mib(4)
}

impl LoaderCacheConfig {
    /// The same for deciding over answers.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            ttl: self.ttl.map(|ttl| ttl.0),
            stale_while_revalidate: self.stale_while_revalidate.map(|span| span.0),
            stale_if_error: self.stale_if_error.map(|span| span.0),
            ..Rules::default()
        }
    }
}
