//! Services that speak HTTP/2 or HTTP/1.1, in plaintext or over TLS, do what they are told and remember what they saw.
//!
//! Not here: HTTP/1.1 that breaks at any byte (`replicas.rs`).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::harness::TempFile;

/// Who vouches for others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) file: TempFile,
    roots: RootCertStore,
}

/// A certificate and its key.
pub(crate) struct Certified {
    pub(crate) cert: TempFile,
    pub(crate) key: TempFile,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        gateway::auth::install_crypto();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(own.der().clone()).unwrap();
        Authority { issuer: Issuer::new(params, key), file: TempFile::new("ca.pem", &own.pem()), roots }
    }

    pub(crate) fn certify(&self, name: &str) -> Certified {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Certified {
            cert: TempFile::new("cert.pem", &cert.pem()),
            key: TempFile::new("key.pem", &key.serialize_pem()),
        }
    }
}

/// What a service does with a request of HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then {
    /// Reads it whole and answers after so long.
    Answer(Duration),
    /// Says nothing, until the stream is reset.
    Hang,
    /// Says that it has not looked at it.
    Refuse,
    /// Answers the head and a part of the body, and resets the stream.
    Cut(Reason),
    /// Answers the head and a part of the body, and hangs.
    HangInBody,
    /// Answers with a body of so many bytes, as fast as it is taken.
    Flood(usize),
}

/// How a service is.
#[derive(Clone)]
pub(crate) struct Manner {
    pub(crate) tls: Option<TlsAcceptor>,
    /// Without TLS; with it, the handshake decides.
    pub(crate) http2: bool,
    pub(crate) max_streams: u32,
    /// After so many requests a connection takes no more.
    pub(crate) goaway_after: usize,
}

impl Default for Manner {
    fn default() -> Self {
        Manner { tls: None, http2: true, max_streams: 1000, goaway_after: usize::MAX }
    }
}

/// TLS with this certificate, these protocols, and clients that `clients` vouches for, if given.
pub(crate) fn acceptor(own: &Certified, protocols: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
    let builder = match clients {
        Some(authority) => ServerConfig::builder().with_client_cert_verifier(
            WebPkiClientVerifier::builder(Arc::new(authority.roots.clone())).build().unwrap(),
        ),
        None => ServerConfig::builder().with_no_client_auth(),
    };
    let chain = vec![rustls::pki_types::CertificateDer::from_pem_file(own.cert.name()).unwrap()];
    let key = PrivateKeyDer::from_pem_file(own.key.name()).unwrap();
    let mut tls = builder.with_single_cert(chain, key).unwrap();
    tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(tls))
}

/// One service, with what it has seen.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    then: Mutex<Vec<Then>>,
    always: Mutex<Option<Then>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
    waiting: AtomicUsize,
    heads: Mutex<Vec<Request<()>>>,
    bodies: Mutex<Vec<usize>>,
    names: Mutex<Vec<Option<String>>>,
    resets: Mutex<Vec<Instant>>,
}

impl Origin {
    pub(crate) async fn start(manner: Manner) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Origin { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let seen = origin.seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, manner) = (seen.clone(), manner.clone());
                tokio::spawn(async move {
                    seen.accepted.fetch_add(1, Relaxed);
                    seen.open.fetch_add(1, Relaxed);
                    seen.clone().welcome(stream, &manner).await;
                    seen.open.fetch_sub(1, Relaxed);
                });
            }
        });
        origin
    }

    /// From now on.
    pub(crate) fn does(&self, then: Then) {
        *self.seen.always.lock() = Some(then);
    }

    /// The next request is treated so.
    pub(crate) fn once(&self, then: Then) {
        self.seen.then.lock().push(then);
    }

    /// Connections that were ever opened.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.accepted.load(Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Relaxed)
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Relaxed)
    }

    /// Requests that hang.
    pub(crate) fn waiting(&self) -> usize {
        self.seen.waiting.load(Relaxed)
    }

    /// The heads of requests so far.
    pub(crate) fn heads(&self) -> Vec<Request<()>> {
        self.seen.heads.lock().clone()
    }

    /// How long the bodies were of requests that were read whole.
    pub(crate) fn bodies(&self) -> Vec<usize> {
        self.seen.bodies.lock().clone()
    }

    /// Which names clients asked for in TLS.
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.seen.names.lock().clone()
    }

    /// When streams were reset by the client.
    pub(crate) fn resets(&self) -> Vec<Instant> {
        self.seen.resets.lock().clone()
    }
}

impl Seen {
    async fn welcome(self: Arc<Self>, stream: TcpStream, manner: &Manner) {
        stream.set_nodelay(true).unwrap();
        let Some(acceptor) = &manner.tls else { return self.serve(stream, manner, manner.http2).await };
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let session = stream.get_ref().1;
        self.names.lock().push(session.server_name().map(str::to_owned));
        let http2 = session.alpn_protocol() == Some(b"h2");
        self.serve(stream, manner, http2).await;
    }

    async fn serve<I>(self: Arc<Self>, io: I, manner: &Manner, http2: bool)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if http2 { self.serve_http2(io, manner).await } else { self.serve_http1(io).await }
    }

    async fn serve_http1<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self: Arc<Self>, io: I) {
        let answer = service_fn(|request: Request<hyper::body::Incoming>| {
            self.saw(request.map(drop));
            async { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("ok")))) }
        });
        _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), answer).await;
    }

    async fn serve_http2<I: AsyncRead + AsyncWrite + Unpin>(self: Arc<Self>, io: I, manner: &Manner) {
        let mut builder = h2::server::Builder::new();
        let handshake = builder.max_concurrent_streams(manner.max_streams).handshake(io).await;
        let Ok(mut connection) = handshake else { return };
        let mut served = 0;
        while let Some(Ok((request, respond))) = connection.accept().await {
            served += 1;
            let seen = self.clone();
            tokio::spawn(async move { seen.answer(request, respond).await });
            if served == manner.goaway_after {
                connection.graceful_shutdown();
            }
        }
    }

    fn saw(&self, request: Request<()>) {
        self.requests.fetch_add(1, Relaxed);
        self.heads.lock().push(request);
    }

    async fn answer(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (head, body) = request.into_parts();
        self.saw(Request::from_parts(head, ()));
        let once = self.then.lock().pop();
        let then = once.or(*self.always.lock()).unwrap_or(Then::Answer(Duration::ZERO));
        match then {
            Then::Answer(after) => _ = self.answer_whole(body, respond, after).await,
            Then::Hang => {
                self.waiting.fetch_add(1, Relaxed);
                _ = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                self.resets.lock().push(Instant::now());
                self.waiting.fetch_sub(1, Relaxed);
            }
            Then::Refuse => respond.send_reset(Reason::REFUSED_STREAM),
            Then::Cut(reason) => {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                sending.send_data(Bytes::from_static(b"a part"), false).unwrap();
                // What is reset at once may overtake what was sent before.
                sleep(Duration::from_millis(5)).await;
                sending.send_reset(reason);
            }
            Then::Flood(length) => _ = self.flood(respond, length).await,
            Then::HangInBody => {
                let mut sending = respond.send_response(Response::new(()), false).unwrap();
                sending.send_data(Bytes::from_static(b"a part"), false).unwrap();
                self.waiting.fetch_add(1, Relaxed);
                _ = std::future::poll_fn(|cx| sending.poll_reset(cx)).await;
                self.resets.lock().push(Instant::now());
                self.waiting.fetch_sub(1, Relaxed);
            }
        }
    }

    /// Counts as waiting while nothing has been taken for a tenth of a second.
    async fn flood(&self, mut respond: SendResponse<Bytes>, mut left: usize) -> Result<(), h2::Error> {
        let mut sending = respond.send_response(Response::new(()), false)?;
        while left > 0 {
            sending.reserve_capacity(left.min(64 << 10));
            let room = std::future::poll_fn(|cx| sending.poll_capacity(cx));
            tokio::pin!(room);
            let granted = match timeout(Duration::from_millis(100), room.as_mut()).await {
                Ok(granted) => granted,
                Err(_taken_by_nobody) => {
                    self.waiting.fetch_add(1, Relaxed);
                    let granted = room.await;
                    self.waiting.fetch_sub(1, Relaxed);
                    granted
                }
            };
            let Some(granted) = granted.transpose()? else { return Ok(()) };
            let granted = granted.min(left);
            left -= granted;
            sending.send_data(Bytes::from(vec![b'x'; granted]), left == 0)?;
        }
        Ok(())
    }

    async fn answer_whole(
        &self,
        mut body: RecvStream,
        mut respond: SendResponse<Bytes>,
        after: Duration,
    ) -> Result<(), h2::Error> {
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            length += data.len();
            body.flow_control().release_capacity(data.len())?;
        }
        self.bodies.lock().push(length);
        if !after.is_zero() {
            sleep(after).await;
        }
        let mut response = Response::new(());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        let mut sending = respond.send_response(response, false)?;
        sending.send_data(Bytes::from_static(b"ok"), false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("7"));
        sending.send_trailers(trailers)
    }
}
