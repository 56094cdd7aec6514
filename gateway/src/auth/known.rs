//! Callers that the configuration itself knows, by a key or by a certificate: what is said of them there makes a principal
//! like that of a token.
//!
//! Not here: how they are recognised (`keys.rs`, `certificates.rs`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{bearer::is_scope, principal::Principal, told::Told};
use crate::mistake::{Mistake, below, nearest};

/// What a provider is built among, besides its own configuration. Another one makes it another provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// The names under `plans:`.
    pub plans: Vec<String>,
    /// What services are told of callers.
    pub told: Vec<Told>,
}

/// What is said of a known caller.
pub(super) struct Known<'t> {
    pub(super) id: &'t str,
    pub(super) roles: &'t [String],
    pub(super) scopes: &'t [String],
    pub(super) plan: Option<&'t str>,
}

impl Known<'_> {
    /// The caller, said to be so at the key path `at`.
    ///
    /// # Errors
    /// [`Mistake`] for an unknown plan, and for what could not be sent in a header field.
    pub(super) fn principal(&self, around: &Around, at: &str) -> Result<Arc<Principal>, Mistake> {
        let id = self.id;
        if let Some(plan) = self.plan.filter(|plan| !around.plans.iter().any(|known| known == plan)) {
            let mistake = Mistake::new(below(at, "plan"), format!("`{id}` has the unknown plan `{plan}`"));
            let mistake = mistake.one_of("plans", &around.plans, plan);
            let near = nearest(plan, around.plans.iter().map(String::as_str)).is_some();
            return Err(if near { mistake } else { mistake.help("plans stand under `plans:`") });
        }
        if let Some(scope) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            let message = format!("`{id}` has the scope `{scope}`, which no scope can be called");
            let expected = "texts without blanks, quotes and backslashes";
            return Err(Mistake::new(below(at, "scopes"), message).expected(expected));
        }
        let principal = Principal::from_claims(self.claims(), None, "roles")
            .and_then(|principal| principal.telling(&around.told));
        let principal =
            principal.map_err(|why| Mistake::new(at, format!("`{id}` can be no caller: {why}")))?;
        Ok(Arc::new(Principal { plan: self.plan.map(Box::from), ..principal }))
    }

    /// As a token would say it, so that rules need not ask how somebody came.
    fn claims(&self) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), self.id.into());
        claims.insert("roles".to_owned(), self.roles.into());
        claims.insert("scope".to_owned(), self.scopes.join(" ").into());
        if let Some(plan) = self.plan {
            claims.insert("plan".to_owned(), plan.into());
        }
        claims
    }
}
