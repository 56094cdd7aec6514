//! What one types under a route's `compose:`, `ask:` and `respond:`.
//!
//! Not here: what of it makes sense together (`config/graph.rs`).

use std::fmt;

use http::Method;
use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{
    cache::config::RouteCacheConfig,
    units::{Size, Span},
};

/// One branch of a composition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// The upstream and the path to GET, e.g. `order/orders/{orderId}`; with `each`, once for each `{key}`.
    #[serde(default)]
    pub get: Option<String>,
    /// The same to POST to, and so for the next three: the composition's one write, which comes last.
    #[serde(default)]
    pub post: Option<String>,
    /// To PUT.
    #[serde(default)]
    pub put: Option<String>,
    /// To PATCH.
    #[serde(default)]
    pub patch: Option<String>,
    /// To DELETE.
    #[serde(default)]
    pub delete: Option<String>,
    /// Instead of them: a method of gRPC, `UPSTREAM/PACKAGE.SERVICE/METHOD`, which is read unless `write` says otherwise.
    #[serde(default)]
    pub grpc: Option<String>,
    /// The message that it is called by: JSON with references between braces; an empty one unless given.
    #[serde(default)]
    pub message: Option<Tree>,
    /// Whether the method changes something: then it is the composition's one write.
    #[serde(default)]
    pub write: bool,
    /// What a write sends: `request` for the client's own body, or JSON with references between braces.
    #[serde(default)]
    pub body: Option<Tree>,
    /// Header fields of a write, written from what the request and the parts hold.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The key by which a service knows a write that it has seen before.
    #[serde(default)]
    pub idempotency: Option<Idempotency>,
    /// Parts that must be there before, besides those that it is written from.
    #[serde(default)]
    pub needs: Vec<String>,
    /// A condition in the language of rules. Where it does not hold, nothing is asked.
    #[serde(default)]
    pub when: Option<String>,
    /// A list in an earlier part, for whose elements something is looked up: `history.orders`.
    #[serde(default)]
    pub each: Option<String>,
    /// The member of an element that holds its key: `restaurantId`, or `info.id`.
    #[serde(default)]
    pub key: Option<String>,
    /// The name of a loader that is asked for the keys, instead of `get`.
    #[serde(default)]
    pub from: Option<String>,
    /// The member of an element that what was found becomes.
    #[serde(default)]
    pub into: Option<String>,
    /// How many keys are asked for at once, with `get`.
    #[serde(default)]
    pub at_once: Option<usize>,
    /// The most elements that the list may have.
    #[serde(default)]
    pub max_items: Option<usize>,
    /// Whether the answer may do without this part.
    #[serde(default)]
    pub optional: bool,
    /// What stands in the place of an optional part that is missing; nothing does unless given.
    #[serde(default)]
    pub fallback: Option<PartFallbackConfig>,
    /// A name under `schemas:` for what it answers, or of what is found for each key.
    #[serde(default)]
    pub schema: Option<String>,
    /// How its answers are kept; not at all unless given.
    #[serde(default)]
    pub cache: Option<RouteCacheConfig>,
    /// How long this part may take; the route's own time unless given.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// The most bytes that the part's answer may have.
    #[serde(default = "max_size")]
    pub max_size: Size,
}

/// Whose `Idempotency-Key` a write carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idempotency {
    /// The client's, or else one that is made for the request.
    #[default]
    Generated,
    /// The client's, without which nothing is asked.
    Required,
    /// The client's, or none.
    Client,
}

impl PartConfig {
    /// A required part that is read, and for which nothing else is said.
    #[must_use]
    pub fn reading(get: String) -> Self {
        PartConfig {
            get: Some(get),
            post: None,
            put: None,
            patch: None,
            delete: None,
            grpc: None,
            message: None,
            write: false,
            body: None,
            headers: IndexMap::new(),
            idempotency: None,
            needs: Vec::new(),
            when: None,
            each: None,
            key: None,
            from: None,
            into: None,
            at_once: None,
            max_items: None,
            optional: false,
            fallback: None,
            schema: None,
            cache: None,
            timeout: None,
            max_size: max_size(),
        }
    }

    /// The key that a write is typed under, the method, and what is called.
    #[must_use]
    pub fn write(&self) -> Option<(&'static str, Method, &str)> {
        let all = [
            ("post", Method::POST, &self.post),
            ("put", Method::PUT, &self.put),
            ("patch", Method::PATCH, &self.patch),
            ("delete", Method::DELETE, &self.delete),
        ];
        let called = self.grpc.as_deref().filter(|_| self.write).map(|typed| ("grpc", Method::POST, typed));
        all.into_iter().find_map(|(key, method, typed)| Some((key, method, typed.as_deref()?))).or(called)
    }

    /// What is called, and the key that it is typed under.
    #[must_use]
    pub fn called(&self) -> Option<(&'static str, &str)> {
        let write = || self.write().map(|(key, _, typed)| (key, typed));
        let read = self.get.as_deref().map(|typed| ("get", typed));
        read.or_else(write).or_else(|| self.grpc.as_deref().map(|typed| ("grpc", typed)))
    }
}

/// What stands in the place of a part.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartFallbackConfig {
    /// The last answer that was kept of it.
    Stale,
    /// This JSON.
    Value(Value),
}

/// How what was composed is answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondConfig {
    /// The body: members of parts by reference, in objects, `{ value: JSON }` and `{ merge: [a, b] }`. An object with a
    /// member for each part unless given.
    #[serde(default)]
    pub body: Option<Tree>,
    /// The status.
    #[serde(default = "ok")]
    pub status: u16,
    /// Header fields, written from what the request and the parts hold.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The most calls that one request may make for its parts.
    #[serde(default = "max_calls")]
    pub max_calls: usize,
    /// The most bytes of all parts together.
    #[serde(default = "max_held")]
    pub max_held: Size,
}

impl Default for RespondConfig {
    fn default() -> Self {
        let (headers, max_calls) = (IndexMap::new(), max_calls());
        RespondConfig { body: None, status: ok(), headers, max_calls, max_held: max_held() }
    }
}

/// JSON as typed, with its members in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// A text: a reference, where it is none of a literal.
    Text(String),
    /// Members in order.
    Object(IndexMap<String, Tree>),
    /// Items.
    List(Vec<Tree>),
    /// A number, `true`, `false`, null.
    Other(Value),
}

impl Tree {
    /// As JSON text.
    #[must_use]
    pub fn json(&self) -> String {
        let joined = |items: Vec<String>| items.join(",");
        match self {
            Tree::Text(text) => Value::from(text.as_str()).to_string(),
            Tree::Other(value) => value.to_string(),
            Tree::List(items) => format!("[{}]", joined(items.iter().map(Tree::json).collect())),
            Tree::Object(members) => {
                let member = |(name, value): (&String, &Tree)| {
                    format!("{}:{}", Value::from(name.as_str()), value.json())
                };
                format!("{{{}}}", joined(members.iter().map(member).collect()))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("references to members of parts, like `order.state`")
    }

    fn visit_unit<E: Error>(self) -> Result<Tree, E> {
        Ok(Tree::Other(Value::Null))
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Tree, E> {
        Ok(Tree::Other(truth.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Tree, E> {
        Ok(Tree::Other(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Tree, E> {
        Ok(Tree::Other(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Tree, E> {
        Ok(Tree::Other(number.into()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Tree::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut all = IndexMap::new();
        while let Some((name, member)) = members.next_entry::<String, Tree>()? {
            all.insert(name, member);
        }
        Ok(Tree::Object(all))
    }
}

/// A part is held in memory until the answer is put together.
fn max_size() -> Size {
    Size::mib(4)
}

/// More than any page needs; a single request must not become a flood.
fn max_calls() -> usize {
    32
}

/// All parts are held until the answer is put together.
fn max_held() -> Size {
    Size::mib(32)
}

fn ok() -> u16 {
    200
}
