//! What one types under a route's `graphql:`.
//!
//! Not here: what becomes of it (`settings.rs`).

use indexmap::IndexMap;
use serde::Deserialize;

use crate::units::{Size, Span};

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
    /// In which content coding clients that take it are answered.
    #[serde(default)]
    pub compression: Coding,
}

/// Content codings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coding {
    /// As it is: whoever answers many may rather have a proxy in front of it compress.
    #[default]
    None,
    /// `gzip`, which everybody takes.
    Gzip,
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

/// Some thousand documents of an app.
fn max_size() -> Size {
    Size::mib(4)
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
            persisted: None,
            trusted: None,
            clients: Vec::new(),
            max_age: IndexMap::new(),
            compression: Coding::None,
        }
    }
}
