//! The write of a composition, from what was typed: what is sent, and that it stands last and alone.
//!
//! Not here: sending it (`composition/write.rs`), where to (`handlers.rs`).

use http::HeaderName;

use super::{build::Builder, cached::name, graph::Parts};
use crate::{
    auth::{config::AuthConfig, policy::Input},
    composition::{
        Node,
        config::{PartConfig, Tree},
        shape::{Reference, named},
        write::{Sends, Write},
        written::{InBody, Written},
    },
    identity::{OURS, stays_here},
    loaders::KeyPath,
    mistake::{Mistake, below},
    tags::{self, Known, Tag},
};

/// Header fields that say how a write is sent, or that have a key of their own.
const OTHERS: [&str; 6] =
    ["accept", "content-encoding", "content-language", "content-length", "content-type", "idempotency-key"];

impl Builder<'_> {
    /// What the part changes, if it is a write. None if something is wrong with it.
    pub(super) fn write(&mut self, index: usize, parts: &Parts<'_>) -> Option<Option<Box<Write>>> {
        let (typed, place) = (parts.of(index), parts.place(index));
        let said = self.mistakes.0.len();
        self.check_write(typed, &below(&parts.at, parts.names[index]), &place);
        let Some((_, method, _)) = typed.write() else {
            return (self.mistakes.0.len() == said).then_some(None);
        };
        let plain = plain(index, parts);
        let params = self.names.clone();
        let callers = parts.typed.auth != AuthConfig::None;
        let known = Known { params: &params, callers, body: true, parts: &plain };
        let headers = self.write_headers(index, parts, &known);
        let at = parts.at(index, "body");
        let body = match &typed.body {
            None => Some(Sends::Nothing),
            Some(Tree::Text(text)) if text == "request" => Some(Sends::Request),
            Some(tree) => {
                let whose = format!("{place}: its body");
                self.written(tree, parts, &known, &whose, &at).map(Sends::Json)
            }
        };
        let write = Write {
            method,
            body: body?,
            headers,
            idempotency: typed.idempotency.unwrap_or_default(),
            invalidates: self.invalidates(parts.typed),
            store: self.store.clone(),
            metrics: self.ground.metrics.writes(&name(parts.typed)),
        };
        (self.mistakes.0.len() == said).then(|| Some(Box::new(write)))
    }

    /// What goes with a write, and what does not.
    fn check_write(&mut self, typed: &PartConfig, at: &str, place: &str) {
        let mut wrong = |key: &str, message: String, help: &str| {
            self.mistakes.add(Mistake::new(format!("{}:", below(at, key)), message).help(help));
        };
        let methods = [
            ("get", typed.get.is_some()),
            ("post", typed.post.is_some()),
            ("put", typed.put.is_some()),
            ("patch", typed.patch.is_some()),
            ("delete", typed.delete.is_some()),
            ("grpc", typed.grpc.is_some()),
        ];
        let mut given = methods.iter().filter(|(_, given)| *given);
        if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
            wrong(second, format!("{place} has `{first}` and `{second}`"), "write one of them");
        }
        let writes = typed.write().is_some();
        let by_grpc = typed.grpc.is_some(); // which has no other body than its message, written or read
        let only_writes = [
            ("body", typed.body.is_some() && !by_grpc),
            ("headers", !typed.headers.is_empty() && !by_grpc),
            ("idempotency", typed.idempotency.is_some()),
        ];
        for (key, _) in only_writes.iter().filter(|(_, given)| *given && !writes) {
            let message = format!("{place} has `{key}` and writes nothing");
            wrong(key, message, "it goes with `post`, `put`, `patch` or `delete`");
        }
        let only_by_grpc = [("message", typed.message.is_some()), ("write", typed.write)];
        for (key, _) in only_by_grpc.iter().filter(|(_, given)| *given && typed.grpc.is_none()) {
            wrong(key, format!("{place} has `{key}` and calls nothing by gRPC"), "it goes with `grpc`");
        }
        let only_reads = [
            ("optional", typed.optional, "a write that may fail unseen is none that anybody can rely on"),
            ("fallback", typed.fallback.is_some(), "nothing can stand in for a write"),
            ("cache", typed.cache.is_some(), "what a write answers is not kept"),
            ("each", typed.each.is_some(), "a composition writes once"),
            ("from", typed.from.is_some(), "loaders read"),
        ];
        for (key, _, why) in only_reads.iter().filter(|(_, given, _)| *given && writes) {
            wrong(key, format!("{place}: {why}"), &format!("leave `{key}` out"));
        }
    }

    fn write_headers(
        &mut self,
        index: usize,
        parts: &Parts<'_>,
        known: &Known<'_>,
    ) -> Vec<(HeaderName, Tag)> {
        let mut headers = Vec::new();
        for (name, template) in &parts.of(index).headers {
            let at = below(&parts.at(index, "headers"), name);
            let place = format!("{}: the header field `{name}`", parts.place(index));
            let field = HeaderName::from_bytes(name.as_bytes()).ok();
            let told = self.config.identity.headers.keys().any(|told| told.eq_ignore_ascii_case(name));
            let ours = |field: &HeaderName| {
                told || OURS.contains(field)
                    || self.budget.ours.contains(field)
                    || self.credentials.contains(field)
                    || OTHERS.contains(&field.as_str())
                    || stays_here(field.as_str())
            };
            let field = field.filter(|field| !ours(field));
            if field.is_none() {
                let mistake = Mistake::new(format!("{at}:"), format!("{place} is not to be set here"));
                self.mistakes.add(mistake.expected("a field that the gateway does not set itself"));
            }
            if headers.iter().any(|(told, _)| Some(told) == field.as_ref()) {
                self.mistakes.add(Mistake::new(format!("{at}:"), format!("{place} is set twice")));
            }
            let tag = self.text_of_write(template, known, &place, &at);
            headers.extend(field.zip(tag));
        }
        headers
    }

    fn text_of_write(&mut self, template: &str, known: &Known<'_>, place: &str, at: &str) -> Option<Tag> {
        let parsed = Tag::parse(template, known).map_err(|wrong| {
            let why = wrong.why.replace("a tag", "its value");
            let mistake = Mistake::new(at, format!("{place}: {why}")).expected(wrong.expected);
            if wrong.words.is_empty() { mistake } else { mistake.words(wrong.words) }
        });
        self.mistakes.keep(parsed)
    }

    /// JSON with references between braces; `whose` is what it is, as mistakes begin.
    pub(super) fn written(
        &mut self,
        tree: &Tree,
        parts: &Parts<'_>,
        known: &Known<'_>,
        whose: &str,
        at: &str,
    ) -> Option<Written> {
        match tree {
            Tree::Text(text) if !text.contains(['{', '}']) => Some(Written::Literal(tree.json().into())),
            Tree::Text(text) => self.written_text(text, parts, known, whose, at),
            Tree::Other(value) => Some(Written::Literal(value.to_string().into())),
            Tree::Object(members) => match (members.len(), members.first()) {
                (1, Some((name, value))) if name == "value" => Some(Written::Literal(value.json().into())),
                _ => {
                    let member = |(name, tree): (&String, &Tree)| {
                        Some((named(name), self.written(tree, parts, known, whose, &below(at, name))?))
                    };
                    let all: Vec<_> = members.iter().map(member).collect();
                    all.into_iter().collect::<Option<_>>().map(Written::Object)
                }
            },
            Tree::List(items) => {
                let item = |(index, tree): (usize, &Tree)| {
                    self.written(tree, parts, known, whose, &format!("{at}[{index}]"))
                };
                let all: Vec<_> = items.iter().enumerate().map(item).collect();
                all.into_iter().collect::<Option<_>>().map(Written::List)
            }
        }
    }

    /// A reference alone is what it refers to, of whatever kind; among other text it is text.
    fn written_text(
        &mut self,
        text: &str,
        parts: &Parts<'_>,
        known: &Known<'_>,
        whose: &str,
        at: &str,
    ) -> Option<Written> {
        let alone = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        if let Some(name) = alone.filter(|name| !name.contains(['{', '}']))
            && let Ok(input) = tags::input(name, known)
        {
            match &input {
                Input::Part { part, field } => {
                    let (part, path) = (parts.index(part)?, KeyPath::parse(&field.join(".")));
                    return Some(Written::Found(Reference { part, path }, input));
                }
                Input::Body(field) => {
                    let path = KeyPath::parse(&field.join("."))?;
                    return Some(Written::OfBody(InBody(path), input));
                }
                _ => {}
            }
        }
        self.text_of_write(text, known, whose, at).map(Written::Text)
    }

    /// A write is the only one and the last, and is what its route is for.
    pub(super) fn check_last(&mut self, nodes: &[Node], parts: &Parts<'_>) {
        let at = |index: usize| format!("{}.{}:", parts.at, parts.names[index]);
        let mut writes = (0..nodes.len()).filter(|index| nodes[*index].write.is_some());
        let Some(write) = writes.next() else { return };
        if let Some(second) = writes.next() {
            let message = format!("{} is the second write of its composition", parts.place(second));
            let help = "two writes are one piece of business: let one service do both";
            let mistake = Mistake::new(at(second), message).help(help).other(at(write));
            self.mistakes.add(mistake);
        }
        for index in (0..nodes.len()).filter(|index| nodes[*index].needs.contains(&write)) {
            let message = format!("{} needs the write `{}`", parts.place(index), parts.names[write]);
            self.mistakes.add(Mistake::new(at(index), message).expected("nothing that comes after a write"));
        }
    }
}

/// The parts with an answer of their own that the one of this index may speak of.
pub(super) fn plain<'t>(index: usize, parts: &Parts<'t>) -> Vec<&'t str> {
    let others = parts.names.iter().enumerate().filter(|(other, _)| *other != index);
    others.filter_map(|(other, name)| parts.of(other).each.is_none().then_some(*name)).collect()
}

/// Those that a write waits for besides what it speaks of: all that are required, the second where they have a condition.
pub(super) fn before(index: usize, parts: &Parts<'_>) -> (Vec<usize>, Vec<usize>) {
    let required = (0..parts.names.len()).filter(|other| *other != index && !parts.of(*other).optional);
    let required = required.filter(|other| parts.of(*other).write().is_none());
    required.partition(|other| parts.of(*other).when.is_none())
}
