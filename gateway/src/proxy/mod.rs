//! Passing a request on to one service and its answer back, bodies streamed untouched in both directions.
//!
//! Where a route keeps answers, a request meets those first (`cached.rs`).
//! Not here: composing answers (`composition/`), choosing who answers (`upstream/`).

mod cached;
pub mod config;
mod fallback;
pub mod grpc;
pub mod headers;
mod invalidates;
pub mod websocket;

use std::{pin::pin, sync::Arc};

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, uri::PathAndQuery};

pub use self::{
    cached::Cached, fallback::Fallback, grpc::Grpc, invalidates::Invalidates, websocket::WebSocket,
};
use crate::{
    body::{Body, Request, Response},
    cache::{Store, control, store::Purge},
    error::Error,
    handler::{Admitted, Answer, Handler},
    template::Template,
    upstream::{Fault, Outgoing, Reason, Upstream},
};

/// The most header fields that the gateway adds to a request.
const OURS: usize = 12;

/// What a client asked for, without its body.
#[derive(Clone, Copy)]
struct Head<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
}

/// Forwards requests of one route.
pub struct Forward {
    origin: Arc<Origin>,
    /// Where its answers are kept, if they are.
    cache: Option<Arc<Cached>>,
    /// What writes make invalid, if anything is kept by any route.
    store: Option<Arc<Store>>,
    /// What else they make invalid, if anything.
    invalidates: Option<Invalidates>,
}

/// Whom a route forwards to, and how.
pub struct Origin {
    upstream: Arc<Upstream>,
    /// The path there, when it is not the client's own.
    path: Option<Template>,
    token: bool,
    /// Which method is called, where the service speaks gRPC and clients do not.
    grpc: Option<Box<Grpc>>,
    /// What is answered when the service does not.
    fallback: Option<Fallback>,
}

impl Forward {
    /// Forwards to `origin`; answers are kept by `cache`, and writes make invalid what is kept in `store` of their URL, and
    /// what `invalidates` names.
    #[must_use]
    pub fn new(
        origin: Arc<Origin>,
        cache: Option<Arc<Cached>>,
        store: Option<Arc<Store>>,
        invalidates: Option<Invalidates>,
    ) -> Self {
        Forward { origin, cache, store, invalidates }
    }

    /// Passes a request on that may change something: what is kept of its target is then no longer so (RFC 9111 section
    /// 4.4).
    async fn write(
        &self,
        store: &Store,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        let pending = self.invalidates.as_ref().map(|invalidates| invalidates.begin(admitted));
        let mut outcome = pin!(self.origin.call(request, admitted)).await;
        if let Some(pending) = pending {
            pending.end(&mut outcome);
        }
        let response = self.origin.settle(outcome, request.method())?;
        if control::invalidates(request.method(), response.status()) {
            let (host, target) =
                (host_of(request.uri(), request.headers()), admitted.params.target().as_str());
            store.purge_url(host, target, Purge::Hard);
            let host = std::str::from_utf8(host).unwrap_or_default();
            for also in control::also_invalid(response.headers(), host, target) {
                store.purge_url(host.as_bytes(), &also, Purge::Hard);
            }
        }
        Ok(response)
    }
}

impl Origin {
    /// Forwards to `upstream`, to `path` or else the client's own, with the caller's token if `token`.
    #[must_use]
    pub fn new(
        upstream: Arc<Upstream>,
        path: Option<Template>,
        token: bool,
        fallback: Option<Fallback>,
    ) -> Self {
        Origin { upstream, path, token, grpc: None, fallback }
    }

    /// The same by a method of gRPC.
    #[must_use]
    pub fn by(self, grpc: Grpc) -> Self {
        Origin { grpc: Some(Box::new(grpc)), ..self }
    }

    /// What the service is asked: what the client asked for, with our header fields.
    fn outgoing(&self, client: &Head<'_>, body: Body, admitted: &Admitted) -> Outgoing {
        let mut request = Outgoing::get(self.target(admitted), client.headers.len() + OURS);
        request.method.clone_from(client.method);
        request.body = body;
        let sent = &mut request.fields;
        headers::pass_on(client.headers, sent);
        sent.push(header::VIA, headers::via(client.version));
        headers::add_forwarded(sent, &admitted.downstream, host(client));
        let principal = admitted.caller.principal.as_ref().filter(|_| self.token);
        if let Some(token) = principal.and_then(|principal| principal.authorization.as_ref()) {
            sent.push(header::AUTHORIZATION, token.clone());
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
        let outcome = pin!(self.call(request, admitted)).await;
        self.settle(outcome, request.method())
    }

    /// The service's answer, made one of ours.
    async fn call(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Fault> {
        if let Some(grpc) = &self.grpc {
            // On the heap, since most routes have no such call, and all would carry the room for it.
            return Box::pin(grpc.call(&self.upstream, self.token, request, admitted)).await;
        }
        let key = self.upstream.path_key(&admitted.params);
        let body = std::mem::take(request.body_mut());
        let client = Head::of(request);
        let ask = |body| self.outgoing(&client, body, admitted);
        let mut outcome = pin!(self.upstream.call_by(key, &ask, body, admitted.deadline)).await;
        if let Ok(response) = &mut outcome
            && let Err(fault) = self.take_over(response)
        {
            outcome = Err(fault);
        }
        outcome
    }

    /// What the client gets of an outcome: the answer, what stands in for it, or the error.
    fn settle(&self, mut outcome: Result<Response, Fault>, method: &Method) -> Result<Response, Error> {
        if let Some(fallback) = self.fallback.as_ref().filter(|fallback| fallback.is_for(method)) {
            outcome = fallback.instead_of(outcome, &self.upstream);
        }
        outcome.map_err(Fault::into_error)
    }

    /// Makes the answer one of ours, if it can be passed on.
    fn take_over(&self, response: &mut Response) -> Result<(), Fault> {
        let why = if response.status().is_informational() {
            "an answer that switches protocols"
        } else if !headers::reframe(response) {
            "a transfer coding that is not exactly `chunked`"
        } else {
            return Ok(());
        };
        Err(Fault::new(self.upstream.name(), Reason::Malformed, why))
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
        if let Some(cache) = self.cache.as_ref().filter(|_| request.method().is_safe()) {
            // What is there is answered without anything that asking takes.
            return match cache.hit(request, admitted) {
                Some(response) => Box::pin(std::future::ready(Ok(response))),
                None => Box::pin(cache.ask(request, admitted)),
            };
        }
        match self.store.as_ref().filter(|_| !request.method().is_safe()) {
            Some(store) => Box::pin(self.write(store, request, admitted)),
            None => Box::pin(self.origin.pass(request, admitted)),
        }
    }
}

/// The host that the client asked for: that of the target where it has one (RFC 9112 section 3.2.2, and `:authority` in
/// HTTP/2), else `Host`.
fn host(client: &Head<'_>) -> Option<HeaderValue> {
    let of_target =
        client.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    of_target.or_else(|| client.headers.get(header::HOST).cloned())
}

/// The same without a copy; empty where none is named.
pub(crate) fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a [u8] {
    match uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => headers.get(header::HOST).map_or(b"", HeaderValue::as_bytes),
    }
}
