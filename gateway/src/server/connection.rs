//! One connection from its first byte to its last: TLS, which HTTP, its limits, and how it ends when the server drains.
//!
//! Not here: what answers its requests; they go to [`Serve::handle`].

use std::{
    convert::Infallible,
    future::{Future, pending},
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Serve,
    accept::Draining,
    caps::{Caps, Place},
    config::ServerConfig,
    forwarded,
    opening::Opened,
    proxies::Proxies,
    proxy_protocol::{self, Told},
    seldom::Seldom,
    streams::Streams,
    taken::Taken,
    tls,
    watched::{Reset, Watched},
};
use crate::{
    body::MOST_FIELDS,
    downstream::Downstream,
    gathered::Gathered,
    observability::{handshakes::Failure, metrics::ProcessMetrics, record::Recorded},
    switch::{self, Running},
    worker::{self, TICK},
};

/// How long an unused HTTP/1.1 connection stays open when the drain begins: a request may be on its way already.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// What a client may send on one stream before the gateway has passed it on.
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Requests at a time on one connection.
const STREAMS: u32 = 100;
/// An HTTP/2 client is asked this often whether it is still there, and may take as long to say so.
const PING: Duration = Duration::from_secs(20);

/// What all connections of a worker share.
pub(super) struct Serving<S> {
    gateway: Arc<S>,
    http1: http1::Builder,
    /// The largest header list of HTTP/2.
    largest_list: u32,
    header_timeout: Duration,
    /// What a client takes of an answer in that time, or it counts as nothing.
    min_progress: usize,
    caps: Arc<Caps>,
    pub(super) draining: Draining,
    /// Closed when the last connection ends.
    _open: mpsc::Sender<Infallible>,
}

/// One connection, as its requests know it. One `Arc` of its own, so that requests count no references across workers.
pub(super) struct Peer<S> {
    pub(super) gateway: Arc<S>,
    pub(super) downstream: Arc<Downstream>,
    /// Whom to believe who the clients are, where the connection is one of a trusted proxy.
    proxies: Option<Arc<Proxies>>,
    /// Whether a request has been understood.
    asked: AtomicBool,
    /// What the connection is for when nothing of HTTP follows any more.
    tunnel: Mutex<Option<Running>>,
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("TLS handshake: the client is too slow")]
    SlowHandshake,
    #[error("the client sends no request, or does not read its answer")]
    Quiet,
    #[error("the client gives up too many of its requests")]
    Restless,
}

/// A connection that is counted as open.
struct Open<'a>(&'a ProcessMetrics);

impl<S: Serve> Serving<S> {
    pub(super) fn new(
        gateway: Arc<S>,
        settings: &ServerConfig,
        caps: Arc<Caps>,
        draining: Draining,
        open: mpsc::Sender<Infallible>,
    ) -> Self {
        let header_timeout = settings.header_timeout.0;
        let (http1, largest_list) = (http1(read_buffer(settings)), largest_list(settings));
        let min_progress = usize::try_from(settings.min_progress.0).unwrap_or(usize::MAX);
        Serving { gateway, http1, largest_list, header_timeout, min_progress, caps, draining, _open: open }
    }

    /// A place for one more connection, unless that is one too many.
    pub(super) fn admit(&self, from: IpAddr, is_proxy: bool) -> Option<Place> {
        self.caps.admit(from, is_proxy, self.gateway.process())
    }

    /// Says that a connection is closed since nobody said whose it is.
    pub(super) fn unannounced(&self, from: IpAddr, why: &str) {
        self.caps.unannounced(from, why, self.gateway.process());
    }

    /// Whose a connection of one of `proxies` is, as they announce it, and whether it is one of theirs in turn. Who is not named
    /// may not name others: bytes of anybody follow. `None` when that is the end of it.
    async fn announced(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        proxies: Arc<Proxies>,
    ) -> Option<(SocketAddr, Option<Arc<Proxies>>)> {
        let why = match self.soon(Box::pin(proxy_protocol::read(stream))).await {
            Some(Ok(Told::From(client))) => {
                return Some((client, proxies.trust(client.ip()).then_some(proxies)));
            }
            Some(Ok(Told::Nobody)) => return Some((peer, None)),
            Some(Ok(Told::Nothing)) => return None,
            Some(Err(error)) => error.to_string(),
            None => "it did not come in time".to_owned(),
        };
        self.unannounced(peer.ip(), &why);
        None
    }

    async fn plain(&self, stream: TcpStream, peer: &Arc<Peer<S>>) -> Result<(), Broken> {
        let Some(opened) = self.soon(Opened::read(stream)).await else { return Ok(()) };
        match opened? {
            Some(io) if io.is_http2() => self.http2(io, peer).await,
            Some(io) => self.http1(io, peer).await,
            None => Ok(()),
        }
    }

    async fn secured(&self, stream: TcpStream, tls: &TlsAcceptor, peer: &Arc<Peer<S>>) -> Result<(), Broken> {
        let Some(readable) = self.soon(stream.readable()).await else { return Ok(()) };
        readable?;
        let handshake = timeout(self.header_timeout, tls.accept(stream)).await;
        let stream = handshake.map_err(|_| Broken::SlowHandshake)?.map_err(Broken::Handshake)?;
        let http2 = tls::chose_http2(stream.get_ref().1);
        peer.downstream.is_certified(tls::client_names(stream.get_ref().1));
        let Some(opened) = self.soon(Opened::read(stream)).await else { return Ok(()) };
        match opened? {
            Some(io) if http2 => self.http2(io, peer).await,
            Some(io) => self.http1(io, peer).await,
            None => Ok(()),
        }
    }

    /// What a client does first. `None` when it does nothing for too long: browsers open connections and never use them.
    async fn soon<T>(&self, first: impl Future<Output = T>) -> Option<T> {
        let too_late = async {
            self.draining.begun().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            biased;
            done = timeout(self.header_timeout, first) => done.ok(),
            () = too_late => None,
        }
    }

    async fn http1<I>(&self, io: Opened<I>, peer: &Arc<Peer<S>>) -> Result<(), Broken>
    where
        I: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Watched::new(Gathered(io), peer.clone(), self.min_progress));
        let mut connection = pin!(self.http1.serve_connection(io, answers(peer)).with_upgrades());
        let idle_too_long = async {
            self.draining.begun().await;
            sleep(GRACE).await;
        };
        let mut seldom = pin!(async {
            tokio::select! {
                () = idle_too_long => Ok(()),
                () = self.quiet(|| peer.downstream.activity.quiet()) => Err(Broken::Quiet),
            }
        });
        tokio::select! {
            biased; // a request that has come within the grace is seen first
            ended = connection.as_mut() => {
                ended?;
                return peer.tunnel().await;
            }
            idle_too_long = Seldom::new(seldom.as_mut()) => idle_too_long?,
        }
        connection.as_mut().graceful_shutdown();
        connection.await?;
        peer.tunnel().await
    }

    /// Returns once the client has kept the gateway waiting for too long: for a header section, or for an answer to be
    /// taken. One timer for each connection, looked at again when it is over: hyper's own costs each request a timer.
    async fn quiet(&self, for_ticks: impl Fn() -> u32) {
        let longest = worker::ticks_of(self.header_timeout);
        loop {
            let left = longest.saturating_sub(for_ticks());
            if left == 0 {
                return;
            }
            sleep(TICK * left).await;
        }
    }

    async fn http2<I>(&self, io: Opened<I>, peer: &Arc<Peer<S>>) -> Result<(), Broken>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(Taken::new(io, peer.downstream.clone()));
        let activity = &peer.downstream.activity;
        let streams = Streams::new(activity.clone(), self.header_timeout, self.min_progress);
        let mut connection = pin!(http2(streams, self.largest_list).serve_connection(io, answers(peer)));
        let idle = || activity.quiet_over_http2();
        // A proxy gives up for all of its clients: many of them may leave at once.
        let restless =
            || async { if peer.proxies.is_none() { activity.restless().await } else { pending().await } };
        let mut seldom = pin!(async {
            tokio::select! {
                () = self.draining.begun() => {}
                () = self.quiet(idle) => {}
                () = restless() => {}
            }
        });
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = Seldom::new(seldom.as_mut()) => connection.as_mut().graceful_shutdown(),
        }
        // Who takes nothing of an answer, or sends half a request and no more, would never let it end; nor would a flood.
        let overdue = async {
            sleep(GRACE).await;
            tokio::select! {
                () = self.quiet(idle) => Broken::Quiet,
                () = restless() => Broken::Restless,
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => Ok(ended?),
            why = overdue => Err(why),
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve<S: Serve>(
    mut stream: TcpStream,
    mut peer: SocketAddr,
    mut proxies: Option<Arc<Proxies>>,
    tls: Option<TlsAcceptor>,
    serving: Arc<Serving<S>>,
    _place: Place,
) {
    let metrics = serving.gateway.process();
    let _open = Open::count(metrics);
    // Answers are written whole; waiting to fill a packet only delays them. Failing, it costs time and nothing else.
    _ = stream.set_nodelay(true);
    if let Some(announcing) = proxies.clone().filter(|proxies| proxies.announce) {
        match serving.announced(&mut stream, peer, announcing).await {
            Some((client, theirs)) => (peer, proxies) = (client, theirs),
            None => return,
        }
    }
    let downstream = Arc::new(Downstream::new(peer, tls.is_some()));
    let (gateway, asked) = (serving.gateway.clone(), AtomicBool::new(false));
    let peer = Arc::new(Peer { gateway, downstream, proxies, asked, tunnel: Mutex::default() });
    let ended = match &tls {
        None => serving.plain(stream, &peer).await,
        // On the heap: a connection without TLS would carry the room for it.
        Some(tls) => Box::pin(serving.secured(stream, tls, &peer)).await,
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.downstream.peer, %error, "a connection ended early");
        let failure = match &error {
            Broken::Handshake(error) => Some(Failure::of(error)),
            Broken::SlowHandshake => Some(Failure::TooSlow),
            _ => None,
        };
        if let Some(failure) = failure {
            metrics.handshakes.failed(failure, peer.downstream.peer, &error);
        }
        // After a request it is how clients leave, or stay away for longer than they may.
        if !peer.asked.load(Ordering::Relaxed) {
            metrics.broken.inc();
        }
    }
}

fn answers<S: Serve>(
    peer: &Arc<Peer<S>>,
) -> impl Service<
    Request<Incoming>,
    Response = Response<Recorded>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<Recorded>, Infallible>> + Send + use<S>,
> + use<S> {
    let peer = peer.clone();
    service_fn(move |request| {
        let peer = peer.clone();
        peer.asked.store(true, Ordering::Relaxed);
        async move {
            let client = peer.client(request.headers());
            let from = client.as_ref().unwrap_or(&peer.downstream);
            let mut response = pin!(peer.gateway.handle(request, from)).await;
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                peer.switch(&mut response);
            }
            Ok(response)
        }
    })
}

impl<S> Peer<S> {
    /// What follows this answer is not HTTP.
    fn switch(&self, response: &mut Response<Recorded>) {
        let mut extensions = std::mem::take(response.extensions_mut());
        *self.tunnel.lock() = switch::begin(&mut extensions, || response.body_mut().leave());
        *response.extensions_mut() = extensions;
    }

    /// Goes on with what is not HTTP, if that is asked for: the connection is still one that is counted, and waited for when
    /// the server drains.
    async fn tunnel(&self) -> Result<(), Broken> {
        let tunnel = self.tunnel.lock().take();
        if let Some(tunnel) = tunnel {
            tunnel.await;
        }
        Ok(())
    }

    /// Whom a request comes from, where that is another than the one who connected.
    fn client(&self, headers: &HeaderMap) -> Option<Arc<Downstream>> {
        let client = forwarded::client(headers, self.proxies.as_deref()?)?;
        let tls = client.tls.unwrap_or(self.downstream.tls);
        Some(Arc::new(self.downstream.on_behalf_of(client.address, tls)))
    }
}

/// What is read at once of an HTTP/1.1 connection: the largest header section, and a target before it. Uploads are read in
/// pieces of this size, so it is also what each of them may hold.
fn read_buffer(settings: &ServerConfig) -> usize {
    usize::try_from(settings.max_header_size.0.saturating_add(settings.max_uri.0)).unwrap_or(usize::MAX)
}

/// A little above what the pipeline accepts over HTTP/2: it is the one that refuses, with a problem document. What is far above
/// gets a bare 431 from the codec, which does not keep it. HTTP/2 counts 32 bytes for each field besides its name and value
/// (RFC 9113 section 6.5.2), and the target as one of them.
fn largest_list(settings: &ServerConfig) -> u32 {
    const A_LITTLE: u64 = 4 << 10;
    let fields = 32 * MOST_FIELDS as u64 + A_LITTLE;
    let bytes = settings.max_header_size.0.saturating_add(settings.max_uri.0).saturating_add(fields);
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// The number of header fields stays at hyper's 100: any other setting costs two allocations per request.
fn http1(read_buffer: usize) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .header_read_timeout(None) // `Serving::quiet` does it
        .half_close(false)
        .keep_alive(true)
        .max_buf_size(read_buffer);
    http1
}

fn http2(streams: Streams, largest_list: u32) -> http2::Builder<Streams> {
    let mut http2 = http2::Builder::new(streams);
    http2
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(largest_list)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    http2
}

impl<'a> Open<'a> {
    fn count(metrics: &'a ProcessMetrics) -> Self {
        metrics.connections.inc();
        metrics.open.fetch_add(1, Ordering::Relaxed);
        Open(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
