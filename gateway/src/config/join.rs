//! Look-ups for each element of a list, from what was typed under `each:`.
//!
//! Not here: looking up (`composition/each.rs`), what else a part says (`graph.rs`).

use super::{build::Builder, graph::Parts};
use crate::{
    composition::{Join, Part, config::PartConfig, each::Source, shape::named},
    loaders::KeyPath,
    mistake::{Mistake, below},
};

/// The most elements of a list, unless said otherwise: the longest page of any list.
const MAX_ITEMS: usize = 200;
/// How many single calls of a join are under way at once, unless said otherwise.
const AT_ONCE: usize = 8;

impl Builder<'_> {
    /// What only joins have.
    pub(super) fn only_with_each(&mut self, typed: &PartConfig, at: &str, place: &str) {
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

    pub(super) fn join(&mut self, each: &str, index: usize, parts: &Parts<'_>) -> Option<Join> {
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

    pub(super) fn part_of_loader(&mut self, from: &str, index: usize, parts: &Parts<'_>) -> Option<Part> {
        let found = parts.services.loaders.get(from);
        let told = self.config.loaders.contains_key(from) || self.loaded.has_erased(&below("loaders", from));
        if found.is_none() && !told {
            let message = format!("{} asks the unknown loader `{from}`", parts.place(index));
            let mistake = Mistake::new(parts.at(index, "from"), message);
            self.mistakes.add(mistake.one_of("loaders", self.loaded.source.keys("loaders"), from));
        }
        Some(Part::of_loader(parts.names[index], parts.of(index), found?))
    }
}
