//! A caller whose token was found good, with everything that later steps need of it computed once.
//!
//! Not here: whether the token is good (`jwt.rs`), and what the caller may do (`policy`).

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::told::{self, Told};

/// A caller. Shared as `Arc<Principal>` by all requests with the same token.
#[derive(Clone)]
#[non_exhaustive]
pub struct Principal {
    /// The `sub` claim: who this is. Never empty.
    pub sub: Box<str>,
    /// What the roles claim lists.
    pub roles: Vec<Box<str>>,
    /// What the `scope` claim lists (RFC 8693 section 4.2).
    pub scopes: Vec<Box<str>>,
    /// Every claim of the token, for policies.
    pub claims: Map<String, Value>,
    /// `sub` as the value of a header field.
    pub user_id: HeaderValue,
    /// The roles as the value of a header field, joined by commas.
    pub user_roles: HeaderValue,
    /// `Bearer` and the token, marked sensitive; none for a caller who came with something else.
    pub authorization: Option<HeaderValue>,
    /// What services are told of the caller besides.
    pub told: Box<[(HeaderName, HeaderValue)]>,
    /// The plan that the caller is under: a name in `plans:`.
    pub plan: Option<Box<str>>,
    /// The second (Unix time) from which the credential is of no more use, where it says so.
    pub expires: Option<u64>,
}

impl Principal {
    /// A principal of the claims of a verified `token`, or of what is known of somebody who came without one.
    ///
    /// # Errors
    /// Why the claims make no principal: no `sub`, a role or scope of the wrong type, or a text that would not mean the
    /// same thing once it is the value of a header field.
    pub fn from_claims(
        claims: Map<String, Value>,
        token: Option<&str>,
        roles_claim: &str,
    ) -> Result<Self, String> {
        let sub: Box<str> = claims.get("sub").and_then(Value::as_str).ok_or("`sub` is no text")?.into();
        let roles = roles(claims.get(roles_claim))?;
        let scopes = scopes(claims.get("scope"))?;
        let user_id = field_value(&sub).ok_or("`sub` cannot be sent in a header field")?;
        if roles.iter().any(|role| role.contains(',') || field_value(role).is_none()) {
            return Err("a role cannot be sent in a header field".to_owned());
        }
        let user_roles = HeaderValue::try_from(roles.join(",").into_bytes());
        let user_roles = user_roles.map_err(|_| "the roles cannot be sent in a header field")?;
        // A copy: the value that came would keep the connection's whole read buffer alive.
        let authorization = token.map(|token| HeaderValue::try_from(format!("Bearer {token}"))).transpose();
        let mut authorization = authorization.map_err(|_| "the token cannot be sent on")?;
        if let Some(authorization) = &mut authorization {
            authorization.set_sensitive(true);
        }
        Ok(Principal {
            sub,
            roles,
            scopes,
            claims,
            user_id,
            user_roles,
            authorization,
            told: Box::default(),
            plan: None,
            expires: None,
        })
    }

    /// The same caller, of whom services are told this besides.
    ///
    /// # Errors
    /// When a claim would not mean the same thing once it is the value of a header field.
    pub(super) fn telling(self, told: &[Told]) -> Result<Self, String> {
        let told = told::fields(told, &self.claims)?;
        Ok(Principal { told, ..self })
    }

    /// Whether the caller has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|had| **had == *role)
    }

    /// Whether the token has this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|had| **had == *scope)
    }
}

/// A text as a header field's value. None when it is empty, holds control characters, or begins or ends with a blank,
/// which its reader would cut off.
pub(super) fn field_value(text: &str) -> Option<HeaderValue> {
    let plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    plain.then(|| HeaderValue::from_bytes(text.as_bytes()).ok()).flatten()
}

fn roles(claim: Option<&Value>) -> Result<Vec<Box<str>>, &'static str> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::Array(roles)) => {
            let texts: Option<Vec<Box<str>>> =
                roles.iter().map(|role| role.as_str().map(Box::from)).collect();
            texts.ok_or("a role is no text")
        }
        Some(_) => Err("the roles are no array"),
    }
}

fn scopes(claim: Option<&Value>) -> Result<Vec<Box<str>>, &'static str> {
    match claim {
        None => Ok(Vec::new()),
        Some(Value::String(scopes)) => {
            Ok(scopes.split(' ').filter(|scope| !scope.is_empty()).map(Box::from).collect())
        }
        Some(_) => Err("`scope` is no text"),
    }
}

/// Claims are personal and tokens are secret: neither is printed.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("sub", &self.sub)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(claims: &Value) -> Result<Principal, String> {
        Principal::from_claims(claims.as_object().unwrap().clone(), Some("a.b.c"), "roles")
    }

    #[test]
    fn header_fields_are_computed_once() {
        let ann =
            of(&json!({"sub": "ann", "roles": ["consumer", "support"], "scope": "orders:read orders:write"}))
                .unwrap();
        assert_eq!(ann.user_id, "ann");
        assert_eq!(ann.user_roles, "consumer,support");
        let authorization = ann.authorization.as_ref().unwrap();
        assert_eq!(authorization, "Bearer a.b.c");
        assert!(authorization.is_sensitive() && !format!("{ann:?}").contains("a.b.c"));
        assert!(ann.has_role("support") && !ann.has_role("supp"));
        assert!(ann.has_scope("orders:write") && !ann.has_scope("orders"));
    }

    #[test]
    fn roles_and_scopes_may_be_absent() {
        let ann = of(&json!({"sub": "Jürgen"})).unwrap();
        assert_eq!(ann.user_id.as_bytes(), "Jürgen".as_bytes());
        assert!(ann.user_roles.is_empty() && ann.scopes.is_empty());
    }

    #[test]
    fn claims_that_would_mean_something_else_in_a_header_field_are_refused() {
        for claims in [
            json!({}),
            json!({"sub": null}),
            json!({"sub": 5}),
            json!({"sub": ""}),
            json!({"sub": "a\r\nX-User-Roles: support"}),
            json!({"sub": "a\tb"}),
            json!({"sub": "a\u{85}b"}),
            json!({"sub": " a"}),
            json!({"sub": "a", "roles": ["consumer,support"]}),
            json!({"sub": "a", "roles": ["x\ny"]}),
            json!({"sub": "a", "roles": [""]}),
            json!({"sub": "a", "roles": [5]}),
            json!({"sub": "a", "roles": "support"}),
            json!({"sub": "a", "scope": ["x"]}),
        ] {
            assert!(of(&claims).is_err(), "{claims}");
        }
    }
}
