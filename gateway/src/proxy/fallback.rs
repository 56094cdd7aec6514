//! What a client is answered in the place of a service that does not answer: made once, when the configuration is built.
//!
//! It never looks like the service's own answer: `Proxy-Status` (RFC 9209) says what happened, and nobody may store it. The
//! fault counts as if there were no fallback. What the client itself did wrong is no fault of a service and has none.
//! Not here: the parts of a composition (`composition/`), answers that broke off after they had begun.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::config::{FallbackConfig, FallbackMethods, ProblemConfig};
use crate::{
    body::{Body, Response},
    mistake::{Mistake, Mistakes, below},
    observability::record::Note,
    upstream::{Fault, Reason, Upstream},
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// An answer that is ready.
#[derive(Debug)]
pub struct Fallback {
    status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
    /// Of the service, and to be replaced.
    statuses: Box<[u16]>,
    methods: FallbackMethods,
}

impl Fallback {
    /// What was typed at the key path `at` of the route `path` with these `methods`.
    pub(crate) fn build(
        config: &FallbackConfig,
        path: &str,
        methods: &[Method],
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let known = mistakes.0.len();
        check(config, path, methods, at, &mut mistakes.0);
        if mistakes.0.len() > known {
            return None;
        }
        let status = StatusCode::from_u16(status(config)).ok()?;
        let (kind, body) = match (&config.value, &config.problem) {
            (Some(value), _) => ("application/json", value.to_string()),
            (None, problem) => ("application/problem+json", document(problem.as_ref()?, status)),
        };
        Some(Fallback {
            status,
            kind: HeaderValue::from_static(kind),
            body: body.into(),
            statuses: config.statuses.clone().into(),
            methods: config.methods,
        })
    }

    /// Whether requests of this method have it.
    #[must_use]
    pub fn is_for(&self, method: &Method) -> bool {
        self.methods == FallbackMethods::All || method.is_safe()
    }

    /// Whether it stands in for answers of this status.
    #[must_use]
    pub fn replaces(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }

    /// The service's answer, or this one in its place.
    ///
    /// # Errors
    /// What the client did wrong.
    pub fn instead_of(
        &self,
        outcome: Result<Response, Fault>,
        upstream: &Upstream,
    ) -> Result<Response, Fault> {
        match outcome {
            Ok(response) if self.replaces(response.status()) => {
                let status = response.status();
                let cause = format!("status {}", status.as_u16());
                Ok(self.answer(&Fault::new(upstream.name(), Reason::Status(status), cause), upstream))
            }
            // A refusal of gRPC is an answer.
            Err(Fault { reason, .. }) if reason.refusal().is_some_and(|status| !self.replaces(status)) => {
                outcome
            }
            Err(fault) if !matches!(fault.reason, Reason::Request(_)) => Ok(self.answer(&fault, upstream)),
            outcome => outcome,
        }
    }

    fn answer(&self, fault: &Fault, upstream: &Upstream) -> Response {
        upstream.fell_back();
        let mut response = Response::new(Body::Full(self.body.clone()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PROXY_STATUS, told(fault.reason));
        response.extensions_mut().insert(Note(format!("fallback: {fault}")));
        response
    }
}

/// RFC 9209 sections 2.1.4 and 2.3.
fn told(reason: Reason) -> HeaderValue {
    let error = match reason {
        Reason::Status(status) => {
            let text = format!("gateway;received-status={}", status.as_u16());
            return HeaderValue::try_from(text).expect("a token and a number");
        }
        Reason::Grpc(_) => "gateway",
        Reason::Timeout => "gateway;error=http_response_timeout",
        Reason::Refused => "gateway;error=connection_refused",
        Reason::Reset | Reason::CutShort => "gateway;error=connection_terminated",
        Reason::Malformed | Reason::WrongType | Reason::Request(_) => "gateway;error=http_protocol_error",
        Reason::TooLarge => "gateway;error=http_response_body_size",
        Reason::Limit => "gateway;error=connection_limit_reached",
        Reason::CircuitOpen => "gateway;error=destination_unavailable",
    };
    HeaderValue::from_static(error)
}

fn status(config: &FallbackConfig) -> u16 {
    config.status.unwrap_or(if config.problem.is_some() { 503 } else { 200 })
}

/// As the gateway's own, without `requestId`: that stands in `X-Request-Id`.
fn document(problem: &ProblemConfig, status: StatusCode) -> String {
    let title = status.canonical_reason().unwrap_or("Error");
    let ProblemConfig { code, detail } = problem;
    serde_json::json!({
        "type": "about:blank", "status": status.as_u16(), "title": title, "code": code, "detail": detail,
    })
    .to_string()
}

fn check(config: &FallbackConfig, path: &str, methods: &[Method], at: &str, mistakes: &mut Vec<Mistake>) {
    let mut wrong = |key: &str, why: &str, expected: &str| {
        let at = if key.is_empty() { at.to_owned() } else { below(at, key) };
        mistakes.push(Mistake::new(at, format!("route `{path}`: its fallback {why}")).expected(expected));
    };
    if config.value.is_some() == config.problem.is_some() {
        let why = if config.value.is_some() { "is two answers" } else { "is no answer" };
        wrong("", why, "exactly one of: value, problem");
    }
    if config.value.as_ref().is_some_and(serde_json::Value::is_null) {
        wrong("value", "has nothing behind `value`", "JSON, such as `[]` or `{ open: false }`");
    }
    if let Some(problem) = &config.problem {
        let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if problem.code.is_empty() || !problem.code.chars().all(named) {
            wrong("problem.code", "has a code that is no name", "small letters, digits and `_`");
        }
        if !(400..=599).contains(&status(config)) {
            wrong("status", "is a problem of a status that says there is none", "400 to 599");
        }
    } else if !matches!(status(config), 200..=203 | 400..=599) {
        wrong("status", "has a status that goes with no JSON", "200 to 203, or 400 to 599");
    }
    for (index, status) in config.statuses.iter().enumerate() {
        if !(500..=599).contains(status) {
            wrong(&format!("statuses[{index}]"), "stands in for an answer that is no failure", "500 to 599");
        }
    }
    if config.methods == FallbackMethods::Safe && !methods.iter().any(Method::is_safe) {
        wrong("", "is for safe methods, and it has none", "`methods: all` under `fallback`, or none of it");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::Code;

    fn fallback(typed: serde_json::Value) -> Fallback {
        let config = serde_json::from_value(typed).unwrap();
        let mut mistakes = Mistakes::default();
        let built = Fallback::build(&config, "/menu", &[Method::GET], "", &mut mistakes);
        built.unwrap_or_else(|| panic!("{mistakes:?}"))
    }

    fn menu() -> Arc<Upstream> {
        let config = serde_json::from_value(serde_json::json!({ "url": "http://10.0.0.1:80" })).unwrap();
        Upstream::build("menu", &config, Arc::default(), "", None).unwrap()
    }

    #[test]
    fn the_log_is_told_why_and_the_client_what() {
        let (fallback, menu) = (fallback(serde_json::json!({ "value": [] })), menu());
        let fault = Fault::new("menu", Reason::CircuitOpen, "all are open");
        let response = fallback.instead_of(Err(fault), &menu).unwrap();
        let Note(note) = response.extensions().get().unwrap();
        assert_eq!(note, "fallback: menu: circuit-open: all are open");
        assert_eq!(response.headers()["proxy-status"], "gateway;error=destination_unavailable");
    }

    #[test]
    fn what_the_client_did_wrong_stays_its_own() {
        let (fallback, menu) = (fallback(serde_json::json!({ "value": [], "methods": "all" })), menu());
        let fault = Fault::new("menu", Reason::Request(Code::BodyTooLarge), "");
        let outcome = fallback.instead_of(Err(fault), &menu);
        assert!(outcome.is_err_and(|fault| fault.reason == Reason::Request(Code::BodyTooLarge)));
    }

    #[test]
    fn it_is_for_safe_methods_unless_said_otherwise() {
        let (safe, all) =
            (serde_json::json!({ "value": 1 }), serde_json::json!({ "value": 1, "methods": "all" }));
        let fits = |typed| {
            let fallback = fallback(typed);
            [Method::GET, Method::HEAD, Method::POST].map(|method| fallback.is_for(&method))
        };
        assert_eq!((fits(safe), fits(all)), ([true, true, false], [true; 3]));
    }
}
