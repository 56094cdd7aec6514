//! Why a field is null: a stable code and a sentence that a client may read.
//!
//! Not here: problem documents (`error.rs`), and what a service did (`upstream/fault.rs`), which is only translated.

use std::borrow::Cow;

use async_graphql::{Error, ErrorExtensionValues, ServerError};

use crate::{
    error::Code,
    upstream::{Fault, Reason},
};

/// A field that cannot be answered. Cheap to clone: one failed call refuses every field that needed it.
///
/// It must not have a `Display`: async-graphql would turn that into an error without a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `extensions.code`.
    pub code: &'static str,
    /// Names nothing inside.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// `BAD_USER_INPUT`: what the client sent is wrong.
    #[must_use]
    pub fn bad_input(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code: "BAD_USER_INPUT", message: message.into() }
    }

    /// `UNAUTHENTICATED`: a token is needed.
    #[must_use]
    pub fn unauthenticated() -> Self {
        Refusal { code: "UNAUTHENTICATED", message: "A valid access token is needed.".into() }
    }

    /// `FORBIDDEN`: the token does not suffice.
    #[must_use]
    pub fn forbidden() -> Self {
        Refusal { code: "FORBIDDEN", message: "This is not yours to see or do.".into() }
    }

    /// `NOT_FOUND`: nothing is there, or nothing that the caller may know of.
    #[must_use]
    pub fn not_found() -> Self {
        Refusal { code: "NOT_FOUND", message: "There is nothing of this id.".into() }
    }

    /// `RATE_LIMITED`: too many requests.
    #[must_use]
    pub fn rate_limited() -> Self {
        Refusal { code: "RATE_LIMITED", message: "Too many requests.".into() }
    }

    /// `UPSTREAM_TIMEOUT`: a service did not answer in time.
    #[must_use]
    pub fn timeout() -> Self {
        Refusal {
            code: "UPSTREAM_TIMEOUT",
            message: "A service behind this one did not answer in time.".into(),
        }
    }

    /// `UPSTREAM_UNAVAILABLE`: a service failed, or its answer makes no sense.
    #[must_use]
    pub fn unavailable() -> Self {
        Refusal {
            code: "UPSTREAM_UNAVAILABLE",
            message: "A service behind this one is not available.".into(),
        }
    }

    fn conflict() -> Self {
        Refusal { code: "CONFLICT", message: "The state of this does not allow it.".into() }
    }

    fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::Timeout => Refusal::timeout(),
            Reason::Status(status) => match status.as_u16() {
                400 | 422 => Refusal::bad_input("A service behind this one does not take this input."),
                404 | 410 => Refusal::not_found(),
                409 => Refusal::conflict(),
                429 => Refusal::rate_limited(),
                _ => Refusal::unavailable(),
            },
            _ => Refusal::unavailable(),
        }
    }

    /// As an error of the whole request.
    #[must_use]
    pub(super) fn into_server_error(self) -> ServerError {
        let mut error = ServerError::new(self.message, None);
        error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", self.code);
        error
    }
}

impl From<&Fault> for Refusal {
    fn from(fault: &Fault) -> Self {
        Refusal::of_reason(fault.reason)
    }
}

impl From<&crate::error::Error> for Refusal {
    fn from(error: &crate::error::Error) -> Self {
        match error.code() {
            Code::RateLimited => Refusal::rate_limited(),
            Code::NotFound => Refusal::not_found(),
            Code::Forbidden => Refusal::forbidden(),
            Code::UpstreamTimeout => Refusal::timeout(),
            _ => Refusal::unavailable(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", refusal.code);
        Error { message: refusal.message.into_owned(), source: None, extensions: Some(extensions) }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn what_a_service_did_has_one_code_each() {
        let of = |status: u16| Refusal::of_reason(Reason::Status(StatusCode::from_u16(status).unwrap())).code;
        assert_eq!([of(400), of(422)], ["BAD_USER_INPUT"; 2]);
        assert_eq!([of(404), of(409), of(429)], ["NOT_FOUND", "CONFLICT", "RATE_LIMITED"]);
        assert_eq!([of(401), of(403), of(500), of(503)], ["UPSTREAM_UNAVAILABLE"; 4]);
        assert_eq!(Refusal::of_reason(Reason::Timeout).code, "UPSTREAM_TIMEOUT");
        for broken in [Reason::Refused, Reason::Reset, Reason::CutShort, Reason::Malformed, Reason::TooLarge]
        {
            assert_eq!(Refusal::of_reason(broken).code, "UPSTREAM_UNAVAILABLE");
        }
    }
}
