//! A number that fades with time and that many threads write without a lock.
//!
//! Not here: what the numbers mean (`mod.rs`).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// What one more call moves the share of failures by: it is that of about the last ten calls.
const STEP: f32 = 0.1;

/// A number that fades to 0 with time: an `f32`, and the millisecond that it was true at, in one word, so that the two
/// always belong together. Milliseconds are cut to 32 bits; after 25 days without a call it may fade too late, once.
#[derive(Debug)]
pub(super) struct Fading {
    word: AtomicU64,
    /// Per millisecond.
    rate: f32,
}

impl Fading {
    pub(super) fn new(decay: Duration) -> Self {
        Fading { word: AtomicU64::new(0), rate: 1e-3 / decay.as_secs_f32().max(1e-3) }
    }

    /// Back to nothing.
    pub(super) fn forget(&self) {
        self.word.store(0, Relaxed);
    }

    /// As it was when it was noted.
    pub(super) fn value(&self) -> f32 {
        unpack(self.word.load(Relaxed)).0
    }

    /// As much as is left of it.
    pub(super) fn at(&self, now_ms: u64) -> f32 {
        let (value, stamp) = unpack(self.word.load(Relaxed));
        // Mostly there is nothing that could fade, and `exp` is most of what a pick costs.
        if value == 0.0 { 0.0 } else { value * self.left(stamp, now_ms) }
    }

    /// Whether nothing was noted for as long as the decay.
    pub(super) fn is_old(&self, now_ms: u64) -> bool {
        self.left(unpack(self.word.load(Relaxed)).1, now_ms) < (-1.0_f32).exp()
    }

    /// e^(-age/decay), 0 to 1.
    fn left(&self, stamp: u32, now_ms: u64) -> f32 {
        // Negative when another worker was quicker to note something later.
        let age = (now_ms as u32).wrapping_sub(stamp) as i32;
        if age <= 0 { 1.0 } else { (-(age as f32) * self.rate).exp() }
    }

    /// Jumps up to `sample`, or moves down to it as far as time has passed.
    pub(super) fn peak(&self, sample: f32, now_ms: u64) {
        self.update(|value, stamp| {
            let left = self.left(stamp, now_ms);
            let next = if sample >= value { sample } else { value * left + sample * (1.0 - left) };
            // A better sample within the same millisecond changes nothing: the word is written about once in each,
            // however many workers there are.
            (left < 1.0 || sample > value).then_some((next, now_ms as u32))
        });
    }

    /// Jumps up to `sample`, and never down.
    pub(super) fn raise(&self, sample: f32, now_ms: u64) {
        self.update(|value, stamp| {
            (sample > value * self.left(stamp, now_ms)).then_some((sample, now_ms as u32))
        });
    }

    /// Moves by a [`STEP`], however much time has passed.
    pub(super) fn step_towards(&self, sample: f32, now_ms: u64) {
        /// As good as nothing; it lets the usual case, in which nothing fails, end without writing.
        const LEAST: f32 = 0.001;
        self.update(|value, stamp| {
            let faded = value * self.left(stamp, now_ms);
            let next = faded + (sample - faded) * STEP;
            let next = if next < LEAST { 0.0 } else { next };
            (value != next).then_some((next, now_ms as u32))
        });
    }

    /// Replaces value and stamp, unless there is nothing to replace them by.
    fn update(&self, next: impl Fn(f32, u32) -> Option<(f32, u32)>) {
        _ = self.word.fetch_update(Relaxed, Relaxed, |word| {
            let (value, stamp) = unpack(word);
            next(value, stamp).map(|(value, stamp)| u64::from(value.to_bits()) << 32 | u64::from(stamp))
        });
    }
}

fn unpack(word: u64) -> (f32, u32) {
    (f32::from_bits((word >> 32) as u32), word as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    #[test]
    fn after_the_decay_an_eth_is_left() {
        let fading = Fading::new(DECAY);
        fading.peak(1_000.0, 5_000);
        assert_eq!([5_000, 15_000].map(|now| fading.at(now).round()), [1_000.0, 368.0]);
        assert_eq!(fading.value(), 1_000.0);
    }

    #[test]
    fn a_worker_whose_clock_is_behind_does_not_make_it_fade() {
        let fading = Fading::new(DECAY);
        fading.peak(1_000.0, 5_000);
        assert_eq!(fading.at(4_999), 1_000.0);
        fading.peak(10.0, 4_999);
        assert_eq!(fading.at(5_000), 1_000.0);
    }

    #[test]
    fn it_still_fades_when_the_milliseconds_have_begun_anew() {
        let fading = Fading::new(DECAY);
        let end = u64::from(u32::MAX);
        fading.peak(1_000.0, end);
        assert_eq!(fading.at(end + 10_000).round(), 368.0);
    }

    #[test]
    fn a_better_value_within_the_same_millisecond_is_not_written() {
        let fading = Fading::new(DECAY);
        fading.peak(1_000.0, 7);
        let before = fading.word.load(Relaxed);
        fading.peak(900.0, 7);
        assert_eq!(fading.word.load(Relaxed), before);
    }

    #[test]
    fn ten_steps_go_two_thirds_of_the_way() {
        let fading = Fading::new(DECAY);
        (0..10).for_each(|_| fading.step_towards(1.0, 0));
        assert!((fading.at(0) - 0.65).abs() < 0.01);
    }

    #[test]
    fn no_sample_of_several_threads_is_lost() {
        let fading = Fading::new(DECAY);
        std::thread::scope(|scope| {
            for thread in 0..4_u16 {
                let fading = &fading;
                scope.spawn(move || {
                    (0..1_000_u16).for_each(|n| fading.peak(f32::from(thread * 1_000 + n), 0))
                });
            }
        });
        assert_eq!(fading.at(0), 3_999.0);
    }
}
