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
mod tokens;
#[cfg(test)]
mod vectors;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderMap;
use tokio::sync::watch;

use self::{
    bearer::{Challenge, Credential, credential},
    config::ProviderConfig,
    tokens::Tokens,
};
pub use self::{policy::Policy, principal::Principal, rule::Rule};
use crate::{
    error::{Code, Error},
    mistake::{Mistake, below},
};

/// Someone who vouches for callers.
pub struct Provider {
    config: ProviderConfig,
    challenge: Challenge,
    tokens: Tokens,
    /// Closed when the provider is dropped.
    alive: watch::Sender<()>,
}

/// Why a credential makes no principal.
enum Refusal {
    /// It is not good. Why is for the log.
    Bad(String),
    /// Nobody can tell at the moment, and when it may be worth asking again.
    Unavailable(&'static str, Duration),
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
    /// [`Mistake`] for an address that no keys can come from, a weak secret, an empty name or claim, and intervals of zero.
    pub fn build(name: &str, config: &ProviderConfig, at: &str) -> Result<Arc<Self>, Mistake> {
        install_crypto();
        let challenge = Challenge::new(name).ok_or_else(|| {
            Mistake::new(at, format!("provider `{name}` has a name that cannot be sent in a header field"))
        })?;
        let tokens = Tokens::build(name, &config.jwt, &below(at, "jwt"))?;
        let alive = watch::channel(()).0;
        Ok(Arc::new(Provider { config: config.clone(), challenge, tokens, alive }))
    }

    /// What it was built from. A reload keeps a provider whose configuration did not change, and with it its keys.
    #[must_use]
    pub fn config(&self) -> &ProviderConfig {
        &self.config
    }

    /// Whether keys have been fetched, so that tokens can be checked.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.tokens.keyring.ready()
    }

    /// Waits until keys have been fetched. Somebody must keep them fresh meanwhile.
    pub async fn until_ready(&self) {
        self.tokens.keyring.until_ready().await;
    }

    /// Keeps what it knows fresh until the provider is dropped. To be spawned once, away from the workers.
    pub fn keep_fresh(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        self.tokens.keep_fresh(self.alive.subscribe())
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
        match self.tokens.remembered(token, now) {
            Some(principal) => Ok(Some(principal)),
            None => self.tokens.verify(token, now).await.map(Some).map_err(|refusal| self.refused(refusal)),
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Bad(why) => self.challenge.bad_token(why),
            Refusal::Unavailable(why, pause) => Error::new(Code::AuthUnavailable, why).retry_after(pause),
        }
    }
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Bad(why)
    }
}

/// Seconds since 1970. To a clock set before that, every token has expired: fail closed.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
