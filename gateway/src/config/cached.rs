//! Where answers are kept, and which routes keep theirs.
//!
//! Not here: the rules about that (`cache/`).

use std::{sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderName;
use indexmap::IndexMap;

use super::{RouteConfig, across::parts, build::Builder};
use crate::{
    auth::config::{AuthConfig, ProviderConfig},
    cache::{
        CacheMetrics, Keeping, Shared, Store,
        config::{By, RouteCacheConfig, SharedCacheConfig},
    },
    composition::{
        self, Kept, Service,
        config::{PartConfig, PartFallbackConfig},
    },
    identity::{OURS, USER_ID, USER_ROLES},
    mistake::{Mistake, below},
    proxy::{Cached, Invalidates, Origin, config::ForwardConfig},
    redis::{Redis, TIMEOUTS},
    tags::{Known, Tag, Tags, Wrong},
    units::Span,
};

/// How long the last answer of a part may stand in for it, unless `stale_if_error` says otherwise: longer than most outages,
/// and not so long that nobody would take it for what is so.
const LAST_GOOD: Span = Span::secs(3600);

/// The longest that an answer may be shared.
const MOST_HOURS: u64 = 720;

/// A route, as it is called in metrics.
pub(super) fn name(typed: &RouteConfig) -> String {
    format!("{} {}", typed.methods.join(","), typed.path)
}

impl Builder<'_> {
    /// Where answers are kept, if any route or loader keeps some. What is kept already stays, unless other sizes are asked for.
    pub(super) fn store(&mut self, redis: Option<&Arc<Redis>>) -> Option<Arc<Store>> {
        let typed = &self.config.cache;
        if typed.max_object.0 > typed.max_size.0 {
            let mistake = Mistake::new("cache.max_object", "one answer may be larger than all together");
            self.mistakes.add(mistake.expected("at most `cache.max_size`"));
        }
        if let Some(shared) = &typed.shared {
            self.check_shared_cache(shared);
        }
        let kept = |route: &RouteConfig| {
            route.cache.is_some() || parts(route).any(|(_, _, part)| part.cache.is_some())
        };
        let keeps = self.config.routes.iter().any(kept)
            || self.config.loaders.values().any(|loader| loader.cache.is_some());
        if !keeps {
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
        &mut self,
        origin: &Arc<Origin>,
        forward: &ForwardConfig,
        typed: &RouteConfig,
        at: &str,
    ) -> Option<Arc<Cached>> {
        let cache = typed.cache.as_ref()?;
        let upstream = self.config.upstreams.get(forward.upstream());
        // All that an answer may depend on, and who may have it: with another configuration, another answer.
        let of = format!("{typed:?} {upstream:?} {:?} {:?}", self.config.identity, self.vouching(typed));
        let metrics = self.ground.metrics.cache(&name(typed));
        let tags = self.tags(&cache.tags, &[], typed, &below(&below(at, "cache"), "tags"));
        let keeping = self.keeping(cache, &of, typed.timeout.0, metrics)?;
        Some(Arc::new(Cached { origin: origin.clone(), keeping, tags }))
    }

    /// What keeps the answers of a part that asks `service`, if they are kept. `decides` is whether a rule decides by it.
    pub(super) fn kept(
        &mut self,
        service: &Arc<Service>,
        part: &PartConfig,
        decides: bool,
        typed: &RouteConfig,
        at: &str,
        (name_of_part, upstream): (&str, &str),
    ) -> Option<Arc<Kept>> {
        let cache = part.cache.as_ref()?;
        let falls_back = part.fallback == Some(PartFallbackConfig::Stale);
        let mut cache = cache.clone();
        if falls_back {
            cache.stale_if_error = cache.stale_if_error.or(Some(LAST_GOOD));
        }
        let of = self.config.upstreams.get(upstream);
        // Two routes with the same part share what is kept of it; who vouches for their callers is the same, too.
        let who = match &typed.auth {
            AuthConfig::None => None,
            AuthConfig::By(rule) => Some((&rule.provider, &rule.providers, self.vouching(typed))),
        };
        let of = format!("{part:?} {upstream} {of:?} {who:?} {:?}", self.config.identity);
        let metrics = self.ground.metrics.cached_part(&name(typed), name_of_part);
        let tags = self.tags(&cache.tags, &[], typed, &below(&below(at, "cache"), "tags"));
        let timeout = part.timeout.unwrap_or(typed.timeout).0;
        let keeping = self.keeping(&cache, &of, timeout, metrics)?;
        let (service, sent) = (service.clone(), composition::kept::sent());
        Some(Arc::new(Kept { service, keeping, tags, decides, falls_back, sent }))
    }

    /// Who vouches for the callers of a route.
    fn vouching(&self, typed: &RouteConfig) -> Option<&IndexMap<String, ProviderConfig>> {
        (typed.auth != AuthConfig::None).then_some(&self.config.providers)
    }

    /// `of` is all that an answer may depend on: with another configuration, or another version of the gateway, another
    /// answer. It comes to the same number on all instances.
    fn keeping(
        &self,
        cache: &RouteCacheConfig,
        of: &str,
        timeout: Duration,
        metrics: Arc<CacheMetrics>,
    ) -> Option<Keeping> {
        let store = self.store.clone()?;
        let hash = digest(&SHA256, format!("{} {of}", env!("CARGO_PKG_VERSION")).as_bytes());
        let route = hash.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        let (by, unkeyed) = (cache.by, self.unkeyed(cache.by));
        Some(Keeping { store, rules: cache.rules(), by, unkeyed, route, timeout, metrics })
    }

    /// The tags typed at `at`, as far as they are any.
    fn tags(&mut self, tags: &[String], parts: &[&str], typed: &RouteConfig, at: &str) -> Tags {
        let known =
            Known { params: &self.names, callers: typed.auth != AuthConfig::None, body: false, parts };
        let mut parsed = Vec::with_capacity(tags.len());
        for (index, tag) in tags.iter().enumerate() {
            match Tag::parse(tag, &known) {
                Ok(tag) => parsed.push(tag),
                Err(Wrong { words, why, expected }) => {
                    let message = format!("route `{}`: {why}", typed.path);
                    let mistake = Mistake::new(format!("{at}[{index}]"), message).expected(expected);
                    self.mistakes.add(if words.is_empty() { mistake } else { mistake.words(words) });
                }
            }
        }
        Tags::new(parsed)
    }

    /// What the writes of a route name that they make invalid; some of it may be written from what the guard asks for.
    pub(super) fn invalidated(&mut self, typed: &RouteConfig, at: &str) -> Tags {
        let parts: Vec<&str> = typed.ask.keys().map(String::as_str).collect();
        self.tags(&typed.invalidates, &parts, typed, &below(at, "invalidates"))
    }

    /// What makes it so.
    pub(super) fn invalidates(&self, typed: &RouteConfig) -> Option<Invalidates> {
        let store = self.store.clone().filter(|_| !typed.invalidates.is_empty())?;
        let part = typed.ask.keys().next().map(|name| name.as_str().into());
        let metrics = self.ground.metrics.invalidations(&name(typed));
        Some(Invalidates { tags: self.invalidated.clone(), part, store, metrics })
    }

    /// Only writes change anything, and only forwarded ones are writes.
    pub(super) fn check_invalidates(&mut self, typed: &RouteConfig, at: &str) {
        if typed.invalidates.is_empty() {
            return;
        }
        let writes =
            typed.methods.iter().any(|method| !["GET", "HEAD", "OPTIONS"].contains(&method.as_str()));
        let erased = ["forward", "compose"].iter().any(|key| self.loaded.has_erased(&below(at, key)));
        let composed = typed.compose.iter().flatten().any(|(_, part)| part.write().is_some());
        let (why, expected) = match &self.store {
            _ if typed.forward.is_none() && !composed && !erased => {
                ("only writes make answers invalid", "with `forward`, or a part that writes")
            }
            _ if !writes => (
                "it has no method that changes anything",
                "with POST, PUT, PATCH or DELETE among its methods",
            ),
            None => ("nothing is kept that could be made invalid", "with `cache` on a route or a part"),
            Some(_) => return,
        };
        let message = format!("route `{}`: {why}", typed.path);
        self.mistakes.add(Mistake::new(format!("{}:", below(at, "invalidates")), message).expected(expected));
    }

    /// What services are told in the gateway's name and nothing is kept under: an answer that varies by it fits nobody else.
    /// Clients cannot send these fields, so all their requests would look the same.
    pub(super) fn unkeyed(&self, by: By) -> Box<[HeaderName]> {
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
            let mistake = mistake.expected("with `forward`");
            let parts = "what is composed is not kept, but each part may have a `cache` of its own";
            self.mistakes.add(if typed.compose.is_none() { mistake } else { mistake.help(parts) });
        } else if !typed.methods.iter().any(|method| method == "GET") {
            let mistake =
                Mistake::new(format!("{at}:"), format!("{place}: it has no answers that could be kept"));
            self.mistakes.add(mistake.expected("with `GET` among its methods"));
        }
        self.check_keeping(cache, typed, &at, &place);
    }

    /// What is said of a route's or a part's answers, at `at`.
    pub(super) fn check_keeping(
        &mut self,
        cache: &RouteCacheConfig,
        typed: &RouteConfig,
        at: &str,
        place: &str,
    ) {
        if cache.by == By::Everyone && typed.auth == AuthConfig::None {
            let mistake = Mistake::new(below(at, "by"), format!("{place}: `auth: none` knows no callers"));
            self.mistakes.add(mistake.expected("only with `auth: { provider: NAME }`"));
        }
        for (key, span) in [
            ("ttl", cache.ttl),
            ("stale_while_revalidate", cache.stale_while_revalidate),
            ("stale_if_error", cache.stale_if_error),
        ] {
            if span.is_some_and(|span| span.0.as_secs() == 0) {
                let mistake = Mistake::new(below(at, key), format!("{place}: ages are counted in seconds"));
                self.mistakes.add(mistake.expected("1s or more, or nothing"));
            }
        }
    }
}
