//! A second tier in Redis, which several instances of the gateway share: what one of them keeps, the others find.
//!
//! Who leads a miss looks here before it asks the service, for `timeout` at most, and without waiting once Redis is gone or
//! late. What is kept is written here in the background, by one task (`courier.rs`), or dropped when that falls behind. What is
//! made invalid goes into a log in Redis (`log.rs`) that every instance reads; an answer says as of which number of that log it
//! is good, so that one which was written late, or by an instance that had missed something, is not believed (`purges.rs`).
//! Who does not read the log at the moment believes nothing that stands in Redis.
//!
//! Redis's own clock counts: an answer's age is what it was when it was written and what has passed of its time since. So
//! instances need not agree on the time.
//! Not here: connections and their circuit (`redis/`), what is kept in memory (`store.rs`).

mod courier;
mod encoding;
mod log;
mod purges;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};

pub(super) use self::purges::{Purged, What};
use self::{
    encoding::{Digest, Kept, VERSION, Value, millis},
    purges::Purges,
};
use super::{
    config::SharedCacheConfig,
    entry::{Draft, Entry},
    key::{Key, OwnedKey},
    metrics::SharedMetrics,
    store::Store,
    tags,
    vary::Selection,
};
use crate::redis::{Redis, config::RedisConfig};

/// How old what is known of the log may be. Its reader hears of it each second.
const TRUSTED: Duration = Duration::from_secs(3);
/// Answers that wait to be written, at most, and their bytes.
const MOST_WAITING: usize = 256;
const MOST_BYTES: u64 = 16 << 20;
/// What an answer's head takes beside its body, at most.
const HEAD: u64 = 64 << 10;

/// The second tier, as one instance knows it.
pub struct Shared {
    config: SharedCacheConfig,
    /// By which workers look. Its connections are its own: large answers would hold up the counting of limits.
    redis: Arc<Redis>,
    prefix: String,
    purges: Purges,
    /// The last number of the log that was read, and when that was, in milliseconds since `begun`; 0 for never.
    seen: watch::Sender<u64>,
    read: AtomicU64,
    begun: Instant,
    /// Answers to be written, and their bytes.
    offers: mpsc::Sender<Arc<Entry>>,
    waiting: AtomicU64,
    /// For the courier, once.
    offered: Mutex<Option<mpsc::Receiver<Arc<Entry>>>>,
    /// Rung when there is something to tell.
    bell: Arc<Notify>,
    /// How many of those who wanted something told have been heard.
    told: watch::Sender<u64>,
    /// By which others' purges are told from one's own.
    name: String,
    metrics: Arc<SharedMetrics>,
}

impl Shared {
    /// A second tier that nobody is connected to yet, in the same Redis as `redis`.
    #[must_use]
    pub fn new(config: &SharedCacheConfig, redis: &Redis, metrics: Arc<SharedMetrics>) -> Arc<Self> {
        let (offers, offered) = mpsc::channel(MOST_WAITING);
        Arc::new(Shared {
            config: config.clone(),
            prefix: format!("{}:cache", redis.config().prefix),
            redis: redis.beside(config.timeout, metrics.redis.clone()),
            purges: Purges::new(),
            seen: watch::channel(0).0,
            read: AtomicU64::new(0),
            begun: Instant::now(),
            offers,
            waiting: AtomicU64::new(0),
            offered: Mutex::new(Some(offered)),
            bell: Arc::default(),
            told: watch::channel(0).0,
            name: format!("{:016x}", fastrand::u64(..)),
            metrics,
        })
    }

    /// The Redis that it is in, as typed but for its `timeout`.
    #[must_use]
    pub fn is_in(&self, redis: &RedisConfig) -> bool {
        let known = self.redis.config();
        (&known.url, &known.prefix) == (&redis.url, &redis.prefix)
    }

    /// What each worker does ten times a second.
    pub fn tick(&self) {
        self.redis.tick();
    }

    /// Reads the log and writes answers and purges of `store`, as long as there is one. To be called once, where no
    /// request runs.
    pub fn begin(self: &Arc<Self>, store: &Arc<Store>) {
        if let Some(offered) = self.offered.lock().take() {
            tokio::spawn(courier::run(Arc::downgrade(store), offered, self.bell.clone()));
            tokio::spawn(log::follow(Arc::downgrade(store)));
        }
    }

    /// Whether all purges are known that were told until a moment ago.
    fn is_trusted(&self) -> bool {
        let read = self.read.load(Ordering::Acquire);
        read > 0 && self.begun.elapsed() < Duration::from_millis(read) + TRUSTED
    }

    /// Notes that what is made invalid here is to be told to others.
    pub(super) fn tell(&self, purged: Purged) {
        self.purges.add(purged);
        self.bell.notify_one();
    }

    /// Whether others have been told, `within` this time, of all that was made invalid until now.
    pub(super) async fn is_told(&self, within: Duration) -> bool {
        let asked = self.purges.asked();
        let mut told = self.told.subscribe();
        tokio::time::timeout(within, told.wait_for(|told| *told >= asked))
            .await
            .is_ok_and(|told| told.is_ok())
    }

    /// Offers an answer to be written, unless too many wait already.
    pub(super) fn offer(&self, entry: &Arc<Entry>) {
        let size = Kept::size(&entry.draft.headers, &entry.body) as u64;
        if lasts(entry, self.config.max_age.0).is_none() || size > self.config.max_object.0 + HEAD {
            return;
        }
        let before = self.waiting.fetch_add(size, Ordering::Relaxed);
        if before + size > MOST_BYTES + self.config.max_object.0
            || self.offers.try_send(entry.clone()).is_err()
        {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            self.metrics.dropped.inc();
        }
    }

    /// Whether an answer may stand there, and be given out.
    pub(super) fn may_have(&self, entry: &Entry) -> bool {
        lasts(entry, self.config.max_age.0).is_some()
    }

    /// The answer for this request, if one stands there that may be believed. It has no marks yet.
    pub(super) async fn look(&self, key: &Key<'_>, request: &HeaderMap) -> Option<Entry> {
        if !self.is_trusted() {
            self.metrics.late.inc();
            return None;
        }
        let (begun, owned) = (Instant::now(), key.owned());
        let shelf = owned.digest();
        let mut selection = Selection::default();
        let mut found = self.get(&self.name_of(&shelf), begun).await?;
        if let (Some(Value::Names(names)), _) = found {
            selection = Selection::by(names, request);
            found = self.get(&self.name_of(&variant(&shelf, &selection)), begun).await?;
        }
        let (value, left) = found;
        let Some(Value::Kept(kept)) = value else {
            self.metrics.misses.inc();
            return None;
        };
        let good = kept.digest == variant(&shelf, &selection) && {
            let tags = tags::of(&kept.headers).into_iter().chain(key.tags());
            self.purges.is_good(kept.as_of, key.host, key.target, tags)
        };
        if !good {
            self.metrics.misses.inc();
            return None;
        }
        self.metrics.hits.inc();
        Some(entry(*kept, owned, selection, left))
    }

    /// What stands under a name, and how long it will; nothing once Redis does not answer in time.
    async fn get(&self, name: &str, begun: Instant) -> Option<(Option<Value>, Duration)> {
        let mut commands = ::redis::pipe();
        commands.cmd("GETRANGE").arg(name).arg(0).arg(self.config.max_object.0 + HEAD);
        commands.cmd("PTTL").arg(name).ignore_errors();
        let patience = self.config.timeout.0.saturating_sub(begun.elapsed());
        let Ok((text, left)) = self.redis.ask::<(::redis::Value, ::redis::Value)>(&commands, patience).await
        else {
            self.metrics.late.inc();
            return None;
        };
        let left = ::redis::from_redis_value(left).unwrap_or(0_i64);
        let text: Option<Vec<u8>> = ::redis::from_redis_value(text).ok(); // none of what is no text
        if text.as_ref().is_some_and(|text| text.is_empty() || left <= 0) {
            return Some((None, Duration::ZERO));
        }
        let value = text.and_then(|text| encoding::decode(Bytes::from(text))).filter(|value| match value {
            Value::Kept(kept) => kept.is_an_answer(),
            Value::Names(_) => true,
        });
        if value.is_none() {
            self.metrics.unreadable.inc();
        }
        Some((value, Duration::from_millis(left.unsigned_abs())))
    }

    /// `PREFIX:cache1:{HASH}`: a hash tells nobody who asks for what.
    fn name_of(&self, digest: &Digest) -> String {
        use std::fmt::Write as _;
        let mut name = String::with_capacity(self.prefix.len() + 40);
        write!(name, "{}{VERSION}:{{", self.prefix).expect("writing to a string cannot fail");
        for byte in &digest[..16] {
            write!(name, "{byte:02x}").expect("writing to a string cannot fail");
        }
        name.push('}');
        name
    }

    /// Where an answer is looked for, and where it stands if it varies.
    fn names_of(&self, entry: &Entry) -> (String, Option<String>) {
        let (shelf, selection) = (entry.draft.key.digest(), &entry.draft.selection);
        let varies = selection.parts().next().is_some();
        (self.name_of(&shelf), varies.then(|| self.name_of(&variant(&shelf, selection))))
    }

    fn log(&self) -> String {
        format!("{}:log", self.prefix)
    }
}

/// How long an answer is to stand in Redis: while it is good or may stand in, and a second at least.
fn lasts(entry: &Entry, most: Duration) -> Option<Duration> {
    let terms = &entry.draft.terms;
    let stale = if terms.never_stale { Duration::ZERO } else { terms.while_revalidate.max(terms.if_error) };
    let left = terms.lifetime.saturating_add(stale).saturating_sub(entry.draft.age()).min(most);
    (!terms.always_validate && left >= Duration::from_secs(1)).then_some(left)
}

/// What an answer comes to with all that it varies by.
fn variant(shelf: &Digest, selection: &Selection) -> Digest {
    if selection.parts().next().is_none() {
        return *shelf;
    }
    let mut hash = Context::new(&SHA256);
    hash.update(shelf);
    for (name, value) in selection.parts() {
        hash_part(&mut hash, name.as_str().as_bytes());
        hash.update(&[u8::from(value.is_some())]);
        hash_part(&mut hash, value.unwrap_or_default());
    }
    finish(hash)
}

pub(super) fn hash_part(hash: &mut Context, bytes: &[u8]) {
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

pub(super) fn finish(hash: Context) -> [u8; 32] {
    hash.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// An answer as it is written.
fn kept(entry: &Entry, as_of: u64, lasts: Duration) -> Kept {
    let draft = &entry.draft;
    Kept {
        digest: variant(&draft.key.digest(), &draft.selection),
        as_of,
        lasts: Duration::from_millis(millis(lasts)),
        age: draft.age(),
        status: draft.status,
        terms: draft.terms,
        headers: draft.headers.clone(),
        body: entry.body.clone(),
    }
}

/// An answer as it was written, `left` before its end.
fn entry(kept: Kept, key: OwnedKey, selection: Selection, left: Duration) -> Entry {
    let initial_age = kept.age.saturating_add(kept.lasts.saturating_sub(left));
    let received = tokio::time::Instant::now();
    let Kept { status, headers, terms, body, .. } = kept;
    let draft =
        Draft { key, status, headers, selection, terms, received, initial_age, marks: Box::default() };
    Entry { draft, body }
}

fn names(selection: &Selection) -> Box<[HeaderName]> {
    selection.parts().map(|(name, _)| name.clone()).collect()
}
