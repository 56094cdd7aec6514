//! Header fields that tell browsers to be strict with an answer, and those of services that tell strangers too much.
//!
//! All values are made when the configuration is built. Not here: who may read an answer (`cors.rs`).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::config::{FrameOptions, SecurityHeadersConfig};
use crate::mistake::{Mistake, Mistakes, below};

/// One set under `security_headers:`, resolved.
pub struct SecurityHeaders {
    set: Vec<(HeaderName, HeaderValue)>,
    /// RFC 6797 section 7.2: over TLS only.
    strict_transport: Option<HeaderValue>,
    remove: Vec<HeaderName>,
}

impl SecurityHeaders {
    /// The set `name`, typed at the key path `at`.
    pub fn build(
        name: &str,
        config: &SecurityHeadersConfig,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let before = mistakes.0.len();
        let mut set = Vec::new();
        if config.nosniff {
            set.push((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
        }
        let frames = match config.frame_options {
            FrameOptions::Deny => Some("DENY"),
            FrameOptions::SameOrigin => Some("SAMEORIGIN"),
            FrameOptions::Off => None,
        };
        set.extend(frames.map(|value| (header::X_FRAME_OPTIONS, HeaderValue::from_static(value))));
        let referrer = config.referrer_policy.value();
        set.extend(referrer.map(|value| (header::REFERRER_POLICY, HeaderValue::from_static(value))));
        if let Some(policy) = &config.content_security_policy {
            let value = HeaderValue::from_str(policy).map_err(|_invalid| {
                let message = format!("`{name}`: `content_security_policy` cannot be sent in a header field");
                Mistake::new(below(at, "content_security_policy"), message).expected("one line of ASCII")
            });
            set.extend(mistakes.keep(value).map(|value| (header::CONTENT_SECURITY_POLICY, value)));
        }
        let strict_transport = config.strict_transport_security.as_ref().map(|strict| {
            let subdomains = if strict.include_subdomains { "; includeSubDomains" } else { "" };
            let value = format!("max-age={}{subdomains}", strict.max_age.0.as_secs());
            HeaderValue::from_str(&value).expect("digits and a word")
        });
        let remove = removed(name, config, at, mistakes);
        (mistakes.0.len() == before).then_some(SecurityHeaders { set, strict_transport, remove })
    }

    /// Sets them in the place of what a service said of the same; `tls` when the client came by it.
    pub fn tell(&self, headers: &mut HeaderMap, tls: bool) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        if let Some(strict) = self.strict_transport.as_ref().filter(|_| tls) {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, strict.clone());
        }
    }
}

/// Fields without which an answer would be another one cannot be removed.
fn removed(name: &str, config: &SecurityHeadersConfig, at: &str, mistakes: &mut Mistakes) -> Vec<HeaderName> {
    const NEEDED: [HeaderName; 6] = [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::VARY,
    ];
    let mut names = Vec::new();
    for (index, typed) in config.remove.iter().enumerate() {
        match typed.parse::<HeaderName>() {
            Ok(field) if !NEEDED.contains(&field) => names.push(field),
            parsed => {
                let why = if parsed.is_ok() { "is needed to read an answer" } else { "is no header field" };
                let mistake = Mistake::new(
                    format!("{}[{index}]", below(at, "remove")),
                    format!("`{name}`: `{typed}` {why}"),
                );
                mistakes.add(mistake.expected("like `Server` or `X-Powered-By`"));
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        browsers::config::{ReferrerPolicy, StrictTransportConfig},
        units::Span,
    };

    fn told(
        config: &SecurityHeadersConfig,
        service: &[(&'static str, &'static str)],
        tls: bool,
    ) -> Vec<String> {
        let mut mistakes = Mistakes::default();
        let built = SecurityHeaders::build("pages", config, "security_headers.pages", &mut mistakes).unwrap();
        let service = service.iter();
        let mut headers: HeaderMap = service
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        built.tell(&mut headers, tls);
        let mut told: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        told.sort();
        told
    }

    #[test]
    fn the_defaults_are_strict_and_what_a_service_says_gives_way() {
        let service = [
            ("server", "nginx/1.0"),
            ("x-powered-by", "PHP"),
            ("x-frame-options", "ALLOWALL"),
            ("etag", "1"),
        ];
        let expected = [
            "etag: 1",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ];
        assert_eq!(told(&SecurityHeadersConfig::default(), &service, true), expected);
    }

    #[test]
    fn strict_transport_is_told_over_tls_only() {
        let config = SecurityHeadersConfig {
            nosniff: false,
            frame_options: FrameOptions::Off,
            referrer_policy: ReferrerPolicy::Off,
            content_security_policy: Some("default-src 'self'".to_owned()),
            strict_transport_security: Some(StrictTransportConfig {
                max_age: Span::secs(31_536_000),
                include_subdomains: true,
            }),
            remove: Vec::new(),
        };
        let policy = "content-security-policy: default-src 'self'";
        assert_eq!(told(&config, &[("server", "a")], false), [policy, "server: a"]);
        let strict = "strict-transport-security: max-age=31536000; includeSubDomains";
        assert_eq!(told(&config, &[], true), [policy, strict]);
    }
}
