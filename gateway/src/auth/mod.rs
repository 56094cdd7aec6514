//! Who is calling, and whether they may: tokens are checked here, once, and remembered until they expire.
//!
//! The walk of a request: [`Rule::authenticate`] reads the `Authorization` field and finds the token among those checked
//! before, or checks it; [`Rule::check_scopes`] and the rule's [`Policy`] then say what the caller may do.
//!
//! A remembered token is good until its `exp` and no longer than the key set that it was checked with: both are compared
//! at every use. Refusals are not remembered, so that no flood of bad tokens drives good ones out.
//!
//! Not here: logging in, opaque tokens, tokens bound to a client's key (RFC 9449), and what else a route asks.

mod bearer;
pub mod config;
mod jwks;
mod jwt;
mod keyring;
pub mod policy;
mod principal;
mod rule;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use moka::sync::Cache;
use tokio::sync::watch;

use self::{
    bearer::{Challenge, Credential, credential},
    config::ProviderConfig,
    jwt::{Checks, Unverified},
    keyring::Keyring,
    source::Source,
};
pub use self::{policy::Policy, principal::Principal, rule::Rule};
use crate::{
    error::{Code, Error},
    mistake::{Mistake, below},
};

/// What tokens checked before may take up, per provider: some ten thousand of a usual size.
const MOST_REMEMBERED: u64 = 64 << 20;

/// Longer waits for the provider's keys are not worth announcing: it may be back at any time.
const SOONEST_RETRY: Duration = Duration::from_secs(1);

/// A provider that is down for long is asked this often for its first keys: it has other instances to answer, too.
const LATEST_RETRY: Duration = Duration::from_secs(30);

/// Someone who vouches for callers: an issuer of tokens, and its keys.
pub struct Provider {
    config: ProviderConfig,
    challenge: Challenge,
    keyring: Arc<Keyring>,
    verified: Cache<String, Verified>,
    /// Closed when the provider is dropped.
    alive: watch::Sender<()>,
}

/// A token found good.
#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    /// Seconds since 1970.
    expires: u64,
    /// The key set it was checked with.
    epoch: u64,
}

/// Makes aws-lc the process's one source of cryptography, for TLS and for tokens. May be called any number of times.
pub fn install_crypto() {
    // An error means that it has been done before.
    _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

impl Provider {
    /// A provider without keys yet; they are fetched at the first need. `at` is the key path of its configuration.
    ///
    /// # Errors
    /// [`Mistake`] for an address that no keys can come from, an empty name or claim, and intervals of zero.
    pub fn build(name: &str, config: &ProviderConfig, at: &str) -> Result<Arc<Self>, Mistake> {
        install_crypto();
        let jwt = &config.jwt;
        let mistake =
            |key: &str, what: &str| Mistake::new(below(at, key), format!("provider `{name}` {what}"));
        let challenge = Challenge::new(name)
            .ok_or_else(|| mistake("jwt", "has a name that cannot be sent in a header field"))?;
        for (key, empty) in [("issuer", jwt.issuer.is_empty()), ("audience", jwt.audience.is_empty())] {
            if empty {
                return Err(mistake(
                    &format!("jwt.{key}"),
                    &format!("has an empty {key}, which no token has"),
                ));
            }
        }
        for (key, span) in [("refresh", jwt.refresh), ("cooldown", jwt.cooldown)] {
            if span.0.is_zero() {
                return Err(
                    mistake(&format!("jwt.{key}"), "would fetch its keys without pause").expected("above 0")
                );
            }
        }
        let source = Source::parse(&jwt.jwks).map_err(|why| {
            let expected = "http://, https://, or file:// and an absolute path";
            mistake("jwt.jwks", &format!("publishes its keys at an address that {why}")).expected(expected)
        })?;
        let keyring = Arc::new(Keyring::new(name, source, jwt.cooldown.0));
        let verified = Cache::builder()
            .max_capacity(MOST_REMEMBERED)
            .weigher(|token: &String, _| weight(token.len()))
            .build();
        let alive = watch::channel(()).0;
        Ok(Arc::new(Provider { config: config.clone(), challenge, keyring, verified, alive }))
    }

    /// What it was built from. A reload keeps a provider whose configuration did not change, and with it its keys.
    #[must_use]
    pub fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// Whether keys have been fetched, so that tokens can be checked.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.keyring.ready()
    }

    /// Waits until keys have been fetched. Somebody must keep them fresh meanwhile.
    pub async fn until_ready(&self) {
        self.keyring.until_ready().await;
    }

    /// Fetches keys now and then until the provider is dropped; until the first are there, after 1 s, 2 s, and so on up to
    /// 30 s, though not within the cool-down. To be spawned once, away from the workers.
    pub fn keep_fresh(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let keyring = Arc::downgrade(&self.keyring);
        let mut alive = self.alive.subscribe();
        let refresh = self.config.jwt.refresh.0;
        drop(self);
        async move {
            let mut retry = SOONEST_RETRY;
            while let Some(keyring) = keyring.upgrade() {
                keyring.fetch().await;
                let pause = if keyring.ready() { refresh } else { retry };
                let pause = jittered(pause).max(keyring.pause());
                retry = (retry * 2).min(LATEST_RETRY);
                drop(keyring);
                tokio::select! {
                    _ = alive.changed() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }

    /// Who sent the request: `None` when it came without a credential.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for every credential that is not one good token;
    /// [`Code::AuthUnavailable`] with `Retry-After` when no keys could be fetched so far.
    pub async fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Error> {
        self.identify_at(headers, unix_now()).await
    }

    async fn identify_at(&self, headers: &HeaderMap, now: u64) -> Result<Option<Arc<Principal>>, Error> {
        let token = match credential(headers) {
            Credential::None => return Ok(None),
            Credential::Other => return Err(self.challenge.no_credential("another scheme than Bearer")),
            Credential::Malformed(why) => return Err(self.challenge.bad_token(why)),
            Credential::Token(token) => token,
        };
        match self.remembered(token, now) {
            Some(principal) => Ok(Some(principal)),
            None => self.verify(token, now).await.map(Some),
        }
    }

    /// The hot path: one look-up, two comparisons.
    fn remembered(&self, token: &str, now: u64) -> Option<Arc<Principal>> {
        let verified = self.verified.get(token)?;
        let good = now < verified.expires && verified.epoch == self.keyring.glance().epoch;
        good.then_some(verified.principal)
    }

    async fn verify(&self, token: &str, now: u64) -> Result<Arc<Principal>, Error> {
        let refused = |why: String| self.challenge.bad_token(why);
        let unverified = Unverified::read(token).map_err(refused)?;
        let mut keys = self.keyring.current();
        if unverified.is_unknown_to(&keys) {
            self.keyring.fetch().await;
            keys = self.keyring.current();
        }
        if keys.epoch == 0 {
            let pause = self.keyring.pause().max(SOONEST_RETRY);
            return Err(Error::new(Code::AuthUnavailable, "no keys yet").retry_after(pause));
        }
        let claims = unverified.verify(&keys).map_err(refused)?;
        let jwt = &self.config.jwt;
        let expires = Checks(jwt).expiry(&claims, now).map_err(|why| refused(why.to_owned()))?;
        let principal = Arc::new(Principal::from_claims(claims, token, &jwt.roles_claim).map_err(refused)?);
        let verified = Verified { principal: Arc::clone(&principal), expires, epoch: keys.epoch };
        self.verified.insert(token.to_owned(), verified);
        Ok(principal)
    }
}

/// A token takes its own length as key, in the principal's claims, and in the field to send on; the rest is overhead.
fn weight(token_length: usize) -> u32 {
    u32::try_from(token_length).unwrap_or(u32::MAX).saturating_mul(4).saturating_add(1_024)
}

/// Give or take a tenth, so that many instances do not ask at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// Seconds since 1970. To a clock set before that, every token has expired: fail closed.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
