//! What changes, told while it does: server-sent events (WHATWG HTML section 9.2) of things that services can only be asked
//! for.
//!
//! A watcher asks for the parts of one thing now and then (`watcher.rs`), however many clients want to know of it, and notes
//! what is new in a log (`log.rs`). Each client reads the log at its own pace (`stream.rs`) and goes on where it stopped when
//! it comes back. The rule over a part is decided for each client before its stream begins, and again with each state.
//! Not here: limits on how often a client may ask (`rate_limit/`); what a slow reader is (`server/`).

pub mod config;
mod event;
mod follow;
mod log;
pub mod metrics;
pub(crate) mod stream;
mod watch;
mod watcher;

use std::{collections::HashMap, pin::pin, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::{sync::watch::Sender, time::Instant};

pub use self::{
    config::WatchConfig,
    follow::{Event, Follower, Next},
    metrics::LiveMetrics,
};
use self::{log::Entry, metrics::Counted, stream::Stream, watch::Watch, watcher::Watcher};
use crate::{
    auth::policy::Policy,
    body::{Body, Request, Response},
    cache::config::By,
    composition::Part,
    error::{Code, Error},
    guard::Guard,
    handler::{Admitted, Answer, Handler},
    identity::Caller,
    observability::record::Lasting,
    seats::{Full, Seat, Seats},
    upstream::Fault,
};

/// When to ask for a stream again where there are too many: they last.
const LATER: Duration = Duration::from_secs(5);

/// What one route tells.
pub struct Live {
    parts: Vec<Part>,
    guard: Arc<Guard>,
    /// The part that the route's rule speaks of.
    decides: Option<usize>,
    /// Whether everybody is told the same.
    shared: bool,
    until: Option<Policy>,
    /// How long the first state may take, and each round of asking.
    timeout: Duration,
    every: Duration,
    heartbeat: Duration,
    stale_after: Duration,
    linger: Duration,
    max_age: Duration,
    keep: u32,
    max_keys: u32,
    seats: Arc<Seats>,
    watches: Mutex<HashMap<Box<[u8]>, Arc<Watch>>>,
    /// Set when all streams are to end.
    ending: Sender<bool>,
    metrics: Arc<LiveMetrics>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

/// The same as the handler of a route.
pub struct Watched(pub Arc<Live>);

/// A stream that is counted for as long as it is open.
type Held = (Seat, Counted);

/// Somebody who wants to know of a thing, which is watched for as long.
struct Joined {
    live: Arc<Live>,
    watch: Arc<Watch>,
}

impl Live {
    /// Tells of `parts`, as `config` says. `guard` is asked once the part that it speaks of is there.
    #[must_use]
    pub fn new(
        config: &WatchConfig,
        parts: Vec<Part>,
        until: Option<Policy>,
        guard: &Arc<Guard>,
        timeout: Duration,
        metrics: Arc<LiveMetrics>,
    ) -> Arc<Self> {
        let decides = guard.part().and_then(|name| parts.iter().position(|part| part.name() == name));
        Arc::new(Live {
            parts,
            guard: guard.clone(),
            decides,
            shared: config.by == By::Everyone,
            until,
            timeout,
            every: config.every.0,
            heartbeat: config.heartbeat.0,
            stale_after: config.stale_after.0,
            linger: config.linger.0,
            max_age: config.max_age.0,
            keep: config.keep,
            max_keys: config.max_keys,
            seats: Seats::new(config.max_clients, config.max_per_client),
            watches: Mutex::default(),
            ending: Sender::new(false),
            metrics,
        })
    }

    /// Ends all streams, those that are about to begin too. Clients come back, to whoever answers then.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    async fn open(self: &Arc<Self>, headers: &HeaderMap, admitted: &Admitted) -> Result<Response, Error> {
        let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        if seen == Some(event::LAST) {
            // Otherwise it would come back for ever (WHATWG HTML section 9.2.3).
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            return Ok(response);
        }
        if *self.ending.borrow() {
            return Ok(answer(event::ended()));
        }
        let seat = self.seat(admitted)?;
        let joined = self.join(admitted)?;
        let first = joined.watch.first(admitted.deadline).await;
        if *self.ending.borrow() {
            return Ok(answer(event::ended()));
        }
        first?;
        let (seen, last, took) = self.begin(&joined, seen);
        if let Err(refusal) = self.decide(&last, admitted) {
            // As long as asking takes: how soon nothing is there must not tell whether somebody else watches it.
            _ = admitted.deadline.bound(pin!(tokio::time::sleep(took))).await;
            return Err(refusal);
        }
        joined.watch.settle();
        let lasting = Arc::<Lasting>::default();
        let stream = Stream::new(joined, seen, admitted.again(admitted.deadline), lasting.clone(), seat);
        let mut response = answer(stream.body());
        response.extensions_mut().insert(lasting);
        Ok(response)
    }

    /// A place for one more stream: 429 when the caller has as many as it may, 503 when all together have.
    fn seat(&self, admitted: &Admitted) -> Result<Held, Error> {
        let seat = self.seats.take(admitted).map_err(|full| {
            self.metrics.refused.inc();
            let (code, why) = match full {
                Full::Caller => (Code::RateLimited, "max_per_client: as many streams as one client may have"),
                Full::All => (Code::Overloaded, "max_clients: as many streams as there may be"),
            };
            Error::new(code, why).retry_after(LATER)
        })?;
        Ok((seat, Counted::new(&self.metrics, |live| &live.streams)))
    }

    /// Where a client stands that has the event `id`, the state as it is now, and how long asking for it took.
    fn begin(&self, joined: &Joined, id: Option<&str>) -> (u64, Entry, Duration) {
        let state = joined.watch.state.lock();
        let last =
            state.log.last().cloned().expect("there is a first state, and the last one is always kept");
        let resumed = id.and_then(|id| state.log.resume(id));
        if id.is_some() {
            let counter = if resumed.is_some() { &self.metrics.resumed } else { &self.metrics.restarted };
            counter.inc();
        }
        (resumed.unwrap_or(last.seq - 1), last, state.took)
    }

    /// Whether the caller may see this state, as far as the route's rule speaks of it.
    fn decide(&self, entry: &Entry, admitted: &Admitted) -> Result<(), Error> {
        let Some(part) = self.decides.and_then(|index| self.parts.get(index)) else { return Ok(()) };
        self.guard.decide_by_part(part, entry.decides.as_deref().unwrap_or(b"null"), admitted)
    }

    /// What is asked for, and on whose behalf: those who share it share a watcher.
    ///
    /// # Errors
    /// When something that it takes to ask was not sent, or is not known of the caller.
    fn key(&self, admitted: &Admitted) -> Result<Box<[u8]>, Error> {
        let (mut key, caller) = (Vec::new(), self.asking(admitted));
        for part in &self.parts {
            let target = part.written(&caller, &admitted.params).map_err(Fault::into_error)?;
            key.extend_from_slice(target.as_str().as_bytes());
            key.push(b'\n');
        }
        if let Some(whose) = admitted.caller.whose(false).filter(|_| !self.shared) {
            key.extend_from_slice(&whose.owned());
        }
        Ok(key.into())
    }

    /// On whose behalf services are asked.
    fn asking(&self, admitted: &Admitted) -> Caller {
        if self.shared { admitted.caller.unnamed() } else { admitted.caller.clone() }
    }

    /// Joins those who want to know of a thing, or has it watched.
    fn join(self: &Arc<Self>, admitted: &Admitted) -> Result<Joined, Error> {
        let key = self.key(admitted)?;
        let mut watches = self.watches.lock();
        if let Some(watch) = watches.get(&key) {
            *watch.clients.lock() += 1;
            return Ok(Joined { live: self.clone(), watch: watch.clone() });
        }
        if watches.len() >= self.max_keys as usize && !give_up_one(&mut watches) {
            self.metrics.refused.inc();
            let error = Error::new(Code::Overloaded, "max_keys: as many things are watched as may be");
            return Err(error.retry_after(LATER));
        }
        let watch = Arc::new(Watch::new(self.keep));
        *watch.clients.lock() += 1;
        watches.insert(key.clone(), watch.clone());
        drop(watches); // a watcher that cannot be spawned takes itself away
        let watcher = Watcher::new(self, &watch, key, admitted);
        tokio::spawn(watcher.run());
        Ok(Joined { live: self.clone(), watch })
    }

    /// Whether nobody wants to know of it any more, and nobody came back for long enough; then it is forgotten. `alone` is
    /// since when that is so.
    fn is_left(&self, key: &[u8], watch: &Arc<Watch>, alone: &mut Option<Instant>) -> bool {
        let mut watches = self.watches.lock();
        if !watches.get(key).is_some_and(|known| Arc::ptr_eq(known, watch)) {
            return true; // its place was needed
        }
        if *watch.clients.lock() > 0 {
            *alone = None;
            return false;
        }
        let left = alone.get_or_insert_with(Instant::now).elapsed() >= self.linger_for(watch);
        if left {
            watches.remove(key);
        }
        left
    }

    /// How long what was seen is kept for those who may come back.
    fn linger_for(&self, watch: &Watch) -> Duration {
        if watch.settled.load(Relaxed) { self.linger } else { Duration::ZERO }
    }

    fn forget(&self, key: &[u8], watch: &Arc<Watch>) {
        let mut watches = self.watches.lock();
        if watches.get(key).is_some_and(|known| Arc::ptr_eq(known, watch)) {
            watches.remove(key);
        }
    }
}

/// Forgets one that nobody looks at: it is only kept for those who may come back, or was asked for by who may not. Whether there
/// was one. Otherwise a caller who asks for one thing after the other would hold the places of all.
fn give_up_one(watches: &mut HashMap<Box<[u8]>, Arc<Watch>>) -> bool {
    let left = watches.iter().find(|(_, watch)| *watch.clients.lock() == 0).map(|(key, _)| key.clone());
    left.is_some_and(|key| watches.remove(&key).is_some())
}

fn answer(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers before they pass them on would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Drop for Joined {
    fn drop(&mut self) {
        *self.watch.clients.lock() -= 1;
    }
}

impl Handler for Watched {
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(self.0.open(request.headers(), admitted))
    }
}
