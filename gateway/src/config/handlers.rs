//! What a route does, from what was typed: it forwards, composes, or is answered by a handler of the binary's own.
//!
//! Not here: who may use it (`build.rs`).

use std::sync::Arc;

use http::Method;

use super::{RouteConfig, across::decides, build::Builder};
use crate::{
    auth::config::AuthConfig,
    composition::{Part, Service, config::PartConfig},
    guard::Guard,
    handler::{Handler, InTime, Nothing, Services, Unmade},
    mistake::{Mistake, below, nearest},
    overload::Shares,
    proxy::{
        Fallback, Forward, Origin,
        config::{FallbackConfig, ForwardConfig},
    },
    route::Route,
    routing::Router,
    tags::Known,
    template::Template,
    upstream::Upstream,
};

impl Builder<'_> {
    /// Adds what is known of a route by now, with all that routes have in common.
    pub(super) fn settle(
        &mut self,
        routes: &mut Router<Arc<Route>>,
        typed: &RouteConfig,
        at: &str,
        guard: Arc<Guard>,
        handler: Option<Arc<dyn Handler>>,
        services: &Services,
    ) {
        let methods = self.methods(typed, at);
        let limits = self.route_limits(typed, at, services);
        let (limits, plans) = self.charges(limits, typed, at, handler.as_deref(), services);
        let listed = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(",");
        let name: Arc<str> = format!("{listed} {}", typed.path).into();
        let route = Arc::new(Route {
            guard,
            timeout: typed.timeout.0,
            budget: self.budget.clone(),
            max_body: typed.max_body.unwrap_or(self.config.server.max_body).0,
            body_timeout: self.config.server.body_timeout.0,
            limits,
            plans,
            credentials: self.credentials.clone(),
            browsers: self.browsers(typed, at),
            shares: self.config.server.max_in_flight.map(|most| Shares::new(most, typed.priority)),
            lasts: typed.watch.is_some() || subscribes(typed),
            handler: handler.unwrap_or_else(|| Arc::new(Nothing)),
            lifecycle: self.lifecycle(typed, at, &name),
            metrics: self.ground.metrics.route(&name),
            name,
        });
        if let Some(door) = self.graphql.door.take() {
            door.lead_to(&route);
        }
        if let Err(wrong) = routes.add(&typed.path, &methods, &route, at) {
            self.mistakes.add(Mistake { other: self.twin(typed, at).map(Into::into), ..wrong });
        }
    }

    pub(super) fn methods(&mut self, typed: &RouteConfig, at: &str) -> Vec<Method> {
        const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        if typed.methods.is_empty() {
            let mistake = Mistake::new(below(at, "methods"), format!("route `{}` has no method", typed.path));
            self.mistakes.add(mistake.expected("at least one, or leave `methods` out for GET"));
        }
        let mut methods = Vec::new();
        for (index, name) in typed.methods.iter().enumerate() {
            if KNOWN.contains(&name.as_str()) {
                methods.extend(name.parse::<Method>());
                continue;
            }
            let message = format!("route `{}`: there is no method `{name}`", typed.path);
            self.mistakes
                .add(Mistake::new(format!("{at}.methods[{index}]"), message).one_of("methods", KNOWN, name));
        }
        methods
    }

    pub(super) fn handler(
        &mut self,
        typed: &RouteConfig,
        at: &str,
        guard: &Arc<Guard>,
        services: &Services,
    ) -> Option<Arc<dyn Handler>> {
        self.check_cache(typed, at);
        self.check_invalidates(typed, at);
        self.check_graphql(typed, at);
        if typed.respond.is_some()
            && typed.compose.is_none()
            && !self.loaded.has_erased(&below(at, "compose"))
        {
            let message = format!("route `{}` shapes an answer and composes none", typed.path);
            let mistake = Mistake::new(format!("{}:", below(at, "respond")), message);
            self.mistakes.add(mistake.expected("with `compose`"));
        }
        match (&typed.forward, &typed.compose, &typed.watch, &typed.handle) {
            (Some(forward), None, None, None) => self.forward(forward, typed, at, services),
            (None, Some(parts), None, None) => {
                self.compose(parts, typed, &below(at, "compose"), guard, services)
            }
            (None, None, Some(watch), None) => self.watch(watch, typed, &below(at, "watch"), guard, services),
            (None, None, None, Some(name)) => self.own(name, typed, at, services),
            _ => {
                self.not_one_handler(typed, at);
                None
            }
        }
    }

    fn not_one_handler(&mut self, typed: &RouteConfig, at: &str) {
        let keys = ["forward", "compose", "watch", "handle"];
        if keys.iter().any(|key| self.loaded.has_erased(&below(at, key))) {
            return; // told already
        }
        let (proxies, composes) = (typed.forward.is_some(), typed.compose.is_some());
        let typed_keys = [proxies, composes, typed.watch.is_some(), typed.handle.is_some()];
        let count = typed_keys.iter().filter(|there| **there).count();
        let message = if count == 0 {
            format!("route `{}` does nothing", typed.path)
        } else {
            format!("route `{}` does {count} things", typed.path)
        };
        let mistake = Mistake::new(below(at, "path:"), message)
            .expected("exactly one of: forward, compose, watch, handle");
        self.mistakes.add(mistake);
    }

    fn forward(
        &mut self,
        forward: &ForwardConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Arc<dyn Handler>> {
        let (of_route, at) = (at, &*below(at, "forward"));
        let called = match &forward.grpc {
            Some(method) => self.grpc(method, forward, typed, at, services),
            None => None,
        };
        let upstream = match &called {
            Some((upstream, _)) => Some(upstream.clone()),
            None => self.forwarded_to(forward, typed, at, services),
        };
        if forward.token && typed.auth == AuthConfig::None {
            let message = format!(
                "route `{}`: `auth: none` looks at no token, so there is none to send on",
                typed.path
            );
            let mistake = Mistake::new(below(at, "token"), message);
            self.mistakes.add(mistake.expected("only with `auth: { provider: NAME }`"));
        }
        let path = match &forward.path {
            None => None,
            Some(path) => Some(self.template(path, path, typed, &below(at, "path"))?),
        };
        let fallback = match &forward.fallback {
            None => None,
            Some(fallback) => Some(self.fallback(fallback, typed, &below(at, "fallback"))?),
        };
        self.check_websocket(forward, upstream.as_ref(), typed, of_route, at);
        let origin = Origin::new(upstream?, path, forward.token, fallback);
        let origin = Arc::new(match called {
            Some((_, grpc)) => origin.by(grpc),
            None => origin,
        });
        if let Some(websocket) = &forward.websocket {
            return Some(self.websocket(origin, websocket, typed));
        }
        let cached = self.cached(&origin, forward, typed, of_route);
        let invalidates = self.invalidates(typed);
        Some(Arc::new(Forward::new(origin, cached, self.store.clone(), invalidates)))
    }

    /// Whom a route forwards to that calls nobody by gRPC. It does the one or the other.
    fn forwarded_to(
        &mut self,
        forward: &ForwardConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Arc<Upstream>> {
        if let Some(to) = forward.to.as_ref().filter(|_| forward.grpc.is_none()) {
            for (name, _) in &forward.fields {
                let message = format!("route `{}`: `{name}` is written into no message", typed.path);
                let mistake = Mistake::new(below(&below(at, "fields"), name), message);
                self.mistakes.add(mistake.expected("only with `grpc`"));
            }
            let place = format!("route `{}`: it forwards to", typed.path);
            return self.upstream(to, &place, &below(at, "to"), services);
        }
        let erased = ["to", "grpc"].iter().any(|key| self.loaded.has_erased(&below(at, key)));
        if forward.grpc.is_none() && !erased {
            let message = format!("route `{}` forwards to nobody", typed.path);
            self.mistakes.add(Mistake::new(format!("{at}:"), message).expected("exactly one of: to, grpc"));
        }
        None
    }

    fn fallback(&mut self, fallback: &FallbackConfig, typed: &RouteConfig, at: &str) -> Option<Fallback> {
        let methods: Vec<Method> = typed.methods.iter().filter_map(|name| name.parse().ok()).collect();
        Fallback::build(fallback, &typed.path, &methods, at, &mut self.mistakes)
    }

    fn own(
        &mut self,
        name: &str,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Arc<dyn Handler>> {
        let Some(make) = self.ground.handlers.0.get(name) else {
            let message = format!("route `{}`: this binary brings no handler `{name}` along", typed.path);
            self.mistakes.add(Mistake::new(below(at, "handle"), message).one_of(
                "handlers",
                self.ground.handlers.0.keys(),
                name,
            ));
            return None;
        };
        let graphql = self.graphql(typed, at, services);
        // What it needs may be missing only because it was told to be wrong.
        if !self.mistakes.is_empty() || !self.loaded.mistakes.is_empty() {
            return None;
        }
        match make(&Services { graphql, ..services.clone() }) {
            Ok(handler) => {
                self.check_reads_graphql(name, &*handler, typed, at);
                Some(Arc::new(InTime(handler)))
            }
            Err(Unmade(mistakes)) => {
                let of_route = |wrong: Mistake| {
                    let message = format!("route `{}`: {}", typed.path, wrong.message);
                    Mistake { at: below(at, &wrong.at), message, ..wrong }
                };
                self.mistakes.0.extend(mistakes.0.into_iter().map(of_route));
                None
            }
        }
    }

    /// One part, which may be written from members of the parts `others`.
    pub(super) fn part(
        &mut self,
        name: &str,
        part: &PartConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
        others: &[&str],
    ) -> Option<Part> {
        let at = below(at, name);
        let place = format!("route `{}`: part `{name}`", typed.path);
        let token = name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !token || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            let mistake =
                Mistake::new(format!("{at}:"), format!("{place}: a part's name is told in a header field"));
            self.mistakes.add(mistake.expected("a letter, then letters, digits, `_` or `-`"));
        }
        let called = part.called();
        let get = below(&at, called.map_or("get", |(key, _)| key));
        let like = "an upstream and a path, like `order/orders/{orderId}`";
        let Some((_, asked)) = called else {
            if part.each.is_none() && !self.loaded.has_erased(&get) {
                self.mistakes.add(Mistake::new(&get, format!("{place} has no `get`")).expected(like));
            }
            return None;
        };
        let Some((upstream, target)) = asked.split_once('/') else {
            let mistake = Mistake::new(&get, format!("{place}: `{asked}` says no path"));
            self.mistakes.add(mistake.expected(like));
            return None;
        };
        let upstream = self.upstream(upstream, &format!("{place} calls"), &get, services);
        let target = self.target(target, others, part.each.is_some(), typed, &get);
        let decides = typed.ask.contains_key(name) || decides(typed, name);
        let service = Arc::new(Service::new(name, upstream?, part.max_size.0));
        let kept = self.kept(&service, part, decides, typed, &at, (name, asked.split('/').next()?));
        Some(Part::new(part, service, target?, kept))
    }

    /// The target of a part.
    fn target(
        &mut self,
        written: &str,
        others: &[&str],
        has_key: bool,
        typed: &RouteConfig,
        at: &str,
    ) -> Option<Template> {
        let known = Known {
            params: &self.names,
            callers: typed.auth != AuthConfig::None,
            body: false,
            parts: others,
        };
        let path = format!("/{written}");
        let parsed = Template::of_part(&path, &known, rest(typed), has_key);
        let parsed = parsed.map_err(|(words, why, expected)| {
            let words = if words == path { written.to_owned() } else { words };
            let name = words.trim_matches(['{', '}']).to_owned();
            let help = self.help_with_reference(&name, others);
            let wrong = Mistake::new(at, format!("route `{}`: {why}", typed.path)).words(&*words);
            let wrong = wrong.expected(expected);
            match name.split_once('.') {
                Some((part, _)) if !others.is_empty() && !others.contains(&part) && !is_known(part) => {
                    let names: Vec<&str> =
                        others.iter().copied().chain(["claims", "path", "query"]).collect();
                    wrong.one_of("names", names, part)
                }
                _ => Mistake { help, ..wrong },
            }
        });
        self.mistakes.keep(parsed)
    }

    fn help_with_reference(&self, name: &str, others: &[&str]) -> Option<Box<str>> {
        let starred = name.strip_prefix('*').filter(|name| self.names.iter().any(|known| **known == **name));
        if let Some(name) = starred {
            return Some(format!("write `{{{name}}}`: its slashes stay in a path").into());
        }
        if others.contains(&name) {
            return Some(format!("name a member of it: `{{{name}.MEMBER}}`").into());
        }
        let names = self.names.iter().map(|name| &**name);
        nearest(name, names).map(|name| format!("did you mean `{{{name}}}`?").into())
    }

    pub(super) fn upstream(
        &mut self,
        name: &str,
        place: &str,
        at: &str,
        services: &Services,
    ) -> Option<Arc<Upstream>> {
        let found = services.upstreams.get(name).cloned();
        let told =
            self.config.upstreams.contains_key(name) || self.loaded.has_erased(&below("upstreams", name));
        if found.is_none() && !told {
            let mistake = Mistake::new(at, format!("{place} the unknown upstream `{name}`")).words(name);
            self.mistakes.add(mistake.one_of("upstreams", self.loaded.source.keys("upstreams"), name));
        }
        found
    }

    fn template(&mut self, path: &str, written: &str, typed: &RouteConfig, at: &str) -> Option<Template> {
        let parsed = Template::parse(path, &self.names, rest(typed)).map_err(|(words, why)| {
            let words = if words == path { written.to_owned() } else { words };
            let starred = words
                .strip_prefix("{*")
                .filter(|name| self.names.iter().any(|known| name.strip_suffix('}') == Some(known)));
            let help = starred.map(|name| format!("write `{{{name}`: its slashes stay in a path"));
            let wrong = Mistake::new(at, format!("route `{}`: {why}", typed.path)).words(words);
            Mistake { help: help.map(Into::into), ..wrong }
        });
        self.mistakes.keep(parsed)
    }
}

/// Whether answers of a route of GraphQL may stay open.
pub(super) fn subscribes(typed: &RouteConfig) -> bool {
    typed.graphql.as_ref().is_some_and(|graphql| graphql.subscriptions.is_some())
}

/// What a route's path takes whole: `{*rest}`.
fn rest(typed: &RouteConfig) -> Option<&str> {
    typed.path.split_once("{*").and_then(|(_, rest)| rest.strip_suffix('}'))
}

/// Whether this is what other references than those to parts begin with.
fn is_known(first: &str) -> bool {
    ["body", "claims", "path", "query"].contains(&first)
}
