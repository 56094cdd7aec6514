//! What one types under `hedge:`.
//!
//! Not here: how the delay is found (`quantile.rs`).

use serde::{Deserialize, Deserializer, de};

use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// When a call is sent to a second endpoint although the first may still answer, as typed under `hedge:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HedgeConfig {
    /// How long the first may take: a duration, or `p95`, the time within which 95 of 100 calls were answered of late.
    #[serde(default)]
    pub after: After,
    /// The largest share of calls that are sent twice, in percent, 1 to 50.
    #[serde(default = "at_most")]
    pub at_most: u8,
}

/// How long the first endpoint may take, as typed: `p95` or `20ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The time within which so many percent of calls were answered, 50 to 99.
    Percentile(u8),
    /// Always the same time.
    Fixed(Span),
}

/// What 95 of 100 calls take sends 5 twice, which cuts most of the tail: Dean and Barroso, "The Tail at Scale",
/// Communications of the ACM 56(2), 2013, "Hedged requests".
impl Default for After {
    fn default() -> Self {
        After::Percentile(95)
    }
}

/// What `p95` asks for, and no more when all calls become slow at once.
fn at_most() -> u8 {
    5
}

impl Default for HedgeConfig {
    fn default() -> Self {
        HedgeConfig { after: After::default(), at_most: at_most() }
    }
}

impl HedgeConfig {
    /// Notes what cannot work in what was typed at the key path `at`.
    pub fn check(&self, at: &str, mistakes: &mut Mistakes) {
        if !(1..=50).contains(&self.at_most) {
            let wrong = Mistake::new(below(at, "at_most"), "`at_most` of a hedge is out of bounds");
            mistakes.add(wrong.expected("1 to 50, in percent"));
        }
        if self.after == After::Fixed(Span::millis(0)) {
            let wrong = Mistake::new(below(at, "after"), "the first endpoint has no time to answer");
            mistakes.add(wrong.expected("1ms or more, or p50 to p99"));
        }
    }
}

impl<'de> Deserialize<'de> for After {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(percent) = text.strip_prefix('p') {
            let known = percent.parse().ok().filter(|percent| (50..=99).contains(percent));
            return known.map(After::Percentile).ok_or_else(|| {
                de::Error::custom(format!("`{text}` is no percentile: write it like p95, from p50 to p99"))
            });
        }
        text.parse().map(After::Fixed).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_and_a_duration_are_read_and_nothing_else() {
        let read = |text: &str| serde_json::from_value::<After>(text.into());
        assert_eq!(read("p99").unwrap(), After::Percentile(99));
        assert_eq!(read("20ms").unwrap(), After::Fixed(Span::millis(20)));
        for wrong in ["p", "p49", "p100", "p9.5", "95", "P95", ""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_typed_is_the_default_and_a_share_of_everything_is_refused() {
        assert_eq!(serde_json::from_str::<HedgeConfig>("{}").unwrap(), HedgeConfig::default());
        let mut mistakes = Mistakes::default();
        HedgeConfig { at_most: 100, ..HedgeConfig::default() }.check("hedge", &mut mistakes);
        assert_eq!(mistakes.0[0].at, "hedge.at_most");
    }
}
