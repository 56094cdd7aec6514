//! The life of a request. Every policy is one line here and one folder elsewhere.
//!
//! Not here: how a policy decides (its folder), what a refusal looks like on the wire (`error.rs`).

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;

use crate::{
    body::{Body, Request, Response},
    browsers::{Browsers, Preflight, cors},
    config::{Config, build::Snapshot, graphql::Graphql},
    deadline::Deadline,
    downstream::Downstream,
    error::{Code, Error},
    graphql::Subscriptions,
    handler::{Admitted, late},
    head::{self, Seen},
    identity::{self, Caller, REQUEST_ID},
    live::Live,
    observability::{
        access_log::AccessLog,
        metrics::{Metrics, RouteMetrics},
        record::{Note, Record, Recorded},
        trace::Trace,
    },
    overload::Overload,
    proxy::websocket::Tunnels,
    rate_limit::{Asker, Tally},
    route::Route,
    routing::{Found, Params, path},
};

/// A gateway: the configuration in use, and what outlives it.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    log: Arc<AccessLog>,
    unrouted: Arc<RouteMetrics>,
    overload: &'static Overload,
    /// All metrics.
    pub metrics: Metrics,
    /// Set when the drain begins: answers of HTTP/1.1 then carry `Connection: close`.
    pub draining: AtomicBool,
    /// Set before, when the end is near: clients are to be sent elsewhere, and those that come are still served.
    leaving: AtomicBool,
}

/// What is known of a request by the time that its answer is there, however far it came.
#[derive(Default)]
struct Course {
    route: Option<Arc<Route>>,
    deadline: Option<Deadline>,
    tally: Tally,
    /// What browsers are told where no route was found.
    unrouted: Option<Arc<Browsers>>,
    /// Where the page is from that sent the request, if an answer depends on it.
    origin: Option<HeaderValue>,
    /// What takes the place of what was asked for, where that is deprecated.
    successor: Option<HeaderValue>,
}

impl Course {
    /// Says how the client stands with its limits, and what browsers are to make of the answer.
    fn tell(self, headers: &mut HeaderMap, from: &Downstream) {
        self.tally.tell(headers);
        let routed = self.route.as_ref().and_then(|route| route.browsers.as_ref());
        if let Some(browsers) = routed.or(self.unrouted.as_ref()) {
            browsers.tell(headers, self.origin.as_ref(), from.tls);
        }
        if let Some(lifecycle) = self.route.as_ref().and_then(|route| route.lifecycle.as_ref()) {
            lifecycle.tell(headers, self.successor);
        }
    }
}

impl Gateway {
    /// A gateway that runs `snapshot`.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, log: AccessLog, metrics: Metrics) -> Self {
        metrics.watch_log(&log.lost);
        let unrouted = metrics.route("(none)");
        let (snapshot, log) = (ArcSwap::new(snapshot), Arc::new(log));
        let overload = metrics.overload();
        let (draining, leaving) = (AtomicBool::new(false), AtomicBool::new(false));
        Gateway { snapshot, log, unrouted, overload, metrics, draining, leaving }
    }

    /// Answers one request. Cannot fail: every refusal and fault is rendered here, once.
    pub async fn handle(
        &self,
        request: http::Request<Incoming>,
        from: &Arc<Downstream>,
    ) -> http::Response<Recorded> {
        let mut request = request.map(Body::client);
        let (version, head) = (request.version(), request.method() == Method::HEAD);
        let upload = request.body().upload();
        let mut record = Record::begin(&self.log, &self.unrouted, &request, from); // written when dropped: aborted requests too
        let mut course = Course::default();
        let responding = self.respond(&mut request, from, &mut record, &mut course);
        let responded =
            AssertUnwindSafe(pin!(responding)).catch_unwind().await.unwrap_or_else(|_panic| Err(broken()));
        let mut late = false;
        let mut response = match responded {
            Ok(response) => response,
            Err(error) => {
                request.into_body().linger(); // what was not taken is read and forgotten, so that the answer gets read
                let error = if upload.is_some_and(|upload| upload.waits()) { slow(error) } else { error };
                late = error.code() == Code::RequestTimeout;
                record.failed(&error);
                error.into_response(record.request_id().to_str().unwrap_or_default())
            }
        };
        if head {
            response = without_body(response);
        }
        response.headers_mut().insert(REQUEST_ID, record.request_id().clone());
        let deadline = course.deadline;
        course.tell(response.headers_mut(), from); // how the client stands and who may read it, whatever the answer
        if let Some(Note(note)) = response.extensions_mut().remove() {
            record.note(note);
        }
        // Nobody waits for the rest of a body that did not come (RFC 9110 section 15.5.9).
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS; // it is not HTTP that goes on
        if version < Version::HTTP_2 && !switches && (late || self.draining.load(Ordering::Relaxed)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        record.over(response, deadline) // rides on the body: bytes really sent
    }

    /// Answers what hyper could not read as a request, with the status that it chose. The connection ends with it.
    pub fn refuse(&self, status: StatusCode, from: &Arc<Downstream>) -> Vec<u8> {
        let code = match status {
            StatusCode::URI_TOO_LONG => Code::UriTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Code::HeadersTooLarge,
            _ => Code::BadRequest,
        };
        let error = Error::new(code, "not HTTP, or beyond what is read as such");
        let mut record = Record::unread(&self.log, &self.unrouted, from);
        record.failed(&error);
        let response = error.into_response(record.request_id().to_str().unwrap_or_default());
        record.refused(response)
    }

    async fn respond(
        &self,
        request: &mut Request,
        from: &Arc<Downstream>,
        record: &mut Record,
        course: &mut Course,
    ) -> Result<Response, Error> {
        let (route, params, seen) = match self.route(request, course)? {
            Routed::Route(route, params, seen) => (route, params, seen), // 400, 404, 405, 431
            Routed::Options(response) => return Ok(response),
        };
        let Course { route: found, deadline: until, tally, origin, successor, .. } = course;
        let route = &**found.insert(route);
        record.routed(&route.name, &route.metrics);
        if let Some(lifecycle) = &route.lifecycle {
            *successor = lifecycle.called(&params);
            lifecycle.check()?; // what has ended has: 410
        }
        if let Some(browsers) = &route.browsers {
            *origin = browsers.origin(request.headers());
            browsers.check(request)?; // before anything is counted: its sender may not have meant it: 403
        }
        if let Some(shares) = route.shares {
            record.holds(self.overload.admit(shares, request.method())?); // before any work is done: 503
        }
        // Everything below spends it: 400 when a client's own is none, 504 when it is over already.
        let deadline = route.budget.deadline(record.begun(), request.headers(), route.timeout)?;
        *until = Some(deadline);
        // What no service is told decides nothing here, and nobody but us says who the caller is.
        seen.clean(request.headers_mut(), &route.budget.ours);
        let asker =
            Asker { address: from.peer.ip(), sub: None, headers: request.headers(), params: Some(&params) };
        route.limits.check_early(&asker, tally).await?; // before auth, so that guessing tokens costs: 429
        request
            .body_mut()
            .limit(route.max_body, route.body_timeout)
            .map_err(|error| Error::new(Code::BodyTooLarge, error.to_string()))?; // 413
        let trace = if seen.traceparent { Trace::of(request.headers()) } else { Trace::begun() };
        record.traced(&trace);
        let admitted = async {
            let principal = route.guard.authenticate(request.headers(), from).await?; // 401
            let mut plan = None;
            if let Some(principal) = &principal {
                record.called_by(&principal.user_id);
                plan = route.plans.of(principal)?; // 403
            }
            let sub = principal.as_deref().map(|principal| &*principal.sub);
            let headers = request.headers();
            let asker = Asker { address: from.peer.ip(), sub, headers, params: Some(&params) };
            let bill = route.limits.check_late(&asker, tally, plan).await?; // 429
            // They were for the gateway; a limit that counts by one gives back under the same key, so not before.
            identity::remove(request.headers_mut(), &route.credentials);
            let budget = route.budget.send.clone();
            let caller = Caller { request_id: record.request_id().clone(), principal, trace, budget };
            let downstream = from.clone();
            let mut admitted = Admitted { caller, params, deadline, downstream, bill, asked: None };
            admitted.asked = route.guard.authorize(request, &admitted).await?; // 403, or 404 where that would tell too much
            Ok(admitted)
        };
        let admitted = deadline.bound(pin!(admitted)).await.unwrap_or_else(|_elapsed| Err(late()))?; // 504
        let mut answer = route.handler.answer(request, &admitted).await; // spends the same deadline: 502, 503, 504
        if route.lasts && answer.as_mut().is_ok_and(|response| record.lasts(response)) {
            *until = None; // it was that of its beginning
        }
        answer
    }

    /// Finds the route in the configuration in use, which stays in use for this request.
    fn route(&self, request: &Request, course: &mut Course) -> Result<Routed, Error> {
        let now = self.snapshot.load();
        let found = find(&now, request);
        if let (Err(_), Some(browsers)) = (&found, &now.browsers) {
            course.origin = browsers.origin(request.headers());
            course.unrouted = Some(browsers.clone());
        }
        found
    }

    /// Takes a new configuration into use. Requests in flight end on the old one; answers that stay open end, unless it
    /// says the same of them.
    pub fn swap(&self, snapshot: Arc<Snapshot>) {
        let before = self.snapshot.swap(snapshot);
        let now = self.snapshot.load();
        let stays = |live: &Arc<Live>| now.live.values().any(|other| Arc::ptr_eq(live, other));
        before.live.values().filter(|live| !stays(live)).for_each(|live| live.end());
        let stays = |tunnels: &Arc<Tunnels>| now.tunnels.values().any(|other| Arc::ptr_eq(tunnels, other));
        before.tunnels.values().filter(|tunnels| !stays(tunnels)).for_each(|tunnels| tunnels.end());
        before.graphql.open_but_for(&now.graphql).for_each(Subscriptions::end);
        if self.draining.load(Ordering::Relaxed) {
            self.end_live();
        }
    }

    /// The drain begins: answers of HTTP/1.1 then carry `Connection: close`, and those that stay open end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.end_live();
    }

    fn end_live(&self) {
        let now = self.snapshot.load();
        now.live.values().for_each(|live| live.end());
        now.tunnels.values().for_each(|tunnels| tunnels.end());
        now.graphql.open_but_for(&Graphql::default()).for_each(Subscriptions::end);
    }

    /// The configuration in use.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The configuration in use, as typed.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.snapshot.load().config.clone()
    }

    /// What each worker does ten times a second: hands over its log lines, closes connections that nobody uses,
    /// connects to Redis if it is not connected.
    pub fn tick(&self) {
        self.log.flush();
        let now = self.snapshot.load();
        for upstream in now.services.upstreams.values() {
            upstream.sweep();
        }
        if let Some(redis) = &now.redis {
            redis.tick();
        }
        if let Some(shared) = now.cache.as_ref().and_then(|store| store.shared()) {
            shared.tick();
        }
    }

    /// Hands over the last lines, when all workers have stopped.
    pub fn finish(&self) {
        self.log.flush_all();
    }

    /// From now on it is not ready, and answers all the same.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether its end has begun, or is near.
    #[must_use]
    pub fn ends(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) || self.draining.load(Ordering::Relaxed)
    }

    /// Whether this instance can take requests: keys are there, endpoints have been found, and it is not draining.
    #[must_use]
    pub fn ready(&self) -> bool {
        let snapshot = self.snapshot.load();
        !self.ends()
            && snapshot.providers.values().all(|provider| provider.ready())
            && snapshot.services.upstreams.values().all(|upstream| upstream.is_found())
    }
}

/// What HEAD gets of an answer that the gateway has made (RFC 9110 section 9.3.2). hyper leaves it out over HTTP/1.1 only.
fn without_body(mut response: Response) -> Response {
    if let Body::Full(body) = std::mem::take(response.body_mut()) {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    response
}

/// The deadline passed while the client was still sending: nobody else is late.
fn slow(error: Error) -> Error {
    match error.code() {
        Code::UpstreamTimeout => {
            Error::new(Code::RequestTimeout, "the client's body did not come before the deadline")
        }
        _ => error,
    }
}

/// A panic has been reported where it happened; the connection and all others go on.
fn broken() -> Error {
    Error::new(Code::Internal, "a panic, reported in the log")
}

/// The route for a request whose head and target everybody reads in the same way.
fn find(now: &Snapshot, request: &Request) -> Result<Routed, Error> {
    let seen = head::check(request, now.max_header_size)?;
    if head::target_size(request.uri()) > now.max_uri {
        let why = format!("the target is over {} bytes", now.max_uri);
        return Err(Error::new(Code::UriTooLong, why));
    }
    let Some(target) = request.uri().path_and_query() else {
        return Err(match *request.method() {
            Method::CONNECT => Error::new(Code::NotImplemented, "CONNECT"),
            _ => Error::new(Code::BadRequest, "a target that is no path and no URL"),
        });
    };
    let allow = |allow: &HeaderValue| Ok(Routed::Options(options(allow, now.has_cors)));
    if *request.method() == Method::OPTIONS && target.path() == "*" {
        return allow(&HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"));
    }
    if !path::check(target.path()) {
        return Err(Error::new(Code::BadPath, "the path can be read in two ways"));
    }
    if *request.method() == Method::OPTIONS
        && now.has_cors
        && let Some(answer) = preflight(now, request.headers(), target)
    {
        return Ok(Routed::Options(answer));
    }
    match now.routes.find(request.method(), target) {
        Found::Route(route, params) => Ok(Routed::Route(route.clone(), params, seen)),
        Found::Nothing => Err(Error::new(Code::NotFound, "no route has this path")),
        Found::Doubtful => Err(Error::new(Code::BadPath, "another spelling of a stricter route's path")
            .detail(
                "The path must be written without needless escapes, parameters of segments, and other case.",
            )),
        Found::Not(allow) => Err(Error::new(Code::MethodNotAllowed, "no route has this method")
            .header(header::ALLOW, allow.clone())),
        Found::Options(offered) => allow(offered),
    }
}

enum Routed {
    Route(Arc<Route>, Params, Seen),
    Options(Response),
}

/// The answer to a browser that asks whether it may send a request, if the route for that request says who may.
fn preflight(now: &Snapshot, headers: &HeaderMap, target: &PathAndQuery) -> Option<Response> {
    let asked = Preflight::of(headers)?;
    let Found::Route(route, _) = now.routes.find(&asked.method, target) else { return None };
    Some(route.browsers.as_ref()?.cors.as_ref()?.answer(&asked))
}

fn options(allow: &HeaderValue, has_cors: bool) -> Response {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, allow.clone());
    if has_cors {
        cors::vary_by_preflight(response.headers_mut());
    }
    response
}
