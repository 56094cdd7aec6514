//! Rate limits: how often one address, one principal, or whoever else a request is counted as, may ask.
//!
//! A limit is a bucket per key (GCRA): `burst` requests may come at once, and the bucket refills at `rate`. A refused
//! client gets 429 (RFC 6585 section 4) and is told in whole seconds when its next request will be let in. A quota is a bucket
//! that refills when the next period of the calendar begins, and not before.
//!
//! A shared limit is counted in Redis. What Redis says of a bucket is taken over into the local one, so that a flood that
//! is refused anyway does not reach Redis, and the count goes on from there when Redis is away: each instance then grants
//! the whole rate by itself, never more and never without a limit.
//!
//! Not here: overload, which does not ask who.

pub mod config;
mod fields;
mod key;
mod local;
mod pace;
mod redis_counter;
mod route;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::Quota;
use http::HeaderMap;
use prometheus_client::metrics::counter::Counter as Metric;

pub(crate) use self::route::MOST;
use self::{
    config::{Key, LimitConfig},
    key::{By, Counted, Keys, Subject},
    local::Counter,
    pace::Pace,
    redis_counter::{RedisCounter, Told},
};
pub use self::{
    key::Asker,
    route::{Bill, RouteLimits, Tally},
};
use crate::{
    error::{Code, Error},
    mistake::{Mistake, below},
    redis::Redis,
    units::Rate,
};

/// One limit, shared by all worker threads and all routes that name it.
pub struct RateLimit {
    name: String,
    config: LimitConfig,
    by: By,
    keys: Keys,
    burst: NonZeroU32,
    /// Nanoseconds that one is worth.
    step: u64,
    pace: Pace,
    counter: Counter<Pace>,
    shared: Option<RedisCounter>,
    /// The name as clients are told it, and `RateLimit-Policy`.
    quoted: Option<String>,
    policy: Option<String>,
    metrics: Arc<LimitMetrics>,
}

/// What one limit decided.
#[derive(Debug, Default)]
pub struct LimitMetrics {
    allowed: [Metric; 2],
    refused: [Metric; 2],
}

/// Where a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// In this instance.
    Local,
    /// In Redis, or by what is known of the bucket there.
    Shared,
}

/// A request that was counted.
struct Taken {
    remaining: u32,
    store: Store,
}

/// A request that was not.
#[derive(Debug)]
struct Refused {
    wait: Duration,
    remaining: u32,
}

impl LimitMetrics {
    /// Every count with its outcome and where it was decided.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        const STORES: [&str; 2] = ["local", "shared"];
        let of = |outcome, counts: &[Metric; 2]| {
            [(outcome, STORES[0], counts[0].get()), (outcome, STORES[1], counts[1].get())]
        };
        of("allowed", &self.allowed).into_iter().chain(of("refused", &self.refused))
    }
}

impl RateLimit {
    /// A limit with nobody counted yet. `at` is the key path of its configuration; `redis` is where it is counted if it is
    /// shared.
    ///
    /// # Errors
    /// [`Mistake`] for a burst of zero or one that takes years to refill, for a rate above one a nanosecond, for a header
    /// field that is none, and for a name that clients cannot be told.
    pub fn build(
        name: &str,
        config: &LimitConfig,
        at: &str,
        redis: Option<&Arc<Redis>>,
        metrics: Arc<LimitMetrics>,
    ) -> Result<Arc<Self>, Mistake> {
        let (rate, pace) = pace(name, config, at)?;
        let quota = quota(name, config, rate, at)?;
        let by = By::of(&config.by).ok_or_else(|| {
            let Key::Header(header) = &config.by else { unreachable!("all else is right") };
            let message = format!("limit `{name}`: `{header}` is no header field");
            Mistake::new(below(at, "by.header"), message)
        })?;
        let quoted = fields::quoted(name).filter(|_| config.headers);
        if config.headers && quoted.is_none() {
            let message = format!("limit `{name}` has a name that cannot be sent in a header field");
            return Err(Mistake::new(at, message).help("write `headers: false`, or another name"));
        }
        let (count, seconds) = (rate.count, rate.per.as_secs());
        let period = config.quota.map(|quota| quota.per).unwrap_or_default();
        Ok(Arc::new(RateLimit {
            name: name.to_owned(),
            config: config.clone(),
            by,
            keys: Keys::default(),
            burst: quota.burst_size(),
            step: quota.replenish_interval().as_nanos() as u64,
            counter: Counter::new(quota, pace.clone()),
            pace,
            shared: redis
                .filter(|_| config.shared)
                .map(|redis| RedisCounter::new(name, &quota, period, redis)),
            policy: quoted.as_ref().map(|quoted| format!("{quoted};q={count};w={seconds}")),
            quoted,
            metrics,
        }))
    }

    /// What it was built from. A reload keeps a limit whose configuration did not change, and with it all counts.
    #[must_use]
    pub fn config(&self) -> &LimitConfig {
        &self.config
    }

    /// The most that it lets in at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.get()
    }

    /// Whether it is counted where a configuration with that Redis wants it counted.
    #[must_use]
    pub fn is_in(&self, redis: Option<&Arc<Redis>>) -> bool {
        match (&self.shared, redis) {
            (None, _) => !self.config.shared,
            (Some(shared), redis) => redis.is_some_and(|redis| shared.is_in(redis)),
        }
    }

    /// Counts a request of this peer, or of this principal (`sub`) if that is what the limit counts by. For handlers that
    /// have limits of their own; those of a route are the pipeline's.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with `Retry-After`; a refused request is not counted.
    pub async fn check(&self, address: IpAddr, sub: Option<&str>) -> Result<(), Error> {
        let asker = Asker { address, sub, headers: &HeaderMap::new(), params: None };
        let taken = self.take(&self.by.subject(&asker), NonZeroU32::MIN).await;
        taken.map(drop).map_err(|refused| self.refusal(&refused))
    }

    /// Counts `cost`. What costs more than the burst counts as the burst: only a full bucket lets it in.
    async fn take(&self, subject: &Subject<'_>, cost: NonZeroU32) -> Result<Taken, Refused> {
        let (bucket, cost) = (self.counter.bucket(self.keys.of(subject)), cost.min(self.burst));
        let (taken, store) = match &self.shared {
            None => (self.take_local(bucket, cost), Store::Local),
            Some(shared) => Box::pin(self.take_shared(shared, bucket, subject, cost)).await,
        };
        let counts = if taken.is_ok() { &self.metrics.allowed } else { &self.metrics.refused };
        counts[store as usize].inc();
        taken.map(|remaining| Taken { remaining, store })
    }

    async fn take_shared(
        &self,
        shared: &RedisCounter,
        bucket: Counted,
        subject: &Subject<'_>,
        cost: NonZeroU32,
    ) -> (Result<u32, Refused>, Store) {
        // As of before Redis is asked: by the time its answer is here, the bucket is fuller, never emptier.
        let (now, left, alone) = (self.counter.now(), self.pace.left(), !self.counter.is_crowded());
        let known = self.counter.ahead(bucket, now);
        if alone
            && let wait = self.counter.wait(known, cost)
            && !wait.is_zero()
        {
            let wait = left.unwrap_or(wait);
            return (Err(Refused { wait, remaining: self.counter.left(known) }), Store::Shared);
        }
        let Ok(Told { let_in, ahead, left: told }) = shared.take(subject, cost).await else {
            return (self.take_local(bucket, cost), Store::Local);
        };
        // Where clocks differ, Redis may speak of another period than the one that it is here.
        let same = left.is_none_or(|left| left.abs_diff(told) < left.max(told) / 2);
        if alone && same {
            self.counter.take_over(bucket, now, ahead);
        }
        let remaining = self.counter.left(ahead);
        let wait = || left.map_or_else(|| self.counter.wait(ahead, cost), |_| told);
        (if let_in { Ok(remaining) } else { Err(Refused { wait: wait(), remaining }) }, Store::Shared)
    }

    fn take_local(&self, bucket: Counted, cost: NonZeroU32) -> Result<u32, Refused> {
        let taken = self.counter.take(bucket, cost);
        taken.map_err(|refused| Refused { wait: self.pace.left().unwrap_or(refused.wait), ..refused })
    }

    /// Gives back what was counted for a request that another limit refused.
    async fn give_back(&self, subject: &Subject<'_>, cost: NonZeroU32, store: Store) {
        let cost = cost.min(self.burst);
        self.counter.give_back(self.counter.bucket(self.keys.of(subject)), cost);
        if let (Some(shared), Store::Shared) = (&self.shared, store) {
            Box::pin(shared.give_back(subject, cost)).await;
        }
    }

    /// Appends how the client stands.
    fn tell(&self, standing: &mut Vec<u8>, taken: &Result<Taken, Refused>) {
        let Some(quoted) = &self.quoted else { return };
        let remaining = match taken {
            Ok(taken) => taken.remaining,
            Err(refused) => refused.remaining,
        };
        let little_by_little = || self.step * u64::from(self.burst.get().saturating_sub(remaining));
        let full_in = self.pace.left().map_or_else(little_by_little, |left| left.as_nanos() as u64);
        fields::push(standing, quoted, remaining, full_in.div_ceil(1_000_000_000));
    }

    fn refusal(&self, refused: &Refused) -> Error {
        Error::new(Code::RateLimited, format!("limit `{}`", self.name)).retry_after(refused.wait)
    }
}

/// governor counts in 64-bit nanoseconds and does not look for overflow.
const LONGEST_REFILL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How much in what time, and how it comes back.
fn pace(name: &str, config: &LimitConfig, at: &str) -> Result<(Rate, Pace), Mistake> {
    match (config.rate, config.quota) {
        (Some(rate), None) => Ok((rate, Pace::steady())),
        (None, Some(_)) if config.burst.is_some() => {
            let message = format!("limit `{name}` is a quota, all of which may come at once");
            Err(Mistake::new(below(at, "burst"), message).help("leave `burst` out"))
        }
        (None, Some(quota)) => Ok((quota, Pace::Periods(quota.per))),
        _ => {
            let message = format!("limit `{name}` must say once how much it lets in");
            Err(Mistake::new(at, message).expected("either `rate` or `quota`"))
        }
    }
}

fn quota(name: &str, config: &LimitConfig, rate: Rate, at: &str) -> Result<Quota, Mistake> {
    let burst = NonZeroU32::new(config.burst.unwrap_or(rate.count)).ok_or_else(|| {
        let message = format!("limit `{name}` has a burst of 0, which lets nobody in");
        Mistake::new(below(at, "burst"), message).expected("at least 1")
    })?;
    let steady = rate.per.checked_div(rate.count).filter(|steady| !steady.is_zero());
    let steady = steady.ok_or_else(|| {
        let message = format!("limit `{name}` allows more than one request a nanosecond");
        Mistake::new(below(at, "rate"), message).help("leave the limit out")
    })?;
    let full = steady.checked_mul(burst.get()).filter(|full| *full <= LONGEST_REFILL);
    let quota = full.and_then(|_| Quota::with_period(steady));
    quota.map(|quota| quota.allow_burst(burst)).ok_or_else(|| {
        let message = format!("limit `{name}` has a burst that takes more than ten years to come back");
        Mistake::new(below(at, "burst"), message).expected("a smaller burst, or a higher rate")
    })
}
