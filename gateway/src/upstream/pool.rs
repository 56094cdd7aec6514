//! Connections of one endpoint that wait for their next request, kept per worker.
//!
//! A worker takes only what it has put back itself, so its lock is never contended and a connection's task runs on the
//! thread that uses it. The one used last is taken first: the others age and are closed, before the service closes them.
//!
//! Not here: deciding whether a failed request is sent again (`mod.rs`).

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::{config::UpstreamConfig, endpoint::Endpoint, in_flight::Slot, load::Ticket};
use crate::{
    body::{Body, BodyError},
    worker,
};

/// One HTTP/1.1 connection to a service.
pub(super) type Connection = http1::SendRequest<Body>;

struct Idle {
    connection: Connection,
    /// The worker's tick at which it was put back.
    since: u32,
}

/// The idle connections of one endpoint.
pub(super) struct Pool {
    address: SocketAddr,
    max_idle: usize,
    /// In ticks of the worker.
    idle_timeout: u32,
    pub(super) max_header_size: usize,
    workers: Box<[Mutex<Vec<Idle>>]>,
}

impl Pool {
    pub(super) fn new(address: SocketAddr, config: &UpstreamConfig) -> Self {
        Pool {
            address,
            max_idle: config.max_idle,
            idle_timeout: worker::ticks_of(config.idle_timeout.0),
            max_header_size: config.max_header_size.0 as usize,
            workers: (0..worker::MOST).map(|_| Mutex::default()).collect(),
        }
    }

    /// The connection used last that is still open, if any.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.workers[worker::index()].lock();
        std::iter::from_fn(|| idle.pop())
            .map(|idle| idle.connection)
            .find(|connection| !connection.is_closed())
    }

    /// A new connection; its task runs on this worker until either side closes.
    pub(super) async fn connect(&self) -> io::Result<Connection> {
        /// hyper takes no smaller buffer.
        const LEAST_BUFFER: usize = 8 * 1024;
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let handshake = http1::Builder::new()
            .max_buf_size(self.max_header_size.max(LEAST_BUFFER))
            .handshake(TokioIo::new(stream));
        let (connection, task) = handshake.await.map_err(io::Error::other)?;
        // How the connection ended is told to whoever is using it; an idle one that ends is nobody's loss.
        tokio::spawn(async move { drop(task.await) });
        Ok(connection)
    }

    fn put(&self, connection: Connection) {
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
        let now = worker::ticks();
        let mut idle = self.workers[worker::index()].lock();
        let fresh = |idle: &Idle| now.wrapping_sub(idle.since) < self.idle_timeout;
        let first_fresh = idle.iter().position(|idle| fresh(idle) && !idle.connection.is_closed());
        let stale = first_fresh.unwrap_or(idle.len());
        idle.drain(..stale);
    }
}

/// An answer's body. Read to its end, it puts its connection back; dropped before, it closes it, so that the service
/// learns that nobody is listening. Until then the call counts as being under way.
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

    fn broke_off(&mut self) {
        if let Some(home) = self.home.take() {
            home.endpoint.broke_off();
        }
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
            None => self.put_back(),
            Some(Ok(frame)) => {
                self.put_back_at_end();
                return Poll::Ready(Some(Ok(frame)));
            }
            Some(Err(error)) => {
                self.broke_off();
                return Poll::Ready(Some(Err(BodyError::CutShort(error))));
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
