//! How what was counted comes back: little by little as time passes, or all at once when the next period begins.
//!
//! A quota is a bucket to which a whole period is one moment. So both are counted by the same code, here and in Redis.
//!
//! Not here: counting (`local.rs`, `redis_counter.rs`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use governor::{
    clock::{Clock, DefaultClock, Reference},
    nanos::Nanos,
};

/// The clock of a limit.
#[derive(Clone)]
pub(super) enum Pace {
    /// That of a rate.
    Steady(DefaultClock, <DefaultClock as Clock>::Instant),
    /// That of a quota, which stands still for so long: periods of the calendar in UTC.
    Periods(Duration),
}

impl Pace {
    pub(super) fn steady() -> Self {
        let clock = DefaultClock::default();
        let start = clock.now();
        Pace::Steady(clock, start)
    }

    /// How long until all is back: for a quota only.
    pub(super) fn left(&self) -> Option<Duration> {
        match self {
            Pace::Steady(..) => None,
            Pace::Periods(period) => Some(left_of(*period, since_1970())),
        }
    }
}

impl Clock for Pace {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        match self {
            Pace::Steady(clock, start) => clock.now().duration_since(*start),
            Pace::Periods(period) => {
                let now = since_1970();
                Nanos::from(now.saturating_sub(*period - left_of(*period, now)))
            }
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// More than nothing, and a whole period at most.
fn left_of(period: Duration, now: Duration) -> Duration {
    period - Duration::from_nanos((now.as_nanos() % period.as_nanos()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_stands_still_until_the_next_one_begins_at_midnight_of_utc() {
        let day = Duration::from_secs(86_400);
        let noon = Duration::from_secs(1_800_014_400 + 43_200 - 1_800_014_400 % 86_400);
        assert_eq!(left_of(day, noon), day / 2);
        assert_eq!(left_of(day, noon + day / 2), day, "a new one");
        let last = noon + day / 2 - Duration::from_nanos(1);
        assert_eq!(left_of(day, last), Duration::from_nanos(1));
        let pace = Pace::Periods(day);
        assert_eq!(pace.now().as_u64() % day.as_nanos() as u64, 0);
        assert!(pace.left().is_some() && Pace::steady().left().is_none());
    }
}
