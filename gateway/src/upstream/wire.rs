//! What is spoken with a service: plaintext or TLS, HTTP/1.1 or HTTP/2, and by which names requests call it there. One
//! for an upstream, in which all its endpoints agree.
//!
//! Not here: certificates (`tls.rs`), connections (`pool.rs`, `http2.rs`).

use http::{
    HeaderValue, Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use serde::Deserialize;

use super::{
    config::UpstreamConfig,
    discovery::{Discovery, Target},
    tls::{ServiceTlsConfig, Tls},
};
use crate::{
    mistake::{Mistake, Mistakes, below},
    server::tls::{HTTP1, HTTP2},
};

/// Which HTTP a service speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// With TLS, what the service chooses of HTTP/2 and HTTP/1.1; else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: with TLS, agreed on there; else with prior knowledge.
    Http2,
}

/// What is spoken with one service.
pub(super) struct Wire {
    pub(super) tls: Option<Tls>,
    pub(super) protocol: Protocol,
}

/// How requests call a service.
pub(super) struct Naming {
    host: HeaderValue,
    scheme: Scheme,
    authority: Authority,
}

impl Protocol {
    /// What is offered in a TLS handshake, the best first (RFC 7301 section 3.1).
    pub(super) fn offered(self) -> impl Iterator<Item = &'static [u8]> {
        let (http2, http1) = (self != Protocol::Http1, self != Protocol::Http2);
        http2.then_some(HTTP2).into_iter().chain(http1.then_some(HTTP1))
    }
}

impl Wire {
    /// What is spoken with the upstream called `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// All that is wrong. Nothing is sent in plaintext to where TLS was asked for, in whatever way.
    pub(super) fn build(
        config: &UpstreamConfig,
        discovery: &Discovery,
        name: &str,
        at: &str,
    ) -> Result<Self, Mistakes> {
        let protocol = config.protocol;
        // What DNS says has no scheme.
        if !discovery.tls && (config.tls.is_none() || config.dns.is_none()) {
            return match config.tls {
                Some(_) => Err(Mistakes(vec![beside_plaintext(name, at)])),
                None => Ok(Wire { tls: None, protocol }),
            };
        }
        let (typed, at_tls) = match &config.tls {
            Some(typed) => (typed.clone(), below(at, "tls")),
            None => (ServiceTlsConfig::default(), below(at, config.place_key())),
        };
        if typed.server_name.is_none()
            && let Some(nameless) = nameless(config, discovery, name, at)
        {
            return Err(Mistakes(vec![nameless]));
        }
        Ok(Wire { tls: Some(Tls::build(&typed, protocol, name, &at_tls)?), protocol })
    }

    /// Whether this and `other` come to the same, with the same certificates.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        };
        same_tls && self.protocol == other.protocol
    }

    /// Whether the files of certificates hold what they held.
    pub(super) fn is_unchanged(&self, config: &UpstreamConfig) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.is_unchanged(&config.tls.clone().unwrap_or_default()))
    }

    /// Whether connections of HTTP/2 may come about.
    pub(super) fn may_be_http2(&self) -> bool {
        match self.protocol {
            Protocol::Auto => self.tls.is_some(),
            Protocol::Http1 => false,
            Protocol::Http2 => true,
        }
    }
}

fn beside_plaintext(name: &str, at: &str) -> Mistake {
    let wrong = format!("upstream `{name}`: `tls` is typed, and where it is begins with http://");
    Mistake::new(below(at, "tls:"), wrong).expected("`https://host:port` there, or no `tls`")
}

/// What is wrong where nothing says what the service's certificate must be for.
fn nameless(config: &UpstreamConfig, discovery: &Discovery, name: &str, at: &str) -> Option<Mistake> {
    let (key, why) = match discovery.source.first().first() {
        Some(typed) => {
            let why = format!("nothing says what the certificate of {} must be for", typed.host);
            (config.place_key(), why)
        }
        None => {
            config.dns.as_ref()?.srv.as_ref()?;
            // Whoever forges the answer would choose the name too (RFC 6125 section 6.2.1).
            (
                "dns.srv",
                "nothing says what the certificate must be for: anybody may answer for DNS".to_owned(),
            )
        }
    };
    let help = "write `tls: { server_name: kitchen.internal }`, or the address there if it is for that";
    let wrong = Mistake::new(below(at, key), format!("upstream `{name}`: {why}"));
    Some(wrong.expected("a name, or `tls.server_name`").help(help))
}

impl Naming {
    pub(super) fn new(wire: &Wire, target: &Target) -> Self {
        // A name that no URI could hold is called by its address.
        let by_address =
            || Authority::try_from(target.address.to_string()).expect("an address is an authority");
        Naming {
            host: HeaderValue::from_str(&target.host).expect("a host is made of header characters"),
            scheme: if wire.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP },
            authority: Authority::try_from(&*target.host).unwrap_or_else(|_| by_address()),
        }
    }

    /// `Host` (RFC 9112 section 3.2).
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// `:scheme`, `:authority` and `:path`, by which HTTP/2 asks for `target` (RFC 9113 section 8.3.1). Nothing is copied: all
    /// three are shared.
    pub(super) fn uri(&self, target: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).expect("scheme, authority and path make a URI")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_is_what_was_typed() {
        let offered = |protocol: Protocol| protocol.offered().collect::<Vec<_>>();
        assert_eq!(offered(Protocol::Auto), [HTTP2, HTTP1]);
        assert_eq!((offered(Protocol::Http1), offered(Protocol::Http2)), (vec![HTTP1], vec![HTTP2]));
    }

    #[test]
    fn a_target_of_http2_is_absolute() {
        let wire = Wire { tls: None, protocol: Protocol::Http2 };
        let target = Target::new("10.0.0.1:80".parse().unwrap(), "kitchen.internal:80");
        let naming = Naming::new(&wire, &target);
        let target = PathAndQuery::from_static("/tickets?a=%20b");
        assert_eq!(naming.host(), "kitchen.internal:80");
        assert_eq!(naming.uri(target).to_string(), "http://kitchen.internal:80/tickets?a=%20b");
    }
}
