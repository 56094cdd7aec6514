//! What a watcher has seen of one thing, for all who want to know.
//!
//! Not here: seeing it (`watcher.rs`), telling it (`stream.rs`).

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::log::Log;
use crate::{
    deadline::Deadline,
    error::{Code, Error},
    handler::late,
    upstream::Fault,
};

/// One thing that is watched.
pub(super) struct Watch {
    pub(super) state: Mutex<State>,
    /// That there is something new.
    pub(super) changed: watch::Sender<()>,
    /// How many want to know of it.
    pub(super) clients: Mutex<u32>,
    /// Whether anybody was let in: who is refused does not have it watched on.
    pub(super) settled: AtomicBool,
}

/// What is known of it.
pub(super) struct State {
    pub(super) log: Log,
    /// Whether it cannot be asked for, and that for long.
    pub(super) stale: bool,
    /// Why nothing more will come.
    pub(super) over: Option<Over>,
    /// How long the last round took.
    pub(super) took: Duration,
}

/// Why nothing more will come.
#[derive(Clone)]
pub(super) enum Over {
    /// It could not be had in the first place.
    Failed(Fault),
    /// It is no longer there.
    Gone,
    /// It will not change any more.
    Done,
    /// Nobody watches it any more.
    Lost,
}

impl Watch {
    pub(super) fn new(keep: u32) -> Self {
        let state = State { log: Log::new(keep), stale: false, over: None, took: Duration::ZERO };
        let (state, changed) = (Mutex::new(state), watch::channel(()).0);
        Watch { state, changed, clients: Mutex::new(0), settled: AtomicBool::new(false) }
    }

    /// Waits until there is a state.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn first(&self, deadline: Deadline) -> Result<(), Error> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(outcome) = self.begun() {
                return outcome;
            }
            let waiting = std::pin::pin!(changed.changed());
            if deadline.bound(waiting).await.is_err() {
                return Err(late());
            }
        }
    }

    fn begun(&self) -> Option<Result<(), Error>> {
        let state = self.state.lock();
        match &state.over {
            Some(Over::Failed(fault)) => Some(Err(fault.clone().into_error())),
            Some(Over::Gone) => Some(Err(Error::new(Code::NotFound, "what was watched is gone"))),
            Some(Over::Lost) => Some(Err(Error::new(Code::Internal, "its watcher is gone"))),
            Some(Over::Done) | None => state.log.last().map(|_| Ok(())),
        }
    }

    /// A round is over: another state with what decides over it, if it is another; whether it is stale, and done.
    pub(super) fn note(
        &self,
        json: Option<(Vec<u8>, Option<Bytes>)>,
        stale: bool,
        done: bool,
        took: Duration,
    ) {
        let mut state = self.state.lock();
        let news = json.is_some() || done || stale != state.stale;
        if let Some((json, decides)) = json {
            state.log.push(&json, decides);
        }
        (state.stale, state.took) = (stale, took);
        if done {
            state.over = Some(Over::Done);
        }
        drop(state);
        if news {
            self.changed.send_replace(());
        }
    }

    /// Whether it has come to its end, which can still be told.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state.lock().over, Some(Over::Done))
    }

    /// Nothing more will come, for this reason unless there was another.
    pub(super) fn is_over(&self, why: Over) {
        self.state.lock().over.get_or_insert(why);
        self.changed.send_replace(());
    }

    /// Somebody was let in.
    pub(super) fn settle(&self) {
        self.settled.store(true, Relaxed);
    }
}
