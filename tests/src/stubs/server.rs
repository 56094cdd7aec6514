//! One listener and its connections: HTTP/1.1 and h2c on a socket that can be shut and opened again.
//!
//! Shut means what it means for a crashed process: connecting is refused and open connections are gone.
//! Meanwhile the port stays bound without listening, so nobody else can take it and opening cannot fail.
//! Not the place where answers are made or broken: that is the [`Handler`]'s.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

/// Connections the kernel may hold until they are accepted.
const BACKLOG: u32 = 4096;
/// HTTP/2 streams of one connection: more than any client's pool opens.
const STREAMS: u32 = 10_000;
/// What answers under way get at the end before they are dropped; hung ones never end.
const GRACE: Duration = Duration::from_secs(1);
/// Before trying again what only a lack of descriptors or a port's other user can prevent.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers requests.
pub(super) trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request that came over the connection `link`.
    fn call(self, request: Request<Incoming>, link: Arc<Link>)
    -> impl Future<Output = Response<Body>> + Send;
}

impl Handler for Router {
    async fn call(self, request: Request<Incoming>, _: Arc<Link>) -> Response<Body> {
        let Ok(response) = self.oneshot(request).await;
        response
    }
}

/// What a handler may do to the connection a request came over.
#[derive(Default)]
pub(super) struct Link {
    reset: AtomicBool,
    severed: AtomicBool,
    wake: Notify,
}

impl Link {
    /// Ends the connection at once by a TCP reset.
    pub(super) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.sever();
        self.wake.notify_one();
    }

    /// Whether this side ended the connection.
    pub(super) fn severed(&self) -> bool {
        self.severed.load(Ordering::Acquire)
    }

    fn sever(&self) {
        self.severed.store(true, Ordering::Release);
    }
}

/// What a listener is, or is to become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// It accepts.
    Open,
    /// Connecting is refused.
    Shut,
    /// It is gone for good.
    Stopped,
}

/// Opens and shuts a listener. Only one caller at a time may turn it.
pub(super) struct Door {
    wanted: watch::Sender<State>,
    current: watch::Receiver<State>,
}

impl Door {
    /// Turns the listener and waits until that is done, connections included.
    pub(super) async fn turn(&self, state: State) {
        self.wanted.send_replace(state);
        // An error says that the listener is gone, which is as shut as can be.
        let _ = self.current.clone().wait_for(|current| *current == state).await;
    }
}

/// A socket that listens, not served yet.
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Listens at `address`; the error names both.
    pub(super) fn bind(name: &str, address: SocketAddr) -> io::Result<Listener> {
        let listening = hold(address).and_then(|socket| socket.listen(BACKLOG));
        let socket = listening.map_err(|error| {
            io::Error::new(error.kind(), format!("{name} cannot listen on {address}: {error}"))
        })?;
        Ok(Listener { address: socket.local_addr()?, socket })
    }

    /// Where it listens, with the real port.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves it by a task in `tasks`.
    pub(super) fn serve(self, handler: impl Handler, tasks: &mut JoinSet<()>) -> Door {
        let (wanted, wishes) = watch::channel(State::Open);
        let (report, current) = watch::channel(State::Open);
        let acceptor = Acceptor { address: self.address, handler, wishes, report };
        tasks.spawn(acceptor.run(self.socket));
        Door { wanted, current }
    }
}

/// A socket that has the port, but does not listen yet: connecting is refused.
fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The task behind a listener.
struct Acceptor<H> {
    address: SocketAddr,
    handler: H,
    wishes: watch::Receiver<State>,
    report: watch::Sender<State>,
}

impl<H: Handler> Acceptor<H> {
    async fn run(mut self, mut socket: TcpListener) {
        while self.open(socket).await == State::Shut {
            socket = self.shut().await;
        }
    }

    /// Accepts until something else is wanted, then ends all connections.
    async fn open(&mut self, socket: TcpListener) -> State {
        self.report.send_replace(State::Open);
        let (end, ended) = watch::channel(State::Open);
        let mut connections = JoinSet::new();
        let next = self.accept(&socket, &mut connections, &ended).await;
        drop(socket);
        end.send_replace(next);
        let all_left = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all_left).await.is_err() {
            connections.shutdown().await;
        }
        next
    }

    async fn accept(
        &mut self,
        socket: &TcpListener,
        connections: &mut JoinSet<()>,
        ended: &watch::Receiver<State>,
    ) -> State {
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(attend(stream, self.handler.clone(), ended.clone()));
                    }
                    Err(_) => tokio::time::sleep(PAUSE).await,
                },
                Some(_) = connections.join_next() => {}
                next = other_than(State::Open, &mut self.wishes) => return next,
            }
        }
    }

    /// Holds the port until it is to be open again.
    async fn shut(&mut self) -> TcpListener {
        let mut held = hold(self.address);
        self.report.send_replace(State::Shut);
        // Stopping while shut: the next `open` sees that wish and ends at once.
        other_than(State::Shut, &mut self.wishes).await;
        loop {
            match held.and_then(|socket| socket.listen(BACKLOG)) {
                Ok(socket) => return socket,
                Err(error) => tracing::warn!(address = %self.address, %error, "waiting for the port"),
            }
            tokio::time::sleep(PAUSE).await;
            held = hold(self.address);
        }
    }
}

/// Waits for a wish for another state; nobody left to wish is a wish for the end.
async fn other_than(state: State, wishes: &mut watch::Receiver<State>) -> State {
    wishes.wait_for(|wish| *wish != state).await.map_or(State::Stopped, |wish| *wish)
}

/// Serves one connection until it ends by itself or is ended.
async fn attend(stream: TcpStream, handler: impl Handler, mut ended: watch::Receiver<State>) {
    // Fails only if the client is gone already, which serving finds out too.
    let _ = stream.set_nodelay(true);
    let link = Arc::new(Link::default());
    let io = TokioIo::new(Socket { stream, link: Arc::clone(&link) });
    let service = {
        let link = Arc::clone(&link);
        service_fn(move |request| {
            let answer = handler.clone().call(request, Arc::clone(&link));
            async move { Ok::<_, Infallible>(answer.await) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS);
    let mut connection = pin!(builder.serve_connection(io, service));
    loop {
        tokio::select! {
            // An error is the client's leaving or a fault's doing, and counted as such elsewhere.
            _ = connection.as_mut() => return,
            () = link.wake.notified() => return,
            Ok(()) = ended.changed() => {
                if *ended.borrow_and_update() == State::Shut {
                    link.sever();
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A TCP stream that ends by a reset if the link says so.
struct Socket {
    stream: TcpStream,
    link: Arc<Link>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.link.reset.load(Ordering::Acquire) {
            // Fails only on a socket that is closed already.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
