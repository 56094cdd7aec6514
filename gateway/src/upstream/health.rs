//! Active checks: asks an endpoint from time to time whether it is well.
//!
//! Until the first verdict an endpoint counts as healthy. A start or a reload would otherwise answer 503 until enough
//! checks have passed, though most probably nothing is wrong; whoever is down already meets the breaker and ejection.
//!
//! Not here: sending the check (the caller gives a probe), choosing (`balance/`).

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use http::StatusCode;
use serde::{Deserialize, Deserializer, de};

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// How an endpoint is checked, as typed under `upstreams.NAME.health`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthConfig {
    /// The path that is asked for with GET, with an optional query.
    pub path: String,
    /// From the end of one check to the beginning of the next.
    #[serde(default = "interval")]
    pub interval: Span,
    /// How long a check may take: a second, or the interval where that is shorter, unless given.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Checks in a row that must pass until an unhealthy endpoint is healthy.
    #[serde(default = "healthy_after")]
    pub healthy_after: u32,
    /// Checks in a row that must fail until a healthy endpoint is unhealthy.
    #[serde(default = "unhealthy_after")]
    pub unhealthy_after: u32,
    /// By how many percent an interval may be longer or shorter.
    #[serde(default = "jitter_percent")]
    pub jitter_percent: u8,
    /// Statuses that pass: `204`, `200-399`.
    #[serde(default = "statuses")]
    pub statuses: Vec<Statuses>,
}

impl HealthConfig {
    fn timeout(&self) -> Span {
        self.timeout.unwrap_or(TIMEOUT.min(self.interval))
    }

    /// Notes what cannot work in what was typed at the key path `at` for the upstream `name`.
    pub fn check(&self, name: &str, at: &str, mistakes: &mut Mistakes) {
        let path = self.path.starts_with('/') && self.path.parse::<http::uri::PathAndQuery>().is_ok();
        let asks_on = self.interval < Span::millis(100);
        let in_turn = asks_on || (Span::millis(1)..=self.interval).contains(&self.timeout());
        let rules = [
            ("path", path, "this is no path", "a path like `/healthz`"),
            (
                "interval",
                self.interval >= Span::millis(100),
                "it would be asked all the time",
                "100ms or more",
            ),
            ("timeout", in_turn, "a check must end within its interval", "1ms to `interval`"),
            ("healthy_after", self.healthy_after > 0, "no check would have to pass", "1 or more"),
            ("unhealthy_after", self.unhealthy_after > 0, "no check would have to fail", "1 or more"),
            (
                "jitter_percent",
                self.jitter_percent <= 100,
                "more than the whole interval",
                "0 to 100, in percent",
            ),
            ("statuses", !self.statuses.is_empty(), "no check could pass", "at least one status"),
        ];
        for (key, _, why, expected) in rules.iter().filter(|(_, right, ..)| !right) {
            mistakes
                .add(Mistake::new(below(at, key), format!("upstream `{name}`: {why}")).expected(*expected));
        }
    }
}

/// With [`unhealthy_after`], half a minute until an endpoint is out. What is sudden is for the breaker.
fn interval() -> Span {
    Span::secs(10)
}

/// A check does next to nothing.
const TIMEOUT: Span = Span::secs(1);

/// One could be luck.
fn healthy_after() -> u32 {
    2
}

/// One could be a lost packet, two a restart.
fn unhealthy_after() -> u32 {
    3
}

/// Gateways that were started together soon check at different times.
fn jitter_percent() -> u8 {
    20
}

/// A redirect is an answer, and answering is what is checked.
fn statuses() -> Vec<Statuses> {
    vec![Statuses { first: 200, last: 399 }]
}

/// A status or a range of them, as typed: `204`, `200-399`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    first: u16,
    last: u16,
}

impl Statuses {
    fn hold(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Statuses {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Statuses { first, last }),
            _ => Err(format!("`{text}` is no status: write it like 204 or 200-399")),
        }
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether an endpoint is healthy as far as checks know. Read by all workers.
#[derive(Debug)]
pub struct Health(AtomicBool);

impl Default for Health {
    fn default() -> Self {
        Health(AtomicBool::new(true))
    }
}

impl Health {
    /// Whether it is, or nothing is known yet.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The verdict so far, and how many checks in a row speak against it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    healthy: bool,
    against: u32,
}

impl Verdict {
    /// After one more check. Whether the verdict is another one now.
    fn changes(&mut self, passed: bool, config: &HealthConfig) -> bool {
        if passed == self.healthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if passed { config.healthy_after } else { config.unhealthy_after };
        let changes = self.against >= enough;
        if changes {
            *self = Verdict { healthy: passed, against: 0 };
        }
        changes
    }
}

/// Checks one endpoint for as long as it is polled, and says so in `health`. `probe` asks once: the status of the answer,
/// or why there is none. `changed` is told every change of the verdict, so that a slow start can begin.
pub async fn run<P, F>(
    upstream: &str,
    endpoint: &str,
    config: &HealthConfig,
    health: &Health,
    probe: P,
    changed: impl Fn(bool),
) -> std::convert::Infallible
where
    P: Fn() -> F,
    F: Future<Output = Result<StatusCode, String>>,
{
    let mut verdict = Verdict { healthy: health.is_healthy(), against: 0 };
    tokio::time::sleep(first_pause(config)).await;
    loop {
        let checked = check(config, &probe).await;
        if verdict.changes(checked.is_ok(), config) {
            health.0.store(verdict.healthy, Relaxed);
            match checked {
                Ok(()) => tracing::info!(upstream, endpoint, "healthy"),
                Err(cause) => tracing::warn!(upstream, endpoint, %cause, "unhealthy"),
            }
            changed(verdict.healthy);
        }
        tokio::time::sleep(pause(config)).await;
    }
}

async fn check<F>(config: &HealthConfig, probe: impl Fn() -> F) -> Result<(), String>
where
    F: Future<Output = Result<StatusCode, String>>,
{
    let timeout = config.timeout().0;
    let status = tokio::time::timeout(timeout, probe())
        .await
        .unwrap_or_else(|_elapsed| Err(format!("no answer within {timeout:?}")))?;
    let passes = config.statuses.iter().any(|statuses| statuses.hold(status));
    if passes { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}

/// An interval, more or less by the jitter.
fn pause(config: &HealthConfig) -> Duration {
    let jitter = f64::from(config.jitter_percent.min(100)) / 100.0;
    config.interval.0.mul_f64(1.0 + jitter * (2.0 * fastrand::f64() - 1.0))
}

/// Soon, but not all endpoints at once.
fn first_pause(config: &HealthConfig) -> Duration {
    let jitter = f64::from(config.jitter_percent.min(100)) / 100.0;
    config.interval.0.mul_f64(jitter * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::{sync::Notify, time::Instant};

    use super::*;

    fn config() -> HealthConfig {
        serde_json::from_str(r#"{ "path": "/healthz" }"#).unwrap()
    }

    /// Checks that get these answers in turn. The changes that were told, and how it is when the next check begins.
    async fn after(config: &HealthConfig, answers: &[Result<u16, &'static str>]) -> (Vec<bool>, bool) {
        let (health, told, over) = (Health::default(), RefCell::new(Vec::new()), Notify::new());
        let left = RefCell::new(answers.iter().copied());
        let probe = || {
            let answer = left.borrow_mut().next();
            if answer.is_none() {
                over.notify_one();
            }
            async move {
                match answer {
                    Some(Ok(status)) => Ok(StatusCode::from_u16(status).unwrap()),
                    Some(Err("hangs")) | None => std::future::pending().await,
                    Some(Err(cause)) => Err(cause.to_owned()),
                }
            }
        };
        let checks =
            run("kitchen", "10.0.0.1:80", config, &health, probe, |healthy| told.borrow_mut().push(healthy));
        tokio::select! { biased; () = over.notified() => {}, never = checks => match never {} }
        (told.take(), health.is_healthy())
    }

    #[test]
    fn what_is_not_typed_has_a_default() {
        let config = config();
        assert_eq!((config.interval, config.timeout()), (Span::secs(10), Span::secs(1)));
        assert_eq!((config.healthy_after, config.unhealthy_after, config.jitter_percent), (2, 3, 20));
        assert_eq!(config.statuses, ["200-399".parse().unwrap()]);
    }

    #[test]
    fn statuses_are_single_ones_or_ranges() {
        let passing: Vec<Statuses> = serde_json::from_str(r#"["204", "300-308"]"#).unwrap();
        let pass = |status| passing.iter().any(|one| one.hold(StatusCode::from_u16(status).unwrap()));
        assert!(pass(204) && pass(300) && pass(308) && !pass(200) && !pass(309));
        for wrong in ["", "2xx", "399-200", "99", "600", "200-", "-", "200-300-400"] {
            assert!(wrong.parse::<Statuses>().is_err(), "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_is_healthy_until_three_checks_in_a_row_fail() {
        assert_eq!(after(&config(), &[]).await, (vec![], true));
        assert_eq!(after(&config(), &[Ok(500), Err("refused")]).await, (vec![], true));
        assert_eq!(after(&config(), &[Ok(500), Ok(500), Ok(200), Ok(500), Ok(500)]).await, (vec![], true));
        assert_eq!(after(&config(), &[Ok(500), Err("refused"), Err("hangs")]).await, (vec![false], false));
    }

    #[tokio::test(start_paused = true)]
    async fn two_that_pass_make_it_healthy_again_and_each_change_is_told_once() {
        let down = [Err("refused"); 5];
        assert_eq!(after(&config(), &[&down[..], &[Ok(200)]].concat()).await, (vec![false], false));
        assert_eq!(after(&config(), &[&down[..], &[Ok(200); 4]].concat()).await, (vec![false, true], true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_fails_after_its_timeout() {
        let begun = Instant::now();
        let checked = check(&config(), std::future::pending).await;
        assert_eq!(checked, Err("no answer within 1s".to_owned()));
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_statuses_that_were_typed_pass() {
        let strict = HealthConfig { statuses: vec!["204".parse().unwrap()], unhealthy_after: 1, ..config() };
        assert_eq!(after(&strict, &[Ok(204)]).await, (vec![], true));
        assert_eq!(after(&strict, &[Ok(200)]).await, (vec![false], false));
    }

    #[test]
    fn intervals_are_longer_or_shorter_by_a_fifth_at_most() {
        fastrand::seed(7);
        let pauses: Vec<Duration> = (0..1_000).map(|_| pause(&config())).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= Duration::from_secs(8) && *least < Duration::from_millis(8_100), "{least:?}");
        assert!(*most <= Duration::from_secs(12) && *most > Duration::from_millis(11_900), "{most:?}");
    }

    #[test]
    fn checks_can_run_on_any_thread() {
        fn is_send(_: &impl Send) {}
        let (config, health) = (config(), Health::default());
        is_send(&run("kitchen", "10.0.0.1:80", &config, &health, || async { Ok(StatusCode::OK) }, |_| {}));
    }
}
