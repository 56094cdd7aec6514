//! Which of what stands in Redis was made invalid, by the numbers of the log in which instances tell each other.
//!
//! An answer in Redis says up to which number of the log it is known to be good. What was purged under a later number makes it
//! invalid: two of a fixed number of places remember the last number for each URL and tag, as the marks of the store do. Of
//! what happened before the log begins nothing is known: answers from then are not believed.
//! Not here: reading the log (`log.rs`), writing it (`courier.rs`).

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use indexmap::IndexSet;
use parking_lot::Mutex;

use crate::cache::marks::{self, Purge, feed_url, two};

/// What was made invalid here and not told yet, at most. Beyond that everything is said to be.
const MOST_UNTOLD: usize = 10_000;

/// What is made invalid.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cache) enum What {
    Url { host: Box<[u8]>, target: Box<str> },
    Tag(Box<str>),
    All,
}

/// What is made invalid, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::cache) struct Purged {
    pub(in crate::cache) what: What,
    pub(in crate::cache) how: Purge,
}

/// All that is known of purges.
pub(super) struct Purges {
    random: RandomState,
    last: Box<[AtomicU64]>,
    /// What is as of before this is not believed.
    since: AtomicU64,
    untold: Mutex<Untold>,
}

/// What was made invalid here, and others do not know yet.
#[derive(Default)]
struct Untold {
    queue: IndexSet<Purged>,
    /// How often what has this hash stands in the queue or is being told; `EVERYTHING` for all.
    pending: HashMap<u64, usize>,
    asked: u64,
}

const EVERYTHING: u64 = 0;

/// What is being told, and up to which of those who ask that answers.
pub(super) struct Telling {
    pub(super) all: Vec<Purged>,
    pub(super) up_to: u64,
}

impl Purges {
    pub(super) fn new() -> Self {
        Purges {
            random: RandomState::new(),
            last: (0..marks::COUNT).map(|_| AtomicU64::new(0)).collect(),
            since: AtomicU64::new(u64::MAX),
            untold: Mutex::default(),
        }
    }

    fn url(&self, host: &[u8], target: &str) -> u64 {
        let mut state = self.random.build_hasher();
        feed_url(&mut state, host, target);
        state.finish()
    }

    fn hash(&self, what: &What) -> u64 {
        match what {
            What::Url { host, target } => self.url(host, target),
            What::Tag(tag) => self.random.hash_one(("tag", &**tag)),
            What::All => EVERYTHING,
        }
    }

    /// Whether an answer for this URL with these tags, good as of `as_of`, is still good as far as is known.
    pub(super) fn is_good<'a>(
        &self,
        as_of: u64,
        host: &[u8],
        target: &str,
        tags: impl Iterator<Item = &'a str>,
    ) -> bool {
        let tags = tags.map(|tag| self.random.hash_one(("tag", tag)));
        let untold = self.untold.lock();
        let good = |hash: u64| {
            let purged =
                two(hash).into_iter().all(|at| self.last[at as usize].load(Ordering::Acquire) > as_of);
            !purged && !untold.pending.contains_key(&hash)
        };
        as_of >= self.since.load(Ordering::Acquire)
            && !untold.pending.contains_key(&EVERYTHING)
            && std::iter::once(self.url(host, target)).chain(tags).all(good)
    }

    /// Under this number of the log, it was purged.
    pub(super) fn note(&self, what: &What, number: u64) {
        if *what == What::All {
            self.since.fetch_max(number, Ordering::AcqRel);
            return;
        }
        for at in two(self.hash(what)) {
            self.last[at as usize].fetch_max(number, Ordering::AcqRel);
        }
    }

    /// From now on all purges from this number on are known; with none, nothing is.
    pub(super) fn know_since(&self, number: Option<u64>) {
        self.since.store(number.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Notes what others are to be told. Until they are, none of it is believed here.
    pub(super) fn add(&self, purged: Purged) {
        let mut untold = self.untold.lock();
        untold.asked += 1;
        if untold.queue.len() >= MOST_UNTOLD {
            let Untold { queue, pending, .. } = &mut *untold;
            queue.drain(..).for_each(|old| self.forget(pending, &old));
            self.queue(&mut untold, Purged { what: What::All, how: Purge::Hard });
        }
        self.queue(&mut untold, purged);
    }

    fn queue(&self, untold: &mut Untold, purged: Purged) {
        let hash = self.hash(&purged.what);
        if untold.queue.insert(purged) {
            *untold.pending.entry(hash).or_default() += 1;
        }
    }

    fn forget(&self, pending: &mut HashMap<u64, usize>, purged: &Purged) {
        let hash = self.hash(&purged.what);
        if let Some(count) = pending.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&hash);
            }
        }
    }

    /// What is to be told now.
    pub(super) fn begin_to_tell(&self, most: usize) -> Option<Telling> {
        let mut untold = self.untold.lock();
        let count = untold.queue.len().min(most);
        let all: Vec<Purged> = untold.queue.drain(..count).collect();
        let up_to = if untold.queue.is_empty() { untold.asked } else { 0 };
        (!all.is_empty()).then_some(Telling { all, up_to })
    }

    /// It was told, under these numbers.
    pub(super) fn told(&self, telling: &Telling, numbers: &[u64]) {
        for (purged, number) in telling.all.iter().zip(numbers) {
            self.note(&purged.what, *number);
        }
        let mut untold = self.untold.lock();
        telling.all.iter().for_each(|purged| self.forget(&mut untold.pending, purged));
    }

    /// It could not be told: it comes first the next time.
    pub(super) fn not_told(&self, telling: Telling) {
        let mut untold = self.untold.lock();
        let later = std::mem::take(&mut untold.queue);
        for purged in telling.all.into_iter().chain(later) {
            if let Some(again) = untold.queue.replace(purged) {
                let Untold { pending, .. } = &mut *untold;
                self.forget(pending, &again); // it was counted for each
            }
        }
    }

    /// How many have asked for others to be told of something.
    pub(super) fn asked(&self) -> u64 {
        self.untold.lock().asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(target: &str) -> Purged {
        let what = What::Url { host: b"FTGO".as_slice().into(), target: target.into() };
        Purged { what, how: Purge::Hard }
    }

    fn good(purges: &Purges, as_of: u64, target: &str, tag: &'static str) -> bool {
        purges.is_good(as_of, b"ftgo", target, std::iter::once(tag))
    }

    #[test]
    fn what_was_purged_later_is_not_good_and_nothing_is_before_the_log_begins() {
        let purges = Purges::new();
        assert!(!good(&purges, 5, "/a", "t"));
        purges.know_since(Some(5));
        assert!(good(&purges, 5, "/a", "t") && !good(&purges, 4, "/a", "t"));
        purges.note(&url("/a").what, 7);
        purges.note(&What::Tag("u".into()), 8);
        assert!(!good(&purges, 6, "/a", "t") && good(&purges, 7, "/a", "t") && good(&purges, 6, "/b", "t"));
        assert!(!good(&purges, 7, "/b", "u") && good(&purges, 8, "/b", "u"));
        purges.note(&What::All, 9);
        assert!(!good(&purges, 8, "/c", "t") && good(&purges, 9, "/c", "t"));
    }

    #[test]
    fn what_others_do_not_know_yet_is_not_believed_here_either() {
        let purges = Purges::new();
        purges.know_since(Some(5));
        purges.add(url("/a"));
        purges.add(url("/a"));
        assert!(!good(&purges, 9, "/a", "t") && good(&purges, 9, "/b", "t"));
        let telling = purges.begin_to_tell(10).unwrap();
        assert_eq!((telling.all.len(), telling.up_to), (1, 2), "it is told once");
        purges.add(url("/a"));
        purges.not_told(telling);
        assert!(!good(&purges, 9, "/a", "t"));
        let telling = purges.begin_to_tell(10).unwrap();
        assert_eq!((telling.all.len(), telling.up_to), (1, 3));
        purges.told(&telling, &[7]);
        assert!(!good(&purges, 6, "/a", "t") && good(&purges, 7, "/a", "t"));
        assert!(purges.begin_to_tell(10).is_none());
    }

    #[test]
    fn who_has_too_much_to_tell_says_that_everything_is_invalid() {
        let purges = Purges::new();
        purges.know_since(Some(5));
        (0..=MOST_UNTOLD).for_each(|number| purges.add(url(&number.to_string())));
        assert!(!good(&purges, 9, "/other", "t"));
        let telling = purges.begin_to_tell(100).unwrap();
        assert_eq!((telling.all[0].what.clone(), telling.all.len()), (What::All, 2));
        purges.told(&telling, &[7, 8]);
        assert!(good(&purges, 9, "/other", "t") && !good(&purges, 6, "/other", "t"));
    }
}
