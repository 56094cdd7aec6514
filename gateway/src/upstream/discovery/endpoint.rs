//! An endpoint as it was typed: a URL without a path, whose host is an address or a name that must be looked up.
//!
//! Not here: looking up names (`dns.rs`), which may give several targets for one endpoint.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use hickory_resolver::proto::rr::Name;
use http::{Uri, uri::Authority};

use super::Target;

/// An endpoint as it was typed.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Whether it is spoken to over TLS: `https://`.
    pub tls: bool,
    /// Host and port as typed, the port added where it was left out.
    pub host: Box<str>,
    /// Where it is, or whom to ask.
    pub place: Place,
    /// 1 to 1000.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<Box<str>>,
    /// Whatever else was said of it.
    pub metadata: BTreeMap<String, String>,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address.
    At(SocketAddr),
    /// A name whose addresses are asked for, and a port.
    Named(Name, u16),
}

impl Endpoint {
    /// Reads `http://host:port` or `https://host:port`. Nothing may stand behind the port; left out, it is the scheme's.
    ///
    /// # Errors
    /// What is wrong with the URL, as the rest of a sentence.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{url}` is no address of a service: {why}");
        let uri: Uri = url.parse().map_err(|_| wrong("it is no URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("it must begin with http:// or https://")),
        };
        if uri.path() != "/" || uri.query().is_some() || url.ends_with('/') {
            return Err(wrong("it must end after the port"));
        }
        let (host, port) = host_and_port(&uri, if tls { 443 } else { 80 }).map_err(|why| wrong(&why))?;
        Endpoint::new(tls, host, port).map_err(|why| wrong(&why))
    }

    /// The endpoint at an address or a name, and a port.
    ///
    /// # Errors
    /// When `host` is neither.
    pub fn new(tls: bool, host: &str, port: u16) -> Result<Self, String> {
        let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
        let place = match bare.parse::<IpAddr>() {
            Ok(address) => Place::At(SocketAddr::new(address, port)),
            Err(_) => Place::Named(name(host)?, port),
        };
        // The dot that ends a full name is for resolvers only.
        let host = format!("{}:{port}", host.trim_end_matches('.')).into();
        Ok(Endpoint { tls, host, place, weight: 1, zone: None, metadata: BTreeMap::new() })
    }

    /// Its target at `address`.
    #[must_use]
    pub fn target(&self, address: SocketAddr) -> Target {
        Target {
            address,
            host: self.host.clone(),
            weight: self.weight,
            zone: self.zone.clone(),
            metadata: self.metadata.clone(),
        }
    }

    /// Its only target, if it was typed as an address.
    #[must_use]
    pub fn fixed(&self) -> Option<Target> {
        match &self.place {
            Place::At(address) => Some(self.target(*address)),
            Place::Named(..) => None,
        }
    }
}

/// Reads a name that DNS can be asked for (RFC 1035 section 2.3.4: 63 bytes a label, 255 in all).
///
/// # Errors
/// When it is none.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let name = Name::from_ascii(text).map_err(|_| format!("`{text}` is no name that can be looked up"))?;
    if name.is_root() { Err("the name is missing".to_owned()) } else { Ok(name) }
}

fn host_and_port(uri: &Uri, default_port: u16) -> Result<(&str, u16), String> {
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
    let authority: &Authority = authority.ok_or("it must name a host and nothing secret")?;
    // What stands behind the last colon and is no port would otherwise pass for a part of the host.
    match authority.port_u16() {
        None if authority.as_str() != authority.host() => Err("its port is none".to_owned()),
        Some(0) => Err("its port is none".to_owned()),
        port => Ok((authority.host(), port.unwrap_or(default_port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (bool, String, Option<SocketAddr>) {
        let endpoint = Endpoint::parse(url).unwrap();
        let fixed = endpoint.fixed().map(|target| target.address);
        (endpoint.tls, endpoint.host.into(), fixed)
    }

    #[test]
    fn an_address_is_known_at_once_and_a_name_is_not() {
        let at = |address: &str| Some(address.parse().unwrap());
        assert_eq!(read("http://127.0.0.1:8082"), (false, "127.0.0.1:8082".into(), at("127.0.0.1:8082")));
        assert_eq!(read("http://[::1]:8082"), (false, "[::1]:8082".into(), at("[::1]:8082")));
        assert_eq!(read("http://order"), (false, "order:80".into(), None));
        assert_eq!(read("https://order.example."), (true, "order.example:443".into(), None));
    }

    #[test]
    fn only_a_bare_address_of_a_service_is_taken() {
        for wrong in [
            "order:80",
            "ftp://order:80",
            "http://order:80/",
            "http://order:80/v1",
            "http://a:b@order:80",
            "http://order?x",
            "http://order:99999",
            "http://order:0",
            "http://order:",
            "http://.:80",
            "http://a..b:80",
            &format!("http://{}:80", "a".repeat(64)),
        ] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
