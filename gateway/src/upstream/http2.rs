//! Connections of HTTP/2 to one endpoint, which calls share: kept per worker, as those of HTTP/1.1 are.
//!
//! A call takes a stream of the oldest connection that has one to spare, so that when load falls the younger ones become
//! idle and are closed. How many streams there are the service says in its first frame, which a new connection waits for:
//! before that, whatever is sent may be refused, and a service that speaks no HTTP/2 has been sent nothing.
//!
//! Not here: HTTP/1.1, TLS, opening sockets (`pool.rs`), sending again (`endpoint.rs`).

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::task::AtomicWaker;
use hyper::{
    client::conn::http2::{Builder, Connection, SendRequest},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
};

use super::metrics::Open;
use crate::{body::Body, worker};

/// What may be on its way of one answer before its reader has taken any: a slow reader holds no more here.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same of all answers of one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is held of one request's body that the service does not take.
const SEND_BUFFER: usize = 256 << 10;
/// How often a service that has calls to answer and says nothing is asked whether it is there, and how long it may take
/// to say so. A machine that is gone sends no more, not even that it is.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Before the service has said how many streams there may be. No service can say that: it says 32 bits.
const UNKNOWN: usize = usize::MAX - 1;

/// How connections are opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// The most streams of a connection, if the service allows for as many.
    pub(super) max_streams: usize,
    /// The most bytes of an answer's header section.
    pub(super) max_header_size: usize,
}

/// One connection.
struct Shared {
    sender: SendRequest<Body>,
    room: Arc<Room>,
    max_streams: usize,
    /// Streams in use.
    streams: AtomicUsize,
    /// The worker's tick at which the last stream ended.
    since: AtomicU32,
}

/// How many streams a service allows for, as far as it has said so.
struct Room {
    allowed: AtomicUsize,
    /// The task that reads what it says.
    driver: AtomicWaker,
}

/// A stream of a connection, for one call. Dropped, its place is free.
pub(super) struct Stream(Arc<Shared>);

/// The connections of one worker.
#[derive(Default)]
pub(super) struct Connections {
    all: Mutex<Vec<Arc<Shared>>>,
    /// Whose turn it is to open one: those who wait may find a stream of it then.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Connections {
    /// A stream, if any connection has one to spare. Connections that take no more are left to their last streams.
    pub(super) fn take(&self) -> Option<Stream> {
        let mut all = self.all.lock();
        all.retain(|shared| !shared.sender.is_closed());
        all.iter().find(|shared| shared.has_room()).map(Stream::of)
    }

    /// From now on, others take streams of this connection too.
    pub(super) fn add(&self, stream: &Stream) {
        self.all.lock().push(stream.0.clone());
    }

    /// Closes connections that had no stream for so many ticks.
    pub(super) fn sweep(&self, idle_timeout: u32) {
        let now = worker::ticks();
        let in_use = |shared: &Arc<Shared>| {
            shared.streams.load(Relaxed) > 0 || now.wrapping_sub(shared.since.load(Relaxed)) < idle_timeout
        };
        self.all.lock().retain(|shared| !shared.sender.is_closed() && in_use(shared));
    }
}

impl Shared {
    fn has_room(&self) -> bool {
        // One at least: a service that allows for none now may allow for more soon, and another connection helps nobody.
        let most = self.room.allowed.load(Relaxed).min(self.max_streams).max(1);
        self.streams.load(Relaxed) < most
    }
}

impl Stream {
    fn of(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Relaxed);
        Stream(shared.clone())
    }

    pub(super) fn sender(&self) -> SendRequest<Body> {
        self.0.sender.clone()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.since.store(worker::ticks(), Relaxed);
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

impl Room {
    fn is_known(&self) -> bool {
        self.allowed.load(Relaxed) != UNKNOWN
    }
}

/// The first stream of a new connection over `io`, once the service has shown that it speaks HTTP/2. The connection's
/// tasks run on this worker until either side closes.
///
/// # Errors
/// When it does not, or ends before.
pub(super) async fn handshake<I>(io: I, settings: Settings, open: Open) -> io::Result<Stream>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let room = Arc::new(Room { allowed: AtomicUsize::new(UNKNOWN), driver: AtomicWaker::new() });
    let (sender, connection) = Builder::new(Spawn(room.clone()))
        .timer(TokioTimer::new())
        .initial_max_send_streams(UNKNOWN)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        // Fields count for 32 bytes more here (RFC 9113 section 6.5.2): what is too large is told by who called.
        .max_header_list_size(u32::try_from(settings.max_header_size.saturating_mul(4)).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .handshake(TokioIo::new(io))
        .await
        .map_err(io::Error::other)?;
    let (known, speaks) = oneshot::channel();
    tokio::spawn(drive(connection, room.clone(), known, open));
    let ended = || Err(io::Error::other("HTTP/2: the connection ended before the service said anything"));
    speaks.await.unwrap_or_else(|_ended| ended())?;
    let (streams, since) = (AtomicUsize::new(0), AtomicU32::new(worker::ticks()));
    Ok(Stream::of(&Arc::new(Shared { sender, room, max_streams: settings.max_streams, streams, since })))
}

/// Runs the connection, and keeps account of how many streams there may be.
async fn drive<I>(
    mut connection: Connection<TokioIo<I>, Body, Spawn>,
    room: Arc<Room>,
    known: oneshot::Sender<io::Result<()>>,
    _open: Open,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut known = Some(known);
    let ended = poll_fn(|cx| {
        if known.is_some() {
            room.driver.register(cx.waker());
        }
        let polled = Pin::new(&mut connection).poll(cx);
        room.allowed.store(connection.current_max_send_streams(), Relaxed);
        if room.is_known() {
            known.take().into_iter().for_each(|known| _ = known.send(Ok(())));
        }
        polled
    });
    // How it ended is told to whoever is using it, which is nobody yet if it has not begun.
    if let Err(why) = ended.await {
        let why = std::error::Error::source(&why).map_or_else(|| why.to_string(), ToString::to_string);
        known.into_iter().for_each(|known| _ = known.send(Err(io::Error::other(format!("HTTP/2: {why}")))));
    }
}

/// Runs hyper's tasks on this worker. The one that reads the connection is the first, and the driver is not told by hyper
/// of what it reads: it is woken after each reading, until it has what it waits for.
#[derive(Clone)]
struct Spawn(Arc<Room>);

impl<F> Executor<F> for Spawn
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        if self.0.is_known() {
            drop(tokio::spawn(task));
            return;
        }
        let room = self.0.clone();
        drop(tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                if !room.is_known() {
                    room.driver.wake();
                }
                polled
            })
            .await
        }));
    }
}

/// Whether the service says that it has not looked at the request: it may be sent again, whatever it asks for (RFC 9113
/// section 8.7).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// Whether it was the request's own body that failed. hyper says no more than that the stream was reset from here.
pub(super) fn is_of_our_body(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| error.is_reset() && !error.is_remote() && !error.is_library())
}

/// Whether the service does not keep to HTTP/2.
pub(super) fn is_malformed(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(h2::Error::is_library)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}
