//! What one types under an upstream to say where it is: exactly one of `url`, `endpoints`, `dns` and `file`.
//!
//! Not here: what is made of it (`build.rs`), how the upstream is spoken to (`upstream/config.rs`).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

use crate::units::Span;

/// Where a service is, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// `http://host:port`: an address, or a name whose addresses are asked for.
    #[serde(default)]
    pub url: Option<String>,
    /// Several of those, perhaps with a weight.
    #[serde(default)]
    pub endpoints: Option<Vec<EndpointConfig>>,
    /// What DNS says, when it must be told how to ask, or for SRV records.
    #[serde(default)]
    pub dns: Option<DnsConfig>,
    /// A YAML file with `endpoints:`, which may change at any time. Relative to the working directory.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

/// An endpoint as typed: a URL alone, or the long form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointConfig(pub EndpointRule);

/// The long form of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointRule {
    /// `http://host:port`.
    pub url: String,
    /// How much it takes beside the others, 1 to 1000.
    #[serde(default = "weight")]
    pub weight: u32,
    /// Where it stands.
    #[serde(default)]
    pub zone: Option<String>,
    /// Whatever else there is to say.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

fn weight() -> u32 {
    1
}

/// What to ask DNS: either `name` and `port`, or `srv`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// A name with A or AAAA records.
    #[serde(default)]
    pub name: Option<String>,
    /// The port that goes with `name`.
    #[serde(default)]
    pub port: Option<u16>,
    /// A name with SRV records (RFC 2782): `_http._tcp.kitchen.internal`.
    #[serde(default)]
    pub srv: Option<String>,
    /// The least that an answer is good for.
    #[serde(default = "min_ttl")]
    pub min_ttl: Span,
    /// The most that an answer is good for.
    #[serde(default = "max_ttl")]
    pub max_ttl: Span,
    /// Whom to ask, as `127.0.0.1:53`: the system's servers, search list and hosts file are then not used.
    #[serde(default)]
    pub server: Option<SocketAddr>,
    /// How long a question may take.
    #[serde(default = "timeout")]
    pub timeout: Span,
}

/// The unit of TTLs: less would ask all the time for records with a TTL of 0.
pub(super) fn min_ttl() -> Span {
    Span::secs(1)
}

/// A service that was moved is found within a minute, however long the life of its record. Asking costs next to nothing.
pub(super) fn max_ttl() -> Span {
    Span::secs(60)
}

/// A server in the same data centre answers within milliseconds. Lost packets are sent again meanwhile.
pub(super) fn timeout() -> Span {
    Span::secs(2)
}

impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EndpointVisitor)
    }
}

struct EndpointVisitor;

impl<'de> de::Visitor<'de> for EndpointVisitor {
    type Value = EndpointConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("`http://host:port`, or a mapping like { url: http://host:port, weight: 3 }")
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<EndpointConfig, E> {
        let (zone, metadata) = (None, BTreeMap::new());
        Ok(EndpointConfig(EndpointRule { url: url.to_owned(), weight: weight(), zone, metadata }))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<EndpointConfig, A::Error> {
        EndpointRule::deserialize(de::value::MapAccessDeserializer::new(map)).map(EndpointConfig)
    }
}
