//! Takes an endpoint out for a while because of how calls to it end, without asking it anything (Envoy: outlier
//! detection).
//!
//! Two signs: failures in a row, and a success rate far below the others'. Envoy compares it with the mean of all less
//! 1.9 standard deviations; of three endpoints none can ever be that far from a mean that it is part of. Here each is
//! compared with the others alone, and must also be worse by a fifth, since equals have no deviation to speak of.
//!
//! Each time it is out for longer; good time lets it forget. Some always stay in: better a bad answer than none.
//!
//! Not here: single calls that are refused at once (the circuit breaker), checks (`health.rs`). Nothing reads a clock.

pub mod config;
mod standing;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::Mutex;

use self::standing::millis;
pub use self::{config::EjectionConfig, standing::Standing};

/// Why an endpoint was ejected, for the log and the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// So many calls failed one after the other.
    Row,
    /// Its success rate is far below the others'.
    Rate,
}

/// Ejects among the endpoints of one upstream.
#[derive(Debug)]
pub struct Ejection {
    config: EjectionConfig,
    standings: Box<[Arc<Standing>]>,
    interval_ends: AtomicU64,
    /// Held while it is decided, so that two at once cannot be one too many. Nobody waits for it: whoever finds it held
    /// leaves the decision to the next call.
    deciding: Mutex<()>,
}

impl Ejection {
    /// Over endpoints with these standings.
    #[must_use]
    pub fn new(
        config: EjectionConfig,
        standings: impl IntoIterator<Item = Arc<Standing>>,
        now_ms: u64,
    ) -> Self {
        Ejection {
            interval_ends: AtomicU64::new(now_ms + millis(config.interval)),
            standings: standings.into_iter().collect(),
            config,
            deciding: Mutex::default(),
        }
    }

    /// Notes how a call to endpoint `index` ended. Cancelled calls are not to be noted. Gives back who is ejected now,
    /// and why; only whoever ejects is told, so that it is logged once.
    pub fn note(&self, index: usize, succeeded: bool, now_ms: u64) -> Option<(usize, Sign)> {
        // Calls that began before it was ejected, and those of a panic, say nothing new.
        let standing = self.standings.get(index).filter(|standing| !standing.is_ejected(now_ms))?;
        let row = standing.note(succeeded);
        let enough = self.config.consecutive_failures;
        let too_many = enough > 0 && row >= enough;
        if !too_many && now_ms < self.interval_ends.load(Relaxed) {
            return None;
        }
        let _one_at_a_time = self.deciding.try_lock()?;
        if too_many && self.eject(index, now_ms) {
            return Some((index, Sign::Row));
        }
        let outlier = self.compare(now_ms)?;
        self.eject(outlier, now_ms).then_some((outlier, Sign::Rate))
    }

    /// How many are out.
    #[must_use]
    pub fn ejected(&self, now_ms: u64) -> usize {
        self.standings.iter().filter(|standing| standing.is_ejected(now_ms)).count()
    }

    /// How many may be out at once.
    fn most(&self) -> usize {
        let percent = usize::from(self.config.max_percent);
        let most = (self.standings.len() * percent / 100).max(usize::from(percent > 0));
        most.min(self.standings.len().saturating_sub(1))
    }

    /// Whether it is out now and was not before.
    fn eject(&self, index: usize, now_ms: u64) -> bool {
        let standing = &self.standings[index];
        if standing.is_ejected(now_ms) || self.ejected(now_ms) >= self.most() {
            return false;
        }
        standing.eject(&self.config, now_ms);
        true
    }

    /// Ends the interval if it is over. The worst outlier in it, if there is one: of two, the second has another interval
    /// to improve.
    fn compare(&self, now_ms: u64) -> Option<usize> {
        if now_ms < self.interval_ends.load(Relaxed) {
            return None;
        }
        self.interval_ends.store(now_ms + millis(self.config.interval), Relaxed);
        let outlier = self.outlier(now_ms);
        self.standings.iter().for_each(|standing| standing.begin_interval());
        outlier
    }

    fn outlier(&self, now_ms: u64) -> Option<usize> {
        let enough = self.config.least_calls;
        let counts =
            |standing: &Standing| enough > 0 && standing.calls() >= enough && !standing.is_ejected(now_ms);
        let counted = self.standings.iter().enumerate().filter(|(_, standing)| counts(standing));
        let rates: Vec<(usize, f64)> = counted.map(|(index, one)| (index, one.success_rate())).collect();
        let (index, worst) = rates.iter().copied().min_by(|one, two| one.1.total_cmp(&two.1))?;
        let others: Vec<f64> = rates.iter().filter(|(one, _)| *one != index).map(|(_, rate)| *rate).collect();
        (!others.is_empty() && is_far_below(worst, &others)).then_some(index)
    }
}

fn is_far_below(rate: f64, others: &[f64]) -> bool {
    /// Envoy's `success_rate_stdev_factor`, 1900 thousandths.
    const DEVIATIONS: f64 = 1.9;
    /// Of all calls. Less is not worth losing an endpoint.
    const LEAST: f64 = 0.2;
    let count = others.len() as f64;
    let mean = others.iter().sum::<f64>() / count;
    let variance = others.iter().map(|other| (other - mean).powi(2)).sum::<f64>() / count;
    rate < mean - LEAST.max(DEVIATIONS * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(config: EjectionConfig, count: usize) -> Ejection {
        Ejection::new(config, (0..count).map(|_| Arc::default()), 0)
    }

    fn by_default(count: usize) -> Ejection {
        of(EjectionConfig::default(), count)
    }

    /// Fails until it is ejected or has failed so many times. Whether it was.
    fn fails(ejection: &Ejection, index: usize, times: usize, now_ms: u64) -> bool {
        (0..times).any(|_| ejection.note(index, false, now_ms) == Some((index, Sign::Row)))
    }

    #[test]
    fn five_failures_in_a_row_eject_for_ten_seconds() {
        let ejection = by_default(3);
        assert!(!fails(&ejection, 1, 4, 0));
        assert_eq!(ejection.note(1, false, 0), Some((1, Sign::Row)));
        assert!(ejection.standings[1].is_ejected(9_999) && !ejection.standings[1].is_ejected(10_000));
        let returned = [9_999, 10_000, 10_001].map(|now| ejection.standings[1].has_returned(now));
        assert_eq!(returned, [false, true, false], "it is told once");
        assert!(!ejection.standings[0].has_returned(10_000), "it was never out");
    }

    #[test]
    fn a_success_between_them_ends_the_row() {
        let ejection = by_default(3);
        for _ in 0..20 {
            assert!(!fails(&ejection, 0, 4, 0));
            ejection.note(0, true, 0);
        }
    }

    #[test]
    fn each_time_lasts_longer_up_to_the_most_and_good_time_is_forgiven() {
        let ejection = by_default(3);
        let standing = &ejection.standings[0];
        let mut now = 0;
        // After so many seconds in good standing.
        let mut lasts = |after: u64| {
            now += after * 1_000;
            assert!(fails(&ejection, 0, 5, now));
            let lasted = standing.back_at() - now;
            now += lasted;
            lasted / 1_000
        };
        assert_eq!([0, 0, 0].map(&mut lasts), [10, 20, 30]);
        (0..40).for_each(|_| _ = lasts(0));
        assert_eq!([0, 100, 300].map(&mut lasts), [300, 210, 10]);
    }

    #[test]
    fn never_more_than_half_and_never_the_last_one() {
        for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (10, 5)] {
            let ejection = by_default(count);
            let ejected = (0..count).filter(|index| fails(&ejection, *index, 50, 0)).count();
            assert_eq!((ejected, ejection.ejected(0)), (most, most), "of {count}");
        }
        let all = EjectionConfig { max_percent: 100, ..EjectionConfig::default() };
        let ejection = of(all, 3);
        assert_eq!((0..3).filter(|index| fails(&ejection, *index, 50, 0)).count(), 2);
    }

    #[test]
    fn one_that_had_to_stay_is_ejected_as_soon_as_there_is_room() {
        let ejection = by_default(3);
        assert!(fails(&ejection, 0, 5, 0) && !fails(&ejection, 1, 20, 0));
        assert!(fails(&ejection, 1, 1, 10_000));
    }

    #[test]
    fn of_three_the_one_with_a_far_lower_success_rate_is_ejected_at_the_end_of_the_interval() {
        let ejection = by_default(3);
        for call in 0..200 {
            assert_eq!([0, 1].map(|index| ejection.note(index, true, 0)), [None; 2]);
            assert_eq!(ejection.note(2, call % 2 == 0, 0), None);
        }
        assert_eq!(ejection.note(0, true, 9_999), None);
        assert_eq!(ejection.note(0, true, 10_000), Some((2, Sign::Rate)));
        assert!(ejection.standings[2].is_ejected(10_000));
    }

    #[test]
    fn when_all_fail_alike_or_few_were_called_nobody_is_an_outlier() {
        let ejection = by_default(3);
        for call in 0..300 {
            (0..3).for_each(|index| _ = ejection.note(index, (call + index) % 2 == 0, 0));
        }
        assert_eq!(ejection.note(0, true, 10_000), None);
        for call in 0..99 {
            (0..3).for_each(|index| _ = ejection.note(index, index < 2 || call % 4 == 0, 10_001));
        }
        assert_eq!(ejection.ejected(20_000), 0);
        assert_eq!(ejection.note(0, true, 20_000), None);
    }

    #[test]
    fn a_standing_outlives_the_set_that_it_was_in() {
        let standings: Vec<Arc<Standing>> = (0..3).map(|_| Arc::default()).collect();
        let before = Ejection::new(EjectionConfig::default(), standings.clone(), 0);
        assert!(fails(&before, 1, 5, 0));
        let after = Ejection::new(EjectionConfig::default(), standings[..2].iter().cloned(), 0);
        assert_eq!(after.ejected(0), 1);
        assert!(!fails(&after, 0, 50, 0));
    }

    proptest! {
        #[test]
        fn whatever_happens_some_stay_in_and_nobody_is_out_for_ever(
            count in 1_usize..8,
            percent in 0_u8..=100,
            calls in prop::collection::vec((0_usize..8, any::<bool>(), 0_u64..3_000), 1..400),
        ) {
            let ejection = of(EjectionConfig { max_percent: percent, least_calls: 5, ..EjectionConfig::default() }, count);
            let mut now = 0;
            for (index, succeeded, later) in calls {
                now += later;
                let ejected = ejection.note(index % count, succeeded, now);
                prop_assert!(ejected.is_none_or(|(index, _)| ejection.standings[index].is_ejected(now)));
                prop_assert!(ejection.ejected(now) < count);
                prop_assert!(ejection.ejected(now) <= (count * usize::from(percent) / 100).max(1));
                prop_assert!(percent > 0 || ejection.ejected(now) == 0);
            }
            prop_assert_eq!(ejection.ejected(now + 300_000), 0);
        }
    }
}
