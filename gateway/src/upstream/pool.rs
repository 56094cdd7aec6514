//! Connections of one endpoint, kept per worker: those of HTTP/1.1 wait here for their next request, those of HTTP/2 are
//! shared (`http2.rs`).
//!
//! A worker takes only what it has put back itself, so its lock is never contended and a connection stays on the thread that
//! opened it. The one used last is taken first: the others age and are closed, before the service closes them.
//!
//! Not here: deciding whether a failed request is sent again (`mod.rs`).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{StatusCode, response::Parts};
use http_body::{Body as _, Frame, SizeHint};
use hyper::client::conn::TrySendError;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    circuit_breaker::Begun,
    config::UpstreamConfig,
    discovery::Target,
    endpoints::Called,
    fault::Fault,
    grpc, http1,
    http2::{self, Connections, Stream},
    in_flight::Slot,
    load::Ticket,
    metrics::{EndpointMetrics, Spoken},
    outgoing::Outgoing,
    wire::{Naming, Protocol, Wire},
};
use crate::{
    body::{BodyError, Request},
    worker,
};

/// A connection to a service, for one request at a time.
pub(super) enum Connection {
    /// All of it.
    Http1(Box<http1::Connection>),
    /// A stream of one that others use too.
    Http2(Stream),
}

struct Idle {
    connection: Box<http1::Connection>,
    /// The worker's tick at which it was put back.
    since: u32,
}

/// The connections of one endpoint.
pub(super) struct Pool {
    wire: Arc<Wire>,
    address: SocketAddr,
    /// What its certificate must be for.
    name: Option<ServerName<'static>>,
    naming: Naming,
    metrics: Arc<EndpointMetrics>,
    max_idle: usize,
    /// In ticks of the worker.
    idle_timeout: u32,
    max_streams: usize,
    pub(super) max_header_size: usize,
    workers: Box<[Mutex<Vec<Idle>>]>,
    http2: Option<Http2>,
}

/// The connections of HTTP/2, where there may be any.
struct Http2 {
    workers: Box<[Connections]>,
    /// Whether the next connection will probably be one: the last was, or there was none.
    expected: AtomicBool,
}

/// An answer, as far as it is there.
pub(super) struct Answer {
    pub(super) head: Box<Parts>, // it goes up through many hands
    pub(super) body: Incoming,
    /// The status that it counts as.
    pub(super) seen: StatusCode,
    /// Its connection, if another request may follow already.
    pub(super) free: Option<Box<http1::Connection>>,
}

/// The body of an answer.
pub(super) enum Incoming {
    /// All of it.
    Whole(Bytes),
    /// Still to come.
    Http1(Box<http1::Coming>),
    /// Still to come, as long as the stream is kept.
    Http2(hyper::body::Incoming, Option<Stream>),
}

/// Why there is no answer.
pub(super) enum Unanswered {
    Http1(http1::Failed),
    Http2(Box<TrySendError<Request>>),
}

impl Connection {
    /// Whether a service may say which requests it has not looked at.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(_))
    }
}

impl Answer {
    /// Whether it has a body that is not all there.
    pub(super) fn may_break_off(&self) -> bool {
        !matches!(self.body, Incoming::Whole(_)) && self.seen != StatusCode::SWITCHING_PROTOCOLS
    }
}

impl Unanswered {
    /// The request, if nothing of it was sent.
    pub(super) fn take_unsent(&mut self) -> Option<Box<Outgoing>> {
        match self {
            Unanswered::Http1(failed) => failed.unsent.take(),
            Unanswered::Http2(failed) => {
                failed.take_message().map(|request| Box::new(Outgoing::of_http2(request)))
            }
        }
    }

    /// Whether the service says that it has not looked at the request.
    pub(super) fn is_unprocessed(&self) -> bool {
        matches!(self, Unanswered::Http2(failed) if http2::is_unprocessed(failed.error()))
    }

    /// Whether it refuses this very stream.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Unanswered::Http2(failed) if http2::is_refused(failed.error()))
    }

    /// What `upstream` has done.
    pub(super) fn fault(&self, upstream: &str) -> Fault {
        match self {
            Unanswered::Http1(failed) => Fault::of_exchange(upstream, &failed.broken),
            Unanswered::Http2(failed) => Fault::of_send(upstream, failed.error()),
        }
    }
}

impl Pool {
    pub(super) fn new(
        target: &Target,
        config: &UpstreamConfig,
        wire: Arc<Wire>,
        metrics: Arc<EndpointMetrics>,
    ) -> Self {
        let http2 = wire.may_be_http2().then(|| Http2 {
            workers: (0..worker::MOST).map(|_| Connections::default()).collect(),
            expected: AtomicBool::new(true),
        });
        Pool {
            address: target.address,
            name: wire.tls.as_ref().and_then(|tls| tls.name_of(&target.host)),
            naming: Naming::new(&wire, target),
            metrics,
            max_idle: config.max_idle,
            idle_timeout: worker::ticks_of(config.idle_timeout.0),
            max_streams: config.max_streams,
            max_header_size: config.max_header_size.0 as usize,
            workers: (0..worker::MOST).map(|_| Mutex::default()).collect(),
            http2,
            wire,
        }
    }

    /// The answer to `request` by that connection, which is closed when this is dropped.
    ///
    /// # Errors
    /// With the request, if nothing of it was sent.
    pub(super) async fn exchange(
        &self,
        connection: Connection,
        request: Box<Outgoing>,
    ) -> Result<Answer, Unanswered> {
        match connection {
            Connection::Http1(connection) => {
                let answer = connection.exchange(request, self.naming.host()).await;
                let http1::Answer { head, body } = answer.map_err(Unanswered::Http1)?;
                let (body, free) = match body {
                    http1::Body::Whole(bytes, free) => (Incoming::Whole(bytes), free),
                    http1::Body::Coming(coming) => (Incoming::Http1(Box::new(coming)), None),
                };
                let seen = head.status;
                Ok(Answer { head: Box::new(head), body, seen, free })
            }
            Connection::Http2(stream) => {
                let request = request.into_http2(&self.naming);
                // On the heap: most upstreams speak HTTP/1.1, and all calls would carry the room for this.
                let sent = Box::pin(stream.sender().try_send_request(request)).await;
                let (head, body) = sent.map_err(|failed| Unanswered::Http2(Box::new(failed)))?.into_parts();
                let seen = grpc::seen(head.version, head.status, &head.headers, body.is_end_stream());
                let body = Incoming::Http2(body, Some(stream));
                Ok(Answer { head: Box::new(head), body, seen, free: None })
            }
        }
    }

    /// A stream to spare, or the connection used last that is still open, if any. What is not `repeatable` is lost where the
    /// service closes it just then, and takes none that has waited for long.
    pub(super) fn take(&self, repeatable: bool) -> Option<Connection> {
        /// In ticks: half a second. Services that close idle connections sooner are rare.
        const FRESH: u32 = 4;
        if let Some(http2) = &self.http2
            && let Some(stream) = http2.here().take()
        {
            return Some(Connection::Http2(stream));
        }
        let (mut idle, now) = (self.workers[worker::index()].lock(), worker::ticks());
        // One that has waited for too long gives its place to the one that is opened instead.
        let fit = |top: &Idle| repeatable || now.wrapping_sub(top.since) <= FRESH;
        let mut open = std::iter::from_fn(|| idle.pop().filter(fit));
        let live = |Idle { mut connection, since }| {
            // The system call is for those that have waited: one that was in use just now is not closed for being idle.
            let stale = if since == now { connection.is_stale() } else { connection.has_gone_stale() };
            (!stale).then_some(connection)
        };
        open.find_map(live).map(Connection::Http1)
    }

    /// A connection where there was none to take, and whether it is one that others have used before. Of those who want
    /// a stream at the same time one opens a connection, and the others share it.
    pub(super) async fn connect(&self) -> io::Result<(Connection, bool)> {
        let Some(http2) = self.http2.as_ref() else { return Ok((self.open().await?, false)) };
        if http2.expected.load(Relaxed) {
            // None for those who learn meanwhile that this is not HTTP/2: each needs a connection of its own.
            let take = || match self.take(true) {
                Some(taken) => Some(Some((taken, true))),
                None => (!http2.expected.load(Relaxed)).then_some(None),
            };
            let open = async { self.open_for_all(http2).await.map(Some) };
            if let Some(connected) = http2.here().open_one(take, open).await? {
                return Ok(connected);
            }
        }
        self.open_for_all(http2).await
    }

    async fn open_for_all(&self, http2: &Http2) -> io::Result<(Connection, bool)> {
        let connection = self.open().await?;
        http2.expected.store(connection.is_http2(), Relaxed);
        if let Connection::Http2(stream) = &connection {
            http2.here().add(stream);
        }
        Ok((connection, false))
    }

    /// A new connection that nobody else knows of; its task runs on this thread until either side closes.
    pub(super) async fn open(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        match &self.wire.tls {
            None if self.wire.protocol == Protocol::Http2 => self.http2(stream).await,
            None => Ok(self.http1(http1::Io::Plain(stream))),
            Some(tls) => {
                let (stream, http2) = tls.connect(self.name.as_ref(), stream).await?;
                if !http2 && self.wire.protocol == Protocol::Http2 {
                    return Err(io::Error::other("TLS: the service does not agree to HTTP/2"));
                }
                if http2 {
                    self.http2(stream).await
                } else {
                    Ok(self.http1(http1::Io::Tls(Box::new(stream))))
                }
            }
        }
    }

    /// A new connection of HTTP/1.1, for a request that asks for another protocol.
    pub(super) async fn open_to_switch(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let io = match &self.wire.tls {
            None => http1::Io::Plain(stream),
            Some(tls) => http1::Io::Tls(Box::new(tls.connect_http1(self.name.as_ref(), stream).await?)),
        };
        Ok(self.http1(io))
    }

    fn http1(&self, io: http1::Io) -> Connection {
        let open = self.metrics.opened_connection(Spoken::Http1);
        Connection::Http1(http1::Connection::new(io, self.max_header_size, open))
    }

    /// Its task runs on this thread until either side closes.
    async fn http2<I>(&self, io: I) -> io::Result<Connection>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let settings =
            http2::Settings { max_streams: self.max_streams, max_header_size: self.max_header_size };
        let open = self.metrics.opened_connection(Spoken::Http2);
        http2::handshake(io, settings, open).await.map(Connection::Http2)
    }

    /// Keeps a connection for another request.
    pub(super) fn put(&self, connection: Box<http1::Connection>) {
        let mut idle = self.workers[worker::index()].lock();
        if idle.len() < self.max_idle {
            idle.push(Idle { connection, since: worker::ticks() });
        }
    }

    /// Closes this worker's connections that have waited for longer than the idle time, and those that the service has closed.
    pub(super) fn sweep(&self) {
        if let Some(http2) = &self.http2 {
            http2.here().sweep(self.idle_timeout);
        }
        let now = worker::ticks();
        let mut idle = self.workers[worker::index()].lock();
        idle.retain_mut(|idle| {
            now.wrapping_sub(idle.since) < self.idle_timeout && !idle.connection.is_stale()
        });
    }
}

impl Http2 {
    /// Those of this worker.
    fn here(&self) -> &Connections {
        &self.workers[worker::index()]
    }
}

/// An answer's body that is still to come. Read to its end, it puts its connection back; dropped before, it closes it, or its
/// stream, so that the service learns that nobody is listening. Until then the call counts as being under way.
pub(super) struct Pooled {
    body: Incoming,
    home: Option<Home>,
    /// Why it breaks off, once that is known.
    broken: Option<BodyError>,
}

/// Where the connection goes back to, and what ends with the call.
pub(super) struct Home {
    pub(super) called: Called,
    /// What is to be told how the body ends, where that counts.
    pub(super) begun: Option<Begun>,
    pub(super) ticket: Ticket,
    pub(super) slot: Slot,
}

impl Home {
    /// Tells once how the body has ended.
    fn ended(&mut self, well: bool) {
        if let Some(begun) = self.begun.take() {
            self.called.ended(begun, &self.ticket, well);
        }
    }
}

impl Pooled {
    pub(super) fn new(body: Incoming, home: Home) -> Self {
        let mut pooled = Pooled { body, home: Some(home), broken: None };
        if pooled.is_end_stream() {
            pooled.put_back();
        }
        pooled
    }

    fn put_back(&mut self) {
        let Some(mut home) = self.home.take() else { return };
        home.ended(true);
        let Home { called, ticket, slot, .. } = home;
        match &mut self.body {
            Incoming::Whole(_) => {}
            Incoming::Http1(coming) => {
                coming
                    .take_connection()
                    .into_iter()
                    .for_each(|connection| called.endpoint().pool.put(connection));
            }
            Incoming::Http2(_, stream) => *stream = None, // it is over, its connection stays
        }
        drop((ticket, slot));
    }

    fn broke_off(&mut self, why: BodyError) -> BodyError {
        if let Some(mut home) = self.home.take().filter(|_| is_the_services(&why)) {
            home.ended(false);
        }
        why
    }
}

/// Whether an answer that breaks off says something about its service. One that does since its request did, does not.
fn is_the_services(why: &BodyError) -> bool {
    match why {
        BodyError::CutShort(error) => !http2::is_of_our_body(error),
        BodyError::Lost(_) | BodyError::Misframed(_) | BodyError::GivenUp => true,
        _ => false,
    }
}

impl http_body::Body for Pooled {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(why) = self.broken.take() {
            return Poll::Ready(Some(Err(why)));
        }
        let frame = match &mut self.body {
            Incoming::Whole(bytes) if bytes.is_empty() => None,
            Incoming::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Incoming::Http1(coming) => ready!(coming.poll(cx)),
            Incoming::Http2(body, stream) => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                // hyper takes a stream that is reset without an error for one that ended, though its service never said so:
                // what came until then would pass for all of it (RFC 9113 section 8.1).
                None if stream.is_some() && !body.is_end_stream() => Some(Err(BodyError::GivenUp)),
                frame => frame.map(|frame| frame.map_err(BodyError::CutShort)),
            },
        };
        if let Some(Err(why)) = frame {
            // Told a turn later: what came before it leaves first, so that a client sees an answer that breaks off.
            let why = self.broke_off(why);
            self.broken = Some(why);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(Ok(frame)) = &frame
            && frame.trailers_ref().is_some_and(grpc::says_failure)
            && let Some(home) = &mut self.home
        {
            home.ended(false);
        }
        if frame.is_none() || self.is_end_stream() {
            self.put_back();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Incoming::Whole(bytes) => bytes.is_empty(),
            _ if self.broken.is_some() => false,
            Incoming::Http1(coming) => coming.is_over(),
            Incoming::Http2(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Incoming::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Incoming::Http1(coming) => coming.size_hint(),
            Incoming::Http2(body, _) => body.size_hint(),
        }
    }
}
