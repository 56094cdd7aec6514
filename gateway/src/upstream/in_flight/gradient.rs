//! How many calls a service can do at a time, found out from how long they take.
//!
//! Calls that wait inside the service take longer than those that do not, so the ratio of the two times says by how much
//! there are too many (Netflix, concurrency-limits, `GradientLimit`). After each tenth of a second:
//!
//! `limit = limit * clamp(1.3 * baseline / mean, 0.5, 1) + sqrt(limit)`
//!
//! The 1.3 leaves the service a short queue, so that it is never idle; the root lets the limit grow.
//!
//! The baseline is the mean time without a queue. Under lasting overload it is never seen by itself, and a baseline that
//! is forgotten with time (`Gradient2`) lets the limit creep up. So every ten seconds, if times are longer, the limit is
//! halved for two windows: one for the queue to drain, one to measure. If calls have become quicker than ever by that,
//! there was a queue at all times, and there may be one still: it is halved again. A service that has become slower for a
//! reason of its own gets its new baseline in the same way, once a second measurement soon after agrees: one that a
//! hiccup fell into would let the limit be too high until the next.
//!
//! The first window of all may fall into an overload, so the first baseline is measured anew much sooner. And nobody knows
//! what the service can do before it was asked: the limit begins low, and while calls take no longer it doubles (slow
//! start, as of TCP, RFC 5681 section 3.1), up to what is configured.
//!
//! Not here: admitting calls (`mod.rs`).

use std::time::Duration;

use super::config::AdaptiveConfig;

/// How much longer than the baseline calls may take.
const TOLERANCE: f64 = 1.3;
/// Longer by chance is no reason to measure anew.
const NOISE: f64 = 1.2;
/// How much of a lower mean the baseline takes on at a time: the least of many means would be too low by chance.
const SMOOTHING: f64 = 0.25;
/// A window lasts at least so long,
const WINDOW: Duration = Duration::from_millis(100);
/// and holds at least so many calls.
const SAMPLES: u32 = 50;
/// The same at the beginning and for a measurement, which would else take a small service seconds.
const FEW_SAMPLES: u32 = 20;
/// Where the limit begins: what any service can do, and enough for a window of few calls.
const BEGINNING: u32 = 10;
/// After so many windows it is seen whether the baseline is exceeded, and then it is measured anew.
const BASELINE_WINDOWS: u32 = 100;
/// The same for the first baseline.
const FIRST_WINDOWS: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Following,
    /// With the mean of before, in seconds.
    Draining(f64),
    Measuring(f64),
}

/// The calls of one window.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    begun: Duration,
    calls: u32,
    dropped: u32,
    secs: f64,
    /// The most that were under way at a time.
    peak: u32,
}

/// A limit that follows a service.
#[derive(Debug)]
pub(super) struct Gradient {
    config: AdaptiveConfig,
    limit: f64,
    /// Up to where the limit doubles; nothing once calls have taken longer.
    doubles_to: f64,
    /// Seconds; none before the first window.
    baseline: Option<f64>,
    /// Whether it was measured with a halved limit.
    proven: bool,
    /// Whether the last measurement was longer than the proven baseline.
    doubted: bool,
    baseline_age: u32,
    phase: Phase,
    /// How long the window lasts: longer than a call, so that what was sent under the last limit is only a part of it.
    span: Duration,
    window: Window,
}

impl Gradient {
    pub(super) fn new(config: AdaptiveConfig, limit: u32) -> Self {
        let most = limit.clamp(config.min, config.max);
        Gradient {
            limit: f64::from(BEGINNING.clamp(config.min, most)),
            doubles_to: f64::from(most),
            config,
            baseline: None,
            proven: false,
            doubted: false,
            baseline_age: BASELINE_WINDOWS - FIRST_WINDOWS,
            phase: Phase::Following,
            span: WINDOW,
            window: Window::default(),
        }
    }

    /// The limit now.
    pub(super) fn limit(&self) -> u32 {
        let whole = self.limit as u32;
        match self.phase {
            Phase::Following => whole,
            Phase::Draining(_) | Phase::Measuring(_) => (whole / 2).max(self.config.min),
        }
    }

    /// Notes a call that took `took` and ended at `now`, with `in_flight` others under way; `dropped` when it has no
    /// answer, so that its time says nothing. Gives the new limit when a window has ended.
    pub(super) fn sample(
        &mut self,
        took: Duration,
        dropped: bool,
        in_flight: u32,
        now: Duration,
    ) -> Option<u32> {
        let samples = self.samples();
        let window = &mut self.window;
        window.calls += 1;
        window.peak = window.peak.max(in_flight);
        if dropped {
            window.dropped += 1;
        } else {
            window.secs += took.as_secs_f64();
        }
        if window.calls < samples || now.saturating_sub(window.begun) < self.span {
            return None;
        }
        let ended = std::mem::replace(&mut self.window, Window { begun: now, ..Window::default() });
        self.end(ended);
        Some(self.limit())
    }

    /// How many calls a window holds at least.
    fn samples(&self) -> u32 {
        match self.phase {
            Phase::Draining(_) => self.limit as u32, // all that were under way when it was halved
            Phase::Following if !self.doubles() => SAMPLES,
            Phase::Following | Phase::Measuring(_) => FEW_SAMPLES,
        }
    }

    /// Whether it is at the beginning, and calls have not taken longer yet.
    fn doubles(&self) -> bool {
        self.limit < self.doubles_to
    }

    fn end(&mut self, window: Window) {
        let answered = window.calls - window.dropped;
        // Without an answer there is no time to compare: only the share of the dropped counts.
        let mean = (answered > 0).then(|| window.secs / f64::from(answered));
        match self.phase {
            Phase::Following => self.follow(window, mean),
            Phase::Draining(before) => self.phase = Phase::Measuring(before),
            Phase::Measuring(before) => self.measured(mean, before),
        }
        self.span = WINDOW.max(Duration::from_secs_f64(2.0 * mean.unwrap_or_default()));
    }

    fn measured(&mut self, mean: Option<f64>, before: f64) {
        self.phase = Phase::Following;
        let Some(mean) = mean else { return };
        let proven = self.baseline.filter(|_| self.proven);
        let longer = proven.is_some_and(|old| mean > old * NOISE);
        if let Some(old) = proven.filter(|old| !longer && mean * NOISE > *old) {
            self.baseline = Some(old + (mean - old) * SMOOTHING);
            self.doubted = false;
            return;
        }
        if longer && !self.doubted {
            self.doubted = true;
            self.baseline_age = BASELINE_WINDOWS - FIRST_WINDOWS;
            return;
        }
        (self.baseline, self.proven, self.doubted) = (Some(mean), true, false);
        if mean * NOISE < before && self.limit / 2.0 > f64::from(self.config.min) {
            self.proven = false;
            self.limit /= 2.0;
            self.phase = Phase::Draining(mean);
        }
    }

    fn follow(&mut self, window: Window, mean: Option<f64>) {
        let longer = mean.map_or(1.0, |mean| mean / self.baseline(mean));
        self.baseline_age = self.baseline_age.saturating_add(1);
        if self.baseline_age > BASELINE_WINDOWS {
            self.baseline_age = 0;
            if let Some(mean) = mean.filter(|_| longer > NOISE) {
                // From what is used: half of a limit that nobody reaches would drain nothing.
                self.limit = self.limit.min(f64::from(window.peak)).max(f64::from(self.config.min));
                self.phase = Phase::Draining(mean);
                return;
            }
        }
        if longer > NOISE || window.dropped > 0 {
            self.doubles_to = 0.0;
        }
        let answered = 1.0 - f64::from(window.dropped) / f64::from(window.calls);
        let gradient = ((TOLERANCE / longer).min(1.0) * answered).max(0.5);
        let used = self.limit.min(f64::from(window.peak));
        let next = if gradient < 1.0 {
            self.limit.min(used * gradient + used.sqrt())
        } else if used * 2.0 >= self.limit {
            (self.limit + self.limit.sqrt()).max((self.limit * 2.0).min(self.doubles_to))
        } else {
            self.limit // nothing is learnt about a limit that is not reached
        };
        self.limit = next.clamp(f64::from(self.config.min), f64::from(self.config.max));
    }

    /// The baseline, with this mean in it.
    fn baseline(&mut self, mean: f64) -> f64 {
        /// A mean of nothing would make everything infinitely longer.
        const LEAST: f64 = 1e-6;
        let old = self.baseline.unwrap_or(mean);
        let new = if mean < old { old + (mean - old) * SMOOTHING } else { old };
        *self.baseline.insert(new.max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn gradient(limit: u32) -> Gradient {
        Gradient::new(AdaptiveConfig::default(), limit)
    }

    /// Windows of calls that each take as long as `took` says for the limit of the window.
    fn run(gradient: &mut Gradient, windows: u32, took: impl Fn(u32) -> Duration) -> Vec<u32> {
        let mut now = gradient.window.begun;
        let window = |_| loop {
            now += 2 * MILLI;
            let limit = gradient.limit();
            if let Some(limit) = gradient.sample(took(limit), false, limit, now) {
                return limit;
            }
        };
        (0..windows).map(window).collect()
    }

    #[test]
    fn it_doubles_up_to_where_it_is_told_and_grows_to_the_most_while_calls_take_no_longer() {
        let limits = run(&mut gradient(1_024), 8, |_| 10 * MILLI);
        assert_eq!(limits, [20, 40, 80, 160, 320, 640, 1_024, 1_024]);
        let limits = run(&mut gradient(40), 70, |_| 10 * MILLI);
        assert_eq!(limits[..4], [20, 40, 46, 53]);
        assert!(limits.is_sorted() && limits[69] == 1_024, "{limits:?}");
    }

    /// It can do five at a time, and is soon sent no more than three times as many.
    #[test]
    fn a_small_service_is_not_overrun_at_the_beginning_nor_later() {
        let limits = run(&mut gradient(1_024), 2_000, |limit| 10 * MILLI * limit.max(5) / 5);
        assert!(limits[..5].iter().all(|limit| *limit <= 20), "{limits:?}");
        assert!(limits[5..].iter().all(|limit| (4..=15).contains(limit)), "{limits:?}");
    }

    /// A service of twenty threads: whatever is sent on top of that waits.
    fn twenty_threads(limit: u32) -> Duration {
        10 * MILLI * limit.max(20) / 20
    }

    #[test]
    fn it_stays_near_what_the_service_can_do_however_long_the_overload_lasts() {
        let limits = run(&mut gradient(20), 2_000, twenty_threads);
        let settled = limits[20..].iter().filter(|limit| (20..=45).contains(*limit)).count();
        assert!(settled > 1_980 * 97 / 100, "{settled}: {:?}", &limits[1_800..]);
    }

    /// Its first window says 100 ms, which is forgotten.
    #[test]
    fn a_limit_that_begins_in_an_overload_and_far_too_high_comes_down_to_what_the_service_can_do() {
        let limits = run(&mut gradient(200), 2_000, twenty_threads);
        let settled = limits[40..].iter().filter(|limit| (20..=45).contains(*limit)).count();
        assert!(settled > 1_960 * 97 / 100, "{settled}: {:?}", &limits[..100]);
    }

    #[test]
    fn a_service_that_is_slower_for_good_is_given_its_calls_back() {
        let mut gradient = gradient(100);
        run(&mut gradient, 20, |_| 10 * MILLI);
        let limits = run(&mut gradient, 300, |_| 100 * MILLI);
        assert!(*limits.iter().min().unwrap() < 100 && limits[299] > 500, "{limits:?}");
    }

    #[test]
    fn a_hiccup_in_a_measurement_is_not_believed() {
        let mut gradient = gradient(20);
        run(&mut gradient, 60, twenty_threads);
        let proven = gradient.baseline.unwrap();
        let mut hiccups = 0;
        for _ in 0..300 {
            let hiccup = hiccups == 0 && matches!(gradient.phase, Phase::Measuring(_));
            hiccups += u32::from(hiccup);
            run(&mut gradient, 1, |limit| twenty_threads(limit) * if hiccup { 3 } else { 1 });
            assert!(gradient.baseline.unwrap() < proven * 1.2, "{gradient:?}");
        }
        assert_eq!(hiccups, 1);
    }

    #[test]
    fn calls_without_an_answer_lower_it_to_the_least() {
        let mut gradient = gradient(1_000);
        for at in 0..10_000 {
            let in_flight = gradient.limit();
            gradient.sample(Duration::ZERO, true, in_flight, at * MILLI);
        }
        assert_eq!(gradient.limit(), AdaptiveConfig::default().min);
    }
}
