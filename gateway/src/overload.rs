//! How many requests may be in flight in the whole process, and who is turned away first when there are nearly as many.
//!
//! One count for all workers and all configurations: a request holds its place until the last byte of its answer has left or
//! its client has. Requests of low priority are turned away at 70 % of `server.max_in_flight`, normal ones at 90 %, those of
//! high priority when all places are taken, so that writes still pass while browsing is turned away.
//! Not here: how much one service may be asked (`upstream/in_flight/`), how often one client may ask (`rate_limit/`).

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use http::Method;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use crate::error::{Code, Error};

/// Overload is seldom over sooner, and clients that are told the same time come back spread over a second.
const PAUSE: Duration = Duration::from_secs(1);

/// Who is turned away first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// What nobody misses for a while: turned away first.
    Low,
    /// Reads, unless their route says otherwise.
    Normal,
    /// Writes, unless their route says otherwise: whoever sends one has made up their mind.
    High,
}

impl Priority {
    /// All of them.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// As typed, for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["low", "normal", "high"][self as usize]
    }

    /// The share of all places that may be taken when it still gets one, in percent.
    fn percent(self) -> u64 {
        [70, 90, 100][self as usize]
    }
}

/// Below how many requests in flight another one gets a place.
#[derive(Debug, Clone, Copy)]
struct Share {
    priority: Priority,
    most: u32,
}

impl Share {
    /// At least one place, or nothing of that priority would ever be answered.
    fn of(priority: Priority, most: u32) -> Self {
        let share = u64::from(most) * priority.percent() / 100;
        Share { priority, most: u32::try_from(share).unwrap_or(most).max(1) }
    }
}

/// The shares of the requests of one route.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    reads: Share,
    writes: Share,
}

impl Shares {
    /// Of `most` places; by the method unless the route has a `priority`.
    #[must_use]
    pub fn new(most: u32, priority: Option<Priority>) -> Self {
        let share = |usual| Share::of(priority.unwrap_or(usual), most);
        Shares { reads: share(Priority::Normal), writes: share(Priority::High) }
    }

    fn of(self, method: &Method) -> Share {
        if method.is_safe() { self.reads } else { self.writes }
    }
}

/// The requests that are in flight and those that were turned away.
#[derive(Debug, Default)]
pub struct Overload {
    taken: AtomicU32,
    shed: [Counter; 3],
}

/// A request that is counted as in flight until this is dropped.
#[derive(Debug)]
pub struct Place(&'static Overload);

/// Made once for each gateway and never given back: to count references to it, besides requests, would cost every request as
/// much again.
impl Default for &'static Overload {
    fn default() -> Self {
        Box::leak(Box::default())
    }
}

impl Overload {
    /// A place for a request of this method.
    ///
    /// # Errors
    /// [`Code::Overloaded`] when its share is used up.
    pub fn admit(&'static self, shares: Shares, method: &Method) -> Result<Place, Error> {
        let Share { priority, most } = shares.of(method);
        let next = |taken: u32| (taken < most).then(|| taken + 1);
        if self.taken.fetch_update(Relaxed, Relaxed, next).is_ok() {
            return Ok(Place(self));
        }
        self.shed[priority as usize].inc();
        Err(Error::new(Code::Overloaded, "server.max_in_flight: the share of its priority is used up")
            .retry_after(PAUSE))
    }

    /// Requests that hold a place.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Requests of this priority that were turned away.
    #[must_use]
    pub fn shed(&self, priority: Priority) -> u64 {
        self.shed[priority as usize].get()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;

    /// Takes places until there are none for this kind of request.
    fn fill(overload: &'static Overload, shares: Shares, method: &Method) -> Vec<Place> {
        std::iter::from_fn(|| overload.admit(shares, method).ok()).collect()
    }

    #[test]
    fn the_low_are_turned_away_first_and_the_high_last() {
        let overload = <&Overload>::default();
        let usual = Shares::new(10, None);
        let low = fill(overload, Shares::new(10, Some(Priority::Low)), POST);
        let reads = fill(overload, usual, GET);
        let writes = fill(overload, usual, POST);
        assert_eq!((low.len(), reads.len(), writes.len(), overload.in_flight()), (7, 2, 1, 10));
        assert_eq!(Priority::ALL.map(|priority| overload.shed(priority)), [1, 1, 1]);
        drop(writes);
        let error = overload.admit(usual, GET).unwrap_err();
        assert_eq!(
            (error.status().as_u16(), error.code().name(), error.pause()),
            (503, "overloaded", Some(PAUSE))
        );
        assert!(overload.admit(usual, POST).is_ok());
        drop((low, reads));
        assert_eq!(overload.in_flight(), 0);
    }

    #[test]
    fn a_route_says_what_all_its_methods_are_worth_and_everybody_gets_one_place() {
        let high = Shares::new(10, Some(Priority::High));
        assert_eq!(fill(Default::default(), high, GET).len(), 10);
        assert_eq!(fill(Default::default(), Shares::new(1, Some(Priority::Low)), GET).len(), 1);
        assert_eq!(Share::of(Priority::High, u32::MAX).most, u32::MAX);
    }

    #[test]
    fn there_are_never_more_however_many_threads_ask() {
        let (overload, shares) = (<&Overload>::default(), Shares::new(10, Some(Priority::Normal)));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let place = overload.admit(shares, GET);
                        assert!(overload.in_flight() <= 9);
                        drop(place);
                    }
                });
            }
        });
        assert_eq!(overload.in_flight(), 0);
    }
}
