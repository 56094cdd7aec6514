//! How many calls an upstream is sent at a time, so that a service that hangs does not hold all memory and a service that
//! is overloaded is not made slower. Shared by all workers; it stands before the first attempt, and the body of the answer
//! carries its [`Slot`].
//!
//! What finds no room waits for a short time, first come first served. When there has been a queue for longer than a
//! burst lasts, waiting only makes answers late, so then nobody waits for long (Maurer, "Fail at Scale", ACM Queue 13(8),
//! 2015, "Controlled Delay").
//!
//! Built on tokio's semaphore: it is fair, and what no call waits for costs one compare-and-swap to take.
//!
//! Not here: what is answered to a call that finds no room.

mod config;
mod gradient;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

pub use self::config::{AdaptiveConfig, InFlightConfig};
use self::gradient::Gradient;
use crate::deadline::Deadline;

/// The calls that an upstream has under way.
#[derive(Debug)]
pub struct InFlight {
    max_wait: Duration,
    max_waiting: u32,
    born: Instant,
    free: Semaphore,
    limit: AtomicU32,
    /// By how many slots the limit was lowered that were taken at that time; they are not freed when they are dropped.
    owed: AtomicU32,
    waiting: AtomicU32,
    /// Milliseconds since `born` since when there has been a queue.
    queue_since: AtomicU64,
    /// Milliseconds since `born` when somebody last left the queue.
    queue_until: AtomicU64,
    gradient: Option<Mutex<Gradient>>,
}

/// The right to have one call under way; it ends when this is dropped.
#[must_use = "a slot is free again when it is dropped"]
#[derive(Debug)]
pub struct Slot(Arc<InFlight>);

/// No slot became free in time, or too many calls were waiting for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many calls are under way")]
pub struct Full;

impl InFlight {
    /// With all slots free, at `now`.
    #[must_use]
    pub fn new(config: &InFlightConfig, now: Instant) -> Arc<Self> {
        let gradient = config.adaptive.clone().map(|adaptive| Gradient::new(adaptive, config.limit));
        let limit = gradient.as_ref().map_or(config.limit, Gradient::limit);
        Arc::new(InFlight {
            max_wait: config.max_wait.0,
            max_waiting: config.max_waiting,
            born: now,
            free: Semaphore::new(limit as usize),
            limit: AtomicU32::new(limit),
            owed: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            queue_since: AtomicU64::new(0),
            queue_until: AtomicU64::new(0),
            gradient: gradient.map(Mutex::new),
        })
    }

    /// A slot, at once if there is one, else in turn. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// [`Full`] when there is none within the time that calls may wait, or before `deadline`.
    pub async fn acquire(self: &Arc<Self>, deadline: Deadline) -> Result<Slot, Full> {
        match self.try_acquire() {
            Some(slot) => Ok(slot),
            None => Box::pin(self.queue(deadline)).await, // on the heap: most calls need no room for waiting
        }
    }

    /// A slot, if there is one at once.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Slot> {
        let permit = self.free.try_acquire().ok()?;
        permit.forget();
        Some(Slot(self.clone()))
    }

    /// A slot in turn, where there was none at once.
    async fn queue(self: &Arc<Self>, deadline: Deadline) -> Result<Slot, Full> {
        let _waiting = self.wait()?;
        match timeout(self.patience().min(deadline.remaining()), self.free.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            _ => return Err(Full),
        }
        Ok(Slot(self.clone()))
    }

    /// How many calls are under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        let slots = self.limit.load(Relaxed) + self.owed.load(Relaxed);
        slots.saturating_sub(self.free.available_permits() as u32)
    }

    /// How many there may be.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.load(Relaxed)
    }

    /// How many calls are waiting.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Tells an adaptive limit about a call that is still counted: its head came after `took`, or, `dropped`, it had no
    /// answer in time or one of overload. A call that its client left says nothing.
    pub fn sample(&self, took: Duration, dropped: bool, now: Instant) {
        // While another thread is here this sample is left out: so many are sent that a few less are as good.
        let Some(mut gradient) = self.gradient.as_ref().and_then(Mutex::try_lock) else { return };
        let since = now.saturating_duration_since(self.born);
        if let Some(limit) = gradient.sample(took, dropped, self.in_flight(), since) {
            self.resize(limit);
        }
    }

    /// Called under the gradient's lock only, so that the limit has one writer.
    fn resize(&self, limit: u32) {
        let old = self.limit.swap(limit, Relaxed);
        if limit < old {
            let less = old - limit;
            let gone = self.free.forget_permits(less as usize) as u32;
            self.owed.fetch_add(less - gone, Relaxed);
        }
        for _ in old..limit {
            self.free_one();
        }
    }

    fn free_one(&self) {
        if self.owed.fetch_update(Relaxed, Relaxed, |owed| owed.checked_sub(1)).is_err() {
            self.free.add_permits(1);
        }
    }

    fn wait(&self) -> Result<Waiting<'_>, Full> {
        let before = self.waiting.fetch_add(1, Relaxed);
        let waiting = Waiting(self);
        if before >= self.max_waiting || self.max_wait.is_zero() {
            return Err(Full);
        }
        let now = self.millis();
        // Those who wait shortly all leave at times, and the next is there at once: that is no end of the queue.
        let empty_for = now.saturating_sub(self.queue_until.load(Relaxed));
        if before == 0 && u128::from(empty_for) >= self.max_wait.as_millis() {
            self.queue_since.store(now, Relaxed);
        }
        Ok(waiting)
    }

    /// How long a call may wait that begins to wait now.
    fn patience(&self) -> Duration {
        /// A burst is over by then: Facebook's figure.
        const BURST_MILLIS: u64 = 100;
        let lasting = self.millis().saturating_sub(self.queue_since.load(Relaxed)) > BURST_MILLIS;
        if lasting { self.max_wait / 10 } else { self.max_wait }
    }

    fn millis(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.free_one();
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a InFlight);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.queue_until.store(self.0.millis(), Relaxed);
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}
