//! What one types under a route's `compose:` and `ask:`.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    cache::config::RouteCacheConfig,
    units::{Size, Span},
};

/// One branch of a composition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The upstream and the path to GET, e.g. `order/orders/{orderId}`.
    pub get: String,
    /// Whether the answer may do without this part.
    #[serde(default)]
    pub optional: bool,
    /// What stands in the place of an optional part that is missing; nothing does unless given.
    #[serde(default)]
    pub fallback: Option<PartFallbackConfig>,
    /// How its answers are kept; not at all unless given.
    #[serde(default)]
    pub cache: Option<RouteCacheConfig>,
    /// How long this part may take; the route's own time unless given.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The most bytes that the part's answer may have.
    #[serde(default = "max_size")]
    pub max_size: Size,
}

/// What stands in the place of a part.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartFallbackConfig {
    /// The last answer that was kept of it.
    Stale,
    /// This JSON.
    Value(Value),
}

/// A part is held in memory until the answer is put together.
fn max_size() -> Size {
    Size::mib(4)
}
