//! Replicas of a service that do at any moment what they are told: answer, dawdle, hang, reset, cut bodies, close idle
//! connections; and clients that keep asking a gateway in front of them.
//!
//! Not here: services that say something sensible (the FTGO stubs).

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use axum::body::Body;
use http::Request;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::client::{connect, whole};

/// What a replica does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Answers with this status.
    Answer(u16),
    /// Says nothing until it is told something else, which it then does.
    Hang,
    /// Ends the connection with a RST.
    Reset,
    /// Answers, and closes the connection in mid-body: by length.
    CutByLength,
    /// The same between two chunks.
    CutChunked,
    /// The same in the middle of a chunk.
    CutInChunk,
    /// By length, with a RST.
    ResetInBody,
    /// Between two chunks, with a RST.
    ResetChunked,
}

/// What a replica has been told.
#[derive(Debug, Clone, Copy)]
struct Script {
    then: Then,
    delay: Duration,
    /// Every so manieth request takes so long.
    slow: Option<(usize, Duration)>,
    close_idle: Option<Duration>,
    healthy: bool,
}

/// One replica, with what it has seen. Requests for `/health` are answered apart and not counted.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: watch::Sender<Script>,
    once: Mutex<VecDeque<Then>>,
    seen: AtomicUsize,
    waiting: AtomicUsize,
    connections: AtomicUsize,
    /// How many requests are worked on at a time: the others wait in line.
    threads: Semaphore,
    closed_by_gateway: Mutex<Vec<Instant>>,
    bodies: Mutex<Vec<Vec<u8>>>,
}

/// `N` replicas that answer 200 after `delay`.
pub(crate) async fn replicas<const N: usize>(delay: Duration) -> [Replica; N] {
    let mut all = Vec::new();
    for _ in 0..N {
        all.push(Replica::start(delay).await);
    }
    all.try_into().unwrap_or_else(|_| unreachable!("there are N"))
}

/// `endpoints: [...]` of these.
pub(crate) fn endpoints(replicas: &[Replica]) -> String {
    let urls: Vec<_> = replicas.iter().map(|replica| format!("\"http://{}\"", replica.address)).collect();
    format!("endpoints: [{}]", urls.join(", "))
}

/// An upstream `it` and a route `/it` to it.
pub(crate) fn yaml(upstream: &str) -> String {
    format!(
        "upstreams:\n  it: {{ {upstream} }}\nroutes:\n  - path: /it\n    methods: [GET, POST, PUT]\n    \
         auth: none\n    timeout: 5s\n    forward: {{ to: it }}\n"
    )
}

impl Replica {
    /// Answers 200 after `delay`.
    pub(crate) async fn start(delay: Duration) -> Replica {
        Replica::at("127.0.0.1:0".parse().unwrap(), delay).await
    }

    /// The same, to so many requests at a time; the others wait for their turn however long it takes.
    pub(crate) async fn of_threads(threads: usize, delay: Duration) -> Replica {
        let replica = Replica::start(delay).await;
        replica.shared.threads.forget_permits(Semaphore::MAX_PERMITS - threads);
        replica
    }

    pub(crate) async fn at(address: SocketAddr, delay: Duration) -> Replica {
        let listener = TcpListener::bind(address).await.unwrap();
        let script = Script { then: Then::Answer(200), delay, slow: None, close_idle: None, healthy: true };
        let shared = Arc::new(Shared {
            script: watch::channel(script).0,
            once: Mutex::default(),
            seen: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            threads: Semaphore::new(Semaphore::MAX_PERMITS),
            closed_by_gateway: Mutex::default(),
            bodies: Mutex::default(),
        });
        let replica = Replica { address: listener.local_addr().unwrap(), shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = shared.clone();
                tokio::spawn(async move {
                    shared.connections.fetch_add(1, Relaxed);
                    drop(shared.serve(stream).await);
                    shared.connections.fetch_sub(1, Relaxed);
                });
            }
        });
        replica
    }

    /// From now on; requests that hang do it too.
    pub(crate) fn does(&self, then: Then, delay: Duration) {
        self.shared.script.send_modify(|script| {
            script.then = then;
            script.delay = delay;
        });
    }

    /// The next requests are treated so, one each.
    pub(crate) fn once(&self, then: impl IntoIterator<Item = Then>) {
        self.shared.once.lock().extend(then);
    }

    /// Every `nth` request takes `delay`.
    pub(crate) fn slow(&self, nth: usize, delay: Duration) {
        self.shared.script.send_modify(|script| script.slow = Some((nth, delay)));
    }

    pub(crate) fn close_idle(&self, after: Duration) {
        self.shared.script.send_modify(|script| script.close_idle = Some(after));
    }

    pub(crate) fn healthy(&self, healthy: bool) {
        self.shared.script.send_modify(|script| script.healthy = healthy);
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> usize {
        self.shared.seen.load(Relaxed)
    }

    /// Requests that have no answer yet.
    pub(crate) fn waiting(&self) -> usize {
        self.shared.waiting.load(Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// How many connections were closed with a request unanswered, and when the last one was.
    pub(crate) fn left(&self) -> (usize, Option<Instant>) {
        let left = self.shared.closed_by_gateway.lock();
        (left.len(), left.last().copied())
    }

    /// The bodies so far that were not empty.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.bodies.lock().clone()
    }
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::new();
        loop {
            let close_idle = self.script.borrow().close_idle.unwrap_or(Duration::from_secs(600));
            let Ok(head) = timeout(close_idle, read_head(&mut stream, &mut buffer)).await else {
                return Ok(());
            };
            let head = head?;
            if head.starts_with("get /health") {
                let status = if self.script.borrow().healthy { 200 } else { 503 };
                write(&mut stream, status).await?;
                continue;
            }
            let number = self.seen.fetch_add(1, Relaxed) + 1;
            let body = read_body(&mut stream, &mut buffer, &head).await?;
            if !body.is_empty() {
                self.bodies.lock().push(body);
            }
            let once = self.once.lock().pop_front();
            self.waiting.fetch_add(1, Relaxed);
            let goes_on = tokio::select! {
                then = self.decide(once, number) => Some(then),
                _ = stream.read_u8() => None,
            };
            self.waiting.fetch_sub(1, Relaxed);
            let Some(then) = goes_on else {
                self.closed_by_gateway.lock().push(Instant::now());
                return Ok(());
            };
            let Then::Answer(status) = then else { return break_off(stream, then).await };
            write(&mut stream, status).await?;
        }
    }

    /// What to do with a request, once it is time.
    async fn decide(&self, once: Option<Then>, number: usize) -> Then {
        let _thread = self.threads.acquire().await.expect("it is never closed");
        let script = *self.script.borrow();
        let slow = script.slow.filter(|(nth, _)| number.is_multiple_of(*nth));
        let delay = slow.map_or(script.delay, |(_, delay)| delay);
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let mut told = self.script.subscribe();
        let changed = told.wait_for(|script| once.unwrap_or(script.then) != Then::Hang).await;
        once.unwrap_or(changed.expect("the replica lives").then)
    }
}

async fn write(stream: &mut TcpStream, status: u16) -> io::Result<()> {
    let answer =
        format!("HTTP/1.1 {status} So\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(answer.as_bytes()).await
}

async fn break_off(mut stream: TcpStream, then: Then) -> io::Result<()> {
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nonly\r\n";
    const IN_CHUNK: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n40\r\nonly";
    const BY_LENGTH: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this much";
    match then {
        Then::CutChunked | Then::ResetChunked => stream.write_all(CHUNKED).await?,
        Then::CutInChunk => stream.write_all(IN_CHUNK).await?,
        Then::CutByLength | Then::ResetInBody => stream.write_all(BY_LENGTH).await?,
        _ => {}
    }
    if matches!(then, Then::Reset | Then::ResetInBody | Then::ResetChunked) {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        return Ok(());
    }
    stream.shutdown().await
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            return Ok(String::from_utf8_lossy(&head).to_lowercase());
        }
        more(stream, buffer).await?;
    }
}

/// The body as it is on the wire, chunks and all.
async fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> io::Result<Vec<u8>> {
    if head.contains("transfer-encoding: chunked") {
        while !buffer.ends_with(b"0\r\n\r\n") {
            more(stream, buffer).await?;
        }
        return Ok(std::mem::take(buffer));
    }
    let length = crate::wire::field(head, "content-length").parse().unwrap_or(0);
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Ok(buffer.drain(..length).collect())
}

/// One request as its client saw it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// When it ended, since the load began.
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    /// 0 if there was no whole answer.
    pub(crate) status: u16,
}

/// Clients that ask `GET /it`, each on a connection that stays.
pub(crate) struct Load {
    to: SocketAddr,
    clients: usize,
    pause: fn() -> Duration,
}

impl Load {
    pub(crate) fn new(to: SocketAddr, clients: usize) -> Load {
        Load { to, clients, pause: || Duration::ZERO }
    }

    /// Each client waits so long after each answer.
    pub(crate) fn pausing(self, pause: fn() -> Duration) -> Load {
        Load { pause, ..self }
    }

    /// `total` requests in all.
    pub(crate) async fn times(&self, total: usize) -> Vec<Sample> {
        let left = Arc::new(AtomicUsize::new(total));
        let take = move || left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        self.run(Arc::new(take)).await
    }

    /// Requests for so long.
    pub(crate) async fn lasting(&self, time: Duration) -> Vec<Sample> {
        let begun = Instant::now();
        self.run(Arc::new(move || begun.elapsed() < time)).await
    }

    async fn run(&self, go_on: Arc<dyn Fn() -> bool + Send + Sync>) -> Vec<Sample> {
        let begun = Instant::now();
        let clients: Vec<_> = (0..self.clients)
            .map(|_| tokio::spawn(client(self.to, self.pause, go_on.clone(), begun)))
            .collect();
        let mut samples = Vec::new();
        for client in clients {
            samples.extend(client.await.unwrap());
        }
        samples
    }
}

async fn client(
    to: SocketAddr,
    pause: fn() -> Duration,
    go_on: Arc<dyn Fn() -> bool + Send + Sync>,
    begun: Instant,
) -> Vec<Sample> {
    let (mut samples, mut connection) = (Vec::new(), connect(to).await);
    while go_on() {
        if connection.ready().await.is_err() {
            connection = connect(to).await;
        }
        let request = Request::get("/it").header("host", "ftgo.example").body(Body::empty()).unwrap();
        let asked = Instant::now();
        let status = match connection.send_request(request).await {
            Ok(response) => Some(whole(response).await).filter(|answer| answer.body.is_ok()),
            Err(_) => None,
        };
        let status = status.map_or(0, |answer| answer.status);
        samples.push(Sample { at: begun.elapsed(), took: asked.elapsed(), status });
        let pause = pause();
        if !pause.is_zero() {
            sleep(pause).await;
        }
    }
    samples
}

/// The time within which so many of a thousand were answered.
pub(crate) fn quantile(samples: &[Sample], per_mille: usize) -> Duration {
    let mut took: Vec<_> = samples.iter().map(|sample| sample.took).collect();
    took.sort_unstable();
    took[(took.len() * per_mille / 1_000).min(took.len() - 1)]
}

/// How many were not a whole 200.
pub(crate) fn failed(samples: &[Sample]) -> usize {
    samples.iter().filter(|sample| sample.status != 200).count()
}

/// How often a thing is tried: `TRIES`, or else `usual`.
pub(crate) fn tries(usual: usize) -> usize {
    typed("TRIES").unwrap_or(usual)
}

/// How long a thing is kept up: so many seconds as `SECONDS` says, or else `usual`.
pub(crate) fn seconds(usual: u64) -> Duration {
    Duration::from_secs(typed("SECONDS").unwrap_or(usual))
}

fn typed<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> Option<T> {
    #[allow(clippy::disallowed_methods, reason = "a test run by hand says how long it is to be")]
    let typed = std::env::var(name);
    typed.ok().map(|typed| typed.parse().expect("it is a number"))
}
