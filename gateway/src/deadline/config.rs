//! What one types under `deadline:`.

use serde::Deserialize;

/// By which header fields the time that is left is told, as typed under `deadline:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlineConfig {
    /// The field by which a client says how long it will wait. None is read unless given: most clients are strangers.
    pub read: Option<String>,
    /// The field by which services are told how long a call may still take.
    pub send: String,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        DeadlineConfig { read: None, send: crate::identity::REQUEST_TIMEOUT.as_str().to_owned() }
    }
}
