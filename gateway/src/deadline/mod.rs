//! The point in time by which a request must be answered, to the last byte. Everything done for it spends the same one.
//!
//! Not here: durations as typed (`units.rs`).

mod alarm;
mod budget;
pub mod config;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::time::Instant;

use self::alarm::Alarm;
pub use self::alarm::keep_on_this_thread;
pub use self::budget::{Budget, BudgetField};
pub(crate) use self::budget::{GRPC_TIMEOUT, is_taken};

/// The deadline passed before the work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// An absolute point in time; cheap to copy into every call made for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    /// The client's own, sooner than the route's: that it passes says nothing about a service.
    hurried: bool,
}

impl Deadline {
    /// The point `timeout` from now.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Deadline::of(Instant::now(), timeout)
    }

    /// The point `timeout` after `begun`.
    #[must_use]
    pub fn of(begun: Instant, timeout: Duration) -> Self {
        Deadline { at: begun + timeout, hurried: false }
    }

    /// The same, because the client asked for it.
    #[must_use]
    pub fn hurried(self) -> Self {
        Deadline { hurried: true, ..self }
    }

    /// Whether this is the client's own time and not what a service may be expected to answer in.
    #[must_use]
    pub fn is_hurried(self) -> bool {
        self.hurried
    }

    /// The point itself.
    #[must_use]
    pub fn at(self) -> Instant {
        self.at
    }

    /// What is left, zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// This one, or `timeout` from now when that is sooner.
    #[must_use]
    pub fn at_most(self, timeout: Duration) -> Self {
        self.min(Deadline::after(timeout))
    }

    /// So much sooner: what is kept back for work that comes after.
    #[must_use]
    pub fn keeping(self, reserve: Duration) -> Self {
        Deadline { at: self.at.checked_sub(reserve).unwrap_or(self.at), ..self }
    }

    /// Runs `work` until the deadline. It is pinned by the caller, since futures of requests are large and moving them costs
    /// more than the timer does; the caller drops what is not done by then.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline passed first.
    pub async fn bound<F: Future + ?Sized>(self, mut work: Pin<&mut F>) -> Result<F::Output, Elapsed> {
        let mut alarm = Alarm::default();
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if alarm.rings(self.at, cx) => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
