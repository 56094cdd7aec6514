//! The Redis that instances share: one connection a worker, and an answer soon or none at all.
//!
//! Whoever asks gets an answer within `timeout`, or `Away`, and then does without. Once Redis is gone, or was late three
//! times in a row, nobody waits for it any more: `Away` is said at once, while the worker's tick tries to connect in the
//! background, after 50 ms, 100 ms and so on up to a second. A connection counts when it could write something in time.
//!
//! A connection is driven by the runtime that made it, so each worker has its own, and the circuit with it. To be asked on
//! workers only.
//!
//! Not here: what is kept there (`rate_limit/redis_counter.rs`, `cache/shared/`). TLS and clusters are not spoken; keys are made for clusters.

pub mod config;
mod link;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo, Pipeline, RedisResult,
    aio::MultiplexedConnection,
};
use futures_util::FutureExt;
use parking_lot::Mutex;

use self::{config::RedisConfig, link::Link};
use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
    worker,
};

/// Connecting may take longer than an answer: nobody waits for it.
const CONNECT_AT_MOST: Duration = Duration::from_millis(500);
/// The least and the most that an answer may be waited for.
pub(crate) const TIMEOUTS: (Span, Span) = (Span::millis(2), Span::secs(1));
/// How long what is written to see whether Redis can write stays there.
const PROBE_MILLIS: u32 = 1_000;

/// No answer, or not in time: do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away;

/// A Redis, as all workers know it.
pub struct Redis {
    config: RedisConfig,
    client: Client,
    /// Host and port, for the log: the address as typed may hold a password.
    server: String,
    links: Box<[Mutex<Link>]>,
    /// Workers whose connection is gone.
    down: AtomicUsize,
    metrics: Arc<RedisMetrics>,
}

/// How Redis is, for `/metrics`.
#[derive(Debug, Default)]
pub struct RedisMetrics(AtomicU8);

const UP: u8 = 1;
const DOWN: u8 = 2;

impl RedisMetrics {
    /// Whether every worker that has tried is connected.
    #[must_use]
    pub fn up(&self) -> bool {
        self.0.load(Relaxed) == UP
    }
}

/// A script that Redis runs as one step.
pub(crate) struct Script(::redis::Script);

impl Script {
    pub(crate) fn new(text: &str) -> Self {
        Script(::redis::Script::new(text))
    }
}

impl Redis {
    /// A Redis that nobody is connected to yet. `at` is the key path of its configuration.
    pub fn build(
        config: &RedisConfig,
        at: &str,
        metrics: Arc<RedisMetrics>,
        mistakes: &mut Mistakes,
    ) -> Option<Arc<Self>> {
        let (least, most) = TIMEOUTS;
        if config.timeout < least || config.timeout > most {
            let message = "redis: so long an answer is not waited for, or none could come in so short a time";
            mistakes.add(Mistake::new(below(at, "timeout"), message).expected("2ms to 1s"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if config.prefix.is_empty() || config.prefix.len() > 64 || !config.prefix.chars().all(plain) {
            let message = "redis: this `prefix` cannot be the begin of a key";
            let expected = "1 to 64 letters, digits, `-`, `_`, `.` or `:`";
            mistakes.add(Mistake::new(below(at, "prefix"), message).expected(expected));
        }
        let opened = open(&config.url).map_err(|why| {
            let expected = "redis://HOST:PORT, or redis://USER:PASSWORD@HOST:PORT/DATABASE";
            Mistake::new(below(at, "url"), format!("redis: its address {why}")).expected(expected)
        });
        let (client, server) = mistakes.keep(opened)?;
        let links = (0..worker::MOST).map(|_| Mutex::new(Link::new())).collect();
        let (config, down) = (config.clone(), AtomicUsize::new(0));
        Some(Arc::new(Redis { config, client, server, links, down, metrics }))
    }

    /// The same Redis by connections of their own, for what would hold up the others, or may be waited for longer. `timeout`
    /// is within the bounds.
    #[must_use]
    pub(crate) fn beside(&self, timeout: Span, metrics: Arc<RedisMetrics>) -> Arc<Self> {
        let config = RedisConfig { timeout, ..self.config.clone() };
        let links = (0..worker::MOST).map(|_| Mutex::new(Link::new())).collect();
        let (client, server, down) = (self.client.clone(), self.server.clone(), AtomicUsize::new(0));
        Arc::new(Redis { config, client, server, links, down, metrics })
    }

    /// What it was built from. A reload keeps a Redis whose configuration did not change, with its connections.
    #[must_use]
    pub fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// What each worker does ten times a second: it connects if it is not connected and the time has come.
    pub fn tick(self: &Arc<Self>) {
        if self.links[worker::index()].lock().begin(Instant::now()) {
            tokio::spawn(self.clone().connect(worker::index()));
        }
    }

    /// Runs `script` on `key`, and only on it, so that any node of a cluster could.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        arguments: &[&str],
    ) -> Result<T, Away> {
        let (mut connection, number) = self.connection()?;
        let mut invocation = script.0.key(key);
        for argument in arguments {
            invocation.arg(*argument);
        }
        self.heard(number, self.config.timeout.0, invocation.invoke_async(&mut connection)).await
    }

    /// Runs `commands`, and waits so long for all of their answers.
    pub(crate) async fn ask<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
        patience: Duration,
    ) -> Result<T, Away> {
        let (mut connection, number) = self.connection()?;
        self.heard(number, patience, commands.query_async(&mut connection)).await
    }

    fn connection(&self) -> Result<(MultiplexedConnection, u64), Away> {
        self.links[worker::index()].lock().connection().ok_or(Away)
    }

    /// What is answered on the connection of that number, and what that says of it.
    async fn heard<T>(
        &self,
        number: u64,
        patience: Duration,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Away> {
        let link = &self.links[worker::index()];
        // The timer rounds up to whole milliseconds.
        match in_time(patience.saturating_sub(Duration::from_millis(1)), asked).await {
            Some(Ok(answer)) => {
                link.lock().answered();
                return Ok(answer);
            }
            Some(Err(error)) => self.lost(link, number, &error.to_string()),
            None if link.lock().was_late(number) => self.lost(link, number, "its answers are late"),
            None => {}
        }
        Err(Away)
    }

    /// A connection that is no worker's, for who waits without anybody waiting for it.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub(crate) async fn connect_apart(&self) -> Result<MultiplexedConnection, String> {
        match tokio::time::timeout(CONNECT_AT_MOST, self.open()).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_elapsed) => Err("it does not answer".to_owned()),
        }
    }

    async fn open(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn connect(self: Arc<Self>, worker: usize) {
        let link = &self.links[worker];
        let number = link.lock().number();
        match tokio::time::timeout(CONNECT_AT_MOST, self.try_to_connect()).await {
            Ok(Ok(connection)) => {
                let mut link = link.lock();
                link.connected(connection);
                if std::mem::take(&mut link.down) {
                    self.down.fetch_sub(1, Relaxed);
                }
                drop(link);
                self.tell("");
            }
            Ok(Err(why)) => self.lost(link, number, &why),
            Err(_elapsed) => self.lost(link, number, "it does not answer"),
        }
    }

    /// A connection on which something could be written in time: a Redis that is full, only read from or too far away
    /// would otherwise come and go all the time.
    async fn try_to_connect(&self) -> Result<MultiplexedConnection, String> {
        let mut connection = self.open().await.map_err(|error| error.to_string())?;
        let mut probe = ::redis::cmd("SET");
        probe.arg(format!("{}:probe", self.config.prefix)).arg(1).arg("PX").arg(PROBE_MILLIS);
        let written = probe.query_async::<()>(&mut connection);
        match in_time(self.config.timeout.0, written).await {
            Some(written) => written.map(|()| connection).map_err(|error| error.to_string()),
            None => Err("its answers are late".to_owned()),
        }
    }

    fn lost(&self, link: &Mutex<Link>, number: u64, why: &str) {
        let mut link = link.lock();
        if link.lost(number, Instant::now()) && !std::mem::replace(&mut link.down, true) {
            self.down.fetch_add(1, Relaxed);
        }
        drop(link);
        self.tell(why);
    }

    /// One line for each change, however many workers notice it.
    fn tell(&self, why: &str) {
        let now = if self.down.load(Relaxed) == 0 { UP } else { DOWN };
        if self.metrics.0.swap(now, Relaxed) == now {
            return;
        }
        if now == UP {
            tracing::info!(server = self.server, "Redis answers: what is shared is shared");
        } else {
            tracing::warn!(server = self.server, why, "Redis is away: each instance goes on by itself");
        }
    }
}

/// The server of an address, and its host and port; or what is wrong with it, as a clause.
pub(crate) fn open(url: &str) -> Result<(Client, String), &'static str> {
    if url.starts_with("rediss:") {
        return Err("asks for TLS, which is not spoken to Redis");
    }
    let none = "is none";
    let info = url.into_connection_info().map_err(|_| none)?;
    let server = match info.addr() {
        ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
        _ => return Err(none),
    };
    // An answer is waited for each time: nothing is gained by waiting for more to send.
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let client = Client::open(info.set_tcp_settings(tcp)).map_err(|_| none)?;
    Ok((client, server))
}

/// The answer if it comes in time. A worker that was held up itself finds the answer and the alarm at once: what has come
/// is looked at once more.
async fn in_time<T>(
    patience: Duration,
    asked: impl Future<Output = RedisResult<T>>,
) -> Option<RedisResult<T>> {
    let mut asked = pin!(asked);
    if let Ok(answer) = tokio::time::timeout(patience, asked.as_mut()).await {
        return Some(answer);
    }
    tokio::task::yield_now().await;
    asked.as_mut().now_or_never()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn redis(url: &str) -> Arc<Redis> {
        let config = RedisConfig { url: url.to_owned(), timeout: Span::millis(5), prefix: "t".to_owned() };
        let mut mistakes = Mistakes::default();
        Redis::build(&config, "redis", Arc::default(), &mut mistakes).unwrap()
    }

    #[tokio::test]
    async fn nobody_waits_for_a_redis_that_is_not_there() {
        let redis = redis("redis://127.0.0.1:1");
        let script = Script::new("return 1");
        assert_eq!(redis.run::<u8>(&script, "a", &[]).await, Err(Away));
        redis.tick();
        while redis.links[0].lock().number() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!redis.metrics.up() && redis.down.load(Relaxed) == 1);
        assert_eq!(redis.run::<u8>(&script, "a", &[]).await, Err(Away));
    }

    #[tokio::test]
    async fn one_that_takes_connections_and_says_nothing_is_none() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let redis = redis(&format!("redis://{}", silent.local_addr().unwrap()));
        redis.tick();
        while redis.links[0].lock().number() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(redis.links[0].lock().connection().is_none());
    }

    #[test]
    fn an_address_is_told_without_its_password() {
        let redis = redis("redis://gateway:s3cret@cache.local:6380/2");
        assert_eq!(redis.server, "cache.local:6380");
        assert!(!format!("{:?}", redis.config()).contains("s3cret"));
        assert!(open("rediss://cache").is_err() && open("http://cache").is_err() && open("cache").is_err());
    }
}
