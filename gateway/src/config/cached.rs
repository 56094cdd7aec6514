//! Where answers are kept, and which routes keep theirs.
//!
//! Not here: the rules about that (`cache/`).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::HeaderName;

use super::{RouteConfig, build::Builder};
use crate::{
    auth::config::AuthConfig,
    cache::{Store, config::By},
    identity::{OURS, USER_ID, USER_ROLES},
    mistake::{Mistake, below},
    proxy::{Cached, Origin, config::ForwardConfig},
};

impl Builder<'_> {
    /// Where answers are kept, if any route or loader keeps some. What is kept already stays, unless other sizes are asked for.
    pub(super) fn store(&mut self) -> Option<Arc<Store>> {
        let typed = &self.config.cache;
        if typed.max_object.0 > typed.max_size.0 {
            let mistake = Mistake::new("cache.max_object", "one answer may be larger than all together");
            self.mistakes.add(mistake.expected("at most `cache.max_size`"));
        }
        let keeps = self.config.routes.iter().any(|route| route.cache.is_some())
            || self.config.loaders.values().any(|loader| loader.cache.is_some());
        if !keeps {
            return None;
        }
        let before = self.ground.before.and_then(|before| before.cache.as_ref());
        let unchanged = before.filter(|before| before.config() == typed);
        Some(unchanged.cloned().unwrap_or_else(|| Store::new(typed, self.ground.metrics.cache_store())))
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
        let mut hash = DefaultHasher::new();
        // All that an answer may depend on, and who may have it: with another configuration, another answer.
        format!("{typed:?} {upstream:?} {:?}", self.config.identity).hash(&mut hash);
        let name = format!("{} {}", typed.methods.join(","), typed.path);
        Some(Arc::new(Cached {
            origin: origin.clone(),
            store: store.clone(),
            rules: cache.rules(),
            by: cache.by,
            unkeyed: self.unkeyed(cache.by),
            route: hash.finish(),
            timeout: typed.timeout.0,
            metrics: self.ground.metrics.cache(&name),
        }))
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
