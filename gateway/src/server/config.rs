//! What one types under `listen:` and `server:`.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::proxies::Cidr;
use crate::units::{Size, Span};

/// One address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// `127.0.0.1:8087`, `[::]:443`. Port 0 takes a free one.
    pub address: SocketAddr,
    /// TLS with ALPN for HTTP/2 and HTTP/1.1; plaintext HTTP/1.1 and prior-knowledge HTTP/2 when absent.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// The proxies before it that are believed when they say who the client is; nobody is when empty.
    #[serde(default)]
    pub trusted_proxies: Vec<Cidr>,
    /// Whether each connection begins with a header of the PROXY protocol, which only these proxies may send.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// The certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Other certificates, for clients that ask for one of their names; the first one is for all others.
    #[serde(default)]
    pub sni: Vec<SniConfig>,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// That clients are asked for certificates of their own; they are not when absent.
    #[serde(default)]
    pub clients: Option<ClientsConfig>,
}

/// One more certificate of a listener, for the names in it (RFC 6066 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SniConfig {
    /// The certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// A version of TLS. Older ones are not spoken at all (RFC 8996).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246: what is still needed by clients of some age.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsConfig {
    /// The certificates of those who may sign them, PEM.
    pub ca: PathBuf,
    /// Whether a client without one is refused in the handshake.
    #[serde(default)]
    pub required: bool,
}

/// The listener for operators: `/healthz`, `/readyz`, `/metrics`. Not for clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// `127.0.0.1:9087`.
    pub address: SocketAddr,
    /// The names with dots that operators ask for it by; addresses, and names without, always do.
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// How connections are served.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Worker threads, each with its own listener socket and upstream connections; one per CPU when 0.
    pub workers: usize,
    /// How long after SIGTERM clients may still connect, while `/readyz` already says that this instance ends.
    pub drain_delay: Span,
    /// How long requests in flight may take to end after SIGTERM.
    pub drain_timeout: Span,
    /// How long a client may take to send its header section, may take nothing of an answer that waits for it, and may stay
    /// idle between requests.
    pub header_timeout: Span,
    /// What a client takes of an answer that waits for it within `header_timeout`, or it is as if it took nothing.
    pub min_progress: Size,
    /// How long a client may send nothing of a body that is waited for (408 after it).
    pub body_timeout: Span,
    /// Connections at a time, of all clients; one more is closed at once.
    pub max_connections: usize,
    /// The same of one address, or of one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// Requests that may be in flight at a time, in all; any number when absent.
    pub max_in_flight: Option<u32>,
    /// The most that a request's header section may take (431 above it).
    pub max_header_size: Size,
    /// The most that a request's path and query may take (414 above it).
    pub max_uri: Size,
    /// The most that a request's body may take (413 above it); a route may say otherwise.
    pub max_body: Size,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            workers: 0,
            // What sends clients elsewhere mostly does so before the signal comes, or need not be waited for.
            drain_delay: Span::millis(0),
            // A little more than the longest route should take.
            drain_timeout: Span::secs(30),
            // Slow-header attacks hold a connection no longer than this.
            header_timeout: Span::secs(30),
            // Half a kilobyte a second: the slowest lines of today take several.
            min_progress: Size::kib(16),
            // A slow line still sends something now and then; who sends nothing holds a place at a service.
            body_timeout: Span::secs(10),
            // What a few hundred MiB hold.
            max_connections: 20_000,
            // Many people share an address behind a provider's NAT, and all of them where a load balancer stands before us.
            max_connections_per_address: 4_096,
            // What is right depends on the services and on memory; each upstream has a limit of its own.
            max_in_flight: None,
            max_header_size: Size::kib(32),
            // Twice the least that everybody should take (RFC 9110 section 4.1): GraphQL comes by GET as well.
            max_uri: Size::kib(16),
            max_body: Size::mib(1),
        }
    }
}
