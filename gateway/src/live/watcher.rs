//! One watcher: asks for the parts of one thing again and again, and notes what it sees. All who want to know of that thing
//! share it; it begins with the first and ends a while after the last.
//!
//! What is asked for is asked as always: through breakers, limits and deadlines, and by one round at a time. A part that
//! cannot be had is left alone for longer and longer, and what was known of it stays; an optional one that is a 404 is not
//! there, which is something to tell.
//! Not here: what clients are sent (`stream.rs`).

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Live,
    metrics::Counted,
    watch::{Over, Watch},
};
use crate::{
    auth::policy::{Decision, Facts},
    composition::Part,
    deadline::Deadline,
    handler::Admitted,
    identity::Caller,
    observability::trace::{self, Trace},
    routing::Params,
    upstream::{Fault, Fetched, Reason},
};

/// A service that is down is asked this seldom at most, unless it names a later time itself.
const SELDOM: Duration = Duration::from_secs(30);
/// However late it names.
const SELDOMEST: Duration = Duration::from_secs(300);

/// A watcher, which is ended by dropping it.
pub(super) struct Watcher {
    live: Arc<Live>,
    watch: Arc<Watch>,
    key: Box<[u8]>,
    params: Params,
    /// On whose behalf it asks.
    caller: Caller,
    /// By the parts.
    known: Vec<Known>,
    /// Whether there is a state already.
    begun: bool,
    _counted: Counted,
}

/// What is known of a part.
#[derive(Default)]
struct Known {
    json: Option<Bytes>,
    tag: Option<HeaderValue>,
    /// Since when it could not be had, how often in a row, and until when it is left alone.
    failing: Option<(Instant, u32, Instant)>,
}

/// What a round has brought of a part; nothing if it was left alone.
type Asked = Option<Result<Option<Fetched>, Fault>>;

impl Watcher {
    /// One that asks on behalf of whoever came first, or of nobody where everybody shares it.
    pub(super) fn new(live: &Arc<Live>, watch: &Arc<Watch>, key: Box<[u8]>, admitted: &Admitted) -> Self {
        let caller = live.asking(admitted);
        let known = live.parts.iter().map(|_| Known::default()).collect();
        let _counted = Counted::new(&live.metrics, |live| &live.watchers);
        let (live, watch, params) = (live.clone(), watch.clone(), admitted.params.clone());
        Watcher { live, watch, key, params, caller, known, begun: false, _counted }
    }

    /// Watches until nobody wants to know any more, or there is nothing more to see, and a while longer for those who missed the end.
    pub(super) async fn run(mut self) {
        let mut ending = self.live.ending.subscribe();
        let mut alone = None;
        while Box::pin(self.round()).await.is_continue() {
            let pause = self.live.every.mul_f64(0.9 + 0.2 * fastrand::f64()); // instances do not ask in step
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => return,
                () = tokio::time::sleep(pause) => {}
            }
            if self.live.is_left(&self.key, &self.watch, &mut alone) {
                return;
            }
        }
        if self.watch.is_done() {
            let lingering = tokio::time::sleep(self.live.linger_for(&self.watch));
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => {}
                () = lingering => {}
            }
        }
    }

    async fn round(&mut self) -> ControlFlow<()> {
        let begun = Instant::now();
        // Each round is a request of its own to services; the client's trace would never end.
        let request_id = HeaderValue::from_bytes(&trace::hex::<32>(fastrand::u128(..)));
        self.caller.request_id = request_id.expect("hexadecimal digits");
        self.caller.trace = Trace::of(&HeaderMap::new());
        // Whoever waits for the first state still gets its error, or what is there without the optional parts.
        let (soon, sooner) = (self.live.timeout.mul_f64(0.95), self.live.timeout.mul_f64(0.9));
        let asking = self.live.parts.iter().zip(&self.known).map(|(part, known)| {
            let until = Deadline::of(begun, if part.optional() { sooner } else { soon });
            known.ask(part, &self.caller, &self.params, until)
        });
        match try_join_all(asking).await {
            Ok(asked) => self.note(asked, begun),
            Err(over) => {
                self.live.metrics.failed.inc();
                self.watch.is_over(over);
                ControlFlow::Break(())
            }
        }
    }

    fn note(&mut self, asked: Vec<Asked>, begun: Instant) -> ControlFlow<()> {
        let (mut changed, mut failed) = (!std::mem::replace(&mut self.begun, true), false);
        for (known, asked) in self.known.iter_mut().zip(asked) {
            let Some(answer) = asked else { continue };
            failed |= known.note(answer, &mut changed, self.live.every);
        }
        let metrics = &self.live.metrics;
        let outcome = if failed { &metrics.failed } else { &metrics.unchanged };
        (if changed { &metrics.changed } else { outcome }).inc();
        let stale = self.known.iter().any(|known| known.fails_for(self.live.stale_after));
        let done = changed && self.is_done();
        let decides = self.live.decides.and_then(|index| self.known.get(index)?.json.clone());
        let json = changed.then(|| (self.json(), decides));
        self.watch.note(json, stale, done, begun.elapsed());
        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// One JSON object of all parts that are there.
    fn json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (part, known) in self.live.parts.iter().zip(&self.known) {
            let Some(json) = &known.json else { continue };
            out.push(if out.is_empty() { b'{' } else { b',' });
            out.extend_from_slice(format!("\"{}\":", part.name()).as_bytes());
            out.extend_from_slice(json);
        }
        if out.is_empty() {
            out.push(b'{');
        }
        out.push(b'}');
        out
    }

    /// Whether nothing will change any more, as the route's `until` says.
    fn is_done(&self) -> bool {
        let Some(until) = &self.live.until else { return false };
        let view = |(part, known): (&Part, &Known)| {
            let json = known.json.as_ref()?;
            Some((part.name().to_owned(), until.view(part.name(), json).ok()?))
        };
        let views: Vec<(String, Value)> = self.live.parts.iter().zip(&self.known).filter_map(view).collect();
        let seen = |name: &str| views.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let facts = Facts {
            claims: None,
            path: &|_| None,
            query: "",
            body: None,
            part: &|name| seen(name).or(Some(&Value::Null)),
        };
        until.decide(&facts) == Decision::Allow
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.live.forget(&self.key, &self.watch);
        self.watch.is_over(Over::Lost); // unless it is over for another reason
    }
}

impl Known {
    /// The part as it is now, unless it is to be left alone.
    ///
    /// # Errors
    /// When there is nothing to watch without it.
    async fn ask(
        &self,
        part: &Part,
        caller: &Caller,
        params: &Params,
        until: Deadline,
    ) -> Result<Asked, Over> {
        if self.failing.is_some_and(|(_, _, rests_until)| Instant::now() < rests_until) {
            return Ok(None);
        }
        match part.fetch_anew(caller, params, until, self.tag.as_ref()).await {
            Err(fault) if !part.optional() && self.json.is_none() => Err(Over::Failed(fault)),
            Err(fault) if !part.optional() && is_absence(&fault) => Err(Over::Gone),
            answer => Ok(Some(answer)),
        }
    }

    /// Notes what became of asking for it. Returns whether that failed.
    fn note(&mut self, answer: Result<Option<Fetched>, Fault>, changed: &mut bool, every: Duration) -> bool {
        match answer {
            Ok(None) => {}
            Ok(Some(Fetched { json, headers, .. })) => {
                // A copy: the value that came would keep the connection's whole read buffer alive.
                let tag = headers.get(header::ETAG);
                self.tag = tag.and_then(|tag| HeaderValue::from_bytes(tag.as_bytes()).ok());
                if self.json.as_ref() != Some(&json) {
                    self.json = Some(Bytes::copy_from_slice(&json));
                    *changed = true;
                }
            }
            Err(fault) if is_absence(&fault) => {
                *changed |= self.json.take().is_some();
                self.tag = None;
            }
            Err(fault) => {
                self.fail(&fault, every);
                return true;
            }
        }
        self.failing = None;
        false
    }

    /// Leaves it alone for twice as long as the last time.
    fn fail(&mut self, fault: &Fault, every: Duration) {
        let now = Instant::now();
        let (since, times, _) = self.failing.unwrap_or((now, 0, now));
        let pause = (every * 2_u32.pow(times.min(10))).min(SELDOM.max(every));
        let pause = fault.retry_after.map_or(pause, |later| later.clamp(pause, SELDOMEST.max(pause)));
        let pause = pause.mul_f64(0.9 + 0.2 * fastrand::f64());
        self.failing = Some((since, times.saturating_add(1), now + pause));
    }

    fn fails_for(&self, long: Duration) -> bool {
        self.failing.is_some_and(|(since, ..)| since.elapsed() >= long)
    }
}

/// Whether the service says that there is no such thing.
fn is_absence(fault: &Fault) -> bool {
    matches!(fault.reason, Reason::Status(StatusCode::NOT_FOUND | StatusCode::GONE))
}
