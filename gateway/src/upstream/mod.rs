//! A service behind the gateway, and the one way to call it.
//!
//! `in-flight slot -> retry -> balance -> hedge -> [per endpoint: breaker -> attempt timeout -> pool -> connect -> send]`.
//! The slot is outermost, since it bounds what a service holds here, retries included. Retry stands outside the balancer,
//! so that a second attempt meets another endpoint. The breaker is per endpoint, so that one bad machine does not close a
//! service. All attempts spend one deadline.
//!
//! Not here: what goes into a request (`proxy/`, `composition/`, `graphql/`), what an answer means there.

mod affinity;
pub mod balance;
pub mod circuit_breaker;
pub mod config;
pub mod discovery;
pub mod ejection;
mod endpoint;
mod endpoints;
pub mod fault;
mod follow;
mod grpc;
pub mod health;
pub mod hedge;
mod http1;
mod http2;
pub mod in_flight;
mod json;
pub mod load;
mod max_response;
mod metrics;
mod outgoing;
mod pool;
pub mod retry;
mod switched;
pub mod tls;
mod tokens;
pub mod wire;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;
use futures_util::future::{Either, select};
use http::StatusCode;
use tokio::sync::watch;

use self::{
    affinity::HashBy,
    balance::Set,
    circuit_breaker::Verdict,
    config::UpstreamConfig,
    discovery::Source,
    endpoint::{Answered, Failed},
    endpoints::{Called, Endpoints},
    hedge::Hedge,
    in_flight::{InFlight, Slot},
    pool::{Home, Incoming, Pooled},
    retry::{Failure, Next, Retry},
    wire::Wire,
};
pub use self::{
    fault::{Fault, Reason},
    grpc::{GRPC_STATUS, GrpcStatus, Whole},
    json::{Anew, Fetched},
    metrics::{EndpointMetrics, Outcome, Slots, Spoken, UpstreamMetrics},
    outgoing::{Fields, Outgoing},
    switched::{Switched, Switching},
};
use crate::{
    body::{Body, Response},
    deadline::Deadline,
    mistake::Mistakes,
    routing::Params,
};

/// Makes a request around its body: for each attempt anew, since its header fields say how much time is left.
pub type Ask<'a> = dyn Fn(Body) -> Outgoing + Sync + 'a;

/// A service behind the gateway.
pub struct Upstream {
    name: Box<str>,
    config: UpstreamConfig,
    source: Source,
    wire: Arc<Wire>,
    endpoints: ArcSwap<Endpoints>,
    in_flight: Arc<InFlight>,
    retry: Retry,
    hedge: Option<Hedge>,
    /// What calls are kept together by, if anything.
    hash: Option<HashBy>,
    metrics: Arc<UpstreamMetrics>,
    /// Ends what follows the endpoints when this is dropped, and says whether any endpoint has been found.
    found: watch::Sender<bool>,
}

impl Upstream {
    /// The upstream called `name`, typed at the key path `at`. What `before` knows of its endpoints stays known, if they
    /// are treated alike.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn build(
        name: &str,
        config: &UpstreamConfig,
        metrics: Arc<UpstreamMetrics>,
        at: &str,
        before: Option<&Upstream>,
    ) -> Result<Arc<Self>, Mistakes> {
        let mut mistakes = Mistakes::default();
        config.check(name, at, &mut mistakes);
        let source = config.source(name, at).map_err(|wrong| mistakes.0.extend(wrong.0)).ok();
        let hash = HashBy::build(&config.balance, name, at, &mut mistakes);
        let Some((source, wire)) = source.filter(|_| mistakes.is_empty()) else {
            return Err(mistakes);
        };
        let wire = Arc::new(wire);
        let before = before.filter(|before| before.config.treats_alike(config) && before.wire.is_same(&wire));
        let known = before.map(|before| before.endpoints.load());
        let endpoints = Endpoints::new(
            name,
            config,
            &metrics,
            &wire,
            &source.first(),
            known.as_ref().map(|known| &***known),
        );
        let now = Instant::now();
        Ok(Arc::new(Upstream {
            name: name.into(),
            in_flight: metrics.watch(InFlight::new(&config.in_flight, now.into())),
            retry: Retry::new(config.retry.clone(), now),
            hedge: config.hedge.as_ref().map(|hedge| Hedge::new(hedge, now)),
            found: watch::channel(!endpoints.all.is_empty()).0,
            endpoints: ArcSwap::from_pointee(endpoints),
            config: config.clone(),
            source,
            wire,
            hash,
            metrics,
        }))
    }

    /// As it is called in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As typed, so that a reload can tell whether anything changed.
    #[must_use]
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Whether `config` would make the same of the same certificates, so that a reload can take it over.
    #[must_use]
    pub fn is_of(&self, config: &UpstreamConfig) -> bool {
        self.config == *config && self.wire.is_unchanged(config)
    }

    /// Sends what `ask` makes of `body` to one of the endpoints, and again to another while that can help and the body is
    /// one that can be sent again. Gives back the head of the answer with its body still to come. Dropping either cancels
    /// the call: its connection is closed, or its stream is reset.
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer. An answer of any status is an answer.
    pub fn call<'a>(
        &'a self,
        ask: &'a Ask<'_>,
        body: Body,
        deadline: Deadline,
    ) -> impl Future<Output = Result<Response, Fault>> + Send + 'a {
        self.call_by(None, ask, body, deadline)
    }

    /// The same, kept together with the calls of the same `key` ([`Upstream::path_key`]).
    ///
    /// # Errors
    /// As [`Upstream::call`].
    pub async fn call_by(
        &self,
        key: Option<u64>,
        ask: &Ask<'_>,
        body: Body,
        deadline: Deadline,
    ) -> Result<Response, Fault> {
        let mut flight = self.metrics.begin();
        let outcome = pin!(self.answer(ask, body, key, deadline, &mut flight)).await;
        let outcome = match self.config.max_response {
            Some(limit) => {
                outcome.and_then(|response| max_response::bound(response, limit.0, &self.name, &self.metrics))
            }
            None => outcome,
        };
        flight.end(&outcome);
        outcome
    }

    async fn answer(
        &self,
        ask: &Ask<'_>,
        body: Body,
        key: Option<u64>,
        deadline: Deadline,
        flight: &mut metrics::Flight<'_>,
    ) -> Result<Response, Fault> {
        let limited = |_full| self.fault(Reason::Limit, "as many calls as may be are under way");
        let (slot, mut now) = match self.in_flight.try_acquire() {
            Some(slot) => (slot, Some(flight.begun)),
            None => (self.in_flight.acquire(deadline).await.map_err(limited)?, None),
        };
        // Of the last attempt: what a call waited for here is not the service's time, and would lower the limit further.
        let mut sent = self.config.in_flight.adaptive.as_ref().map(|_| Instant::now());
        let mut request = Box::new(ask(body)); // on the heap, since it goes down through many hands
        let upload = sent.and_then(|_| request.body.upload());
        let mut attempts = self.retry.attempts(&request.method);
        let (key, mut tried) = (key.or_else(|| self.hash.as_ref()?.of_request(&request)), Set::EMPTY);
        let outcome = loop {
            let spare = if attempts.may_send_again() { request.body.again() } else { None };
            let mut outcome = pin!(self.attempt(ask, request, key, &mut tried, deadline, now.take())).await;
            let unsent = outcome.as_mut().err().and_then(|failed| failed.unsent.take());
            let Some(failure) = failure(&outcome).filter(|_| unsent.is_some() || spare.is_some()) else {
                break outcome;
            };
            let wait = outcome.as_ref().ok().and_then(|(_, it)| json::retry_after(&it.head.headers));
            match attempts.after(failure, wait, deadline.remaining(), Instant::now()) {
                Next::Return => break outcome,
                Next::Again { pause } => {
                    drop(outcome);
                    self.metrics.retries.inc();
                    Box::pin(tokio::time::sleep(pause)).await;
                    let body = unsent.map(|request| request.body).or(spare).unwrap_or_default();
                    request = Box::new(ask(body));
                    sent = sent.map(|_| Instant::now());
                }
            }
        };
        // Whose time was its client's says nothing: slow clients would lower the limit for all others.
        let own = |sent: &Instant| !upload.is_some_and(|upload| upload.delayed(sent.elapsed()));
        flight.answered = outcome.as_ref().ok().map(|(_, answered)| answered.at);
        self.end(outcome, slot, sent.filter(own))
    }

    /// One attempt at the endpoint that the balance chooses; `tried` are those of before, and then of this one too. `now` is the
    /// time if it is known.
    async fn attempt(
        &self,
        ask: &Ask<'_>,
        mut request: Box<Outgoing>,
        key: Option<u64>,
        tried: &mut Set,
        deadline: Deadline,
        mut now: Option<Instant>,
    ) -> Outcomes {
        let endpoints = self.known_endpoints(deadline).await;
        let until = self.config.attempt_timeout.map_or(deadline, |timeout| deadline.at_most(timeout.0));
        loop {
            let now = now.take().unwrap_or_else(Instant::now);
            let index = match endpoints.pick(&self.name, tried, key, now) {
                Ok(index) => index,
                Err(fault) => return Err(Failed::sent(fault)),
            };
            tried.insert(index);
            let call = Call { upstream: self, endpoints: &endpoints, index, until };
            // What a client still sends cannot be sent twice, and its time is not the service's.
            let whole = !matches!(request.body, Body::Client(_)) && !request.upgrade; // nor are two tunnels opened for one
            let hedge = self.hedge.as_ref().filter(|hedge| whole && hedge.is_for(&request.method));
            let (index, outcome) = match hedge {
                // On the heap: few upstreams hedge, and the futures of all others would be twice as large.
                Some(hedge) => Box::pin(call.hedged(hedge, ask, request, key, tried)).await,
                None => (index, pin!(call.plain(ask, request, now)).await),
            };
            match outcome {
                // Another worker's call closed it between the choice and the permit.
                Err(Failed { fault, unsent: Some(unsent), .. })
                    if fault.reason == Reason::CircuitOpen && endpoints.all.len() > 1 =>
                {
                    request = unsent;
                }
                outcome => return outcome.map(|answered| (Called { endpoints, index }, answered)),
            }
        }
    }

    /// What becomes of the call in the end. `sent` is when its last attempt began, if the limit wants to know.
    fn end(&self, outcome: Outcomes, slot: Slot, sent: Option<Instant>) -> Result<Response, Fault> {
        if let Some((sent, dropped)) = sent.zip(dropped(&outcome)) {
            self.in_flight.sample(sent.elapsed(), dropped, Instant::now().into());
        }
        let (called, Answered { mut head, body, ticket, begun, .. }) =
            outcome.map_err(|failed| failed.fault)?;
        let body = match body {
            Incoming::Http1(coming) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                Switching::ride(*coming, ticket, &mut head.extensions)
            }
            Incoming::Whole(bytes) if bytes.is_empty() => Body::Empty, // to HEAD, say: its length is for the head to tell
            Incoming::Whole(bytes) => Body::Full(bytes),
            coming => {
                let pooled = Pooled::new(coming, Home { called, begun, ticket, slot });
                if http_body::Body::is_end_stream(&pooled) { Body::Empty } else { Body::stream(pooled) }
            }
        };
        Ok(http::Response::from_parts(*head, body))
    }

    /// What the calls for a request with these path parameters are kept together by, if by one of them. By what
    /// it stands for, however it was escaped.
    #[must_use]
    pub fn path_key(&self, params: &Params) -> Option<u64> {
        self.hash.as_ref()?.of_path(params)
    }

    /// Another set of endpoints: what is known of those that stay, stays known.
    fn take_up(&self, targets: &discovery::Targets) {
        let before = self.endpoints.load_full();
        let after =
            Endpoints::new(&self.name, &self.config, &self.metrics, &self.wire, targets, Some(&before));
        let any = !after.all.is_empty();
        self.endpoints.store(Arc::new(after));
        // Told once they are in use: who waited for an endpoint must meet it.
        self.found.send_if_modified(|found| any && !std::mem::replace(found, true));
    }

    /// The endpoints in use. A gateway that has just started or reloaded may not have looked a name up yet: that is waited
    /// for as connecting is.
    async fn known_endpoints(&self, deadline: Deadline) -> Arc<Endpoints> {
        let endpoints = self.endpoints.load_full();
        if !endpoints.all.is_empty() {
            return endpoints;
        }
        _ = deadline.at_most(self.config.connect_timeout.0).bound(pin!(self.until_found())).await;
        self.endpoints.load_full()
    }

    /// Waits until an endpoint has been found.
    pub async fn until_found(&self) {
        _ = self.found.subscribe().wait_for(|found| *found).await;
    }

    /// Whether an endpoint is known now. One that has gone again is not.
    #[must_use]
    pub fn is_found(&self) -> bool {
        !self.endpoints.load().all.is_empty()
    }

    /// Counts an answer that was given in the place of this service's.
    pub(crate) fn fell_back(&self) {
        self.metrics.fallbacks.inc();
    }

    /// Closes this worker's connections that nobody has used for long.
    pub fn sweep(&self) {
        for endpoint in &self.endpoints.load().all {
            endpoint.pool.sweep();
        }
    }
}

type Outcomes = Result<(Called, Answered), Failed>;

/// One attempt about to be made.
struct Call<'a> {
    upstream: &'a Upstream,
    endpoints: &'a Endpoints,
    index: usize,
    until: Deadline,
}

impl Call<'_> {
    async fn plain(&self, ask: &Ask<'_>, request: Box<Outgoing>, now: Instant) -> Result<Answered, Failed> {
        let endpoint = &self.endpoints.all[self.index];
        let outcome = pin!(endpoint.attempt(ask, request, self.until, now)).await;
        let verdict = outcome.as_ref().map_or_else(|failed| failed.verdict, |answered| answered.verdict);
        // Where a body is still to come, it is told how that ends (`Called::ended`).
        if outcome.as_ref().map_or(true, |answered| answered.begun.is_none()) {
            self.endpoints.note(&self.upstream.name, self.index, verdict);
        }
        outcome
    }

    /// The same, and another endpoint is asked beside it when it takes long. The first answer that is of use wins, and
    /// the other call ends.
    async fn hedged(
        &self,
        hedge: &Hedge,
        ask: &Ask<'_>,
        request: Box<Outgoing>,
        key: Option<u64>,
        tried: &mut Set,
    ) -> (usize, Result<Answered, Failed>) {
        let (begun, spare) = (Instant::now(), request.body.again());
        let mut first = pin!(self.plain(ask, request, begun));
        let outcome = match hedge.delay() {
            Some(delay) => tokio::time::timeout(delay, first.as_mut()).await.ok(),
            // The times of the first calls are what a delay is found from.
            None => Some(first.as_mut().await),
        };
        if let Some(outcome) = outcome {
            hedge.record(begun.elapsed(), Instant::now());
            return (self.index, outcome);
        }
        let now = Instant::now();
        let other = self.endpoints.pick(&self.upstream.name, tried, key, now);
        let (Some(spare), Ok(other)) = (spare, other) else { return (self.index, first.await) };
        if other == self.index || !hedge.permit(now) {
            let outcome = first.await;
            hedge.record(begun.elapsed(), Instant::now());
            return (self.index, outcome);
        }
        tried.insert(other);
        self.upstream.metrics.hedges.inc();
        let beside = Call { index: other, ..*self };
        let second = pin!(beside.plain(ask, Box::new(ask(spare)), now));
        let (index, outcome) = self.faster(first, second, other, begun).await;
        hedge.record(begun.elapsed(), Instant::now());
        (index, outcome)
    }

    async fn faster<F, G>(
        &self,
        first: Pin<&mut F>,
        second: Pin<&mut G>,
        other: usize,
        begun: Instant,
    ) -> (usize, Result<Answered, Failed>)
    where
        F: Future<Output = Result<Answered, Failed>>,
        G: Future<Output = Result<Answered, Failed>>,
    {
        match select(first, second).await {
            Either::Left((outcome, _)) if is_of_use(&outcome) => (self.index, outcome),
            Either::Left((_, second)) => (other, second.await),
            Either::Right((outcome, _)) if is_of_use(&outcome) => {
                let now = Instant::now();
                let waited = now.saturating_duration_since(begun);
                self.endpoints.all[self.index].load.begin().outrun(waited, endpoint::millis(now));
                (other, outcome)
            }
            Either::Right((_, first)) => (self.index, first.await),
        }
    }
}

fn is_of_use(outcome: &Result<Answered, Failed>) -> bool {
    outcome.as_ref().is_ok_and(|answered| !answered.seen.is_server_error())
}

/// What the adaptive limit is told of an outcome: whether the service was overloaded, or that the time of the answer says
/// how busy it is. Nothing of what fails for other reasons: failures are quick, and would pass for a service without a
/// queue.
fn dropped(outcome: &Outcomes) -> Option<bool> {
    match outcome {
        Ok((_, answered)) => match answered.seen {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Some(true)
            }
            status => (!status.is_server_error()).then_some(false),
        },
        Err(Failed { verdict: Verdict::Nothing, .. }) => None,
        Err(failed) => (failed.fault.reason == Reason::Timeout).then_some(true),
    }
}

/// How an attempt failed, if it did and may be made again.
fn failure(outcome: &Outcomes) -> Option<Failure> {
    match outcome {
        Ok((_, answered)) => {
            let status = answered.seen;
            (!status.is_success()).then_some(Failure::Status(status))
        }
        Err(failed) => failed.failure,
    }
}
