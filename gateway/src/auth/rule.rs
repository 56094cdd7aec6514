//! Who may use a route: its `auth:`, resolved.
//!
//! Not here: when the policy is asked, which is before anything is read, and again whenever more is known (`pipeline`).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use indexmap::IndexMap;

use super::{
    Provider,
    config::AuthRule,
    policy::{Policy, PolicyError},
    principal::Principal,
};
use crate::{
    error::{Code, Error},
    mistake::{Mistake, Mistakes, below},
};

/// A route's `auth:` with its provider found and its policy parsed. A route of `auth: none` has no rule at all.
pub struct Rule {
    provider: Arc<Provider>,
    scopes: Vec<String>,
    insufficient_scope: HeaderValue,
    optional: bool,
    policy: Option<Policy>,
}

impl Rule {
    /// Resolves the rule typed at the key path `at`. None when it has mistakes; all of them are noted.
    pub fn build(
        config: &AuthRule,
        providers: &IndexMap<String, Arc<Provider>>,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let policy = config.allow.as_deref().map(Policy::parse).transpose();
        let policy = mistakes.keep(policy.map_err(|error| in_policy(error, at)));
        if config.optional && !config.scopes.is_empty() {
            let message = "a caller without a token has no scopes, so `optional` can let nobody in";
            mistakes
                .add(Mistake::new(below(at, "optional"), message).help("leave out `optional` or `scopes`"));
        }
        let provider = mistakes.keep(provider(config, providers, at))?;
        let insufficient_scope = provider.challenge.insufficient_scope(&config.scopes).ok_or_else(|| {
            let message = "a scope holds characters that no scope can have";
            Mistake::new(below(at, "scopes"), message)
                .expected("texts without blanks, quotes and backslashes")
        });
        let insufficient_scope = mistakes.keep(insufficient_scope)?;
        let scopes = config.scopes.clone();
        Some(Rule { provider, scopes, insufficient_scope, optional: config.optional, policy: policy? })
    }

    /// Who is calling; `None` for nobody, where that is allowed.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for a bad credential, and for none unless the rule is optional;
    /// [`Code::AuthUnavailable`] when the provider's keys cannot be had.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Error> {
        match self.provider.identify(headers).await? {
            None if !self.optional => Err(self.provider.challenge.no_credential("no credential")),
            found => Ok(found),
        }
    }

    /// Whether the caller's token has all scopes of the rule.
    ///
    /// # Errors
    /// [`Code::Forbidden`] with the scopes needed (RFC 6750 section 3.1); [`Code::Unauthenticated`] for nobody.
    pub fn check_scopes(&self, principal: Option<&Principal>) -> Result<(), Error> {
        let lacking = self.scopes.iter().find(|scope| !principal.is_some_and(|had| had.has_scope(scope)));
        match (lacking, principal) {
            (None, _) => Ok(()),
            (Some(_), None) => {
                Err(self.provider.challenge.no_credential("no credential, and scopes are needed"))
            }
            (Some(scope), Some(_)) => Err(Error::new(Code::Forbidden, format!("no scope `{scope}`"))
                .header(header::WWW_AUTHENTICATE, self.insufficient_scope.clone())),
        }
    }

    /// What the policy's refusal is to this caller: a 403, but a 401 to one who sent no token, since one could help
    /// (RFC 9110 section 15.5.2).
    #[must_use]
    pub fn refusal(&self, principal: Option<&Principal>) -> Error {
        match principal {
            Some(_) => Error::new(Code::Forbidden, "refused by the route's rule"),
            None => self.provider.challenge.no_credential("no credential, and refused by the route's rule"),
        }
    }

    /// The rule's policy, if it has one.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// Who vouches for callers.
    #[must_use]
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }
}

fn provider(
    config: &AuthRule,
    providers: &IndexMap<String, Arc<Provider>>,
    at: &str,
) -> Result<Arc<Provider>, Mistake> {
    providers.get(&config.provider).cloned().ok_or_else(|| {
        let message = format!("there is no provider `{}`", config.provider);
        Mistake::new(below(at, "provider"), message).one_of("providers", providers.keys(), &config.provider)
    })
}

fn in_policy(error: PolicyError, at: &str) -> Mistake {
    let mistake = Mistake::new(below(at, "allow"), format!("in the rule, {}", error.message));
    let mistake = mistake.expected(error.expected);
    if error.words.is_empty() { mistake } else { mistake.words(error.words) }
}
