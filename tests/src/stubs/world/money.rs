//! Money: whole cents, on the wire a JSON string such as `"61.70"`.
//!
//! Not floating point anywhere, and not a number in JSON: neither keeps cents exact.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An amount of money, in cents, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Money(i64);

impl Money {
    /// This amount `quantity` times, unless that is more than can be counted.
    pub(crate) fn times(self, quantity: u32) -> Option<Money> {
        self.0.checked_mul(i64::from(quantity)).map(Money)
    }

    /// The sum, unless it is more than can be counted.
    pub(crate) fn plus(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }
}

impl FromStr for Money {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Money, Self::Err> {
        let (units, cents) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(units) || !digits(cents) || cents.len() > 2 {
            return Err("an amount such as \"61.70\" is expected");
        }
        let in_cents = format!("{units}{cents:0<2}");
        in_cents.parse().map(Money).map_err(|_| "more money than can be counted")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_times_12_34_is_exactly_61_70() {
        let price: Money = "12.34".parse().unwrap();
        assert_eq!(price.times(5).unwrap().to_string(), "61.70");
    }

    #[test]
    fn an_amount_may_leave_out_its_cents() {
        for (text, shown) in [("7", "7.00"), ("7.5", "7.50"), ("0.05", "0.05"), ("007.50", "7.50")] {
            assert_eq!(text.parse::<Money>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "1.234", "1e3", "12,50", "99999999999999999999"] {
            assert!(text.parse::<Money>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_sum_beyond_counting_is_none() {
        let most = Money(i64::MAX);
        assert_eq!(most.plus(Money(1)), None);
        assert_eq!(most.times(2), None);
    }
}
