//! Where answers are kept, and which routes keep theirs.
//!
//! Not here: the rules about that (`cache/`).

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderName;

use super::{RouteConfig, build::Builder};
use crate::{
    auth::config::AuthConfig,
    cache::{
        Shared, Store,
        config::{By, SharedCacheConfig},
    },
    identity::{OURS, USER_ID, USER_ROLES},
    mistake::{Mistake, below},
    proxy::{Cached, Origin, config::ForwardConfig},
    redis::{Redis, TIMEOUTS},
    units::Span,
};

/// The longest that an answer may be shared.
const MOST_HOURS: u64 = 720;

impl Builder<'_> {
    /// Where answers are kept, if any route keeps some. What is kept already stays, unless other sizes are asked for.
    pub(super) fn store(&mut self, redis: Option<&Arc<Redis>>) -> Option<Arc<Store>> {
        let typed = &self.config.cache;
        if typed.max_object.0 > typed.max_size.0 {
            let mistake = Mistake::new("cache.max_object", "one answer may be larger than all together");
            self.mistakes.add(mistake.expected("at most `cache.max_size`"));
        }
        if let Some(shared) = &typed.shared {
            self.check_shared_cache(shared);
        }
        if !self.config.routes.iter().any(|route| route.cache.is_some()) {
            return None;
        }
        let before = self.ground.before.and_then(|before| before.cache.as_ref());
        let same = |before: &&Arc<Store>| {
            let place = self.config.redis.as_ref();
            let moved = |shared: &Arc<Shared>| place.is_none_or(|redis| !shared.is_in(redis));
            before.config() == typed && !before.shared().is_some_and(moved)
        };
        if let Some(unchanged) = before.filter(same) {
            return Some(unchanged.clone());
        }
        let metrics = self.ground.metrics.cache_store();
        let shared = typed.shared.as_ref().zip(redis).map(|(typed, redis)| {
            let metrics = metrics.shared.get_or_init(Arc::default).clone();
            Shared::new(typed, redis, metrics)
        });
        Some(Store::sharing(typed, metrics, shared))
    }

    fn check_shared_cache(&mut self, typed: &SharedCacheConfig) {
        if self.config.redis.is_none() && !self.loaded.has_erased("redis") {
            let message = "the cache is shared, and there is no `redis` to share it by";
            let help = "say where it is: `redis: { url: redis://HOST:PORT }`";
            self.mistakes.add(Mistake::new("cache.shared:", message).help(help));
        }
        let (least, most) = TIMEOUTS;
        if typed.timeout < least || typed.timeout > most {
            let message = "cache: so long Redis is not waited for, or none could answer in so short a time";
            self.mistakes.add(Mistake::new("cache.shared.timeout", message).expected("2ms to 1s"));
        }
        if !(Span::secs(1)..=Span::secs(MOST_HOURS * 3_600)).contains(&typed.max_age) {
            let message = "cache: so long nothing is kept for others, or too short for anybody to find it";
            self.mistakes.add(Mistake::new("cache.shared.max_age", message).expected("1s to 720h"));
        }
    }

    /// What keeps the answers of a route to `origin`, if they are kept.
    pub(super) fn cached(
        &self,
        origin: &Arc<Origin>,
        forward: &ForwardConfig,
        typed: &RouteConfig,
    ) -> Option<Arc<Cached>> {
        let (cache, store) = (typed.cache.as_ref()?, self.store.as_ref()?);
        let upstream = self.config.upstreams.get(&forward.to);
        // All that an answer may depend on, and who may have it: with another configuration, or another version of the
        // gateway, another answer. The same on all instances.
        let providers = (typed.auth != AuthConfig::None).then_some(&self.config.providers);
        let version = env!("CARGO_PKG_VERSION");
        let all = format!("{version} {typed:?} {upstream:?} {:?} {providers:?}", self.config.identity);
        let hash = digest(&SHA256, all.as_bytes());
        let name = format!("{} {}", typed.methods.join(","), typed.path);
        Some(Arc::new(Cached {
            origin: origin.clone(),
            store: store.clone(),
            rules: cache.rules(),
            by: cache.by,
            unkeyed: self.unkeyed(cache.by),
            route: hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first)),
            timeout: typed.timeout.0,
            metrics: self.ground.metrics.cache(&name),
        }))
    }

    /// What services are told in the gateway's name and nothing is kept under: an answer that varies by it fits nobody else.
    /// Clients cannot send these fields, so all their requests would look the same.
    fn unkeyed(&self, by: By) -> Box<[HeaderName]> {
        let told = |name: &HeaderName| {
            [USER_ID, USER_ROLES].contains(name)
                || self.config.identity.headers.keys().any(|told| name.as_str().eq_ignore_ascii_case(told))
        };
        let forwarded = ["x-forwarded-for", "forwarded", "traceparent", "tracestate"];
        let all = OURS.into_iter().chain(self.budget.ours.iter().cloned());
        let all = all.chain(forwarded.map(HeaderName::from_static));
        all.filter(|name| by == By::Everyone || !told(name)).collect()
    }

    /// Only what is read from one service is kept.
    pub(super) fn check_cache(&mut self, typed: &RouteConfig, at: &str) {
        let Some(cache) = &typed.cache else { return };
        let place = format!("route `{}`", typed.path);
        let at = below(at, "cache");
        if typed.forward.is_none() && !self.loaded.has_erased(&at.replace("cache", "forward")) {
            let mistake = Mistake::new(format!("{at}:"), format!("{place}: only forwarded answers are kept"));
            self.mistakes.add(mistake.expected("with `forward`"));
        } else if !typed.methods.iter().any(|method| method == "GET") {
            let mistake =
                Mistake::new(format!("{at}:"), format!("{place}: it has no answers that could be kept"));
            self.mistakes.add(mistake.expected("with `GET` among its methods"));
        }
        if cache.by == By::Everyone && typed.auth == AuthConfig::None {
            let mistake = Mistake::new(below(&at, "by"), format!("{place}: `auth: none` knows no callers"));
            self.mistakes.add(mistake.expected("only with `auth: { provider: NAME }`"));
        }
        for (key, span) in [
            ("ttl", cache.ttl),
            ("stale_while_revalidate", cache.stale_while_revalidate),
            ("stale_if_error", cache.stale_if_error),
        ] {
            if span.is_some_and(|span| span.0.as_secs() == 0) {
                let mistake = Mistake::new(below(&at, key), format!("{place}: ages are counted in seconds"));
                self.mistakes.add(mistake.expected("1s or more, or nothing"));
            }
        }
    }
}
