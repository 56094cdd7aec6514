//! How a composed answer is shaped, from what was typed under `respond:`.
//!
//! Not here: writing it (`composition/shape.rs`).

use std::collections::BTreeSet;

use http::{HeaderName, StatusCode};

use super::{build::Builder, graph::Parts};
use crate::{
    auth::{
        config::AuthConfig,
        policy::{Input, Policy},
    },
    composition::{
        Node, Respond,
        config::{RespondConfig, Tree},
        shape::{Reference, Shape, named},
    },
    identity::stays_here,
    loaders::KeyPath,
    mistake::{Mistake, below},
    tags::{Known, Tag},
};

/// Header fields that the gateway sets itself, or that say how the body is sent.
const OURS: [&str; 9] = [
    "cache-control",
    "composition-status",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "set-cookie",
    "x-request-id",
];

impl Builder<'_> {
    /// How it is answered, and what of parts that takes to be looked at.
    pub(super) fn respond(
        &mut self,
        typed: &RespondConfig,
        nodes: &[Node],
        parts: &Parts<'_>,
        at: &str,
    ) -> Option<(Respond, Vec<Input>)> {
        let (mut used, said) = (BTreeSet::new(), self.mistakes.0.len());
        let body = typed.body.as_ref().map(|tree| self.shape(tree, parts, &below(at, "body"), &mut used));
        let place = format!("route `{}`", parts.typed.path);
        let status = StatusCode::from_u16(typed.status).ok().filter(|_| (200..=203).contains(&typed.status));
        if status.is_none() {
            let message = format!("{place}: what was composed is not answered with {}", typed.status);
            self.mistakes.add(Mistake::new(below(at, "status"), message).expected("200 to 203"));
        }
        for (key, right, expected) in [
            (
                "max_calls",
                typed.max_calls >= nodes.len(),
                format!("{} or more: one for each part", nodes.len()),
            ),
            ("max_held", typed.max_held.0 > 0, "1B or more".to_owned()),
        ] {
            if !right {
                let message = format!("{place}: with this `{key}` nothing could succeed");
                self.mistakes.add(Mistake::new(below(at, key), message).expected(expected));
            }
        }
        let headers = self.response_headers(typed, parts, &below(at, "headers"));
        if body.is_some() && self.mistakes.0.len() == said {
            self.check_used(nodes, &headers, &used, parts);
        }
        let shown = headers.iter().flat_map(|(_, tag)| tag.inputs()).cloned();
        let shown = shown.filter(|input| matches!(input, Input::Part { .. })).collect();
        let body = match body {
            None => None,
            Some(body) => Some(body?),
        };
        let (max_calls, max_held) = (typed.max_calls, typed.max_held.0);
        Some((Respond { body, status: status?, headers, max_calls, max_held }, shown))
    }

    fn response_headers(
        &mut self,
        typed: &RespondConfig,
        parts: &Parts<'_>,
        at: &str,
    ) -> Vec<(HeaderName, Tag)> {
        let callers = parts.typed.auth != AuthConfig::None;
        let plain: Vec<&str> = parts
            .parts
            .iter()
            .filter(|(_, part)| part.each.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut headers = Vec::with_capacity(typed.headers.len());
        for (name, template) in &typed.headers {
            let (at, place) =
                (below(at, name), format!("route `{}`: the header field `{name}`", parts.typed.path));
            let field = HeaderName::from_bytes(name.as_bytes()).ok();
            let field = field.filter(|field| !OURS.contains(&field.as_str()) && !stays_here(field.as_str()));
            if field.is_none() {
                let mistake = Mistake::new(format!("{at}:"), format!("{place} is not to be set here"));
                self.mistakes.add(mistake.expected("a field that the gateway does not set itself"));
            }
            if headers.iter().any(|(told, _)| Some(told) == field.as_ref()) {
                self.mistakes.add(Mistake::new(format!("{at}:"), format!("{place} is set twice")));
            }
            let known = Known { params: &self.names, callers, body: false, parts: &plain };
            match Tag::parse(template, &known) {
                Ok(tag) => headers.extend(field.map(|field| (field, tag))),
                Err(wrong) => {
                    let why = wrong.why.replace("a tag", "its value");
                    let mistake = Mistake::new(&at, format!("{place}: {why}")).expected(wrong.expected);
                    self.mistakes.add(match wrong.words.is_empty() {
                        true => mistake,
                        false => mistake.words(wrong.words),
                    });
                }
            }
        }
        headers
    }

    fn shape(
        &mut self,
        tree: &Tree,
        parts: &Parts<'_>,
        at: &str,
        used: &mut BTreeSet<usize>,
    ) -> Option<Shape> {
        match tree {
            Tree::Text(text) => self.reference(text, parts, at, used).map(Shape::Found),
            Tree::Object(members) => match (members.len(), members.first()) {
                (1, Some((name, value))) if name == "value" => Some(Shape::Literal(value.json().into())),
                (1, Some((name, Tree::List(list)))) if name == "merge" => {
                    self.merged(list, parts, &below(at, "merge"), used)
                }
                _ => {
                    let shapes: Vec<_> = members
                        .iter()
                        .map(|(name, tree)| {
                            Some((named(name), self.shape(tree, parts, &below(at, name), used)?))
                        })
                        .collect();
                    shapes.into_iter().collect::<Option<_>>().map(Shape::Object)
                }
            },
            Tree::List(_) | Tree::Other(_) => {
                let message = format!("route `{}`: the answer's body says what is there", parts.typed.path);
                let expected = "a reference like `order.state`, an object of such, `{ value: JSON }` or `{ merge: [a, b] }`";
                self.mistakes.add(Mistake::new(at, message).expected(expected));
                None
            }
        }
    }

    fn merged(
        &mut self,
        list: &[Tree],
        parts: &Parts<'_>,
        at: &str,
        used: &mut BTreeSet<usize>,
    ) -> Option<Shape> {
        if list.len() < 2 {
            let message = format!("route `{}`: there is nothing to merge", parts.typed.path);
            self.mistakes.add(Mistake::new(at, message).expected("two references or more"));
        }
        let references: Vec<_> = list
            .iter()
            .enumerate()
            .map(|(index, tree)| match tree {
                Tree::Text(text) => self.reference(text, parts, &format!("{at}[{index}]"), used),
                _ => {
                    let message = format!("route `{}`: only objects of parts are merged", parts.typed.path);
                    let mistake = Mistake::new(format!("{at}[{index}]"), message);
                    self.mistakes.add(mistake.expected("a reference like `order` or `order.address`"));
                    None
                }
            })
            .collect();
        references.into_iter().collect::<Option<_>>().map(Shape::Merged)
    }

    fn reference(
        &mut self,
        text: &str,
        parts: &Parts<'_>,
        at: &str,
        used: &mut BTreeSet<usize>,
    ) -> Option<Reference> {
        let place = format!("route `{}`: the answer's body", parts.typed.path);
        let (name, path) = text.split_once('.').map_or((text, None), |(name, path)| (name, Some(path)));
        if let Some(wrong) = parts.wrong_part(name, &place, at) {
            self.mistakes.add(wrong.words(name));
            return None;
        }
        let path = match path.map(KeyPath::parse) {
            Some(None) => {
                let message = format!("{place}: `{text}` names no member");
                self.mistakes
                    .add(Mistake::new(at, message).expected("a part and a member, like `order.state`"));
                return None;
            }
            path => path.flatten(),
        };
        let part = parts.index(name)?;
        used.insert(part);
        Some(Reference { part, path })
    }

    /// A part that nothing is made of would be asked for nothing.
    fn check_used(
        &mut self,
        nodes: &[Node],
        headers: &[(HeaderName, Tag)],
        used: &BTreeSet<usize>,
        parts: &Parts<'_>,
    ) {
        let by_rule = |name: &str| {
            let AuthConfig::By(rule) = &parts.typed.auth else { return false };
            let policy = rule.allow.as_deref().and_then(|rule| Policy::parse(rule).ok());
            policy.is_some_and(|policy| policy.parts().any(|part| part == name))
        };
        for (index, node) in nodes.iter().enumerate() {
            let name = node.part.name();
            let by_header = headers
                .iter()
                .flat_map(|(_, tag)| tag.inputs())
                .any(|input| matches!(input, Input::Part { part, .. } if part == name));
            // A join shows where its list does.
            let shown = node.join.as_ref().map_or(index, |join| join.list);
            let needed = nodes.iter().any(|other| other.join.is_none() && other.needs.contains(&index));
            if !used.contains(&shown) && node.write.is_none() && !by_header && !needed && !by_rule(name) {
                let message = format!(
                    "route `{}`: part `{name}` is asked for, and nothing is made of it",
                    parts.typed.path
                );
                let mistake = Mistake::new(format!("{}.{name}:", parts.at), message);
                self.mistakes.add(mistake.help("speak of it under `respond.body`, or leave it out"));
            }
        }
    }
}
