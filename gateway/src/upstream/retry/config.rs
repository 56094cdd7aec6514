//! What one types under `retry:`.
//!
//! Not here: how it is decided (`mod.rs`).

use serde::Deserialize;

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// What is tried again, as typed under `retry:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    /// How often a call is tried in all, 1 to 10. 1 turns retries off.
    #[serde(default = "attempts")]
    pub attempts: u32,
    /// The statuses that are tried again: 408, 425, 429, 500 to 599.
    #[serde(default = "statuses")]
    pub statuses: Vec<u16>,
    /// Which methods may reach the service twice. One whose connection failed may always be tried again.
    #[serde(default)]
    pub methods: Methods,
    /// The longest pause before the first retry; each further one may be twice as long. The pause is drawn between
    /// nothing and that.
    #[serde(default = "backoff")]
    pub backoff: Span,
    /// The longest pause there is, unless the service's `Retry-After` asks for a longer one.
    #[serde(default = "max_backoff")]
    pub max_backoff: Span,
    /// How many retries there may be in all, so that they do not finish off a service that is down.
    #[serde(default)]
    pub budget: BudgetConfig,
}

/// Which methods may reach a service twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Methods {
    /// GET, HEAD, OPTIONS, TRACE, PUT and DELETE (RFC 9110, section 9.2.2).
    #[default]
    Idempotent,
    /// POST and PATCH too: only for a service that notices that it has seen a request before.
    All,
}

/// How many retries there may be in all, as typed under `retry.budget:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BudgetConfig {
    /// The share of calls that may be tried again, in percent, 0 to 100.
    #[serde(default = "percent")]
    pub percent: u8,
    /// How many more a second, so that a service with few calls has retries too. Ten seconds' worth may be saved.
    #[serde(default = "per_second")]
    pub per_second: u32,
}

/// A second endpoint usually helps; where it does not, a third one would not either.
fn attempts() -> u32 {
    2
}

/// What proxies and overloaded processes answer, another endpoint may do better. A 500 is a fault in the program, which
/// all endpoints run, and 429 asks for fewer calls. Envoy: `gateway-error`.
fn statuses() -> Vec<u16> {
    vec![502, 503, 504]
}

/// Longer than a round trip, too short to be noticed.
fn backoff() -> Span {
    Span::millis(25)
}

/// Longer would spend the deadline on waiting.
fn max_backoff() -> Span {
    Span::millis(250)
}

/// As Finagle and Linkerd: covers one endpoint of five that fails, and adds a fifth to a load that fails as a whole.
fn percent() -> u8 {
    20
}

/// As Finagle and Linkerd.
fn per_second() -> u32 {
    10
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig { percent: percent(), per_second: per_second() }
    }
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            attempts: attempts(),
            statuses: statuses(),
            methods: Methods::default(),
            backoff: backoff(),
            max_backoff: max_backoff(),
            budget: BudgetConfig::default(),
        }
    }
}

impl RetryConfig {
    /// Notes what cannot work in what was typed at the key path `at`.
    pub fn check(&self, at: &str, mistakes: &mut Mistakes) {
        let rules = [
            ("attempts", (1..=10).contains(&self.attempts), "1 to 10"),
            ("max_backoff", self.max_backoff >= self.backoff, "no less than `backoff`"),
            ("budget.percent", self.budget.percent <= 100, "0 to 100"),
            ("budget.per_second", self.budget.per_second <= 10_000, "0 to 10000"),
        ];
        for (key, _, expected) in rules.iter().filter(|(_, right, _)| !right) {
            let wrong = format!("`{key}` of a retry is out of bounds");
            mistakes.add(Mistake::new(below(at, key), wrong).expected(*expected));
        }
        for (index, status) in self.statuses.iter().enumerate() {
            if !matches!(status, 408 | 425 | 429 | 500..=599) {
                let wrong = format!("a request that was answered by {status} would be answered by it again");
                let at = format!("{}[{index}]", below(at, "statuses"));
                mistakes.add(Mistake::new(at, wrong).expected("408, 425, 429, 500 to 599"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_is_the_default_and_right() {
        let config: RetryConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, RetryConfig::default());
        let mut mistakes = Mistakes::default();
        config.check("retry", &mut mistakes);
        assert!(mistakes.is_empty());
    }

    #[test]
    fn what_would_never_help_is_refused() {
        let typed = serde_json::json!({
            "attempts": 0, "statuses": [503, 404], "backoff": "1s", "methods": "all",
            "budget": { "percent": 101, "per_second": 99999 },
        });
        let mut mistakes = Mistakes::default();
        serde_json::from_value::<RetryConfig>(typed).unwrap().check("retry", &mut mistakes);
        let at: Vec<_> = mistakes.0.iter().map(|mistake| mistake.at.as_str()).collect();
        let expected = ["attempts", "max_backoff", "budget.percent", "budget.per_second", "statuses[1]"];
        assert_eq!(at, expected.map(|key| format!("retry.{key}")));
    }
}
