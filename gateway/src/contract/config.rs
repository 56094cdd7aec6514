//! What one types under `openapi:`, and under a route's `request:`.
//!
//! Not here: schemas, which are JSON Schema and not ours (`compile.rs`).

use indexmap::IndexMap;
use serde::Deserialize;

use crate::composition::config::Tree;

/// What a route takes. What is said here is checked; a request that does not fit is refused.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestConfig {
    /// Schemas of path parameters by name.
    #[serde(default)]
    pub path: IndexMap<String, Tree>,
    /// Schemas of query parameters by name. Given, there are no others.
    #[serde(default)]
    pub query: Option<IndexMap<String, Tree>>,
    /// Schemas of header fields by name.
    #[serde(default)]
    pub headers: IndexMap<String, Tree>,
    /// Which of those in the query and in header fields must be there.
    #[serde(default)]
    pub required: Vec<String>,
    /// The schema of the body, which is JSON and must be there.
    #[serde(default)]
    pub body: Option<Tree>,
}

/// That clients are told what there is, as OpenAPI 3.1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenapiConfig {
    /// Where the document is.
    #[serde(default = "path")]
    pub path: String,
    /// What the interface is called.
    pub title: String,
    /// Its version, which is not that of the gateway.
    pub version: String,
    /// What else people should know, in CommonMark.
    #[serde(default)]
    pub description: Option<String>,
    /// Where the page is that shows the document; nowhere unless given.
    #[serde(default)]
    pub reference: Option<String>,
}

/// Where tools look for it.
fn path() -> String {
    "/openapi.json".to_owned()
}
