//! What one types under `cors:`.

use serde::Deserialize;

use crate::units::Span;

/// Which pages of other origins may read answers, as typed under `cors:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsConfig {
    /// `https://app.ftgo.example`, `https://*.ftgo.example` for all its subdomains, or `*` alone for everybody.
    pub origins: Vec<String>,
    /// The methods that they may use; all that a route offers unless given.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The header fields that they may send besides those that every page may.
    #[serde(default = "headers")]
    pub headers: Vec<String>,
    /// The header fields that they may read besides those that every page may and those of the gateway's own.
    #[serde(default)]
    pub expose: Vec<String>,
    /// Whether their requests may carry cookies and client certificates.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser remembers what it may send.
    #[serde(default = "max_age")]
    pub max_age: Span,
}

/// A token, and a body of JSON: what nearly every page sends to an API.
fn headers() -> Vec<String> {
    vec!["Authorization".to_owned(), "Content-Type".to_owned()]
}

/// Seldom enough to cost nothing, and a change is known everywhere soon.
fn max_age() -> Span {
    Span::secs(600)
}
