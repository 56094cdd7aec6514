//! A token store in Redis: a reference token stands there for a value token, a JWT, which is what services get to see.
//!
//! The key is a prefix and the SHA-256 of the reference token in hexadecimal digits, so that who reads the store has no token
//! to come with; the value is the JWT, which is checked like any other. A token that is deleted there is revoked. Its life is
//! the key's: whenever the store is asked about a token, which is once in `max_age` while it is used, the end of the key is
//! moved to `idle` after the last use that this answer may stand for. That is written in the background, many at a time, and
//! never beyond what the value token's `iat` and `exp` allow. What is not written shortens a life, and nothing else.
//!
//! A connection of its own, on the control thread. Not here: when it is asked (`mod.rs`), who puts tokens there.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{Hash, Said};
use crate::{
    auth::{
        Refusal, config::TokenStoreConfig, jwt::seconds, principal::Principal, tokens::Tokens, told::Told,
    },
    mistake::{Mistake, below},
    redis::open,
    units::Span,
};

/// Ten times what a value token has.
const LONGEST_VALUE: usize = 64 << 10;
/// Lives that wait to be extended; one more is not.
const MOST_EXTENSIONS: usize = 4_096;
/// Lives that are extended in one round trip.
const BATCH: usize = 256;

/// The store.
pub(super) struct Store {
    provider: String,
    config: TokenStoreConfig,
    pub(super) tokens: Arc<Tokens>,
    link: Arc<Link>,
    extending: mpsc::Sender<Extension>,
    extensions: Mutex<Option<mpsc::Receiver<Extension>>>,
}

/// The connection, made when it is needed.
struct Link {
    client: Client,
    timeout: Duration,
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
}

/// Until when a key is to live at least, in milliseconds since 1970.
struct Extension {
    key: String,
    until: u64,
}

impl Store {
    /// That of the provider `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// [`Mistake`] for an address or a prefix that is none, for a life that ends before it begins, and for what is wrong with
    /// `jwt`.
    pub(super) fn build(
        name: &str,
        config: &TokenStoreConfig,
        told: &[Told],
        at: &str,
    ) -> Result<Self, Mistake> {
        let mistake =
            |key: &str, what: String| Mistake::new(below(at, key), format!("provider `{name}` {what}"));
        let (client, _server) = open(&config.url.0).map_err(|why| {
            let expected = "redis://HOST:PORT, or redis://USER:PASSWORD@HOST:PORT/DATABASE";
            mistake("url", format!("has a store whose address {why}")).expected(expected)
        })?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if config.prefix.is_empty() || config.prefix.len() > 64 || !config.prefix.chars().all(plain) {
            let expected = "1 to 64 letters, digits, `-`, `_`, `.` or `:`";
            let what = "has a `prefix` that cannot be the begin of a key".to_owned();
            return Err(mistake("prefix", what).expected(expected));
        }
        if config.idle < config.max_age || config.idle > config.max_life {
            let what = "has tokens whose life is over before it is extended, or extended when it is over";
            return Err(
                mistake("idle", what.to_owned()).expected("`max_age` at least, and `max_life` at most")
            );
        }
        let tokens = Arc::new(Tokens::build(name, &config.jwt, told, &below(at, "jwt"))?);
        let (extending, extensions) = mpsc::channel(MOST_EXTENSIONS);
        let link = Link { client, timeout: config.timeout.0, connection: tokio::sync::Mutex::default() };
        let (link, extensions) = (Arc::new(link), Mutex::new(Some(extensions)));
        Ok(Store { provider: name.to_owned(), config: config.clone(), tokens, link, extending, extensions })
    }

    /// Fetches the keys of value tokens, and writes back how long tokens live, while `alive`.
    pub(super) fn keep_fresh(&self, alive: watch::Receiver<()>) -> impl Future<Output = ()> + Send + use<> {
        let keys = self.tokens.keep_fresh(alive);
        let (link, extensions) = (self.link.clone(), self.extensions.lock().take());
        let provider = self.provider.clone();
        async move {
            let writing = async {
                let Some(mut extensions) = extensions else { return };
                let (mut batch, mut failing) = (Vec::with_capacity(BATCH), false);
                while extensions.recv_many(&mut batch, BATCH).await > 0 {
                    let written = link.extend(&batch).await;
                    // Once for each change.
                    if !std::mem::replace(&mut failing, written.is_err())
                        && let Err(why) = written
                    {
                        tracing::warn!(
                            provider,
                            why,
                            "what is used does not live longer: it cannot be written"
                        );
                    }
                    batch.clear();
                }
            };
            tokio::join!(keys, writing);
        }
    }

    /// What the store has for the token of this hash.
    ///
    /// # Errors
    /// Why it says nothing: it is away or late, or there are no keys yet to check value tokens by.
    pub(super) async fn ask(&self, hash: &Hash) -> Result<Said, String> {
        let key = self.key(hash);
        let asked = since_1970();
        let value = self.link.get(&key).await?;
        if value.is_empty() {
            return Ok(Said::Bad("it is not in the store".to_owned()));
        }
        if value.len() > LONGEST_VALUE {
            return Ok(rubbish("it is over 64 KiB"));
        }
        let Ok(token) = String::from_utf8(value) else { return Ok(rubbish("it is no text")) };
        let checked = timeout(self.config.timeout.0, self.tokens.checked(&token, asked.as_secs())).await;
        let (principal, expires) = match checked {
            Ok(Ok(checked)) => checked,
            Ok(Err(Refusal::Bad(why))) => return Ok(rubbish(&why)),
            Ok(Err(Refusal::Unavailable(why, _))) => return Err(why.to_owned()),
            Err(_elapsed) => return Err("the keys of value tokens are not there in time".to_owned()),
        };
        let Some(end) = end(&principal, expires, self.config.max_life) else {
            return Ok(rubbish("it has no `iat`"));
        };
        if asked.as_secs() >= end {
            return Ok(Said::Bad("its life is over".to_owned()));
        }
        // Used until it is asked about again, at the latest.
        let until = asked + self.config.max_age.0 + self.config.idle.0;
        let until = (until.as_millis() as u64).min(end.saturating_mul(1_000));
        _ = self.extending.try_send(Extension { key, until });
        // What it opens and leaves open ends with it (`Principal::expires`).
        let principal = match end < expires {
            true => Arc::new(Principal { expires: Some(end), ..(*principal).clone() }),
            false => principal,
        };
        Ok(Said::Good { principal, expires: end })
    }

    fn key(&self, hash: &Hash) -> String {
        let mut key = self.config.prefix.clone();
        for byte in hash {
            key.extend(
                [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])),
            );
        }
        key
    }
}

impl Link {
    /// The value of a key and a byte more than it may have, or nothing.
    async fn get(&self, key: &str) -> Result<Vec<u8>, String> {
        let mut ask = redis::cmd("GETRANGE");
        ask.arg(key).arg(0).arg(LONGEST_VALUE);
        let asked = async {
            match ask.query_async(&mut self.connected().await?).await {
                // It was closed since it was last used.
                Err(error) if is_lost(&error) => {
                    self.lost().await;
                    ask.query_async(&mut self.connected().await?).await
                }
                answer => answer,
            }
        };
        self.in_time(asked).await
    }

    async fn extend(&self, all: &[Extension]) -> Result<(), String> {
        let mut write = redis::pipe();
        for Extension { key, until } in all {
            // Never sooner than it is to end anyway, and only if it is still there.
            write.cmd("PEXPIREAT").arg(key).arg(*until).arg("GT").ignore();
        }
        self.in_time(async { write.query_async(&mut self.connected().await?).await }).await
    }

    /// A connection that says nothing is none: the next question makes another one.
    async fn in_time<T>(&self, asked: impl Future<Output = Result<T, RedisError>>) -> Result<T, String> {
        match timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if is_lost(&error) {
                    self.lost().await;
                }
                Err(error.to_string())
            }
            Err(_elapsed) => {
                self.lost().await;
                Err("the store took too long".to_owned())
            }
        }
    }

    async fn connected(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(connection.insert(made).clone())
    }

    async fn lost(&self) {
        // Whoever holds it is making a new one.
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }
}

fn is_lost(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error()
}

/// Somebody has put into the store what does not belong there, or has changed keys: nobody is let in by it.
fn rubbish(why: &str) -> Said {
    Said::Bad(format!("its value token is not good: {why}"))
}

/// The second since 1970 in which a life is over, whatever happens: none without the beginning of it.
fn end(principal: &Principal, expires: u64, max_life: Span) -> Option<u64> {
    let begun = principal.claims.get("iat").and_then(seconds)?;
    Some(begun.saturating_add(max_life.0.as_secs()).min(expires))
}

fn since_1970() -> Duration {
    // A clock before that is no reason to let anybody in: fail closed.
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::from_secs(u64::MAX >> 32))
}
