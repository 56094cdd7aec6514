//! Every key that can be typed stands in `config/README.md`, in the section of what it belongs to.
//!
//! Not here: whether what stands there is true.

use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::{Config, RouteConfig, versions::VersionConfig};
use crate::{
    auth::config::{
        AuthRule, CallerConfig, CertificateConfig, IdentityConfig, IntrospectConfig, JwtConfig, KeyConfig,
        KeysConfig, PlanConfig, ProviderConfig, SecretConfig, TokenStoreConfig,
    },
    browsers::config::{CorsConfig, SecurityHeadersConfig, StrictTransportConfig},
    cache::config::{CacheConfig, RouteCacheConfig, SharedCacheConfig},
    composition::config::{PartConfig, RespondConfig},
    contract::config::{OpenapiConfig, RequestConfig},
    deadline::config::DeadlineConfig,
    graphql::config::{GraphqlConfig, PersistedConfig, TrustedConfig},
    lifecycle::DeprecatedConfig,
    live::WatchConfig,
    loaders::config::{LoaderCacheConfig, LoaderConfig},
    proxy::{
        config::{FallbackConfig, ForwardConfig, ProblemConfig},
        grpc::GrpcConfig,
        websocket::WebSocketConfig,
    },
    rate_limit::config::LimitConfig,
    redis::config::RedisConfig,
    server::config::{AdminConfig, ClientsConfig, ListenerConfig, ServerConfig, SniConfig, TlsConfig},
    upstream::{
        circuit_breaker::CircuitBreakerConfig,
        config::UpstreamConfig,
        discovery::config::{DnsConfig, EndpointRule},
        ejection::EjectionConfig,
        health::HealthConfig,
        hedge::HedgeConfig,
        in_flight::{AdaptiveConfig, InFlightConfig},
        retry::{BudgetConfig, RetryConfig},
        tls::ServiceTlsConfig,
    },
};

const README: &str = include_str!("../../../config/README.md");
const OPERATIONS: &str = include_str!("../../../docs/operations.md");

/// Asked for a struct, notes its keys.
struct Keys<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(keys);
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The keys of `T` that the section under `heading` has no row for.
fn missing<'de, T: Deserialize<'de>>(heading: &str) -> Vec<String> {
    let mut keys = Vec::new();
    // Reading nothing fails; the keys are what is wanted.
    let _ = T::deserialize(Keys(&mut keys));
    assert!(!keys.is_empty(), "{heading} is no struct");
    let section = README.split("\n## ").find(|section| section.starts_with(heading)).unwrap_or_default();
    let undocumented = keys.iter().filter(|key| !section.contains(&format!("| `{key}` |")));
    undocumented.map(|key| format!("{heading}: {key}")).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list, with a line for each struct")]
fn every_key_has_a_row_in_the_readme() {
    let missing = [
        missing::<Config>("The file"),
        missing::<ListenerConfig>("`listen`"),
        missing::<TlsConfig>("`listen[].tls`"),
        missing::<SniConfig>("`listen[].tls.sni[]`"),
        missing::<ClientsConfig>("`listen[].tls.clients`"),
        missing::<AdminConfig>("`admin`"),
        missing::<ServerConfig>("`server`"),
        missing::<DeadlineConfig>("`deadline`"),
        missing::<ProviderConfig>("`providers.NAME`"),
        missing::<JwtConfig>("`providers.NAME.jwt`"),
        missing::<SecretConfig>("`providers.NAME.jwt.secret`"),
        missing::<KeysConfig>("`providers.NAME.keys`"),
        missing::<KeyConfig>("`providers.NAME.keys.list[]`"),
        missing::<CertificateConfig>("`providers.NAME.certificate`"),
        missing::<CallerConfig>("`providers.NAME.certificate.callers[]`"),
        missing::<IntrospectConfig>("`providers.NAME.introspect`"),
        missing::<TokenStoreConfig>("`providers.NAME.token_store`"),
        missing::<PlanConfig>("`plans.NAME`"),
        missing::<IdentityConfig>("`identity`"),
        missing::<UpstreamConfig>("`upstreams.NAME`"),
        missing::<ServiceTlsConfig>("`upstreams.NAME.tls`"),
        missing::<EndpointRule>("`upstreams.NAME.endpoints[]`"),
        missing::<DnsConfig>("`upstreams.NAME.dns`"),
        missing::<CircuitBreakerConfig>("`upstreams.NAME.circuit_breaker`"),
        missing::<RetryConfig>("`upstreams.NAME.retry`"),
        missing::<BudgetConfig>("`upstreams.NAME.retry.budget`"),
        missing::<HedgeConfig>("`upstreams.NAME.hedge`"),
        missing::<InFlightConfig>("`upstreams.NAME.in_flight`"),
        missing::<AdaptiveConfig>("`upstreams.NAME.in_flight.adaptive`"),
        missing::<EjectionConfig>("`upstreams.NAME.ejection`"),
        missing::<HealthConfig>("`upstreams.NAME.health`"),
        missing::<LoaderConfig>("`loaders.NAME`"),
        missing::<LoaderCacheConfig>("`loaders.NAME.cache`"),
        missing::<LimitConfig>("`limits.NAME`"),
        missing::<CorsConfig>("`cors.NAME`"),
        missing::<SecurityHeadersConfig>("`security_headers.NAME`"),
        missing::<StrictTransportConfig>("`security_headers.NAME.strict_transport_security`"),
        missing::<RedisConfig>("`redis`"),
        missing::<GrpcConfig>("`grpc`"),
        missing::<RouteConfig>("`routes[]`"),
        missing::<AuthRule>("`routes[].auth`"),
        missing::<CacheConfig>("`cache`"),
        missing::<SharedCacheConfig>("`cache.shared`"),
        missing::<RouteCacheConfig>("`routes[].cache`"),
        missing::<ForwardConfig>("`routes[].forward`"),
        missing::<WebSocketConfig>("`routes[].forward.websocket`"),
        missing::<FallbackConfig>("`routes[].forward.fallback`"),
        missing::<ProblemConfig>("`routes[].forward.fallback.problem`"),
        missing::<PartConfig>("`routes[].compose.PART`"),
        missing::<RespondConfig>("`routes[].respond`"),
        missing::<VersionConfig>("`routes[].versions.NAME`"),
        missing::<DeprecatedConfig>("`routes[].deprecated`"),
        missing::<WatchConfig>("`routes[].watch`"),
        missing::<RequestConfig>("`routes[].request`"),
        missing::<OpenapiConfig>("`openapi`"),
        missing::<GraphqlConfig>("`routes[].graphql`"),
        missing::<PersistedConfig>("`routes[].graphql.persisted`"),
        missing::<TrustedConfig>("`routes[].graphql.trusted`"),
    ];
    assert_eq!(missing.concat(), Vec::<String>::new());
}

/// The first example in the README, whole.
#[test]
fn the_example_in_the_readme_is_right() {
    let example =
        README.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let env = |name: &str| (name == "FTGO_ISSUER").then(|| "http://127.0.0.1:9000".to_owned());
    let loaded = super::load::load("config/README.md", example, &env);
    assert_eq!(loaded.render(), "");
    assert!(loaded.config.is_some());
}

/// An alert on a name that does not exist never fires.
#[test]
fn every_metric_to_alert_on_is_one_that_there_is() {
    let word = |text: &'static str| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let known: Vec<_> = word(README).filter(|word| word.starts_with("gateway_")).collect();
    let named = word(OPERATIONS).filter(|word| word.starts_with("gateway_"));
    let unknown = named.filter(|name| !known.contains(&name.trim_end_matches("_bucket")));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Everything that `/metrics` tells of a gateway has a row.
#[test]
fn every_metric_has_a_row_in_the_readme() {
    let text = crate::observability::metrics::Metrics::default().text();
    let told = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let named = told.map(|(name, kind)| format!("`{name}{}`", if kind == "counter" { "_total" } else { "" }));
    let missing: Vec<_> = named.filter(|name| !README.contains(name.as_str())).collect();
    assert_eq!(missing, Vec::<String>::new());
}
