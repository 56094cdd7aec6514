//! Asks a second endpoint when the first takes longer than most calls do, and uses whichever answers first. Dean and
//! Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
//!
//! Against chance (a pause, a lost packet), not against load: the share of calls that are sent twice is bounded, and a
//! service that does not answer at all earns no hedges.
//!
//! Not here: sending, choosing the second endpoint, dropping the slower call.

mod config;
mod quantile;

use std::time::{Duration, Instant};

use http::Method;

pub use self::config::{After, HedgeConfig};
use self::quantile::Quantile;
use super::tokens::Tokens;

/// The hedges of one upstream, shared by all workers.
#[derive(Debug)]
pub struct Hedge {
    delay: Delay,
    tokens: Tokens,
}

#[derive(Debug)]
enum Delay {
    Tracked(Quantile),
    Fixed(Duration),
}

impl Hedge {
    /// Hedges as configured; none until calls have earned them.
    #[must_use]
    pub fn new(config: &HedgeConfig, now: Instant) -> Self {
        /// How many may come at once: a pause of one endpoint holds up all calls to it.
        const BURST: u32 = 10;
        let delay = match config.after {
            After::Percentile(percent) => Delay::Tracked(Quantile::new(percent, now)),
            After::Fixed(span) => Delay::Fixed(span.0),
        };
        Hedge { delay, tokens: Tokens::new(config.at_most, 0, BURST, now) }
    }

    /// Notes that an attempt's head came after `took`, at `now`. For one that was dropped because its hedge was faster,
    /// `took` is how long it had been under way: left out, the tail would seem shorter than it is.
    pub fn record(&self, took: Duration, now: Instant) {
        self.tokens.earn();
        if let Delay::Tracked(quantile) = &self.delay {
            quantile.record(took, now);
        }
    }

    /// Whether a call of this method may be sent twice: only a safe one (RFC 9110, section 9.2.1).
    #[must_use]
    pub fn is_for(&self, method: &Method) -> bool {
        matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// How long to wait for the first endpoint's head before another is asked; none when too few calls were seen to know.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        match &self.delay {
            Delay::Tracked(quantile) => quantile.get(),
            Delay::Fixed(delay) => Some(*delay),
        }
    }

    /// Whether one more call may be sent twice at `now`; if so, it is counted. To be asked once the delay is over.
    #[must_use]
    pub fn permit(&self, now: Instant) -> bool {
        self.tokens.spend(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn only_safe_methods_are_hedged() {
        let hedge = Hedge::new(&HedgeConfig::default(), Instant::now());
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert!(hedge.is_for(&method));
        }
        for method in [Method::PUT, Method::DELETE, Method::POST, Method::PATCH] {
            assert!(!hedge.is_for(&method));
        }
    }

    #[test]
    fn a_time_that_was_typed_is_known_from_the_first_call() {
        let config = HedgeConfig { after: After::Fixed(Span::millis(20)), ..HedgeConfig::default() };
        assert_eq!(Hedge::new(&config, Instant::now()).delay(), Some(20 * MILLI));
    }

    #[test]
    fn one_call_in_twenty_may_be_sent_twice_and_ten_at_once() {
        let born = Instant::now();
        let hedge = Hedge::new(&HedgeConfig::default(), born);
        assert!(!hedge.permit(born), "nothing is given before it is earned");
        (0..10_000).for_each(|_| hedge.record(MILLI, born));
        assert_eq!((0..100).filter(|_| hedge.permit(born)).count(), 10);
        let asked = (0..10_000).filter(|_| {
            hedge.record(MILLI, born);
            hedge.permit(born)
        });
        assert_eq!(asked.count(), 500);
    }

    /// One call in a hundred takes a hundred times as long, by chance.
    #[test]
    fn the_tail_is_cut_and_the_load_grows_by_a_twentieth_at_most() {
        let born = Instant::now();
        let hedge = Hedge::new(&HedgeConfig::default(), born);
        let mut chance = fastrand::Rng::with_seed(7);
        let mut draw = || if chance.u8(..100) == 0 { 1_000 * MILLI } else { MILLI * chance.u32(5..15) };
        let (mut took, mut sent_twice) = (Vec::new(), 0);
        for call in 0..20_000_u32 {
            let (now, first) = (born + call * MILLI, draw());
            let delay = hedge.delay().filter(|delay| first > *delay && hedge.permit(now));
            let answered = delay.map_or(first, |delay| first.min(delay + draw()));
            sent_twice += u32::from(delay.is_some());
            hedge.record(answered, now);
            took.push(answered);
        }
        let mut later = took.split_off(10_000);
        later.sort_unstable();
        assert!(later[9_950] < 100 * MILLI && sent_twice <= 1_000, "{:?}, {sent_twice}", later[9_950]);
    }
}
