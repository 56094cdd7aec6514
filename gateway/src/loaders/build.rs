//! From what was typed to a loader that runs, or to what is wrong with it.
//!
//! Not here: whether its upstream is known (`config/loaders.rs`).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::sync::watch;

use super::{
    Inner, Loader, LoaderMetrics,
    config::{LoaderCacheConfig, LoaderConfig},
    kept::Kept,
    records::KeyPath,
    target::{KEY, KEYS, Target},
};
use crate::{
    cache::Store,
    mistake::{Mistake, Mistakes, below},
    units::Span,
    upstream::Upstream,
};

/// The most keys of one call, whatever they are: one line of a request must hold them.
const MOST_KEYS: usize = 1_000;

/// What a loader stands among.
pub struct Around {
    /// Whom it asks.
    pub upstream: Arc<Upstream>,
    /// Where values are kept. None only if no loader keeps any.
    pub store: Option<Arc<Store>>,
    /// What the service is told that differs from request to request.
    pub unkeyed: Box<[HeaderName]>,
    /// What is counted.
    pub metrics: Arc<LoaderMetrics>,
}

/// What of a loader can be read without knowing whom it asks.
pub struct Reading {
    target: Target,
    key: KeyPath,
}

impl Reading {
    /// Reads what was typed at `at`, and notes all that is wrong with it.
    pub fn of(name: &str, typed: &LoaderConfig, at: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let said = mistakes.0.len();
        let whose = format!("loader `{name}`");
        let bounds = [
            ("max_keys", (1..=MOST_KEYS).contains(&typed.max_keys), "1 to 1000"),
            ("timeout", typed.timeout > Span::millis(0), "1ms or more"),
            ("max_size", typed.max_size.0 > 0, "1B or more"),
        ];
        for (key, _, expected) in bounds.iter().filter(|(_, right, _)| !right) {
            let message = format!("{whose}: with this `{key}` nothing could succeed");
            mistakes.add(Mistake::new(below(at, key), message).expected(*expected));
        }
        if let Some(cache) = &typed.cache {
            check_cache(cache, &whose, &below(at, "cache"), mistakes);
        }
        let key = KeyPath::parse(&typed.key).ok_or_else(|| {
            let mistake = Mistake::new(below(at, "key"), format!("{whose}: `{}` names no member", typed.key));
            mistake.expected("the member that holds the key, like `id` or `info.id`")
        });
        let (key, target) = (mistakes.keep(key), target(typed, &whose, &below(at, "get"), mistakes));
        let reading = Reading { target: target?, key: key? };
        (mistakes.0.len() == said).then_some(reading)
    }

    /// The loader.
    #[must_use]
    pub fn build(self, name: &str, typed: &LoaderConfig, around: Around) -> Arc<Loader> {
        let kept = typed.cache.as_ref().zip(around.store).map(|(cache, store)| {
            let mut hash = DefaultHasher::new();
            // With another configuration, another answer.
            format!("{typed:?} {:?}", around.upstream.config()).hash(&mut hash);
            let accept = (header::ACCEPT, HeaderValue::from_static("application/json"));
            Kept {
                store,
                host: format!("loader {name}").into_bytes().into(),
                number: hash.finish(),
                rules: cache.rules(),
                tags: cache.tags.clone().into(),
                unkeyed: around.unkeyed,
                request: HeaderMap::from_iter([accept]),
                flights: Arc::default(),
                refreshing: Arc::default(),
                pass_until: Default::default(),
            }
        });
        let (stop, running) = watch::channel(());
        let Reading { target, key } = self;
        let (upstream, metrics) = (around.upstream, around.metrics);
        let inner =
            Inner { name: name.into(), config: typed.clone(), upstream, target, key, kept, metrics, running };
        Arc::new(Loader { inner: Arc::new(inner), _running: stop })
    }
}

impl Loader {
    /// Whether this configuration would make the same, to be taken over.
    #[must_use]
    pub fn is_still(&self, typed: &LoaderConfig, around: &Around) -> bool {
        let Inner { config, upstream, kept, .. } = &*self.inner;
        let same_store = match (kept, &around.store) {
            (Some(kept), Some(store)) => Arc::ptr_eq(&kept.store, store) && kept.unkeyed == around.unkeyed,
            (kept, _) => kept.is_none(),
        };
        config == typed && Arc::ptr_eq(upstream, &around.upstream) && same_store
    }
}

fn target(typed: &LoaderConfig, whose: &str, at: &str, mistakes: &mut Mistakes) -> Option<Target> {
    let expected = format!("an upstream and a path with `{KEYS}`, like `restaurant/restaurants?ids={KEYS}`");
    let Some((_, path)) = typed.get.split_once('/') else {
        let mistake = Mistake::new(at, format!("{whose}: `{}` says no path", typed.get));
        mistakes.add(mistake.expected(expected));
        return None;
    };
    let read = Target::parse(&format!("/{path}")).map_err(|(words, why)| {
        let words = words.strip_prefix('/').map(str::to_owned).unwrap_or(words);
        Mistake::new(at, format!("{whose}: {why}")).words(words).expected(expected)
    });
    mistakes.keep(read)
}

fn check_cache(cache: &LoaderCacheConfig, whose: &str, at: &str, mistakes: &mut Mistakes) {
    for (key, span) in [
        ("ttl", cache.ttl),
        ("stale_while_revalidate", cache.stale_while_revalidate),
        ("stale_if_error", cache.stale_if_error),
    ] {
        if span.is_some_and(|span| span.0.as_secs() == 0) {
            let mistake = Mistake::new(below(at, key), format!("{whose}: ages are counted in seconds"));
            mistakes.add(mistake.expected("1s or more, or nothing"));
        }
    }
    for (index, tag) in cache.tags.iter().enumerate() {
        let rest = tag.replacen(KEY, "", 1);
        if rest.len() == tag.len() || rest.contains(['{', '}']) {
            let message = format!("{whose}: the tag `{tag}` does not say whose it is");
            let mistake = Mistake::new(format!("{at}.tags[{index}]"), message);
            mistakes.add(mistake.expected(format!("a text with `{KEY}` once, like `restaurant:{KEY}`")));
        }
    }
}
