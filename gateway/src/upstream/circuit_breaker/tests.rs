//! The breaker against a model of it that is too simple to be wrong, and under many threads.

use std::sync::{Arc, Barrier};

use proptest::prelude::*;

use super::*;
use crate::units::Span;

const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(200);

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig { slow_call: Some(Span::millis(100)), ..CircuitBreakerConfig::default() }
}

fn breaker(config: &CircuitBreakerConfig, now: Instant) -> (CircuitBreaker, Arc<Mutex<Vec<State>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    (CircuitBreaker::new(config.clone(), now, move |change| log.lock().push(change.to)), told)
}

/// A breaker that has opened at the time returned, and the time at which it is half-open.
fn opened(config: &CircuitBreakerConfig) -> (CircuitBreaker, Arc<Mutex<Vec<State>>>, Instant) {
    let now = Instant::now();
    let (breaker, told) = breaker(config, now);
    (0..config.min_calls).for_each(|_| call(&breaker, Verdict::Failure, QUICK, now));
    let rested = now + breaker.permit(now).unwrap_err().retry_after;
    (breaker, told, rested)
}

fn call(breaker: &CircuitBreaker, verdict: Verdict, took: Duration, now: Instant) {
    breaker.permit(now).unwrap().record(verdict, took, now);
}

#[test]
fn it_opens_with_the_twentieth_failure_in_a_row_and_not_before() {
    let now = Instant::now();
    let (breaker, told) = breaker(&config(), now);
    (0..19).for_each(|_| call(&breaker, Verdict::Failure, QUICK, now));
    assert_eq!(breaker.state(now), State::Closed);
    call(&breaker, Verdict::Failure, QUICK, now);
    assert_eq!((breaker.state(now), breaker.would_admit(now)), (State::Open, false));
    let Open { retry_after } = breaker.permit(now).unwrap_err();
    assert!((2_400..=3_600).contains(&retry_after.as_millis()), "{retry_after:?}");
    assert_eq!(*told.lock(), [State::Open]);
}

#[test]
fn slow_answers_open_it_although_they_succeed() {
    let now = Instant::now();
    let (breaker, _) = breaker(&config(), now);
    (0..4).for_each(|_| call(&breaker, Verdict::Success, QUICK, now));
    (0..16).for_each(|_| call(&breaker, Verdict::Success, SLOW, now));
    assert_eq!(breaker.state(now), State::Open);
}

#[test]
fn what_says_nothing_about_the_endpoint_counts_for_nothing() {
    let now = Instant::now();
    let (breaker, _) = breaker(&config(), now);
    for _ in 0..100 {
        call(&breaker, Verdict::Nothing, SLOW, now);
        drop(breaker.permit(now).unwrap());
    }
    assert_eq!(breaker.window.counts(0), Counts::default());
}

#[test]
fn only_the_statuses_that_are_listed_are_failures() {
    let (breaker, _) = breaker(&config(), Instant::now());
    let verdict = |status| breaker.verdict(StatusCode::from_u16(status).unwrap());
    assert!([500, 502, 503, 504].into_iter().all(|status| verdict(status) == Verdict::Failure));
    assert!([200, 304, 404, 429, 501].into_iter().all(|status| verdict(status) == Verdict::Success));
}

#[test]
fn it_closes_when_all_probes_succeed_and_forgets_what_was() {
    let (breaker, told, now) = opened(&config());
    (0..3).for_each(|_| call(&breaker, Verdict::Success, QUICK, now));
    (0..19).for_each(|_| call(&breaker, Verdict::Failure, QUICK, now));
    assert_eq!(*told.lock(), [State::Open, State::HalfOpen, State::Closed]);
}

#[test]
fn one_probe_that_fails_or_is_slow_opens_again() {
    for (verdict, took) in [(Verdict::Failure, QUICK), (Verdict::Success, SLOW)] {
        let (breaker, told, now) = opened(&config());
        call(&breaker, Verdict::Success, QUICK, now);
        call(&breaker, verdict, took, now);
        assert!(breaker.permit(now).unwrap_err().retry_after >= Duration::from_millis(2_400));
        assert_eq!(*told.lock(), [State::Open, State::HalfOpen, State::Open]);
    }
}

#[test]
fn a_probe_that_is_not_made_leaves_its_place_to_another() {
    let (breaker, _, now) = opened(&config());
    let mut probes: Vec<_> = (0..3).map(|_| breaker.permit(now).unwrap()).collect();
    assert!(breaker.permit(now).is_err() && !breaker.would_admit(now));
    probes.pop();
    assert!(breaker.would_admit(now));
    let another = breaker.permit(now).unwrap();
    assert!(breaker.permit(now).is_err());
    another.record(Verdict::Nothing, QUICK, now);
    assert!(breaker.would_admit(now));
}

#[test]
fn a_result_from_an_earlier_state_is_ignored() {
    let now = Instant::now();
    let (breaker, told) = breaker(&config(), now);
    let early = [(); 2].map(|()| breaker.permit(now).unwrap());
    (0..20).for_each(|_| call(&breaker, Verdict::Failure, QUICK, now));
    let now = now + breaker.permit(now).unwrap_err().retry_after;
    let probes = [(); 3].map(|()| breaker.permit(now).unwrap());
    let [success, failure] = early;
    success.record(Verdict::Success, QUICK, now);
    failure.record(Verdict::Failure, QUICK, now);
    assert_eq!(breaker.state(now), State::HalfOpen);
    probes.into_iter().for_each(|probe| probe.record(Verdict::Success, QUICK, now));
    assert_eq!((breaker.state(now), breaker.window.counts(0)), (State::Closed, Counts::default()));
    assert_eq!(told.lock().len(), 3);
}

#[test]
fn exactly_the_probes_are_admitted_however_many_threads_ask() {
    for _ in 0..20 {
        let (breaker, told, now) = opened(&config());
        let start = Barrier::new(200);
        let ask = || {
            start.wait();
            breaker.permit(now).map(std::mem::forget).is_ok()
        };
        let admitted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..200).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|admitted| *admitted).count()
        });
        assert_eq!((admitted, told.lock().len()), (3, 2));
    }
}

/// Opens after how many failures that come `pace` apart, once ten seconds of 100 calls a second went well.
fn opens_after_good_times(pace: Duration) -> usize {
    let mut now = Instant::now();
    let (breaker, told) = breaker(&CircuitBreakerConfig::default(), now);
    let ends = |verdict, now| breaker.permit(now).unwrap().record(verdict, QUICK, now);
    for _ in 0..1_000 {
        now += Duration::from_millis(10);
        ends(Verdict::Success, now);
    }
    (1..)
        .find(|_| {
            now += pace;
            ends(Verdict::Failure, now);
            !told.lock().is_empty()
        })
        .expect("it opens")
}

#[test]
fn good_calls_of_before_do_not_outvote_a_service_that_fails_now() {
    let after = [100, 10, 1].map(|pace| opens_after_good_times(Duration::from_millis(pace)));
    assert_eq!(after, [20, 20, 101], "twenty, or a tenth of a second");
}

#[test]
fn what_fails_in_the_same_moment_does_not_outweigh_the_window() {
    assert!(opens_after_good_times(Duration::ZERO) > 900);
}

/// A call whose answer begins now.
fn begins(breaker: &CircuitBreaker, now: Instant) -> Begun {
    breaker.permit(now).unwrap().answered(QUICK, now)
}

#[test]
fn answers_that_all_break_off_open_it_as_any_failures_do() {
    let now = Instant::now();
    let (breaker, told) = breaker(&CircuitBreakerConfig { failure_rate: 100, ..config() }, now);
    let under_way: Vec<Begun> = (0..20).map(|_| begins(&breaker, now)).collect();
    under_way[..19].iter().for_each(|begun| breaker.broke_off(*begun, now));
    assert!(told.lock().is_empty());
    breaker.broke_off(under_way[19], now);
    assert_eq!(*told.lock(), [State::Open]);
}

#[test]
fn an_answer_that_begins_does_not_end_a_row_and_one_that_is_whole_does() {
    for (whole, opens) in [(false, true), (true, false)] {
        let mut now = Instant::now();
        let (breaker, told) = breaker(&config(), now);
        (0..100).for_each(|_| call(&breaker, Verdict::Success, QUICK, now));
        for _ in 0..20 {
            now += Duration::from_millis(10);
            let begun = begins(&breaker, now);
            if whole {
                breaker.finished(begins(&breaker, now));
            }
            breaker.broke_off(begun, now);
        }
        assert_eq!(!told.lock().is_empty(), opens, "whole ones between them: {whole}");
    }
}

#[test]
fn a_probe_that_breaks_off_takes_back_what_it_has_closed_but_not_long_after() {
    let rest = CircuitBreakerConfig::default().open_for.0;
    for (later, opens) in [(Duration::ZERO, true), (rest / 2, true), (rest, false)] {
        let (breaker, told, now) = opened(&config());
        let probes: Vec<Begun> = (0..3).map(|_| begins(&breaker, now)).collect();
        assert_eq!(breaker.state(now), State::Closed);
        probes.iter().for_each(|probe| breaker.broke_off(*probe, now + later));
        let reopened = told.lock().len() == 4;
        assert_eq!((reopened, breaker.permit(now + later).is_err()), (opens, opens), "{later:?}");
    }
}

#[test]
fn many_threads_that_fail_at_once_open_it_once() {
    let now = Instant::now();
    let (breaker, told) = breaker(&config(), now);
    let fail = || {
        while let Ok(permit) = breaker.permit(now) {
            permit.record(Verdict::Failure, QUICK, now);
        }
    };
    std::thread::scope(|scope| (0..16).for_each(|_| drop(scope.spawn(fail))));
    assert_eq!(*told.lock(), [State::Open]);
}

/// What can happen to a breaker. Permits are kept, so that they can be used in a later state.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Ask,
    Record(prop::sample::Index, Verdict, bool),
    Drop(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Failure),
        4 => Just(Verdict::Success),
        1 => Just(Verdict::Nothing),
    ];
    prop_oneof![
        2 => (0_u64..400).prop_map(Step::Wait),
        8 => Just(Step::Ask),
        8 => (any::<prop::sample::Index>(), verdict, prop::bool::weighted(0.2))
            .prop_map(|(index, verdict, slow)| Step::Record(index, verdict, slow)),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
    ]
}

/// The breaker as one would describe it: a list of results and a state.
struct Model {
    config: CircuitBreakerConfig,
    state: State,
    number: usize,
    calls: Vec<(u64, bool, bool)>,
    /// Since when and how many have failed in a row.
    row: Option<(u64, usize)>,
    taken: u32,
    succeeded: u32,
}

impl Model {
    fn enter(&mut self, state: State) {
        (self.state, self.number) = (state, self.number + 1);
        (self.taken, self.succeeded) = (0, 0);
        self.calls.clear();
        self.row = None;
    }

    /// `rested`: whether the time of an open breaker is over.
    fn ask(&mut self, rested: bool) -> Option<usize> {
        if self.state == State::Open && rested {
            self.enter(State::HalfOpen);
        }
        let admits = match self.state {
            State::Closed => true,
            State::Open => false,
            State::HalfOpen => self.taken < self.config.probes,
        };
        self.taken += u32::from(admits);
        admits.then_some(self.number)
    }

    fn record(&mut self, number: usize, verdict: Verdict, slow: bool, millis: u64) {
        let failed = verdict == Verdict::Failure;
        match self.state {
            _ if number != self.number => {}
            _ if verdict == Verdict::Nothing => self.taken -= 1,
            State::HalfOpen if failed || slow => self.enter(State::Open),
            State::HalfOpen => {
                self.succeeded += 1;
                if self.succeeded == self.config.probes {
                    self.enter(State::Closed);
                }
            }
            _ => self.count(failed, slow, millis),
        }
    }

    fn count(&mut self, failed: bool, slow: bool, millis: u64) {
        let tick = millis / (millis_of(self.config.window) / 10);
        self.calls.push((tick, failed, slow));
        self.calls.retain(|(then, ..)| then + 10 > tick);
        let calls = self.calls.len();
        let failures = self.calls.iter().filter(|(_, failed, _)| *failed).count();
        let slows = self.calls.iter().filter(|(.., slow)| *slow).count();
        let too_many = failures * 100 >= calls * usize::from(self.config.failure_rate)
            || slows * 100 >= calls * usize::from(self.config.slow_rate);
        self.row = failed.then(|| self.row.map_or((millis, 1), |(since, failed)| (since, failed + 1)));
        let least = self.config.min_calls as usize;
        let lasting = self.row.is_some_and(|(since, failed)| failed >= least && millis - since >= LASTING);
        if lasting || (failed || slow) && calls >= least && too_many {
            self.enter(State::Open);
        }
    }
}

fn millis_of(span: Span) -> u64 {
    millis(span.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(
        steps in prop::collection::vec(step(), 1..300),
        failure_rate in 1_u8..=100,
        slow_rate in 1_u8..=100,
        min_calls in 1_u32..12,
        probes in 1_u32..5,
    ) {
        let window = Span::secs(1);
        let config = CircuitBreakerConfig {
            window, failure_rate, slow_rate, min_calls, probes, open_for: Span::millis(500), ..config()
        };
        let born = Instant::now();
        let (breaker, told) = breaker(&config, born);
        let mut model = Model { config, state: State::Closed, number: 0, calls: vec![], row: None, taken: 0, succeeded: 0 };
        let mut permits = Vec::new();
        let mut millis = 0;
        for step in steps {
            let now = born + Duration::from_millis(millis);
            match step {
                Step::Wait(more) => millis += more,
                Step::Ask => {
                    // Chance decides how long it rests; that it rests as long as it says is what is checked.
                    let admits = breaker.would_admit(now);
                    let number = model.ask(breaker.rest(now).is_none());
                    let permit = breaker.permit(now);
                    prop_assert_eq!((admits, permit.is_ok()), (number.is_some(), number.is_some()));
                    permits.extend(permit.ok().zip(number));
                }
                Step::Record(index, verdict, slow) if !permits.is_empty() => {
                    let (permit, number) = permits.swap_remove(index.index(permits.len()));
                    permit.record(verdict, if slow { SLOW } else { QUICK }, now);
                    model.record(number, verdict, slow, millis);
                    if let Some(rest) = breaker.rest(now) {
                        prop_assert!(rest <= Duration::from_millis(600));
                    }
                }
                Step::Drop(index) if !permits.is_empty() => {
                    let (permit, number) = permits.swap_remove(index.index(permits.len()));
                    drop(permit);
                    model.record(number, Verdict::Nothing, false, millis);
                }
                Step::Record(..) | Step::Drop(_) => {}
            }
            let raw = state(breaker.epoch.load(Ordering::Relaxed));
            prop_assert_eq!((raw, told.lock().len()), (model.state, model.number));
        }
    }
}
