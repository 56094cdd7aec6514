//! Bodies of requests and answers, one type for both directions: bytes that are there, a stream from a connection, nothing.
//!
//! Streams are never collected here and pull only when their reader does: backpressure goes through.
//! Not here: returning a connection to its pool (`upstream/pool.rs`), writing the access log at the end (`observability/`).

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant as StdInstant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

/// A request as the pipeline sees it.
pub type Request = http::Request<Body>;
/// An answer as the pipeline sees it.
pub type Response = http::Response<Body>;

/// The most header fields of a request. Over HTTP/1.1 it is hyper that refuses more; over HTTP/2 a field of the table takes one
/// byte (RFC 7541 section 6.1), and here a hundred times as many.
pub const MOST_FIELDS: usize = 100;

/// What a header section takes: its names and values, and the four bytes around each in HTTP/1.1.
#[must_use]
pub fn head_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Whether a body is not what it stands for until it is decoded (RFC 9110 section 8.4). Nothing is ever decoded here: a few KiB
/// may decode to as many GiB.
#[must_use]
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether a body says of itself that it is JSON, in a way that everybody understands: one `Content-Type`, `application/json` or
/// `+json` (RFC 6839 section 3.1), and if that names a character encoding, UTF-8 (RFC 8259 section 8.1).
#[must_use]
pub fn is_plain_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next(), types.next()) else { return false };
    let typed = only.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut pieces = typed.split(';').map(str::trim);
    let essence = pieces.next().unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-._".contains(&byte);
    let known = essence == "application/json" || essence.ends_with("+json");
    let utf8 = |piece: &str| match piece.split_once('=') {
        Some((name, value)) if name.trim() == "charset" => matches!(value.trim(), "utf-8" | "\"utf-8\""),
        _ => true,
    };
    // A comma would begin a second type.
    known && essence.bytes().all(is_word) && !typed.contains(',') && pieces.all(utf8)
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client sent more than the route takes.
    #[error("the request body is over the limit of {0} bytes")]
    TooLarge(u64),
    /// The client has sent nothing for too long.
    #[error("no byte of the client's body came for {0:?}")]
    Stalled(Duration),
    /// The client stopped sending in mid-body.
    #[error("the client's body broke off, or is not framed as it says: {0}")]
    ClientGone(hyper::Error),
    /// The service stopped sending in mid-body.
    #[error("the upstream's answer was cut short: {0}")]
    CutShort(hyper::Error),
    /// The same over HTTP/1.1.
    #[error("the upstream's answer was cut short: {0}")]
    Lost(io::Error),
    /// The service's answer does not end where it says, or not at all.
    #[error("the upstream's answer was cut short: {0}")]
    Misframed(&'static str),
    /// A request's body is not as long as it says.
    #[error("the request's body is not as long as it says")]
    WrongLength,
    /// The service gave its answer up in mid-body without saying why.
    #[error("the upstream gave its answer up in mid-body")]
    GivenUp,
    /// The service's answer has more bytes than its upstream may send.
    #[error("the upstream's answer is over the limit of {0} bytes")]
    AnswerTooLarge(u64),
    /// The request's deadline passed in mid-body.
    #[error("the deadline passed in mid-body")]
    Deadline,
}

/// A stream of frames from somewhere else.
pub type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// A body. Default: empty.
#[derive(Default)]
pub enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// Bytes that are there already.
    Full(Bytes),
    /// What a client sends, up to a limit. Boxed: most requests have no body, and all are moved about.
    Client(Box<ClientBody>),
    /// Anything else.
    Stream(Stream),
}

/// What a client sends; an error once it is more than `limit` bytes, or none come for too long.
pub struct ClientBody {
    /// None once it is over the limit, or late.
    incoming: Option<Incoming>,
    limit: u64,
    seen: u64,
    /// How long the client may be silent.
    patience: Duration,
    /// Set up only when the client keeps its reader waiting: most bodies come with their header section.
    alarm: Option<Alarm>,
    upload: Arc<Upload>,
}

/// Goes off when a client has been silent for too long.
struct Alarm {
    at: Pin<Box<Sleep>>,
    /// What had been seen when it was set.
    seen: u64,
}

/// Whether a request waits for its client, and for how long it has: then it is not the service that is late. Written by the
/// worker that reads the body, so loads and stores suffice.
#[derive(Debug, Default)]
pub struct Upload {
    /// Since when the next bytes have been waited for, in microseconds on [`BEGUN`]; 0 while they are not.
    since: AtomicU64,
    /// Microseconds of waiting that are over.
    waited: AtomicU64,
    over: AtomicBool,
    stalled: AtomicBool,
}

/// When the clock of uploads began. It is read only when a client keeps its reader waiting.
static BEGUN: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);

/// Microseconds on that clock, at least one.
fn micros() -> u64 {
    BEGUN.elapsed().as_micros() as u64 + 1
}

impl Upload {
    /// Whether the next bytes of the body have been asked for and are not there.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.since.load(Ordering::Relaxed) > 0
    }

    /// How long the client has kept its reader waiting until now, all in all.
    #[must_use]
    pub fn waited(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed);
        let still = if since > 0 { micros().saturating_sub(since) } else { 0 };
        Duration::from_micros(self.waited.load(Ordering::Relaxed) + still)
    }

    /// Whether so much of the time that a call `took` was the client's that it does not tell how quick the service is: more
    /// than a tenth. Half would be too much to leave to clients, since a service that needs half of its time would then be
    /// late whenever they like.
    #[must_use]
    pub fn delayed(&self, took: Duration) -> bool {
        self.waited() > took / 10
    }

    /// The next bytes are waited for, or they are there.
    fn note(&self, waits: bool) {
        let since = self.since.load(Ordering::Relaxed);
        match (since > 0, waits) {
            (false, true) => self.since.store(micros(), Ordering::Relaxed),
            (true, false) => {
                let waited = self.waited.load(Ordering::Relaxed) + micros().saturating_sub(since);
                self.waited.store(waited, Ordering::Relaxed);
                self.since.store(0, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    /// Whether the client has sent more than it may.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether the client has sent nothing for longer than it may.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }
}

impl Body {
    /// A body that is there already.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body::Full(bytes.into())
    }

    /// A body that comes from elsewhere.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Body::Stream(Box::pin(body))
    }

    /// What a client sends; unlimited until [`Body::limit`].
    #[must_use]
    pub fn client(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            Body::Empty
        } else {
            Body::Client(Box::new(ClientBody {
                incoming: Some(incoming),
                limit: u64::MAX,
                seen: 0,
                patience: Duration::MAX,
                alarm: None,
                upload: Arc::default(),
            }))
        }
    }

    /// Takes at most `limit` bytes from a client, which is silent for `patience` at most while they are waited for.
    ///
    /// # Errors
    /// When the client has declared more than that.
    pub fn limit(&mut self, limit: u64, patience: Duration) -> Result<(), BodyError> {
        let declared = self.size_hint().lower();
        if let Body::Client(body) = self {
            (body.limit, body.patience) = (limit, patience);
        }
        if declared > limit { Err(BodyError::TooLarge(limit)) } else { Ok(()) }
    }

    /// How the client's sending goes on, if this comes from a client.
    #[must_use]
    pub fn upload(&self) -> Option<Arc<Upload>> {
        if let Body::Client(body) = self { Some(body.upload.clone()) } else { None }
    }

    /// The same once more, if it is all there.
    #[must_use]
    pub fn again(&self) -> Option<Body> {
        match self {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Client(_) | Body::Stream(_) => None,
        }
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self, Body::Empty)
    }

    /// Reads it whole. Only for bodies that the gateway itself must understand; always behind a limit.
    ///
    /// # Errors
    /// When it ended before its end.
    pub async fn collect(mut self) -> Result<Bytes, BodyError> {
        if let Body::Full(bytes) = self {
            return Ok(bytes);
        }
        let mut all = BytesMut::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if all.is_empty() && self.is_end_stream() {
                return Ok(data); // the usual case: one frame, not copied
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    /// Reads and forgets what a refused client is still sending, so that it gets to read the answer instead of a reset
    /// (RFC 9112 section 9.6). Bounded: then the connection is closed on it.
    pub fn linger(self) {
        if let Body::Client(body) = self {
            body.incoming.into_iter().for_each(forget);
        }
    }
}

/// Reads what a client still sends, without keeping it.
fn forget(mut incoming: Incoming) {
    const LONGEST: Duration = Duration::from_secs(5);
    const MOST: usize = 64 << 20;
    tokio::spawn(tokio::time::timeout(LONGEST, async move {
        let mut seen = 0;
        while let Some(Ok(frame)) = incoming.frame().await
            && seen < MOST
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    }));
}

impl ClientBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(Some(Err(self.given_up())));
        };
        let frame = Pin::new(incoming).poll_frame(cx);
        self.upload.note(frame.is_pending());
        if frame.is_pending() && self.is_silent(cx) {
            // Dropped, and not read on: whoever stays silent is not waited for, and its connection ends with the answer.
            self.incoming = None;
            self.upload.stalled.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(self.given_up())));
        }
        let Some(frame) = ready!(frame) else { return Poll::Ready(None) };
        let frame = frame.map_err(BodyError::ClientGone)?;
        if frame.is_trailers() {
            // A service that merges them with the header fields would be told whatever the client likes, in our name too
            // (RFC 9110 section 6.5.1 lets them be discarded).
            return Poll::Ready(None);
        }
        self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if self.seen <= self.limit {
            return Poll::Ready(Some(Ok(frame)));
        }
        // Whoever reads this body gives up now: nobody else would let the client come to its end and to our answer.
        self.upload.over.store(true, Ordering::Relaxed);
        self.incoming.take().into_iter().for_each(forget);
        Poll::Ready(Some(Err(self.given_up())))
    }

    fn given_up(&self) -> BodyError {
        if self.upload.is_stalled() {
            BodyError::Stalled(self.patience)
        } else {
            BodyError::TooLarge(self.limit)
        }
    }

    /// Whether nothing has come for too long. Looked at only while something is waited for: a service that takes its time does
    /// not make its client late.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        let (seen, patience) = (self.seen, self.patience);
        let alarm = self.alarm.get_or_insert_with(|| Alarm::after(patience, seen));
        if alarm.seen != seen {
            alarm.seen = seen;
            alarm.at.as_mut().reset(Instant::now() + patience);
        }
        alarm.at.as_mut().poll(cx).is_ready()
    }
}

impl Alarm {
    fn after(patience: Duration, seen: u64) -> Self {
        Alarm { at: Box::pin(tokio::time::sleep(patience)), seen }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Body::Client(body) => body.poll(cx),
            Body::Stream(body) => body.as_mut().poll_frame(cx),
            there => match std::mem::take(there) {
                Body::Full(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Client(body) => body.incoming.as_ref().is_some_and(Incoming::is_end_stream),
            Body::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Client(body) => body.incoming.as_ref().map_or_else(SizeHint::default, Incoming::size_hint),
            Body::Stream(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_body_is_one_frame_of_exactly_its_size() {
        let body = Body::full("hello");
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap(), "hello");
        assert!(Body::full("").is_end_stream());
    }

    #[test]
    fn the_time_that_a_client_took_for_its_body_is_told_from_the_services() {
        let upload = Upload::default();
        upload.note(false);
        assert!(!upload.waits() && !upload.delayed(Duration::ZERO), "a body that came with its head");
        let begun = StdInstant::now();
        upload.note(true);
        while begun.elapsed() < Duration::from_millis(5) {}
        assert!(upload.waits() && upload.waited() >= Duration::from_millis(4), "while it is waited for");
        upload.note(true);
        upload.note(false);
        let waited = upload.waited();
        assert!(!upload.waits() && waited >= Duration::from_millis(4) && waited <= begun.elapsed());
        assert_eq!(upload.waited(), waited, "no longer than it was waited for");
        assert!(upload.delayed(waited * 9) && !upload.delayed(waited * 11));
    }
}
