//! One worker: accepts from its sockets, ticks, and ends when the drain does.
//!
//! Not here: what happens on a connection (`connection.rs`), threads (`mod.rs`).

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Serve,
    caps::Caps,
    config::ServerConfig,
    connection::{Serving, serve},
    listeners::Listener,
    proxies::Proxies,
    tls::Live,
};
use crate::worker::{self, TICK};

/// After an error that will not go away by itself, such as no file descriptor being left.
const PAUSE: Duration = Duration::from_millis(50);

/// Says when the drain begins.
#[derive(Clone)]
pub(super) struct Draining(pub(super) watch::Receiver<bool>);

impl Draining {
    /// Returns once the drain has begun. A server that is dropped drains too.
    pub(super) async fn begun(&self) {
        _ = self.0.clone().wait_for(|begun| *begun).await;
    }
}

/// Serves until drained: until all connections have ended, or for `drain_timeout` at most.
pub(super) async fn run<S: Serve>(
    gateway: Arc<S>,
    sockets: Vec<Listener>,
    settings: &ServerConfig,
    caps: Arc<Caps>,
    draining: Draining,
) {
    // Every accept loop and every connection holds the sender by its `Serving`; nothing is ever sent.
    let (open, mut closed) = mpsc::channel(1);
    let serving = Arc::new(Serving::new(gateway.clone(), settings, caps, draining.clone(), open));
    for listener in sockets {
        tokio::spawn(accept(listener, serving.clone()));
    }
    drop(serving);
    let drained = async {
        draining.begun().await;
        _ = timeout(settings.drain_timeout.0, closed.recv()).await;
    };
    tokio::select! {
        () = drained => {}
        () = tick(&*gateway) => {}
    }
}

async fn tick<S: Serve>(gateway: &S) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        worker::tick();
        // A panic here must not end the worker. It has been reported by the panic hook.
        _ = catch_unwind(AssertUnwindSafe(|| gateway.tick()));
    }
}

/// What connections of a listener begin with.
struct Ground<S> {
    tls: Option<Arc<Live>>,
    proxies: Arc<Proxies>,
    serving: Arc<Serving<S>>,
}

async fn accept<S: Serve>(listener: Listener, serving: Arc<Serving<S>>) {
    let Listener { socket, tls, proxies } = listener;
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(%error, "a worker cannot use its socket"),
    };
    let ground = Ground { tls, proxies, serving };
    tokio::select! {
        () = ground.serving.draining.begun() => {}
        () = accept_on(&socket, &ground) => {}
    }
    match socket.into_std() {
        Ok(socket) => accept_queued(&socket, &ground),
        Err(error) => tracing::error!(%error, "connections that waited to be accepted are lost"),
    }
}

async fn accept_on<S: Serve>(socket: &TcpListener, ground: &Ground<S>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => ground.begin(stream, peer),
            Err(error) if left_early(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Takes what the kernel has accepted already: those clients may have sent their requests. The system is asked itself,
/// since the runtime only knows of connections that came before its last look.
fn accept_queued<S: Serve>(socket: &StdListener, ground: &Ground<S>) {
    loop {
        let accepted = socket.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => ground.begin(stream, peer),
            Err(error) if left_early(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => return tracing::warn!(%error, "cannot accept connections that wait"),
        }
    }
}

impl<S: Serve> Ground<S> {
    /// A task for each connection that there is a place for: a panic on one does not end others.
    fn begin(&self, stream: TcpStream, peer: SocketAddr) {
        let proxies = self.proxies.trust(peer.ip()).then(|| self.proxies.clone());
        if self.proxies.announce && proxies.is_none() {
            return self.serving.unannounced(peer.ip(), "it is no trusted proxy");
        }
        if let Some(place) = self.serving.admit(peer.ip(), proxies.is_some()) {
            let tls = self.tls.as_ref().map(|tls| tls.acceptor());
            tokio::spawn(serve(stream, peer, proxies, tls, self.serving.clone(), place));
        }
    }
}

fn left_early(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}
