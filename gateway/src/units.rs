//! Durations, sizes and rates as they are typed: a number and a unit, never a bare number.
//!
//! Not here: points in time (`deadline/`).

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A duration as typed: `250ms`, `2s`, `5m`, `1h`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes as typed: `512B`, `64KiB`, `1MiB`, `2GiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// How often something may happen: `100/s`, `30/m`, `1000/h`, `5000/day`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least one.
    pub count: u32,
    /// In what time.
    pub per: Duration,
}

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Span(Duration::from_millis(millis))
    }

    /// So many seconds.
    #[must_use]
    pub const fn secs(secs: u64) -> Self {
        Span(Duration::from_secs(secs))
    }
}

impl Size {
    /// So many KiB.
    #[must_use]
    pub const fn kib(kib: u64) -> Self {
        Size(kib * 1024)
    }

    /// So many MiB.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Size(mib * 1024 * 1024)
    }
}

/// `250ms` into `(250, "ms")`.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let millis = match split(text) {
            Some((n, "ms")) => Some(n),
            Some((n, "s")) => n.checked_mul(1_000),
            Some((n, "m")) => n.checked_mul(60_000),
            Some((n, "h")) => n.checked_mul(3_600_000),
            _ => None,
        };
        let sane = millis.filter(|millis| *millis <= 365 * 24 * 3_600_000);
        sane.map(Span::millis)
            .ok_or_else(|| format!("`{text}` is no duration: write it like 250ms, 2s, 5m or 1h"))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = match split(text) {
            Some((n, "B")) => Some(n),
            Some((n, "KiB")) => n.checked_mul(1 << 10),
            Some((n, "MiB")) => n.checked_mul(1 << 20),
            Some((n, "GiB")) => n.checked_mul(1 << 30),
            _ => None,
        };
        bytes.map(Size).ok_or_else(|| format!("`{text}` is no size: write it like 512B, 64KiB, 1MiB or 2GiB"))
    }
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate: write it like 100/s, 30/m, 1000/h or 5000/day");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let secs = match per.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "day" => 86_400,
            _ => return Err(wrong()),
        };
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
        Ok(Rate { count, per: Duration::from_secs(secs) })
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}B", self.0)
    }
}

impl fmt::Debug for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.per)
    }
}

macro_rules! typed_as_text {
    ($($unit:ty),*) => {$(
        impl<'de> Deserialize<'de> for $unit {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
typed_as_text!(Span, Size, Rate);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_bare_numbers_are_not() {
        assert_eq!("1500ms".parse(), Ok(Span::millis(1500)));
        assert_eq!("5m".parse(), Ok(Span::secs(300)));
        assert_eq!("1MiB".parse(), Ok(Size(1 << 20)));
        assert_eq!("30/m".parse(), Ok(Rate { count: 30, per: Duration::from_secs(60) }));
        for wrong in ["", "5", "-1s", "1.5s", "ms", "1 week", "99999999999999999999s", "9999999999h"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert!(
            "1MB".parse::<Size>().is_err()
                && "0/s".parse::<Rate>().is_err()
                && "5/week".parse::<Rate>().is_err()
        );
    }
}
