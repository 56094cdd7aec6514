//! How many calls have failed in a row, and for how long. One word, so that neither is read without the other.
//!
//! Not here: what it means (`mod.rs`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The bits that count; those above hold the millisecond of the first failure.
const COUNT_BITS: u32 = 20;
const MOST: u64 = (1 << COUNT_BITS) - 1;

/// Failures in a row, none at first.
#[derive(Debug, Default)]
pub(super) struct Row(AtomicU64);

impl Row {
    /// One more, at `millis`. Gives back how many there are and since how many milliseconds.
    pub(super) fn longer(&self, millis: u64) -> (u64, u64) {
        let mut word = self.0.load(Relaxed);
        loop {
            let (since, count) = if word == 0 { (millis, 0) } else { (word >> COUNT_BITS, word & MOST) };
            let count = (count + 1).min(MOST);
            match self.0.compare_exchange_weak(word, since << COUNT_BITS | count, Relaxed, Relaxed) {
                Ok(_) => return (count, millis.saturating_sub(since)),
                Err(now) => word = now,
            }
        }
    }

    /// A call succeeded. Mostly there is no row, and reading does not take the cache line from other workers.
    pub(super) fn end(&self) {
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_its_first_failure_until_a_success() {
        let row = Row::default();
        assert_eq!([0, 5, 70].map(|millis| row.longer(millis)), [(1, 0), (2, 5), (3, 70)]);
        row.end();
        assert_eq!([100, 101].map(|millis| row.longer(millis)), [(1, 0), (2, 1)]);
    }

    #[test]
    fn a_very_long_row_does_not_spoil_when_it_began() {
        let row = Row(AtomicU64::new(7 << COUNT_BITS | MOST));
        assert_eq!(row.longer(10), (MOST, 3));
    }
}
