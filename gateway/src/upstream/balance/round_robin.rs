//! In turn, each as often as its weight says, spread evenly: A A B A C A for 4, 1 and 1, never A A A A B C.
//!
//! nginx's smooth weighted round robin, worked out once into a schedule. Each worker walks it on its own: nothing is
//! contended, and each is exact for itself. What is skipped is used up, so that the turn of an endpoint that is away falls
//! to all others and not to its neighbour alone.
//!
//! Not here: latency and calls in progress, which are what the other ways are for.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::set::Set;
use crate::worker;

/// Turns in a schedule at most; weights that need more are rounded.
const MOST_TURNS: u64 = 4096;

/// A schedule, and where each worker is in it.
pub(super) struct RoundRobin {
    turns: Box<[u16]>,
    cursors: Box<[Cursor]>,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Cursor(AtomicUsize);

impl RoundRobin {
    /// The schedule of endpoints with `weights`, each at least 1.
    pub(super) fn new(weights: &[u32]) -> Self {
        let turns = schedule(&reduced(weights));
        // Spread, so that workers that begin together do not all call the same endpoint first.
        let first = |index: usize| index * turns.len() / worker::MOST;
        let cursors = (0..worker::MOST).map(|index| Cursor(AtomicUsize::new(first(index)))).collect();
        RoundRobin { turns, cursors }
    }

    /// The next of `among`. `None` when none of them has a turn.
    pub(super) fn next(&self, among: &Set) -> Option<usize> {
        let cursor = &self.cursors[worker::index()].0;
        let turn = |_| usize::from(self.turns[cursor.fetch_add(1, Relaxed) % self.turns.len()]);
        (0..self.turns.len()).map(turn).find(|index| among.contains(*index))
    }
}

/// The same proportions in as few turns as can be, and in no more than [`MOST_TURNS`] and one for each endpoint.
fn reduced(weights: &[u32]) -> Vec<i64> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let divisor = weights.iter().fold(0, |divisor, weight| gcd(divisor, (*weight).into())).max(1);
    let turns = |weight: u32| match u64::from(weight) {
        exact if total / divisor <= MOST_TURNS => exact / divisor,
        many => many * MOST_TURNS / total,
    };
    weights.iter().map(|weight| turns(*weight).max(1).cast_signed()).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// nginx's smooth weighted round robin (commit 52327e0627f4): each turn everybody gains its weight, and the richest pays
/// what all have gained and has the turn.
fn schedule(weights: &[i64]) -> Box<[u16]> {
    let total: i64 = weights.iter().sum();
    let mut credit = vec![0; weights.len()];
    let mut turn = || {
        credit.iter_mut().zip(weights).for_each(|(credit, weight)| *credit += weight);
        let mut richest = 0;
        (1..credit.len())
            .for_each(|index| richest = if credit[index] > credit[richest] { index } else { richest });
        credit[richest] -= total;
        richest as u16
    };
    (0..total).map(|_| turn()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(round_robin: &RoundRobin, among: &[usize], count: usize) -> Vec<usize> {
        let among = among.iter().copied().collect();
        (0..count).map(|_| round_robin.next(&among).unwrap()).collect()
    }

    #[test]
    fn turns_are_spread_as_nginx_spreads_them() {
        assert_eq!(*schedule(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn the_turns_of_one_that_is_away_fall_to_all_others() {
        let round_robin = RoundRobin::new(&[1, 1, 1]);
        assert_eq!(taken(&round_robin, &[0, 2], 6), [0, 2, 0, 2, 0, 2]);
    }

    #[test]
    fn weights_with_a_common_factor_need_no_more_turns() {
        assert_eq!(reduced(&[100, 200, 300]), [1, 2, 3]);
        assert_eq!(reduced(&[1, u32::MAX]), [1, 4095]);
    }

    #[test]
    fn endpoints_that_are_not_there_are_not_waited_for() {
        assert_eq!(RoundRobin::new(&[1, 1]).next(&Set::EMPTY), None);
        assert_eq!(RoundRobin::new(&[]).next(&Set::EMPTY), None);
    }

    proptest! {
        #[test]
        fn in_a_whole_round_each_has_as_many_turns_as_its_weight(weights in prop::collection::vec(1_u32..20, 1..8)) {
            let round_robin = RoundRobin::new(&weights);
            let all: Vec<usize> = (0..weights.len()).collect();
            let round = taken(&round_robin, &all, weights.iter().sum::<u32>() as usize);
            for (index, weight) in weights.iter().enumerate() {
                prop_assert_eq!(round.iter().filter(|one| **one == index).count(), *weight as usize);
            }
        }
    }
}
