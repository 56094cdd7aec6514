//! The configuration as typed: the top level and the routes. Each folder owns the structs of its own keys.
//!
//! Rules: unknown keys are mistakes; what may be left out has a default on the struct, with its reason; durations, sizes
//! and rates are strings with units; exclusive things are an enum. Building the running objects is `build.rs`.

mod across;
mod braces;
mod browsers;
pub mod build;
mod cached;
mod contracts;
pub mod diagnostics;
#[cfg(test)]
mod documented;
mod fault;
mod graph;
pub mod graphql;
mod grpc;
mod handlers;
pub mod interpolate;
mod join;
mod limits;
mod live;
pub mod load;
mod loaders;
#[cfg(test)]
mod logged;
mod node;
mod order;
mod path;
mod plans;
mod rpc;
mod secrets;
mod shape;
mod typed;
pub mod versions;
pub mod watch;
mod websocket;
mod write;
#[cfg(test)]
mod wrong_configs;
#[cfg(test)]
mod wrong_contracts;
#[cfg(test)]
mod wrong_graphql;
#[cfg(test)]
mod wrong_graphs;
#[cfg(test)]
mod wrong_grpc;
#[cfg(test)]
mod wrong_limits;
#[cfg(test)]
mod wrong_meanings;

use indexmap::IndexMap;
use serde::Deserialize;

use self::versions::VersionConfig;
use crate::{
    auth::config::{AuthConfig, IdentityConfig, PlanConfig, ProviderConfig},
    browsers::config::{CorsConfig, SecurityHeadersConfig},
    cache::config::{CacheConfig, RouteCacheConfig},
    composition::config::{PartConfig, RespondConfig, Tree},
    contract::config::{OpenapiConfig, RequestConfig},
    deadline::config::DeadlineConfig,
    graphql::config::GraphqlConfig,
    lifecycle::DeprecatedConfig,
    live::WatchConfig,
    loaders::LoaderConfig,
    overload::Priority,
    proxy::{config::ForwardConfig, grpc::GrpcConfig},
    rate_limit::config::LimitConfig,
    redis::config::RedisConfig,
    server::config::{AdminConfig, ListenerConfig, ServerConfig},
    units::{Size, Span},
    upstream::config::UpstreamConfig,
};

/// A whole configuration file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where clients connect. At least one.
    pub listen: Vec<ListenerConfig>,
    /// Where operators connect; nowhere when absent.
    #[serde(default)]
    pub admin: Option<AdminConfig>,
    /// How connections are served.
    #[serde(default)]
    pub server: ServerConfig,
    /// What clients may say, and what services are told, of the time that is left.
    #[serde(default)]
    pub deadline: DeadlineConfig,
    /// Who vouches for callers, by name.
    #[serde(default)]
    pub providers: IndexMap<String, ProviderConfig>,
    /// What services are told of callers, besides who they are.
    #[serde(default)]
    pub identity: IdentityConfig,
    /// The services behind the gateway, by name.
    #[serde(default)]
    pub upstreams: IndexMap<String, UpstreamConfig>,
    /// How values of one kind are had in bulk, by name, for handlers that a binary brings along.
    #[serde(default)]
    pub loaders: IndexMap<String, LoaderConfig>,
    /// What is the same for all calls of gRPC.
    #[serde(default)]
    pub grpc: Option<GrpcConfig>,
    /// Rate limits, by name.
    #[serde(default)]
    pub limits: IndexMap<String, LimitConfig>,
    /// What known callers may use, and how often, by name.
    #[serde(default)]
    pub plans: IndexMap<String, PlanConfig>,
    /// Names under `limits:` that every route counts against, besides its own.
    #[serde(default)]
    pub default_limits: Vec<String>,
    /// Which pages of other origins may read answers, by name.
    #[serde(default)]
    pub cors: IndexMap<String, CorsConfig>,
    /// A name under `cors:` for every route that names none, and for what no route answers.
    #[serde(default)]
    pub default_cors: Option<String>,
    /// How strict browsers are to be with answers, by name.
    #[serde(default)]
    pub security_headers: IndexMap<String, SecurityHeadersConfig>,
    /// A name under `security_headers:` for every route that names none, and for what no route answers.
    #[serde(default)]
    pub default_security_headers: Option<String>,
    /// The Redis that instances share; none when absent.
    #[serde(default)]
    pub redis: Option<RedisConfig>,
    /// How much is kept of the answers of routes, and of the values of loaders, that keep some.
    #[serde(default)]
    pub cache: CacheConfig,
    /// Where the access log goes.
    #[serde(default)]
    pub access_log: AccessLogTarget,
    /// That clients are told what there is; they are not when absent.
    #[serde(default)]
    pub openapi: Option<OpenapiConfig>,
    /// JSON Schemas, by name, of what routes take and answer.
    #[serde(default)]
    pub schemas: IndexMap<String, Tree>,
    /// What is offered. The order does not matter: the most specific path wins.
    pub routes: Vec<RouteConfig>,
}

/// Where the access log goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogTarget {
    /// JSON lines on standard output, where containers expect them.
    #[default]
    Stdout,
    /// Nowhere.
    Off,
}

/// One route as typed. Exactly one of `forward`, `compose`, `watch` and `handle` says what it does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// `/orders/{orderId}`; `/files/{*rest}` takes everything below.
    pub path: String,
    /// The methods offered; GET unless given. HEAD comes with GET, OPTIONS is answered by the gateway.
    #[serde(default = "methods")]
    pub methods: Vec<String>,
    /// Who may use it. Mandatory: `auth: none` is written out.
    pub auth: AuthConfig,
    /// By when the whole answer must have been sent.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// The most that a request's body may take; the server's own limit unless given.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// What it is for, in a sentence, for the document.
    #[serde(default)]
    pub summary: Option<String>,
    /// What programs call it.
    #[serde(default)]
    pub operation: Option<String>,
    /// What it is shown with.
    #[serde(default)]
    pub group: Option<String>,
    /// What it takes: other requests are refused. Anything unless given.
    #[serde(default)]
    pub request: Option<RequestConfig>,
    /// Schemas of what it answers, by status.
    #[serde(default)]
    pub answers: IndexMap<String, Tree>,
    /// Names under `limits:` that this route counts against.
    #[serde(default)]
    pub limits: Vec<String>,
    /// How many a request is for limits that count by cost; 1 unless given.
    #[serde(default)]
    pub cost: Option<u32>,
    /// Who is turned away first when there is too much to do; by the method unless given.
    #[serde(default)]
    pub priority: Option<Priority>,
    /// A name under `cors:`, or `none`; that of `default_cors` unless given.
    #[serde(default)]
    pub cors: Option<String>,
    /// Whether requests that change something are refused when a page of another site has sent them.
    #[serde(default)]
    pub csrf: bool,
    /// A name under `security_headers:`, or `none`; that of `default_security_headers` unless given.
    #[serde(default)]
    pub security_headers: Option<String>,
    /// How its answers are kept, for routes that forward; not at all unless given.
    #[serde(default)]
    pub cache: Option<RouteCacheConfig>,
    /// Tags of answers that its writes make invalid, as under `cache`, on any route: text with places such as
    /// `order:{orderId}`.
    #[serde(default)]
    pub invalidates: Vec<String>,
    /// Parts that are read before the decision when `auth.allow` speaks of them, for routes that compose nothing.
    #[serde(default)]
    pub ask: IndexMap<String, PartConfig>,
    /// Pass the request on to a service.
    #[serde(default)]
    pub forward: Option<ForwardConfig>,
    /// Put an answer together from parts, in the order typed.
    #[serde(default)]
    pub compose: Option<IndexMap<String, PartConfig>>,
    /// How what was composed is answered; an object with a member for each part unless given.
    #[serde(default)]
    pub respond: Option<RespondConfig>,
    /// Tell what changes in parts while it does, by server-sent events.
    #[serde(default)]
    pub watch: Option<WatchConfig>,
    /// A handler that the binary brings along, by name.
    #[serde(default)]
    pub handle: Option<String>,
    /// Whether it is deprecated, and what clients are told of that.
    #[serde(default)]
    pub deprecated: Option<DeprecatedConfig>,
    /// The same by other paths, by names such as `v1`.
    #[serde(default)]
    pub versions: IndexMap<String, VersionConfig>,
    /// What it offers and how much may be asked for, for handlers of GraphQL.
    #[serde(default)]
    pub graphql: Option<GraphqlConfig>,
}

fn methods() -> Vec<String> {
    vec!["GET".to_owned()]
}

/// Longer than a person waits; a route that means it says so.
fn timeout() -> Span {
    Span::secs(10)
}
