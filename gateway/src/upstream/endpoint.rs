//! One address of a service, with all that is known of it: connections, breaker, load, standing, health. It outlives the
//! sets that it is in.
//!
//! `breaker -> attempt timeout -> pool -> connect -> send`: the breaker is outermost, so that it sees the timeout.
//! Not here: which endpoint is called and how often (`mod.rs`).

use std::{
    io,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::{StatusCode, response::Parts};

use super::{
    Ask, Fault, Outcome, Reason,
    balance::Candidate,
    circuit_breaker::{Begun, CircuitBreaker, State, Transition, Verdict},
    config::UpstreamConfig,
    discovery::Target,
    ejection::Standing,
    fault,
    health::Health,
    load::{DECAY, Load, Ticket},
    metrics::EndpointMetrics,
    outgoing::Outgoing,
    pool::{Answer, Connection, Incoming, Pool, Unanswered},
    retry::{Failure, is_idempotent},
    wire::Wire,
};
use crate::{
    body::{Body, Upload, head_size},
    deadline::Deadline,
    error::Code,
};

/// One address of a service.
pub(super) struct Endpoint {
    pub(super) target: Target,
    pub(super) breaker: CircuitBreaker,
    pub(super) load: Arc<Load>,
    pub(super) standing: Arc<Standing>,
    pub(super) health: Health,
    pub(super) pool: Pool,
    pub(super) metrics: Arc<EndpointMetrics>,
    upstream: Box<str>,
    connect_timeout: Duration,
    /// Whether it has refused a stream of HTTP/2 and answered none since.
    refuses: AtomicBool,
    /// Whether it has ever been in use: one that joins others begins slowly.
    used: AtomicBool,
}

/// The head of an answer, and as much of its body as is there.
pub(super) struct Answered {
    pub(super) head: Box<Parts>,
    pub(super) body: Incoming,
    pub(super) ticket: Ticket,
    /// The status that it counts as.
    pub(super) seen: StatusCode,
    /// What it says about the endpoint.
    pub(super) verdict: Verdict,
    /// When it came.
    pub(super) at: Instant,
    /// What is to be told how its body ends, where that counts.
    pub(super) begun: Option<Begun>,
}

/// An attempt without an answer.
pub(super) struct Failed {
    pub(super) fault: Fault,
    /// How it failed, if trying again is a question.
    pub(super) failure: Option<Failure>,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Box<Outgoing>>,
    /// What it says about the endpoint.
    pub(super) verdict: Verdict,
}

/// When the clock of balancing began: one for all workers.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on that clock.
pub(super) fn millis(now: Instant) -> u64 {
    now.saturating_duration_since(*BEGUN).as_millis() as u64
}

impl Endpoint {
    pub(super) fn new(
        upstream: &str,
        target: Target,
        config: &UpstreamConfig,
        wire: Arc<Wire>,
        metrics: Arc<EndpointMetrics>,
    ) -> Arc<Self> {
        let (name, address, counted) = (Box::<str>::from(upstream), target.address, metrics.clone());
        let changed = move |transition: Transition| told(&name, address, &counted, transition);
        Arc::new(Endpoint {
            breaker: CircuitBreaker::new(config.circuit_breaker.clone(), Instant::now(), changed),
            load: Arc::new(Load::warm(DECAY, config.slow_start.0)),
            standing: Arc::default(),
            health: Health::default(),
            pool: Pool::new(&target, config, wire, metrics.clone()),
            upstream: upstream.into(),
            connect_timeout: config.connect_timeout.0,
            refuses: AtomicBool::new(false),
            used: AtomicBool::new(false),
            metrics,
            target,
        })
    }

    /// What it is an endpoint of.
    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// It is in a set that is in use, together with others that were there before if `joins`.
    pub(super) fn enter(&self, joins: bool) {
        if !self.used.swap(true, Relaxed) && joins {
            self.load.warm_up(millis(Instant::now()));
        }
    }

    /// One attempt, at `begun`: the head of an answer before `until`, or how it failed. Dropped, it counts for nothing.
    pub(super) async fn attempt(
        &self,
        ask: &Ask<'_>,
        request: Box<Outgoing>,
        until: Deadline,
        begun: Instant,
    ) -> Result<Answered, Failed> {
        let permit = match self.breaker.permit(begun) {
            Ok(permit) => permit,
            Err(open) => {
                let fault = self.fault(Reason::CircuitOpen, "the circuit breaker is open");
                let fault = Fault { retry_after: Some(open.retry_after), ..fault };
                return Err(Failed {
                    unsent: Some(request),
                    verdict: Verdict::Nothing,
                    ..Failed::sent(fault)
                });
            }
        };
        let ticket = self.load.begin();
        self.metrics.picks.inc();
        let upload = request.body.upload();
        let mut sent = until.bound(pin!(self.send(ask, request))).await.unwrap_or_else(|_elapsed| {
            let slow_client = upload.as_ref().is_some_and(|upload| upload.waits());
            Err(if slow_client { Failed::sent(self.client_late()) } else { self.too_late(until) })
        });
        if let (Err(failed), Some(upload)) = (&mut sent, &upload) {
            failed.weigh(upload, begun.elapsed());
        }
        let verdict = match &sent {
            Ok(answer) => self.breaker.verdict(answer.seen),
            Err(failed) => failed.verdict,
        };
        let now = Instant::now();
        let clients = upload.as_ref().map_or(Duration::ZERO, |upload| upload.waited());
        let took = now.saturating_duration_since(begun).saturating_sub(clients); // the service's own time
        let timed_out = sent.as_ref().is_err_and(|failed| failed.fault.reason == Reason::Timeout);
        if until.is_hurried() && timed_out {
            ticket.outrun(took, millis(now));
        }
        let begins = verdict == Verdict::Success && sent.as_ref().is_ok_and(Answer::may_break_off);
        let begun = if begins {
            ticket.answered(took, millis(now));
            Some(permit.answered(took, now))
        } else {
            ticket.end(outcome(&sent), took, millis(now));
            permit.record(verdict, took, now);
            None
        };
        sent.map(|Answer { head, body, seen, .. }| Answered {
            head,
            body,
            ticket,
            seen,
            verdict,
            at: now,
            begun,
        })
    }

    async fn send(&self, ask: &Ask<'_>, mut request: Box<Outgoing>) -> Result<Answer, Failed> {
        /// How often a service may say that it has not looked at a request. More often, it is overloaded.
        const UNPROCESSED: u32 = 3;
        let mut unprocessed = 0;
        loop {
            let upgrade = request.upgrade; // what was used before might be closed just then, and is not ours alone
            let repeatable = is_idempotent(&request.method);
            let (connection, reused) = match if upgrade { None } else { self.pool.take(repeatable) } {
                Some(connection) => (connection, true),
                // On the heap, since most calls find a connection, and all would carry the room for this.
                None => match Box::pin(self.connect(upgrade)).await {
                    Ok(connected) => connected,
                    Err(fault) => return Err(Failed::unsent(fault, request)),
                },
            };
            let http2 = connection.is_http2();
            let spare = if http2 { request.body.again() } else { None };
            match self.pool.exchange(connection, request).await {
                Ok(answer) if head_size(&answer.head.headers) > self.pool.max_header_size => {
                    return Err(Failed::sent(
                        self.fault(Reason::TooLarge, "the header section is too large"),
                    ));
                }
                Ok(mut answer) => {
                    if http2 && self.refuses.load(Relaxed) {
                        self.refuses.store(false, Relaxed);
                    }
                    answer.free.take().into_iter().for_each(|connection| self.pool.put(connection));
                    return Ok(answer);
                }
                Err(mut failed) => {
                    let fault = failed.fault(&self.upstream);
                    let unsent = failed.take_unsent();
                    let stale = reused && unsent.is_some();
                    let again = unsent.or_else(|| again(&failed, spare, ask)).filter(|_| reused || http2);
                    let Some(again) = again else { return Err(Failed::sent(fault)) };
                    unprocessed += u32::from(!stale);
                    // One that does nothing but refuse would else see its load times three, and no budget would hold.
                    let overloaded = failed.is_refused() && self.refuses.swap(true, Relaxed);
                    if overloaded || unprocessed == UNPROCESSED {
                        return Err(Failed::unsent(fault, again));
                    }
                    request = again;
                }
            }
        }
    }

    /// Waiting for another call that connects counts as connecting.
    async fn connect(&self, upgrade: bool) -> Result<(Connection, bool), Fault> {
        let connect = async {
            match upgrade {
                true => Ok((self.pool.open_to_switch().await?, false)),
                false => self.pool.connect().await,
            }
        };
        match tokio::time::timeout(self.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(|error| fault::of_connect(&self.upstream, &error)),
            Err(_elapsed) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
                Err(Fault { reason: Reason::Timeout, ..fault::of_connect(&self.upstream, &error) })
            }
        }
    }

    fn fault(&self, reason: Reason, cause: &str) -> Fault {
        Fault::new(&self.upstream, reason, format!("{}: {cause}", self.target.address))
    }

    /// No answer in time. A client in a hurry could otherwise open the breaker for all others.
    fn too_late(&self, until: Deadline) -> Failed {
        let failed = Failed::sent(self.fault(Reason::Timeout, "no answer in time"));
        if until.is_hurried() {
            Failed { failure: None, verdict: Verdict::Nothing, ..failed }
        } else {
            failed
        }
    }

    fn client_late(&self) -> Fault {
        self.fault(Reason::Request(Code::RequestTimeout), "the client's body did not come in time")
    }
}

impl Failed {
    fn unsent(fault: Fault, request: Box<Outgoing>) -> Self {
        Failed { failure: Some(Failure::Connect), unsent: Some(request), ..Failed::sent(fault) }
    }

    /// Asks how the client's sending went, in a call that `took` so long, whether it was the client who failed.
    fn weigh(&mut self, upload: &Upload, took: Duration) {
        match self.fault.reason {
            // HTTP/2 only says that the body failed.
            Reason::Request(Code::BadRequest) if upload.is_over() => {
                self.fault.reason = Reason::Request(Code::BodyTooLarge);
            }
            Reason::Request(Code::BadRequest) if upload.is_stalled() => {
                self.fault.reason = Reason::Request(Code::RequestTimeout);
            }
            // Its end came too late for an answer in what was left of the time, or the service would not wait for it.
            Reason::Timeout | Reason::Reset if upload.delayed(took) => {
                (self.failure, self.verdict) = (None, Verdict::Nothing);
            }
            _ => {}
        }
    }

    /// What the client spoiled says nothing about the endpoint.
    pub(super) fn sent(fault: Fault) -> Self {
        let (failure, verdict) = match fault.reason {
            Reason::Request(_) => (None, Verdict::Nothing),
            Reason::Timeout => (Some(Failure::Timeout), Verdict::Failure),
            Reason::Reset => (Some(Failure::Reset), Verdict::Failure),
            _ => (None, Verdict::Failure),
        };
        Failed { fault, failure, unsent: None, verdict }
    }
}

impl Candidate for Arc<Endpoint> {
    fn load(&self) -> &Load {
        &self.load
    }

    fn fit(&self, now_ms: u64) -> bool {
        self.health.is_healthy() && !self.standing.is_ejected(now_ms)
    }

    fn admits(&self, now_ms: u64) -> bool {
        self.breaker.would_admit(*BEGUN + Duration::from_millis(now_ms))
    }
}

/// A request that the service says it has not looked at: it may be sent again at once, whatever it asks for.
fn again(failed: &Unanswered, spare: Option<Body>, ask: &Ask<'_>) -> Option<Box<Outgoing>> {
    let body = spare.filter(|_| failed.is_unprocessed())?;
    Some(Box::new(ask(body)))
}

fn outcome(sent: &Result<Answer, Failed>) -> Outcome {
    match sent {
        Ok(answer) => Outcome::of_status(answer.seen),
        Err(failed) if failed.verdict == Verdict::Nothing => Outcome::Cancelled,
        Err(failed) => Outcome::of_reason(failed.fault.reason),
    }
}

/// A breaker's change of state: one line in the log.
fn told(upstream: &str, endpoint: std::net::SocketAddr, metrics: &EndpointMetrics, change: Transition) {
    metrics.breaker_changed(change.to);
    let counts = change.counts;
    match change.to {
        State::Open => tracing::warn!(
            upstream,
            %endpoint,
            calls = counts.calls,
            failed = counts.failed,
            slow = counts.slow,
            "circuit breaker open"
        ),
        State::HalfOpen => tracing::info!(upstream, %endpoint, "circuit breaker half-open"),
        State::Closed => tracing::info!(upstream, %endpoint, "circuit breaker closed"),
    }
}
