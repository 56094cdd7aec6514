//! The one error of the gateway, and its rendering as an RFC 9457 problem document.
//!
//! An error knows its status, its stable code, whose fault it is and when to try again. `Display` is for logs and never
//! reaches a client: what a client may read is [`Error::detail`], which names nothing inside.
//!
//! Not here: the rendering as a GraphQL error (`graphql/`), and what an upstream did (`upstream/fault.rs`).

use std::{borrow::Cow, fmt, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::body::{Body, Response};

/// Who has to change something for this not to happen again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// The one who sent the request.
    Client,
    /// A service behind the gateway.
    Upstream,
    /// The gateway itself.
    Gateway,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:ident $text:literal $culprit:ident $detail:literal;)*) => {
        /// What went wrong, as a stable name that clients may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }
        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];
            /// The HTTP status that goes with it.
            #[must_use]
            pub fn status(self) -> StatusCode { match self { $(Code::$name => StatusCode::$status,)* } }
            /// The stable name, e.g. `upstream_timeout`.
            #[must_use]
            pub fn name(self) -> &'static str { match self { $(Code::$name => $text,)* } }
            /// Whose fault it is.
            #[must_use]
            pub fn culprit(self) -> Culprit { match self { $(Code::$name => Culprit::$culprit,)* } }
            /// What a client is told unless more can be said.
            fn detail(self) -> &'static str { match self { $(Code::$name => $detail,)* } }
        }
    };
}

codes! {
    /// The request cannot be understood.
    BadRequest = BAD_REQUEST "bad_request" Client "The request could not be understood.";
    /// The path holds something that two readers could read in two ways.
    BadPath = BAD_REQUEST "bad_path" Client "The path must not hold dot segments, empty segments, encoded slashes or broken escapes.";
    /// An input that a rule needs is not there.
    MissingInput = BAD_REQUEST "missing_input" Client "Something that this request needs is missing.";
    /// No credential, or a bad one (RFC 6750).
    Unauthenticated = UNAUTHORIZED "unauthenticated" Client "A valid access token is needed.";
    /// The credential is good and does not suffice.
    Forbidden = FORBIDDEN "forbidden" Client "This is not yours to do.";
    /// A page of another site has sent it (CSRF).
    CrossSite = FORBIDDEN "cross_site" Client "This was sent by a page of another site, which may not do this.";
    /// The request does not fit what the route takes.
    InvalidRequest = BAD_REQUEST "invalid_request" Client "The request does not fit what is described.";
    /// Nothing is there, or nothing that the caller may know of.
    NotFound = NOT_FOUND "not_found" Client "There is nothing here.";
    /// The path exists, the method does not.
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" Client "This method is not offered here.";
    /// The client takes no kind of answer that there is.
    NotAcceptable = NOT_ACCEPTABLE "not_acceptable" Client "There is no answer of a kind that this request accepts.";
    /// The client took too long to send its request.
    RequestTimeout = REQUEST_TIMEOUT "request_timeout" Client "The request took too long to arrive.";
    /// A service says that the state does not allow it.
    Conflict = CONFLICT "conflict" Client "The state of the resource does not allow this.";
    /// A service says that it was there once.
    Gone = GONE "gone" Client "This is no longer there.";
    /// The body is over the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE "body_too_large" Client "The body is too large.";
    /// The body is of a kind that is not taken here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" Client "This kind of body is not taken here.";
    /// Another protocol is spoken here (RFC 9110 section 15.5.22).
    UpgradeRequired = UPGRADE_REQUIRED "upgrade_required" Client "This is for WebSockets of version 13 only.";
    /// A service understood the body and refuses it.
    Unprocessable = UNPROCESSABLE_ENTITY "unprocessable" Client "The request was understood and cannot be carried out.";
    /// The target is longer than anybody reads.
    UriTooLong = URI_TOO_LONG "uri_too_long" Client "The target of the request is too long.";
    /// Header fields are over the limit.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE "headers_too_large" Client "The header fields are too large.";
    /// A rate limit is exhausted.
    RateLimited = TOO_MANY_REQUESTS "rate_limited" Client "Too many requests.";
    /// The gateway does not do this.
    NotImplemented = NOT_IMPLEMENTED "not_implemented" Client "This is not offered.";
    /// A service answered something that cannot be passed on.
    UpstreamFailed = BAD_GATEWAY "upstream_failed" Upstream "A service behind this one failed.";
    /// A service cannot take the request now.
    UpstreamUnavailable = SERVICE_UNAVAILABLE "upstream_unavailable" Upstream "A service behind this one is not available.";
    /// A service did not answer in time.
    UpstreamTimeout = GATEWAY_TIMEOUT "upstream_timeout" Upstream "A service behind this one did not answer in time.";
    /// A write was sent, and what became of it is not known.
    WriteUnconfirmed = BAD_GATEWAY "write_unconfirmed" Upstream "Whether this was done is not known. It may be sent again with the same Idempotency-Key.";
    /// The same, since there was no answer in time.
    WriteTimeout = GATEWAY_TIMEOUT "write_timeout" Upstream "Whether this was done is not known: there was no answer in time. It may be sent again with the same Idempotency-Key.";
    /// Whether the credential is good cannot be told now.
    AuthUnavailable = SERVICE_UNAVAILABLE "auth_unavailable" Upstream "Access tokens cannot be checked at the moment.";
    /// The gateway has as much to do as it may.
    Overloaded = SERVICE_UNAVAILABLE "overloaded" Gateway "There is too much to do here at the moment.";
    /// The gateway is draining.
    Draining = SERVICE_UNAVAILABLE "draining" Gateway "This instance is shutting down.";
    /// The client wants only what is kept, and that is not.
    NotCached = GATEWAY_TIMEOUT "not_cached" Client "This is not kept here, and may not be asked for.";
    /// A bug of the gateway.
    Internal = INTERNAL_SERVER_ERROR "internal" Gateway "Something went wrong here.";
}

/// A request that cannot be answered as asked. One pointer wide: it rides in every `Result` of the hot path.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    detail: Option<Cow<'static, str>>,
    cause: String,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What is wrong in particular, as members of `errors`.
    errors: Vec<serde_json::Value>,
}

impl Error {
    /// An error of this code; `cause` goes to the log only.
    #[must_use]
    pub fn new(code: Code, cause: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            detail: None,
            cause: cause.into(),
            retry_after: None,
            headers: Vec::new(),
            errors: Vec::new(),
        }))
    }

    /// Tells the client more than the code does. Must name nothing inside.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// When another try may help (sent as `Retry-After`, in whole seconds, rounded up).
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after = Some(pause);
        self
    }

    /// A header field that the status requires, such as `Allow` or `WWW-Authenticate`.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// What is wrong in particular: the member `errors` of the problem document. Must name nothing inside.
    #[must_use]
    pub fn errors(mut self, errors: Vec<serde_json::Value>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// What the log says.
    #[must_use]
    pub fn cause(&self) -> &str {
        &self.0.cause
    }

    /// What the client is told.
    #[must_use]
    pub fn client_detail(&self) -> &str {
        self.0.detail.as_deref().unwrap_or(self.0.code.detail())
    }

    /// `Retry-After`, if known.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Renders the problem document (RFC 9457 section 3): `type`, `status`, `title`, `code`, `detail`, `requestId`.
    #[must_use]
    pub fn into_response(self, request_id: &str) -> Response {
        let status = self.status();
        let mut problem = serde_json::json!({
            "type": "about:blank",
            "status": status.as_u16(),
            "title": status.canonical_reason().unwrap_or("Error"),
            "code": self.0.code.name(),
            "detail": self.client_detail(),
            "requestId": request_id,
        });
        if !self.0.errors.is_empty() {
            problem["errors"] = self.0.errors.into();
        }
        let mut response = Response::new(Body::full(problem.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // `detail` may repeat what the client sent: nobody may take it for a page.
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(pause) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds_up(pause)));
        }
        for (name, value) in self.0.headers {
            headers.append(name, value);
        }
        response
    }
}

/// Whole seconds, rounded up and at least one: `Retry-After: 0` invites a storm.
fn seconds_up(pause: Duration) -> u64 {
    (pause.as_millis().div_ceil(1_000) as u64).max(1)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.name(), self.0.cause)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_problem_document_tells_the_code_and_not_the_cause() {
        let error = Error::new(Code::UpstreamUnavailable, "connect 10.0.0.7:8082 refused");
        let response = error.retry_after(Duration::from_millis(4_200)).into_response("r-1");
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let body = response.into_body().collect().await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], "upstream_unavailable");
        assert_eq!(problem["requestId"], "r-1");
        assert!(!problem.to_string().contains("10.0.0.7"));
    }

    #[test]
    fn no_two_codes_share_a_name() {
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
