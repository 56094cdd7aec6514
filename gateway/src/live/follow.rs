//! One who follows what is watched, from where it stands: the same for all ways in which it may be told.
//!
//! Not here: how it is told (`stream.rs` as server-sent events, `graphql/` as subscriptions).

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Joined, Live, log::Entry, watch::Over};
use crate::{error::Error, handler::Admitted};

/// One who follows a thing; it is watched for as long.
pub struct Follower {
    joined: Joined,
    changed: watch::Receiver<()>,
    ending: watch::Receiver<bool>,
    /// The last state that was told.
    seen: u64,
    told_stale: bool,
}

/// What a follower does not know yet.
pub(super) enum News {
    State(Entry),
    /// A state that is not for this one.
    Refused,
    /// Whether it cannot be asked for.
    Stale(bool),
    Over(Over),
}

/// A state.
#[derive(Debug, Clone)]
pub struct Event {
    /// By which whoever comes back says what it has.
    pub cursor: Box<str>,
    /// All parts that are there, by their names.
    pub json: Bytes,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Another state.
    State(Event),
    /// Nothing more, for this reason.
    End(&'static str),
}

impl Follower {
    pub(super) fn new(joined: Joined, seen: u64) -> Self {
        let (changed, ending) = (joined.watch.changed.subscribe(), joined.live.ending.subscribe());
        Follower { joined, changed, ending, seen, told_stale: false }
    }

    pub(super) fn live(&self) -> &Live {
        &self.joined.live
    }

    /// What happens from now on stirs.
    pub(super) fn mark_seen(&mut self) {
        self.changed.mark_unchanged();
    }

    /// Waits until there may be something new.
    pub(super) async fn stirs(&mut self) {
        tokio::select! {
            biased;
            _ = self.changed.changed() => {}
            _ = self.ending.wait_for(|ending| *ending) => {}
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }

    /// What is not known yet, if that is for this follower to see.
    pub(super) fn news(&mut self, may: impl Fn(&Live, &Entry) -> bool) -> Option<News> {
        let state = self.joined.watch.state.lock();
        let (next, stale, over) = (state.log.after(self.seen).cloned(), state.stale, state.over.clone());
        drop(state);
        let Some(entry) = next else {
            let told = std::mem::replace(&mut self.told_stale, stale);
            return over.map(News::Over).or((told != stale).then_some(News::Stale(stale)));
        };
        let live = &self.joined.live;
        if !may(live, &entry) {
            return Some(News::Refused);
        }
        if entry.seq > self.seen + 1 {
            live.metrics.skipped.inc();
        }
        live.metrics.events.inc();
        self.seen = entry.seq;
        Some(News::State(entry))
    }

    /// What is there and not told yet.
    pub fn at_once(&mut self) -> Option<Event> {
        match self.news(|_, _| true)? {
            News::State(entry) => Some(Event::of(&entry)),
            _ => None,
        }
    }

    /// Waits for what comes next. Nothing is lost by not waiting to the end.
    pub async fn next(&mut self) -> Next {
        loop {
            self.mark_seen();
            if self.is_ending() {
                return Next::End("drained");
            }
            match self.news(|_, _| true) {
                Some(News::State(entry)) => return Next::State(Event::of(&entry)),
                Some(News::Over(Over::Done)) => return Next::End("done"),
                Some(News::Over(Over::Gone | Over::Failed(_)) | News::Refused) => return Next::End("gone"),
                Some(News::Over(Over::Lost)) => return Next::End("lost"),
                Some(News::Stale(_)) => {}
                None => self.stirs().await,
            }
        }
    }

    /// Whoever follows may: it is watched on for a while when nobody is there.
    pub fn settle(&self) {
        self.joined.watch.settle();
    }

    /// How long asking for it took: so long a refusal must take, or it would tell that others look.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.joined.watch.state.lock().took
    }
}

impl Event {
    fn of(entry: &Entry) -> Self {
        let (cursor, json) = super::event::read(&entry.event);
        Event { cursor: cursor.into(), json }
    }
}

impl Live {
    /// Follows what is watched for `admitted`, from the state `after` or from the one that is there; with the state
    /// as it is now. Who may is for the caller to say, with every state.
    ///
    /// # Errors
    /// Why there is no state.
    pub async fn follow(
        self: &Arc<Self>,
        admitted: &Admitted,
        after: Option<&str>,
    ) -> Result<(Follower, Event), Error> {
        let joined = self.join(admitted)?;
        pin!(joined.watch.first(admitted.deadline)).await?;
        let (seen, last, _) = self.begin(&joined, after);
        Ok((Follower::new(joined, seen), Event::of(&last)))
    }
}
