//! What a loader keeps, value by value, in the store that routes keep their answers in: by the same rules, with the same
//! purges. Each value remembers the call that it came with, in `Content-Location`, and what that can be asked anew by.
//!
//! Not here: the rules (`cache/control.rs`), who asks (`asking.rs`).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{flight::Flights, refresh::Refreshing, target::KEY};
use crate::cache::{
    Draft, Entry, Found, Key, Stood, Store,
    control::{self, Asked, Reuse, Rules},
    entry::Arrival,
    store::Mark,
    tags::{CACHE_TAG, SURROGATE_KEY},
};

/// What of an answer's header section each of its values needs: all that decides for how long it is good, and what it is
/// asked anew by.
const NEEDED: [HeaderName; 10] = [
    header::ETAG,
    header::LAST_MODIFIED,
    header::DATE,
    header::CACHE_CONTROL,
    header::EXPIRES,
    header::VARY,
    CACHE_TAG,
    SURROGATE_KEY,
    HeaderName::from_static("gateway-cache-control"),
    HeaderName::from_static("cdn-cache-control"),
];

/// How long nobody waits for another's call after an answer that may not be given to others.
const PASS: Duration = Duration::from_secs(10);

/// Where a loader keeps values, and on which terms.
pub(super) struct Kept {
    pub(super) store: Arc<Store>,
    /// Stands where routes have a host. It has a blank, so that no client and no purge can ever name it.
    pub(super) host: Box<[u8]>,
    /// Stands for the loader as it is configured.
    pub(super) number: u64,
    pub(super) rules: Rules,
    pub(super) tags: Box<[String]>,
    /// What the service is told that differs from request to request: what varies by it fits no other.
    pub(super) unkeyed: Box<[HeaderName]>,
    /// What every call says.
    pub(super) request: HeaderMap,
    pub(super) flights: Arc<Flights>,
    pub(super) refreshing: Arc<Refreshing>,
    pub(super) pass_until: Mutex<Option<Instant>>,
}

/// What is there for a key.
pub(super) enum Look {
    /// This, and it is good.
    Good(Bytes),
    /// This may be given out while it is asked for anew.
    Worn(Arc<Entry>),
    /// Nothing that may be given out; what may still stand in if asking fails.
    Missing(Option<Arc<Entry>>),
}

impl Kept {
    fn key<'a>(&'a self, key: &'a str) -> Key<'a> {
        Key { host: &self.host, target: key, tls: false, whose: None, tags: "", route: self.number }
    }

    fn find(&self, key: &str) -> (u64, Option<(Arc<Entry>, bool)>) {
        let key = self.key(key);
        let hash = self.store.hash(&key);
        match self.store.find(hash, &key, &self.request) {
            Found::Entry { entry, soft } => (hash, Some((entry, soft))),
            Found::Other(_) | Found::Pass => (hash, None),
        }
    }

    pub(super) fn look(&self, key: &str) -> Look {
        let Some((entry, soft)) = self.find(key).1 else { return Look::Missing(None) };
        match control::reuse(&entry.draft.terms, entry.draft.age(), soft, None) {
            Reuse::Fresh => Look::Good(entry.body.clone()),
            Reuse::WhileRevalidating => Look::Worn(entry),
            Reuse::Validate => Look::Missing(Some(entry)),
        }
    }

    /// What is kept of `key` if it came with the call that `old` came with, and did not change since.
    pub(super) fn of_the_same_call(&self, key: &str, old: &Entry) -> Option<Arc<Entry>> {
        let (_, found) = self.find(key);
        let same = |entry: &Arc<Entry>| {
            [header::CONTENT_LOCATION, header::ETAG, header::LAST_MODIFIED]
                .iter()
                .all(|name| entry.draft.headers.get(name) == old.draft.headers.get(name))
        };
        found.map(|(entry, _)| entry).filter(same)
    }

    /// How things stand before `keys` are asked for.
    pub(super) fn before(&self, keys: &[Arc<str>]) -> Vec<Stood> {
        let one = |key: &Arc<str>| {
            let tags: Vec<String> = self.tags.iter().map(|tag| tag.replace(KEY, key)).collect();
            Stood::of(&self.store, &self.host, key, tags.iter().map(String::as_str))
        };
        keys.iter().map(one).collect()
    }

    /// What all values of an answer have in common, if they may be kept.
    pub(super) fn draft(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        location: HeaderValue,
        asked: Instant,
    ) -> Option<Draft> {
        let request =
            Asked { method: &Method::GET, headers: &self.request, authorized: false, unkeyed: &self.unkeyed };
        // It was read to its end, or it would be no JSON.
        let arrival = Arrival { asked, received: SystemTime::now(), framed: true };
        let nobody = self.key("").owned();
        let draft =
            Draft::of(nobody, &request, status, headers, &arrival, &self.rules, Box::default()).ok()?;
        let mut needed = HeaderMap::with_capacity(NEEDED.len() + 1);
        for name in &NEEDED {
            for value in draft.headers.get_all(name) {
                needed.append(name, value.clone());
            }
        }
        needed.insert(header::CONTENT_LOCATION, location);
        draft.is_shareable().then_some(Draft { headers: needed, ..draft })
    }

    /// Keeps one value.
    pub(super) fn put(&self, key: &str, draft: &Draft, body: Bytes, marks: Box<[Mark]>) {
        if body.len() as u64 > self.store.config().max_object.0 {
            return self.remove(key);
        }
        let key = self.key(key);
        let draft = Draft { key: key.owned(), marks, ..draft.clone() };
        _ = self.store.put_here(self.store.hash(&key), Entry { draft, body });
    }

    /// Forgets what is no longer known, or may no longer be kept.
    pub(super) fn remove(&self, key: &str) {
        if let (hash, Some((entry, _))) = self.find(key) {
            self.store.remove(hash, &entry);
        }
    }

    /// Whether answers have lately not been for others, so that waiting for one is in vain.
    pub(super) fn passes(&self) -> bool {
        self.pass_until.lock().is_some_and(|until| until > Instant::now())
    }

    /// Notes whether an answer was for others.
    pub(super) fn passed(&self, passed: bool) {
        *self.pass_until.lock() = passed.then(|| Instant::now() + PASS);
    }
}
