//! Routes that tell what changes while it does.
//!
//! Not here: telling it (`live/`).

use std::{sync::Arc, time::Duration};

use super::{RouteConfig, build::Builder};
use crate::{
    auth::{
        config::AuthConfig,
        policy::{Input, Policy},
    },
    cache::config::By,
    composition::{Part, config::PartConfig},
    guard::Guard,
    handler::{Handler, Services},
    live::{Live, WatchConfig, Watched},
    mistake::{Mistake, below},
    units::Span,
};

/// Services are not asked more often than this: there would be little else that they do.
const MOST_OFTEN: Span = Span::millis(50);

impl Builder<'_> {
    pub(super) fn watch(
        &mut self,
        watch: &WatchConfig,
        typed: &RouteConfig,
        at: &str,
        guard: &Arc<Guard>,
        services: &Services,
    ) -> Option<Arc<dyn Handler>> {
        self.check_watch(watch, typed, at);
        let until = self.until(watch, typed, at);
        let parts = self.watched_parts(watch, typed, at, services)?;
        let name: Arc<str> = format!("{} {}", typed.methods.join(","), typed.path).into();
        let live = self.unchanged(&name, watch, typed, services).unwrap_or_else(|| {
            let metrics = self.ground.metrics.live(&name);
            Live::new(watch, parts, until, guard, typed.timeout.0, metrics)
        });
        self.live.insert(name, live.clone());
        Some(Arc::new(Watched(live)))
    }

    pub(super) fn watched_parts(
        &mut self,
        watch: &WatchConfig,
        typed: &RouteConfig,
        at: &str,
        services: &Services,
    ) -> Option<Vec<Part>> {
        let at = below(at, "parts");
        let part = |(name, part): (&String, &PartConfig)| self.part(name, part, typed, &at, services, &[]);
        let parts: Vec<Part> = watch.parts.iter().filter_map(part).collect();
        (parts.len() == watch.parts.len()).then_some(parts)
    }

    /// What tells the same of the same services to the same callers already: its streams stay open.
    fn unchanged(
        &self,
        name: &str,
        watch: &WatchConfig,
        typed: &RouteConfig,
        services: &Services,
    ) -> Option<Arc<Live>> {
        let before = self.ground.before?;
        let (then, now) = (&before.config, self.config);
        let around = (&then.providers, &then.plans, &then.identity, &then.deadline)
            == (&now.providers, &now.plans, &now.identity, &now.deadline);
        let same_service = |upstream: &str| {
            let (then, now) = (before.services.upstreams.get(upstream), services.upstreams.get(upstream));
            then.zip(now).is_some_and(|(then, now)| Arc::ptr_eq(then, now))
        };
        let asked = |get: &str| get.split_once('/').is_some_and(|(upstream, _)| same_service(upstream));
        let same = around
            && then.routes.contains(typed)
            && watch.parts.values().all(|part| part.get.as_deref().is_some_and(asked));
        before.live.get(name).filter(|_| same).cloned()
    }

    fn check_watch(&mut self, watch: &WatchConfig, typed: &RouteConfig, at: &str) {
        let place = format!("route `{}`", typed.path);
        if typed.methods.iter().any(|method| method != "GET") {
            let mistake =
                Mistake::new(format!("{at}:"), format!("{place}: what is watched is read, not written"));
            self.mistakes.add(mistake.expected("with `methods: [GET]` or none"));
        }
        self.check_followed(watch, typed, at);
        self.check_stream_bounds(watch, typed, at);
    }

    /// What is wrong with what is watched, however it is told.
    pub(super) fn check_followed(&mut self, watch: &WatchConfig, typed: &RouteConfig, at: &str) {
        let place = format!("route `{}`", typed.path);
        let parts = below(at, "parts");
        if watch.parts.is_empty() && !self.loaded.has_erased(&parts) {
            let mistake = Mistake::new(&parts, format!("{place} watches nothing"));
            self.mistakes.add(mistake.expected("at least one part"));
        }
        for (name, part) in &watch.parts {
            let place = format!("{place}: part `{name}`");
            self.check_alone(part, &below(&parts, name), &place, "is asked for again and again");
            for (key, given) in [("cache", part.cache.is_some()), ("fallback", part.fallback.is_some())] {
                if given {
                    let message = format!("{place}: only what is so is watched");
                    let mistake = Mistake::new(below(&below(&parts, name), key), message);
                    self.mistakes.add(mistake.help(format!("leave `{key}` out")));
                }
            }
        }
        if watch.by == By::Everyone && typed.auth == AuthConfig::None {
            let mistake = Mistake::new(below(at, "by"), format!("{place}: `auth: none` knows no callers"));
            self.mistakes.add(mistake.expected("only with `auth: { provider: NAME }`"));
        }
        self.check_bounds_of(
            &[
                ("every", watch.every, MOST_OFTEN, Span::secs(3_600), "50ms to 1h"),
                ("linger", watch.linger, Span::millis(0), Span::secs(600), "10m or less"),
            ],
            &[("keep", watch.keep), ("max_keys", watch.max_keys)],
            typed,
            at,
        );
    }

    fn check_stream_bounds(&mut self, watch: &WatchConfig, typed: &RouteConfig, at: &str) {
        let day = Span(Duration::from_secs(24 * 3_600));
        self.check_bounds_of(
            &[
                ("heartbeat", watch.heartbeat, Span::millis(100), Span::secs(600), "100ms to 10m"),
                ("stale_after", watch.stale_after, Span::millis(0), day, "24h or less"),
                ("max_age", watch.max_age, Span::secs(1), day, "1s to 24h"),
            ],
            &[("max_clients", watch.max_clients), ("max_per_client", watch.max_per_client)],
            typed,
            at,
        );
    }

    fn check_bounds_of(
        &mut self,
        spans: &[(&str, Span, Span, Span, &str)],
        numbers: &[(&str, u32)],
        typed: &RouteConfig,
        at: &str,
    ) {
        let place = format!("route `{}`", typed.path);
        for &(key, span, least, most, expected) in spans {
            if !(least..=most).contains(&span) {
                let message = format!("{place}: with this `{key}` no stream would be of use");
                self.mistakes.add(Mistake::new(below(at, key), message).expected(expected));
            }
        }
        for &(key, number) in numbers {
            if number == 0 {
                let message = format!("{place}: with this `{key}` there would be no stream");
                self.mistakes.add(Mistake::new(below(at, key), message).expected("1 or more"));
            }
        }
    }

    /// The rule by which nothing changes any more. It knows the parts and nothing of the client, since all share it.
    pub(super) fn until(&mut self, watch: &WatchConfig, typed: &RouteConfig, at: &str) -> Option<Policy> {
        let (text, at) = (watch.until.as_deref()?, below(at, "until"));
        let place = format!("route `{}`", typed.path);
        let parsed = Policy::parse(text).map_err(|error| {
            let mistake = Mistake::new(&at, format!("{place}: in the rule, {}", error.message));
            let mistake = mistake.expected(error.expected);
            if error.words.is_empty() { mistake } else { mistake.words(error.words) }
        });
        let until = self.mistakes.keep(parsed)?;
        for input in until.inputs() {
            let wrong = match input {
                Input::Part { part, .. } if watch.parts.contains_key(part) => continue,
                Input::Part { part, .. } => {
                    let message = format!("{place}: its rule speaks of the unknown part `{part}`");
                    Mistake::new(&at, message).one_of("parts", watch.parts.keys(), part)
                }
                _ => Mistake::new(&at, format!("{place}: `until` is the same for all clients"))
                    .expected("parts, and nothing of the request"),
            };
            self.mistakes.add(wrong.words(input.to_string()));
        }
        Some(until)
    }
}
