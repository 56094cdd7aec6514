//! The calls of the last seconds, counted without locks: ten buckets of time, each one word.
//!
//! A word holds the tick that it counts and how many calls, failures and slow calls fell into it. So a bucket is begun
//! anew by one compare-and-swap, and no count is lost to it or added to the wrong tick.
//!
//! Not here: what the counts mean (`mod.rs`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const BUCKETS: u64 = 10;

/// The bits of a word: tick, calls, failures, slow calls. Ticks of a second come round after six days.
const COUNT_BITS: u32 = 15;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const SLOW: u32 = 0;
const FAILED: u32 = COUNT_BITS;
const CALLS: u32 = 2 * COUNT_BITS;
const TICK: u32 = 3 * COUNT_BITS;
const TICKS: u64 = 1 << (u64::BITS - TICK);

/// A bucket that is this full takes no more: so many are sample enough, and no count may run over into its neighbour,
/// even when every thread adds one more before it sees that.
const FULL: u64 = COUNT - 4_096;

/// How many calls, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All calls.
    pub calls: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that took too long, failed or not.
    pub slow: u64,
}

/// The last ten ticks, the current one included.
#[derive(Debug)]
pub(super) struct Window {
    tick_millis: u64,
    buckets: [AtomicU64; BUCKETS as usize],
}

impl Window {
    pub(super) fn new(millis: u64) -> Self {
        Window { tick_millis: (millis / BUCKETS).max(1), buckets: Default::default() }
    }

    /// Counts one call that ended at `millis`.
    pub(super) fn add(&self, millis: u64, failed: bool, slow: bool) {
        let tick = millis / self.tick_millis;
        let one = 1 << CALLS | u64::from(failed) << FAILED | u64::from(slow) << SLOW;
        let bucket = &self.buckets[(tick % BUCKETS) as usize];
        let mut word = bucket.load(Relaxed);
        while word >> TICK != tick % TICKS {
            let fresh = (tick % TICKS) << TICK | one;
            match bucket.compare_exchange_weak(word, fresh, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        if word >> CALLS & COUNT < FULL {
            bucket.fetch_add(one, Relaxed);
        }
    }

    /// A call that was counted when its answer began has failed at `millis`.
    pub(super) fn fail(&self, millis: u64) {
        let tick = millis / self.tick_millis;
        let bucket = &self.buckets[(tick % BUCKETS) as usize];
        _ = bucket.fetch_update(Relaxed, Relaxed, |word| match word >> TICK == tick % TICKS {
            true => (word >> FAILED & COUNT < FULL).then_some(word + (1 << FAILED)),
            false => Some((tick % TICKS) << TICK | 1 << FAILED),
        });
    }

    /// What was counted in the window that ends at `millis`.
    pub(super) fn counts(&self, millis: u64) -> Counts {
        let tick = millis / self.tick_millis;
        let words = self.buckets.iter().map(|bucket| bucket.load(Relaxed));
        let recent = words.filter(|word| (tick % TICKS).wrapping_sub(word >> TICK) % TICKS < BUCKETS);
        recent.fold(Counts::default(), |sum, word| Counts {
            calls: sum.calls + (word >> CALLS & COUNT),
            failed: sum.failed + (word >> FAILED & COUNT),
            slow: sum.slow + (word >> SLOW & COUNT),
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.buckets.iter().for_each(|bucket| bucket.store(0, Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_counted_for_ten_ticks_and_not_longer() {
        let window = Window::new(1_000);
        window.add(250, true, false);
        window.add(260, false, true);
        let both = Counts { calls: 2, failed: 1, slow: 1 };
        assert_eq!((window.counts(250), window.counts(1_199)), (both, both));
        assert_eq!(window.counts(1_200), Counts::default());
    }

    #[test]
    fn a_call_that_fails_later_is_no_other_call() {
        let window = Window::new(1_000);
        window.add(250, false, false);
        window.fail(260);
        assert_eq!(window.counts(260), Counts { calls: 1, failed: 1, slow: 0 });
        window.fail(1_250);
        assert_eq!(window.counts(1_250), Counts { calls: 0, failed: 1, slow: 0 });
    }

    #[test]
    fn a_bucket_that_comes_round_forgets_what_it_held() {
        let window = Window::new(1_000);
        window.add(50, true, true);
        window.add(1_050, false, false);
        assert_eq!(window.counts(1_050), Counts { calls: 1, failed: 0, slow: 0 });
    }

    #[test]
    fn a_full_bucket_counts_no_more_and_spoils_nothing() {
        let window = Window::new(1_000);
        (0..=COUNT).for_each(|_| window.add(0, true, true));
        assert_eq!(window.counts(0), Counts { calls: FULL, failed: FULL, slow: FULL });
    }

    #[test]
    fn no_call_is_lost_when_many_threads_begin_a_bucket() {
        let window = Window::new(1_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1_000).for_each(|millis| window.add(millis, true, false)));
            }
        });
        assert_eq!(window.counts(999), Counts { calls: 8_000, failed: 8_000, slow: 0 });
    }
}
