//! By which names operators ask. A page of somebody else can have its own name lead to this listener (DNS rebinding), and then
//! reads and purges as if it came from here; the name that the browser asks for is still that of the page.
//!
//! Not here: who asks. Nobody is asked that (`mod.rs`).

use std::net::IpAddr;

use http::{HeaderMap, header};

/// The names that operators use, besides those that nobody else can make lead here.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<Box<str>>);

impl Names {
    /// These, as typed under `admin.hosts`.
    #[must_use]
    pub fn new(typed: &[String]) -> Self {
        Names(typed.iter().map(|name| name.as_str().into()).collect())
    }

    /// Whether a request asks for the listener by an address, a name of one label, such as `localhost`, or one that was typed.
    /// Who names no host is no browser (RFC 9112 section 3.2).
    pub(super) fn fit(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (None, _) => true,
            (Some(host), None) => host.to_str().is_ok_and(|host| self.has(host)),
            (Some(_), Some(_)) => false,
        }
    }

    fn has(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(name);
        !name.contains(['.', ':'])
            || bare.parse::<IpAddr>().is_ok()
            || self.0.iter().any(|typed| typed.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn fit(hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        Names::new(&["gateway.internal".to_owned()]).fit(&headers)
    }

    #[test]
    fn a_name_that_anybody_could_make_lead_here_is_none_of_ours() {
        for ours in
            ["127.0.0.1:9087", "10.0.0.7", "[::1]:9087", "localhost:9087", "gateway", "Gateway.Internal:9087"]
        {
            assert!(fit(&[ours]), "{ours}");
        }
        assert!(fit(&[]), "HTTP/1.0");
        for not in [
            "evil.example",
            "evil.example:9087",
            "127.0.0.1.evil.example",
            "gateway.internal.evil.example",
            "gateway.internal@evil.example",
            "localhost.",
            "127.0.0.1:x.evil.example",
            "[evil.example]",
        ] {
            assert!(!fit(&[not]), "{not}");
        }
        assert!(!fit(&["localhost", "evil.example"]));
    }
}
