//! Where answers are kept: bounded by bytes, several variants of a URL side by side.
//!
//! Not here: whether an answer may be kept and given out (`control.rs`), what makes it invalid (`marks.rs`).

use std::{
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderMap;
use moka::sync::Cache;
use tokio::time::Instant;

pub use super::marks::{Before, Mark, Purge};
use super::{
    config::CacheConfig,
    entry::Entry,
    flight::Flights,
    keeping::Stood,
    key::{Key, OwnedKey},
    marks::Marks,
    metrics::StoreMetrics,
    second_tier::{Purged, Shared, What},
    vary::Selection,
};

/// Of one URL and one caller. More would make each look a long one.
const MOST_VARIANTS: usize = 32;
/// How long a URL whose answers cannot be kept is not waited for.
const PASS: Duration = Duration::from_secs(10);
/// All variants of what is kept under one key.
#[derive(Debug, Clone)]
struct Shelf {
    key: OwnedKey,
    /// The newest first.
    variants: Vec<Arc<Entry>>,
    /// Until then nobody waits for another's answer, since it could not be kept.
    pass_until: Option<Instant>,
}

impl Shelf {
    fn size(&self) -> usize {
        const AROUND: usize = 500; // what moka keeps for an entry, and this
        let variants: usize = self.variants.iter().map(|entry| entry.size()).sum();
        AROUND + self.key.size() + variants
    }
}

/// What is there for a request.
#[derive(Debug)]
pub enum Found {
    /// This, which fits it; `soft` if it was marked as no longer good.
    Entry {
        /// The answer.
        entry: Arc<Entry>,
        /// Whether an operator has said that it is no longer good.
        soft: bool,
    },
    /// Nothing that fits it. One that fits others is there, if any: it says which fields matter.
    Other(Option<Arc<Entry>>),
    /// Its answers cannot be kept: it is not to wait for another's.
    Pass,
}

/// Answers of all routes that keep some.
pub struct Store {
    config: CacheConfig,
    shelves: Cache<u64, Arc<Shelf>, BuildHasherDefault<Hashed>>,
    marks: Marks,
    random: RandomState,
    /// Bytes of bodies that are still coming.
    pub(super) coming: AtomicU64,
    /// Who is asking for what.
    pub(crate) flights: Flights,
    /// What other instances keep as well, if they share it.
    shared: Option<Arc<Shared>>,
    metrics: Arc<StoreMetrics>,
}

/// Keys are hashes already, and random ones.
#[derive(Debug, Default, Clone)]
pub struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Store {
    /// An empty one.
    #[must_use]
    pub fn new(config: &CacheConfig, metrics: Arc<StoreMetrics>) -> Arc<Self> {
        Store::sharing(config, metrics, None)
    }

    /// An empty one, with a second tier behind it.
    #[must_use]
    pub fn sharing(
        config: &CacheConfig,
        metrics: Arc<StoreMetrics>,
        shared: Option<Arc<Shared>>,
    ) -> Arc<Self> {
        let counted = metrics.clone();
        let shelves = Cache::builder()
            .max_capacity(config.max_size.0)
            .weigher(|_, shelf: &Arc<Shelf>| u32::try_from(shelf.size()).unwrap_or(u32::MAX))
            .eviction_listener(move |_, shelf: Arc<Shelf>, cause| {
                counted.shrink(shelf.size() as u64);
                if cause.was_evicted() {
                    counted.evictions.inc();
                }
            })
            .build_with_hasher(BuildHasherDefault::default());
        Arc::new(Store {
            config: config.clone(),
            shelves,
            marks: Marks::new(),
            random: RandomState::new(),
            coming: AtomicU64::new(0),
            flights: Flights::default(),
            shared,
            metrics,
        })
    }

    /// As typed.
    #[must_use]
    pub fn config(&self) -> &CacheConfig {
        &self.config
    }

    /// What instances share, if they do.
    #[must_use]
    pub fn shared(&self) -> Option<&Arc<Shared>> {
        self.shared.as_ref()
    }

    /// Whether bodies that are still coming take more than a quarter of what may be kept: clients that read slowly could
    /// make them take any amount.
    pub(super) fn is_crowded(&self) -> bool {
        self.coming.load(Ordering::Relaxed) > self.config.max_size.0 / 4
    }

    /// The number that `key` is kept under.
    #[must_use]
    pub fn hash(&self, key: &Key<'_>) -> u64 {
        key.hash(&self.random)
    }

    /// What those who ask for one variant of it are known by.
    #[must_use]
    pub fn variant(&self, hash: u64, selection: &Selection) -> u64 {
        let mut state = self.random.build_hasher();
        state.write_u64(hash);
        selection.feed(&mut state);
        state.finish()
    }

    /// What is there for a request with these header fields.
    #[must_use]
    pub fn find(&self, hash: u64, key: &Key<'_>, request: &HeaderMap) -> Found {
        let Some(shelf) = self.shelves.get(&hash).filter(|shelf| shelf.key.is(key)) else {
            return Found::Other(None);
        };
        let (mut fitting, mut other) = (None, None);
        for entry in &shelf.variants {
            let Some(soft) = self.stands(&entry.draft.marks) else { continue };
            if !entry.draft.selection.fits(request) {
                other = other.or(Some(entry));
                continue;
            }
            fitting = fitting.or(Some((entry, soft)));
            // RFC 9111 section 4.1: an answer that forgot to say `Vary` fits everybody, and not in the place of a better one.
            if !entry.draft.selection.is_everybodys() && !soft && entry.draft.is_good() {
                fitting = Some((entry, soft));
                break;
            }
        }
        if let Some((entry, soft)) = fitting {
            return Found::Entry { entry: entry.clone(), soft };
        }
        if shelf.pass_until.is_some_and(|until| until > Instant::now()) {
            return Found::Pass;
        }
        Found::Other(other.cloned())
    }

    /// Keeps an answer, in the place of the one that fitted the same requests, and offers it to other instances.
    pub fn put(&self, hash: u64, entry: Entry) {
        if let (Some(entry), Some(shared)) = (self.put_here(hash, entry), &self.shared) {
            shared.offer(&entry);
        }
    }

    /// The same for this instance alone. What it is now, unless it changed while it was on its way.
    pub fn put_here(&self, hash: u64, entry: Entry) -> Option<Arc<Entry>> {
        self.stands(&entry.draft.marks)?;
        let entry = Arc::new(entry);
        self.keep(hash, &entry);
        Some(entry)
    }

    /// What another instance keeps for this request, from now on here as well; nothing where what is kept here is newer.
    pub async fn look_further(&self, hash: u64, key: &Key<'_>, request: &HeaderMap) -> Option<Arc<Entry>> {
        let shared = self.shared.as_ref()?;
        let stood = Stood::of_key(self, key);
        let mut entry = shared.look(key, request).await?;
        if let Found::Entry { entry: known, .. } = self.find(hash, key, request)
            && known.draft.age() <= entry.draft.age()
        {
            return None;
        }
        entry.draft.marks = stood.marks(self, &[&entry.draft.headers])?;
        let entry = Arc::new(entry);
        self.keep(hash, &entry);
        self.is_kept(&entry).then_some(entry)
    }

    /// Whether an answer may still be given out.
    pub(super) fn is_kept(&self, entry: &Entry) -> bool {
        self.is_valid(&entry.draft.marks)
    }

    fn keep(&self, hash: u64, entry: &Arc<Entry>) {
        self.change(hash, &entry.draft.key, |shelf| {
            shelf.pass_until = None;
            shelf.variants.retain(|known| {
                known.draft.selection != entry.draft.selection && self.stands(&known.draft.marks).is_some()
            });
            shelf.variants.insert(0, entry.clone());
            shelf.variants.truncate(MOST_VARIANTS);
        });
    }

    /// Notes that what is asked for cannot be kept: for a while nobody waits for another's answer.
    pub fn pass(&self, hash: u64, key: &OwnedKey) {
        self.change(hash, key, |shelf| shelf.pass_until = Some(Instant::now() + PASS));
    }

    /// Whether that was noted of late.
    #[must_use]
    pub fn passes(&self, hash: u64, key: &Key<'_>) -> bool {
        let shelf = self.shelves.get(&hash).filter(|shelf| shelf.key.is(key));
        shelf.is_some_and(|shelf| shelf.pass_until.is_some_and(|until| until > Instant::now()))
    }

    /// Takes an answer away that has been replaced by one that cannot be kept. Where others may still find it, good or not,
    /// they are told.
    pub fn remove(&self, hash: u64, gone: &Arc<Entry>) {
        if self.shared.as_ref().is_some_and(|shared| shared.may_have(gone)) {
            let (host, target) = gone.draft.key.url();
            self.tell(Purge::Hard, || What::Url { host: host.into(), target: target.into() });
        }
        self.change(hash, &gone.draft.key, |shelf| shelf.variants.retain(|known| !Arc::ptr_eq(known, gone)));
    }

    fn change(&self, hash: u64, key: &OwnedKey, change: impl FnOnce(&mut Shelf)) {
        self.shelves.entry(hash).and_upsert_with(|known| {
            let known = known.map(moka::Entry::into_value).filter(|known| known.key == *key);
            let mut shelf = known.map_or_else(
                || Shelf { key: key.clone(), variants: Vec::new(), pass_until: None },
                |known| Shelf::clone(&known),
            );
            change(&mut shelf);
            self.metrics.grow(shelf.size() as u64);
            Arc::new(shelf)
        });
    }

    /// How things stand before a URL is asked for.
    #[must_use]
    pub fn before(&self, host: &[u8], target: &str) -> Before {
        self.marks.before(host, target)
    }

    /// The marks of an answer with these tags. None if one of them was purged since, or may have been.
    #[must_use]
    pub fn marks<'a>(&self, before: Before, tags: impl Iterator<Item = &'a str>) -> Option<Box<[Mark]>> {
        self.marks.since(before, tags)
    }

    /// The mark of a tag that is known before what carries it is asked for.
    pub(super) fn tag(&self, tag: &str) -> Mark {
        self.marks.of_tag(tag)
    }

    /// Whether nothing has made it invalid; then whether something has marked it as no longer good.
    fn stands(&self, marks: &[Mark]) -> Option<bool> {
        self.marks.stands(marks)
    }

    /// Whether an answer that is still coming may be given to those who ask now.
    #[must_use]
    pub fn is_valid(&self, marks: &[Mark]) -> bool {
        self.stands(marks) == Some(false)
    }

    /// Makes invalid what is kept for a URL, for whomever.
    pub fn purge_url(&self, host: &[u8], target: &str, how: Purge) {
        self.tell(how, || What::Url { host: host.into(), target: target.into() });
        self.marks.purge_url(host, target, how);
    }

    /// Makes invalid what carries a tag.
    pub fn purge_tag(&self, tag: &str, how: Purge) {
        self.tell(how, || What::Tag(tag.into()));
        self.marks.purge_tag(tag, how);
    }

    /// Makes everything invalid.
    pub fn purge_all(&self, how: Purge) {
        self.tell(how, || What::All);
        self.bump_all(how);
    }

    /// First what others are to be told, so that what they keep is not believed; then what is kept here.
    fn tell(&self, how: Purge, what: impl FnOnce() -> What) {
        if let Some(shared) = &self.shared {
            shared.tell(Purged { what: what(), how });
        }
    }

    /// Makes invalid what another instance has made so.
    pub(super) fn apply(&self, purged: &Purged) {
        match &purged.what {
            What::Url { host, target } => self.marks.purge_url(host, target, purged.how),
            What::Tag(tag) => self.marks.purge_tag(tag, purged.how),
            What::All => self.bump_all(purged.how),
        }
    }

    /// Whether all other instances have been told what was made invalid until now, `within` this time; none if nothing is
    /// shared.
    pub async fn is_told(&self, within: Duration) -> Option<bool> {
        match &self.shared {
            Some(shared) => Some(shared.is_told(within).await),
            None => None,
        }
    }

    fn bump_all(&self, how: Purge) {
        self.marks.purge_all(how);
        if how == Purge::Hard {
            self.shelves.invalidate_all();
        }
    }

    /// Does what moka puts off: in tests, before what is kept is counted.
    pub fn settle(&self) {
        self.shelves.run_pending_tasks();
    }

    /// Bytes of all that is kept, as weighed.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.shelves.weighted_size()
    }
}
