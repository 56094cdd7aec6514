//! What is typed for browsers, resolved for each route: sets by name, and which one a route has.
//!
//! Not here: what belongs to a set alone (`browsers/`).

use std::sync::Arc;

use indexmap::IndexMap;

use super::{RouteConfig, build::Builder, handlers::subscribes};
use crate::{
    browsers::{Browsers, Cors, SecurityHeaders, config::SecurityHeadersConfig},
    mistake::{Mistake, below},
};

/// How a route says that it has none of a kind of set although there is a default.
const NONE: &str = "none";

/// The sets that there are, by name.
#[derive(Default)]
pub(super) struct Sets {
    cors: Named<Cors>,
    security_headers: Named<SecurityHeaders>,
}

/// The sets of one kind that are right, and the names of all that were typed.
struct Named<T> {
    right: IndexMap<String, Arc<T>>,
    typed: Vec<String>,
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named { right: IndexMap::new(), typed: Vec::new() }
    }
}

/// Who names a set: what people call it, the key that it says so by, and where that key stands.
struct Naming<'a> {
    place: &'a str,
    key: &'static str,
    at: &'a str,
}

impl Builder<'_> {
    pub(super) fn sets(&mut self) -> Sets {
        let mut sets = Sets::default();
        for (name, typed) in &self.config.cors {
            let at = self.set_at("cors", name);
            let built = Cors::build(name, typed, &at, &mut self.mistakes);
            sets.cors.add(name, built);
        }
        for (name, typed) in &self.config.security_headers {
            let at = self.set_at("security_headers", name);
            self.check_strict_transport(name, typed, &at);
            let built = SecurityHeaders::build(name, typed, &at, &mut self.mistakes);
            sets.security_headers.add(name, built);
        }
        sets
    }

    /// Where a set is typed, whose name routes can name.
    fn set_at(&mut self, key: &str, name: &str) -> String {
        let at = below(key, name);
        if name == NONE {
            let message = format!("a set under `{key}` cannot be called `{NONE}`: routes without one say so");
            self.mistakes.add(Mistake::new(format!("{at}:"), message).expected("another name"));
        }
        at
    }

    /// Without TLS it would never be said (RFC 6797 section 7.2).
    fn check_strict_transport(&mut self, name: &str, typed: &SecurityHeadersConfig, at: &str) {
        let tls = self.config.listen.iter().any(|listener| listener.tls.is_some());
        if typed.strict_transport_security.is_some() && !tls && !self.loaded.has_erased("listen") {
            let message = format!("`{name}`: this is said over TLS only, and no listener speaks it");
            let mistake = Mistake::new(below(at, "strict_transport_security"), message);
            self.mistakes.add(mistake.help("write `tls` under a listener, or leave this out"));
        }
    }

    /// What is answered to browsers where no route was found.
    pub(super) fn default_browsers(&mut self) -> Option<Arc<Browsers>> {
        let sets = std::mem::take(&mut self.sets);
        let cors = self.config.default_cors.as_ref().and_then(|name| {
            let naming = Naming { place: "`default_cors`", key: "cors", at: "default_cors" };
            self.set(&sets.cors, name, &naming)
        });
        let security_headers = self.config.default_security_headers.as_ref().and_then(|name| {
            let (place, at) = ("`default_security_headers`", "default_security_headers");
            self.set(&sets.security_headers, name, &Naming { place, key: "security_headers", at })
        });
        self.sets = sets;
        Browsers { cors, csrf: false, websocket: false, may_open: false, security_headers }.or_none()
    }

    pub(super) fn browsers(&mut self, typed: &RouteConfig, at: &str) -> Option<Arc<Browsers>> {
        self.check_csrf(typed, at);
        let place = format!("route `{}`", typed.path);
        let naming = |key, at| Naming { place: &place, key, at };
        let sets = std::mem::take(&mut self.sets);
        let at_cors = below(at, "cors");
        let cors = self.named_or(
            &sets.cors,
            typed.cors.as_ref(),
            self.config.default_cors.as_ref(),
            &naming("cors", &at_cors),
        );
        let at_headers = below(at, "security_headers");
        let default = self.config.default_security_headers.as_ref();
        let naming = naming("security_headers", &at_headers);
        let security_headers =
            self.named_or(&sets.security_headers, typed.security_headers.as_ref(), default, &naming);
        self.sets = sets;
        let websocket = typed.forward.as_ref().is_some_and(|forward| forward.websocket.is_some());
        let may_open = subscribes(typed);
        Browsers { cors, csrf: typed.csrf, websocket, may_open, security_headers }.or_none()
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

    /// The set that a route names, or that of the default, which was looked at once for all.
    fn named_or<T>(
        &mut self,
        sets: &Named<T>,
        named: Option<&String>,
        default: Option<&String>,
        naming: &Naming<'_>,
    ) -> Option<Arc<T>> {
        match named {
            Some(name) if name == NONE => None,
            Some(name) => self.set(sets, name, naming),
            None => default.and_then(|default| sets.right.get(default)).cloned(),
        }
    }

    fn set<T>(&mut self, sets: &Named<T>, name: &String, naming: &Naming<'_>) -> Option<Arc<T>> {
        let Naming { place, key, at } = naming;
        let found = sets.right.get(name).cloned();
        let told = sets.typed.contains(name) || self.loaded.has_erased(&below(key, name));
        if found.is_none() && !told {
            let mistake = Mistake::new(*at, format!("{place}: there is no `{name}` under `{key}`"));
            self.mistakes.add(mistake.one_of("sets", &sets.typed, name));
        }
        found
    }
}

impl<T> Named<T> {
    fn add(&mut self, name: &str, built: Option<T>) {
        self.typed.push(name.to_owned());
        self.right.extend(built.map(|built| (name.to_owned(), Arc::new(built))));
    }
}
