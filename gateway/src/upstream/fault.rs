//! What can go wrong between the gateway and a service, and what becomes of it.
//!
//! Not here: statuses that a forwarded answer carries; those are the service's own and pass through.

use std::{error::Error as _, io, time::Duration};

use http::StatusCode;

use super::{grpc::GrpcStatus, http1::Broken, http2};
use crate::{
    body::BodyError,
    error::{Code, Error},
};

/// Why a call has no usable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not answered in time.
    Timeout,
    /// No connection could be had.
    Refused,
    /// The connection ended before the answer began.
    Reset,
    /// The answer's status is of no use here.
    Status(StatusCode),
    /// The body ended before its end.
    CutShort,
    /// Not HTTP, or not JSON where JSON is needed.
    Malformed,
    /// Not of the media type that is needed.
    WrongType,
    /// More bytes than may be held.
    TooLarge,
    /// The circuit breaker is open: nothing was sent.
    CircuitOpen,
    /// As many calls as may be are under way: nothing was sent.
    Limit,
    /// The service says so in the way of gRPC.
    Grpc(GrpcStatus),
    /// The request's own body failed: the client sent too much, or stopped.
    Request(Code),
}

/// A failed call: the reason, when to try again, and what the log should say.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{upstream}: {}: {cause}", reason.name())]
pub struct Fault {
    /// Why.
    pub reason: Reason,
    /// The service's `Retry-After`, when it gave one.
    pub retry_after: Option<Duration>,
    /// The upstream's name.
    pub upstream: Box<str>,
    /// For the log only.
    pub cause: Box<str>,
    /// What the client is told, where more can be said than the reason does. Names nothing inside.
    pub detail: Option<Box<str>>,
}

impl Reason {
    /// As told in `Composition-Status` and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Refused => "refused",
            Reason::Reset => "reset",
            Reason::Status(StatusCode::NOT_FOUND) => "not-found",
            Reason::Status(_) | Reason::Grpc(_) => "status",
            Reason::CutShort => "cut-short",
            Reason::Malformed => "malformed",
            Reason::WrongType => "wrong-type",
            Reason::TooLarge => "too-large",
            Reason::CircuitOpen => "circuit-open",
            Reason::Limit => "limit",
            Reason::Request(_) => "request",
        }
    }

    /// The status with which the service itself says that it does not do what was asked: then nothing has changed.
    #[must_use]
    pub fn refusal(self) -> Option<StatusCode> {
        match self {
            Reason::Status(status) if status.is_client_error() => Some(status),
            Reason::Grpc(status) if status.is_answer() => Some(status.code().status()),
            _ => None,
        }
    }

    /// The code of an answer that had to be made from this call.
    fn code(self) -> Code {
        match self {
            Reason::Timeout => Code::UpstreamTimeout,
            Reason::CircuitOpen | Reason::Limit => Code::UpstreamUnavailable,
            Reason::Request(code) => code,
            Reason::Grpc(status) => status.code(),
            Reason::Status(status) => match status.as_u16() {
                400 => Code::BadRequest,
                404 => Code::NotFound,
                409 => Code::Conflict,
                410 => Code::Gone,
                422 => Code::Unprocessable,
                429 | 503 => Code::UpstreamUnavailable,
                _ => Code::UpstreamFailed,
            },
            _ => Code::UpstreamFailed,
        }
    }
}

impl Fault {
    /// A fault of `upstream`.
    pub fn new(upstream: &str, reason: Reason, cause: impl Into<String>) -> Self {
        Fault {
            reason,
            retry_after: None,
            upstream: upstream.into(),
            cause: cause.into().into(),
            detail: None,
        }
    }

    /// What became of a request that hyper could not get answered.
    #[must_use]
    pub fn of_send(upstream: &str, error: &hyper::Error) -> Self {
        let reason = match body_error(error) {
            Some(BodyError::TooLarge(_)) => Reason::Request(Code::BodyTooLarge),
            Some(BodyError::Stalled(_)) => Reason::Request(Code::RequestTimeout),
            Some(_) => Reason::Request(Code::BadRequest),
            None if http2::is_of_our_body(error) => Reason::Request(Code::BadRequest),
            None if error.is_parse() || http2::is_malformed(error) => Reason::Malformed,
            None => Reason::Reset,
        };
        Fault::new(upstream, reason, chain(error))
    }

    /// What became of a request that was not answered over HTTP/1.1.
    pub(super) fn of_exchange(upstream: &str, broken: &Broken) -> Self {
        let reason = match broken {
            Broken::Request(BodyError::TooLarge(_)) => Reason::Request(Code::BodyTooLarge),
            Broken::Request(BodyError::Stalled(_)) => Reason::Request(Code::RequestTimeout),
            Broken::Request(_) => Reason::Request(Code::BadRequest),
            Broken::Malformed(_) => Reason::Malformed,
            Broken::TooLarge => Reason::TooLarge,
            Broken::Closed | Broken::Io(_) => Reason::Reset,
        };
        Fault::new(upstream, reason, broken.to_string())
    }

    /// What became of an answer whose body could not be read.
    #[must_use]
    pub fn of_body(upstream: &str, error: &BodyError) -> Self {
        let reason = match error {
            BodyError::Deadline => Reason::Timeout,
            BodyError::AnswerTooLarge(_) => Reason::TooLarge,
            _ => Reason::CutShort,
        };
        Fault::new(upstream, reason, error.to_string())
    }

    /// What the client is told when this call was essential.
    #[must_use]
    pub fn into_error(self) -> Error {
        /// When the service did not say: soon, but not at once.
        const LATER: Duration = Duration::from_secs(1);
        let error = Error::new(self.reason.code(), self.to_string());
        let error = match self.detail {
            Some(detail) => error.detail(detail.into_string()),
            None => error,
        };
        match error.code() {
            Code::UpstreamUnavailable | Code::RateLimited => {
                error.retry_after(self.retry_after.unwrap_or(LATER))
            }
            _ => error,
        }
    }
}

/// The failure of our own request body inside hyper's error, if that is what it was.
fn body_error(error: &hyper::Error) -> Option<&BodyError> {
    error.source()?.downcast_ref()
}

/// hyper hides the reason in its sources; the log wants all of them.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// What became of a connection that could not be had.
#[must_use]
pub fn of_connect(upstream: &str, error: &io::Error) -> Fault {
    Fault::new(upstream, Reason::Refused, format!("connect: {error}"))
}
