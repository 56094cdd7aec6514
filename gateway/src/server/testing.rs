//! What the tests of the server serve, and the clients they connect with. Compiled for tests only.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use super::{
    Listeners, Serve, Server, bind,
    config::{ListenerConfig, ServerConfig, TlsConfig},
    tls::Tls,
};
use crate::{
    body::Body,
    downstream::Downstream,
    observability::{
        access_log::AccessLog,
        metrics::{ProcessMetrics, RouteMetrics},
        record::{Record, Recorded},
    },
    units::Span,
};

/// Longer than anything here takes; what would hang fails instead.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// Answers with the version and scheme it was asked by. `/held` waits until released, `/panic` panics.
pub(super) struct Stub {
    pub(super) process: ProcessMetrics,
    pub(super) draining: AtomicBool,
    pub(super) held: watch::Sender<usize>,
    pub(super) released: watch::Sender<bool>,
    log: Arc<AccessLog>,
    route: Arc<RouteMetrics>,
}

impl Stub {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Stub {
            process: ProcessMetrics::default(),
            draining: AtomicBool::new(false),
            held: watch::channel(0).0,
            released: watch::channel(false).0,
            log: Arc::new(AccessLog::nowhere()),
            route: Arc::default(),
        })
    }

    /// Waits until `count` requests have arrived at `/held`.
    pub(super) async fn holds(&self, count: usize) {
        timeout(LONG, self.held.subscribe().wait_for(|held| *held == count)).await.unwrap().unwrap();
    }
}

impl Serve for Stub {
    async fn handle(&self, request: Request<Incoming>, from: &Arc<Downstream>) -> Response<Recorded> {
        let request = request.map(Body::client);
        match request.uri().path() {
            "/panic" => panic!("as asked for"),
            "/held" => {
                self.held.send_modify(|held| *held += 1);
                self.released.subscribe().wait_for(|released| *released).await.unwrap();
            }
            _ => {}
        }
        let mut response = Response::new(Body::full(format!("{:?} tls={}", request.version(), from.tls)));
        response.headers_mut().insert("x-peer", from.peer_text.parse().unwrap());
        if self.draining.load(Ordering::Relaxed) && request.version() == Version::HTTP_11 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Record::begin(&self.log, &self.route, &request, from).over(response, None)
    }

    fn refuse(&self, status: StatusCode, _from: &Arc<Downstream>) -> Vec<u8> {
        format!("refused with {}", status.as_u16()).into_bytes()
    }

    fn tick(&self) {}

    fn begin_drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn process(&self) -> &ProcessMetrics {
        &self.process
    }
}

/// Two workers; nothing that a test waits for takes as long as the drain may.
pub(super) fn settings() -> ServerConfig {
    ServerConfig { workers: 2, drain_timeout: Span::secs(20), ..ServerConfig::default() }
}

pub(super) fn built(listen: &[ListenerConfig]) -> Vec<Option<Arc<Tls>>> {
    listen.iter().map(|listener| Some(Tls::build(listener.tls.as_ref()?, None).unwrap())).collect()
}

/// A listener before which nobody stands.
pub(super) fn listener(address: SocketAddr, tls: Option<TlsConfig>) -> ListenerConfig {
    ListenerConfig { address, tls, trusted_proxies: Vec::new(), proxy_protocol: false }
}

pub(super) fn bound(settings: &ServerConfig, tls: Option<TlsConfig>) -> (SocketAddr, Listeners) {
    let listen = [listener("127.0.0.1:0".parse().unwrap(), tls)];
    let listeners = bind(&listen, &built(&listen), settings).unwrap();
    (listeners.addresses()[0], listeners)
}

/// A server behind a listener whose proxies at these networks announce their clients.
pub(super) fn announced(settings: &ServerConfig, proxies: &[&str]) -> (SocketAddr, Arc<Stub>, Server<Stub>) {
    let trusted_proxies = proxies.iter().map(|text| text.parse().unwrap()).collect();
    let plain = listener("127.0.0.1:0".parse().unwrap(), None);
    let listen = [ListenerConfig { trusted_proxies, proxy_protocol: true, ..plain }];
    let listeners = bind(&listen, &built(&listen), settings).unwrap();
    let (address, stub) = (listeners.addresses()[0], Stub::new());
    (address, stub.clone(), Server::start(stub, listeners).unwrap())
}

pub(super) fn started(settings: &ServerConfig) -> (SocketAddr, Arc<Stub>, Server<Stub>) {
    let (address, listeners) = bound(settings, None);
    let stub = Stub::new();
    (address, stub.clone(), Server::start(stub, listeners).unwrap())
}

/// An HTTP/1.1 client that sees every byte.
pub(super) struct Http1<I = TcpStream>(pub(super) I);

impl Http1 {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Http1(TcpStream::connect(address).await.unwrap())
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Http1<I> {
    pub(super) async fn ask(&mut self, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
    }

    /// One answer, up to the end of the stub's body.
    pub(super) async fn answer(&mut self) -> String {
        let mut answer = Vec::new();
        let read = async {
            while !answer.ends_with(b"tls=true") && !answer.ends_with(b"tls=false") {
                assert!(self.0.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
            }
        };
        timeout(LONG, read).await.expect("an answer in time");
        String::from_utf8(answer).unwrap()
    }

    /// What comes until the server closes the connection.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end as well.
        _ = timeout(LONG, self.0.read_to_end(&mut rest)).await.expect("closed in time");
        String::from_utf8(rest).unwrap()
    }
}

/// An HTTP/2 client over `io`.
pub(super) async fn http2<I>(io: I) -> http2::SendRequest<Empty<Bytes>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The text of the answer to one request.
pub(super) async fn asked(mut client: http2::SendRequest<Empty<Bytes>>, path: &str) -> String {
    let request = Request::get(format!("http://x{path}")).body(Empty::new()).unwrap();
    let response = timeout(LONG, client.send_request(request)).await.unwrap().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}
