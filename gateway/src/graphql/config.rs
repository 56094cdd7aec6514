//! What one types under a route's `graphql:`.
//!
//! Not here: what becomes of it (`settings.rs`).

use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer, de};

use crate::{
    cache::config::By,
    composition::config::PartConfig,
    live::WatchConfig,
    units::{Size, Span},
};

/// What a GraphQL route offers, and how much may be asked for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphqlConfig {
    /// Whether the schema may be asked for.
    #[serde(default)]
    pub introspection: bool,
    /// Whether browsers get GraphiQL, at the address of the route.
    #[serde(default)]
    pub graphiql: bool,
    /// Operations in one batch; 0 takes none.
    #[serde(default)]
    pub max_batch: u32,
    /// Tokens of a document.
    #[serde(default = "max_tokens")]
    pub max_tokens: u32,
    /// Fields within fields.
    #[serde(default = "max_depth")]
    pub max_depth: u32,
    /// Fields, all in all.
    #[serde(default = "max_fields")]
    pub max_fields: u32,
    /// Fields of the operation itself.
    #[serde(default = "max_root_fields")]
    pub max_root_fields: u32,
    /// Aliases.
    #[serde(default = "max_aliases")]
    pub max_aliases: u32,
    /// Directives.
    #[serde(default = "max_directives")]
    pub max_directives: u32,
    /// Fields of an answer whose lists are as long as the schema says.
    #[serde(default = "max_cost")]
    pub max_cost: u32,
    /// Documents that clients name by their hash once they were sent whole; none unless given.
    #[serde(default)]
    pub persisted: Option<PersistedConfig>,
    /// Documents that were written down when the clients were built; none unless given.
    #[serde(default)]
    pub trusted: Option<TrustedConfig>,
    /// Names that clients call themselves by in `apollographql-client-name`, for metrics.
    #[serde(default)]
    pub clients: Vec<String>,
    /// For how long the answer to a GET may be kept, by `Type` or `Type.field`; not at all unless given for all in it.
    #[serde(default)]
    pub max_age: IndexMap<String, Span>,
    /// In which content codings clients that take one are answered.
    #[serde(default)]
    pub compression: CompressionConfig,
    /// Subscriptions, over transports that stay open; none unless given.
    #[serde(default)]
    pub subscriptions: Option<SubscriptionsConfig>,
}

/// What stays open, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionsConfig {
    /// What may be followed, by the names that the handler knows it by.
    pub watches: IndexMap<String, FollowedConfig>,
    /// How long a WebSocket may take to say who it is.
    #[serde(default = "init_timeout")]
    pub init_timeout: Span,
    /// After what silence something is sent that means nothing; also how long a WebSocket's client may take nothing.
    #[serde(default = "heartbeat")]
    pub heartbeat: Span,
    /// How long a transport may stay open.
    #[serde(default = "open_for")]
    pub max_age: Span,
    /// Subscriptions at a time.
    #[serde(default = "max_clients")]
    pub max_clients: u32,
    /// Of these, those of one caller; where nobody is known, of one address.
    #[serde(default = "max_per_client")]
    pub max_per_client: u32,
    /// Operations at a time in one WebSocket.
    #[serde(default = "max_per_connection")]
    pub max_per_connection: u32,
    /// WebSockets at a time.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// Of these, those of one caller; where the handshake does not say who it is, of one address.
    #[serde(default = "max_connections_per_client")]
    pub max_connections_per_client: u32,
}

/// One kind of thing that may be followed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowedConfig {
    /// What is asked for again and again, with `{key}` for which one.
    pub parts: IndexMap<String, PartConfig>,
    /// Who shares one watcher.
    #[serde(default)]
    pub by: By,
    /// How often the parts are asked for.
    #[serde(default = "every")]
    pub every: Span,
    /// For how long it is watched on when the last client has gone.
    #[serde(default = "linger")]
    pub linger: Span,
    /// How many events are kept for those who come back, for each thing watched.
    #[serde(default = "keep")]
    pub keep: u32,
    /// Things that are watched at a time.
    #[serde(default = "max_keys")]
    pub max_keys: u32,
    /// A rule over the parts: once it holds, nothing changes any more. Never unless given.
    #[serde(default)]
    pub until: Option<String>,
}

impl FollowedConfig {
    /// The same as a route that tells it would say.
    pub(crate) fn as_watch(&self, around: &SubscriptionsConfig) -> WatchConfig {
        WatchConfig {
            parts: self.parts.clone(),
            by: self.by,
            every: self.every,
            heartbeat: around.heartbeat,
            stale_after: Span::secs(10), // which is not told
            linger: self.linger,
            keep: self.keep,
            max_clients: around.max_clients,
            max_per_client: around.max_per_client,
            max_keys: self.max_keys,
            max_age: around.max_age,
            until: self.until.clone(),
        }
    }
}

/// The content codings that are offered, the one first that is preferred of those that a client takes as gladly. None unless
/// given: whoever answers many may rather have a proxy in front of it compress.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompressionConfig(pub Vec<Coding>);

/// Content codings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br`: Brotli (RFC 7932), which all browsers take.
    Br,
    /// `gzip` (RFC 1952), which everybody takes.
    Gzip,
}

impl Coding {
    /// By the CPU time of each byte that they save: of an order history, Zstandard takes a fifth of what gzip takes and is
    /// smaller by a quarter; Brotli is the smallest of all and takes about as long as gzip.
    pub const ALL: [Coding; 3] = [Coding::Zstd, Coding::Br, Coding::Gzip];

    /// As it is called in HTTP.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Coding::Zstd => "zstd",
            Coding::Br => "br",
            Coding::Gzip => "gzip",
        }
    }
}

impl<'de> Deserialize<'de> for CompressionConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CompressionVisitor)
    }
}

struct CompressionVisitor;

impl<'de> de::Visitor<'de> for CompressionVisitor {
    type Value = CompressionConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`none`, `all`, `zstd`, `br` or `gzip`, or a list like [br, gzip]")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<CompressionConfig, E> {
        let one = Coding::ALL.into_iter().find(|coding| coding.name() == text);
        match (text, one) {
            (_, Some(coding)) => Ok(CompressionConfig(vec![coding])),
            ("none", None) => Ok(CompressionConfig::default()),
            ("all", None) => Ok(CompressionConfig(Coding::ALL.to_vec())),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, items: A) -> Result<CompressionConfig, A::Error> {
        let listed = Vec::deserialize(de::value::SeqAccessDeserializer::new(items))?;
        if listed.is_empty() {
            return Err(de::Error::invalid_value(de::Unexpected::Other("an empty list"), &self));
        }
        Ok(CompressionConfig(listed))
    }
}

/// Automatic persisted queries.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersistedConfig {
    /// What the texts may take together.
    #[serde(default = "max_size")]
    pub max_size: Size,
}

/// Trusted documents.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedConfig {
    /// What becomes of others.
    pub mode: Mode,
    /// The files that they stand in, beside the configuration.
    pub manifests: Vec<String>,
}

/// What becomes of a document that is not trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It is executed.
    #[default]
    Off,
    /// It is executed, counted and told in the access log.
    Log,
    /// It is refused.
    Enforce,
}

/// An app's screen has some hundred.
fn max_tokens() -> u32 {
    2_000
}

/// The introspection of editors is 13 deep.
fn max_depth() -> u32 {
    15
}

/// Several screens of an app.
fn max_fields() -> u32 {
    500
}

/// More than one screen shows side by side.
fn max_root_fields() -> u32 {
    50
}

/// Aliases are the way to ask for the same thing many times.
fn max_aliases() -> u32 {
    30
}

/// Few documents have any.
fn max_directives() -> u32 {
    50
}

/// Fifty things in every detail, each a hundred fields, are half of it; the answer is half a megabyte then.
fn max_cost() -> u32 {
    10_000
}

/// Some thousand documents of an app.
fn max_size() -> Size {
    Size::mib(4)
}

/// What the reference implementation waits is 3 s; phones on bad networks take longer.
fn init_timeout() -> Span {
    Span::secs(10)
}

/// Below the half minute after which many proxies give a silent connection up.
fn heartbeat() -> Span {
    Span::secs(15)
}

/// What was revoked meanwhile is seen then at the latest.
fn open_for() -> Span {
    Span::secs(3_600)
}

/// A subscription takes some ten kilobytes.
fn max_clients() -> u32 {
    10_000
}

/// The orders of one person, on several devices.
fn max_per_client() -> u32 {
    20
}

/// More than an app shows at a time.
fn max_per_connection() -> u32 {
    20
}

/// Each takes a socket and some 20 KiB.
fn max_connections() -> u32 {
    10_000
}

/// Many phones share an address of their network.
fn max_connections_per_client() -> u32 {
    100
}

/// People do not see the difference to half of it; services do.
fn every() -> Span {
    Span::secs(1)
}

/// Clients that lost their connection are back by then.
fn linger() -> Span {
    Span::secs(5)
}

/// More changes than an order sees in its life.
fn keep() -> u32 {
    100
}

/// Each costs its services a call in every interval.
fn max_keys() -> u32 {
    1_000
}

/// As if nothing were typed but `{}`.
impl Default for GraphqlConfig {
    fn default() -> Self {
        GraphqlConfig {
            introspection: false,
            graphiql: false,
            max_batch: 0,
            max_tokens: max_tokens(),
            max_depth: max_depth(),
            max_fields: max_fields(),
            max_root_fields: max_root_fields(),
            max_aliases: max_aliases(),
            max_directives: max_directives(),
            max_cost: max_cost(),
            persisted: None,
            trusted: None,
            clients: Vec::new(),
            max_age: IndexMap::new(),
            compression: CompressionConfig::default(),
            subscriptions: None,
        }
    }
}
