//! Who may use a route: its `auth:`, resolved.
//!
//! Not here: when the policy is asked, which is before anything is read, and again whenever more is known (`pipeline`).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use indexmap::IndexMap;

use super::{
    Claim, Provider,
    config::AuthRule,
    policy::{Policy, PolicyError},
    principal::Principal,
};
use crate::{
    downstream::Downstream,
    error::{Code, Error},
    mistake::{Mistake, Mistakes, below},
};

/// A route's `auth:` with its provider found and its policy parsed. A route of `auth: none` has no rule at all.
pub struct Rule {
    /// In the order that they are asked in. Never empty.
    providers: Vec<Arc<Provider>>,
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
        let providers = chain(config, providers, at, mistakes)?;
        let insufficient_scope = providers[0].challenge.insufficient_scope(&config.scopes).ok_or_else(|| {
            let message = "a scope holds characters that no scope can have";
            Mistake::new(below(at, "scopes"), message)
                .expected("texts without blanks, quotes and backslashes")
        });
        let insufficient_scope = mistakes.keep(insufficient_scope)?;
        let scopes = config.scopes.clone();
        Some(Rule { providers, scopes, insufficient_scope, optional: config.optional, policy: policy? })
    }

    /// Who is calling; `None` for nobody, where that is allowed.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`] for a bad credential, and for none unless the rule is optional;
    /// [`Code::AuthUnavailable`] when the provider's keys cannot be had.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        from: &Downstream,
    ) -> Result<Option<Arc<Principal>>, Error> {
        let mut foreign = None;
        for provider in &self.providers {
            match provider.identify(headers, from).await? {
                Claim::By(principal) => return Ok(Some(principal)),
                Claim::Foreign(why) => foreign = foreign.or(Some((provider, why))),
                Claim::Nothing => {}
            }
        }
        match foreign {
            Some((provider, why)) => Err(provider.refused_foreign(why)),
            None if self.optional => Ok(None),
            None => Err(self.no_credential("no credential")),
        }
    }

    /// 401, and what each of the providers would take.
    fn no_credential(&self, cause: &str) -> Error {
        let error = self.providers[0].challenge.no_credential(cause);
        self.providers[1..].iter().fold(error, |error, provider| provider.challenge.or_else(error))
    }

    /// Whether the caller's token has all scopes of the rule.
    ///
    /// # Errors
    /// [`Code::Forbidden`] with the scopes needed (RFC 6750 section 3.1); [`Code::Unauthenticated`] for nobody.
    pub fn check_scopes(&self, principal: Option<&Principal>) -> Result<(), Error> {
        let lacking = self.scopes.iter().find(|scope| !principal.is_some_and(|had| had.has_scope(scope)));
        match (lacking, principal) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(self.no_credential("no credential, and scopes are needed")),
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
            None => self.no_credential("no credential, and refused by the route's rule"),
        }
    }

    /// The rule's policy, if it has one.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }
}

/// The providers of a rule, by name, in the order typed.
fn chain(
    config: &AuthRule,
    providers: &IndexMap<String, Arc<Provider>>,
    at: &str,
    mistakes: &mut Mistakes,
) -> Option<Vec<Arc<Provider>>> {
    let (short, long) = (config.provider.iter(), config.providers.iter().enumerate());
    let named = short.map(|name| (name, below(at, "provider")));
    let named = named.chain(long.map(|(index, name)| (name, format!("{at}.providers[{index}]"))));
    let mut chain: Vec<Arc<Provider>> = Vec::new();
    let mut whole = true;
    for (name, at) in named {
        let Some(found) = providers.get(name) else {
            let mistake = Mistake::new(at, format!("there is no provider `{name}`"));
            mistakes.add(mistake.one_of("providers", providers.keys(), name));
            whole = false;
            continue;
        };
        if chain.iter().any(|known| Arc::ptr_eq(known, found)) {
            mistakes.add(Mistake::new(at, format!("the provider `{name}` is asked twice")));
        }
        chain.push(found.clone());
    }
    if config.provider.is_some() != config.providers.is_empty() {
        let mistake = Mistake::new(at, "who vouches for callers must be said once");
        mistakes.add(mistake.expected("either `provider: NAME` or `providers: [NAME, ...]`"));
        return None;
    }
    Some(chain).filter(|_| whole)
}

fn in_policy(error: PolicyError, at: &str) -> Mistake {
    let mistake = Mistake::new(below(at, "allow"), format!("in the rule, {}", error.message));
    let mistake = mistake.expected(error.expected);
    if error.words.is_empty() { mistake } else { mistake.words(error.words) }
}
