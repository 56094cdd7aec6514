//! A request in JSON, answered by a service that speaks gRPC: translated by its descriptors, both ways.
//!
//! ```text
//! JSON body, path parameters -> message (json.rs) -> frame (frame.rs) -> Upstream::call -> frame, trailers -> JSON, or a status
//! ```
//!
//! Unary calls only. What the service says when it refuses is for the log: clients read the status, in the gateway's own words;
//! a reason that it gives for machines may have a status of its own (`details.rs`).
//! Of a client's header fields only `Idempotency-Key` becomes metadata, since services may take any other for their own.
//! Not here: requests of clients that speak gRPC themselves, which are forwarded as any others.

pub mod config;
mod details;
mod fields;
mod frame;
mod json;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use percent_encoding::percent_decode;
use prost_reflect::{MessageDescriptor, prost::Message};
use serde_json::{Map, Value};

pub use self::config::{Descriptors, GrpcConfig};
use self::{
    config::Int64,
    json::{Unwritten, Writing},
};
pub(crate) use self::{
    fields::Fields as FromPath,
    json::{Misfit, field},
};
use super::{Head, headers, host};
use crate::{
    auth::policy::strict_json,
    body::{self, Body, BodyError, Request, Response},
    deadline::{BudgetField, Deadline, GRPC_TIMEOUT},
    error::{Code, Error},
    handler::Admitted,
    mistake::Mistake,
    upstream::{Ask, Fault, Fields, GrpcStatus, Outgoing, Reason, Upstream, Whole},
};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The most header fields that are sent.
const SENT: usize = 18;
/// How many times as large as the largest message its JSON may be.
const AS_JSON: usize = 8;
/// The most of a service's words that the log gets.
const LONGEST: usize = 500;

/// A method of a service, and how it is called for requests of one route.
pub struct Grpc {
    path: PathAndQuery,
    request: MessageDescriptor,
    reply: MessageDescriptor,
    from_path: FromPath,
    writing: Writing,
    max_reply: u64,
    /// What the service's reasons become.
    reasons: Box<[(Box<str>, StatusCode)]>,
    budget: BudgetField,
}

/// What is typed as `UPSTREAM/PACKAGE.SERVICE/METHOD`.
pub(crate) fn parts(typed: &str) -> Option<[&str; 3]> {
    let mut parts = typed.split('/');
    let all = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && all.iter().all(|part| !part.is_empty())).then_some(all)
}

impl Grpc {
    /// The method so named, for the route that `whose` names.
    ///
    /// # Errors
    /// There is none that could be called so.
    pub(crate) fn build(
        descriptors: &Descriptors,
        config: &GrpcConfig,
        service: &str,
        method: &str,
        whose: &str,
    ) -> Result<Self, Mistake> {
        let found = descriptors.method(service, method, whose)?;
        let path = format!("/{service}/{method}");
        let path = PathAndQuery::try_from(path)
            .map_err(|_invalid| Mistake::new("", format!("{whose}: `{method}` cannot be asked for")))?;
        Ok(Grpc {
            path,
            request: found.input(),
            reply: found.output(),
            from_path: FromPath::default(),
            writing: Writing::new(
                config.int64 == Int64::Number,
                config.defaults,
                (config.max_reply.0 as usize).saturating_mul(AS_JSON),
            ),
            max_reply: config.max_reply.0,
            reasons: config.statuses(),
            budget: BudgetField::grpc(),
        })
    }

    /// The same whose answer has at most so many bytes of JSON.
    pub(crate) fn at_most(self, max_size: u64) -> Self {
        let most = usize::try_from(max_size).unwrap_or(usize::MAX);
        Grpc { writing: self.writing.at_most(most), ..self }
    }

    /// Whether `message` is one, as far as it says anything; if not, where, and what would be right.
    pub(crate) fn check(&self, message: Value) -> Result<(), Misfit> {
        json::read(message, &self.request).map(drop)
    }

    /// What a request is made of.
    pub(crate) fn request(&self) -> &MessageDescriptor {
        &self.request
    }

    /// The same, with fields that are written from the path.
    pub(crate) fn with(self, from_path: FromPath) -> Self {
        Grpc { from_path, ..self }
    }

    /// Asks `upstream`, and makes its answer one of JSON; with the caller's token if `token`.
    pub(super) async fn call(
        &self,
        upstream: &Arc<Upstream>,
        token: bool,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Fault> {
        let (name, deadline) = (upstream.name(), admitted.deadline);
        let key = upstream.path_key(&admitted.params);
        let body = std::mem::take(request.body_mut());
        let message = self.message(body, request.headers(), admitted).await;
        let message = message.map_err(|refusal| refusal.of(name))?;
        let client = Head::of(request);
        let ask = |body| self.outgoing(&client, body, token, admitted);
        self.exchange(upstream, key, &ask, message, deadline).await.map(answer)
    }

    /// Asks `upstream` by a message that is framed already, before `deadline`; with these fields besides what every service is
    /// told. `sending` is told of each attempt. Gives back JSON.
    pub(crate) async fn ask(
        &self,
        upstream: &Upstream,
        message: Bytes,
        fields: &[(HeaderName, HeaderValue)],
        admitted: &Admitted,
        deadline: Deadline,
        sending: &(dyn Fn() + Send + Sync),
    ) -> Result<Bytes, Fault> {
        let ask = |body| {
            sending();
            let mut request = self.begun(body);
            request.fields.extend(fields);
            self.stamp(&mut request.fields, admitted, deadline);
            request
        };
        let key = upstream.path_key(&admitted.params);
        self.exchange(upstream, key, &ask, message, deadline).await.map(Bytes::from)
    }

    async fn exchange(
        &self,
        upstream: &Upstream,
        key: Option<u64>,
        ask: &Ask<'_>,
        message: Bytes,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Fault> {
        let call = pin!(upstream.call_by(key, ask, Body::Full(message), deadline));
        let response = call.await?;
        let whole = upstream.read_whole(response, deadline, self.max_reply + frame::PREFIX as u64).await?;
        self.json(upstream.name(), whole)
    }

    /// The request's message, framed.
    async fn message(&self, body: Body, headers: &HeaderMap, admitted: &Admitted) -> Result<Bytes, Refusal> {
        let json = match read(body, headers, admitted).await? {
            None => Value::Object(Map::new()),
            Some(text) => {
                strict_json(&text).map_err(|wrong| Refusal::new(wrong.code(), wrong.client_detail()))?
            }
        };
        let misfit = |wrong: Misfit| Refusal::new(Code::BadRequest, &wrong.detail());
        let json = self.from_path.fill(json, &self.request, &admitted.params).map_err(misfit)?;
        self.framed(json).map_err(misfit)
    }

    /// The message that `json` stands for, framed.
    pub(crate) fn framed(&self, json: Value) -> Result<Bytes, Misfit> {
        let message = json::read(json, &self.request)?;
        let write =
            |out: &mut bytes::BytesMut| message.encode(out).expect("a buffer that grows has room for it");
        frame::frame(write, message.encoded_len()).ok_or_else(|| Misfit::new("", "smaller"))
    }

    fn outgoing(&self, client: &Head<'_>, body: Body, token: bool, admitted: &Admitted) -> Outgoing {
        let mut request = self.begun(body);
        let sent = &mut request.fields;
        let keys = client.headers.get_all(IDEMPOTENCY_KEY).iter();
        keys.for_each(|key| sent.push(IDEMPOTENCY_KEY, key.clone()));
        sent.push(header::VIA, headers::via(client.version));
        headers::add_forwarded(sent, &admitted.downstream, host(client));
        let principal = admitted.caller.principal.as_ref().filter(|_| token);
        if let Some(token) = principal.and_then(|principal| principal.authorization.as_ref()) {
            sent.push(header::AUTHORIZATION, token.clone());
        }
        self.stamp(sent, admitted, admitted.deadline);
        request
    }

    /// What every call begins with.
    fn begun(&self, body: Body) -> Outgoing {
        let mut request = Outgoing::get(self.path.clone(), SENT);
        (request.method, request.body) = (Method::POST, body);
        let sent = &mut request.fields;
        sent.push(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        sent.push(header::TE, HeaderValue::from_static("trailers"));
        sent.push(GRPC_ENCODING, HeaderValue::from_static("identity"));
        sent.push(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        request
    }

    fn stamp(&self, sent: &mut Fields, admitted: &Admitted, deadline: Deadline) {
        admitted.caller.stamp(sent, deadline);
        sent.remove(&GRPC_TIMEOUT); // where `deadline.send` says so
        self.budget.stamp(sent, deadline);
    }

    /// The JSON of a whole answer.
    fn json(&self, upstream: &str, whole: Whole) -> Result<Vec<u8>, Fault> {
        let wrong = |why: Unwritten| match why {
            Unwritten::Malformed(why) => Fault::new(upstream, Reason::Malformed, why),
            Unwritten::TooLarge => Fault::new(upstream, Reason::TooLarge, "as JSON"),
        };
        if let Some(status) = status(upstream, &whole)? {
            return Err(self.refused(upstream, status, &whole));
        }
        let message =
            frame::unframe(whole.body).map_err(|why| wrong(Unwritten::Malformed(why.to_string())))?;
        self.writing.write(message, &self.reply).map_err(wrong)
    }

    /// A refusal; by the reason that the service gives, if that has a status of its own. What failed stays a failure,
    /// whatever is said of it.
    fn refused(&self, upstream: &str, status: GrpcStatus, whole: &Whole) -> Fault {
        let fault = refused(upstream, status, whole);
        if self.reasons.is_empty() || status.is_failure() {
            return fault;
        }
        let of =
            if GrpcStatus::of(&whole.trailers).is_some() { &whole.trailers } else { &whole.head.headers };
        let reason = details::reason(status, of);
        let known = reason.and_then(|reason| self.reasons.iter().find(|(known, _)| **known == *reason));
        match known {
            Some((reason, status)) => {
                let cause = format!("{reason}: {}", fault.cause).into();
                Fault { reason: Reason::Status(*status), cause, detail: None, ..fault }
            }
            None => fault,
        }
    }
}

/// What the client gets of an answer's JSON.
fn answer(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::full(json));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store")); // nothing says that it may be kept
    headers.insert(header::VIA, headers::via(http::Version::HTTP_2));
    response
}

/// How the call ended: none where it went well.
fn status(upstream: &str, whole: &Whole) -> Result<Option<GrpcStatus>, Fault> {
    let (head, trailers) = (&whole.head, &whole.trailers);
    let trailing = GrpcStatus::of(trailers);
    // Without a body the header section is that of the trailers ("Trailers-Only").
    let leading = || GrpcStatus::of(&head.headers).filter(|_| whole.body.is_empty());
    let said = match trailing.or_else(leading) {
        Some(said) => said,
        None if head.status != StatusCode::OK => Some(GrpcStatus::of_http(head.status)),
        None => {
            let typed = head.headers.get(header::CONTENT_TYPE);
            let reason = if is_grpc(&head.headers) { Reason::Malformed } else { Reason::WrongType };
            let why = format!("no grpc-status, and content type {typed:?}");
            return Err(Fault::new(upstream, reason, why));
        }
    };
    if said.is_none() && !is_grpc(&head.headers) {
        let typed = head.headers.get(header::CONTENT_TYPE);
        return Err(Fault::new(upstream, Reason::WrongType, format!("content type {typed:?}")));
    }
    Ok(said)
}

/// `application/grpc`, alone or with `+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let typed = headers.get(header::CONTENT_TYPE).and_then(|typed| typed.to_str().ok()).unwrap_or_default();
    let essence = typed.split(';').next().unwrap_or_default().trim();
    ["application/grpc", "application/grpc+proto"].iter().any(|known| essence.eq_ignore_ascii_case(known))
}

fn refused(upstream: &str, status: GrpcStatus, whole: &Whole) -> Fault {
    let said = whole.trailers.get(GRPC_MESSAGE).or_else(|| whole.head.headers.get(GRPC_MESSAGE));
    let said = said.map(|said| percent_decode(said.as_bytes()).decode_utf8_lossy().into_owned());
    let mut said = said.unwrap_or_default();
    if let Some((end, _)) = said.char_indices().nth(LONGEST) {
        said.truncate(end);
    }
    let http = whole.head.status.as_u16();
    let fault =
        Fault::new(upstream, Reason::Grpc(status), format!("{} (HTTP {http}): {said:?}", status.name()));
    let detail = match status {
        GrpcStatus::InvalidArgument => Some("Something in the request is not as it must be.".into()),
        _ => None,
    };
    Fault { retry_after: whole.retry_after(), detail, ..fault }
}

/// Why a request is not translated.
struct Refusal {
    code: Code,
    detail: Box<str>,
}

impl Refusal {
    fn new(code: Code, detail: &str) -> Self {
        Refusal { code, detail: detail.into() }
    }

    fn of(self, upstream: &str) -> Fault {
        let fault =
            Fault::new(upstream, Reason::Request(self.code), "not sent: what was asked is no message");
        Fault { detail: Some(self.detail), ..fault }
    }
}

/// The text of a body of JSON, none if there is no body.
async fn read(body: Body, headers: &HeaderMap, admitted: &Admitted) -> Result<Option<Bytes>, Refusal> {
    if body.is_empty() {
        return Ok(None);
    }
    if body::is_encoded(headers) {
        return Err(Refusal::new(Code::UnsupportedMediaType, "The body must not be in a content coding."));
    }
    if !body::is_plain_json(headers) {
        let detail = "The body must be JSON: one Content-Type, application/json, in UTF-8.";
        return Err(Refusal::new(Code::UnsupportedMediaType, detail));
    }
    let plain = |code: Code| {
        let error = Error::new(code, "");
        Refusal::new(code, error.client_detail())
    };
    match admitted.deadline.bound(pin!(body.collect())).await {
        Ok(Ok(text)) => Ok(Some(text)),
        Ok(Err(BodyError::TooLarge(_))) => Err(plain(Code::BodyTooLarge)),
        Ok(Err(BodyError::Stalled(_))) | Err(_) => Err(plain(Code::RequestTimeout)),
        Ok(Err(_broken)) => Err(plain(Code::BadRequest)),
    }
}

#[cfg(test)]
mod tests {
    use http::response::Parts;

    use super::*;

    fn whole(
        status: u16,
        typed: &str,
        fields: &[(&'static str, &str)],
        body: &'static [u8],
        trailers: &[(&'static str, &str)],
    ) -> Whole {
        let of = |fields: &[(&'static str, &str)]| -> HeaderMap {
            let pair = |(name, value): &(&'static str, &str)| {
                (HeaderName::from_static(name), value.parse().unwrap())
            };
            fields.iter().map(pair).collect()
        };
        let (mut head, ()): (Parts, ()) = http::Response::new(()).into_parts();
        head.status = StatusCode::from_u16(status).unwrap();
        head.headers = of(fields);
        head.headers.insert(header::CONTENT_TYPE, typed.parse().unwrap());
        Whole { head, body: Bytes::from_static(body), trailers: of(trailers) }
    }

    const GRPC: &str = "application/grpc";

    fn said(whole: &Whole) -> Result<Option<GrpcStatus>, Reason> {
        status("order", whole).map_err(|fault| fault.reason)
    }

    #[test]
    fn the_trailers_say_how_it_ended_and_the_head_does_where_there_is_nothing_else() {
        let ok = &[("grpc-status", "0")][..];
        let (not_found, internal) = (&[("grpc-status", "5")][..], &[("grpc-status", "13")][..]);
        assert_eq!(said(&whole(200, GRPC, &[], b"x", ok)), Ok(None));
        assert_eq!(said(&whole(200, GRPC, ok, b"x", internal)), Ok(Some(GrpcStatus::Internal)));
        assert_eq!(said(&whole(200, GRPC, not_found, b"", &[])), Ok(Some(GrpcStatus::NotFound)));
        assert_eq!(said(&whole(503, "text/html", not_found, b"", &[])), Ok(Some(GrpcStatus::NotFound)));
        assert_eq!(said(&whole(200, GRPC, not_found, b"x", &[])), Err(Reason::Malformed), "no trailers");
        assert_eq!(said(&whole(200, GRPC, &[], b"x", &[])), Err(Reason::Malformed));
        assert_eq!(said(&whole(200, "text/html", &[], b"x", &[])), Err(Reason::WrongType));
        assert_eq!(said(&whole(200, "application/grpc+json", &[], b"x", ok)), Err(Reason::WrongType));
        assert_eq!(said(&whole(502, "text/html", &[], b"x", &[])), Ok(Some(GrpcStatus::Unavailable)));
    }

    #[test]
    fn what_the_service_says_is_for_the_log_and_bounded() {
        let told = whole(200, GRPC, &[], b"", &[("grpc-message", "db%3A%0Agone %zz"), ("retry-after", "7")]);
        let fault = refused("order", GrpcStatus::Unavailable, &told);
        assert_eq!(&*fault.cause, "UNAVAILABLE (HTTP 200): \"db:\\ngone %zz\"");
        let error = fault.into_error();
        assert_eq!((error.status().as_u16(), error.pause().map(|pause| pause.as_secs())), (503, Some(7)));
        assert!(!error.client_detail().contains("gone"));
        let long = "%C3%A4".repeat(2_000);
        let fault =
            refused("order", GrpcStatus::Internal, &whole(200, GRPC, &[], b"", &[("grpc-message", &long)]));
        assert!(fault.cause.chars().count() < LONGEST + 50, "{}", fault.cause.len());
    }

    #[test]
    fn a_method_is_named_in_three_parts() {
        assert_eq!(parts("order/a.B/c"), Some(["order", "a.B", "c"]));
        for wrong in ["", "order", "order/a.B", "order/a.B/", "/a.B/c", "order//c", "order/a.B/c/d"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }
}
