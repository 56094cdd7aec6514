//! What one route, or one part of a composition, says of the answers that are kept for it, and what all who ask for such
//! answers do alike.
//!
//! Not here: asking services (`proxy/cached.rs` whose bodies stream, `composition/kept.rs` whose bodies are read whole).

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{
    CacheMetrics, Key, Store, Whose,
    config::By,
    control::{Asked, Rules},
    store::{Before, Mark},
    tags,
};

/// How services learn that `Surrogate-Control` is read here, and by which name this cache is meant.
pub const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");
/// What it says.
pub const CAPABILITY: HeaderValue = HeaderValue::from_static("gateway=\"Surrogate/1.0\"");

/// How the answers of one route or part are kept.
pub struct Keeping {
    /// Where.
    pub store: Arc<Store>,
    /// What the configuration says of them.
    pub rules: Rules,
    /// Whose they are.
    pub by: By,
    /// What an answer must not vary by to be kept: services are told it in the gateway's name.
    pub unkeyed: Box<[HeaderName]>,
    /// Stands for the route or part as it is configured.
    pub route: u64,
    /// How long what nobody waits for may take.
    pub timeout: Duration,
    /// What is counted.
    pub metrics: Arc<CacheMetrics>,
}

/// How things stood before an answer was asked for.
pub struct Stood {
    before: Before,
    /// The marks of the tags that the configuration gives it.
    own: Box<[Mark]>,
}

impl Stood {
    /// How things stand before `key` is asked for.
    #[must_use]
    pub fn of_key(store: &Store, key: &Key<'_>) -> Self {
        Stood::of(store, key.host, key.target, key.tags())
    }

    /// How things stand before `target` is asked for at `host`, under `tags` that are known before: a purge of other tags
    /// leaves it alone.
    #[must_use]
    pub fn of<'a>(store: &Store, host: &[u8], target: &str, tags: impl Iterator<Item = &'a str>) -> Self {
        Stood { before: store.before(host, target), own: tags.map(|tag| store.tag(tag)).collect() }
    }

    /// The marks of an answer with these header sections. None if one of the tags that it names may have been purged while it
    /// was on its way.
    #[must_use]
    pub fn marks(&self, store: &Store, headers: &[&HeaderMap]) -> Option<Box<[Mark]>> {
        let told = store.marks(self.before, headers.iter().copied().flat_map(tags::of))?;
        Some(if self.own.is_empty() { told } else { [&*told, &*self.own].concat().into() })
    }
}

impl Keeping {
    /// For whom an answer is kept that `whose` asks for.
    #[must_use]
    pub fn whose<'a>(&self, whose: Option<Whose<'a>>) -> Option<Whose<'a>> {
        whose.filter(|_| self.by == By::Principal)
    }

    /// How things stand before `key` is asked for. What is made invalid from now on is not kept.
    #[must_use]
    pub fn stands(&self, key: &Key<'_>) -> Stood {
        Stood::of_key(&self.store, key)
    }

    /// What the rules want to know of a request by `method` with these header fields. `named` is whether it came with
    /// credentials.
    #[must_use]
    pub fn asked<'a>(
        &'a self,
        method: &'a Method,
        headers: &'a HeaderMap,
        named: bool,
        key: &Key<'_>,
    ) -> Asked<'a> {
        Asked { method, headers, authorized: named && key.whose.is_none(), unkeyed: &self.unkeyed }
    }
}
