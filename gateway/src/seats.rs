//! How many answers that stay open there may be, in all and for one caller.
//!
//! Not here: how often a caller may ask for one (`rate_limit/`), what it is told when there are too many (`live/`,
//! `proxy/websocket/`).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{downstream::Network, handler::Admitted};

/// Who has a seat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Caller(Box<str>),
    Nobody(Network),
}

/// The seats of one route.
pub(crate) struct Seats {
    most: u32,
    each: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by: HashMap<Who, u32>,
}

/// One seat, until this is dropped.
pub(crate) struct Seat {
    seats: Arc<Seats>,
    who: Who,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The caller has as many as it may.
    Caller,
    /// All together have.
    All,
}

impl Seats {
    /// So many in all, and so many for one caller, or one address where nobody is known.
    pub(crate) fn new(most: u32, each: u32) -> Arc<Self> {
        Arc::new(Seats { most, each, taken: Mutex::default() })
    }

    /// One more for the caller of `admitted`.
    ///
    /// # Errors
    /// When there is none left.
    pub(crate) fn take(self: &Arc<Self>, admitted: &Admitted) -> Result<Seat, Full> {
        let who = match &admitted.caller.principal {
            Some(principal) => Who::Caller(principal.sub.clone()),
            None => Who::Nobody(Network::of(admitted.downstream.peer.ip())),
        };
        let mut taken = self.taken.lock();
        let own = taken.by.get(&who).copied().unwrap_or_default();
        if own >= self.each {
            return Err(Full::Caller);
        }
        if taken.all >= self.most {
            return Err(Full::All);
        }
        taken.all += 1;
        taken.by.insert(who.clone(), own + 1);
        Ok(Seat { seats: self.clone(), who })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock();
        taken.all -= 1;
        if let Some(own) = taken.by.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                taken.by.remove(&self.who);
            }
        }
    }
}
