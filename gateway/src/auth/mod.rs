//! Who is calling, and whether they may: tokens are checked here, once, and remembered until they expire.
//!
//! The walk of a request: [`Rule::authenticate`] asks the route's providers in turn. The first whose credential the request
//! brings along finds it among those checked before, or checks it, and nobody after it is asked. [`Rule::check_scopes`] and
//! the rule's [`Policy`] then say what the caller may do.
//!
//! Not here: logging in, tokens bound to a client's key (RFC 9449), and what else a route asks.

mod bearer;
mod certificates;
pub mod config;
mod jwks;
mod jwt;
mod keyring;
mod keys;
mod known;
pub mod policy;
mod principal;
mod references;
mod rule;
mod source;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tokens;
mod told;
#[cfg(test)]
mod vectors;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName};
use tokio::sync::watch;

pub(crate) use self::certificates::{names as certificate_names, not_after as certificate_not_after};
use self::{
    bearer::{Challenge, Credential, credential},
    certificates::Certificates,
    config::ProviderConfig,
    keys::Keys,
    references::References,
    tokens::Tokens,
};
pub use self::{known::Around, policy::Policy, principal::Principal, rule::Rule, told::Told};
use crate::{
    downstream::Downstream,
    error::{Code, Error},
    mistake::{Mistake, Mistakes, below},
};

/// Someone who vouches for callers.
pub struct Provider {
    config: ProviderConfig,
    around: Around,
    challenge: Challenge,
    kind: Kind,
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

/// What is known of callers, and how they are recognised.
#[expect(clippy::large_enum_variant, reason = "there is one for each provider")]
enum Kind {
    Jwt(Tokens),
    Keys(Keys),
    Certificate(Certificates),
    Reference(References),
}

/// What a provider says of a request.
enum Claim {
    /// It comes from this caller.
    By(Arc<Principal>),
    /// It brings no credential along.
    Nothing,
    /// It brings one along that is of another kind, or for another provider.
    Foreign(Foreign),
}

/// What a request brings along for a provider.
enum Brought<'h> {
    Text(&'h str),
    Nothing(Claim),
}

/// Why a credential is for somebody else.
#[derive(Clone, Copy)]
enum Foreign {
    /// Its scheme is another.
    Scheme,
    /// It is a token, and none that could be read here.
    Form,
}

impl Provider {
    /// A provider as typed at the key path `at`. One of tokens has no keys yet; they are fetched at the first need.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn build(
        name: &str,
        config: &ProviderConfig,
        around: &Around,
        at: &str,
    ) -> Result<Arc<Self>, Mistakes> {
        install_crypto();
        let one = |mistake: Mistake| Mistakes(vec![mistake]);
        let told = &around.told;
        let ProviderConfig { jwt, keys, certificate, introspect, token_store } = config;
        let (scheme, needed, kind) = match (jwt, keys, certificate, introspect, token_store) {
            (Some(jwt), None, None, None, None) => {
                let tokens = Tokens::build(name, jwt, told, &below(at, "jwt")).map_err(one)?;
                ("Bearer", bearer::TOKEN, Kind::Jwt(tokens))
            }
            (None, Some(keys), None, None, None) => {
                let built = Keys::build(name, keys, around, &below(at, "keys"))?;
                (Keys::scheme(keys), "A valid API key is needed.", Kind::Keys(built))
            }
            (None, None, Some(typed), None, None) => {
                let built = Certificates::build(name, typed, around, &below(at, "certificate"))?;
                ("Certificate", "A valid client certificate is needed.", Kind::Certificate(built))
            }
            (None, None, None, Some(typed), None) => {
                let built = References::introspected(name, typed, told, &below(at, "introspect"));
                ("Bearer", bearer::TOKEN, Kind::Reference(built.map_err(one)?))
            }
            (None, None, None, None, Some(typed)) => {
                let built = References::exchanged(name, typed, told, &below(at, "token_store"));
                ("Bearer", bearer::TOKEN, Kind::Reference(built.map_err(one)?))
            }
            _ => {
                let message = format!("provider `{name}` must say once how it knows callers");
                return Err(one(Mistake::new(at, message)
                    .expected("one of `jwt`, `keys`, `certificate`, `introspect` and `token_store`")));
            }
        };
        let challenge = Challenge::new(scheme, name, needed).ok_or_else(|| {
            let message = format!("provider `{name}` has a name that cannot be sent in a header field");
            one(Mistake::new(at, message))
        })?;
        let alive = watch::channel(()).0;
        Ok(Arc::new(Provider { config: config.clone(), around: around.clone(), challenge, kind, alive }))
    }

    /// Whether it would be built the same. A reload keeps such a provider, and with it its keys.
    #[must_use]
    pub fn is_still(&self, config: &ProviderConfig, around: &Around) -> bool {
        self.config == *config && self.around == *around
    }

    /// The header field that holds its credentials, if none but the gateway should see that.
    #[must_use]
    pub fn field(&self) -> Option<&HeaderName> {
        match &self.kind {
            Kind::Keys(keys) => keys.field(),
            _ => None,
        }
    }

    /// Whether it knows what it needs to tell callers apart.
    #[must_use]
    pub fn ready(&self) -> bool {
        match &self.kind {
            Kind::Jwt(tokens) => tokens.keyring.ready(),
            Kind::Reference(references) => references.ready(),
            Kind::Keys(_) | Kind::Certificate(_) => true,
        }
    }

    /// Waits until it is ready. Somebody must keep it fresh meanwhile.
    pub async fn until_ready(&self) {
        match &self.kind {
            Kind::Jwt(tokens) => tokens.keyring.until_ready().await,
            Kind::Reference(references) => references.until_ready().await,
            Kind::Keys(_) | Kind::Certificate(_) => {}
        }
    }

    /// Keeps what it knows fresh until the provider is dropped. To be spawned once, away from the workers.
    #[must_use]
    pub fn keep_fresh(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let alive = self.alive.subscribe();
        match &self.kind {
            Kind::Jwt(tokens) => Box::pin(tokens.keep_fresh(alive)),
            Kind::Keys(keys) => Box::pin(keys.keep_fresh(alive)),
            Kind::Reference(references) => Box::pin(references.keep_fresh(alive)),
            Kind::Certificate(_) => Box::pin(std::future::ready(())),
        }
    }

    /// What it says of a request of these fields.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for a credential of its kind that is not good; [`Code::AuthUnavailable`] with `Retry-After`
    /// when that cannot be told.
    async fn identify(&self, headers: &HeaderMap, from: &Downstream) -> Result<Claim, Error> {
        self.identify_at(headers, from, unix_now()).await
    }

    async fn identify_at(&self, headers: &HeaderMap, from: &Downstream, now: u64) -> Result<Claim, Error> {
        let claim = match &self.kind {
            Kind::Jwt(tokens) => match self.brought(credential(headers, "Bearer"))? {
                Brought::Text(token) => match tokens.remembered(token, now) {
                    Some(principal) => Ok(Claim::By(principal)),
                    None if !jwt::is_one(token) => Ok(Claim::Foreign(Foreign::Form)),
                    None => tokens.verify(token, now).await.map(Claim::By),
                },
                Brought::Nothing(claim) => Ok(claim),
            },
            Kind::Keys(keys) => match self.brought(keys.credential(headers))? {
                Brought::Text(key) => keys.whose(key).map(Claim::By),
                Brought::Nothing(claim) => Ok(claim),
            },
            Kind::Reference(references) => match self.brought(credential(headers, "Bearer"))? {
                Brought::Text(token) => references.whose(token, now).await.map(Claim::By),
                Brought::Nothing(claim) => Ok(claim),
            },
            Kind::Certificate(certificates) => certificates.whose(from),
        };
        claim.map_err(|refusal| self.refused(refusal))
    }

    /// The text of a credential, or what there is to say without one.
    fn brought<'h>(&self, credential: Credential<'h>) -> Result<Brought<'h>, Error> {
        match credential {
            Credential::None => Ok(Brought::Nothing(Claim::Nothing)),
            Credential::Other => Ok(Brought::Nothing(Claim::Foreign(Foreign::Scheme))),
            Credential::Malformed(why) => Err(self.challenge.bad_token(why)),
            Credential::Token(text) => Ok(Brought::Text(text)),
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Bad(why) => self.challenge.bad_token(why),
            Refusal::Unavailable(why, pause) => Error::new(Code::AuthUnavailable, why).retry_after(pause),
        }
    }

    /// What is said when a credential is for somebody else, and nobody else is there.
    fn refused_foreign(&self, why: Foreign) -> Error {
        match why {
            Foreign::Scheme => self.challenge.no_credential("a credential of another scheme"),
            Foreign::Form => self.challenge.bad_token("it is no JWT"),
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
