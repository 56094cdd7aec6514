//! What a composition answers, from the schemas of its parts.
//!
//! Not here: composing (`composition/`), and what else is told of a route (`document.rs`).

use indexmap::IndexMap;
use serde_json::Value;

use super::document::{list, member, object, text};
use crate::{
    composition::config::{PartConfig, PartFallbackConfig, Tree},
    config::{Config, RouteConfig},
};

/// What a part answers, and whether that is always there.
struct Found {
    schema: Tree,
    sure: bool,
}

/// The parts of one route.
struct Parts<'a> {
    config: &'a Config,
    parts: &'a IndexMap<String, PartConfig>,
}

/// The schema of a route's composition, as typed; none if it composes nothing.
pub(super) fn answer(route: &RouteConfig, config: &Config) -> Option<Tree> {
    let parts = Parts { config, parts: route.compose.as_ref()? };
    match route.respond.as_ref().and_then(|respond| respond.body.as_ref()) {
        Some(body) => Some(parts.shape(body).schema),
        None => {
            let alone = parts.parts.iter().filter(|(_, part)| part.each.is_none());
            let members = alone.map(|(name, _)| (name.as_str(), parts.find(name)));
            Some(together(members.collect()))
        }
    }
}

/// An object of these members.
fn together(members: Vec<(&str, Found)>) -> Tree {
    let sure: Vec<Tree> =
        members.iter().filter(|(_, found)| found.sure).map(|(name, _)| text(name)).collect();
    let properties = members.into_iter().map(|(name, found)| (name.to_owned(), found.schema)).collect();
    let mut schema = vec![("type", text("object")), ("properties", Tree::Object(properties))];
    if !sure.is_empty() {
        schema.push(("required", list(sure)));
    }
    object(schema)
}

impl Parts<'_> {
    /// What is written by `shape` (`composition/shape.rs`).
    fn shape(&self, shape: &Tree) -> Found {
        match shape {
            Tree::Text(reference) => self.find(reference),
            Tree::Object(members) if members.len() == 1 && members.contains_key("value") => {
                Found { schema: object(vec![("const", members["value"].clone())]), sure: true }
            }
            Tree::Object(members) if members.len() == 1 && members.contains_key("merge") => {
                let merged = match &members["merge"] {
                    Tree::List(items) => items.iter().map(|item| self.shape(item).schema).collect(),
                    _ => Vec::new(),
                };
                Found { schema: object(vec![("allOf", list(merged))]), sure: true }
            }
            Tree::Object(members) => {
                let members = members.iter().map(|(name, shape)| (name.as_str(), self.shape(shape)));
                Found { schema: together(members.collect()), sure: true }
            }
            other => Found { schema: object(vec![("const", other.clone())]), sure: true },
        }
    }

    /// What a part or a member of it is: `history.orders`.
    fn find(&self, reference: &str) -> Found {
        let mut steps = reference.split('.');
        let name = steps.next().unwrap_or_default();
        let Some(part) = self.parts.get(name) else {
            return Found { schema: object(Vec::new()), sure: false };
        };
        let mut found =
            Found { schema: self.joined(name, part), sure: !part.optional && part.when.is_none() };
        for step in steps {
            let inside = self.resolved(&found.schema);
            let needed = match member(inside, "required") {
                Some(Tree::List(names)) => names.contains(&text(step)),
                _ => false,
            };
            let schema = member(inside, "properties").and_then(|known| member(known, step));
            found = Found {
                sure: found.sure && needed,
                schema: schema.cloned().unwrap_or_else(|| object(Vec::new())),
            };
        }
        if let Some(PartFallbackConfig::Value(value)) = &part.fallback {
            let fallback = object(vec![("const", Tree::Other(value.clone()))]);
            found.schema = object(vec![("anyOf", list(vec![found.schema, fallback]))]);
            found.sure |= part.when.is_none() && reference == name;
        }
        found
    }

    /// A part's schema, with what others write into its lists.
    fn joined(&self, name: &str, part: &PartConfig) -> Tree {
        let typed = part.schema.as_deref().map_or_else(|| object(Vec::new()), text);
        self.parts.values().fold(typed, |schema, other| {
            let within = other.each.as_deref().map(|each| each.split('.').collect::<Vec<_>>());
            match (within.as_deref(), &other.into) {
                (Some([part, path @ ..]), Some(into)) if *part == name => {
                    let value = other.schema.as_deref().map_or_else(|| object(Vec::new()), text);
                    self.with(&schema, path, into, &value)
                }
                _ => schema,
            }
        })
    }

    /// `schema` where the elements of the list at `path` may have a member more.
    fn with(&self, schema: &Tree, path: &[&str], into: &str, value: &Tree) -> Tree {
        let Tree::Object(mut members) = self.resolved(schema).clone() else { return schema.clone() };
        match path {
            [] => {
                let more = object(vec![("properties", object(vec![(into, value.clone())]))]);
                let items = members.get("items").cloned();
                let both = items.map(|items| object(vec![("allOf", list(vec![items, more.clone()]))]));
                members.insert("items".to_owned(), both.unwrap_or(more));
            }
            [step, rest @ ..] => {
                if let Some(Tree::Object(known)) = members.get_mut("properties")
                    && let Some(found) = known.get_mut(*step)
                {
                    *found = self.with(found, rest, into, value);
                }
            }
        }
        Tree::Object(members)
    }

    /// What a name stands for. Names that lead to themselves were refused before.
    fn resolved<'t>(&'t self, schema: &'t Tree) -> &'t Tree {
        let name = match schema {
            Tree::Text(name) => Some(name.as_str()),
            other => match member(other, "$ref") {
                Some(Tree::Text(reference)) => reference.rsplit('/').next(),
                _ => None,
            },
        };
        let named = name.and_then(|name| self.config.schemas.get(name));
        named.map_or(schema, |named| self.resolved(named))
    }
}

/// A schema as JSON has it: names become references, and the null of types a text.
pub(super) fn normalized(typed: &Tree) -> Tree {
    match typed {
        Tree::Text(name) => object(vec![("$ref", text(&format!("{}{name}", super::compile::COMPONENTS)))]),
        Tree::Object(members) => {
            let normal = members.iter().map(|(key, value)| {
                let value = match (key.as_str(), value) {
                    ("properties", Tree::Object(known)) => Tree::Object(
                        known.iter().map(|(name, one)| (name.clone(), normalized(one))).collect(),
                    ),
                    ("items" | "additionalProperties", one) => normalized(one),
                    ("allOf" | "anyOf" | "oneOf", Tree::List(all)) => {
                        list(all.iter().map(normalized).collect())
                    }
                    ("type", Tree::List(types)) => {
                        let named = types.iter().map(|one| match one {
                            Tree::Other(Value::Null) => text("null"),
                            one => one.clone(),
                        });
                        list(named.collect())
                    }
                    (_, other) => other.clone(),
                };
                (key.clone(), value)
            });
            Tree::Object(normal.collect())
        }
        other => other.clone(),
    }
}
