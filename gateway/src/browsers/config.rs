//! What one types under `cors:` and `security_headers:`.

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

/// How strict browsers are to be with answers, as typed under `security_headers:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeadersConfig {
    /// Whether browsers must believe `Content-Type`: `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// Who may show answers in frames: `X-Frame-Options`.
    pub frame_options: FrameOptions,
    /// What other sites learn of where their visitors come from: `Referrer-Policy`.
    pub referrer_policy: ReferrerPolicy,
    /// `Content-Security-Policy`; none unless given, since no one policy fits two pages.
    pub content_security_policy: Option<String>,
    /// `Strict-Transport-Security`, over TLS only; none unless given, since it cannot be taken back.
    pub strict_transport_security: Option<StrictTransportConfig>,
    /// Fields of services that do not reach the client.
    pub remove: Vec<String>,
}

impl Default for SecurityHeadersConfig {
    fn default() -> Self {
        SecurityHeadersConfig {
            nosniff: true,
            frame_options: FrameOptions::default(),
            referrer_policy: ReferrerPolicy::default(),
            content_security_policy: None,
            strict_transport_security: None,
            // They tell strangers which holes to try, and nobody else anything.
            remove: vec!["Server".to_owned(), "X-Powered-By".to_owned()],
        }
    }
}

/// Who may show an answer in a frame (RFC 7034).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameOptions {
    /// Nobody: a frame is how clicks are stolen.
    #[default]
    Deny,
    /// Pages of the same origin.
    SameOrigin,
    /// Nothing is said.
    Off,
}

/// What other sites learn of where their visitors come from (W3C Referrer Policy section 3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReferrerPolicy {
    /// Nothing: paths hold ids of orders and people.
    #[default]
    NoReferrer,
    /// Everything, to pages of the same origin.
    SameOrigin,
    /// The origin, never to a page without TLS.
    StrictOrigin,
    /// The same, and everything to pages of the same origin: what browsers do anyway.
    StrictOriginWhenCrossOrigin,
    /// Nothing is said.
    Off,
}

impl ReferrerPolicy {
    /// The field's value.
    #[must_use]
    pub fn value(self) -> Option<&'static str> {
        match self {
            ReferrerPolicy::NoReferrer => Some("no-referrer"),
            ReferrerPolicy::SameOrigin => Some("same-origin"),
            ReferrerPolicy::StrictOrigin => Some("strict-origin"),
            ReferrerPolicy::StrictOriginWhenCrossOrigin => Some("strict-origin-when-cross-origin"),
            ReferrerPolicy::Off => None,
        }
    }
}

/// For how long browsers use nothing but TLS (RFC 6797 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrictTransportConfig {
    /// For how long, counted anew from every answer.
    pub max_age: Span,
    /// Whether this holds for all subdomains too.
    #[serde(default)]
    pub include_subdomains: bool,
}
