//! What routes of GraphQL say of themselves, from what was typed.
//!
//! Not here: what the keys mean (`graphql/settings.rs`), the handler (`handlers.rs`).

use std::{path::PathBuf, sync::Arc};

use indexmap::IndexMap;

use super::{RouteConfig, build::Builder};
use crate::{
    auth::policy::Input,
    composition::Part,
    door::Door,
    graphql::{
        Around, Persisted, Settings, Subscriptions,
        config::{FollowedConfig, SubscriptionsConfig},
        subscriptions::KEY,
    },
    guard::Guard,
    handler::{Handler, Services},
    live::Live,
    mistake::{Mistake, below},
    units::Span,
};

/// What routes of GraphQL leave for the next configuration, and for whoever watches files.
#[derive(Default)]
pub struct Graphql {
    /// What clients have registered, by the route's path.
    pub(super) persisted: Vec<(String, Arc<Persisted>)>,
    /// The manifests that were read, and what was in them.
    pub(crate) manifests: Vec<(Vec<PathBuf>, u64)>,
    /// What is open, by the route's path.
    subscriptions: Vec<(String, Arc<Subscriptions>)>,
    /// What leads to the route that is being built.
    pub(super) door: Option<Arc<Door>>,
}

impl Graphql {
    /// What is open here, and not taken over by `other`.
    pub(crate) fn open_but_for(&self, other: &Graphql) -> impl Iterator<Item = &Subscriptions> {
        let taken =
            |known: &Arc<Subscriptions>| other.subscriptions.iter().any(|(_, it)| Arc::ptr_eq(it, known));
        self.subscriptions.iter().map(|(_, open)| open).filter(move |open| !taken(open)).map(|open| &**open)
    }
}

impl Builder<'_> {
    /// What the route at `at` offers; as if nothing were typed where it says nothing.
    pub(super) fn graphql(&mut self, typed: &RouteConfig, at: &str, services: &Services) -> Settings {
        let before = self.ground.before.and_then(|before| {
            before.graphql.persisted.iter().find(|(path, _)| *path == typed.path).map(|(_, kept)| kept)
        });
        let whose = format!("route `{}`", typed.path);
        let metrics = self.ground.metrics.graphql(&typed.path);
        let around = Around { folder: self.loaded.source.folder(), before, metrics, whose: &whose };
        let config = typed.graphql.clone().unwrap_or_default();
        let at = below(at, "graphql");
        let mut settings = Settings::build(&config, &at, &around, &mut self.mistakes);
        if let Some(open) = &config.subscriptions {
            settings.subscriptions =
                self.subscriptions(open, typed, &below(&at, "subscriptions"), services, &settings);
            self.graphql.door = Some(settings.door.clone());
        }
        self.graphql.persisted.extend(settings.persisted.clone().map(|kept| (typed.path.clone(), kept)));
        self.graphql.manifests.extend(settings.trusted.as_ref().map(|trusted| trusted.made_of()));
        settings
    }

    /// It would mean nothing where no handler reads it.
    pub(super) fn check_graphql(&mut self, typed: &RouteConfig, at: &str) {
        if typed.graphql.is_some() && typed.handle.is_none() && !self.loaded.has_erased(&below(at, "handle"))
        {
            let message = format!("route `{}` has no handler that answers GraphQL", typed.path);
            let mistake = Mistake::new(format!("{}:", below(at, "graphql")), message);
            self.mistakes.add(mistake.expected("with `handle`"));
        }
    }

    /// Nor where the handler is none of GraphQL.
    pub(super) fn check_reads_graphql(
        &mut self,
        name: &str,
        handler: &dyn Handler,
        typed: &RouteConfig,
        at: &str,
    ) {
        if typed.graphql.is_some() && !handler.reads_graphql() {
            let message = format!("route `{}`: the handler `{name}` answers no GraphQL", typed.path);
            let mistake = Mistake::new(format!("{}:", below(at, "graphql")), message);
            let mistake = mistake.expected("only with a handler of GraphQL");
            self.mistakes.add(mistake.help("leave `graphql` out, or name another handler"));
        }
    }

    /// What stays open; that of the configuration before where nothing is said anew that matters for it.
    fn subscriptions(
        &mut self,
        open: &SubscriptionsConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
        settings: &Settings,
    ) -> Option<Arc<Subscriptions>> {
        self.check_subscriptions(open, typed, at);
        let same = self.ground.before.filter(|before| {
            let (then, now) = (&before.config, self.config);
            (&then.providers, &then.plans, &then.identity, &then.deadline, &then.cors, &then.default_cors)
                == (&now.providers, &now.plans, &now.identity, &now.deadline, &now.cors, &now.default_cors)
                && (&then.upstreams, &then.loaders, &then.limits)
                    == (&now.upstreams, &now.loaders, &now.limits)
                && then.routes.contains(typed)
        });
        let known = same.and_then(|before| {
            before.graphql.subscriptions.iter().find(|(path, _)| *path == typed.path).map(|(_, open)| open)
        });
        let mut watches = IndexMap::new();
        for (name, followed) in &open.watches {
            let at = below(&below(at, "watches"), name);
            let live = self.followed(name, followed, open, typed, &at, services)?;
            let name_of_all: Arc<str> = format!("{} {name}", typed.path).into();
            let before = same.and_then(|before| before.live.get(&name_of_all)).filter(|_| known.is_some());
            let live = before.cloned().unwrap_or(live);
            self.live.insert(name_of_all, live.clone());
            watches.insert(name.clone(), live);
        }
        let metrics = settings.metrics.subscriptions();
        let built = known.cloned().unwrap_or_else(|| Subscriptions::new(open, watches, metrics));
        self.graphql.subscriptions.push((typed.path.clone(), built.clone()));
        Some(built)
    }

    /// What one name follows. Its parts know nothing of the request but which one is meant.
    fn followed(
        &mut self,
        name: &str,
        followed: &FollowedConfig,
        open: &SubscriptionsConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Arc<Live>> {
        let watch = followed.as_watch(open);
        let names = std::mem::replace(&mut self.names, vec![KEY.into()]);
        self.check_followed(&watch, typed, at);
        let until = self.until(&watch, typed, at);
        let parts = self.watched_parts(&watch, typed, at, services);
        self.names = names;
        let parts = parts?;
        self.check_no_query(&parts, typed, &below(at, "parts"));
        let metrics = self.ground.metrics.live(&format!("{} {name}", typed.path));
        Some(Live::new(&watch, parts, until, &Arc::new(Guard::default()), typed.timeout.0, metrics))
    }

    /// What is followed is known by its key: a parameter of the query would never be there.
    fn check_no_query(&mut self, parts: &[Part], typed: &RouteConfig, at: &str) {
        for part in parts {
            for input in part.inputs() {
                let Input::Query(asked) = input else { continue };
                let name = part.name();
                let message =
                    format!("route `{}`: part `{name}`: a subscription has no query string", typed.path);
                let mistake = Mistake::new(below(&below(at, name), "get"), message);
                let mistake = mistake.words(format!("{{query.{asked}}}"));
                self.mistakes.add(mistake.expected("one of: {key}, {claims.NAME}"));
            }
        }
    }

    fn check_subscriptions(&mut self, open: &SubscriptionsConfig, typed: &RouteConfig, at: &str) {
        let place = format!("route `{}`", typed.path);
        if !typed.methods.iter().any(|method| method == "GET") {
            let mistake = Mistake::new(format!("{at}:"), format!("{place}: WebSockets are opened by GET"));
            self.mistakes.add(mistake.expected("with GET among `methods`"));
        }
        for (key, span, least, most, expected) in [
            ("init_timeout", open.init_timeout, Span::millis(100), Span::secs(60), "100ms to 1m"),
            ("heartbeat", open.heartbeat, Span::millis(100), Span::secs(600), "100ms to 10m"),
            ("max_age", open.max_age, Span::secs(1), Span::secs(24 * 3_600), "1s to 24h"),
        ] {
            if !(least..=most).contains(&span) {
                let message = format!("{place}: with this `{key}` no subscription would be of use");
                self.mistakes.add(Mistake::new(below(at, key), message).expected(expected));
            }
        }
        for (key, number) in [
            ("max_clients", open.max_clients),
            ("max_per_client", open.max_per_client),
            ("max_per_connection", open.max_per_connection),
            ("max_connections", open.max_connections),
            ("max_connections_per_client", open.max_connections_per_client),
        ] {
            if number == 0 {
                let message = format!("{place}: with this `{key}` there would be no subscription");
                self.mistakes.add(Mistake::new(below(at, key), message).expected("1 or more"));
            }
        }
    }
}
