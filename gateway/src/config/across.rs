//! What no folder can tell alone: times and sizes that nothing could be done with, and names that only routes know.
//!
//! Not here: what belongs to one folder (`X/config.rs`).

use std::{collections::BTreeSet, net::SocketAddr};

use super::{RouteConfig, build::Builder};
use crate::{
    auth::{config::AuthConfig, policy::Policy},
    composition::config::{PartConfig, PartFallbackConfig},
    mistake::{Mistake, below},
    routing,
    units::{Size, Span},
    upstream::balance::{BalanceConfig, HashOn},
    worker,
};

impl Builder<'_> {
    /// Times and sizes that let nothing succeed.
    pub(super) fn check_bounds(&mut self) {
        let (none, server) = (Span::millis(0), &self.config.server);
        self.bound("server", "header_timeout", "the server", server.header_timeout > none, "1ms or more");
        self.bound("server", "body_timeout", "the server", server.body_timeout > none, "1ms or more");
        let header = server.max_header_size >= Size::kib(1);
        self.bound("server", "max_header_size", "the server", header, "1KiB or more");
        for (key, most) in [
            ("max_connections", server.max_connections),
            ("max_connections_per_address", server.max_connections_per_address),
        ] {
            self.bound("server", key, "the server", most > 0, "1 or more");
        }
        let in_flight = server.max_in_flight != Some(0);
        self.bound("server", "max_in_flight", "the server", in_flight, "1 or more");
        let uri = server.max_uri >= Size::kib(1);
        self.bound("server", "max_uri", "the server", uri, "1KiB or more");
        if server.workers > worker::MOST {
            let wrong = format!("the server: {} workers are too many", server.workers);
            let expected = format!("1 to {}, or 0 for one a CPU", worker::MOST);
            self.mistakes.add(Mistake::new("server.workers", wrong).expected(expected));
        }
        for (index, route) in self.config.routes.iter().enumerate() {
            let (at, whose) = (format!("routes[{index}]"), format!("route `{}`", route.path));
            self.bound(&at, "timeout", &whose, route.timeout > none, "1ms or more");
            for (key, name, part) in parts(route) {
                let (at, whose) = (below(&below(&at, key), name), format!("{whose}: part `{name}`"));
                let in_time = part.timeout.is_none_or(|timeout| timeout > none);
                self.bound(&at, "timeout", &whose, in_time, "1ms or more");
                self.bound(&at, "max_size", &whose, part.max_size.0 > 0, "1B or more");
                self.check_fallback(key, name, part, route, &at);
                self.check_part_cache(key, name, part, route, &at);
            }
        }
    }

    /// An address is listened on once, by clients or by operators. Port 0 is another one each time.
    pub(super) fn check_addresses(&mut self) {
        let listeners = &self.config.listen;
        for (index, listener) in listeners.iter().enumerate().filter(|(_, one)| one.address.port() > 0) {
            let first = listeners[..index].iter().position(|other| other.address == listener.address);
            if let Some(first) = first {
                let wrong = format!("{} is listened on twice", listener.address);
                let mistake = Mistake::new(format!("listen[{index}].address"), wrong);
                self.mistakes
                    .add(mistake.expected("each address once").other(format!("listen[{first}].address")));
            }
        }
        let Some(typed) = self.config.admin.as_ref() else { return };
        for (index, host) in typed.hosts.iter().enumerate().filter(|(_, host)| !is_name(host)) {
            let wrong = format!("`{host}` is no name of a host");
            let mistake = Mistake::new(format!("admin.hosts[{index}]"), wrong);
            self.mistakes.add(mistake.expected("a name without scheme and port, like `gateway.internal`"));
        }
        let admin = typed.address;
        if let Some(taken) = listeners.iter().position(|other| collide(other.address, admin)) {
            let wrong = format!("{admin} is for clients and for operators");
            let mistake = Mistake::new("admin.address", wrong).expected("an address of its own");
            self.mistakes.add(mistake.other(format!("listen[{taken}].address")));
        }
    }

    /// The route before the one at `at` that has its path and one of its methods.
    pub(super) fn twin(&self, typed: &RouteConfig, at: &str) -> Option<String> {
        let shape = |route: &RouteConfig| routing::canonical(&route.path).ok().map(|(path, _)| path);
        let path = shape(typed)?;
        let shares = |route: &RouteConfig| route.methods.iter().any(|method| typed.methods.contains(method));
        let mut before =
            (0..).zip(&self.config.routes).take_while(|(index, _)| format!("routes[{index}]") != at);
        let twin = before.find(|(_, route)| shares(route) && shape(route).as_ref() == Some(&path));
        twin.map(|(index, _): (usize, _)| format!("routes[{index}].path"))
    }

    fn bound(&mut self, at: &str, key: &str, whose: &str, right: bool, expected: &str) {
        if !right {
            let wrong = format!("{whose}: with this `{key}` nothing could succeed");
            self.mistakes.add(Mistake::new(below(at, key), wrong).expected(expected));
        }
    }

    /// What is decided must be decided by what is so, and what is required is not made up.
    fn check_fallback(&mut self, key: &str, name: &str, part: &PartConfig, route: &RouteConfig, at: &str) {
        let Some(fallback) = &part.fallback else { return };
        let mut wrong = |at: String, why: &str, help: &str| {
            let message = format!("route `{}`: part `{name}` {why}", route.path);
            self.mistakes.add(Mistake::new(at, message).help(help));
        };
        if key == "ask" {
            wrong(
                below(at, "fallback"),
                "decides who may, and nothing can stand in for it",
                "leave `fallback` out",
            );
        } else if !part.optional {
            let help = "write `optional: true` as well, or leave `fallback` out";
            wrong(below(at, "fallback"), "has a fallback and is required all the same", help);
        }
        if matches!(fallback, PartFallbackConfig::Value(value) if value.is_null()) {
            wrong(below(at, "fallback.value"), "has a fallback with nothing in it", "leave `fallback` out");
        }
    }

    /// What is kept of a part can be used; and a rule decides by what is good, and nothing else.
    fn check_part_cache(&mut self, key: &str, name: &str, part: &PartConfig, route: &RouteConfig, at: &str) {
        let place = format!("route `{}`: part `{name}`", route.path);
        let stale = part.fallback == Some(PartFallbackConfig::Stale);
        let Some(cache) = &part.cache else {
            if stale && !self.loaded.has_erased(&below(at, "cache")) {
                let message = format!("{place} falls back to an answer that is never kept");
                let mistake = Mistake::new(below(at, "fallback"), message);
                self.mistakes.add(mistake.help("say how its answers are kept: `cache: { ttl: 30s }`"));
            }
            return;
        };
        let at = below(at, "cache");
        self.check_keeping(cache, route, &at, &place);
        if cache.client_directives {
            let message = format!("{place}: what clients ask of caches is about whole answers");
            let mistake = Mistake::new(below(&at, "client_directives"), message);
            self.mistakes.add(mistake.help("leave `client_directives` out"));
        }
        for (stale, given) in [
            ("stale_while_revalidate", cache.stale_while_revalidate.is_some()),
            ("stale_if_error", cache.stale_if_error.is_some()),
        ] {
            if given && (key == "ask" || decides(route, name)) {
                let message = format!("{place}: a rule never decides by what is no longer good");
                let mistake = Mistake::new(below(&at, stale), message);
                self.mistakes.add(mistake.help(format!("leave `{stale}` out")));
            }
        }
    }

    /// Upstreams whose calls are kept together by a path parameter that no route has which calls them. A route without it is
    /// none of that: its calls are simply not kept together.
    pub(super) fn check_path_keys(&mut self) {
        if !self.loaded.mistakes.is_empty() {
            return; // the route that has it may be the one that is wrong
        }
        for (name, upstream) in &self.config.upstreams {
            let BalanceConfig::Hash(HashOn::Path(parameter)) = &upstream.balance else { continue };
            let calling = self.config.routes.iter().filter(|route| calls(route, name));
            let known: BTreeSet<Box<str>> =
                calling.flat_map(|route| routing::parameters(&route.path).unwrap_or_default()).collect();
            if !known.contains(parameter.as_str()) {
                let wrong =
                    format!("upstream `{name}`: no route that calls it has a path parameter `{parameter}`");
                let mistake = Mistake::new(below(&below("upstreams", name), "balance.hash.path"), wrong);
                self.mistakes.add(mistake.one_of("parameters", known, parameter));
            }
        }
    }
}

/// Labels of letters, digits and `-`: what a host can be asked for by, without a port.
fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(known))
}

/// Whether whoever listens on one leaves nothing for the other.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |address: SocketAddr| address.ip().is_unspecified();
    let same =
        one.ip() == other.ip() || one.is_ipv4() == other.is_ipv4() && (everywhere(one) || everywhere(other));
    one.port() > 0 && one.port() == other.port() && same
}

/// Whether the route's rule speaks of the part so named.
pub(super) fn decides(route: &RouteConfig, part: &str) -> bool {
    let AuthConfig::By(rule) = &route.auth else { return false };
    let policy = rule.allow.as_deref().and_then(|rule| Policy::parse(rule).ok());
    policy.is_some_and(|policy| policy.parts().any(|known| known == part))
}

fn calls(route: &RouteConfig, upstream: &str) -> bool {
    let asked = |part: &PartConfig| {
        part.called().and_then(|(_, typed)| typed.split_once('/')).is_some_and(|(name, _)| name == upstream)
    };
    route.forward.as_ref().is_some_and(|forward| forward.upstream() == upstream)
        || parts(route).any(|(_, _, part)| asked(part))
}

/// The parts of a route, each with the key that it stands under and its name.
pub(super) fn parts(route: &RouteConfig) -> impl Iterator<Item = (&'static str, &String, &PartConfig)> {
    let composed = route.compose.iter().flatten().map(|(name, part)| ("compose", name, part));
    let watched = route.watch.iter().flat_map(|watch| &watch.parts);
    let watched = watched.map(|(name, part)| ("watch.parts", name, part));
    composed.chain(watched).chain(route.ask.iter().map(|(name, part)| ("ask", name, part)))
}
