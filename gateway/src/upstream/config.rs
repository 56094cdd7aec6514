//! What one types under `upstreams:`.

use std::path::PathBuf;

use serde::Deserialize;

use super::{
    balance::BalanceConfig,
    circuit_breaker::CircuitBreakerConfig,
    discovery::{
        Source,
        config::{DiscoveryConfig, DnsConfig, EndpointConfig},
    },
    ejection::EjectionConfig,
    health::HealthConfig,
    hedge::HedgeConfig,
    in_flight::InFlightConfig,
    retry::RetryConfig,
    tls::ServiceTlsConfig,
    wire::{Protocol, Wire},
};
use crate::{
    mistake::{Mistake, Mistakes, below},
    units::{Size, Span},
};

/// A service behind the gateway, as typed under `upstreams:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamConfig {
    /// Where it answers: `http://host:port` or `https://host:port`. A name is looked up again and again. A path is not allowed here.
    #[serde(default)]
    pub url: Option<String>,
    /// Where it answers, when there are several: addresses, each perhaps with a weight.
    #[serde(default)]
    pub endpoints: Option<Vec<EndpointConfig>>,
    /// Where it answers, by DNS, when DNS must be told how to ask, or for SRV records.
    #[serde(default)]
    pub dns: Option<DnsConfig>,
    /// Where it answers, by a YAML file with `endpoints:`, which may change at any time.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// How TLS is spoken, where `https://` or this stands: the system's trust and no certificate of our own unless given.
    #[serde(default)]
    pub tls: Option<ServiceTlsConfig>,
    /// Which HTTP is spoken.
    #[serde(default)]
    pub protocol: Protocol,
    /// The most requests that share a connection of HTTP/2, if the service allows for as many.
    #[serde(default = "max_streams")]
    pub max_streams: usize,
    /// How an endpoint is chosen for a call.
    #[serde(default)]
    pub balance: BalanceConfig,
    /// Below how many percent of endpoints that are fit (healthy, not ejected) fitness is ignored, 0 to 100.
    #[serde(default = "panic_threshold")]
    pub panic_threshold: u8,
    /// In what time an endpoint that joins comes to its full share.
    #[serde(default = "slow_start")]
    pub slow_start: Span,
    /// How long connecting may take.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How long one attempt may take, to the head of its answer: all that is left of the request's time unless given.
    #[serde(default)]
    pub attempt_timeout: Option<Span>,
    /// How long a connection may stay idle before it is closed. Keep it below the service's own keep-alive.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Span,
    /// How many idle connections each worker keeps to each endpoint.
    #[serde(default = "max_idle")]
    pub max_idle: usize,
    /// The most that the header section of an answer may take.
    #[serde(default = "max_header_size")]
    pub max_header_size: Size,
    /// The most bytes that an answer may have; as many as it has unless given, since forwarded answers are not held here.
    #[serde(default)]
    pub max_response: Option<Size>,
    /// When an endpoint that fails is given a rest.
    #[serde(default)]
    pub circuit_breaker: CircuitBreakerConfig,
    /// What is tried again.
    #[serde(default)]
    pub retry: RetryConfig,
    /// When a second endpoint is asked while the first has not answered; never unless given.
    #[serde(default)]
    pub hedge: Option<HedgeConfig>,
    /// How many calls may be under way.
    #[serde(default)]
    pub in_flight: InFlightConfig,
    /// When an endpoint is taken out by how calls to it end.
    #[serde(default)]
    pub ejection: EjectionConfig,
    /// How endpoints are checked; not unless given.
    #[serde(default)]
    pub health: Option<HealthConfig>,
}

impl UpstreamConfig {
    /// Who says where it is, and what is spoken there.
    ///
    /// # Errors
    /// All that is wrong with either.
    pub(super) fn source(&self, name: &str, at: &str) -> Result<(Source, Wire), Mistakes> {
        let discovery = self.place().build(name, at)?;
        let wire = Wire::build(self, &discovery, name, at)?;
        Ok((discovery.source, wire))
    }

    /// The key that says where it is.
    pub(super) fn place_key(&self) -> &'static str {
        match (&self.url, &self.endpoints, &self.dns) {
            (Some(_), ..) => "url",
            (_, Some(_), _) => "endpoints",
            (.., Some(_)) => "dns",
            _ => "file",
        }
    }

    /// Where it is, as typed.
    fn place(&self) -> DiscoveryConfig {
        DiscoveryConfig {
            url: self.url.clone(),
            endpoints: self.endpoints.clone(),
            dns: self.dns.clone(),
            file: self.file.clone(),
        }
    }

    /// Whether only the place differs, so that what is known of endpoints stays true.
    pub(super) fn treats_alike(&self, other: &Self) -> bool {
        let place = other.place();
        let moved = UpstreamConfig {
            url: place.url,
            endpoints: place.endpoints,
            dns: place.dns,
            file: place.file,
            ..self.clone()
        };
        moved == *other
    }

    /// What serde cannot tell: values out of range.
    pub(super) fn check(&self, name: &str, at: &str, mistakes: &mut Mistakes) {
        self.circuit_breaker.check(&below(at, "circuit_breaker"), mistakes);
        self.retry.check(&below(at, "retry"), mistakes);
        self.in_flight.check(&below(at, "in_flight"), mistakes);
        if let Some(hedge) = &self.hedge {
            hedge.check(&below(at, "hedge"), mistakes);
        }
        self.ejection.check(&below(at, "ejection"), mistakes);
        if let Some(health) = &self.health {
            health.check(name, &below(at, "health"), mistakes);
        }
        let none = Span::millis(0);
        let rules = [
            ("panic_threshold", self.panic_threshold <= 100, "0 to 100, in percent"),
            ("connect_timeout", self.connect_timeout > none, "1ms or more"),
            ("attempt_timeout", self.attempt_timeout.is_none_or(|timeout| timeout > none), "1ms or more"),
            ("max_header_size", self.max_header_size >= LEAST_HEADER, "1KiB or more"),
            ("max_streams", self.max_streams > 0, "1 or more"),
            ("max_response", self.max_response.is_none_or(|most| most.0 > 0), "1B or more"),
        ];
        for (key, _, expected) in rules.iter().filter(|(_, right, _)| !right) {
            let wrong = format!("upstream `{name}`: `{key}` is out of bounds");
            mistakes.add(Mistake::new(below(at, key), wrong).expected(*expected));
        }
    }
}

/// What the shortest useful answer may need; below it no call would ever succeed.
const LEAST_HEADER: Size = Size::kib(1);

/// Envoy's. When half of the endpoints seem down, it is likelier that the checks are wrong.
fn panic_threshold() -> u8 {
    super::balance::PANIC_PERCENT
}

/// Long enough for caches and compilers to warm up, short enough for a rollout.
fn slow_start() -> Span {
    Span(super::load::SLOW_START)
}

/// A service in the same data centre answers a SYN in a millisecond; a lost one is sent again after one second, which
/// must not be too late.
fn connect_timeout() -> Span {
    Span::secs(2)
}

/// Below the 60 s at which most servers close, so that we close first.
fn idle_timeout() -> Span {
    Span::secs(30)
}

/// Enough for a burst, little enough to be forgotten by the service.
fn max_idle() -> usize {
    256
}

/// What most servers allow for; one that stalls holds up no more than these.
fn max_streams() -> usize {
    100
}

fn max_header_size() -> Size {
    Size::kib(64)
}
