//! Callers by JSON Web Token: the tokens of one provider that were found good, and the keys that say so.
//!
//! A remembered token is good until its `exp` and no longer than the key set that it was checked with: both are compared
//! at every use. Refusals are not remembered, so that no flood of bad tokens drives good ones out.
//!
//! Not here: checking one token (`jwt.rs`), keys and when they are fetched (`keyring.rs`).

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use tokio::sync::watch;

use super::{
    Refusal,
    config::{JwtConfig, SecretConfig},
    jwks::KeySet,
    jwt::{Checks, Unverified},
    keyring::Keyring,
    principal::Principal,
    source::Source,
    told::Told,
};
use crate::mistake::{Mistake, below};

/// What tokens checked before may take up, per provider: some ten thousand of a usual size.
const MOST_REMEMBERED: u64 = 64 << 20;

/// Longer waits for the provider's keys are not worth announcing: it may be back at any time.
const SOONEST_RETRY: Duration = Duration::from_secs(1);

/// A provider that is down for long is asked this often for its first keys: it has other instances to answer, too.
const LATEST_RETRY: Duration = Duration::from_secs(30);

/// The tokens of one provider.
pub(super) struct Tokens {
    config: JwtConfig,
    told: Vec<Told>,
    pub(super) keyring: Arc<Keyring>,
    verified: Cache<String, Verified>,
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

impl Tokens {
    /// Tokens of the provider `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// [`Mistake`] for an address that no keys can come from, a weak secret, an empty claim, and intervals of zero.
    pub(super) fn build(name: &str, config: &JwtConfig, told: &[Told], at: &str) -> Result<Self, Mistake> {
        let mistake =
            |key: &str, what: String| Mistake::new(below(at, key), format!("provider `{name}` {what}"));
        for (key, empty) in [("issuer", config.issuer.is_empty()), ("audience", config.audience.is_empty())] {
            if empty {
                return Err(mistake(key, format!("has an empty {key}, which no token has")));
            }
        }
        for (key, span) in [("refresh", config.refresh), ("cooldown", config.cooldown)] {
            if span.0.is_zero() {
                return Err(mistake(key, "would fetch its keys without pause".to_owned()).expected("above 0"));
            }
        }
        let keyring = match (&config.jwks, &config.secret) {
            (Some(jwks), None) => {
                let source = Source::parse(jwks).map_err(|why| {
                    let expected = "http://, https://, or file:// and an absolute path";
                    mistake("jwks", format!("publishes its keys at an address that {why}")).expected(expected)
                })?;
                Keyring::new(name, source, config.cooldown.0)
            }
            (None, Some(secret)) => {
                let keys = read_secret(secret)
                    .and_then(|bytes| KeySet::of_secret(&bytes, secret.algorithm))
                    .map_err(|why| mistake("secret", format!("has a secret that {why}")))?;
                Keyring::given(name, keys)
            }
            _ => {
                let message = format!("provider `{name}` must say where its keys are, once");
                return Err(Mistake::new(at, message).expected("either `jwks` or `secret`"));
            }
        };
        let verified = Cache::builder()
            .max_capacity(MOST_REMEMBERED)
            .weigher(|token: &String, _| weight(token.len()))
            .build();
        Ok(Tokens { config: config.clone(), told: told.to_vec(), keyring: Arc::new(keyring), verified })
    }

    /// Fetches keys now and then while `alive`; until the first are there, after 1 s, 2 s, and so on up to 30 s, though not
    /// within the cool-down.
    pub(super) fn keep_fresh(
        &self,
        mut alive: watch::Receiver<()>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let keyring = Arc::downgrade(&self.keyring);
        let refresh = self.config.refresh.0;
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

    /// The hot path: one look-up, two comparisons.
    pub(super) fn remembered(&self, token: &str, now: u64) -> Option<Arc<Principal>> {
        let verified = self.verified.get(token)?;
        let good = now < verified.expires && verified.epoch == self.keyring.glance().epoch;
        good.then_some(verified.principal)
    }

    /// Checks a token, and remembers a good one.
    ///
    /// # Errors
    /// Why it is not good, or that there are no keys to tell by.
    pub(super) async fn verify(&self, token: &str, now: u64) -> Result<Arc<Principal>, Refusal> {
        self.checked(token, now).await.map(|(principal, _)| principal)
    }

    /// The same, with the second from which the token is of no more use.
    pub(super) async fn checked(&self, token: &str, now: u64) -> Result<(Arc<Principal>, u64), Refusal> {
        let unverified = Unverified::read(token)?;
        let mut keys = self.keyring.current();
        if unverified.is_unknown_to(&keys) {
            self.keyring.fetch().await;
            keys = self.keyring.current();
        }
        if keys.epoch == 0 {
            return Err(Refusal::Unavailable("no keys yet", self.keyring.pause().max(SOONEST_RETRY)));
        }
        let claims = unverified.verify(&keys)?;
        let expires = Checks(&self.config).expiry(&claims, now).map_err(str::to_owned)?;
        let mut principal = Principal::from_claims(claims, Some(token), &self.config.roles_claim)?;
        principal.expires = Some(expires);
        let principal = Arc::new(principal.telling(&self.told)?);
        let verified = Verified { principal: Arc::clone(&principal), expires, epoch: keys.epoch };
        self.verified.insert(token.to_owned(), verified);
        Ok((principal, expires))
    }
}

/// The bytes of a shared secret, or what is wrong with it, as a clause.
fn read_secret(typed: &SecretConfig) -> Result<Vec<u8>, String> {
    match (&typed.value, &typed.file) {
        (Some(value), None) => Ok(value.0.clone().into_bytes()),
        (None, Some(file)) => {
            let read = std::fs::read(file);
            let mut bytes = read.map_err(|why| format!("cannot be read from `{}`: {why}", file.display()))?;
            while bytes.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
            Ok(bytes)
        }
        _ => Err("must be given once, by `value` or by `file`".to_owned()),
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
