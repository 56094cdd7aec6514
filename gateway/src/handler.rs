//! What answers a request once it has been let in.
//!
//! Only the pipeline makes an [`Admitted`], so no handler can be called around it.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::PathAndQuery};
use indexmap::IndexMap;

use crate::{
    auth::Principal,
    body::{Body, Request, Response},
    deadline::{BudgetField, Deadline},
    downstream::Downstream,
    error::{Code, Error},
    observability::trace::{TRACEPARENT, TRACESTATE, Trace},
    rate_limit::RateLimit,
    routing::Params,
    upstream::Upstream,
};

/// A future on the heap: handlers differ in size, and the pipeline's own future stays small.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

/// Answers requests of one route.
pub trait Handler: Send + Sync {
    /// The answer, before `admitted.deadline`. Dropped, it must stop all that it has begun.
    fn answer<'a>(&'a self, request: Request, admitted: Admitted) -> Answer<'a>;
}

/// A handler that a binary brings along, held to the deadline. The gateway's own need no second timer: all that they wait
/// for are calls, and each of those is bound by the same deadline.
pub(crate) struct InTime(pub(crate) Arc<dyn Handler>);

impl Handler for InTime {
    fn answer<'a>(&'a self, request: Request, admitted: Admitted) -> Answer<'a> {
        let deadline = admitted.deadline;
        let mut answer = self.0.answer(request, admitted);
        Box::pin(async move { deadline.bound(answer.as_mut()).await.unwrap_or_else(|_elapsed| Err(late())) })
    }
}

/// What is said when the deadline passes and no service is to blame.
pub(crate) fn late() -> Error {
    Error::new(Code::UpstreamTimeout, "the route's deadline passed")
}

/// What a handler of one's own may be built from: what the configuration names.
#[derive(Default)]
pub struct Services {
    /// The upstreams by name.
    pub upstreams: IndexMap<String, Arc<Upstream>>,
    /// The rate limits by name.
    pub limits: IndexMap<String, Arc<RateLimit>>,
}

impl Services {
    /// The upstream so named.
    ///
    /// # Errors
    /// A sentence for the operator when the configuration has none.
    pub fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String> {
        self.upstreams.get(name).cloned().ok_or_else(|| format!("this handler needs an upstream `{name}`"))
    }

    /// The limit so named. A handler that counts against one does not run without it: that would be no limit at all.
    ///
    /// # Errors
    /// A sentence for the operator when the configuration has none.
    pub fn limit(&self, name: &str) -> Result<Arc<RateLimit>, String> {
        self.limits
            .get(name)
            .cloned()
            .ok_or_else(|| format!("this handler needs a limit `{name}` under `limits`"))
    }
}

/// Builds a handler of one's own, again for every configuration that is loaded.
pub type Make = fn(&Services) -> Result<Arc<dyn Handler>, String>;

/// The handlers that a binary brings along, by the name that `handle:` knows them by.
#[derive(Clone, Default)]
pub struct Handlers(pub IndexMap<&'static str, Make>);

impl Handlers {
    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, make: Make) -> Self {
        self.0.insert(name, make);
        self
    }
}

/// A request that was let in: who asks, for what, until when.
pub struct Admitted {
    /// On whose behalf services are called.
    pub caller: Caller,
    /// The path parameters.
    pub params: Params,
    /// By when the answer must be there.
    pub deadline: Deadline,
    /// Where the request came from.
    pub downstream: Arc<Downstream>,
}

/// `x-user-id`: the `sub` of the caller.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// `x-user-roles`: the caller's roles, comma-separated.
pub const USER_ROLES: HeaderName = HeaderName::from_static("x-user-roles");
/// `x-request-id`: new for every request, the same for all calls made for it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-request-timeout-ms`: the milliseconds that the call may still take, unless services are told so by another field.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The header fields that only the gateway may set; a client's own are removed, used or not.
pub const OURS: [HeaderName; 4] = [USER_ID, USER_ROLES, REQUEST_ID, REQUEST_TIMEOUT];

/// On whose behalf services are called: what every call made for a request tells them.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `X-Request-Id`.
    pub request_id: HeaderValue,
    /// Who asks; nobody when the route lets anyone in.
    pub principal: Option<Arc<Principal>>,
    /// The trace that the calls belong to.
    pub trace: Trace,
    /// How services are told what time is left.
    pub budget: BudgetField,
}

impl Caller {
    /// Sets the gateway's own header fields, in a section that has no `traceparent` and no `tracestate` yet.
    pub fn stamp(&self, headers: &mut HeaderMap, deadline: Deadline) {
        headers.insert(REQUEST_ID, self.request_id.clone());
        self.budget.stamp(headers, deadline);
        self.trace.stamp(headers);
        if let Some(principal) = &self.principal {
            headers.insert(USER_ID, principal.user_id.clone());
            headers.insert(USER_ROLES, principal.user_roles.clone());
        }
    }

    /// A GET of `target` for JSON.
    #[must_use]
    pub fn get(&self, target: &PathAndQuery, deadline: Deadline) -> Request {
        let mut request = Request::new(Body::Empty);
        *request.uri_mut() = http::Uri::from(target.clone());
        let headers = request.headers_mut();
        headers.reserve(8);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.stamp(headers, deadline);
        request
    }

    /// A POST of a JSON body to `target`.
    #[must_use]
    pub fn post(&self, target: &PathAndQuery, json: Body, deadline: Deadline) -> Request {
        let mut request = self.get(target, deadline);
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = json;
        request
    }
}

/// Removes what a client sent in the gateway's name, also when spelled with `_`: some servers read both as one. Where a
/// client comes from is replaced when a request is forwarded, so of that only other spellings are removed here. `also` are
/// fields that the configuration has made the gateway's own.
pub fn strip(headers: &mut HeaderMap, also: &[HeaderName]) {
    let goes = |name: &HeaderName| in_our_name(name) || !also.is_empty() && is_one_of(name, also);
    if !headers.keys().any(goes) {
        return;
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn in_our_name(name: &HeaderName) -> bool {
    OURS.contains(name) || name.as_str().contains('_') && is_ours(&name.as_str().replace('_', "-"))
}

fn is_one_of(name: &HeaderName, also: &[HeaderName]) -> bool {
    let dashed = || name.as_str().replace('_', "-");
    also.contains(name) || name.as_str().contains('_') && also.iter().any(|one| one.as_str() == dashed())
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|ours| ours == name)
        || [TRACEPARENT, TRACESTATE].iter().any(|ours| ours == name)
        || name == "authorization"
        || name.starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_gateway_says_who_the_caller_is() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-User-Id",
            "x_user_id",
            "X-User_Roles",
            "x-request-id",
            "X_Request-Timeout-Ms",
            "X_Forwarded_For",
            "x-forwarded_proto",
            "X_Forwarded-Host",
            "x-user-agent",
            "x_mine",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("1"));
        }
        strip(&mut headers, &[]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-user-agent", "x_mine"]);
        strip(&mut headers, &[HeaderName::from_static("x-mine")]);
        assert_eq!(headers.len(), 1);
    }
}
