//! What the services answer when they refuse: problem+json (RFC 9457), but a bare 404.
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
        match self {
            Refusal::NotFound => StatusCode::NOT_FOUND.into_response(),
            Refusal::Invalid(invalid) => {
                problem(StatusCode::BAD_REQUEST, &invalid.to_string(), Some(&invalid.field))
            }
            Refusal::Conflict(why) => problem(StatusCode::CONFLICT, &why, None),
            Refusal::KeyReused => problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was sent with another body before",
                None,
            ),
        }
    }
}

fn problem(status: StatusCode, detail: &str, field: Option<&str>) -> Response {
    let mut problem = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    if let Some(field) = field {
        problem["field"] = field.into();
    }
    (status, [(header::CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response()
}
