//! What one client is sent, from its first event to its last.
//!
//! It is asked for more when the client has taken what it was given, and reads from the log where it stands: who is slow
//! holds up nobody and has nothing queued. Who is slower than the log is long is sent the state as it is then.
//! Not here: which bytes events are (`event.rs`); ending clients that take nothing at all (`server/`).

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Held, Joined, event, log::Entry, watch::Over};
use crate::{body::Body, handler::Admitted, observability::record::Lasting};

/// One stream.
pub(super) struct Stream {
    joined: Joined,
    changed: watch::Receiver<()>,
    ending: watch::Receiver<bool>,
    /// The last event that the client has.
    seen: u64,
    told_stale: bool,
    /// When it ends, and why then.
    until: (Instant, &'static str),
    admitted: Admitted,
    lasting: Arc<Lasting>,
    begun: bool,
    over: bool,
    _seat: Held,
}

impl Stream {
    /// The events of `joined` after the one `seen`.
    pub(super) fn new(
        joined: Joined,
        seen: u64,
        admitted: Admitted,
        lasting: Arc<Lasting>,
        seat: Held,
    ) -> Self {
        let (changed, ending) = (joined.watch.changed.subscribe(), joined.live.ending.subscribe());
        let until = until(joined.live.max_age, &admitted);
        let (told_stale, begun, over) = (false, false, false);
        Stream {
            joined,
            changed,
            ending,
            seen,
            told_stale,
            until,
            admitted,
            lasting,
            begun,
            over,
            _seat: seat,
        }
    }

    /// The same as a body.
    pub(super) fn body(self) -> Body {
        let frames = stream::unfold(self, |mut stream| async {
            let bytes = stream.next().await?;
            Some((Ok(Frame::data(bytes)), stream))
        });
        Body::stream(StreamBody::new(frames))
    }

    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Some(event::retry("")); // the first bytes: clients know that the stream is open
        }
        loop {
            self.changed.mark_unchanged();
            let news = self.ends().or_else(|| self.news());
            if news.is_some() {
                return news;
            }
            tokio::select! {
                biased;
                _ = self.changed.changed() => {}
                _ = self.ending.wait_for(|ending| *ending) => {}
                () = sleep(self.until.0.saturating_duration_since(Instant::now())) => {}
                () = sleep(self.joined.live.heartbeat) => return Some(event::HEARTBEAT),
            }
        }
    }

    /// The last words, if its time is over.
    fn ends(&mut self) -> Option<Bytes> {
        let (at, why) = self.until;
        let why = match *self.ending.borrow() {
            true => "drained",
            false if Instant::now() >= at => why,
            false => return None,
        };
        Some(self.end(why, event::retry(why)))
    }

    fn end(&mut self, why: &'static str, last: Bytes) -> Bytes {
        self.over = true;
        _ = self.lasting.ended.set(why); // there is one end
        last
    }

    /// What the client does not know yet.
    fn news(&mut self) -> Option<Bytes> {
        let state = self.joined.watch.state.lock();
        let (next, stale, over) = (state.log.after(self.seen).cloned(), state.stale, state.over.clone());
        drop(state);
        if let Some(entry) = next {
            return Some(self.state(entry));
        }
        match over {
            Some(Over::Done) => return Some(self.end("done", event::END)),
            Some(Over::Gone | Over::Failed(_)) => return Some(self.end("gone", event::GONE)),
            Some(Over::Lost) => return Some(self.end("lost", event::retry("lost"))),
            None => {}
        }
        let told = std::mem::replace(&mut self.told_stale, stale);
        (told != stale).then_some(if stale { event::STALE } else { event::FRESH })
    }

    /// A state, if the client may still see it: whose the thing is may have changed.
    fn state(&mut self, entry: Entry) -> Bytes {
        let live = &self.joined.live;
        if live.decide(&entry, &self.admitted).is_err() {
            return self.end("refused", event::GONE);
        }
        if entry.seq > self.seen + 1 {
            live.metrics.skipped.inc();
        }
        live.metrics.events.inc();
        self.lasting.events.fetch_add(1, Relaxed);
        self.seen = entry.seq;
        entry.event
    }
}

/// When a stream ends: with its caller's credential, and not later than it may last.
fn until(max_age: Duration, admitted: &Admitted) -> (Instant, &'static str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = admitted.caller.principal.as_ref().and_then(|principal| principal.expires);
    let left = expires.map(|at| Duration::from_secs(at).saturating_sub(now));
    match left.filter(|left| *left < max_age) {
        Some(left) => (Instant::now() + left, "expired"),
        None => (Instant::now() + max_age, "max_age"),
    }
}
