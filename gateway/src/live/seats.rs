//! How many streams may be open, in all and for one caller.
//!
//! Not here: how often a caller may ask for one (`rate_limit/`).

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::metrics::{Counted, LiveMetrics};
use crate::{
    downstream::Network,
    error::{Code, Error},
    handler::Admitted,
};

/// Who has a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Caller(Box<str>),
    Nobody(Network),
}

/// The streams of one route.
pub(super) struct Seats {
    most: u32,
    each: u32,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: u32,
    by: HashMap<Who, u32>,
}

/// A stream that is counted until this is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    who: Who,
    _open: Counted,
}

impl Seats {
    pub(super) fn new(most: u32, each: u32) -> Arc<Self> {
        Arc::new(Seats { most, each, taken: Mutex::default() })
    }

    /// A place for one more stream.
    ///
    /// # Errors
    /// 429 when the caller has as many as it may, 503 when all together have.
    pub(super) fn take(
        self: &Arc<Self>,
        admitted: &Admitted,
        metrics: &Arc<LiveMetrics>,
    ) -> Result<Seat, Error> {
        let who = match &admitted.caller.principal {
            Some(principal) => Who::Caller(principal.sub.clone()),
            None => Who::Nobody(Network::of(admitted.downstream.peer.ip())),
        };
        let mut taken = self.taken.lock();
        let own = taken.by.get(&who).copied().unwrap_or_default();
        let (code, why) = match (own < self.each, taken.all < self.most) {
            (true, true) => {
                taken.all += 1;
                taken.by.insert(who.clone(), own + 1);
                let _open = Counted::new(metrics, |live| &live.streams);
                return Ok(Seat { seats: self.clone(), who, _open });
            }
            (false, _) => (Code::RateLimited, "max_per_client: as many streams as one client may have"),
            (true, false) => (Code::Overloaded, "max_clients: as many streams as there may be"),
        };
        metrics.refused.inc();
        Err(Error::new(code, why).retry_after(super::LATER))
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
