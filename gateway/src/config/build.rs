//! From what was typed to what runs. Building *is* checking: what cannot be built is a mistake, and all of them are told.
//!
//! What did not change since the configuration before is taken over: upstreams with their connections, providers with
//! their keys, limits with their counts.
//! Not here: what a route does (`handlers.rs`), what values must be beside each other (`across.rs`), reading files (`load.rs`).

use std::sync::Arc;

use http::HeaderName;
use indexmap::IndexMap;

use super::{Config, RouteConfig, browsers::Sets, graphql::Graphql, load::Loaded};
use crate::{
    auth::{
        Around, Provider, Rule, Told,
        config::{AuthConfig, AuthRule},
    },
    browsers::Browsers,
    cache::Store,
    composition::{Part, config::PartConfig},
    contract::Schemas,
    deadline::Budget,
    guard::Guard,
    handler::{Handlers, Services},
    live::Live,
    mistake::{Mistake, Mistakes, below},
    observability::metrics::Metrics,
    proxy::{grpc::Descriptors, websocket::Tunnels},
    rate_limit::RateLimit,
    redis::Redis,
    route::Route,
    routing::{self, Router},
    server::{config::ListenerConfig, tls::Tls},
    tags::Tags,
    upstream::Upstream,
};

/// A configuration that runs. Immutable: another one replaces it whole.
#[derive(Default)]
pub struct Snapshot {
    /// The routes.
    pub routes: Router<Arc<Route>>,
    /// Who vouches for callers.
    pub providers: IndexMap<String, Arc<Provider>>,
    /// Upstreams, limits and loaders, by name.
    pub services: Services,
    /// What instances share.
    pub redis: Option<Arc<Redis>>,
    /// The answers that routes and loaders keep, if any does.
    pub cache: Option<Arc<Store>>,
    /// What can be called by gRPC, if anything.
    pub descriptors: Option<Arc<Descriptors>>,
    /// What routes tell while it changes, by their names.
    pub live: IndexMap<Arc<str>, Arc<Live>>,
    /// What routes have open of WebSockets, by their names.
    pub tunnels: IndexMap<Arc<str>, Arc<Tunnels>>,
    /// What routes of GraphQL keep.
    pub graphql: Graphql,
    /// What the listeners speak, in their order; none where it is plaintext.
    pub tls: Vec<Option<Arc<Tls>>>,
    /// What browsers are told where no route was found.
    pub browsers: Option<Arc<Browsers>>,
    /// Whether OPTIONS may be a preflight that is answered here.
    pub has_cors: bool,
    /// The most bytes of a request's header section.
    pub max_header_size: usize,
    /// The most bytes of a request's path and query.
    pub max_uri: usize,
    /// As typed.
    pub config: Arc<Config>,
}

/// What building needs besides the configuration.
pub struct Ground<'a> {
    /// The configuration in use, if any.
    pub before: Option<&'a Snapshot>,
    /// The handlers that the binary brings along.
    pub handlers: &'a Handlers,
    /// Where to count.
    pub metrics: &'a Metrics,
}

/// Builds what `loaded` says.
///
/// # Errors
/// Nothing is built when anything is wrong; `loaded.mistakes` then has everything that is.
pub fn build(loaded: &mut Loaded, ground: &Ground<'_>) -> Option<Snapshot> {
    let config = Arc::new(loaded.config.take()?);
    let (mistakes, budget) = (Mistakes::default(), Budget::default());
    let mut builder = Builder {
        config: &config,
        loaded,
        ground,
        mistakes,
        names: Vec::new(),
        budget,
        credentials: Arc::default(),
        sets: Sets::default(),
        store: None,
        descriptors: None,
        live: IndexMap::new(),
        tunnels: IndexMap::new(),
        graphql: Graphql::default(),
        invalidated: Tags::default(),
        schemas: Schemas::default(),
    };
    let snapshot = builder.snapshot();
    let mistakes = builder.mistakes;
    loaded.join(mistakes);
    loaded.mistakes.is_empty().then(|| Snapshot { config, ..snapshot })
}

pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    pub(super) loaded: &'a Loaded,
    pub(super) ground: &'a Ground<'a>,
    pub(super) mistakes: Mistakes,
    /// The parameters of the route being built.
    pub(super) names: Vec<Box<str>>,
    /// What clients and services are told of deadlines.
    pub(super) budget: Budget,
    /// The header fields whose values are for the gateway alone.
    pub(super) credentials: Arc<[HeaderName]>,
    /// What routes may name for browsers.
    pub(super) sets: Sets,
    /// Where answers are kept.
    pub(super) store: Option<Arc<Store>>,
    /// What can be called by gRPC.
    pub(super) descriptors: Option<Arc<Descriptors>>,
    /// What has been built of what routes tell while it changes.
    pub(super) live: IndexMap<Arc<str>, Arc<Live>>,
    /// What has been built of what routes have open of WebSockets.
    pub(super) tunnels: IndexMap<Arc<str>, Arc<Tunnels>>,
    /// What routes of GraphQL leave for the next configuration.
    pub(super) graphql: Graphql,
    /// What writes of the route being built make invalid.
    pub(super) invalidated: Tags,
    /// What routes may name for what they take and answer.
    pub(super) schemas: Schemas,
}

impl Builder<'_> {
    fn snapshot(&mut self) -> Snapshot {
        let typed = self.loaded.has_erased("listen") || self.loaded.source.has_items("listen");
        if self.config.listen.is_empty() && !typed {
            self.mistakes
                .add(Mistake::new("listen", "there is nowhere to listen").expected("at least one address"));
        }
        let tls = self.tls();
        self.check_certified();
        self.check_announced();
        self.check_addresses();
        self.check_bounds();
        let budget = Budget::build(&self.config.deadline, "deadline", &mut self.mistakes);
        self.budget = budget.unwrap_or_default();
        let told = Told::build(&self.config.identity, "identity", &mut self.mistakes);
        // Nobody but us says what services are told.
        self.budget.ours.extend(told.iter().map(|told| told.field.clone()));
        let providers = self.providers(told);
        let redis = self.redis();
        let (upstreams, limits) = (self.upstreams(), self.limits(redis.as_ref()));
        let mut services = Services { upstreams, limits, ..Services::default() };
        self.check_default_limits(&services);
        self.check_plans(&services);
        let fields = providers.values().filter_map(|provider| provider.field().cloned());
        self.credentials = fields.collect();
        self.sets = self.sets();
        let browsers = self.default_browsers();
        self.store = self.store(redis.as_ref());
        self.descriptors = self.descriptors();
        services.loaders = self.loaders(&services);
        self.schemas = self.schemas();
        let mut routes = Router::default();
        for (index, typed) in self.config.routes.iter().enumerate() {
            let (at, said) = (format!("routes[{index}]"), self.mistakes.0.len());
            self.add_route(&mut routes, typed, &at, &providers, &services);
            // What is wrong with a route is wrong with all its versions, and told once.
            if self.mistakes.0.len() == said {
                self.add_versions(&mut routes, typed, &at, &providers, &services);
            }
        }
        self.add_pages(&mut routes, &services);
        self.check_path_keys();
        self.check_limits_by_path();
        let max_header_size = self.config.server.max_header_size.0 as usize;
        let max_uri = self.config.server.max_uri.0 as usize;
        let (has_cors, config) = (!self.config.cors.is_empty(), Arc::default());
        let (cache, descriptors) = (self.store.clone(), self.descriptors.clone());
        Snapshot {
            routes,
            providers,
            services,
            redis,
            cache,
            descriptors,
            live: std::mem::take(&mut self.live),
            tunnels: std::mem::take(&mut self.tunnels),
            graphql: std::mem::take(&mut self.graphql),
            tls,
            browsers,
            has_cors,
            max_header_size,
            max_uri,
            config,
        }
    }

    /// What each listener speaks; those whose files have not changed are taken over.
    fn tls(&mut self) -> Vec<Option<Arc<Tls>>> {
        let mut built = Vec::with_capacity(self.config.listen.len());
        for (index, listener) in self.config.listen.iter().enumerate() {
            let before = self.ground.before.and_then(|before| before.tls.get(index)?.as_ref());
            let tls = listener.tls.as_ref().map(|typed| Tls::build(typed, before));
            built.push(tls.and_then(|tls| {
                let at = format!("listen[{index}].tls");
                let wrong = |why| Mistake::new(at, format!("listener {}: {why}", listener.address));
                self.mistakes.keep(tls.map_err(wrong))
            }));
        }
        built
    }

    /// Nobody may connect where proxies must announce their clients and there are none.
    fn check_announced(&mut self) {
        for (index, listener) in self.config.listen.iter().enumerate() {
            let trusted = format!("listen[{index}].trusted_proxies");
            let alone = listener.trusted_proxies.is_empty() && !self.loaded.has_erased(&trusted);
            if listener.proxy_protocol && alone {
                let message =
                    format!("listener {}: nobody may speak the PROXY protocol to it", listener.address);
                let mistake = Mistake::new(format!("listen[{index}].proxy_protocol"), message);
                self.mistakes.add(mistake.help("say where the proxies are: `trusted_proxies: [10.0.0.0/8]`"));
            }
        }
    }

    /// Nobody has a certificate where no listener asks for one.
    fn check_certified(&mut self) {
        let asked =
            |listener: &ListenerConfig| listener.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        if self.config.listen.iter().any(asked) || self.loaded.has_erased("listen") {
            return;
        }
        for (name, _) in self.config.providers.iter().filter(|(_, typed)| typed.certificate.is_some()) {
            let message =
                format!("provider `{name}` knows clients by certificates, and no listener asks for any");
            let mistake = Mistake::new(below("providers", name), message);
            self.mistakes.add(mistake.expected("with `clients` under a listener's `tls`"));
        }
    }

    fn providers(&mut self, told: Vec<Told>) -> IndexMap<String, Arc<Provider>> {
        let mut built = IndexMap::new();
        let around = Around { plans: self.config.plans.keys().cloned().collect(), told };
        for (name, typed) in &self.config.providers {
            let before = self.ground.before.and_then(|before| before.providers.get(name));
            let provider = match before.filter(|before| before.is_still(typed, &around)) {
                Some(unchanged) => Some(unchanged.clone()),
                None => Provider::build(name, typed, &around, &below("providers", name))
                    .map_err(|wrong| self.wrong_provider(name, wrong))
                    .ok(),
            };
            built.extend(provider.map(|provider| (name.clone(), provider)));
        }
        built
    }

    /// Notes what is wrong with a provider. That nothing says how it knows callers only follows if what did was erased.
    fn wrong_provider(&mut self, name: &str, wrong: Mistakes) {
        let at = below("providers", name);
        let kinds = ["jwt", "keys", "certificate", "introspect", "token_store"];
        let erased = kinds.iter().any(|key| self.loaded.has_erased(&below(&at, key)));
        self.mistakes.0.extend(wrong.0.into_iter().filter(|mistake| !erased || mistake.at != at));
    }

    fn upstreams(&mut self) -> IndexMap<String, Arc<Upstream>> {
        let mut built = IndexMap::new();
        for (name, typed) in &self.config.upstreams {
            let before = self.ground.before.and_then(|before| before.services.upstreams.get(name));
            let metrics = self.ground.metrics.upstream(name);
            let upstream = match before.filter(|before| before.is_of(typed)) {
                Some(unchanged) => Some(unchanged.clone()),
                None => {
                    let before = self.ground.before.and_then(|before| before.services.upstreams.get(name));
                    Upstream::build(
                        name,
                        typed,
                        metrics,
                        &below("upstreams", name),
                        before.map(|before| &**before),
                    )
                    .map_err(|wrong| self.wrong_upstream(name, wrong))
                    .ok()
                }
            };
            built.extend(upstream.map(|upstream| (name.clone(), upstream)));
        }
        built
    }

    /// Notes what is wrong with an upstream. That nothing says where it is only follows if what did was erased.
    fn wrong_upstream(&mut self, name: &str, wrong: Mistakes) {
        let at = below("upstreams", name);
        let erased =
            ["url", "endpoints", "dns", "file"].iter().any(|key| self.loaded.has_erased(&below(&at, key)));
        self.mistakes.0.extend(wrong.0.into_iter().filter(|mistake| !erased || mistake.at != at));
    }

    fn redis(&mut self) -> Option<Arc<Redis>> {
        let typed = self.config.redis.as_ref()?;
        let before = self.ground.before.and_then(|before| before.redis.as_ref());
        match before.filter(|before| before.config() == typed) {
            Some(unchanged) => Some(unchanged.clone()),
            None => Redis::build(typed, "redis", self.ground.metrics.redis(), &mut self.mistakes),
        }
    }

    fn limits(&mut self, redis: Option<&Arc<Redis>>) -> IndexMap<String, Arc<RateLimit>> {
        let mut built = IndexMap::new();
        for (name, typed) in &self.config.limits {
            let before = self.ground.before.and_then(|before| before.services.limits.get(name));
            let unchanged = |before: &&Arc<RateLimit>| before.config() == typed && before.is_in(redis);
            let at = below("limits", name);
            self.check_shared(name, typed, &at);
            let limit = match before.filter(unchanged) {
                Some(unchanged) => Some(unchanged.clone()),
                None => {
                    let metrics = self.ground.metrics.limit(name);
                    // That nothing says how much it lets in only follows if what did was erased.
                    let erased = ["rate", "quota"].iter().any(|key| self.loaded.has_erased(&below(&at, key)));
                    let built = RateLimit::build(name, typed, &at, redis, metrics);
                    built.map_err(|wrong| (!erased || wrong.at != at).then(|| self.mistakes.add(wrong))).ok()
                }
            };
            built.extend(limit.map(|limit| (name.clone(), limit)));
        }
        built
    }

    pub(super) fn add_route(
        &mut self,
        routes: &mut Router<Arc<Route>>,
        typed: &RouteConfig,
        at: &str,
        providers: &IndexMap<String, Arc<Provider>>,
        services: &Services,
    ) {
        self.names = routing::parameters(&typed.path).unwrap_or_default(); // a path that is none is told by the router
        self.invalidated = self.invalidated(typed, at);
        let schemas = self.schemas.clone();
        let contract = self.contract(typed, at, &schemas);
        let guard = Arc::new(self.guard(typed, at, providers, services).holding_to(contract));
        let handler = self.handler(typed, at, &guard, services);
        self.settle(routes, typed, at, guard, handler, services);
    }

    pub(super) fn route_limits(
        &mut self,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Vec<Arc<RateLimit>> {
        let place = format!("route `{}`", typed.path);
        let mut limits: Vec<Arc<RateLimit>> =
            self.config.default_limits.iter().filter_map(|name| services.limits.get(name).cloned()).collect();
        for (index, name) in typed.limits.iter().enumerate() {
            let named = self.limit(name, &place, &format!("{at}.limits[{index}]"), services);
            // Named twice, a limit still counts a request once.
            limits.extend(named.filter(|named| !limits.iter().any(|known| Arc::ptr_eq(known, named))));
        }
        limits
    }

    fn guard(
        &mut self,
        typed: &RouteConfig,
        at: &str,
        providers: &IndexMap<String, Arc<Provider>>,
        services: &Services,
    ) -> Guard {
        let rule = match &typed.auth {
            AuthConfig::None => None,
            AuthConfig::By(rule) if self.a_provider_is_told(rule, providers) => None,
            AuthConfig::By(rule) => Rule::build(rule, providers, &below(at, "auth"), &mut self.mistakes),
        };
        if let Some(rule) = &rule {
            self.check_policy(rule, typed, at);
        }
        if rule.is_some() || typed.auth == AuthConfig::None {
            self.check_ask(rule.as_ref(), typed, &below(at, "ask"));
        }
        let ask = typed
            .ask
            .iter()
            .next()
            .and_then(|(name, part)| self.asked(name, part, typed, &below(at, "ask"), services));
        Guard::new(rule, ask, self.invalidated.of_parts().cloned().collect())
    }

    fn asked(
        &mut self,
        name: &str,
        part: &PartConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Part> {
        let place = format!("route `{}`: part `{name}`", typed.path);
        self.check_alone(part, &below(at, name), &place, "decides who may");
        self.part(name, part, typed, at, services, &[])
    }

    /// What neither a rule nor `invalidates` speaks of would never be asked for.
    fn check_ask(&mut self, rule: Option<&Rule>, typed: &RouteConfig, at: &str) {
        let expected = "one part, the one its rule speaks of";
        if typed.ask.len() > 1 {
            let message = format!("route `{}` asks for {} parts", typed.path, typed.ask.len());
            self.mistakes.add(Mistake::new(at, message).expected(expected));
        } else if let Some(name) = typed.ask.keys().next() {
            let spoken_of =
                rule.and_then(Rule::policy).is_some_and(|policy| policy.parts().any(|part| part == name))
                    || self.invalidated.of_parts().next().is_some();
            if !spoken_of {
                let message =
                    format!("route `{}` asks for the part `{name}`, and no rule speaks of it", typed.path);
                self.mistakes.add(Mistake::new(at, message).expected(expected));
            }
        }
    }

    /// Whether one of its providers could not be built, which has been told already.
    fn a_provider_is_told(&self, rule: &AuthRule, providers: &IndexMap<String, Arc<Provider>>) -> bool {
        let told = |name: &String| {
            self.config.providers.contains_key(name) || self.loaded.has_erased(&below("providers", name))
        };
        rule.provider.iter().chain(&rule.providers).any(|name| !providers.contains_key(name) && told(name))
    }

    /// A rule may only speak of what will be there when it is decided.
    fn check_policy(&mut self, rule: &Rule, typed: &RouteConfig, at: &str) {
        use crate::auth::policy::Input;
        let Some(policy) = rule.policy() else { return };
        let allow = below(&below(at, "auth"), "allow");
        let mut parts: Vec<&str> = policy.parts().collect();
        parts.dedup();
        let composes = typed.compose.is_some() || typed.watch.is_some();
        // A part decides once it is there, and by nothing else that was read.
        let writes = typed.compose.iter().flatten().any(|(_, part)| part.write().is_some());
        for input in policy.inputs() {
            let wrong = match input {
                Input::Path(name) if !self.names.iter().any(|known| **known == **name) => {
                    let names: Vec<&str> = self.names.iter().map(|name| &**name).collect();
                    Mistake::new(
                        &allow,
                        format!("route `{}`: its path has no parameter `{name}`", typed.path),
                    )
                    .one_of("parameters", names, name)
                }
                Input::Body(_) if composes && !(writes && parts.is_empty()) => Mistake::new(
                    &allow,
                    format!("route `{}`: its rule reads a body that no composition has", typed.path),
                ),
                Input::Part { part, .. } => match self.part_of_rule(part, typed) {
                    Some(mistake) => Mistake { at: allow.clone(), ..mistake },
                    None => continue,
                },
                _ => continue,
            };
            self.mistakes.add(wrong.words(input.to_string()));
        }
        if parts.len() > 1 {
            let message = format!("route `{}`: its rule speaks of {} parts", typed.path, parts.len());
            self.mistakes.add(Mistake::new(&allow, message).expected("one part at most"));
        }
    }

    fn part_of_rule(&self, part: &str, typed: &RouteConfig) -> Option<Mistake> {
        let watched = typed.watch.as_ref().map(|watch| &watch.parts);
        let composed = typed.compose.as_ref().or(watched).and_then(|parts| parts.get(part));
        let unsure = composed.and_then(|part| match () {
            () if part.optional => Some("optional"),
            () if part.when.is_some() => Some("conditional"),
            () if part.each.is_some() => Some("joined"),
            () if part.write().is_some() => Some("writing"),
            () => None,
        });
        if let Some(unsure) = unsure {
            let message = format!("route `{}`: its rule speaks of the {unsure} part `{part}`", typed.path);
            return Some(Mistake::new("", message).expected("a part that is always there"));
        }
        if composed.is_some() || typed.ask.contains_key(part) {
            return None;
        }
        let known: Vec<&String> =
            typed.compose.iter().chain(watched).flat_map(IndexMap::keys).chain(typed.ask.keys()).collect();
        let message = format!("route `{}`: its rule speaks of the unknown part `{part}`", typed.path);
        let help = format!("say what to read under `ask: {{ {part}: {{ get: UPSTREAM/PATH }} }}`");
        Some(Mistake::new("", message).help(help).one_of("parts", known, part))
    }
}
