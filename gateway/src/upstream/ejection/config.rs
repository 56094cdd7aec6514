//! What one types under `upstreams.NAME.ejection`.

use serde::Deserialize;

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// When endpoints are ejected, as typed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionConfig {
    /// Failures in a row that eject. 0 turns this sign off.
    pub consecutive_failures: u32,
    /// Success rates are compared once in this time.
    pub interval: Span,
    /// Calls within an interval below which a success rate says nothing. 0 turns this sign off.
    pub least_calls: u32,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub base_time: Span,
    /// How long any ejection lasts at most.
    pub max_time: Span,
    /// How many may be out at once, in percent; one may always, unless this is 0, and never the last one.
    pub max_percent: u8,
}

/// Envoy's values where they suit a handful of endpoints. Its `base_ejection_time` of 30 s and `max_ejection_percent` of
/// 10 are meant for hundreds: of three, one is a third of all there is.
impl Default for EjectionConfig {
    fn default() -> Self {
        EjectionConfig {
            consecutive_failures: 5,
            interval: Span::secs(10),
            least_calls: 100,
            base_time: Span::secs(10),
            max_time: Span::secs(300),
            max_percent: 50,
        }
    }
}

impl EjectionConfig {
    /// Notes what cannot work in what was typed at the key path `at`.
    pub fn check(&self, at: &str, mistakes: &mut Mistakes) {
        let least = Span::millis(100);
        let rules = [
            ("interval", self.interval >= least, "100ms or more"),
            ("base_time", self.base_time >= least, "100ms or more"),
            ("max_time", self.max_time >= self.base_time, "`base_time` or more"),
            ("max_percent", self.max_percent <= 100, "0 to 100, in percent"),
        ];
        for (key, _, expected) in rules.iter().filter(|(_, right, _)| !right) {
            let wrong = format!("`{key}` of ejection is out of bounds");
            mistakes.add(Mistake::new(below(at, key), wrong).expected(*expected));
        }
    }
}
