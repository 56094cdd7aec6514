//! What one types under a route's `forward:`.

use serde::Deserialize;

/// Pass the request on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardConfig {
    /// A name under `upstreams:`.
    pub to: String,
    /// The path to ask there, e.g. `/v2/orders/{orderId}`; the client's own path unless given. The query always goes on.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether the caller's access token goes on to the service.
    #[serde(default)]
    pub token: bool,
}
