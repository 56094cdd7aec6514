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

/// What may be on its way of one answer before its reader has taken any: a slow reader holds no more here. A connection's
/// window is that of all its streams together, so that readers who stall hold up nobody else.
const STREAM_WINDOW: u32 = 256 << 10;
/// No window may be larger (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// What is held of one request's body that the service does not take.
const SEND_BUFFER: usize = 256 << 10;
/// How often a service that has calls to answer and says nothing is asked whether it is there, and how long it may take
/// to say so. A machine that is gone sends no more, not even that it is.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);
/// Of how many streams that clients have left is remembered, for half a minute, that answers to them may still be coming.
const LEFT: usize = 10_000;
/// How often a service may send what belongs to no stream, such as the answer to one that is not remembered any more, until
/// its connection ends with all that share it. h2's own 1024 is used up by clients who leave.
const MISPLACED: usize = 1_000_000;
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

impl Settings {
    fn window(self) -> u32 {
        let streams = u32::try_from(self.max_streams).unwrap_or(u32::MAX);
        STREAM_WINDOW.saturating_mul(streams).min(LARGEST_WINDOW)
    }
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
    /// Whose turn it is to open one, and why the last could not be opened, if so.
    turn: tokio::sync::Mutex<Option<(io::ErrorKind, String)>>,
    /// How many were opened, or could not be.
    openings: AtomicUsize,
}

impl Connections {
    /// A stream, if any connection has one to spare. Connections that take no more are left to their last streams.
    pub(super) fn take(&self) -> Option<Stream> {
        let mut all = self.all.lock();
        all.retain(|shared| !shared.sender.is_closed());
        all.iter().find(|shared| shared.has_room()).map(Stream::of)
    }

    /// What `take` finds or else `open` opens, one call at a time: those who wait for another that opens one share what it
    /// comes to, be it a connection or a failure.
    pub(super) async fn open_one<T>(
        &self,
        take: impl Fn() -> Option<T>,
        open: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let before = self.openings.load(Relaxed);
        let mut failed = self.turn.lock().await;
        if let Some(taken) = take() {
            return Ok(taken);
        }
        if let Some((kind, why)) = &*failed
            && self.openings.load(Relaxed) != before
        {
            return Err(io::Error::new(*kind, why.clone()));
        }
        let opened = open.await;
        self.openings.fetch_add(1, Relaxed);
        *failed = opened.as_ref().err().map(|error| (error.kind(), error.to_string()));
        opened
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
        .initial_connection_window_size(settings.window())
        .max_send_buf_size(SEND_BUFFER)
        .max_concurrent_reset_streams(LEFT)
        .max_local_error_reset_streams(MISPLACED)
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

/// Whether that is since the service does not want this stream, and not since the connection ends.
pub(super) fn is_refused(error: &hyper::Error) -> bool {
    h2_error(error).is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use http::{Request, Response};
    use tokio::{io::DuplexStream, time::Instant};

    use super::*;
    use crate::upstream::metrics::{EndpointMetrics, Spoken};

    const SETTINGS: Settings = Settings { max_streams: 100, max_header_size: 1 << 16 };

    async fn shaken(io: DuplexStream) -> io::Result<Stream> {
        let metrics = Arc::new(EndpointMetrics::default());
        handshake(io, SETTINGS, metrics.opened_connection(Spoken::Http2)).await
    }

    fn request() -> Request<Body> {
        Request::get("http://kitchen:80/").body(Body::Empty).unwrap()
    }

    /// Connections of a service that allows for `allowed` streams, with the first stream.
    async fn connected(allowed: u32) -> (Connections, Stream) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            let mut connection: h2::server::Connection<_, Bytes> =
                builder.max_concurrent_streams(allowed).handshake(theirs).await.unwrap();
            while connection.accept().await.is_some() {}
        });
        let (connections, first) = (Connections::default(), shaken(ours).await.unwrap());
        connections.add(&first);
        (connections, first)
    }

    #[tokio::test]
    async fn there_are_as_many_streams_as_the_service_says_and_we_want() {
        for (allowed, ours) in [(0, 1), (1, 1), (7, 7), (1000, 100)] {
            let (connections, first) = connected(allowed).await;
            let mut taken = vec![first];
            taken.extend(std::iter::from_fn(|| connections.take()));
            assert_eq!(taken.len(), ours, "{allowed}");
            taken.pop();
            assert!(connections.take().is_some(), "a place is free again");
        }
    }

    #[tokio::test]
    async fn an_idle_connection_is_swept_and_one_in_use_is_not() {
        let (connections, first) = connected(10).await;
        connections.sweep(0);
        assert_eq!(connections.all.lock().len(), 1);
        drop(first);
        connections.sweep(5);
        assert_eq!(connections.all.lock().len(), 1, "not long enough");
        connections.sweep(0);
        assert!(connections.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_gone_without_a_word_is_noticed_within_half_a_minute() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let service = tokio::spawn(async move {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            let (_, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut body = respond.send_response(Response::new(()), false).unwrap();
            body.send_data(Bytes::from_static(b"a part"), false).unwrap();
            _ = std::future::poll_fn(|cx| {
                let _ = connection.poll_closed(cx);
                std::task::Poll::Ready(())
            })
            .await;
            std::future::pending::<()>().await;
            drop((connection, respond, body));
        });
        let stream = shaken(ours).await.unwrap();
        let begun = Instant::now();
        let answer = stream.sender().send_request(request()).await.unwrap();
        let whole = http_body_util::BodyExt::collect(answer.into_body()).await;
        assert!(whole.is_err());
        assert!((PING..PING + PONG * 2).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        service.abort();
    }

    #[tokio::test]
    async fn who_waits_for_another_that_opens_shares_what_it_comes_to() {
        let (connections, asked) = (Connections::default(), AtomicUsize::new(0));
        let one = || {
            let open = async {
                asked.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
                Err::<(), _>(io::Error::new(io::ErrorKind::InvalidData, "TLS: unknown issuer"))
            };
            connections.open_one(|| None, open)
        };
        let (first, second, third) = tokio::join!(one(), one(), one());
        for failed in [first, second, third] {
            assert_eq!(failed.unwrap_err().to_string(), "TLS: unknown issuer");
        }
        assert_eq!(asked.load(Relaxed), 1);
        one().await.unwrap_err();
        assert_eq!(asked.load(Relaxed), 2, "who comes later tries");
    }

    #[tokio::test]
    async fn what_is_no_http2_is_told_before_a_request_is_sent() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let failed = tokio::join!(shaken(ours), async { drop(theirs) }).0;
        assert!(failed.err().unwrap().to_string().starts_with("HTTP/2: "));
    }
}
