//! The graph of a composition, from what was typed: what each part needs, and what of that can never come out right.
//!
//! Not here: running it (`composition/graph.rs`), its order (`order.rs`), look-ups for lists (`join.rs`), how the answer is
//! shaped (`shape.rs`).

use std::{collections::BTreeSet, sync::Arc};

use indexmap::IndexMap;

use super::{RouteConfig, build::Builder, write::before};
use crate::{
    auth::{
        config::AuthConfig,
        policy::{Input, Policy},
    },
    composition::{
        Compose, Join, Node, Plan,
        config::{PartConfig, RespondConfig},
    },
    guard::Guard,
    handler::{Handler, Services},
    mistake::{Mistake, below},
};

/// Names that mean something else in references.
const TAKEN: [&str; 4] = ["body", "claims", "path", "query"];

/// The parts of one route while they are being built.
pub(super) struct Parts<'t> {
    pub(super) typed: &'t RouteConfig,
    pub(super) parts: &'t IndexMap<String, PartConfig>,
    /// Where they stand.
    pub(super) at: String,
    pub(super) names: Vec<&'t str>,
    pub(super) services: &'t Services,
}

impl Parts<'_> {
    pub(super) fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| *known == name)
    }

    pub(super) fn of(&self, index: usize) -> &PartConfig {
        &self.parts[index]
    }

    /// `part `a` of route `/b``, as mistakes begin.
    pub(super) fn place(&self, index: usize) -> String {
        format!("route `{}`: part `{}`", self.typed.path, self.names[index])
    }

    pub(super) fn at(&self, index: usize, key: &str) -> String {
        below(&below(&self.at, self.names[index]), key)
    }

    /// That nothing, or a join, is called so.
    pub(super) fn wrong_part(&self, name: &str, place: &str, at: &str) -> Option<Mistake> {
        match self.index(name) {
            Some(index) if self.of(index).each.is_none() => None,
            Some(_) => {
                let message = format!("{place} speaks of `{name}`, which is joined into another part");
                Some(Mistake::new(at, message).expected("a part with an answer of its own"))
            }
            None => {
                let mistake = Mistake::new(at, format!("{place} speaks of the unknown part `{name}`"));
                let plain = self.parts.iter().filter(|(_, part)| part.each.is_none());
                Some(mistake.one_of("parts", plain.map(|(name, _)| name), name))
            }
        }
    }
}

impl Builder<'_> {
    pub(super) fn compose(
        &mut self,
        parts: &IndexMap<String, PartConfig>,
        typed: &RouteConfig,
        at: &str,
        guard: &Arc<Guard>,
        services: &Services,
    ) -> Option<Arc<dyn Handler>> {
        let place = format!("route `{}`", typed.path);
        let safe = |method: &String| ["GET", "HEAD", "OPTIONS"].contains(&method.as_str());
        if parts.values().any(|part| part.write().is_some()) {
            if typed.methods.iter().any(safe) {
                let message = format!("{place}: what is read changes nothing, and this has a write");
                let mistake = Mistake::new(format!("{at}:"), message);
                self.mistakes.add(mistake.expected("with `methods` such as `[POST]`"));
            }
        } else if typed.methods.iter().any(|method| method != "GET") {
            let message = format!("{place}: a composition without a write is read, not written");
            let mistake = Mistake::new(format!("{at}:"), message);
            self.mistakes.add(mistake.expected("with `methods: [GET]` or none, or with a part that writes"));
        }
        if parts.is_empty() && !self.loaded.has_erased(at) {
            self.mistakes
                .add(Mistake::new(at, format!("{place} composes nothing")).expected("at least one part"));
        }
        let said = self.mistakes.0.len();
        let names = parts.keys().map(String::as_str).collect();
        let parts = Parts { typed, parts, at: at.to_owned(), names, services };
        let nodes: Vec<Option<Node>> = (0..parts.names.len()).map(|index| self.node(index, &parts)).collect();
        let default = RespondConfig::default();
        let respond = typed.respond.as_ref().unwrap_or(&default);
        let all: Option<Vec<Node>> = nodes.into_iter().collect();
        let mut nodes = all.filter(|_| self.mistakes.0.len() == said)?;
        self.check_last(&nodes, &parts);
        if self.mistakes.0.len() == said {
            self.check_order(&nodes, &parts); // what needs a write would be a circle, too
        }
        let at = at.strip_suffix("compose").unwrap_or(at);
        let (respond, shown) = self.respond(respond, &nodes, &parts, &format!("{at}respond"))?;
        let looked_at = nodes.iter().flat_map(looks_at).cloned().chain(shown);
        let looked_at: Vec<Input> = looked_at.collect();
        for node in &mut nodes {
            let of = |input: &&Input| matches!(input, Input::Part { part, .. } if *part == node.part.name());
            node.shows = looked_at.iter().filter(of).cloned().collect();
        }
        (self.mistakes.0.len() == said)
            .then(|| Arc::new(Compose::new(Plan::new(nodes), respond, guard)) as Arc<dyn Handler>)
    }

    fn node(&mut self, index: usize, parts: &Parts<'_>) -> Option<Node> {
        let (name, typed) = (parts.names[index], parts.of(index));
        let place = parts.place(index);
        if TAKEN.contains(&name) {
            let mistake = Mistake::new(
                format!("{}.{name}:", parts.at),
                format!("{place} cannot be told from `{name}.*`"),
            );
            self.mistakes.add(mistake.expected("another name"));
        }
        let mut needs = self.needs(index, parts);
        let when = self.when(index, parts);
        let join = match &typed.each {
            Some(each) => Some(self.join(each, index, parts)),
            None => {
                self.only_with_each(typed, &below(&parts.at, name), &place);
                None
            }
        };
        let (part, rpc) = match (&typed.from, &typed.grpc) {
            (Some(from), _) if typed.each.is_some() => (self.part_of_loader(from, index, parts), None),
            (_, Some(method)) if typed.called().is_some_and(|(key, _)| key == "grpc") => {
                self.part_of_grpc(method, index, parts).map(|(part, rpc)| (Some(part), Some(rpc)))?
            }
            _ => {
                let known: &[&str] = if typed.each.is_some() { &[] } else { &parts.names };
                (self.part(name, typed, parts.typed, &parts.at, parts.services, known), None)
            }
        };
        let write = self.write(index, parts)?;
        let (join, part) = (join.map_or(Some(None), |join| join.map(Some))?, part?);
        let mut after = Vec::new();
        if write.is_some() {
            let (there, over) = before(index, parts);
            needs.extend(there);
            after = over;
        }
        let of_write = write.iter().flat_map(|write| write.inputs());
        let of_message = rpc.iter().flat_map(|rpc| rpc.inputs());
        let inputs = part.inputs().chain(of_write).chain(of_message);
        let inputs = inputs.chain(when.iter().flat_map(Policy::inputs));
        needs.extend(inputs.filter_map(|input| match input {
            Input::Part { part, .. } => parts.index(part),
            _ => None,
        }));
        needs.extend(join.as_ref().map(|join: &Join| join.list));
        let key = typed.called().map_or("get", |(key, _)| key);
        for input in part.inputs() {
            let Input::Part { part, .. } = input else { continue };
            let wrong = parts.wrong_part(part, &place, &parts.at(index, key));
            self.mistakes.0.extend(wrong.map(|wrong| wrong.words(input.to_string())));
        }
        let needs: Box<[usize]> = needs.into_iter().collect();
        after.retain(|index| !needs.contains(index));
        Some(Node { part, join, rpc, write, when, needs, after: after.into(), shows: Box::default() })
    }

    /// What stands under `needs`.
    fn needs(&mut self, index: usize, parts: &Parts<'_>) -> BTreeSet<usize> {
        let mut needs = BTreeSet::new();
        for (number, name) in parts.of(index).needs.iter().enumerate() {
            let at = format!("{}[{number}]", parts.at(index, "needs"));
            match parts.index(name) {
                Some(needed) if needs.insert(needed) => {}
                Some(_) => {
                    let message = format!("{} needs `{name}` twice", parts.place(index));
                    self.mistakes.add(Mistake::new(at, message).expected("each part once"));
                }
                None => {
                    let message = format!("{} needs the unknown part `{name}`", parts.place(index));
                    self.mistakes.add(Mistake::new(at, message).one_of("parts", &parts.names, name));
                }
            }
        }
        needs
    }

    fn when(&mut self, index: usize, parts: &Parts<'_>) -> Option<Policy> {
        let typed = parts.of(index).when.as_deref()?;
        let (at, place) = (parts.at(index, "when"), format!("{}: its condition", parts.place(index)));
        let policy = Policy::parse(typed).map_err(|error| {
            let mistake = Mistake::new(&at, format!("{place}: {}", error.message)).expected(error.expected);
            if error.words.is_empty() { mistake } else { mistake.words(error.words) }
        });
        let policy = self.mistakes.keep(policy)?;
        for input in policy.inputs() {
            let wrong = match input {
                Input::Path(name) if !self.names.iter().any(|known| **known == **name) => {
                    let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
                    let message = format!("{place}: the route's path has no parameter `{name}`");
                    Some(Mistake::new(&at, message).one_of("parameters", names, name))
                }
                Input::Claim(_) if parts.typed.auth == AuthConfig::None => {
                    let message = format!("{place}: `auth: none` knows no callers and no claims");
                    Some(Mistake::new(&at, message).expected("path, query or parts"))
                }
                Input::Body(_) => {
                    let message = format!("{place} reads a body that no composition has");
                    Some(Mistake::new(&at, message).expected("claims, path, query or parts"))
                }
                Input::Part { part, .. } => parts.wrong_part(part, &place, &at),
                _ => None,
            };
            self.mistakes.0.extend(wrong.map(|wrong| wrong.words(input.to_string())));
        }
        Some(policy)
    }

    /// A part that stands alone, and `why`.
    pub(super) fn check_alone(&mut self, typed: &PartConfig, at: &str, place: &str, why: &str) {
        for (key, given) in [
            ("needs", !typed.needs.is_empty()),
            ("when", typed.when.is_some()),
            ("each", typed.each.is_some()),
            ("post", typed.post.is_some()),
            ("put", typed.put.is_some()),
            ("patch", typed.patch.is_some()),
            ("delete", typed.delete.is_some()),
            ("grpc", typed.grpc.is_some()),
            ("message", typed.message.is_some()),
            ("write", typed.write),
            ("body", typed.body.is_some()),
            ("headers", !typed.headers.is_empty()),
            ("idempotency", typed.idempotency.is_some()),
        ] {
            if given {
                let message = format!("{place} {why}, and stands alone");
                let mistake = Mistake::new(format!("{}:", below(at, key)), message);
                self.mistakes.add(mistake.help(format!("leave `{key}` out")));
            }
        }
        self.only_with_each(typed, at, place);
    }
}

/// What of parts a part is written from or decided by.
fn looks_at(node: &Node) -> impl Iterator<Item = &Input> {
    node.inputs().chain(node.when.iter().flat_map(Policy::inputs))
}
