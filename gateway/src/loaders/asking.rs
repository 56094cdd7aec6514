//! How keys are had: what is kept is given out, what somebody asks for is waited for, and the rest is asked for in bulk.
//!
//! All of it is driven by the request that wants the keys, and ends with it; others who wait for its call then ask anew.
//! Not here: asking anew in the background (`refresh.rs`).

use std::{collections::HashMap, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use http::HeaderValue;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    Inner, Loaded, Record, State,
    flight::{Answer, Answers, Flight, Lead, Outcome},
    kept::{Kept, Look},
    records::Records,
};
use crate::{
    body::Body,
    cache::{Entry, Stood, control},
    deadline::Deadline,
    identity::Caller,
    upstream::{Fault, Fetched, Reason},
};

/// Who has waited so often for others asks alone.
const ROUNDS: usize = 4;
/// The most calls at once for one request's keys.
const AT_ONCE: usize = 8;

/// One request that wants keys.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) caller: &'a Caller,
    pub(super) deadline: Deadline,
}

/// What it has so far.
#[derive(Default)]
struct Gathered {
    loaded: Loaded,
    /// What may stand in for what cannot be had.
    stale: HashMap<Arc<str>, Arc<Entry>>,
}

/// What came of one call, its own or another's.
enum Done {
    Answered(Arc<Answers>),
    Followed { keys: Vec<Arc<str>>, outcome: Outcome, round: usize },
}

type Work<'a> = FuturesUnordered<BoxFuture<'a, Done>>;

impl Asking<'_> {
    /// What is known by each of `keys`, which are distinct.
    pub(super) async fn load(self, keys: Vec<Arc<str>>) -> Loaded {
        let mut gathered = Gathered::default();
        let missing = gathered.look(self, keys);
        if missing.is_empty() {
            return gathered.loaded;
        }
        let (room, mut work) = (Semaphore::new(AT_ONCE), Work::new());
        self.begin(missing, 0, &room, &mut gathered, &mut work);
        while let Some(done) = work.next().await {
            let (again, round) = gathered.take(self.inner, done);
            let missing = gathered.look(self, again);
            self.begin(missing, round, &room, &mut gathered, &mut work);
        }
        gathered.loaded
    }
}

impl<'a> Asking<'a> {
    /// Begins what must be done for keys that are not there.
    fn begin(
        self,
        missing: Vec<Arc<str>>,
        round: usize,
        room: &'a Semaphore,
        gathered: &mut Gathered,
        work: &mut Work<'a>,
    ) where
        Self: 'a,
    {
        let inner = self.inner;
        let split = |keys| inner.target.split(keys, inner.config.max_keys);
        let Some(kept) = inner.kept.as_ref().filter(|kept| round < ROUNDS && !kept.passes()) else {
            return work.extend(split(missing).into_iter().map(|keys| self.alone(keys, room).boxed()));
        };
        // Another call may have ended between the look and this.
        let misses = |key: &Arc<str>| !gathered.look(self, vec![key.clone()]).is_empty();
        let joined = kept.flights.join(missing, misses, split);
        work.extend(joined.leads.into_iter().map(|lead| self.lead(lead, kept, room).boxed()));
        let follow = |(flight, keys)| self.follow(flight, keys, round).boxed();
        work.extend(joined.follows.into_iter().map(follow));
    }

    /// Asks for itself only.
    async fn alone(self, keys: Vec<Arc<str>>, room: &Semaphore) -> Done {
        let (answers, _) = self.call(&keys, room).await;
        Done::Answered(Arc::new(answers))
    }

    /// Asks for all who want the same.
    async fn lead(self, lead: Lead, kept: &Kept, room: &Semaphore) -> Done {
        let (answers, ended) = self.call(&lead.keys, room).await;
        let answers = Arc::new(answers);
        match ended {
            Ended::ForAll => lead.end(Outcome::Answers(answers.clone())),
            Ended::ForOne => {
                kept.passed(true);
                lead.end(Outcome::Pass);
            }
            // Its own time was up; those who wait may have more.
            Ended::TooSoon => drop(lead),
        }
        Done::Answered(answers)
    }

    async fn follow(self, flight: Arc<Flight>, keys: Vec<Arc<str>>, round: usize) -> Done {
        let waiting = pin!(flight.outcome());
        match self.deadline.bound(waiting).await {
            Ok(outcome) => Done::Followed { keys, outcome, round },
            Err(_elapsed) => {
                let why = "another request's call did not end before the deadline";
                let fault = Fault::new(self.inner.upstream.name(), Reason::Timeout, why);
                Done::Answered(Arc::new(failed(&keys, &fault)))
            }
        }
    }

    async fn call(self, keys: &[Arc<str>], room: &Semaphore) -> (Answers, Ended) {
        let _turn = room.acquire().await;
        let Inner { upstream, config, metrics, target, kept, .. } = &**self.inner;
        metrics.misses.inc_by(keys.len() as u64);
        let whole = Deadline::after(config.timeout.0);
        let deadline = self.deadline.min(whole);
        let (before, asked) = (kept.as_ref().map(|kept| kept.before(keys)), Instant::now());
        let target = target.write(keys);
        let ask = |_no_body| self.caller.get(&target, deadline);
        let fetched = pin!(upstream.fetch(&ask, Body::Empty, deadline, config.max_size.0)).await;
        let taken = fetched.and_then(|fetched| {
            let batch = Batch { keys, before: before.as_deref(), asked, target: target.as_str() };
            self.inner.take_in(&batch, &fetched)
        });
        match taken {
            Ok((answers, true)) => (answers, Ended::ForAll),
            Ok((answers, false)) => (answers, Ended::ForOne),
            Err(fault) => {
                let own = fault.reason == Reason::Timeout && self.deadline < whole;
                (failed(keys, &fault), if own { Ended::TooSoon } else { Ended::ForAll })
            }
        }
    }
}

/// Whom a call's end concerns.
enum Ended {
    /// Those who wait as well.
    ForAll,
    /// Only who has asked: it may not be given to others.
    ForOne,
    /// Only who has asked: others may have more time.
    TooSoon,
}

fn failed(keys: &[Arc<str>], fault: &Fault) -> Answers {
    let answer = || Answer { value: Err(fault.clone()), marks: Some(Box::default()) };
    keys.iter().map(|key| (key.clone(), answer())).collect()
}

/// A call as it was made.
pub(super) struct Batch<'a> {
    pub(super) keys: &'a [Arc<str>],
    /// How things stood before; none where nothing is kept.
    pub(super) before: Option<&'a [Stood]>,
    pub(super) asked: Instant,
    pub(super) target: &'a str,
}

impl Inner {
    /// Takes an answer apart, and keeps what may be kept. Whether it may be given to others.
    ///
    /// # Errors
    /// When it makes no sense.
    pub(super) fn take_in(&self, batch: &Batch<'_>, fetched: &Fetched) -> Result<(Answers, bool), Fault> {
        let records = Records::of(&fetched.json, &self.key, batch.keys).map_err(|error| {
            self.senseless(&format!("at line {}, column {}", error.line(), error.column()))
        })?;
        let value = |key: &Arc<str>| match records.known.get(key) {
            Some(json) => Ok(Some(json.clone())),
            None if records.torn.contains(key) => Err(self.senseless("in two elements of one key")),
            None if records.nameless => Err(self.senseless("in an element without a key")),
            None => Ok(None),
        };
        let Some((kept, before)) = self.kept.as_ref().zip(batch.before) else {
            let answer = |key: &Arc<str>| (key.clone(), Answer { value: value(key), marks: None });
            return Ok((batch.keys.iter().map(answer).collect(), false));
        };
        let location = HeaderValue::try_from(batch.target).ok();
        let draft =
            location.and_then(|location| kept.draft(fetched.status, &fetched.headers, location, batch.asked));
        let mut answers = Answers::with_capacity(batch.keys.len());
        for (key, before) in batch.keys.iter().zip(before) {
            let (value, marks) = (value(key), before.marks(&kept.store, &[&fetched.headers]));
            match (&draft, &marks, &value) {
                (Some(draft), Some(marks), Ok(Some(json))) => {
                    kept.put(key, draft, json.clone(), marks.clone());
                }
                (None, ..) | (_, _, Ok(None)) => kept.remove(key),
                _ => {}
            }
            answers.insert(key.clone(), Answer { value, marks });
        }
        if draft.is_some() {
            kept.passed(false);
        }
        Ok((answers, draft.is_some()))
    }

    fn senseless(&self, place: &str) -> Fault {
        let cause = format!("loader {}: the answer makes no sense {place}", self.name);
        Fault::new(self.upstream.name(), Reason::Malformed, cause)
    }
}

impl Gathered {
    /// Takes what is kept of `keys`; the ones that are missing.
    fn look(&mut self, asking: Asking<'_>, mut keys: Vec<Arc<str>>) -> Vec<Arc<str>> {
        let inner = asking.inner;
        let Some(kept) = &inner.kept else { return keys };
        keys.retain(|key| match kept.look(key) {
            Look::Good(json) => {
                inner.metrics.hits.inc();
                self.give(key, json, State::Good);
                false
            }
            Look::Worn(entry) => {
                inner.metrics.stale.inc();
                inner.refresh(key, &entry, asking.caller);
                self.give(key, entry.body.clone(), State::Worn);
                false
            }
            Look::Missing(stale) => {
                self.stale.extend(stale.map(|stale| (key.clone(), stale)));
                true
            }
        });
        keys
    }

    fn give(&mut self, key: &Arc<str>, json: Bytes, state: State) {
        self.loaded.insert(key.clone(), Ok(Some(Record { json, state })));
    }

    /// Takes what a call has brought; the keys to ask for anew, and how often they have been waited for.
    fn take(&mut self, inner: &Inner, done: Done) -> (Vec<Arc<str>>, usize) {
        let (keys, outcome, round) = match done {
            Done::Answered(answers) => {
                answers.iter().for_each(|(key, answer)| self.settle(inner, key, answer));
                return (Vec::new(), 0);
            }
            Done::Followed { keys, outcome, round } => (keys, outcome, round + 1),
        };
        let answers = match outcome {
            Outcome::Answers(answers) => answers,
            Outcome::Pass => return (keys, ROUNDS),
            Outcome::Left => return (keys, round),
        };
        let mut again = Vec::new();
        for key in keys {
            match answers.get(&key).filter(|answer| inner.is_valid(answer)) {
                Some(answer) => {
                    inner.metrics.coalesced.inc();
                    self.settle(inner, &key, answer);
                }
                None => again.push(key),
            }
        }
        (again, round)
    }

    fn settle(&mut self, inner: &Inner, key: &Arc<str>, answer: &Answer) {
        let settled = match &answer.value {
            Ok(json) => Ok(json.clone().map(|json| Record { json, state: State::Good })),
            Err(fault) => match self.stale.get(key).filter(|stale| stands_in(stale, fault)) {
                Some(stale) => {
                    inner.metrics.stale.inc();
                    Ok(Some(Record { json: stale.body.clone(), state: State::StandsIn(fault.clone()) }))
                }
                None => Err(fault.clone()),
            },
        };
        self.loaded.insert(key.clone(), settled);
    }
}

impl Inner {
    /// Whether what another request has asked for was not made invalid since.
    fn is_valid(&self, answer: &Answer) -> bool {
        let (kept, marks) = (self.kept.as_ref(), answer.marks.as_deref());
        kept.zip(marks).is_some_and(|(kept, marks)| kept.store.is_valid(marks))
    }
}

/// Whether a value that is no longer good may stand in: for what RFC 5861 section 4 calls an error, and for no answer at all.
fn stands_in(stale: &Entry, fault: &Fault) -> bool {
    let error = match fault.reason {
        Reason::Status(status) => control::is_error(status),
        _ => true,
    };
    error && stale.draft.may_stand_in()
}
