//! What one types under a route's `forward:`.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::websocket::WebSocketConfig;

/// Pass the request on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardConfig {
    /// A name under `upstreams:`.
    #[serde(default)]
    pub to: Option<String>,
    /// Instead of `to`: a method of gRPC, `UPSTREAM/PACKAGE.SERVICE/METHOD`, that answers requests in JSON.
    #[serde(default)]
    pub grpc: Option<String>,
    /// Fields of its message that are written from the path: `{ orderId: "{orderId}" }`.
    #[serde(default)]
    pub fields: IndexMap<String, String>,
    /// The path to ask there, e.g. `/v2/orders/{orderId}`; the client's own path unless given. The query always goes on.
    #[serde(default)]
    pub path: Option<String>,
    /// Whether the caller's access token goes on to the service.
    #[serde(default)]
    pub token: bool,
    /// Open WebSockets to it, and nothing else.
    #[serde(default)]
    pub websocket: Option<WebSocketConfig>,
    /// What is answered when the service does not; an error of the gateway's own unless given.
    #[serde(default)]
    pub fallback: Option<FallbackConfig>,
}

impl ForwardConfig {
    /// The name of the upstream, wherever it was typed.
    #[must_use]
    pub fn upstream(&self) -> &str {
        let of_grpc = || self.grpc.as_deref().and_then(|typed| typed.split('/').next());
        self.to.as_deref().or_else(of_grpc).unwrap_or_default()
    }
}

/// What is answered in a service's place: either `value` or `problem`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackConfig {
    /// This JSON.
    #[serde(default)]
    pub value: Option<Value>,
    /// A problem document.
    #[serde(default)]
    pub problem: Option<ProblemConfig>,
    /// With this status: 200 for a value, 503 for a problem unless given.
    #[serde(default)]
    pub status: Option<u16>,
    /// Answers of the service that are replaced as well, by status. None unless given: they are the service's own to give.
    #[serde(default)]
    pub statuses: Vec<u16>,
    /// Which requests are answered so.
    #[serde(default)]
    pub methods: FallbackMethods,
}

/// A problem document as typed (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProblemConfig {
    /// A stable name that clients may rely on.
    pub code: String,
    /// A sentence for people.
    pub detail: String,
}

/// Which requests a fallback is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FallbackMethods {
    /// GET, HEAD and OPTIONS: a write that may not have happened must not look as if it had.
    #[default]
    Safe,
    /// Writes too.
    All,
}
