//! What one endpoint has in progress, how quick it is, how often it fails, and whether it is still warming up.
//!
//! One [`Load`] is shared by all workers; everything in it is a relaxed atomic. Latency is "peak EWMA" (Finagle, Linkerd):
//! a worse value counts at once, a better one is believed only with time, and what is old fades. A failure is never
//! taken for speed: it keeps the latency from falling, and it lowers the endpoint's merit, which multiplies its cost.
//! It does not raise the latency to a penalty, as some do: then one failure among a thousand would shut an endpoint out
//! for three time constants.
//!
//! The age of calls in progress is not looked at. That they are in progress already counts, and a stream may be so for
//! hours without being slow.
//!
//! Not here: choosing (`balance/`), and taking endpoints out (`ejection.rs`, `health.rs`). Nothing here reads a clock.

mod fading;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use self::fading::Fading;
use super::Outcome;

/// The time constant of latency and of failures. As Finagle's and Linkerd's.
pub const DECAY: Duration = Duration::from_secs(10);

/// In what time a new endpoint comes to its full share.
pub const SLOW_START: Duration = Duration::from_secs(10);

/// With what share of its weight a new endpoint begins: `min_weight_percent` of Envoy's slow start.
const COLD: f32 = 0.1;

/// The least merit. Something must be left, or an endpoint that has recovered would never be found out.
const LEAST_MERIT: f32 = 0.01;

/// The latency of an endpoint that has calls in progress and has never answered any, in microseconds. It keeps all but
/// the first call from an endpoint of which nothing is known (Finagle's penalty).
const UNKNOWN: f32 = 1e6;

/// That it is not warming up.
const WARM: u64 = u64::MAX;

/// What is known of one endpoint. On cache lines of its own, since all workers write here.
#[derive(Debug)]
#[repr(align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// Microseconds; 0 while nothing is known.
    latency: Fading,
    /// The share of calls that fail, 0 to 1.
    failing: Fading,
    /// Since when it has been warming up, in milliseconds, or [`WARM`].
    warming: AtomicU64,
    slow_start: Duration,
}

impl Load {
    /// That of an endpoint that takes its full share at once: one of those that the process began with, when all are
    /// equally cold and somebody must do the work.
    #[must_use]
    pub fn warm(decay: Duration, slow_start: Duration) -> Self {
        Load {
            in_flight: AtomicU32::new(0),
            latency: Fading::new(decay),
            failing: Fading::new(decay),
            warming: AtomicU64::new(WARM),
            slow_start,
        }
    }

    /// That of an endpoint that joined others at `now_ms`.
    #[must_use]
    pub fn cold(decay: Duration, slow_start: Duration, now_ms: u64) -> Self {
        let load = Load::warm(decay, slow_start);
        load.warm_up(now_ms);
        load
    }

    /// Begins the slow start (again) at `now_ms`, which may be to come: for endpoints that join, and that come back from
    /// being ejected or unhealthy. What was known is forgotten. It may be another process by now, and would otherwise
    /// wait for up to a minute until its old latency has faded enough for it to be tried.
    pub fn warm_up(&self, now_ms: u64) {
        self.latency.forget();
        self.failing.forget();
        self.warming.store(now_ms, Relaxed);
    }

    /// Counts a call until the ticket is dropped.
    pub fn begin(self: &Arc<Self>) -> Ticket {
        self.in_flight.fetch_add(1, Relaxed);
        Ticket(self.clone())
    }

    /// Calls in progress.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Peak EWMA of the latency in microseconds. 0 when nothing is known, or nothing was learnt for as long as the decay,
    /// and nothing is in progress, so that an endpoint that was never tried, or not of late, is tried by one. One that
    /// looked bad would else get no call, and so no chance to look better, until all of that has faded: for a minute.
    #[must_use]
    pub fn latency(&self, now_ms: u64) -> f32 {
        let busy = self.in_flight() > 0;
        match self.latency.at(now_ms) {
            0.0 if busy => UNKNOWN,
            _ if !busy && self.latency.is_old(now_ms) => 0.0,
            known => known,
        }
    }

    /// What is left of its weight by its failures: the square of the share of calls that succeed, 0.01 to 1. Squared,
    /// because quick failures also keep its calls in progress few, and because each is paid for twice: by the failed call
    /// and by the one that must repeat it.
    #[must_use]
    pub fn merit(&self, now_ms: u64) -> f32 {
        let succeeding = 1.0 - self.failing.at(now_ms);
        (succeeding * succeeding).max(LEAST_MERIT)
    }

    /// What is left of its weight by the slow start: from 0.1, growing evenly to 1.
    #[must_use]
    pub fn warmth(&self, now_ms: u64) -> f32 {
        let since = self.warming.load(Relaxed);
        if since == WARM {
            return 1.0;
        }
        let age = Duration::from_millis(now_ms.saturating_sub(since));
        if age < self.slow_start {
            return age.div_duration_f32(self.slow_start).max(COLD);
        }
        // Whoever began another slow start meanwhile keeps it.
        _ = self.warming.compare_exchange(since, WARM, Relaxed, Relaxed);
        1.0
    }

    fn succeeded(&self, took: f32, now_ms: u64) {
        self.latency.peak(took, now_ms);
        self.failing.step_towards(0.0, now_ms);
    }

    /// At least as slow as before: an answer that is of no use says nothing about how quick a useful one would be. Where
    /// nothing is known yet, only the merit keeps calls away: a penalty in the latency would have to be lived down for a
    /// minute after the endpoint is well again.
    fn failed(&self, took: f32, now_ms: u64) {
        self.latency.peak(took.max(self.latency.value()), now_ms);
        self.failing.step_towards(1.0, now_ms);
    }
}

/// A call in progress until it is dropped, however it ended. Keep it with the answer's body.
#[derive(Debug)]
#[must_use]
pub struct Ticket(Arc<Load>);

impl Ticket {
    /// Notes how the call ended and how long the head of the answer took. A call without this counts for nothing, and so
    /// does [`Outcome::Cancelled`]: a client that left is nobody's failure.
    pub fn end(&self, outcome: Outcome, took: Duration, now_ms: u64) {
        match outcome {
            Outcome::Cancelled => {}
            Outcome::Ok => self.0.succeeded(micros(took), now_ms),
            _ => self.0.failed(micros(took), now_ms),
        }
    }

    /// Notes that a good answer began, and how long its head took. How its body ends is for [`Ticket::finished`].
    pub fn answered(&self, took: Duration, now_ms: u64) {
        self.0.latency.peak(micros(took), now_ms);
    }

    /// Notes how the body of an answer that had begun ended: `well` if it is whole.
    pub fn finished(&self, well: bool, now_ms: u64) {
        self.0.failing.step_towards(if well { 0.0 } else { 1.0 }, now_ms);
    }

    /// Notes that we gave up waiting, because another attempt was quicker: it takes that long at least. No failure.
    pub fn outrun(&self, waited: Duration, now_ms: u64) {
        self.0.latency.raise(micros(waited), now_ms);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

/// At least one, since 0 stands for unknown.
fn micros(took: Duration) -> f32 {
    (took.as_secs_f32() * 1e6).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Arc<Load> {
        Arc::new(Load::warm(DECAY, SLOW_START))
    }

    fn ends(load: &Arc<Load>, outcome: Outcome, millis: u64, now_ms: u64) {
        load.begin().end(outcome, Duration::from_millis(millis), now_ms);
    }

    #[test]
    fn a_call_is_in_flight_until_its_ticket_is_dropped() {
        let load = load();
        let (one, two) = (load.begin(), load.begin());
        one.end(Outcome::Ok, Duration::from_millis(1), 0);
        assert_eq!(load.in_flight(), 2);
        drop((one, two));
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn a_worse_latency_counts_at_once_and_a_better_one_with_time() {
        let load = load();
        ends(&load, Outcome::Ok, 10, 0);
        ends(&load, Outcome::Ok, 100, 1);
        assert_eq!(load.latency(1), 100_000.0);
        ends(&load, Outcome::Ok, 10, 2);
        assert!(load.latency(2) > 99_900.0);
        for now in 3..=10_002 {
            ends(&load, Outcome::Ok, 10, now);
        }
        let expected = 10_000.0 + 90_000.0 / std::f32::consts::E;
        assert!((load.latency(10_002) - expected).abs() < 200.0, "{}", load.latency(10_002));
    }

    #[test]
    fn latency_fades_also_when_nothing_is_called() {
        let load = load();
        ends(&load, Outcome::Ok, 100, 0);
        assert!((load.latency(10_000) - 36_788.0).abs() < 1.0);
        assert!((load.latency(5_000) - 60_653.0).abs() < 1.0);
    }

    #[test]
    fn a_quick_failure_lowers_the_merit_and_not_the_latency() {
        let load = load();
        ends(&load, Outcome::Ok, 50, 0);
        for now in 1..1_000 {
            ends(&load, Outcome::ServerError, 1, now);
        }
        assert_eq!(load.latency(999), 50_000.0);
        assert_eq!(load.merit(999), LEAST_MERIT);
    }

    #[test]
    fn failures_before_any_answer_cost_the_merit_and_are_no_latency_to_live_down() {
        let load = load();
        (0..100).for_each(|_| ends(&load, Outcome::Refused, 1, 0));
        assert!(load.merit(0) <= LEAST_MERIT && load.latency(0) < 1_001.0);
        (0..50).for_each(|_| ends(&load, Outcome::Ok, 5, 1));
        assert!(load.merit(1) > 0.9 && load.latency(1) < 5_100.0, "believed at once when it is well");
    }

    #[test]
    fn one_failure_among_many_calls_costs_little_and_is_soon_forgotten() {
        let load = load();
        ends(&load, Outcome::Ok, 10, 0);
        ends(&load, Outcome::Timeout, 10, 0);
        assert!((0.8..0.82).contains(&load.merit(0)));
        (0..50).for_each(|_| ends(&load, Outcome::Ok, 10, 0));
        assert_eq!(load.merit(0), 1.0);
    }

    #[test]
    fn merit_comes_back_with_time_so_that_the_endpoint_is_tried_again() {
        let load = load();
        (0..100).for_each(|_| ends(&load, Outcome::ServerError, 1, 0));
        assert!(load.merit(5_000) < 0.2);
        assert!(load.merit(60_000) > 0.99);
    }

    #[test]
    fn an_endpoint_that_looked_bad_is_tried_by_one_again_after_the_decay() {
        let load = load();
        ends(&load, Outcome::Refused, 1_000, 0);
        assert!(load.latency(9_000) > 100_000.0);
        assert_eq!(load.latency(10_001), 0.0);
        let _trying = load.begin();
        assert!(load.latency(10_001) > 100_000.0);
    }

    #[test]
    fn a_call_that_the_client_left_counts_for_nothing() {
        let load = load();
        drop(load.begin());
        ends(&load, Outcome::Cancelled, 5_000, 0);
        assert_eq!((load.latency(0), load.merit(0), load.in_flight()), (0.0, 1.0, 0));
    }

    #[test]
    fn an_attempt_that_was_outrun_raises_the_latency_and_is_no_failure() {
        let load = load();
        ends(&load, Outcome::Ok, 10, 0);
        load.begin().outrun(Duration::from_millis(5), 0);
        assert_eq!(load.latency(0), 10_000.0);
        load.begin().outrun(Duration::from_millis(80), 0);
        assert_eq!((load.latency(0), load.merit(0)), (80_000.0, 1.0));
    }

    #[test]
    fn an_untried_endpoint_is_free_for_the_first_call_only() {
        let load = load();
        assert_eq!(load.latency(0), 0.0);
        let _first = load.begin();
        assert_eq!(load.latency(0), UNKNOWN);
    }

    #[test]
    fn a_cold_endpoint_warms_up_evenly_from_a_tenth() {
        let load = Load::cold(DECAY, SLOW_START, 1_000);
        let warmth = [1_000, 1_500, 3_500, 6_000, 11_000, 11_001].map(|now| load.warmth(now));
        assert_eq!(warmth, [0.1, 0.1, 0.25, 0.5, 1.0, 1.0]);
        load.warm_up(20_000);
        assert_eq!([19_000, 20_000, 25_000].map(|now| load.warmth(now)), [0.1, 0.1, 0.5]);
    }

    #[test]
    fn one_that_comes_back_is_not_judged_by_what_it_was() {
        let load = load();
        (0..20).for_each(|_| ends(&load, Outcome::Timeout, 2_000, 0));
        load.warm_up(10_000);
        assert_eq!((load.latency(10_000), load.merit(10_000), load.warmth(10_000)), (0.0, 1.0, 0.1));
    }

    #[test]
    fn without_a_slow_start_a_new_endpoint_is_warm() {
        assert_eq!(Load::cold(DECAY, Duration::ZERO, 0).warmth(0), 1.0);
    }
}
