//! Rate limits: how often one address, or one principal, may ask.
//!
//! A limit is a bucket per key (GCRA): `burst` requests may come at once, and the bucket refills at `rate`. A refused
//! client gets 429 (RFC 6585 section 4) and is told in whole seconds when its next request will be let in.
//!
//! Not here: limits over several instances (each instance counts for itself), and overload, which does not ask who.

pub mod config;
mod key;
mod local;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use governor::{Quota, clock::DefaultClock};

use self::{config::LimitConfig, key::Keys, local::Counter};
use crate::{
    error::{Code, Error},
    mistake::{Mistake, below},
};

/// One limit, shared by all worker threads and all routes that name it.
pub struct RateLimit {
    name: String,
    config: LimitConfig,
    keys: Keys,
    counter: Counter<DefaultClock>,
}

impl RateLimit {
    /// A limit with nobody counted yet. `at` is the key path of its configuration.
    ///
    /// # Errors
    /// [`Mistake`] for a burst of zero or one that takes years to refill, and for a rate above one a nanosecond.
    pub fn build(name: &str, config: &LimitConfig, at: &str) -> Result<Arc<Self>, Mistake> {
        let quota = quota(name, config, at)?;
        let counter = Counter::new(quota, DefaultClock::default());
        Ok(Arc::new(RateLimit {
            name: name.to_owned(),
            config: config.clone(),
            keys: Keys::default(),
            counter,
        }))
    }

    /// What it was built from. A reload keeps a limit whose configuration did not change, and with it all counts.
    #[must_use]
    pub fn config(&self) -> &LimitConfig {
        &self.config
    }

    /// Counts a request of this peer, or of this principal (`sub`) if that is what the limit counts by.
    ///
    /// # Errors
    /// [`Code::RateLimited`] with `Retry-After`; a refused request is not counted.
    pub fn check(&self, address: IpAddr, sub: Option<&str>) -> Result<(), Error> {
        let counted = self.keys.of(self.config.by, address, sub);
        self.counter.count(counted).map_err(|pause| {
            Error::new(Code::RateLimited, format!("limit `{}`", self.name)).retry_after(pause)
        })
    }
}

/// governor counts in 64-bit nanoseconds and does not look for overflow.
const LONGEST_REFILL: Duration = Duration::from_secs(10 * 365 * 86_400);

fn quota(name: &str, config: &LimitConfig, at: &str) -> Result<Quota, Mistake> {
    let burst = NonZeroU32::new(config.burst.unwrap_or(config.rate.count)).ok_or_else(|| {
        let message = format!("limit `{name}` has a burst of 0, which lets nobody in");
        Mistake::new(below(at, "burst"), message).expected("at least 1")
    })?;
    let steady = config.rate.per.checked_div(config.rate.count).filter(|steady| !steady.is_zero());
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

#[cfg(test)]
mod tests {
    use super::{config::Key, *};
    use crate::units::Rate;

    fn config(rate: &str, burst: Option<u32>, by: Key) -> LimitConfig {
        LimitConfig { rate: rate.parse::<Rate>().unwrap(), burst, by }
    }

    fn limit(rate: &str, burst: Option<u32>, by: Key) -> Arc<RateLimit> {
        RateLimit::build("browse", &config(rate, burst, by), "limits.browse").unwrap()
    }

    /// How many of 20 requests are let in.
    fn let_in(limit: &RateLimit, address: &str, sub: Option<&str>) -> usize {
        (0..20).filter(|_| limit.check(address.parse().unwrap(), sub).is_ok()).count()
    }

    #[test]
    fn a_burst_is_a_periods_worth_unless_given() {
        assert_eq!(let_in(&limit("5/h", None, Key::Address), "10.0.0.1", None), 5);
        assert_eq!(let_in(&limit("5/h", Some(7), Key::Address), "10.0.0.1", None), 7);
    }

    #[test]
    fn addresses_are_counted_apart_and_ipv6_by_network() {
        let limit = limit("5/h", None, Key::Address);
        assert_eq!(let_in(&limit, "10.0.0.1", None), 5);
        assert_eq!(let_in(&limit, "10.0.0.2", None), 5);
        assert_eq!(let_in(&limit, "::ffff:10.0.0.1", None), 0, "an IPv4 address in IPv6 clothes");
        assert_eq!(let_in(&limit, "2001:db8:0:1::1", None), 5);
        assert_eq!(let_in(&limit, "2001:db8:0:1:ffff::2", None), 0);
        assert_eq!(let_in(&limit, "2001:db8:0:2::1", None), 5);
    }

    #[test]
    fn a_principal_is_counted_wherever_it_comes_from_and_nobody_by_address() {
        let limit = limit("5/h", None, Key::Principal);
        assert_eq!(let_in(&limit, "10.0.0.1", Some("ann")), 5);
        assert_eq!(let_in(&limit, "10.0.0.2", Some("ann")), 0);
        assert_eq!(let_in(&limit, "10.0.0.1", Some("bob")), 5);
        assert_eq!(let_in(&limit, "10.0.0.1", None), 5);
        assert_eq!(let_in(&limit, "10.0.0.1", None), 0);
        assert_eq!(let_in(&limit, "10.0.0.1", Some("10.0.0.1")), 5, "a sub cannot pose as an address");
    }

    #[test]
    fn a_refused_client_is_told_when_to_come_back() {
        let limit = limit("1/m", None, Key::Address);
        let address = "10.0.0.1".parse().unwrap();
        assert!(limit.check(address, None).is_ok());
        let error = limit.check(address, None).unwrap_err();
        assert_eq!(error.code(), Code::RateLimited);
        assert!(
            error.pause().unwrap() > Duration::from_secs(58)
                && error.pause().unwrap() <= Duration::from_secs(60)
        );
        assert_eq!(error.into_response("r").headers()["retry-after"], "60");
    }

    #[test]
    fn a_limit_that_cannot_be_is_a_mistake() {
        let build = |rate, burst| {
            RateLimit::build("x", &config(rate, burst, Key::Address), "limits.x").err().unwrap()
        };
        assert_eq!(build("5/s", Some(0)).at, "limits.x.burst");
        assert_eq!(build("4000000000/s", None).at, "limits.x.rate");
        assert_eq!(build("1/day", Some(u32::MAX)).at, "limits.x.burst");
    }
}
