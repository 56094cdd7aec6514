//! Whether a call that failed is tried again, and after what pause.
//!
//! In this order: attempts left, a failure that may be repeated, time left, budget left. The budget is asked last, so
//! that it is spent only on retries that are made.
//!
//! Not here: sending, choosing another endpoint, keeping the body for a second attempt: who cannot send a body again must
//! not ask. That a breaker refused an endpoint is no attempt.

mod budget;
mod config;

use std::time::{Duration, Instant};

use http::{Method, StatusCode};

pub use self::{
    budget::Budget,
    config::{BudgetConfig, Methods, RetryConfig},
};

/// How an attempt failed before the first byte of an answer was passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: nothing was sent.
    Connect,
    /// The connection ended before the answer began: the service may have acted.
    Reset,
    /// No answer within the attempt's own time: the service may still act.
    Timeout,
    /// An answer of this status, whose body can be dropped.
    Status(StatusCode),
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This was the last attempt.
    Return,
    /// Try again after this time.
    Again {
        /// How long to wait first.
        pause: Duration,
    },
}

/// The retries of one upstream, shared by all workers.
#[derive(Debug)]
pub struct Retry {
    config: RetryConfig,
    budget: Budget,
}

/// The attempts of one call.
#[derive(Debug)]
pub struct Attempts<'a> {
    retry: &'a Retry,
    repeatable: bool,
    made: u32,
}

impl Retry {
    /// Retries as configured, with an empty budget.
    #[must_use]
    pub fn new(config: RetryConfig, now: Instant) -> Self {
        Retry { budget: Budget::new(&config.budget, now), config }
    }

    /// Begins a call: its first attempt is about to be made.
    #[must_use]
    pub fn attempts(&self, method: &Method) -> Attempts<'_> {
        self.budget.deposit();
        let repeatable = self.config.methods == Methods::All || is_idempotent(method);
        Attempts { retry: self, repeatable, made: 1 }
    }

    /// Between nothing and twice as much for each attempt made ("full jitter": Brooker, "Exponential Backoff And
    /// Jitter", AWS Architecture Blog, 2015), so that calls that failed together do not come back together.
    fn backoff(&self, made: u32) -> Duration {
        let longer = self.config.backoff.0.saturating_mul(1 << (made - 1).min(16));
        longer.min(self.config.max_backoff.0).mul_f64(fastrand::f64())
    }
}

impl Attempts<'_> {
    /// How many were made, the one under way included.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.made
    }

    /// Whether what is sent now may have to be sent again.
    #[must_use]
    pub fn may_send_again(&self) -> bool {
        self.repeatable && self.made < self.retry.config.attempts
    }

    /// What to do after `failure`, when the service asked for `retry_after` and `remaining` is left until the deadline.
    /// [`Next::Again`] counts as the next attempt.
    pub fn after(
        &mut self,
        failure: Failure,
        retry_after: Option<Duration>,
        remaining: Duration,
        now: Instant,
    ) -> Next {
        let pause = self.retry.backoff(self.made).max(retry_after.unwrap_or_default());
        let again = self.made < self.retry.config.attempts
            && self.may_repeat(failure)
            && pause < remaining
            && self.retry.budget.withdraw(now);
        if !again {
            return Next::Return;
        }
        self.made += 1;
        Next::Again { pause }
    }

    fn may_repeat(&self, failure: Failure) -> bool {
        match failure {
            Failure::Connect => true,
            Failure::Reset | Failure::Timeout => self.repeatable,
            Failure::Status(status) => {
                self.repeatable && self.retry.config.statuses.contains(&status.as_u16())
            }
        }
    }
}

/// RFC 9110, section 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);
    const BAD: Failure = Failure::Status(StatusCode::SERVICE_UNAVAILABLE);

    /// With a full budget, and the time at which it is full.
    fn retry(config: RetryConfig) -> (Retry, Instant) {
        let born = Instant::now();
        (Retry::new(config, born), born + Duration::from_secs(60))
    }

    fn is_retried(method: &Method, failure: Failure, methods: Methods) -> bool {
        let (retry, now) = retry(RetryConfig { methods, ..RetryConfig::default() });
        retry.attempts(method).after(failure, None, LONG, now) != Next::Return
    }

    #[test]
    fn only_what_may_reach_a_service_twice_does() {
        let idempotent = |method, failure| is_retried(method, failure, Methods::Idempotent);
        for failure in [BAD, Failure::Reset, Failure::Timeout] {
            assert!(idempotent(&Method::GET, failure) && idempotent(&Method::DELETE, failure));
            assert!(!idempotent(&Method::POST, failure) && !idempotent(&Method::PATCH, failure));
            assert!(is_retried(&Method::POST, failure, Methods::All));
        }
        assert!(idempotent(&Method::POST, Failure::Connect));
    }

    #[test]
    fn a_status_that_is_not_listed_is_an_answer() {
        for status in
            [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::NOT_FOUND, StatusCode::TOO_MANY_REQUESTS]
        {
            assert!(!is_retried(&Method::GET, Failure::Status(status), Methods::All), "{status}");
        }
    }

    #[test]
    fn no_more_attempts_are_made_than_allowed() {
        for attempts in [1, 2, 5] {
            let (retry, now) = retry(RetryConfig { attempts, ..RetryConfig::default() });
            let mut call = retry.attempts(&Method::GET);
            while call.after(BAD, None, LONG, now) != Next::Return {}
            assert_eq!(call.made(), attempts);
        }
    }

    #[test]
    fn pauses_are_drawn_below_a_bound_that_doubles_up_to_the_longest() {
        let (retry, _) = retry(RetryConfig::default());
        for (made, most) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (60, 250)] {
            let longest = (0..1_000).map(|_| retry.backoff(made)).max().unwrap();
            let most = Duration::from_millis(most);
            assert!(longest <= most && longest > most / 2, "{made}: {longest:?}");
        }
    }

    #[test]
    fn the_service_is_given_the_time_it_asks_for_or_not_asked_again() {
        let (retry, now) = retry(RetryConfig::default());
        let after = |secs, remaining| {
            let asked = Some(Duration::from_secs(secs));
            retry.attempts(&Method::GET).after(BAD, asked, remaining, now)
        };
        assert_eq!(after(2, LONG), Next::Again { pause: Duration::from_secs(2) });
        assert_eq!((after(10, LONG), after(3_600, LONG)), (Next::Return, Next::Return));
        assert_eq!(after(0, Duration::ZERO), Next::Return);
    }

    #[test]
    fn the_budget_is_spent_only_on_retries_that_are_made() {
        let (retry, now) = retry(RetryConfig::default());
        for _ in 0..1_000 {
            let mut call = retry.attempts(&Method::POST);
            assert_eq!(call.after(BAD, None, LONG, now), Next::Return);
        }
        let retried = (0..1_000).filter(|_| {
            // A call that was not begun: it earns nothing.
            let mut call = Attempts { retry: &retry, repeatable: true, made: 1 };
            call.after(BAD, None, LONG, now) != Next::Return
        });
        assert_eq!(retried.count(), 100);
    }

    #[test]
    fn attempts_upon_attempts_stay_within_a_fifth_and_ten_a_second() {
        let born = Instant::now();
        let retry = Retry::new(RetryConfig { attempts: 10, ..RetryConfig::default() }, born);
        let mut sent = 0;
        for millis in 0..60_000 {
            let mut call = retry.attempts(&Method::GET);
            let now = born + Duration::from_millis(millis);
            while call.after(Failure::Reset, None, LONG, now) != Next::Return {}
            sent += call.made();
        }
        assert!(sent <= 60_000 + 12_000 + 600, "{sent}");
    }
}
