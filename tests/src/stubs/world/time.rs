//! Times as FTGO writes them: ISO 8601 without a zone, meant as UTC; and hours of the day, `HH:MM`.
//!
//! Not a clock that tests can turn: the sagas' timers are tokio's, "now" is the machine's.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A moment in UTC, to the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Time(NaiveDateTime);

impl Time {
    /// The moment it is.
    pub(crate) fn now() -> Time {
        Time(Utc::now().naive_utc().trunc_subsecs(3))
    }

    /// So many minutes later.
    pub(crate) fn plus_minutes(self, minutes: i64) -> Option<Time> {
        self.0.checked_add_signed(chrono::Duration::minutes(minutes)).map(Time)
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(self) -> i64 {
        self.0.and_utc().timestamp_millis()
    }

    /// The minute of the day.
    pub(crate) fn hour(self) -> Hour {
        Hour(self.0.hour() * 60 + self.0.minute())
    }
}

impl FromStr for Time {
    type Err = &'static str;

    /// A zone is not ours to write, but understood.
    fn from_str(text: &str) -> Result<Time, Self::Err> {
        let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.naive_utc());
        zoned
            .or_else(|_| text.parse())
            .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M"))
            .map(|time| Time(time.trunc_subsecs(3)))
            .map_err(|_| "a time such as \"2026-11-21T18:30:00\" is expected")
    }
}

/// The time, or the first moment of the day if only a date is written.
pub(crate) fn time_or_date(text: &str) -> Result<Time, &'static str> {
    let midnight = |date: NaiveDate| Time(date.and_time(NaiveTime::MIN));
    text.parse().or_else(|wrong| text.parse().map(midnight).map_err(|_| wrong))
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A minute of the day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Hour(u32);

impl FromStr for Hour {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Hour, Self::Err> {
        let wrong = "an hour of the day such as \"18:30\" is expected";
        let (hours, minutes) = text.split_once(':').ok_or(wrong)?;
        let part = |part: &str, end: u32| match part.parse::<u32>() {
            Ok(number) if part.len() == 2 && !part.starts_with('+') && number < end => Ok(number),
            _ => Err(wrong),
        };
        Ok(Hour(part(hours, 24)? * 60 + part(minutes, 60)?))
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hour, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        serde_json::to_string(&text.parse::<Time>().unwrap()).unwrap()
    }

    #[test]
    fn a_time_is_written_without_a_zone() {
        assert_eq!(shown("2026-11-21T18:30"), "\"2026-11-21T18:30:00\"");
        assert_eq!(shown("2026-11-21T18:30:00.123456"), "\"2026-11-21T18:30:00.123\"");
    }

    #[test]
    fn a_zone_is_taken_into_account() {
        assert_eq!(shown("2026-11-21T18:30:00+02:00"), "\"2026-11-21T16:30:00\"");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "tomorrow", "2026-13-01T00:00:00", "2026-11-21"] {
            assert!(text.parse::<Time>().is_err(), "{text:?}");
        }
        assert!(time_or_date("2026-11-21").is_ok());
    }

    #[test]
    fn an_hour_has_two_digits_on_each_side() {
        assert_eq!("09:05".parse::<Hour>(), Ok(Hour(545)));
        for text in ["9:05", "24:00", "12:60", "12", "12:00:00", "+1:00"] {
            assert!(text.parse::<Hour>().is_err(), "{text:?}");
        }
    }
}
