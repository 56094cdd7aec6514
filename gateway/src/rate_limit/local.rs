//! Counting in this process, in bounded memory.
//!
//! The store of governor forgets nothing by itself, and an attacker with an IPv6 /32 owns four billion /64 networks. So
//! the number of keys is looked at now and then; above [`MOST_KEYS`], those that are as good as new are swept, and until
//! enough are gone everybody is counted in a fixed number of shared buckets: unfair for a while, but neither unlimited
//! nor unbounded.
//!
//! Not here: what a key is (`key.rs`).

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::key::Counted;

/// Some five megabytes a limit.
const MOST_KEYS: usize = 100_000;

/// Few enough to be bounded, enough that an attacker who fills some leaves room in the others.
const CROWD: u64 = 4_096;

/// Counting the keys locks every shard of the store in turn: one request in so many does it.
const LOOK_EVERY: u32 = 64;

/// A sweep visits every key.
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_secs(1);

type Store = DashMapStateStore<Counted>;

/// All buckets of one limit.
pub(super) struct Counter<C: Clock> {
    limiter: RateLimiter<Counted, Store, C, NoOpMiddleware<C::Instant>>,
    clock: C,
    start: C::Instant,
    hasher: RandomState,
    most_keys: usize,
    crowded: AtomicBool,
    /// Nanoseconds after `start`.
    next_sweep: AtomicU64,
}

impl<C: Clock + Clone> Counter<C> {
    pub(super) fn new(quota: Quota, clock: C) -> Self {
        Counter {
            limiter: RateLimiter::new(quota, Store::default(), clock.clone()),
            start: clock.now(),
            clock,
            hasher: RandomState::new(),
            most_keys: MOST_KEYS,
            crowded: AtomicBool::new(false),
            next_sweep: AtomicU64::new(0),
        }
    }

    /// Counts one, or says how long to wait for the next to be let in.
    pub(super) fn count(&self, counted: Counted) -> Result<(), Duration> {
        if fastrand::u32(..LOOK_EVERY) == 0 {
            self.look();
        }
        let counted = if self.crowded.load(Ordering::Relaxed) { self.in_crowd(counted) } else { counted };
        self.limiter.check_key(&counted).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    fn in_crowd(&self, counted: Counted) -> Counted {
        Counted::Crowd((self.hasher.hash_one(counted) % CROWD) as u16)
    }

    /// Sees whether too many keys are held, and sweeps if so.
    fn look(&self) {
        if self.limiter.len() > self.most_keys && self.may_sweep() {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.crowded.store(self.limiter.len() > self.most_keys, Ordering::Relaxed);
    }

    /// True for one thread an interval.
    fn may_sweep(&self) -> bool {
        let now = self.clock.now().duration_since(self.start).as_u64();
        let next = self.next_sweep.load(Ordering::Relaxed);
        let after = now.saturating_add(SWEEP_AT_MOST_EVERY.as_nanos() as u64);
        now >= next
            && self.next_sweep.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn counter(burst: u32, most_keys: usize) -> (Counter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(burst).unwrap());
        (Counter { most_keys, ..Counter::new(quota, clock.clone()) }, clock)
    }

    #[test]
    fn a_bucket_refills_while_one_waits_as_long_as_told() {
        let (counter, clock) = counter(2, 10);
        assert!(counter.count(Counted::V4(1)).is_ok() && counter.count(Counted::V4(1)).is_ok());
        let pause = counter.count(Counted::V4(1)).unwrap_err();
        assert_eq!(pause, Duration::from_millis(500));
        clock.advance(pause);
        assert!(counter.count(Counted::V4(1)).is_ok());
        assert!(counter.count(Counted::V4(1)).is_err());
    }

    #[test]
    fn keys_that_are_as_good_as_new_are_swept() {
        let (counter, clock) = counter(2, 10);
        (0..11).for_each(|n| assert!(counter.count(Counted::V4(n)).is_ok()));
        clock.advance(Duration::from_secs(2));
        counter.look();
        assert!(counter.limiter.len() <= 1 && !counter.crowded.load(Ordering::Relaxed));
    }

    #[test]
    fn a_flood_of_keys_is_held_in_bounded_memory_and_still_limited() {
        let (counter, _clock) = counter(1, 1_000);
        let let_in = (0..100_000).filter(|n| counter.count(Counted::V6Network(*n)).is_ok()).count();
        let most = 1_000 + CROWD as usize + 100 * LOOK_EVERY as usize;
        assert!(counter.limiter.len() <= most, "{} keys", counter.limiter.len());
        assert!(let_in <= most, "{let_in} let in");
    }

    #[test]
    fn once_the_flood_is_over_everybody_has_a_bucket_of_their_own_again() {
        let (counter, clock) = counter(1, 10);
        (0..100).for_each(|n| _ = counter.count(Counted::V4(n)));
        counter.look();
        assert!(counter.crowded.load(Ordering::Relaxed));
        clock.advance(Duration::from_secs(3));
        counter.look();
        assert!(!counter.crowded.load(Ordering::Relaxed));
    }

    #[test]
    fn sweeping_is_itself_limited() {
        let (counter, clock) = counter(1, 10);
        assert!(counter.may_sweep() && !counter.may_sweep());
        clock.advance(SWEEP_AT_MOST_EVERY);
        assert!(counter.may_sweep());
    }
}
