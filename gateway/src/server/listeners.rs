//! The sockets of all listeners, bound before anything is started: a mistake here leaves nothing behind.
//!
//! Not here: accepting from them (`accept.rs`).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    config::{ListenerConfig, ServerConfig},
    proxies::Proxies,
    tls::{Live, LiveTls, Tls},
};
use crate::worker;

/// Connections that may wait to be accepted, per socket. The system may allow fewer.
const BACKLOG: i32 = 1024;

/// The bound sockets of a server that is not started yet.
pub struct Listeners {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) per_worker: Vec<Vec<Listener>>,
    pub(super) settings: ServerConfig,
    pub(super) tls: LiveTls,
}

/// One worker's socket of one listener.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) tls: Option<Arc<Live>>,
    pub(super) proxies: Arc<Proxies>,
}

impl Listeners {
    /// The addresses, in the order of the configuration, with the ports that were found for 0.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Binds every address, once for each worker. Clients can connect from now on; they are served once the server starts.
///
/// `tls` is for each listener what its `tls` was built to.
///
/// # Errors
/// When an address is in use or may not be used; the message names which.
pub fn bind(
    listen: &[ListenerConfig],
    tls: &[Option<Arc<Tls>>],
    settings: &ServerConfig,
) -> io::Result<Listeners> {
    let workers = workers(settings);
    let mut per_worker: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::with_capacity(listen.len())).collect();
    let (mut addresses, mut live) = (Vec::with_capacity(listen.len()), Vec::with_capacity(listen.len()));
    for (listener, tls) in listen.iter().zip(tls) {
        let tls = tls.as_ref().map(|tls| Arc::new(Live::new(tls)));
        live.push((listener.address, tls.clone()));
        let (address, sockets) = bind_all(listener.address, workers)
            .map_err(|why| io::Error::new(why.kind(), refusal(listener.address, &why)))?;
        addresses.push(address);
        let proxies = Arc::new(Proxies::new(&listener.trusted_proxies, listener.proxy_protocol));
        for (listeners, socket) in per_worker.iter_mut().zip(sockets) {
            listeners.push(Listener { socket, tls: tls.clone(), proxies: proxies.clone() });
        }
    }
    Ok(Listeners { addresses, per_worker, settings: settings.clone(), tls: LiveTls(live.into()) })
}

fn workers(settings: &ServerConfig) -> usize {
    let wanted = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    wanted.min(worker::MOST)
}

fn bind_all(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    refuse_if_taken(address)?;
    let first = open(address)?;
    let address = first.local_addr()?;
    let others = (1..workers).map(|_| open(address));
    let sockets = std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?;
    Ok((address, sockets))
}

/// `SO_REUSEPORT` would let a second instance of the same user take half of the connections unnoticed. A socket without
/// it is refused where anyone listens; it never listens itself, so no client can end up in its queue.
fn refuse_if_taken(address: SocketAddr) -> io::Result<()> {
    let socket = unbound(address)?;
    socket.bind(&address.into())
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = unbound(address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait until the last instance's connections are forgotten (TIME_WAIT).
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn refusal(address: SocketAddr, why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::AddrInUse => format!("cannot listen on {address}: the address is in use"),
        _ => format!("cannot listen on {address}: {why}"),
    }
}
