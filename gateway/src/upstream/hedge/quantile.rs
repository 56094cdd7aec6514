//! The time within which a given share of calls was answered of late.
//!
//! A histogram with eight buckets to each doubling, so the answer is at most an eighth too high, whatever the times are.
//! Once a second one thread reads it, keeps the answer in one word and, when there is plenty, halves all counts: what is
//! old fades, and a service with few calls is still known. Chosen over P² (its five markers change together and would need
//! a lock) and over a frugal estimate (one word, but slow to follow and never quite still). Each worker adds to buckets
//! of its own.
//!
//! Not here: the histogram that is exported (`histogram.rs`), whose buckets are coarse and whose counts never fade.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::worker;

/// Buckets to each doubling, as a power of two.
const FINE_BITS: u32 = 3;
const FINE: u64 = 1 << FINE_BITS;
/// Up to 2^27 microseconds, which is two minutes: who waits for longer needs no second endpoint.
const DOUBLINGS: u32 = 27;
const BUCKETS: usize = ((DOUBLINGS - FINE_BITS + 1) as usize) << FINE_BITS;

/// So many calls say something about one in twenty.
const ENOUGH: u64 = 100;
/// So many that half of them are still enough for one in a hundred.
const PLENTY: u64 = 2_000;
/// How often the answer is found anew.
const PERIOD_MILLIS: u64 = 1_000;
/// No answer yet.
const UNKNOWN: u64 = u64::MAX;

/// One worker's share, on cache lines of its own.
#[repr(align(128))]
#[derive(Debug)]
struct Shard([AtomicU64; BUCKETS]);

/// A quantile of durations, shared by all workers.
#[derive(Debug)]
pub(super) struct Quantile {
    percent: u64,
    born: Instant,
    /// Milliseconds since `born` at which the answer is found anew.
    due: AtomicU64,
    micros: AtomicU64,
    shards: Box<[Shard]>,
}

impl Quantile {
    /// Of `percent` of all durations.
    pub(super) fn new(percent: u8, now: Instant) -> Self {
        let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Quantile {
            percent: u64::from(percent),
            born: now,
            due: AtomicU64::new(PERIOD_MILLIS),
            micros: AtomicU64::new(UNKNOWN),
            shards: (0..shards.min(worker::MOST)).map(|_| Shard(empty())).collect(),
        }
    }

    /// Counts a call that took `took` and ended at `now`.
    pub(super) fn record(&self, took: Duration, now: Instant) {
        let shard = &self.shards[worker::index() % self.shards.len()];
        shard.0[bucket(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))].fetch_add(1, Relaxed);
        let now = u64::try_from(now.saturating_duration_since(self.born).as_millis()).unwrap_or(u64::MAX);
        let due = self.due.load(Relaxed);
        let next = now.saturating_add(PERIOD_MILLIS);
        if now >= due && self.due.compare_exchange(due, next, Relaxed, Relaxed).is_ok() {
            self.renew();
        }
    }

    /// The quantile when it was last found; none before a hundred calls.
    pub(super) fn get(&self) -> Option<Duration> {
        let micros = self.micros.load(Relaxed);
        (micros != UNKNOWN).then(|| Duration::from_micros(micros))
    }

    fn renew(&self) {
        let counts: Vec<u64> =
            (0..BUCKETS).map(|at| self.shards.iter().map(|shard| shard.0[at].load(Relaxed)).sum()).collect();
        let all: u64 = counts.iter().sum();
        if all < ENOUGH {
            return;
        }
        let mut below = 0;
        let reached = counts.iter().position(|count| {
            below += count;
            below * 100 >= all * self.percent
        });
        self.micros.store(bound(reached.unwrap_or(BUCKETS - 1)), Relaxed);
        if all >= PLENTY {
            self.halve();
        }
    }

    /// What is added meanwhile stays. Chance decides about the odd one: rounded always down, a tail that is thin in each
    /// shard would vanish; always up, it would never fade.
    fn halve(&self) {
        for count in self.shards.iter().flat_map(|shard| &shard.0) {
            let odd_one = u64::from(fastrand::bool());
            count.fetch_sub((count.load(Relaxed) + odd_one) / 2, Relaxed);
        }
    }
}

fn empty() -> [AtomicU64; BUCKETS] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// The first eight are exact; then the highest bit says which doubling, and the three below it which bucket of that.
fn bucket(micros: u64) -> usize {
    let micros = micros.min((1 << DOUBLINGS) - 1);
    if micros < FINE {
        return micros as usize;
    }
    let doubling = micros.ilog2() - FINE_BITS;
    (u64::from(doubling + 1) << FINE_BITS | (micros >> doubling & (FINE - 1))) as usize
}

/// The longest time in a bucket, in microseconds.
fn bound(bucket: usize) -> u64 {
    let (doubling, fine) = (bucket as u64 >> FINE_BITS, bucket as u64 & (FINE - 1));
    if doubling == 0 { fine } else { ((FINE + fine + 1) << (doubling - 1)) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(PERIOD_MILLIS);

    #[test]
    fn every_time_is_in_a_bucket_that_is_at_most_an_eighth_too_high() {
        let times = (0..100_000).chain((1..DOUBLINGS).map(|bit| 1 << bit)).chain([(1 << DOUBLINGS) - 1]);
        for micros in times {
            let told = bound(bucket(micros));
            assert!(micros <= told && told <= micros + micros / 8, "{micros}: {told}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn nothing_is_told_before_a_hundred_calls() {
        let born = Instant::now();
        let quantile = Quantile::new(95, born);
        (0..98).for_each(|_| quantile.record(Duration::from_millis(10), born));
        quantile.record(Duration::from_millis(10), born + PERIOD);
        assert_eq!(quantile.get(), None);
        quantile.record(Duration::from_millis(10), born + 2 * PERIOD);
        assert!(quantile.get().unwrap().as_millis().abs_diff(10) <= 1);
    }

    #[test]
    fn it_is_near_the_true_quantile() {
        let born = Instant::now();
        for percent in [50, 95, 99] {
            let quantile = Quantile::new(percent, born);
            (1..=10_000).for_each(|micros| quantile.record(Duration::from_micros(micros), born));
            quantile.record(Duration::ZERO, born + PERIOD);
            let (told, exact) = (quantile.get().unwrap().as_micros() as u64, u64::from(percent) * 100);
            assert!(told >= exact - 100 && told <= exact + exact / 8, "p{percent}: {told}");
        }
    }

    #[test]
    fn it_follows_a_service_that_becomes_slower_within_seconds() {
        let born = Instant::now();
        let quantile = Quantile::new(95, born);
        let second = |second: u32, millis| {
            let now = born + second * PERIOD;
            (0..1_000).for_each(|_| quantile.record(Duration::from_millis(millis), now));
            quantile.get().unwrap_or_default().as_millis()
        };
        let told: Vec<u128> = (0..24).map(|at| second(at, if at < 20 { 10 } else { 40 })).collect();
        assert!(told[20] <= 11 && told[23] >= 40, "{told:?}");
    }
}
