//! The `Authorization` field, and what a client without a good token is told (RFC 6750).
//!
//! Not here: whether a token is good (`jwt.rs`). Tokens in a form or in the query are not taken at all: they end up in logs.

use http::{HeaderMap, HeaderValue, header};

use crate::error::{Code, Error};

/// What a request brought along.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'h> {
    /// No `Authorization` field.
    None,
    /// Another scheme than `Bearer`.
    Other,
    /// Two fields, or one that is no token.
    Malformed(&'static str),
    /// A text that may be a token (RFC 6750 section 2.1).
    Token(&'h str),
}

/// Reads the one `Authorization` field. Of two, nobody can say which one a service would take.
pub(super) fn credential(headers: &HeaderMap) -> Credential<'_> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Credential::None };
    if fields.next().is_some() {
        return Credential::Malformed("two Authorization fields");
    }
    let Ok(text) = field.to_str() else { return Credential::Malformed("the Authorization field is no text") };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim_start_matches(' ');
    match scheme.eq_ignore_ascii_case("bearer") {
        false => Credential::Other,
        true if token.is_empty() => Credential::Malformed("a Bearer scheme without a token"),
        true if token.contains([' ', ',', '\t']) => Credential::Malformed("more than a token"),
        true => Credential::Token(token),
    }
}

/// The `WWW-Authenticate` values of a provider (RFC 6750 section 3).
pub(super) struct Challenge {
    realm: String,
    no_credential: HeaderValue,
    bad_token: HeaderValue,
}

impl Challenge {
    /// None when the realm holds characters that no quoted string may hold (RFC 9110 section 5.6.4).
    pub(super) fn new(realm: &str) -> Option<Self> {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let value = |text: String| HeaderValue::try_from(text).ok();
        Some(Challenge {
            no_credential: value(format!("Bearer realm=\"{realm}\""))?,
            bad_token: value(format!("Bearer realm=\"{realm}\", error=\"invalid_token\""))?,
            realm,
        })
    }

    /// 401 without an error code: the client may not have known that a token is needed (RFC 6750 section 3.1).
    pub(super) fn no_credential(&self, cause: &str) -> Error {
        Error::new(Code::Unauthenticated, cause).header(header::WWW_AUTHENTICATE, self.no_credential.clone())
    }

    /// 401 for a token that is not good. Why is for the log: a forger learns nothing.
    pub(super) fn bad_token(&self, cause: impl Into<String>) -> Error {
        Error::new(Code::Unauthenticated, cause).header(header::WWW_AUTHENTICATE, self.bad_token.clone())
    }

    /// The value for a 403 that names the scopes needed. None when a scope is not made of scope characters
    /// (RFC 6749 section 3.3).
    pub(super) fn insufficient_scope(&self, scopes: &[String]) -> Option<HeaderValue> {
        let scope = scopes.join(" ");
        let realm = &self.realm;
        let well_formed = scopes.iter().all(|scope| is_scope(scope));
        let value = format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scope}\"");
        well_formed.then(|| HeaderValue::try_from(value).ok()).flatten()
    }
}

fn is_scope(scope: &str) -> bool {
    !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[&'static [u8]]) -> HeaderMap {
        let value = |bytes: &&'static [u8]| HeaderValue::from_bytes(bytes).unwrap();
        fields.iter().map(|bytes| (header::AUTHORIZATION, value(bytes))).collect()
    }

    #[test]
    fn one_bearer_token_is_read_whatever_the_case_of_its_scheme() {
        for spelt in [b"Bearer a.b.c" as &[u8], b"bearer a.b.c", b"BEARER   a.b.c"] {
            assert_eq!(credential(&of(&[spelt])), Credential::Token("a.b.c"));
        }
        assert_eq!(credential(&HeaderMap::new()), Credential::None);
    }

    #[test]
    fn everything_else_is_no_token() {
        assert_eq!(credential(&of(&[b"Basic YTpi"])), Credential::Other);
        assert_eq!(credential(&of(&[b"Bearera.b.c"])), Credential::Other);
        assert_eq!(credential(&of(&[b""])), Credential::Other);
        let malformed: [&[&'static [u8]]; 7] = [
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer a.b.c d"],
            &[b"Bearer a.b.c, Bearer d.e.f"],
            &[b"Bearer a.b.\xffc"],
            &[b"Bearer a.b.c", b"Bearer a.b.c"],
            &[b"Basic YTpi", b"Bearer a.b.c"],
        ];
        for malformed in malformed {
            assert!(matches!(credential(&of(malformed)), Credential::Malformed(_)), "{malformed:?}");
        }
    }

    #[test]
    fn a_challenge_names_the_realm_and_the_scopes() {
        let challenge = Challenge::new("f\"t").unwrap();
        assert_eq!(challenge.no_credential, r#"Bearer realm="f\"t""#);
        assert_eq!(challenge.bad_token, r#"Bearer realm="f\"t", error="invalid_token""#);
        let scopes = ["orders:read".to_owned(), "orders:write".to_owned()];
        assert_eq!(
            challenge.insufficient_scope(&scopes).unwrap(),
            r#"Bearer realm="f\"t", error="insufficient_scope", scope="orders:read orders:write""#
        );
        assert!(challenge.insufficient_scope(&["a b".to_owned()]).is_none());
        assert!(Challenge::new("a\nb").is_none());
    }
}
