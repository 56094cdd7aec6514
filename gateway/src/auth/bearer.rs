//! The `Authorization` field, and what a client without a good token is told (RFC 6750).
//!
//! Not here: whether a token is good (`jwt.rs`). Tokens in a form or in the query are not taken at all: they end up in logs.

use http::{HeaderMap, HeaderValue, header};

use crate::error::{Code, Error};

/// What a request brought along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'h> {
    /// No `Authorization` field.
    None,
    /// Another scheme.
    Other,
    /// Two fields, or one that is no token.
    Malformed(&'static str),
    /// A text that may be a token (RFC 6750 section 2.1).
    Token(&'h str),
}

/// Reads the one `Authorization` field, which should be of the `expected` scheme. Of two, nobody can say which one a service would take.
pub(super) fn credential<'h>(headers: &'h HeaderMap, expected: &str) -> Credential<'h> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Credential::None };
    if fields.next().is_some() {
        return Credential::Malformed("two Authorization fields");
    }
    let Ok(text) = field.to_str() else { return Credential::Malformed("the Authorization field is no text") };
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim_start_matches(' ');
    match scheme.eq_ignore_ascii_case(expected) {
        false => Credential::Other,
        true if token.is_empty() => Credential::Malformed("a scheme without a token"),
        true if token.contains([' ', ',', '\t']) => Credential::Malformed("more than a token"),
        true => Credential::Token(token),
    }
}

/// What is needed where tokens are.
pub(super) const TOKEN: &str = "A valid access token is needed.";

/// The `WWW-Authenticate` values of a provider (RFC 6750 section 3).
pub(super) struct Challenge {
    scheme: String,
    realm: String,
    /// What a client is told that it needs.
    needed: &'static str,
    no_credential: HeaderValue,
    bad_token: HeaderValue,
}

impl Challenge {
    /// None when the realm holds characters that no quoted string may hold (RFC 9110 section 5.6.4).
    pub(super) fn new(scheme: &str, realm: &str, needed: &'static str) -> Option<Self> {
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let value = |text: String| HeaderValue::try_from(text).ok();
        Some(Challenge {
            no_credential: value(format!("{scheme} realm=\"{realm}\""))?,
            bad_token: value(format!("{scheme} realm=\"{realm}\", error=\"invalid_token\""))?,
            scheme: scheme.to_owned(),
            realm,
            needed,
        })
    }

    /// 401 without an error code: the client may not have known that a token is needed (RFC 6750 section 3.1).
    pub(super) fn no_credential(&self, cause: &str) -> Error {
        let error = Error::new(Code::Unauthenticated, cause).detail(self.needed);
        error.header(header::WWW_AUTHENTICATE, self.no_credential.clone())
    }

    /// The same beside what another provider takes.
    pub(super) fn or_else(&self, error: Error) -> Error {
        error.header(header::WWW_AUTHENTICATE, self.no_credential.clone())
    }

    /// 401 for a token that is not good. Why is for the log: a forger learns nothing.
    pub(super) fn bad_token(&self, cause: impl Into<String>) -> Error {
        let error = Error::new(Code::Unauthenticated, cause).detail(self.needed);
        error.header(header::WWW_AUTHENTICATE, self.bad_token.clone())
    }

    /// The value for a 403 that names the scopes needed. None when a scope is not made of scope characters
    /// (RFC 6749 section 3.3).
    pub(super) fn insufficient_scope(&self, scopes: &[String]) -> Option<HeaderValue> {
        let scope = scopes.join(" ");
        let (kind, realm) = (&self.scheme, &self.realm);
        let well_formed = scopes.iter().all(|scope| is_scope(scope));
        let value = format!("{kind} realm=\"{realm}\", error=\"insufficient_scope\", scope=\"{scope}\"");
        well_formed.then(|| HeaderValue::try_from(value).ok()).flatten()
    }
}

pub(super) fn is_scope(scope: &str) -> bool {
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
            assert_eq!(credential(&of(&[spelt]), "Bearer"), Credential::Token("a.b.c"));
        }
        assert_eq!(credential(&HeaderMap::new(), "Bearer"), Credential::None);
    }

    #[test]
    fn everything_else_is_no_token() {
        assert_eq!(credential(&of(&[b"Basic YTpi"]), "Bearer"), Credential::Other);
        assert_eq!(credential(&of(&[b"Bearera.b.c"]), "Bearer"), Credential::Other);
        assert_eq!(credential(&of(&[b""]), "Bearer"), Credential::Other);
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
            assert!(
                matches!(credential(&of(malformed), "Bearer"), Credential::Malformed(_)),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn a_challenge_names_the_realm_and_the_scopes() {
        let challenge = Challenge::new("Bearer", "f\"t", TOKEN).unwrap();
        assert_eq!(challenge.no_credential, r#"Bearer realm="f\"t""#);
        assert_eq!(challenge.bad_token, r#"Bearer realm="f\"t", error="invalid_token""#);
        let scopes = ["orders:read".to_owned(), "orders:write".to_owned()];
        assert_eq!(
            challenge.insufficient_scope(&scopes).unwrap(),
            r#"Bearer realm="f\"t", error="insufficient_scope", scope="orders:read orders:write""#
        );
        assert!(challenge.insufficient_scope(&["a b".to_owned()]).is_none());
        assert!(Challenge::new("Bearer", "a\nb", TOKEN).is_none());
    }
}
