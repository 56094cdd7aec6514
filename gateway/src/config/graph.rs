//! The graph of a composition, from what was typed: what each part needs, and what of that can never come out right.
//!
//! Not here: running it (`composition/graph.rs`), how the answer is shaped (`shape.rs`).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use indexmap::IndexMap;

use super::{RouteConfig, build::Builder};
use crate::{
    auth::{
        config::AuthConfig,
        policy::{Input, Policy},
    },
    composition::{
        Compose, Join, Node, Part, Plan,
        config::{PartConfig, RespondConfig},
        each::Source,
        shape::named,
    },
    guard::Guard,
    handler::{Handler, Services},
    loaders::KeyPath,
    mistake::{Mistake, below},
};

/// The most elements of a list, unless said otherwise: the longest page of any list.
const MAX_ITEMS: usize = 200;
/// How many single calls of a join are under way at once, unless said otherwise.
const AT_ONCE: usize = 8;
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

    fn of(&self, index: usize) -> &PartConfig {
        &self.parts[index]
    }

    /// `part `a` of route `/b``, as mistakes begin.
    fn place(&self, index: usize) -> String {
        format!("route `{}`: part `{}`", self.typed.path, self.names[index])
    }

    fn at(&self, index: usize, key: &str) -> String {
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
        if typed.methods.iter().any(|method| method != "GET") {
            let message = format!("{place}: a composition is read, not written");
            self.mistakes
                .add(Mistake::new(format!("{at}:"), message).expected("with `methods: [GET]` or none"));
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
        self.check_order(&nodes, &parts);
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
        let part = match &typed.from {
            Some(from) if typed.each.is_some() => self.part_of_loader(from, index, parts),
            _ => {
                let known: &[&str] = if typed.each.is_some() { &[] } else { &parts.names };
                self.part(name, typed, parts.typed, &parts.at, parts.services, known)
            }
        };
        let (join, part) = (join.map_or(Some(None), |join| join.map(Some))?, part?);
        let inputs = part.inputs().chain(when.iter().flat_map(Policy::inputs));
        needs.extend(inputs.filter_map(|input| match input {
            Input::Part { part, .. } => parts.index(part),
            _ => None,
        }));
        needs.extend(join.as_ref().map(|join: &Join| join.list));
        for input in part.inputs() {
            let Input::Part { part, .. } = input else { continue };
            let wrong = parts.wrong_part(part, &place, &parts.at(index, "get"));
            self.mistakes.0.extend(wrong.map(|wrong| wrong.words(input.to_string())));
        }
        let needs: Box<[usize]> = needs.into_iter().collect();
        Some(Node { part, join, when, needs, shows: Box::default() })
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

    /// What only joins have.
    fn only_with_each(&mut self, typed: &PartConfig, at: &str, place: &str) {
        for (key, given) in [
            ("key", typed.key.is_some()),
            ("from", typed.from.is_some()),
            ("into", typed.into.is_some()),
            ("at_once", typed.at_once.is_some()),
            ("max_items", typed.max_items.is_some()),
        ] {
            if given {
                let message = format!("{place} has `{key}` and nothing that it is for");
                let mistake = Mistake::new(format!("{}:", below(at, key)), message);
                self.mistakes.add(mistake.expected("with `each: PART.LIST`"));
            }
        }
    }

    /// A part that stands alone, and `why`.
    pub(super) fn check_alone(&mut self, typed: &PartConfig, at: &str, place: &str, why: &str) {
        for (key, given) in [
            ("needs", !typed.needs.is_empty()),
            ("when", typed.when.is_some()),
            ("each", typed.each.is_some()),
        ] {
            if given {
                let message = format!("{place} {why}, and stands alone");
                let mistake = Mistake::new(format!("{}:", below(at, key)), message);
                self.mistakes.add(mistake.help(format!("leave `{key}` out")));
            }
        }
        self.only_with_each(typed, at, place);
    }

    fn join(&mut self, each: &str, index: usize, parts: &Parts<'_>) -> Option<Join> {
        let (typed, place) = (parts.of(index), parts.place(index));
        let at = parts.at(index, "each");
        let (name, path) = each.split_once('.').map_or((each, None), |(name, path)| (name, Some(path)));
        if let Some(wrong) = parts.wrong_part(name, &place, &at) {
            self.mistakes.add(wrong.words(name));
        }
        let mut member = |key: &str, typed: Option<&str>, like: &str| {
            let Some(typed) = typed else {
                let message = format!("{place} has `each` and no `{key}`");
                self.mistakes.add(Mistake::new(parts.at(index, key), message).expected(like));
                return None;
            };
            let parsed = KeyPath::parse(typed).ok_or_else(|| {
                let message = format!("{place}: `{typed}` names no member");
                Mistake::new(parts.at(index, key), message).expected(like)
            });
            self.mistakes.keep(parsed)
        };
        let path = match path {
            Some(path) => {
                Some(member("each", Some(path), "a part, and where its list is: `history.orders`")?)
            }
            None => None,
        };
        let key = member("key", typed.key.as_deref(), "the member of an element that holds its key");
        let into = member("into", typed.into.as_deref(), "the member of an element that is added");
        let name_of_member = typed.into.as_deref().unwrap_or_default();
        let source = self.source(index, parts);
        self.check_join(typed, &below(&parts.at, parts.names[index]), &place);
        if self.is_joined_before(index, parts) {
            let message = format!("{place}: another part becomes `{name_of_member}` of the same elements");
            self.mistakes.add(Mistake::new(parts.at(index, "into"), message).expected("another name"));
        }
        Some(Join {
            list: parts.index(name)?,
            path,
            key: key?,
            into: into?,
            name: [b",", &*named(name_of_member)].concat().into(),
            max_items: typed.max_items.unwrap_or(MAX_ITEMS),
            source: source?,
        })
    }

    fn is_joined_before(&self, index: usize, parts: &Parts<'_>) -> bool {
        let same = |other: &PartConfig| {
            let this = parts.of(index);
            other.each == this.each && other.into == this.into
        };
        (0..index).any(|before| same(parts.of(before)))
    }

    /// Sizes and keys that make no sense for a join.
    fn check_join(&mut self, typed: &PartConfig, at: &str, place: &str) {
        let from = typed.from.is_some();
        let dotted = typed.into.as_deref().is_some_and(|into| into.contains('.'));
        let wrong = [
            ("max_items", typed.max_items == Some(0), "nothing could be joined", "1 or more"),
            ("at_once", typed.at_once == Some(0), "nothing could be asked for", "1 or more"),
            ("at_once", from && typed.at_once.is_some(), "a loader asks for all at once", "only with `get`"),
            (
                "cache",
                from && typed.cache.is_some(),
                "its loader keeps what it gives",
                "`loaders.NAME.cache`",
            ),
            (
                "fallback",
                typed.fallback.is_some(),
                "what is not found is left out of its element",
                "no `fallback`",
            ),
            ("into", dotted, "what is joined is one member", "a name without dots"),
        ];
        for (key, _, why, expected) in wrong.iter().filter(|(_, wrong, ..)| *wrong) {
            self.mistakes.add(Mistake::new(below(at, key), format!("{place}: {why}")).expected(*expected));
        }
    }

    fn source(&mut self, index: usize, parts: &Parts<'_>) -> Option<Source> {
        let (typed, place) = (parts.of(index), parts.place(index));
        let (at, expected) = (parts.at(index, "each"), "exactly one of: from, get");
        match (&typed.from, &typed.get) {
            (None, Some(_)) => Some(Source::Single(typed.at_once.unwrap_or(AT_ONCE).max(1))),
            (Some(from), None) => parts.services.loaders.get(from).cloned().map(Source::Loader),
            (Some(_), Some(_)) => {
                let message = format!("{place} says twice who is asked for its keys");
                self.mistakes.add(Mistake::new(at, message).expected(expected));
                None
            }
            (None, None) => {
                let message = format!("{place} does not say who is asked for its keys");
                self.mistakes.add(Mistake::new(at, message).expected(expected));
                None
            }
        }
    }

    fn part_of_loader(&mut self, from: &str, index: usize, parts: &Parts<'_>) -> Option<Part> {
        let found = parts.services.loaders.get(from);
        let told = self.config.loaders.contains_key(from) || self.loaded.has_erased(&below("loaders", from));
        if found.is_none() && !told {
            let message = format!("{} asks the unknown loader `{from}`", parts.place(index));
            let mistake = Mistake::new(parts.at(index, "from"), message);
            self.mistakes.add(mistake.one_of("loaders", self.loaded.source.keys("loaders"), from));
        }
        Some(Part::of_loader(parts.names[index], parts.of(index), found?))
    }

    /// What can never come out right: circles, what must be there by what need not be, too many, too slow.
    fn check_order(&mut self, nodes: &[Node], parts: &Parts<'_>) {
        if let Some(circle) = circle(nodes) {
            let names: Vec<String> =
                circle.iter().map(|index| format!("`{}`", parts.names[*index])).collect();
            let message = format!(
                "route `{}`: parts need each other in a circle: {}",
                parts.typed.path,
                names.join(" needs ")
            );
            let at = format!("{}.{}:", parts.at, parts.names[circle[0]]);
            return self
                .mistakes
                .add(Mistake::new(at, message).expected("parts that come one after the other"));
        }
        let sure = |index: usize| {
            let typed = parts.of(index);
            !typed.optional && typed.when.is_none()
        };
        for (index, node) in nodes.iter().enumerate().filter(|(index, _)| !parts.of(*index).optional) {
            let Some(unsure) = node.needs.iter().find(|need| !sure(**need)) else { continue };
            let message = format!(
                "{} is required and needs `{}`, which may be missing",
                parts.place(index),
                parts.names[*unsure]
            );
            let mistake = Mistake::new(format!("{}.{}:", parts.at, parts.names[index]), message);
            self.mistakes.add(mistake.help("write `optional: true` here as well"));
        }
        for (index, node) in nodes.iter().enumerate() {
            let implied = |name: &String| {
                node.part
                    .inputs()
                    .chain(node.when.iter().flat_map(Policy::inputs))
                    .any(|input| matches!(input, Input::Part { part, .. } if part == name))
                    || node.join.as_ref().is_some_and(|join| parts.names[join.list] == name)
            };
            let twice = parts.of(index).needs.iter().position(implied);
            if let Some(number) = twice {
                let at = format!("{}[{number}]", parts.at(index, "needs"));
                let message = format!("{} needs it already, since it speaks of it", parts.place(index));
                self.mistakes.add(Mistake::new(at, message).help("leave it out"));
            }
        }
        self.warn_of_time(nodes, parts);
    }

    /// Parts that may take longer, one after the other, than there is time.
    fn warn_of_time(&self, nodes: &[Node], parts: &Parts<'_>) {
        let times: Vec<Duration> = (0..nodes.len())
            .map(|index| parts.of(index).timeout.map_or(Duration::ZERO, |timeout| timeout.0))
            .collect();
        let (longest, way) = longest(nodes, &times);
        if longest > parts.typed.timeout.0 && way.len() > 1 {
            let names: Vec<&str> = way.iter().map(|index| parts.names[*index]).collect();
            tracing::warn!(
                "route `{}`: its parts {} may take {longest:?} one after the other, and it has {:?}",
                parts.typed.path,
                names.join(", "),
                parts.typed.timeout.0
            );
        }
    }
}

/// What of parts a part is written from or decided by.
fn looks_at(node: &Node) -> impl Iterator<Item = &Input> {
    node.part.inputs().chain(node.when.iter().flat_map(Policy::inputs))
}

/// The first circle, beginning and ending with the same.
fn circle(nodes: &[Node]) -> Option<Vec<usize>> {
    let mut left: BTreeSet<usize> = (0..nodes.len()).collect();
    while let Some(free) =
        left.iter().copied().find(|index| nodes[*index].needs.iter().all(|need| !left.contains(need)))
    {
        left.remove(&free);
    }
    // Each that is left needs another that is left: whoever follows comes around.
    let mut way = vec![*left.first()?];
    loop {
        let last = way[way.len() - 1];
        let next = nodes[last].needs.iter().copied().find(|need| left.contains(need))?;
        if let Some(begin) = way.iter().position(|index| *index == next) {
            way.push(next);
            return Some(way.split_off(begin));
        }
        way.push(next);
    }
}

/// The longest way through the graph, and how long it takes.
fn longest(nodes: &[Node], times: &[Duration]) -> (Duration, Vec<usize>) {
    let mut best: Vec<Option<(Duration, Vec<usize>)>> = vec![None; nodes.len()];
    while best.iter().any(Option::is_none) {
        for (index, node) in nodes.iter().enumerate() {
            if best[index].is_some() || node.needs.iter().any(|need| best[*need].is_none()) {
                continue;
            }
            let before = node.needs.iter().filter_map(|need| best[*need].clone());
            let (time, mut way) = before.max_by_key(|(time, _)| *time).unwrap_or_default();
            way.push(index);
            best[index] = Some((time + times[index], way));
        }
    }
    best.into_iter().flatten().max_by_key(|(time, _)| *time).unwrap_or_default()
}
