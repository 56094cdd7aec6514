//! From YAML text to the typed configuration, with every mistake at once.
//!
//! serde stops at its first fault. So each fault is noted and what it is in is erased, and the tree is read again until
//! nothing is wrong with what remains. What an erased value leaves missing is no second mistake.
//!
//! Not here: whether the values fit together (upstreams that nobody defined, limits out of range): that is for whoever
//! builds from the configuration, and joins its own mistakes to these.

use serde::de::DeserializeOwned;

use super::{
    Config,
    diagnostics::Source,
    fault::{Fault, What},
    interpolate::{self, Lookup},
    node::{self, Node, Value},
    path, secrets,
    typed::{Erased, Typed},
};
use crate::mistake::{Mistake, Mistakes, below, nearest};

/// Mistakes told at once. A file with more is not the file that was meant.
const MAX_MISTAKES: usize = 100;

/// A configuration, or another file of its kind, as far as it could be read.
///
/// With mistakes, `config` is good for finding further ones and for nothing else: a mistyped `allow` is missing from it.
pub struct Loaded<T = Config> {
    /// What remains when everything wrong is left out; `None` if the file as a whole is wrong.
    pub config: Option<T>,
    /// Everything wrong, in the order found.
    pub mistakes: Mistakes,
    /// The file, to show the mistakes in.
    pub source: Source,
    erased: Erased,
}

/// Reads the configuration in `text`. `file` is how messages call it; `env` finds the variables in its values.
pub fn load(file: &str, text: &str, env: Lookup<'_>) -> Loaded {
    load_as(file, text, env)
}

/// Reads a `T` in `text` as strictly as a configuration, for files that a configuration names.
pub fn load_as<T: DeserializeOwned>(file: &str, text: &str, env: Lookup<'_>) -> Loaded<T> {
    let node::Parsed { mut tree, mut mistakes } = node::parse(text);
    let found = tree.as_mut().map(|tree| secrets::find(tree, text)).unwrap_or_default();
    let mut outcome = tree.as_mut().map(|tree| interpolate::interpolate(tree, env)).unwrap_or_default();
    mistakes.0.extend(found.mistakes.0);
    outcome.secrets.extend(found.texts);
    mistakes.0.extend(outcome.mistakes.0);
    let erased = Erased { gone: outcome.failed.into_iter().collect(), ..Erased::default() };
    let mut reading = Reading { mistakes, erased };
    let config = tree.as_ref().and_then(|tree| reading.all_of(tree));
    let source = Source::new(file, text, tree, outcome.secrets).hiding(found.places);
    Loaded { config, mistakes: reading.mistakes, source, erased: reading.erased }
}

impl<T> Loaded<T> {
    /// Whether what should be at `at` is missing from `config` because of a mistake already noted. `at` counts the items
    /// of lists as `config` does.
    #[must_use]
    pub fn has_erased(&self, at: &str) -> bool {
        self.erased.holds(&self.in_file(at))
    }

    /// Adds mistakes found in `config`. Their paths count the items of lists as `config` does, which lacks the erased
    /// ones. Mistakes about what was erased are dropped: they only follow from it.
    pub fn join(&mut self, found: Mistakes) {
        for mistake in found.0 {
            let at = self.in_file(&mistake.at);
            if !self.erased.holds(at.trim_end_matches(':')) {
                let other = mistake.other.as_deref().map(|other| self.in_file(other).into());
                self.mistakes.add(Mistake { at, other, ..mistake });
            }
        }
    }

    /// All mistakes, shown in the file.
    #[must_use]
    pub fn render(&self) -> String {
        self.source.render(&self.mistakes)
    }

    /// `at` with the indexes that its items have in the file.
    fn in_file(&self, at: &str) -> String {
        let Some(tree) = self.source.tree() else { return at.to_owned() };
        let (mut done, mut rest) = (String::new(), at);
        while let Some((before, index, after)) = next_index(rest) {
            done.push_str(before);
            done = path::item(&done, self.index_in_file(tree, &done, index));
            rest = after;
        }
        done + rest
    }

    fn index_in_file(&self, tree: &Node, list: &str, index: usize) -> usize {
        let (steps, _) = path::walk(tree, list);
        let items = steps.last().map_or(0, |step| match &step.node().value {
            Value::List(items) => items.len(),
            _ => 0,
        });
        let kept = (0..items).filter(|item| !self.erased.gone.contains(&path::item(list, *item)));
        kept.into_iter().nth(index).unwrap_or(index)
    }
}

/// `routes[3].path` into `("routes", 3, ".path")`.
fn next_index(at: &str) -> Option<(&str, usize, &str)> {
    let (before, inside) = at.split_once('[')?;
    let (index, after) = inside.split_once(']')?;
    Some((before, index.parse().ok()?, after))
}

/// Reading again and again, with a little less each time.
struct Reading {
    mistakes: Mistakes,
    erased: Erased,
}

impl Reading {
    fn all_of<T: DeserializeOwned>(&mut self, tree: &Node) -> Option<T> {
        // Each round notes a mistake, or leaves out one of the mappings around it.
        for _ in 0..MAX_MISTAKES * 8 {
            match T::deserialize(Typed::whole(tree, &self.erased)) {
                Ok(config) if self.leave_out_holes() => return Some(config),
                Ok(_) => {}
                Err(fault) => self.note::<T>(fault, tree),
            }
            if self.erased.gone.contains("") || self.mistakes.0.len() >= MAX_MISTAKES {
                break;
            }
        }
        None
    }

    /// Leaves out each mapping that lacks a key, now that nothing further is to be found in it. The file itself stays:
    /// its missing lists are read as empty. Says whether there was nothing to do.
    fn leave_out_holes(&mut self) -> bool {
        let lacking: Vec<String> = self.erased.holes.keys().filter(|at| !at.is_empty()).cloned().collect();
        for at in &lacking {
            self.leave_out(at);
        }
        lacking.is_empty()
    }

    fn leave_out(&mut self, at: &str) {
        self.erased.holes.remove(at);
        self.erased.gone.insert(at.to_owned());
    }

    fn note<T: DeserializeOwned>(&mut self, fault: Fault, tree: &Node) {
        let at = fault.at().to_owned();
        if let Some(lacking) = self.hole_above(&at) {
            return self.leave_out(&lacking);
        }
        if let What::MissingKey(key) = fault.what {
            return self.note_missing(&at, key, fault, tree);
        }
        if let What::UnknownKey { typed, keys } = &fault.what {
            self.take_as_meant(path::above(&at, typed), typed, keys, tree);
        }
        let fault = self.without_secrets::<T>(fault, tree);
        self.mistakes.add(fault.mistake(tree));
        self.leave_out(&at);
    }

    /// A key that was mistyped is not missing besides.
    fn take_as_meant(&mut self, mapping: &str, typed: &str, keys: &[&str], tree: &Node) {
        let Some(meant) = nearest(typed, keys.iter().copied()) else { return };
        let meant = below(mapping, meant);
        let (_, left) = path::walk(tree, &meant);
        if !left.is_empty() {
            self.erased.gone.insert(meant);
        }
    }

    /// The mapping with the hole that `at` lies in. What is wrong with a hole is wrong with nothing that was typed.
    fn hole_above(&self, at: &str) -> Option<String> {
        let lies_in = |mapping: &str, key: &&str| path::is_within(at, &below(mapping, key));
        let mut holes = self.erased.holes.iter();
        holes.find(|(mapping, keys)| keys.iter().any(|key| lies_in(mapping, key))).map(|(at, _)| at.clone())
    }

    fn note_missing(&mut self, at: &str, key: &'static str, fault: Fault, tree: &Node) {
        // What was erased there has been told already.
        let missing = below(at, key);
        if !self.erased.gone.contains(&missing) {
            self.mistakes.add(fault.mistake(tree));
            self.erased.gone.insert(missing);
        }
        self.erased.holes.entry(at.to_owned()).or_default().push(key);
    }

    /// The same fault, told of `***` in the place of what came from variables.
    fn without_secrets<T: DeserializeOwned>(&mut self, fault: Fault, tree: &Node) -> Fault {
        if matches!(fault.what, What::UnknownKey { .. }) {
            return fault;
        }
        self.erased.masked = fault.at.clone();
        let masked = T::deserialize(Typed::whole(tree, &self.erased));
        self.erased.masked = None;
        match masked {
            Err(masked) if masked.at == fault.at => masked,
            _ => Fault { what: What::Said("this value is not accepted".to_owned()), ..fault },
        }
    }
}
