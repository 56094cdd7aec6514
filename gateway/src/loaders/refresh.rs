//! Values that are no longer good are asked for anew in the background, all that came with one call by the same call: with
//! its validators, so that nothing is sent twice that has not changed.
//!
//! A call at a time for each former call, a handful for each loader, through the circuit breaker as all calls. It stops
//! when the loader goes: at the end, or with the configuration that had it.
//! Not here: what is given out meanwhile (`asking.rs`).

use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{
    Inner,
    asking::Batch,
    kept::{Kept, Look},
};
use crate::{
    cache::{Entry, Stood, control},
    deadline::Deadline,
    identity::Caller,
    upstream::{Anew, Fault, Reason},
};

/// The most calls in the background at once.
const MOST: usize = 4;
/// After a failure its place stays taken for so long: a service that is down is not asked on each request.
const PAUSE: Duration = Duration::from_secs(1);

/// Which former calls are being made anew.
#[derive(Default)]
pub(super) struct Refreshing(Mutex<HashSet<HeaderValue>>);

/// The right to make one anew.
struct Turn {
    refreshing: Arc<Refreshing>,
    target: HeaderValue,
}

impl Refreshing {
    fn begin(self: &Arc<Self>, target: &HeaderValue) -> Option<Turn> {
        let mut running = self.0.lock();
        let free = running.len() < MOST && running.insert(target.clone());
        free.then(|| Turn { refreshing: self.clone(), target: target.clone() })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.refreshing.0.lock().remove(&self.target);
    }
}

impl Inner {
    /// Has what `entry` came with asked for anew, unless that is being done, or enough of the kind is.
    pub(super) fn refresh(self: &Arc<Self>, key: &str, entry: &Arc<Entry>, caller: &Caller) {
        let (Some(kept), Some(target)) = (&self.kept, entry.draft.headers.get(header::CONTENT_LOCATION))
        else {
            return;
        };
        let Some(turn) = kept.refreshing.begin(target) else { return };
        if matches!(kept.look(key), Look::Good(_)) {
            return; // it has just been done
        }
        let (inner, entry, caller, mut running) =
            (self.clone(), entry.clone(), caller.clone(), self.running.clone());
        tokio::spawn(async move {
            let refreshed = pin!(inner.refreshed(&turn, &entry, &caller));
            tokio::select! {
                biased;
                _ = running.changed() => {}
                () = refreshed => {}
            }
        });
    }

    async fn refreshed(&self, turn: &Turn, old: &Entry, caller: &Caller) {
        let Some(kept) = &self.kept else { return };
        match pin!(self.ask_anew(kept, turn, old, caller)).await {
            Ok(true) => drop(self.metrics.replaced.inc()),
            Ok(false) => drop(self.metrics.renewed.inc()),
            Err(fault) => {
                self.metrics.failed.inc();
                tracing::debug!(loader = &*self.name, %fault, "values could not be refreshed");
                sleep(PAUSE).await;
            }
        }
    }

    /// Whether something new came.
    async fn ask_anew(&self, kept: &Kept, turn: &Turn, old: &Entry, caller: &Caller) -> Result<bool, Fault> {
        let written = turn
            .target
            .to_str()
            .ok()
            .and_then(|text| Some((text.parse::<PathAndQuery>().ok()?, self.target.read(text)?)));
        let Some((target, keys)) = written else {
            return Err(Fault::new(self.upstream.name(), Reason::Malformed, "no call of this loader"));
        };
        let (before, asked) = (kept.before(&keys), Instant::now());
        let deadline = Deadline::after(self.config.timeout.0);
        let conditions = control::conditions(&old.draft.headers);
        let ask = |_no_body| {
            let mut request = caller.get(&target, deadline);
            request.fields.extend(&conditions);
            request
        };
        match self.upstream.fetch_anew(&ask, deadline, self.config.max_size.0).await? {
            Anew::NotModified(told) => {
                let conditional = !conditions.is_empty();
                let why = "304 to a call without conditions";
                let fault = || Fault::new(self.upstream.name(), Reason::Malformed, why);
                conditional.then(|| renew(kept, old, &told, &keys, &before, asked)).ok_or_else(fault)?;
                Ok(false)
            }
            Anew::Changed(fetched) => {
                let batch = Batch { keys: &keys, before: Some(&before), asked, target: target.as_str() };
                self.take_in(&batch, &fetched)?;
                Ok(true)
            }
        }
    }
}

/// Nothing has changed, says the service: what is still there of that call is good again (RFC 9111 section 4.3.4).
fn renew(kept: &Kept, old: &Entry, told: &HeaderMap, keys: &[Arc<str>], before: &[Stood], asked: Instant) {
    let mut headers = old.draft.headers.clone();
    let location = headers.remove(header::CONTENT_LOCATION);
    control::update(&mut headers, told);
    let draft = location.and_then(|location| kept.draft(StatusCode::OK, &headers, location, asked));
    for (key, before) in keys.iter().zip(before) {
        let Some(entry) = kept.of_the_same_call(key, old) else { continue };
        match (&draft, before.marks(&kept.store, &[&headers])) {
            (Some(draft), Some(marks)) => kept.put(key, draft, entry.body.clone(), marks),
            (None, _) => kept.remove(key),
            (Some(_), None) => {} // a tag was purged meanwhile, and it may have been one of these
        }
    }
}
