//! Where clients connect: sockets, worker threads, connections, and the end of it all (the drain).
//!
//! Each worker is one thread with a runtime, sockets and connections of its own, so that requests on different workers
//! share nothing that is written to. The kernel spreads new connections over the workers (`SO_REUSEPORT`).
//!
//! A drain loses no request that reached a connection: queued connections are taken before a socket is closed, HTTP/2
//! clients are told to go elsewhere (GOAWAY), HTTP/1.1 connections end with their next answer, or unused after a grace.
//!
//! Not here: what answers a request (`pipeline.rs`), signals and reloads (`cli.rs`), the operators' listener (`admin/`).

mod accept;
mod caps;
mod chatter;
pub mod config;
mod connection;
mod forwarded;
mod listeners;
mod opening;
pub mod proxies;
mod proxy_protocol;
mod seldom;
mod streams;
mod taken;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
mod watched;

use std::{future::Future, io, net::SocketAddr, sync::Arc, thread::JoinHandle};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, watch},
};

pub use self::listeners::{Listeners, bind};
use self::{accept::Draining, caps::Caps, config::ServerConfig, listeners::Listener, tls::LiveTls};
use crate::{
    deadline,
    downstream::Downstream,
    observability::{metrics::ProcessMetrics, record::Recorded},
    pipeline::Gateway,
    worker,
};

/// What is served: the pipeline, and in tests something simpler.
pub trait Serve: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        &self,
        request: Request<Incoming>,
        from: &Arc<Downstream>,
    ) -> impl Future<Output = Response<Recorded>> + Send;

    /// The answer, head and body, to what cannot be read as a request at all.
    fn refuse(&self, status: StatusCode, from: &Arc<Downstream>) -> Vec<u8>;

    /// What each worker does ten times a second.
    fn tick(&self);

    /// From now on answers of HTTP/1.1 say `Connection: close`.
    fn begin_drain(&self);

    /// Where connections are counted.
    fn process(&self) -> &ProcessMetrics;
}

impl Serve for Gateway {
    fn handle(
        &self,
        request: Request<Incoming>,
        from: &Arc<Downstream>,
    ) -> impl Future<Output = Response<Recorded>> + Send {
        Gateway::handle(self, request, from)
    }

    fn refuse(&self, status: StatusCode, from: &Arc<Downstream>) -> Vec<u8> {
        Gateway::refuse(self, status, from)
    }

    fn tick(&self) {
        Gateway::tick(self);
    }

    fn begin_drain(&self) {
        Gateway::drain(self);
    }

    fn process(&self) -> &ProcessMetrics {
        self.metrics.process()
    }
}

/// A server that runs. Dropped without [`Server::drain`], it drains all the same, and nobody waits for it.
pub struct Server<S = Gateway> {
    gateway: Arc<S>,
    addresses: Vec<SocketAddr>,
    tls: LiveTls,
    workers: Vec<Worker>,
    /// Yields `None` when the last worker has ended.
    ended: mpsc::Receiver<()>,
}

struct Worker {
    thread: JoinHandle<()>,
    /// One per worker: every connection looks at it often, and workers share nothing that is often used.
    drain: watch::Sender<bool>,
}

impl<S: Serve> Server<S> {
    /// Starts the workers; they accept connections at once.
    ///
    /// # Errors
    /// When the system refuses a thread or what its runtime needs.
    pub fn start(gateway: Arc<S>, listeners: Listeners) -> io::Result<Self> {
        let Listeners { addresses, per_worker, settings, tls } = listeners;
        let (alive, ended) = mpsc::channel(1);
        let caps = Caps::new(&settings);
        let start = |(index, sockets)| {
            let (drain, draining) = watch::channel(false);
            let (caps, alive) = (caps.clone(), alive.clone());
            let start = Start { index, sockets, caps, draining: Draining(draining), alive };
            Ok(Worker { thread: start.thread(gateway.clone(), settings.clone())?, drain })
        };
        let workers = per_worker.into_iter().enumerate().map(start).collect::<io::Result<_>>()?;
        Ok(Server { gateway, addresses, tls, workers, ended })
    }

    /// The addresses listened on, in the order of the configuration, with the ports that were found for 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The TLS of its listeners, to be replaced when files have changed.
    #[must_use]
    pub fn tls(&self) -> LiveTls {
        self.tls.clone()
    }

    /// Takes no more connections, lets requests end, and returns when all have or `drain_timeout` has passed.
    /// What is left then is cut off.
    pub async fn drain(mut self) {
        self.gateway.begin_drain();
        for worker in &self.workers {
            worker.drain.send_replace(true);
        }
        while self.ended.recv().await.is_some() {}
        for worker in self.workers {
            if worker.thread.join().is_err() {
                tracing::error!("a worker ended in a panic");
            }
        }
    }
}

/// What a worker begins with.
struct Start {
    index: usize,
    sockets: Vec<Listener>,
    caps: Arc<Caps>,
    draining: Draining,
    alive: mpsc::Sender<()>,
}

impl Start {
    fn thread<S: Serve>(self, gateway: Arc<S>, settings: ServerConfig) -> io::Result<JoinHandle<()>> {
        // Made here, so that its failure is the caller's error and not a thread that is missing.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let name = format!("worker-{}", self.index);
        std::thread::Builder::new().name(name).spawn(move || self.run(runtime, gateway, &settings))
    }

    fn run<S: Serve>(self, runtime: Runtime, gateway: Arc<S>, settings: &ServerConfig) {
        worker::name_this_thread(self.index);
        deadline::keep_on_this_thread();
        runtime.block_on(accept::run(gateway, self.sockets, settings, self.caps, self.draining));
        // Drops the connections that are left, before the drain is said to have ended.
        drop(runtime);
        drop(self.alive);
    }
}
