//! Connections of one endpoint, kept per worker: those of HTTP/1.1 wait here for their next request, those of HTTP/2 are
//! shared (`http2.rs`).
//!
//! A worker takes only what it has put back itself, so its lock is never contended and a connection's task runs on the
//! thread that uses it. The one used last is taken first: the others age and are closed, before the service closes them.
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
use futures_util::future::Either;
use http_body::{Body as _, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    config::UpstreamConfig,
    discovery::Target,
    endpoint::Endpoint,
    http2::{self, Connections, Stream},
    in_flight::Slot,
    load::Ticket,
    metrics::{EndpointMetrics, Spoken},
    wire::{Naming, Protocol, Wire},
};
use crate::{
    body::{Body, BodyError, Request},
    gathered::Gathered,
    worker,
};

/// A connection to a service, for one request at a time.
pub(super) enum Connection {
    /// All of it.
    Http1(http1::SendRequest<Body>),
    /// A stream of one that others use too.
    Http2(Stream),
}

struct Idle {
    connection: http1::SendRequest<Body>,
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

impl Connection {
    /// The head of the answer to `request`.
    ///
    /// # Errors
    /// With the request, if nothing of it was sent.
    pub(super) fn send(
        &mut self,
        mut request: Box<Request>,
        naming: &Naming,
    ) -> impl Future<Output = Result<http::Response<Incoming>, TrySendError<Request>>> + use<> {
        // hyper's futures as they are: one of ours around them would hold the request once more.
        match self {
            Connection::Http1(connection) => {
                naming.http1(&mut request);
                Either::Left(connection.try_send_request(*request))
            }
            Connection::Http2(stream) => {
                naming.http2(&mut request);
                Either::Right(stream.sender().try_send_request(*request))
            }
        }
    }

    /// Whether a service may say which requests it has not looked at.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Connection::Http2(_))
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

    /// How requests call the service here.
    pub(super) fn naming(&self) -> &Naming {
        &self.naming
    }

    /// A stream to spare, or the connection used last that is still open, if any.
    pub(super) fn take(&self) -> Option<Connection> {
        if let Some(http2) = &self.http2
            && let Some(stream) = http2.here().take()
        {
            return Some(Connection::Http2(stream));
        }
        let mut idle = self.workers[worker::index()].lock();
        std::iter::from_fn(|| idle.pop())
            .map(|idle| idle.connection)
            .find(|connection| !connection.is_closed())
            .map(Connection::Http1)
    }

    /// A connection where there was none to take, and whether it is one that others have used before. Of those who want
    /// a stream at the same time one opens a connection, and the others share it.
    pub(super) async fn connect(&self) -> io::Result<(Connection, bool)> {
        let Some(http2) = self.http2.as_ref() else { return Ok((self.open().await?, false)) };
        if http2.expected.load(Relaxed) {
            // None for those who learn meanwhile that this is not HTTP/2: each needs a connection of its own.
            let take = || match self.take() {
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
            None => self.speak(stream, self.wire.protocol == Protocol::Http2).await,
            Some(tls) => {
                let (stream, http2) = tls.connect(self.name.as_ref(), stream).await?;
                if !http2 && self.wire.protocol == Protocol::Http2 {
                    return Err(io::Error::other("TLS: the service does not agree to HTTP/2"));
                }
                self.speak(stream, http2).await
            }
        }
    }

    /// Begins to speak over `io`. For each kind of it apart: plaintext does not ask whether it is TLS.
    async fn speak<I>(&self, io: I, http2: bool) -> io::Result<Connection>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        /// hyper takes no smaller buffer.
        const LEAST_BUFFER: usize = 8 * 1024;
        let (max_streams, max_header_size) = (self.max_streams, self.max_header_size);
        if http2 {
            let settings = http2::Settings { max_streams, max_header_size };
            let open = self.metrics.opened_connection(Spoken::Http2);
            return http2::handshake(io, settings, open).await.map(Connection::Http2);
        }
        let io = TokioIo::new(Gathered(io));
        let handshake = http1::Builder::new().max_buf_size(max_header_size.max(LEAST_BUFFER)).handshake(io);
        let (connection, task) = handshake.await.map_err(io::Error::other)?;
        let open = self.metrics.opened_connection(Spoken::Http1);
        // How the connection ended is told to whoever is using it; an idle one that ends is nobody's loss.
        tokio::spawn(async move {
            drop(task.await);
            drop(open);
        });
        Ok(Connection::Http1(connection))
    }

    fn put(&self, connection: Connection) {
        let Connection::Http1(connection) = connection else { return }; // a stream is over, its connection stays
        if connection.is_closed() {
            return;
        }
        let mut idle = self.workers[worker::index()].lock();
        if idle.len() < self.max_idle {
            idle.push(Idle { connection, since: worker::ticks() });
        }
    }

    /// Closes this worker's connections that have waited for longer than the idle time.
    pub(super) fn sweep(&self) {
        if let Some(http2) = &self.http2 {
            http2.here().sweep(self.idle_timeout);
        }
        let now = worker::ticks();
        let mut idle = self.workers[worker::index()].lock();
        let fresh = |idle: &Idle| now.wrapping_sub(idle.since) < self.idle_timeout;
        let first_fresh = idle.iter().position(|idle| fresh(idle) && !idle.connection.is_closed());
        let stale = first_fresh.unwrap_or(idle.len());
        idle.drain(..stale);
    }
}

impl Http2 {
    /// Those of this worker.
    fn here(&self) -> &Connections {
        &self.workers[worker::index()]
    }
}

/// An answer's body. Read to its end, it puts its connection back; dropped before, it closes it, or its stream, so that the
/// service learns that nobody is listening. Until then the call counts as being under way.
pub(super) struct Pooled {
    body: Incoming,
    home: Option<Home>,
}

/// Where the connection goes back to, and what ends with the call.
pub(super) struct Home {
    pub(super) connection: Connection,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) under_way: (Ticket, Slot),
}

impl Pooled {
    pub(super) fn new(body: Incoming, home: Home) -> Self {
        let mut pooled = Pooled { body, home: Some(home) };
        pooled.put_back_at_end();
        pooled
    }

    fn put_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.put_back();
        }
    }

    fn put_back(&mut self) {
        if let Some(Home { connection, endpoint, under_way }) = self.home.take() {
            endpoint.pool.put(connection);
            drop(under_way);
        }
    }

    /// hyper takes a stream that is reset without an error for one that ended, though its service never said so: what came
    /// until then would pass for all of it (RFC 9113 section 8.1).
    fn is_given_up(&self) -> bool {
        let http2 = self.home.as_ref().is_some_and(|home| home.connection.is_http2());
        http2 && !self.body.is_end_stream()
    }

    fn broke_off(&mut self, why: BodyError) -> BodyError {
        if let Some(home) = self.home.take() {
            home.endpoint.broke_off();
        }
        why
    }
}

impl http_body::Body for Pooled {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if self.is_given_up() => {
                return Poll::Ready(Some(Err(self.broke_off(BodyError::GivenUp))));
            }
            None => self.put_back(),
            Some(Ok(frame)) => {
                self.put_back_at_end();
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => {
                return Poll::Ready(Some(Err(self.broke_off(BodyError::CutShort(error)))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
