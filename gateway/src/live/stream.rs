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
use tokio::time::{Instant, sleep};

use super::{
    Held, Joined, event,
    follow::{Follower, News},
    watch::Over,
};
use crate::{body::Body, handler::Admitted, observability::record::Lasting};

/// One stream.
pub(super) struct Stream {
    follower: Follower,
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
        let until = until(joined.live.max_age, &admitted);
        let follower = Follower::new(joined, seen);
        Stream { follower, until, admitted, lasting, begun: false, over: false, _seat: seat }
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
            self.follower.mark_seen();
            let news = self.ends().or_else(|| self.news());
            if news.is_some() {
                return news;
            }
            let (until, heartbeat) = (self.until.0, self.follower.live().heartbeat);
            tokio::select! {
                biased;
                () = self.follower.stirs() => {}
                () = sleep(until.saturating_duration_since(Instant::now())) => {}
                () = sleep(heartbeat) => return Some(event::HEARTBEAT),
            }
        }
    }

    /// The last words, if its time is over.
    fn ends(&mut self) -> Option<Bytes> {
        let (at, why) = self.until;
        let why = match self.follower.is_ending() {
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
        let admitted = &self.admitted;
        match self.follower.news(|live, entry| live.decide(entry, admitted).is_ok())? {
            News::State(entry) => {
                self.lasting.events.fetch_add(1, Relaxed);
                Some(entry.event)
            }
            // Whose the thing is may have changed.
            News::Refused => Some(self.end("refused", event::GONE)),
            News::Stale(stale) => Some(if stale { event::STALE } else { event::FRESH }),
            News::Over(Over::Done) => Some(self.end("done", event::END)),
            News::Over(Over::Gone | Over::Failed(_)) => Some(self.end("gone", event::GONE)),
            News::Over(Over::Lost) => Some(self.end("lost", event::retry("lost"))),
        }
    }
}

/// When a stream ends: with its caller's credential, and not later than it may last.
pub(crate) fn until(max_age: Duration, admitted: &Admitted) -> (Instant, &'static str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = admitted.caller.principal.as_ref().and_then(|principal| principal.expires);
    let left = expires.map(|at| Duration::from_secs(at).saturating_sub(now));
    match left.filter(|left| *left < max_age) {
        Some(left) => (Instant::now() + left, "expired"),
        None => (Instant::now() + max_age, "max_age"),
    }
}
