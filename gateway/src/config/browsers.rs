//! What is typed for browsers, resolved for each route: sets by name, and which one a route has.
//!
//! Not here: what belongs to a set alone (`browsers/`).

use std::sync::Arc;

use indexmap::IndexMap;

use super::{RouteConfig, build::Builder};
use crate::{
    browsers::{Browsers, Cors},
    mistake::{Mistake, below},
};

/// How a route says that it has none of a kind of set although there is a default.
const NONE: &str = "none";

/// The sets that there are, by name.
#[derive(Default)]
pub(super) struct Sets {
    cors: IndexMap<String, Arc<Cors>>,
}

impl Builder<'_> {
    pub(super) fn sets(&mut self) -> Sets {
        let mut sets = Sets::default();
        for (name, typed) in &self.config.cors {
            let at = below("cors", name);
            self.check_name("cors", name);
            let built = Cors::build(name, typed, &at, &mut self.mistakes);
            sets.cors.extend(built.map(|built| (name.clone(), Arc::new(built))));
        }
        sets
    }

    fn check_name(&mut self, key: &str, name: &str) {
        if name == NONE {
            let message = format!("a set under `{key}` cannot be called `{NONE}`: routes without one say so");
            self.mistakes
                .add(Mistake::new(format!("{}:", below(key, name)), message).expected("another name"));
        }
    }

    /// What is answered to browsers where no route was found.
    pub(super) fn default_browsers(&mut self) -> Option<Arc<Browsers>> {
        let default = self.config.default_cors.as_ref();
        let cors = default.and_then(|name| self.cors(name, "`default_cors`", "default_cors"));
        Browsers { cors, csrf: false }.or_none()
    }

    pub(super) fn browsers(&mut self, typed: &RouteConfig, at: &str) -> Option<Arc<Browsers>> {
        let place = format!("route `{}`", typed.path);
        let cors = match (&typed.cors, &self.config.default_cors) {
            (Some(name), _) if name == NONE => None,
            (Some(name), _) => self.cors(name, &place, &below(at, "cors")),
            (None, Some(default)) => self.sets.cors.get(default).cloned(),
            (None, None) => None,
        };
        self.check_csrf(typed, at);
        Browsers { cors, csrf: typed.csrf }.or_none()
    }

    /// What would never refuse anything is not what was meant.
    fn check_csrf(&mut self, typed: &RouteConfig, at: &str) {
        let changes = |name: &String| !["GET", "HEAD", "OPTIONS"].contains(&name.as_str());
        if typed.csrf && !typed.methods.iter().any(changes) && !self.loaded.has_erased(&below(at, "methods"))
        {
            let message =
                format!("route `{}`: `csrf` protects what changes something, and it only reads", typed.path);
            self.mistakes.add(Mistake::new(below(at, "csrf"), message).help("leave `csrf` out"));
        }
    }

    fn cors(&mut self, name: &str, place: &str, at: &str) -> Option<Arc<Cors>> {
        let found = self.sets.cors.get(name).cloned();
        let told = self.config.cors.contains_key(name) || self.loaded.has_erased(&below("cors", name));
        if found.is_none() && !told {
            let mistake = Mistake::new(at, format!("{place}: there is no `{name}` under `cors`"));
            self.mistakes.add(mistake.one_of("sets", self.config.cors.keys(), name));
        }
        found
    }
}
