//! What one types under `in_flight:`.
//!
//! Not here: how the limit follows the service (`gradient.rs`).

use serde::Deserialize;

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// How many calls an upstream is sent at a time, as typed under `in_flight:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFlightConfig {
    /// How many calls may be under way, 1 to 100,000. When it is adaptive: up to where it doubles at first.
    #[serde(default = "limit")]
    pub limit: u32,
    /// How long a call may wait for its turn; a tenth of it when there has been a queue for long. `0ms` for not at all.
    #[serde(default = "max_wait")]
    pub max_wait: Span,
    /// How many calls may wait at a time, at most 100,000.
    #[serde(default = "max_waiting")]
    pub max_waiting: u32,
    /// Whether the limit follows what the service can do, and between which bounds. It stays as it is unless this is
    /// given: a service of many endpoints has no one latency to follow.
    #[serde(default)]
    pub adaptive: Option<AdaptiveConfig>,
}

/// Between which bounds the limit follows the service, as typed under `in_flight.adaptive:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveConfig {
    /// The least, at least 1.
    #[serde(default = "min")]
    pub min: u32,
    /// The most, no less than `min`.
    #[serde(default = "max")]
    pub max: u32,
}

/// At 20 ms a call that is 50,000 a second, more than one service answers; it only bounds memory when one hangs.
fn limit() -> u32 {
    1_024
}

/// Covers a burst, and is no time to anybody.
fn max_wait() -> Span {
    Span::millis(50)
}

/// A quarter of the calls under way: what a healthy service answers within the time that they may wait.
fn max_waiting() -> u32 {
    256
}

/// Enough to notice that the service has recovered, and no queue to a small one.
fn min() -> u32 {
    4
}

/// As without.
fn max() -> u32 {
    limit()
}

impl Default for InFlightConfig {
    fn default() -> Self {
        InFlightConfig { limit: limit(), max_wait: max_wait(), max_waiting: max_waiting(), adaptive: None }
    }
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        AdaptiveConfig { min: min(), max: max() }
    }
}

impl InFlightConfig {
    /// Notes what cannot work in what was typed at the key path `at`.
    pub fn check(&self, at: &str, mistakes: &mut Mistakes) {
        let bounds = 1..=100_000;
        let adaptive = self.adaptive.clone().unwrap_or_default();
        let rules = [
            ("limit", bounds.contains(&self.limit), "1 to 100000"),
            ("max_wait", self.max_wait <= Span::secs(60), "60s or less"),
            ("max_waiting", self.max_waiting <= 100_000, "100000 or less"),
            ("adaptive.min", bounds.contains(&adaptive.min), "1 to 100000"),
            ("adaptive.max", (adaptive.min..=100_000).contains(&adaptive.max), "`min` to 100000"),
        ];
        for (key, _, expected) in rules.iter().filter(|(_, right, _)| !right) {
            let wrong = format!("`{key}` of the calls in flight is out of bounds");
            mistakes.add(Mistake::new(below(at, key), wrong).expected(*expected));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_typed_is_the_default_and_what_would_admit_nothing_is_refused() {
        assert_eq!(serde_json::from_str::<InFlightConfig>("{}").unwrap(), InFlightConfig::default());
        let typed = serde_json::json!({
            "limit": 0, "max_wait": "61s", "max_waiting": 200_000, "adaptive": { "min": 20, "max": 10 },
        });
        let mut mistakes = Mistakes::default();
        InFlightConfig::default().check("", &mut mistakes);
        serde_json::from_value::<InFlightConfig>(typed).unwrap().check("", &mut mistakes);
        let at: Vec<_> = mistakes.0.iter().map(|mistake| mistake.at.as_str()).collect();
        assert_eq!(at, ["limit", "max_wait", "max_waiting", "adaptive.max"]);
    }
}
