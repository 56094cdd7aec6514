//! A body on its way into the cache, which all who asked for it read at the same time.
//!
//! It is pulled by whoever reads fastest, so it goes on when the one who asked first goes away, and ends when nobody reads
//! any more. Only a body that came to its end is kept. One that turns out to be too large is kept no further than its
//! slowest reader needs it, and the fastest waits for that one.
//! Not here: what is done with it when it is whole (`store.rs`).

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

use bytes::{Bytes, BytesMut};
use http::header;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;

use super::{
    entry::{Draft, Entry},
    flight::Lead,
    store::Store,
};
use crate::{
    body::{Body, BodyError},
    deadline::Deadline,
};

/// What one body may hold while all together take too much: about what a connection reads at once.
const CROWDED: u64 = 64 << 10;

/// An answer whose head is there.
pub struct Filling {
    /// All that is known of it.
    pub draft: Draft,
    store: Arc<Store>,
    hash: u64,
    length: Option<u64>,
    waiting: Arc<Waiting>,
    state: Mutex<State>,
}

struct State {
    source: Option<Body>,
    /// What has come, but for the first `gone` frames.
    frames: VecDeque<Bytes>,
    gone: usize,
    /// Bytes in `frames`.
    held: usize,
    /// Whether it will be kept.
    kept: bool,
    /// How far each reader is; nothing for those who have gone.
    readers: Vec<Option<usize>>,
    end: Option<End>,
    /// Nobody can join any more once it is dropped.
    lead: Option<Lead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

/// Who waits for the next frame: the source knows only one, and that one may go away.
#[derive(Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let all = std::mem::take(&mut *self.0.lock());
        all.into_iter().for_each(Waker::wake);
    }
}

impl Filling {
    /// An answer whose body is `source`. Those who follow `lead` get it too, if they may.
    #[must_use]
    pub fn begin(store: Arc<Store>, hash: u64, draft: Draft, source: Body, lead: Lead) -> Arc<Self> {
        let length = draft.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let shared = draft.is_shareable();
        let state = State {
            source: Some(source),
            frames: VecDeque::new(),
            gone: 0,
            held: 0,
            kept: true,
            readers: Vec::new(),
            end: None,
            lead: None,
        };
        let waiting = Arc::default();
        let filling = Arc::new(Filling { draft, store, hash, length, waiting, state: Mutex::new(state) });
        {
            let mut state = filling.state.lock();
            if state.source.as_ref().is_some_and(http_body::Body::is_end_stream) {
                filling.end(&mut state, End::Whole); // nobody would ask for nothing
            }
        }
        if shared && filling.state.lock().end.is_some() {
            lead.end(super::flight::Outcome::LookAgain);
        } else if shared {
            lead.fill(&filling);
            filling.state.lock().lead = Some(lead);
        } else {
            lead.end(super::flight::Outcome::Pass);
        }
        filling
    }

    /// Its body from the beginning. None once that is not there any more.
    #[must_use]
    pub fn read(self: &Arc<Self>) -> Option<Body> {
        let mut state = self.state.lock();
        if state.gone > 0 || state.end == Some(End::Broken) {
            return None;
        }
        state.readers.push(Some(0));
        let number = state.readers.len() - 1;
        Some(Body::stream(Reader { filling: self.clone(), number, at: 0 }))
    }

    /// Reads it whole for the cache alone, when the one who asked needs nothing of it.
    pub fn keep(self: &Arc<Self>, until: Deadline) {
        let Some(mut body) = self.read() else { return };
        tokio::spawn(async move {
            let whole = async { while let Some(Ok(_)) = body.frame().await {} };
            _ = until.bound(std::pin::pin!(whole)).await;
        });
    }

    fn poll(&self, at: usize, number: usize, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.state.lock();
        loop {
            if let Some(frame) = state.frames.get(at - state.gone) {
                let frame = frame.clone();
                state.readers[number] = Some(at + 1);
                if !state.kept && self.let_go(&mut state) {
                    drop(state);
                    self.waiting.clone().wake();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            match state.end {
                Some(End::Whole) => return Poll::Ready(None),
                Some(End::Broken) => return Poll::Ready(Some(Err(BodyError::GivenUp))),
                None => {}
            }
            self.waiting.0.lock().push(cx.waker().clone());
            if !state.kept && state.held as u64 > self.window() {
                return Poll::Pending; // until the slowest has read on
            }
            if let Poll::Ready(error) = self.pull(&mut state) {
                self.waiting.clone().wake();
                if let Some(error) = error {
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            }
            return Poll::Pending;
        }
    }

    /// Takes the next frame from the source.
    fn pull(&self, state: &mut State) -> Poll<Option<BodyError>> {
        let Some(source) = &mut state.source else { return Poll::Ready(None) };
        let waker = Waker::from(self.waiting.clone());
        let frame = Pin::new(source).poll_frame(&mut Context::from_waker(&waker));
        let Poll::Ready(frame) = frame else { return Poll::Pending };
        let error = match frame {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    state.held += data.len();
                    self.store.coming.fetch_add(data.len() as u64, Relaxed);
                    state.frames.push_back(data);
                    if state.kept && state.held as u64 > self.window() {
                        state.kept = false;
                        state.lead = None; // too late for others
                        self.let_go(state);
                    }
                }
                // Whoever knows the length does not ask for more.
                if state.source.as_ref().is_some_and(http_body::Body::is_end_stream) {
                    self.end(state, End::Whole);
                }
                None
            }
            None => {
                self.end(state, End::Whole);
                None
            }
            Some(Err(error)) => {
                self.end(state, End::Broken);
                Some(error)
            }
        };
        Poll::Ready(error)
    }

    /// How much of it may be held.
    fn window(&self) -> u64 {
        let most = self.store.config().max_object.0;
        if self.store.is_crowded() { most.min(CROWDED) } else { most }
    }

    /// Forgets what every reader has read. Whether there was any.
    fn let_go(&self, state: &mut State) -> bool {
        let needed = state.readers.iter().flatten().min().copied().unwrap_or(state.gone);
        let before = state.held;
        while state.gone < needed
            && let Some(frame) = state.frames.pop_front()
        {
            state.held -= frame.len();
            state.gone += 1;
        }
        self.store.coming.fetch_sub((before - state.held) as u64, Relaxed);
        before != state.held
    }

    fn end(&self, state: &mut State, end: End) {
        state.end = Some(end);
        state.source = None;
        let told = self.length.is_none_or(|length| length == state.held as u64) || self.draft.status == 204;
        if end == End::Whole && state.kept && told {
            let body = joined(&state.frames, state.held);
            self.store.put(self.hash, Entry { draft: self.draft.clone(), body });
        }
        state.lead = None; // after it is there, so that nobody asks in between
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.store.coming.fetch_sub(self.state.get_mut().held as u64, Relaxed);
    }
}

/// In memory of its own: a frame may be a small part of the connection's read buffer.
fn joined(frames: &VecDeque<Bytes>, size: usize) -> Bytes {
    let mut all = BytesMut::with_capacity(size);
    frames.iter().for_each(|frame| all.extend_from_slice(frame));
    all.freeze()
}

/// One who reads.
struct Reader {
    filling: Arc<Filling>,
    number: usize,
    at: usize,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.filling.poll(self.at, self.number, cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            self.at += 1;
        }
        polled.map(|frame| frame.map(|frame| frame.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.filling.state.lock();
        state.end == Some(End::Whole) && self.at == state.gone + state.frames.len()
    }

    fn size_hint(&self) -> SizeHint {
        // Only what is still to come counts, and nobody asks once reading has begun.
        self.filling.length.filter(|_| self.at == 0).map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.filling.state.lock();
        state.readers[self.number] = None;
        if !state.kept {
            self.filling.let_go(&mut state);
        }
        drop(state);
        // The others go on where this one stopped pulling.
        self.filling.waiting.clone().wake();
    }
}
