//! Parts that call methods of gRPC, from what was typed: the method, and a message that it can be called by.
//!
//! Not here: calling it (`composition/rpc.rs`), what a write must be besides (`write.rs`).

use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{build::Builder, graph::Parts, write::plain};
use crate::{
    auth::config::AuthConfig,
    composition::{
        Part,
        config::{PartConfig, Tree},
        rpc::Rpc,
        written::Written,
    },
    mistake::{Mistake, below},
    proxy::grpc::field,
    tags::Known,
};

impl Builder<'_> {
    /// The part that calls `method`, and how.
    pub(super) fn part_of_grpc(
        &mut self,
        method: &str,
        index: usize,
        parts: &Parts<'_>,
    ) -> Option<(Part, Box<Rpc>)> {
        let (typed, place) = (parts.of(index), parts.place(index));
        let at = below(&parts.at, parts.names[index]);
        self.check_beside_grpc(typed, &at, &place);
        let (upstream, grpc) = self.method_of(method, &place, &below(&at, "grpc"), parts.services);
        let grpc = grpc?.at_most(typed.max_size.0);
        let at = below(&at, "message");
        let message = match &typed.message {
            None => Written::Object(Vec::new()),
            Some(tree) => {
                let said = self.mistakes.0.len();
                self.check_message(tree, grpc.request(), &at, &place);
                let (params, plain) = (self.names.clone(), plain(index, parts));
                let callers = parts.typed.auth != AuthConfig::None;
                let known = Known { params: &params, callers, body: typed.write, parts: &plain };
                let whose = format!("{place}: its message");
                let message = self.written(tree, parts, &known, &whose, &at)?;
                let literal = literals(tree).filter(|_| self.mistakes.0.len() == said);
                let misfit = literal.and_then(|literal| grpc.check(literal).err());
                let mistake = |detail: String| Mistake::new(&at, format!("{whose} does not fit: {detail}"));
                self.mistakes.0.extend(misfit.map(|misfit| mistake(misfit.detail())));
                message
            }
        };
        let part = Part::of_grpc(parts.names[index], typed, upstream?);
        Some((part, Box::new(Rpc { grpc, message })))
    }

    /// What means nothing for a call of gRPC.
    fn check_beside_grpc(&mut self, typed: &PartConfig, at: &str, place: &str) {
        for (key, given, why) in [
            ("body", typed.body.is_some(), "what is sent by gRPC is its `message`"),
            ("headers", !typed.headers.is_empty(), "what is sent by gRPC is its `message`"),
            ("cache", typed.cache.is_some(), "what is answered by gRPC is not kept"),
            ("each", typed.each.is_some(), "one call of gRPC is one message"),
            ("from", typed.from.is_some(), "a loader asks by itself"),
        ] {
            if given {
                let mistake = Mistake::new(format!("{}:", below(at, key)), format!("{place}: {why}"));
                self.mistakes.add(mistake.help(format!("leave `{key}` out")));
            }
        }
    }

    /// Every member is a field of the message.
    fn check_message(&mut self, tree: &Tree, kind: &MessageDescriptor, at: &str, place: &str) {
        let members = match tree {
            tree if is_literal(tree) => return, // looked at as a whole
            Tree::Object(members) => members,
            _ => {
                let mistake = Mistake::new(at, format!("{place}: a message has fields"));
                return self.mistakes.add(mistake.expected("a mapping, like `{ orderId: \"{orderId}\" }`"));
            }
        };
        for (name, member) in members {
            let at = below(at, name);
            let Some(field) = field(kind, name) else {
                let wrong = format!("{place}: `{}` has no field `{name}`", kind.full_name());
                let known: Vec<String> = kind.fields().map(|field| field.json_name().to_owned()).collect();
                self.mistakes.add(Mistake::new(format!("{at}:"), wrong).one_of("fields", known, name));
                continue;
            };
            let Kind::Message(kind) = field.kind() else { continue };
            if field.is_map() || kind.full_name().starts_with("google.protobuf.") {
                continue; // has a form of its own
            }
            match member {
                Tree::Object(_) => self.check_message(member, &kind, &at, place),
                Tree::List(items) => {
                    for (index, item) in items.iter().enumerate().filter(|(_, item)| is_object(item)) {
                        self.check_message(item, &kind, &format!("{at}[{index}]"), place);
                    }
                }
                Tree::Text(_) | Tree::Other(_) => {}
            }
        }
    }
}

fn is_object(tree: &Tree) -> bool {
    matches!(tree, Tree::Object(_))
}

/// `{ value: JSON }`: that JSON as it stands.
fn is_literal(tree: &Tree) -> bool {
    matches!(tree, Tree::Object(members) if members.len() == 1 && members.contains_key("value"))
}

/// What of a message is known before any request; none of what is written from one.
fn literals(tree: &Tree) -> Option<Value> {
    match tree {
        Tree::Text(text) => (!text.contains(['{', '}'])).then(|| Value::from(text.as_str())),
        Tree::Other(value) => Some(value.clone()),
        Tree::Object(members) if is_literal(tree) => serde_json::from_str(&members["value"].json()).ok(),
        Tree::Object(members) => {
            let known = members.iter().filter_map(|(name, member)| Some((name.clone(), literals(member)?)));
            Some(Value::Object(known.collect::<Map<_, _>>()))
        }
        Tree::List(items) => Some(Value::Array(items.iter().filter_map(literals).collect())),
    }
}
