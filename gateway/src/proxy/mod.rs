//! Passing a request on to one service and its answer back, bodies streamed untouched in both directions.
//!
//! Not here: composing answers (`composition/`), choosing who answers (`upstream/`).

pub mod config;
mod fallback;
pub mod headers;

use std::{pin::pin, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, uri::PathAndQuery};

pub use self::fallback::Fallback;
use crate::{
    body::{Body, Request, Response},
    error::Error,
    handler::{Admitted, Answer, Handler},
    template::Template,
    upstream::{Fault, Reason, Upstream},
};

/// The most header fields that the gateway adds to a request.
const OURS: usize = 12;

/// What a client asked for, without its body.
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
}

/// Forwards requests of one route.
pub struct Forward {
    upstream: Arc<Upstream>,
    /// The path there, when it is not the client's own.
    path: Option<Template>,
    token: bool,
    /// What is answered when the service does not.
    fallback: Option<Fallback>,
}

impl Forward {
    /// Forwards to `upstream`, to `path` or else the client's own, with the caller's token if `token`.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        path: Option<Template>,
        token: bool,
        fallback: Option<Fallback>,
    ) -> Self {
        Forward { upstream, path, token, fallback }
    }

    /// What the service is asked: what the client asked for, with our header fields.
    fn outgoing(&self, client: &Head<'_>, body: Body, admitted: &Admitted) -> Request {
        let mut request = Request::new(body);
        request.method_mut().clone_from(client.method);
        *request.uri_mut() = Uri::from(self.target(admitted));
        let sent = request.headers_mut();
        sent.reserve(client.headers.len() + OURS); // once, instead of growing often
        headers::pass_on(client.headers, sent);
        headers::add_forwarded(sent, &admitted.downstream, host(client));
        headers::add_via(sent, client.version);
        let principal = admitted.caller.principal.as_ref().filter(|_| self.token);
        if let Some(token) = principal.and_then(|principal| principal.authorization.as_ref()) {
            sent.insert(header::AUTHORIZATION, token.clone());
        }
        admitted.caller.stamp(sent, admitted.deadline);
        request
    }

    fn target(&self, admitted: &Admitted) -> PathAndQuery {
        match &self.path {
            None => admitted.params.target().clone(),
            Some(template) => template.target(&admitted.params, true),
        }
    }

    async fn pass(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Error> {
        let key = self.upstream.path_key(&admitted.params);
        let fallback = self.fallback.as_ref().filter(|fallback| fallback.is_for(request.method()));
        let body = std::mem::take(request.body_mut());
        let client = Head::of(request);
        let ask = |body| self.outgoing(&client, body, admitted);
        let mut outcome = pin!(self.upstream.call_by(key, &ask, body, admitted.deadline)).await;
        if let Ok(response) = &mut outcome
            && let Err(fault) = self.take_over(response)
        {
            outcome = Err(fault);
        }
        if let Some(fallback) = fallback {
            outcome = fallback.instead_of(outcome, &self.upstream);
        }
        outcome.map_err(Fault::into_error)
    }

    /// Makes the answer one of ours, if it can be passed on.
    fn take_over(&self, response: &mut Response) -> Result<(), Fault> {
        if response.status().is_informational() || !headers::codings_are_known(response.headers()) {
            let why =
                "an answer that switches protocols, or in a transfer coding that is not exactly `chunked`";
            return Err(Fault::new(self.upstream.name(), Reason::Malformed, why));
        }
        headers::reframe(response);
        Ok(())
    }
}

impl<'a> Head<'a> {
    fn of(request: &'a Request) -> Self {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        Head { method, uri, version: request.version(), headers }
    }
}

impl Handler for Forward {
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(self.pass(request, admitted))
    }
}

/// The host that the client asked for: that of the target where it has one (RFC 9112 section 3.2.2, and `:authority` in
/// HTTP/2), else `Host`.
fn host(client: &Head<'_>) -> Option<HeaderValue> {
    let of_target =
        client.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    of_target.or_else(|| client.headers.get(header::HOST).cloned())
}
