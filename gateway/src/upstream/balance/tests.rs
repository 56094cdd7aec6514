//! Who may be chosen, and by whom. Not here: what comes of it over time (`simulation.rs`).

use std::{sync::Arc, time::Duration};

use super::*;
use crate::upstream::{
    Outcome,
    load::{DECAY, SLOW_START, Ticket},
};

struct Endpoint {
    load: Arc<Load>,
    fit: bool,
    admits: bool,
}

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.load
    }

    fn fit(&self, _now_ms: u64) -> bool {
        self.fit
    }

    fn admits(&self, _now_ms: u64) -> bool {
        self.admits
    }
}

fn endpoints(count: usize) -> Vec<Endpoint> {
    let one = |_| Endpoint { load: Arc::new(Load::warm(DECAY, SLOW_START)), fit: true, admits: true };
    (0..count).map(one).collect()
}

fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(index, weight): (usize, &u32)| Member {
        address: format!("10.0.0.{index}:8080").into(),
        weight: *weight,
        zone: None,
    };
    weights.iter().enumerate().map(member).collect()
}

fn ways() -> [BalanceConfig; 4] {
    let hash = BalanceConfig::Hash(HashOn::Principal);
    [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin, hash]
}

fn balance(way: &BalanceConfig, weights: &[u32]) -> Balance {
    fastrand::seed(7);
    Balance::new(way, &members(weights), PANIC_PERCENT)
}

/// How often each was picked in so many calls, each with a key of its own.
fn picks(balance: &Balance, endpoints: &[Endpoint], tried: &Set, count: usize) -> Vec<usize> {
    let mut picks = vec![0; endpoints.len()];
    for call in 0..count {
        if let Some(index) = balance.pick(endpoints, tried, Some(key(&call.to_le_bytes())), 0) {
            picks[index] += 1;
        }
    }
    picks
}

fn answered(endpoint: &Endpoint, millis: u64) {
    endpoint.load.begin().end(Outcome::Ok, Duration::from_millis(millis), 0);
}

fn busy(endpoint: &Endpoint, calls: usize) -> Vec<Ticket> {
    (0..calls).map(|_| endpoint.load.begin()).collect()
}

#[test]
fn whoever_is_available_is_picked_in_every_way() {
    for way in ways() {
        let balance = balance(&way, &[1, 1, 1]);
        let mut endpoints = endpoints(3);
        endpoints.iter().for_each(|endpoint| answered(endpoint, 10));
        assert!(picks(&balance, &endpoints, &Set::EMPTY, 300).iter().all(|picks| *picks > 70), "{way:?}");
        endpoints[1].fit = false;
        assert_eq!(picks(&balance, &endpoints, &Set::EMPTY, 300)[1], 0, "{way:?}");
        endpoints[0].admits = false;
        assert_eq!(picks(&balance, &endpoints, &Set::EMPTY, 300), [0, 0, 300], "{way:?}");
    }
}

#[test]
fn nobody_is_picked_when_every_breaker_is_open() {
    for way in ways() {
        let mut endpoints = endpoints(3);
        endpoints.iter_mut().for_each(|endpoint| endpoint.admits = false);
        assert_eq!(balance(&way, &[1, 1, 1]).pick(&endpoints, &Set::EMPTY, None, 0), None);
    }
    assert_eq!(balance(&BalanceConfig::P2c, &[]).pick(&endpoints(0), &Set::EMPTY, None, 0), None);
    assert_eq!(
        balance(&BalanceConfig::WeightedRoundRobin, &[]).pick(&endpoints(0), &Set::EMPTY, None, 0),
        None
    );
}

#[test]
fn when_most_are_unfit_all_but_open_breakers_are_candidates_again() {
    for way in ways() {
        let balance = balance(&way, &[1, 1, 1]);
        let mut endpoints = endpoints(3);
        endpoints[0].fit = false;
        endpoints[1].fit = false;
        endpoints.iter().for_each(|endpoint| answered(endpoint, 10));
        assert!(picks(&balance, &endpoints, &Set::EMPTY, 300).iter().all(|picks| *picks > 70), "{way:?}");
        endpoints[0].admits = false;
        let picks = picks(&balance, &endpoints, &Set::EMPTY, 300);
        assert!(picks[0] == 0 && picks[1] > 70 && picks[2] > 70, "{way:?}: {picks:?}");
    }
}

#[test]
fn half_of_them_fit_is_no_panic() {
    let mut endpoints = endpoints(2);
    endpoints[0].fit = false;
    assert_eq!(picks(&balance(&BalanceConfig::P2c, &[1, 1]), &endpoints, &Set::EMPTY, 100), [0, 100]);
}

#[test]
fn what_was_tried_is_tried_again_only_when_nothing_else_is_left() {
    for way in ways() {
        let balance = balance(&way, &[1, 1, 1]);
        let tried: Set = [0, 2].into_iter().collect();
        assert_eq!(picks(&balance, &endpoints(3), &tried, 50), [0, 50, 0], "{way:?}");
        let all: Set = (0..3).collect();
        assert_eq!(picks(&balance, &endpoints(3), &all, 50).iter().sum::<usize>(), 50, "{way:?}");
    }
}

#[test]
fn of_two_choices_the_cheaper_one_is_taken() {
    let balance = balance(&BalanceConfig::P2c, &[1, 1]);
    let endpoints = endpoints(2);
    answered(&endpoints[0], 10);
    answered(&endpoints[1], 20);
    assert_eq!(picks(&balance, &endpoints, &Set::EMPTY, 50), [50, 0]);
    // Three of 10 ms one after the other are worse than one of 20 ms.
    let _busy = busy(&endpoints[0], 2);
    assert_eq!(picks(&balance, &endpoints, &Set::EMPTY, 50), [0, 50]);
}

#[test]
fn the_worst_of_three_is_never_chosen_by_two_choices() {
    let balance = balance(&BalanceConfig::P2c, &[1, 1, 1]);
    let endpoints = endpoints(3);
    [10, 10, 100].iter().zip(&endpoints).for_each(|(millis, endpoint)| answered(endpoint, *millis));
    assert_eq!(picks(&balance, &endpoints, &Set::EMPTY, 1_000)[2], 0);
}

#[test]
fn the_fewest_requests_are_counted_by_weight() {
    let balance = balance(&BalanceConfig::LeastRequests, &[10, 10, 10]);
    let equal = endpoints(3);
    let _busy = (busy(&equal[0], 2), busy(&equal[1], 1), busy(&equal[2], 3));
    assert_eq!(picks(&balance, &equal, &Set::EMPTY, 50), [0, 50, 0]);
    let balance = self::balance(&BalanceConfig::LeastRequests, &[1, 4]);
    let uneven = endpoints(2);
    let _busy = (busy(&uneven[0], 1), busy(&uneven[1], 3));
    assert_eq!(picks(&balance, &uneven, &Set::EMPTY, 50), [0, 50]);
}

#[test]
fn a_small_weight_means_few_calls_also_when_nobody_is_busy() {
    for way in [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin] {
        let endpoints = endpoints(2);
        endpoints.iter().for_each(|endpoint| answered(endpoint, 10));
        let canary = picks(&balance(&way, &[1, 99]), &endpoints, &Set::EMPTY, 10_000)[0];
        assert!((25..=130).contains(&canary), "{way:?}: {canary} of 10,000");
    }
}

#[test]
fn one_key_stays_with_one_endpoint_and_comes_back_to_it() {
    let balance = balance(&BalanceConfig::Hash(HashOn::Principal), &[1, 1, 1]);
    let mut endpoints = endpoints(3);
    let home = balance.pick(&endpoints, &Set::EMPTY, Some(7), 0).unwrap();
    endpoints[home].fit = false;
    assert_ne!(balance.pick(&endpoints, &Set::EMPTY, Some(7), 0), Some(home));
    endpoints[home].fit = true;
    assert!((0..50).all(|_| balance.pick(&endpoints, &Set::EMPTY, Some(7), 0) == Some(home)));
}

#[test]
fn without_a_key_hashing_spreads() {
    let balance = balance(&BalanceConfig::Hash(HashOn::Principal), &[1, 1, 1]);
    let endpoints = endpoints(3);
    let mut seen = Set::EMPTY;
    (0..100)
        .filter_map(|_| balance.pick(&endpoints, &Set::EMPTY, None, 0))
        .for_each(|index| seen.insert(index));
    assert_eq!(seen.len(), 3);
}

#[test]
fn endpoints_beyond_the_most_are_left_alone() {
    let weights = vec![1; Set::MOST + 10];
    for way in ways() {
        let picks = picks(&balance(&way, &weights), &endpoints(weights.len()), &Set::EMPTY, 500);
        assert_eq!(picks[Set::MOST..].iter().sum::<usize>(), 0, "{way:?}");
    }
}
