//! Counting in this process, in bounded memory.
//!
//! The store of governor forgets nothing by itself, and an attacker with an IPv6 /32 owns four billion /64 networks. So
//! the number of keys is looked at now and then; above [`MOST_KEYS`], those that are as good as new are swept, and until
//! enough are gone, keys that are not held yet are counted in a fixed number of shared buckets: unfair to newcomers for a
//! while, but neither unlimited nor unbounded. Keys that are held keep their buckets.
//!
//! Not here: what a key is (`key.rs`).

use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::{
        InMemoryState, NotKeyed, StateStore,
        keyed::{DashMapStateStore, ShrinkableKeyedStateStore},
    },
};

use super::{Refused, key::Counted};

/// Some five megabytes a limit.
const MOST_KEYS: usize = 100_000;

/// Few enough to be bounded, enough that an attacker who fills some leaves room in the others.
const CROWD: u64 = 4_096;

/// Counting the keys locks every shard of the store in turn: one request in so many does it.
const LOOK_EVERY: u32 = 64;

/// A sweep visits every key.
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The store of governor, within reach for what governor does not do: giving back, and taking over what others counted.
#[derive(Clone, Default)]
struct Store(Arc<DashMapStateStore<Counted>>);

/// All buckets of one limit.
pub(super) struct Counter<C: Clock> {
    limiter: RateLimiter<Counted, Store, C, StateInformationMiddleware>,
    store: Store,
    /// What one is worth, and what a whole bucket is, in time.
    step: u64,
    full: u64,
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
        let store = Store::default();
        let step = quota.replenish_interval().as_nanos() as u64;
        Counter {
            start: clock.now(),
            limiter: RateLimiter::new(quota, store.clone(), clock.clone()),
            store,
            step,
            full: step * u64::from(quota.burst_size().get()),
            clock,
            hasher: RandomState::new(),
            most_keys: MOST_KEYS,
            crowded: AtomicBool::new(false),
            next_sweep: AtomicU64::new(0),
        }
    }

    /// The bucket of that key; while there are too many keys and it is none of them, the one that it shares. What was counted
    /// in a bucket of its own is therefore given back to that one.
    pub(super) fn bucket(&self, counted: Counted) -> Counted {
        if fastrand::u32(..LOOK_EVERY) == 0 {
            self.look();
        }
        let shares = self.crowded.load(Ordering::Relaxed) && !self.store.0.contains_key(&counted);
        if shares { self.in_crowd(counted) } else { counted }
    }

    /// Counts `cost`, which is at most the burst, and says how much is left; or says how long to wait until it is let in.
    pub(super) fn take(&self, bucket: Counted, cost: NonZeroU32) -> Result<u32, Refused> {
        let taken = self.limiter.check_key_n(&bucket, cost).expect("a cost is at most the burst");
        taken.map(|after| after.remaining_burst_capacity()).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Refused { wait, remaining: cost.get().saturating_sub(self.steps_up(wait)) }
        })
    }

    /// Gives back what was counted for nothing.
    pub(super) fn give_back(&self, bucket: Counted, cost: NonZeroU32) {
        let back = Nanos::new(self.step * u64::from(cost.get()));
        _ = self.store.measure_and_replace(&bucket, |due| {
            due.map(|due| ((), due.saturating_sub(back))).ok_or(()) // swept: it was full
        });
    }

    /// Nanoseconds on the clock of the buckets.
    pub(super) fn now(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }

    /// How long the bucket will take to be full, looked at without counting.
    pub(super) fn ahead(&self, bucket: Counted, now: u64) -> Duration {
        let due = self.store.0.get(&bucket).map_or(0, |state| due(&state));
        Duration::from_nanos(due.saturating_sub(now))
    }

    /// Takes over that others counted as well: at `now` it took so long to be full. It never gets fuller by that.
    pub(super) fn take_over(&self, bucket: Counted, now: u64, ahead: Duration) {
        let known = now.saturating_add(ahead.as_nanos() as u64);
        let raised =
            |due: Option<Nanos>| Ok::<_, Infallible>(((), Nanos::new(known.max(due.map_or(0, u64::from)))));
        _ = self.store.measure_and_replace(&bucket, raised);
    }

    /// Whether keys share buckets at the moment.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// What is left in a bucket that takes so long to be full.
    pub(super) fn left(&self, ahead: Duration) -> u32 {
        (self.full.saturating_sub(ahead.as_nanos() as u64) / self.step) as u32
    }

    /// How long until a bucket that takes so long to be full lets `cost` in; zero if it does.
    pub(super) fn wait(&self, ahead: Duration, cost: NonZeroU32) -> Duration {
        let after = ahead.as_nanos() as u64 + self.step * u64::from(cost.get());
        Duration::from_nanos(after.saturating_sub(self.full))
    }

    fn steps_up(&self, wait: Duration) -> u32 {
        (wait.as_nanos() as u64).div_ceil(self.step) as u32
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

/// When the bucket will be full. The state tells by a closure only.
fn due(state: &InMemoryState) -> u64 {
    let read =
        state.measure_and_replace(&NotKeyed::NonKey, |due| Err::<((), Nanos), u64>(due.map_or(0, u64::from)));
    read.err().unwrap_or(0)
}

impl StateStore for Store {
    type Key = Counted;

    fn measure_and_replace<T, F, E>(&self, key: &Counted, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

impl ShrinkableKeyedStateStore<Counted> for Store {
    fn retain_recent(&self, drop_below: Nanos) {
        ShrinkableKeyedStateStore::retain_recent(&*self.0, drop_below);
    }

    fn shrink_to_fit(&self) {
        ShrinkableKeyedStateStore::shrink_to_fit(&*self.0);
    }

    fn len(&self) -> usize {
        ShrinkableKeyedStateStore::len(&*self.0)
    }

    fn is_empty(&self) -> bool {
        ShrinkableKeyedStateStore::is_empty(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;
    use crate::downstream::Network;

    fn v4(bits: u32) -> Counted {
        Counted::Network(Network::V4(bits))
    }

    fn counter(burst: u32, most_keys: usize) -> (Counter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(burst).unwrap());
        (Counter { most_keys, ..Counter::new(quota, clock.clone()) }, clock)
    }

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    impl Counter<FakeRelativeClock> {
        fn count(&self, counted: Counted) -> Result<u32, Duration> {
            self.take(self.bucket(counted), ONE).map_err(|refused| refused.wait)
        }
    }

    #[test]
    fn a_bucket_refills_while_one_waits_as_long_as_told() {
        let (counter, clock) = counter(2, 10);
        assert!(counter.count(v4(1)).is_ok() && counter.count(v4(1)).is_ok());
        let pause = counter.count(v4(1)).unwrap_err();
        assert_eq!(pause, Duration::from_millis(500));
        clock.advance(pause);
        assert!(counter.count(v4(1)).is_ok());
        assert!(counter.count(v4(1)).is_err());
    }

    #[test]
    fn keys_that_are_as_good_as_new_are_swept() {
        let (counter, clock) = counter(2, 10);
        (0..11).for_each(|n| assert!(counter.count(v4(n)).is_ok()));
        clock.advance(Duration::from_secs(2));
        counter.look();
        assert!(counter.limiter.len() <= 1 && !counter.crowded.load(Ordering::Relaxed));
    }

    #[test]
    fn a_flood_of_keys_is_held_in_bounded_memory_and_still_limited() {
        let (counter, _clock) = counter(1, 1_000);
        let let_in =
            (0..100_000).filter(|n| counter.count(Counted::Network(Network::V6(*n))).is_ok()).count();
        let most = 1_000 + CROWD as usize + 100 * LOOK_EVERY as usize;
        assert!(counter.limiter.len() <= most, "{} keys", counter.limiter.len());
        assert!(let_in <= most, "{let_in} let in");
    }

    #[test]
    fn once_the_flood_is_over_everybody_has_a_bucket_of_their_own_again() {
        let (counter, clock) = counter(1, 10);
        (0..100).for_each(|n| _ = counter.count(v4(n)));
        counter.look();
        assert!(counter.crowded.load(Ordering::Relaxed));
        clock.advance(Duration::from_secs(3));
        counter.look();
        assert!(!counter.crowded.load(Ordering::Relaxed));
    }

    #[test]
    fn a_flood_of_keys_takes_no_bucket_from_those_who_have_one() {
        let (counter, clock) = counter(3, 10);
        assert!(counter.count(v4(7)).is_ok());
        (1_000..100_000).for_each(|n| _ = counter.count(v4(n)));
        assert!(counter.crowded.load(Ordering::Relaxed));
        let bucket = counter.bucket(v4(7));
        assert_eq!(bucket, v4(7));
        assert_eq!([counter.take(bucket, ONE).ok(), counter.take(bucket, ONE).ok()], [Some(1), Some(0)]);
        assert!(counter.take(bucket, ONE).is_err(), "and it is held to it");
        counter.give_back(counter.bucket(v4(7)), ONE);
        assert_eq!(counter.take(bucket, ONE).ok(), Some(0));
        let newcomers = (200_000..200_100).filter(|n| counter.count(v4(*n)).is_ok()).count();
        assert_eq!(newcomers, 0, "they share buckets that the flood has emptied");
        clock.advance(Duration::from_secs(1));
        assert!(counter.count(v4(300_000)).is_ok(), "until those fill again");
    }

    #[test]
    fn sweeping_is_itself_limited() {
        let (counter, clock) = counter(1, 10);
        assert!(counter.may_sweep() && !counter.may_sweep());
        clock.advance(SWEEP_AT_MOST_EVERY);
        assert!(counter.may_sweep());
    }

    #[test]
    fn what_costs_more_takes_more_and_all_of_it_can_be_given_back() {
        let (counter, clock) = counter(10, 10);
        let (bucket, four) = (v4(1), NonZeroU32::new(4).unwrap());
        assert_eq!((counter.take(bucket, four).ok(), counter.take(bucket, four).ok()), (Some(6), Some(2)));
        let refused = counter.take(bucket, four).unwrap_err();
        assert_eq!((refused.wait, refused.remaining), (Duration::from_millis(200), 2));
        counter.give_back(bucket, four);
        assert_eq!(counter.take(bucket, four).ok(), Some(2));
        clock.advance(refused.wait);
        assert_eq!(counter.take(bucket, four).ok(), Some(0));
        counter.give_back(v4(2), four); // nobody knows it: it is full
        assert_eq!(counter.take(v4(2), four).ok(), Some(6));
    }

    #[test]
    fn what_others_counted_is_taken_over_and_never_makes_a_bucket_fuller() {
        let (counter, _clock) = counter(10, 10);
        let bucket = v4(1);
        counter.take_over(bucket, counter.now(), Duration::from_millis(700));
        counter.take_over(bucket, counter.now(), Duration::from_millis(100));
        let ahead = counter.ahead(bucket, counter.now());
        assert_eq!(ahead, Duration::from_millis(700));
        assert_eq!(counter.left(ahead), 3);
        let wait = |cost| counter.wait(ahead, NonZeroU32::new(cost).unwrap());
        assert_eq!((wait(3), wait(4)), (Duration::ZERO, Duration::from_millis(100)));
        assert_eq!(counter.take(bucket, ONE).ok(), Some(2));
    }
}
