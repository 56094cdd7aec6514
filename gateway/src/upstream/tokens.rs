//! Tokens that one event earns a share of and another one spends whole: extra calls that are a bounded share of the load.
//!
//! It begins empty, so what was spent never exceeds what was earned since it exists, whatever happens when. What is saved
//! is bounded, so that a long quiet time does not pay for a storm. Shared by all workers, without locks; a full one, which
//! is the usual case, is only read.
//!
//! Not here: what a token is spent on (`retry/`, `hedge/`).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// A token in the unit that is counted in: the smallest that a percent and a millisecond both earn a whole number of.
const TOKEN: u64 = 100_000;

/// A bucket of tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    per_event: u64,
    per_milli: u64,
    most: u64,
    born: Instant,
    balance: AtomicU64,
    /// Milliseconds since `born` that have been paid for.
    paid: AtomicU64,
}

impl Tokens {
    /// Earns `percent` of a token an event and `per_second` tokens a second; never holds more than `most`.
    pub(super) fn new(percent: u8, per_second: u32, most: u32, now: Instant) -> Self {
        Tokens {
            per_event: u64::from(percent) * TOKEN / 100,
            per_milli: u64::from(per_second) * TOKEN / 1_000,
            most: u64::from(most) * TOKEN,
            born: now,
            balance: AtomicU64::new(0),
            paid: AtomicU64::new(0),
        }
    }

    /// An event has happened.
    pub(super) fn earn(&self) {
        self.add(self.per_event);
    }

    /// Takes one token, if there is one.
    pub(super) fn spend(&self, now: Instant) -> bool {
        self.pay(now);
        self.balance.fetch_update(Relaxed, Relaxed, |balance| balance.checked_sub(TOKEN)).is_ok()
    }

    /// Pays for the time since it was last paid for; of threads that try at once, one does.
    fn pay(&self, now: Instant) {
        let since = now.saturating_duration_since(self.born);
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let paid = self.paid.load(Relaxed);
        if now > paid && self.paid.compare_exchange(paid, now, Relaxed, Relaxed).is_ok() {
            self.add((now - paid).saturating_mul(self.per_milli));
        }
    }

    fn add(&self, earned: u64) {
        let more =
            |balance: u64| (balance < self.most).then(|| balance.saturating_add(earned).min(self.most));
        // A full one stays as it is.
        let _ = self.balance.fetch_update(Relaxed, Relaxed, more);
    }
}

/// How many tokens `per_second` earns in ten seconds: the most that is worth saving.
pub(super) const fn ten_seconds(per_second: u32) -> u32 {
    const SECS: u32 = Duration::from_secs(10).as_secs() as u32;
    per_second.saturating_mul(SECS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn five_events_at_twenty_percent_earn_one_token() {
        let now = Instant::now();
        let tokens = Tokens::new(20, 0, 10, now);
        (0..4).for_each(|_| tokens.earn());
        assert!(!tokens.spend(now));
        tokens.earn();
        assert_eq!([tokens.spend(now), tokens.spend(now)], [true, false]);
    }

    #[test]
    fn no_more_is_saved_than_the_most() {
        let now = Instant::now();
        let tokens = Tokens::new(100, 10, 7, now);
        (0..1_000).for_each(|_| tokens.earn());
        let later = now + Duration::from_secs(3_600);
        assert_eq!((0..100).filter(|_| tokens.spend(later)).count(), 7);
    }

    #[test]
    fn many_threads_spend_no_more_than_is_earned() {
        let now = Instant::now();
        let tokens = Tokens::new(20, 0, 1_000_000, now);
        let run = || {
            let spend = |_: &i32| {
                tokens.earn();
                tokens.spend(now)
            };
            (0..10_000).filter(spend).count()
        };
        let spent: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(spent, 16_000);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_spent_was_earned(
            steps in prop::collection::vec((0_u64..2_000, 0_u64..50, 0_u64..50), 1..100),
            percent in 0_u8..=100,
            per_second in 0_u32..100,
        ) {
            let born = Instant::now();
            let tokens = Tokens::new(percent, per_second, ten_seconds(per_second).max(10), born);
            let (mut millis, mut events, mut spent) = (0, 0, 0);
            for (wait, earn, ask) in steps {
                millis += wait;
                events += earn;
                (0..earn).for_each(|_| tokens.earn());
                let now = born + Duration::from_millis(millis);
                spent += (0..ask).filter(|_| tokens.spend(now)).count() as u64;
                let earned = events * u64::from(percent) * 10 + millis * u64::from(per_second);
                prop_assert!(spent * 1_000 <= earned);
            }
        }
    }
}
