//! Of many who miss the same, one asks: the leader. The others follow it: they wait for its answer's head and then read the
//! same body.
//!
//! A leader that goes away before its answer is there is replaced by one of its followers. An answer that cannot be kept
//! releases them all at once.
//! Not here: the body (`filling.rs`), what is done with an answer (`proxy/cached.rs`).

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{filling::Filling, store::Store};

/// Few enough to be cheap, enough that workers seldom meet.
const SHARDS: usize = 16;

/// Who is asking, by what is asked for.
#[derive(Default)]
pub struct Flights([Mutex<HashMap<u64, Arc<Flight>>>; SHARDS]);

/// One asking for what others want as well.
pub struct Flight(watch::Sender<State>);

#[derive(Clone)]
enum State {
    Asking,
    Filling(Weak<Filling>),
    Over(Outcome),
}

/// What came of a flight for those who followed it.
#[derive(Clone)]
pub enum Outcome {
    /// This answer, which is still coming.
    Filling(Arc<Filling>),
    /// What came is kept, or nobody is asking any more: look again.
    LookAgain,
    /// It could not be kept: each asks for itself.
    Pass,
    /// The service failed.
    Failed,
}

/// What a request is to do.
pub enum Joined {
    /// Ask: nobody else does.
    Lead(Lead),
    /// Wait for what comes of this.
    Follow(Arc<Flight>),
}

/// The right to ask, and the duty to tell what came of it.
pub struct Lead {
    store: Arc<Store>,
    at: u64,
    flight: Arc<Flight>,
}

impl Flights {
    fn shard(&self, at: u64) -> &Mutex<HashMap<u64, Arc<Flight>>> {
        &self.0[at as usize % SHARDS]
    }
}

impl Store {
    /// Joins those who ask for what has this number.
    #[must_use]
    pub fn join(self: &Arc<Self>, at: u64) -> Joined {
        let mut shard = self.flights.shard(at).lock();
        if let Some(flight) = shard.get(&at) {
            return Joined::Follow(flight.clone());
        }
        let flight = Arc::new(Flight(watch::channel(State::Asking).0));
        shard.insert(at, flight.clone());
        Joined::Lead(Lead { store: self.clone(), at, flight })
    }
}

impl Flight {
    /// What came of it, as soon as that is known.
    pub async fn outcome(&self) -> Outcome {
        let mut told = self.0.subscribe();
        let state = told.wait_for(|state| !matches!(state, State::Asking)).await;
        match state.map(|state| state.clone()) {
            Ok(State::Filling(filling)) => filling.upgrade().map_or(Outcome::LookAgain, Outcome::Filling),
            Ok(State::Over(outcome)) => outcome,
            Ok(State::Asking) | Err(_) => Outcome::LookAgain,
        }
    }
}

impl Lead {
    /// Whether others wait.
    #[must_use]
    pub fn is_followed(&self) -> bool {
        self.flight.0.receiver_count() > 0
    }

    /// Says what came of it. Nobody can join any more.
    pub fn end(self, outcome: Outcome) {
        self.leave();
        self.flight.0.send_replace(State::Over(outcome));
    }

    /// Gives those who wait, and those who will ask while it comes, this answer.
    pub fn fill(&self, filling: &Arc<Filling>) {
        self.flight.0.send_replace(State::Filling(Arc::downgrade(filling)));
    }

    fn leave(&self) {
        let mut shard = self.store.flights.shard(self.at).lock();
        if shard.get(&self.at).is_some_and(|known| Arc::ptr_eq(known, &self.flight)) {
            shard.remove(&self.at);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.leave();
        self.flight.0.send_if_modified(|state| {
            let asking = matches!(state, State::Asking);
            if asking {
                *state = State::Over(Outcome::LookAgain);
            }
            asking
        });
    }
}
