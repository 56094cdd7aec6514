//! What the choices come to: a second of traffic is simulated call by call, on a clock of microseconds that jumps from
//! event to event. Neither breakers nor ejection help here.
//!
//! Not here: single decisions (`tests.rs`).

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc, time::Duration};

use super::*;
use crate::upstream::{
    Outcome,
    load::{DECAY, SLOW_START, Ticket},
};

/// Microseconds between calls: 1,000 a second.
const PAUSE: u64 = 1_000;

/// How an endpoint behaves: in milliseconds, more or less by a fifth; or it fails after one.
#[derive(Clone, Copy, PartialEq)]
enum Behaviour {
    Answers(u64),
    Fails,
}
use Behaviour::{Answers, Fails};

struct Endpoint {
    load: Arc<Load>,
    behaviour: Behaviour,
}

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.load
    }

    fn fit(&self, _now_ms: u64) -> bool {
        true
    }

    fn admits(&self, _now_ms: u64) -> bool {
        true
    }
}

impl Endpoint {
    fn call(&self) -> (Outcome, u64) {
        match self.behaviour {
            Fails => (Outcome::ServerError, 1_000),
            Answers(millis) => (Outcome::Ok, millis * fastrand::u64(800..=1_200)),
        }
    }
}

/// Calls that are under way, the first to end on top: when, and which one.
#[derive(Default)]
struct Flights {
    ends: BinaryHeap<Reverse<(u64, usize)>>,
    calls: Vec<Option<(Ticket, Outcome, u64)>>,
}

impl Flights {
    fn begin(&mut self, endpoint: &Endpoint, now: u64) {
        let (outcome, took) = endpoint.call();
        self.ends.push(Reverse((now + took, self.calls.len())));
        self.calls.push(Some((endpoint.load.begin(), outcome, took)));
    }

    fn end_until(&mut self, now: u64) {
        while let Some(Reverse((at, call))) = self.ends.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.ends.pop();
            let (ticket, outcome, took) = self.calls[call].take().unwrap();
            ticket.end(outcome, Duration::from_micros(took), at / 1_000);
        }
    }
}

struct World {
    balance: Balance,
    endpoints: Vec<Endpoint>,
    flights: Flights,
    now: u64,
}

impl World {
    fn of(way: &BalanceConfig, behaviours: &[Behaviour]) -> Self {
        fastrand::seed(7);
        let warm = || Arc::new(Load::warm(DECAY, SLOW_START));
        let endpoints = behaviours.iter().map(|behaviour| Endpoint { load: warm(), behaviour: *behaviour });
        let member = |index| Member { address: format!("{index}").into(), weight: 1, zone: None };
        let members: Vec<Member> = (0..behaviours.len()).map(member).collect();
        World {
            balance: Balance::new(way, &members, PANIC_PERCENT),
            endpoints: endpoints.collect(),
            flights: Flights::default(),
            now: 0,
        }
    }

    /// The last endpoint joins now.
    fn last_is_new(mut self) -> Self {
        let load = Load::cold(DECAY, SLOW_START, self.now / 1_000);
        self.endpoints.last_mut().unwrap().load = Arc::new(load);
        self
    }

    /// The share of calls that each endpoint got in the next `seconds`.
    fn shares(&mut self, seconds: f32) -> Vec<f32> {
        let calls = (seconds * 1e6) as u64 / PAUSE;
        let mut counts = vec![0_u32; self.endpoints.len()];
        for _ in 0..calls {
            self.now += PAUSE;
            self.flights.end_until(self.now);
            let index = self.balance.pick(&self.endpoints, &Set::EMPTY, None, self.now / 1_000).unwrap();
            counts[index] += 1;
            self.flights.begin(&self.endpoints[index], self.now);
        }
        counts.iter().map(|count| *count as f32 / calls as f32).collect()
    }
}

const BY_LOAD: [BalanceConfig; 2] = [BalanceConfig::P2c, BalanceConfig::LeastRequests];

#[test]
fn one_that_answers_500_in_a_millisecond_gets_less_than_a_twentieth() {
    for way in [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin] {
        let mut world = World::of(&way, &[Answers(10), Answers(10), Fails]);
        world.shares(2.0);
        let shares = world.shares(8.0);
        assert!(shares[2] < 0.05, "{way:?}: {shares:?}");
    }
}

#[test]
fn one_that_begins_to_fail_is_left_within_two_seconds_and_found_again_when_it_recovers() {
    for way in BY_LOAD {
        let mut world = World::of(&way, &[Answers(10), Answers(10), Answers(10)]);
        world.shares(10.0);
        world.endpoints[2].behaviour = Fails;
        world.shares(2.0);
        let failing = world.shares(8.0);
        world.endpoints[2].behaviour = Answers(10);
        world.shares(20.0);
        let recovered = world.shares(5.0);
        assert!(failing[2] < 0.05 && recovered[2] > 0.2, "{way:?}: {failing:?}, then {recovered:?}");
    }
}

#[test]
fn one_that_is_ten_times_slower_gets_far_fewer() {
    let mut world = World::of(&BalanceConfig::P2c, &[Answers(10), Answers(10), Answers(100)]);
    world.shares(2.0);
    let shares = world.shares(8.0);
    assert!(shares[2] < 0.05, "{shares:?}");
    let mut world = World::of(&BalanceConfig::LeastRequests, &[Answers(10), Answers(10), Answers(100)]);
    world.shares(2.0);
    let shares = world.shares(8.0);
    assert!(shares[2] < 0.1, "{shares:?}");
}

#[test]
fn one_that_hangs_is_left_before_any_of_its_calls_has_ended() {
    let mut world = World::of(&BalanceConfig::P2c, &[Answers(10), Answers(10), Answers(10)]);
    world.shares(2.0);
    world.endpoints[2].behaviour = Answers(60_000);
    let shares = world.shares(1.0);
    assert!(shares[2] < 0.03, "{shares:?}");
}

#[test]
fn a_new_endpoint_is_not_flooded_and_comes_to_its_full_share() {
    for way in [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin] {
        let mut world = World::of(&way, &[Answers(10), Answers(10), Answers(10)]);
        world.shares(10.0);
        let mut world = world.last_is_new();
        let seconds: Vec<f32> = (0..10).map(|_| world.shares(1.0)[2]).collect();
        assert!(seconds[0] < 0.1, "{way:?}: {seconds:?}");
        assert!(seconds[0] < seconds[3] && seconds[3] < seconds[7], "{way:?}: {seconds:?}");
        world.shares(5.0);
        let share = world.shares(10.0)[2];
        assert!(share > 0.25, "{way:?}: {share}");
    }
}

#[test]
fn equals_share_equally() {
    for way in [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin] {
        let mut world = World::of(&way, &[Answers(10); 3]);
        let shares = world.shares(10.0);
        assert!(shares.iter().all(|share| (share * 3.0 - 1.0).abs() < 0.1), "{way:?}: {shares:?}");
    }
}
