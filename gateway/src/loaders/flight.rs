//! Of many who miss the same key, one asks: whoever comes first. The others wait for that call, which may ask for more than
//! they want; what nobody asks for yet, they ask for themselves.
//!
//! Not here: the call (`asking.rs`).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{cache::store::Mark, upstream::Fault};

/// In which call each key is.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<Arc<str>, Arc<Flight>>>);

/// One call that others may wait for.
pub(super) struct Flight(watch::Sender<Option<Outcome>>);

/// What came of a call for those who waited for it.
#[derive(Clone)]
pub(super) enum Outcome {
    /// Each key's own.
    Answers(Arc<Answers>),
    /// What came is not for others: each asks for itself.
    Pass,
    /// Whoever asked has left: ask anew.
    Left,
}

pub(super) type Answers = HashMap<Arc<str>, Answer>;

/// What became of one key.
pub(super) struct Answer {
    pub(super) value: Result<Option<Bytes>, Fault>,
    /// What makes it invalid when it changes; none if it is not known whether something has.
    pub(super) marks: Option<Box<[Mark]>>,
}

/// What a request is to do for the keys that it misses.
#[derive(Default)]
pub(super) struct Joined {
    /// Calls that are its to make.
    pub(super) leads: Vec<Lead>,
    /// Calls to wait for, each with the keys that it is waited for.
    pub(super) follows: Vec<(Arc<Flight>, Vec<Arc<str>>)>,
}

/// The right to ask for some keys, and the duty to tell what came of it.
pub(super) struct Lead {
    pub(super) keys: Vec<Arc<str>>,
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Flights {
    /// Joins those who ask for `keys`. Of those that nobody asks for, `misses` says which are still not there: what ends a
    /// call keeps its answers before. `split` makes calls of them.
    pub(super) fn join(
        self: &Arc<Self>,
        keys: Vec<Arc<str>>,
        mut misses: impl FnMut(&Arc<str>) -> bool,
        split: impl FnOnce(Vec<Arc<str>>) -> Vec<Vec<Arc<str>>>,
    ) -> Joined {
        let (mut joined, mut own) = (Joined::default(), Vec::new());
        let mut known = self.0.lock();
        for key in keys {
            match known.get(&key) {
                Some(flight) => joined.follow(flight, key),
                None if misses(&key) => own.push(key),
                None => {}
            }
        }
        for keys in split(own) {
            let flight = Arc::new(Flight(watch::channel(None).0));
            known.extend(keys.iter().map(|key| (key.clone(), flight.clone())));
            joined.leads.push(Lead { keys, flights: self.clone(), flight });
        }
        joined
    }
}

impl Joined {
    fn follow(&mut self, flight: &Arc<Flight>, key: Arc<str>) {
        match self.follows.iter_mut().find(|(known, _)| Arc::ptr_eq(known, flight)) {
            Some((_, keys)) => keys.push(key),
            None => self.follows.push((flight.clone(), vec![key])),
        }
    }
}

impl Flight {
    /// What came of it, as soon as that is known.
    pub(super) async fn outcome(&self) -> Outcome {
        let mut told = self.0.subscribe();
        let outcome = told.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Outcome::Left)
    }
}

impl Lead {
    /// Says what came of it. Nobody can join any more.
    pub(super) fn end(self, outcome: Outcome) {
        self.leave();
        self.flight.0.send_replace(Some(outcome));
    }

    fn leave(&self) {
        let mut known = self.flights.0.lock();
        for key in &self.keys {
            if let Entry::Occupied(entry) = known.entry(key.clone())
                && Arc::ptr_eq(entry.get(), &self.flight)
            {
                entry.remove();
            }
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
        self.flight.0.send_if_modified(|outcome| {
            let asking = outcome.is_none();
            if asking {
                *outcome = Some(Outcome::Left);
            }
            asking
        });
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn keys(keys: &[&str]) -> Vec<Arc<str>> {
        keys.iter().map(|key| Arc::from(*key)).collect()
    }

    fn join(flights: &Arc<Flights>, asked: &[&str]) -> Joined {
        flights.join(
            keys(asked),
            |key| **key != *"kept",
            |own| if own.is_empty() { vec![] } else { vec![own] },
        )
    }

    #[test]
    fn a_request_asks_for_what_nobody_asks_for_and_waits_for_the_rest() {
        let flights = Arc::default();
        let first = join(&flights, &["1", "2", "kept"]);
        let second = join(&flights, &["2", "3", "1"]);
        assert_eq!(first.leads[0].keys, keys(&["1", "2"]));
        assert_eq!((second.leads[0].keys.clone(), second.follows.len()), (keys(&["3"]), 1));
        assert_eq!(second.follows[0].1, keys(&["2", "1"]));
        assert!(second.follows[0].0.outcome().now_or_never().is_none());
        for lead in first.leads {
            lead.end(Outcome::Pass);
        }
        assert!(matches!(second.follows[0].0.outcome().now_or_never(), Some(Outcome::Pass)));
    }

    #[test]
    fn who_leaves_is_replaced() {
        let flights = Arc::default();
        let first = join(&flights, &["1"]);
        let second = join(&flights, &["1"]);
        drop(first);
        assert!(matches!(second.follows[0].0.outcome().now_or_never(), Some(Outcome::Left)));
        assert_eq!(join(&flights, &["1"]).leads.len(), 1);
        drop(second);
        assert!(flights.0.lock().is_empty(), "nothing is left behind");
    }
}
