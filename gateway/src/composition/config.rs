//! What one types under a route's `compose:` and `ask:`.

use serde::Deserialize;

use crate::units::{Size, Span};

/// One branch of a composition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The upstream and the path to GET, e.g. `order/orders/{orderId}`.
    pub get: String,
    /// Whether the answer may do without this part.
    #[serde(default)]
    pub optional: bool,
    /// How long this part may take; the route's own time unless given.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The most bytes that the part's answer may have.
    #[serde(default = "max_size")]
    pub max_size: Size,
}

/// A part is held in memory until the answer is put together.
fn max_size() -> Size {
    Size::mib(4)
}
