//! What one types under `circuit_breaker:`.
//!
//! Not here: what the breaker does with it (`mod.rs`).

use serde::Deserialize;

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// When an endpoint is given a rest, as typed under `circuit_breaker:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// How far back calls are counted; at least 100 ms. It slides in tenths.
    #[serde(default = "window")]
    pub window: Span,
    /// How many calls the window must hold before it may open, 1 to 10,000.
    #[serde(default = "min_calls")]
    pub min_calls: u32,
    /// The share of failed calls at which it opens, in percent, 1 to 100.
    #[serde(default = "failure_rate")]
    pub failure_rate: u8,
    /// A call that takes longer is slow. No call is unless this is given: only the operator knows what is slow here.
    #[serde(default)]
    pub slow_call: Option<Span>,
    /// The share of slow calls at which it opens, in percent, 1 to 100.
    #[serde(default = "slow_rate")]
    pub slow_rate: u8,
    /// How long nothing is sent once it has opened, give or take a fifth by chance.
    #[serde(default = "open_for")]
    pub open_for: Span,
    /// How many calls then try the endpoint. All must succeed to close; the first that fails or is slow opens again.
    #[serde(default = "probes")]
    pub probes: u32,
    /// The statuses that count as failures, 500 to 599: one below 500 says something about the request.
    #[serde(default = "statuses")]
    pub statuses: Vec<u16>,
}

/// Longer than a pause of a garbage collector, shorter than people's patience.
fn window() -> Span {
    Span::secs(10)
}

/// Of fewer, half may fail by chance.
fn min_calls() -> u32 {
    20
}

/// Retries outweigh what fails below that; above, the endpoint does more harm than good.
fn failure_rate() -> u8 {
    50
}

/// Higher than for failures: a slow answer is an answer.
fn slow_rate() -> u8 {
    80
}

/// A process restarts in a few seconds, and with a fifth more and the probes those who ask wait for less than five.
fn open_for() -> Span {
    Span::secs(3)
}

/// One answer may be luck, three hardly are; and three more failures hurt nobody.
fn probes() -> u32 {
    3
}

/// What a broken process, a proxy before it and an overloaded one answer. 501 and 505 to 511 speak of the request.
fn statuses() -> Vec<u16> {
    vec![500, 502, 503, 504]
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        CircuitBreakerConfig {
            window: window(),
            min_calls: min_calls(),
            failure_rate: failure_rate(),
            slow_call: None,
            slow_rate: slow_rate(),
            open_for: open_for(),
            probes: probes(),
            statuses: statuses(),
        }
    }
}

impl CircuitBreakerConfig {
    /// Notes what cannot work in what was typed at the key path `at`.
    pub fn check(&self, at: &str, mistakes: &mut Mistakes) {
        let percents = 1..=100;
        let rules = [
            ("window", self.window >= Span::millis(100), "100ms or more"),
            ("min_calls", (1..=10_000).contains(&self.min_calls), "1 to 10000"),
            ("failure_rate", percents.contains(&self.failure_rate), "1 to 100, in percent"),
            ("slow_call", self.slow_call.is_none_or(|slow| slow > Span::millis(0)), "1ms or more"),
            ("slow_rate", percents.contains(&self.slow_rate), "1 to 100, in percent"),
            ("open_for", self.open_for >= Span::millis(1), "1ms or more"),
            ("probes", (1..=1_000).contains(&self.probes), "1 to 1000"),
        ];
        for (key, _, expected) in rules.iter().filter(|(_, right, _)| !right) {
            let wrong = format!("`{key}` of a circuit breaker is out of bounds");
            mistakes.add(Mistake::new(below(at, key), wrong).expected(*expected));
        }
        self.check_statuses(&below(at, "statuses"), mistakes);
    }

    fn check_statuses(&self, at: &str, mistakes: &mut Mistakes) {
        for (index, status) in self.statuses.iter().enumerate() {
            if !(500..=599).contains(status) {
                let wrong = format!("status {status} never counts against an endpoint");
                mistakes.add(Mistake::new(format!("{at}[{index}]"), wrong).expected("500 to 599"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(json: serde_json::Value) -> Vec<String> {
        let config: CircuitBreakerConfig = serde_json::from_value(json).unwrap();
        let mut mistakes = Mistakes::default();
        config.check("breaker", &mut mistakes);
        mistakes.0.into_iter().map(|mistake| mistake.at).collect()
    }

    #[test]
    fn nothing_typed_is_the_default_and_right() {
        assert_eq!(
            serde_json::from_str::<CircuitBreakerConfig>("{}").unwrap(),
            CircuitBreakerConfig::default()
        );
        assert!(mistakes(serde_json::json!({})).is_empty());
    }

    #[test]
    fn a_status_of_the_clients_fault_and_every_number_out_of_bounds_are_refused() {
        let wrong = mistakes(serde_json::json!({
            "window": "10ms", "min_calls": 0, "failure_rate": 0, "slow_call": "0s", "slow_rate": 101,
            "open_for": "0s", "probes": 0, "statuses": [500, 404, 600],
        }));
        let expected = [
            "window",
            "min_calls",
            "failure_rate",
            "slow_call",
            "slow_rate",
            "open_for",
            "probes",
            "statuses[1]",
            "statuses[2]",
        ];
        assert_eq!(wrong, expected.map(|key| format!("breaker.{key}")));
    }
}
