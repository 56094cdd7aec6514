//! The endpoints in use, and what chooses among them. Immutable: another set replaces it whole.
//!
//! Not here: where endpoints come from (`discovery/`), what is known of one (`endpoint.rs`).

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use super::{
    Fault, Reason,
    balance::{Balance, Member, Set},
    circuit_breaker::{Begun, Verdict},
    config::UpstreamConfig,
    discovery::Targets,
    ejection::{Ejection, Sign},
    endpoint::{Endpoint, millis},
    load::Ticket,
    metrics::UpstreamMetrics,
    wire::Wire,
};

/// The endpoints in use.
pub(super) struct Endpoints {
    pub(super) all: Box<[Arc<Endpoint>]>,
    balance: Balance,
    ejection: Ejection,
}

/// An endpoint that was called, in the set that it was chosen from.
pub(super) struct Called {
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) index: usize,
}

impl Called {
    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoints.all[self.index]
    }

    /// The body of an answer that had begun has ended, `well` if it is whole. One that broke off is a failure that nobody could
    /// have known of when the head came.
    pub(super) fn ended(&self, begun: Begun, ticket: &Ticket, well: bool) {
        let (endpoint, now) = (self.endpoint(), Instant::now());
        ticket.finished(well, millis(now));
        match well {
            true => endpoint.breaker.finished(begun),
            false => endpoint.breaker.broke_off(begun, now),
        }
        let verdict = if well { Verdict::Success } else { Verdict::Failure };
        self.endpoints.note(endpoint.upstream(), self.index, verdict);
    }
}

impl Endpoints {
    /// Those of `targets`; what `before` knows of an endpoint stays known.
    pub(super) fn new(
        upstream: &str,
        config: &UpstreamConfig,
        metrics: &UpstreamMetrics,
        wire: &Arc<Wire>,
        targets: &Targets,
        before: Option<&Endpoints>,
    ) -> Self {
        let known = |target| {
            let same = |endpoint: &&Arc<Endpoint>| endpoint.target.is_same(target);
            before.and_then(|before| before.all.iter().find(same)).cloned()
        };
        let all: Box<[Arc<Endpoint>]> = targets
            .iter()
            .map(|target| {
                known(target).unwrap_or_else(|| {
                    Endpoint::new(
                        upstream,
                        target.clone(),
                        config,
                        wire.clone(),
                        metrics.endpoint(target.address),
                    )
                })
            })
            .collect();
        let joins = before.is_some_and(|before| !before.all.is_empty());
        all.iter().for_each(|endpoint| endpoint.enter(joins));
        let members: Vec<Member> = targets
            .iter()
            .map(|target| Member {
                address: target.address.to_string().into(),
                weight: target.weight,
                zone: target.zone.clone(),
            })
            .collect();
        let standings = all.iter().map(|endpoint| endpoint.standing.clone());
        let ejection = Ejection::new(config.ejection.clone(), standings, millis(Instant::now()));
        Endpoints { balance: Balance::new(&config.balance, &members, config.panic_threshold), ejection, all }
    }

    /// The endpoint to call at `now`, by its index.
    ///
    /// # Errors
    /// When none may be called: all breakers are open, or no endpoint is known.
    pub(super) fn pick(
        &self,
        upstream: &str,
        tried: &Set,
        key: Option<u64>,
        now: Instant,
    ) -> Result<usize, Fault> {
        if let [_only] = &*self.all {
            return Ok(0); // its breaker is asked in any case
        }
        self.balance.pick(&self.all, tried, key, millis(now)).ok_or_else(|| self.nobody(upstream, now))
    }

    fn nobody(&self, upstream: &str, now: Instant) -> Fault {
        if self.all.is_empty() {
            return Fault::new(upstream, Reason::Refused, "no endpoint is known");
        }
        let soonest = self
            .all
            .iter()
            .filter_map(|endpoint| endpoint.breaker.permit(now).err())
            .map(|open| open.retry_after);
        let fault =
            Fault::new(upstream, Reason::CircuitOpen, "the circuit breakers of all endpoints are open");
        Fault { retry_after: soonest.min(), ..fault }
    }

    /// Notes how a call to an endpoint ended, which may eject one.
    pub(super) fn note(&self, upstream: &str, index: usize, verdict: Verdict) {
        if self.all.len() < 2 || verdict == Verdict::Nothing {
            return; // the last one is never ejected
        }
        let (now, succeeded) = (Instant::now(), verdict == Verdict::Success);
        if let Some(called) = self.all.get(index).filter(|called| called.standing.has_returned(millis(now))) {
            tracing::info!(upstream, endpoint = %called.target.address, "endpoint is called again");
        }
        let Some((ejected, sign)) = self.ejection.note(index, succeeded, millis(now)) else { return };
        let endpoint = &self.all[ejected];
        endpoint.load.warm_up(endpoint.standing.back_at());
        endpoint.metrics.ejections.inc();
        endpoint.metrics.ejected_until.store(endpoint.standing.back_at(), Relaxed);
        let why = match sign {
            Sign::Row => "failures in a row",
            Sign::Rate => "fails more often than the others",
        };
        let until_ms = endpoint.standing.back_at().saturating_sub(millis(now));
        tracing::warn!(upstream, endpoint = %endpoint.target.address, why, for_ms = until_ms, "endpoint ejected");
    }
}
