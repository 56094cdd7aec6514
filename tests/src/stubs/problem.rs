//! What the services and their control answer when they refuse: problem+json (RFC 9457), but a service's bare 404.
//!
//! Not what faults answer: those say what they were told to.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::world::Invalid;

/// Why a service does not do what it is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such record: 404, without a body.
    NotFound,
    /// An id, a parameter or a field is wrong: 400.
    Invalid(Invalid),
    /// The record is in the wrong state, which is said: 409.
    Conflict(String),
    /// The idempotency key came with another body before: 422.
    KeyReused,
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Refusal {
        Refusal::Invalid(invalid)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let problem = |status, detail| Problem { status, detail, field: String::new() };
        match self {
            Refusal::NotFound => return StatusCode::NOT_FOUND.into_response(),
            Refusal::Invalid(invalid) => invalid.into(),
            Refusal::Conflict(why) => problem(StatusCode::CONFLICT, why),
            Refusal::KeyReused => problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was sent with another body before".to_owned(),
            ),
        }
        .into_response()
    }
}

/// A problem document.
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    /// What is wrong in the request; empty when it is no field.
    pub(super) field: String,
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        Problem { status: StatusCode::BAD_REQUEST, detail: invalid.to_string(), field: invalid.field }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if !self.field.is_empty() {
            body["field"] = self.field.into();
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}
