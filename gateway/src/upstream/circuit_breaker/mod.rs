//! Gives an endpoint that fails a rest, and lets a few calls find out whether it has recovered. One stands before each
//! endpoint, shared by all workers.
//!
//! closed -> (too many failed or slow calls) -> open -> (time) -> half-open -> (all probes succeed) -> closed, or (one
//! does not) -> open. Nygard, "Release It!", 2nd ed., chapter 5, "Circuit Breaker".
//!
//! A call under a closed breaker costs a load and two additions to words that all workers share; only a change of state
//! and the probes take a lock. Only a bad result opens: a success that completes `min_calls` never does. Each state has a
//! number of its own, and a result that was asked for in an earlier one is ignored.
//!
//! A window full of good calls would outvote a service that has just begun to fail for half of its length. So as many
//! failures in a row as the window must hold open it, too, whatever was before. They must have lasted: all that is under
//! way when a service restarts fails in the same moment, and that is one event.
//!
//! Not here: what is sent, what is answered when nothing may be, logging: whoever builds a breaker is told of changes.

mod config;
mod row;
#[cfg(test)]
mod tests;
mod window;

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use http::StatusCode;
use parking_lot::{Mutex, MutexGuard};

pub use self::{config::CircuitBreakerConfig, window::Counts};
use self::{row::Row, window::Window};

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Everything.
    Closed,
    /// Nothing.
    Open,
    /// A few probes.
    HalfOpen,
}

/// What a call says about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It answers. It may still have been slow.
    Success,
    /// It does not answer, or with a status that counts.
    Failure,
    /// Nothing: the client left, or its body was bad.
    Nothing,
}

/// A change of state: worth a line in the log, and a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// The calls of the window when it changed.
    pub counts: Counts,
}

/// Nothing may be sent to this endpoint now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open for {retry_after:?}")]
pub struct Open {
    /// When asking again may help.
    pub retry_after: Duration,
}

/// For how many milliseconds failures in a row must go on.
const LASTING: u64 = 100;

/// A state and which one of all it is: `number << 2 | state`.
type Epoch = u64;

/// What the probes have come to; used in the half-open state only.
#[derive(Debug, Default)]
struct Probes {
    /// Let through and not yet given back; those that succeeded included.
    taken: u32,
    succeeded: u32,
}

/// One endpoint's breaker.
pub struct CircuitBreaker {
    config: CircuitBreakerConfig,
    born: Instant,
    epoch: AtomicU64,
    /// Milliseconds since `born` until which it stays open, or when it was closed again.
    open_until: AtomicU64,
    window: Window,
    row: Row,
    probes: Mutex<Probes>,
    changed: Box<dyn Fn(Transition) + Send + Sync>,
}

/// The right to make one call. Dropped unused, it counts for nothing and makes room for another probe.
#[must_use = "record what became of the call"]
#[derive(Debug)]
pub struct Permit<'a> {
    breaker: &'a CircuitBreaker,
    epoch: Epoch,
}

/// A call whose answer has begun.
#[derive(Debug, Clone, Copy)]
pub struct Begun(Epoch);

impl CircuitBreaker {
    /// A closed breaker. `changed` is called at each change of state, outside of all locks, on the thread that caused it.
    pub fn new(
        config: CircuitBreakerConfig,
        now: Instant,
        changed: impl Fn(Transition) + Send + Sync + 'static,
    ) -> Self {
        CircuitBreaker {
            window: Window::new(millis(config.window.0)),
            row: Row::default(),
            config,
            born: now,
            epoch: AtomicU64::new(epoch(0, State::Closed)),
            open_until: AtomicU64::new(0),
            probes: Mutex::default(),
            changed: Box::new(changed),
        }
    }

    /// Asks for one call.
    ///
    /// # Errors
    /// [`Open`] while the endpoint rests, or while as many probes as allowed are under way.
    pub fn permit(&self, now: Instant) -> Result<Permit<'_>, Open> {
        let epoch = self.epoch.load(Ordering::Acquire);
        match state(epoch) {
            State::Closed => Ok(Permit { breaker: self, epoch }),
            State::Open => match self.rest(now) {
                Some(retry_after) => Err(Open { retry_after }),
                None => self.probe(epoch),
            },
            State::HalfOpen => self.probe(epoch),
        }
    }

    /// What it is at `now`: an open breaker whose time is over is half-open.
    #[must_use]
    pub fn state(&self, now: Instant) -> State {
        match state(self.epoch.load(Ordering::Acquire)) {
            State::Open if self.rest(now).is_none() => State::HalfOpen,
            state => state,
        }
    }

    /// Whether a permit would be given at `now`; takes none. For balancers, which ask before they choose.
    #[must_use]
    pub fn would_admit(&self, now: Instant) -> bool {
        match state(self.epoch.load(Ordering::Acquire)) {
            State::Closed => true,
            State::Open => self.rest(now).is_none(),
            State::HalfOpen => self.probes.lock().taken < self.config.probes,
        }
    }

    /// What an answer of `status` says about the endpoint.
    #[must_use]
    pub fn verdict(&self, status: StatusCode) -> Verdict {
        if self.config.statuses.contains(&status.as_u16()) { Verdict::Failure } else { Verdict::Success }
    }

    /// A place among the probes; begins the half-open state when `epoch` was open and its time is over.
    fn probe(&self, seen: Epoch) -> Result<Permit<'_>, Open> {
        /// A probe ends soon, but nobody knows when; `Retry-After` counts in seconds.
        const SOON: Duration = Duration::from_secs(1);
        let mut probes = self.probes.lock();
        let current = self.epoch.load(Ordering::Acquire);
        match state(current) {
            State::Closed => return Ok(Permit { breaker: self, epoch: current }),
            // Another thread's probe has failed since.
            State::Open if current != seen => return Err(Open { retry_after: self.config.open_for.0 }),
            State::HalfOpen if probes.taken >= self.config.probes => return Err(Open { retry_after: SOON }),
            State::HalfOpen => {
                probes.taken += 1;
                return Ok(Permit { breaker: self, epoch: current });
            }
            State::Open => {}
        }
        *probes = Probes { taken: 1, succeeded: 0 };
        let epoch = self.change(probes, State::HalfOpen, Counts::default());
        Ok(Permit { breaker: self, epoch })
    }

    /// An answer that had begun is whole: a success for good.
    pub fn finished(&self, Begun(seen): Begun) {
        if state(seen) == State::Closed && self.epoch.load(Ordering::Acquire) == seen {
            self.row.end();
        }
    }

    /// An answer that had begun broke off at `now`: what passed for a success was a failure. A probe's also takes back what
    /// it has closed, for as long as the breaker would have rested.
    pub fn broke_off(&self, Begun(seen): Begun, now: Instant) {
        let millis = self.millis(now);
        if state(seen) == State::Closed {
            if self.epoch.load(Ordering::Acquire) == seen {
                self.window.fail(millis);
                self.weigh(seen, true, millis, now);
            }
            return;
        }
        let probes = self.probes.lock();
        let current = self.epoch.load(Ordering::Acquire);
        let closed = current == epoch((seen >> 2) + 1, State::Closed);
        let of_late = millis < self.open_until.load(Ordering::Relaxed) + self::millis(self.config.open_for.0);
        if current == seen || closed && of_late {
            self.open(probes, current, Counts::default(), now);
        }
    }

    fn record_closed(&self, seen: Epoch, failed: bool, slow: bool, now: Instant) {
        if self.epoch.load(Ordering::Acquire) != seen {
            return;
        }
        let millis = self.millis(now);
        self.window.add(millis, failed, slow);
        if failed || slow {
            self.weigh(seen, failed, millis, now);
        }
    }

    /// Opens if a bad result, which the window has, is one too many.
    fn weigh(&self, seen: Epoch, failed: bool, millis: u64, now: Instant) {
        let lasting = failed && self.lasting_row(millis);
        let counts = self.window.counts(millis);
        if lasting || self.is_too_bad(counts) {
            self.open(self.probes.lock(), seen, counts, now);
        }
    }

    /// Whether so many have now failed in a row for so long that what was before does not matter.
    fn lasting_row(&self, millis: u64) -> bool {
        let (calls, lasted) = self.row.longer(millis);
        calls >= u64::from(self.config.min_calls) && lasted >= LASTING
    }

    fn is_too_bad(&self, Counts { calls, failed, slow }: Counts) -> bool {
        let reaches = |count: u64, percent: u8| count * 100 >= calls * u64::from(percent);
        calls >= u64::from(self.config.min_calls)
            && (reaches(failed, self.config.failure_rate) || reaches(slow, self.config.slow_rate))
    }

    fn record_probe(&self, seen: Epoch, failed: bool, now: Instant) {
        let mut probes = self.probes.lock();
        if failed {
            return self.open(probes, seen, Counts::default(), now);
        }
        if self.epoch.load(Ordering::Acquire) != seen {
            return;
        }
        probes.succeeded += 1;
        if probes.succeeded == self.config.probes {
            self.window.clear();
            self.row.end();
            self.open_until.store(self.millis(now), Ordering::Relaxed);
            self.change(probes, State::Closed, Counts::default());
        }
    }

    /// Gives the place of a probe that came to nothing to another.
    fn give_back(&self, seen: Epoch) {
        let mut probes = self.probes.lock();
        if self.epoch.load(Ordering::Acquire) == seen {
            probes.taken -= 1;
        }
    }

    /// Opens, unless the state that the reason for it was `seen` in is over.
    fn open(&self, lock: MutexGuard<'_, Probes>, seen: Epoch, counts: Counts, now: Instant) {
        if self.epoch.load(Ordering::Acquire) != seen {
            return;
        }
        // Many gateways see an endpoint fail at the same time; they must not all come back at the same time.
        let rest = self.config.open_for.0.mul_f64(0.8 + 0.4 * fastrand::f64());
        self.open_until.store(self.millis(now) + millis(rest).max(1), Ordering::Relaxed);
        self.change(lock, State::Open, counts);
    }

    /// The one place where the state changes. The lock is taken as proof that nobody else is about to.
    fn change(&self, lock: MutexGuard<'_, Probes>, to: State, counts: Counts) -> Epoch {
        let old = self.epoch.load(Ordering::Acquire);
        let new = epoch((old >> 2) + 1, to);
        self.epoch.store(new, Ordering::Release);
        drop(lock);
        (self.changed)(Transition { from: state(old), to, counts });
        new
    }

    /// How long nothing may be sent yet.
    fn rest(&self, now: Instant) -> Option<Duration> {
        let left = self.open_until.load(Ordering::Relaxed).saturating_sub(self.millis(now));
        (left > 0).then(|| Duration::from_millis(left))
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born))
    }
}

impl Permit<'_> {
    /// Says what became of the call, which took `took` and ended at `now`. A slow probe failed: the calls that opened the
    /// breaker may have been as slow.
    pub fn record(self, verdict: Verdict, took: Duration, now: Instant) {
        if verdict == Verdict::Nothing {
            return;
        }
        let breaker = self.breaker;
        let begun = self.settle(verdict == Verdict::Failure, took, now);
        if verdict == Verdict::Success {
            breaker.finished(begun);
        }
    }

    /// Says that a good answer began at `now`, whose body is still to come: [`CircuitBreaker::finished`] or
    /// [`CircuitBreaker::broke_off`] then says how that ended, unless nobody wants to know. Streams may go on for hours:
    /// until then it passes for a success.
    pub fn answered(self, took: Duration, now: Instant) -> Begun {
        self.settle(false, took, now)
    }

    fn settle(self, failed: bool, took: Duration, now: Instant) -> Begun {
        let Permit { breaker, epoch } = self;
        std::mem::forget(self);
        let slow = breaker.config.slow_call.is_some_and(|slow| took > slow.0);
        match state(epoch) {
            State::HalfOpen => breaker.record_probe(epoch, failed || slow, now),
            _ => breaker.record_closed(epoch, failed, slow, now),
        }
        Begun(epoch)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if state(self.epoch) == State::HalfOpen {
            self.breaker.give_back(self.epoch);
        }
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CircuitBreaker({:?})", state(self.epoch.load(Ordering::Relaxed)))
    }
}

fn epoch(number: u64, state: State) -> Epoch {
    number << 2 | state as u64
}

fn state(epoch: Epoch) -> State {
    match epoch & 0b11 {
        0 => State::Closed,
        1 => State::Open,
        _ => State::HalfOpen,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
