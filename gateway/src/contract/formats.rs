//! What `format` may say, and what has it.
//!
//! Not here: formats that only tell people something. One that is not checked is refused in a configuration.

use serde_json::Value;

/// A format of texts, or how many bits a whole number has (OpenAPI format registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// RFC 3339 section 5.6, with its offset.
    DateTime,
    /// The same without an offset, for services that have one time zone.
    DateTimeLocal,
    Date,
    /// RFC 9562 section 4, in letters of either case.
    Uuid,
    /// One `@`, a domain of labels after it: what RFC 5321 section 4.1.2 calls a Mailbox, without quotes and addresses.
    Email,
    Int32,
    Int64,
}

pub(super) const FORMATS: [(&str, Format); 7] = [
    ("date-time", Format::DateTime),
    ("date-time-local", Format::DateTimeLocal),
    ("date", Format::Date),
    ("uuid", Format::Uuid),
    ("email", Format::Email),
    ("int32", Format::Int32),
    ("int64", Format::Int64),
];

impl Format {
    pub(super) fn named(name: &str) -> Option<Format> {
        FORMATS.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }

    /// Whether a value has it; what it says nothing about has (JSON Schema Validation section 7.1).
    pub(super) fn fits(self, value: &Value) -> bool {
        match (self, value) {
            (Format::Int32, Value::Number(number)) => whole(number).is_none_or(|n| i32::try_from(n).is_ok()),
            (Format::Int64, Value::Number(number)) => whole(number).is_none_or(|n| i64::try_from(n).is_ok()),
            (Format::Int32 | Format::Int64, _) => true,
            (format, Value::String(text)) => format.has(text),
            _ => true,
        }
    }

    fn has(self, text: &str) -> bool {
        match self {
            Format::Date => date(text),
            Format::DateTimeLocal => local(text),
            Format::DateTime => offset(text).is_some_and(local),
            Format::Uuid => uuid(text),
            Format::Email => email(text),
            Format::Int32 | Format::Int64 => true,
        }
    }

    /// What a client is told that sent something else.
    pub(super) fn told(self) -> &'static str {
        match self {
            Format::DateTime => "must be a time with its offset, like 2026-11-21T18:30:00Z",
            Format::DateTimeLocal => "must be a time without offset, like 2026-11-21T18:30:00",
            Format::Date => "must be a day, like 2026-11-21",
            Format::Uuid => "must be a UUID",
            Format::Email => "must be an address of e-mail",
            Format::Int32 => "must fit into 32 bits",
            Format::Int64 => "must fit into 64 bits",
        }
    }
}

/// As a whole number, cut off at 128 bits; none for a fraction, which `type` is to speak of.
fn whole(number: &serde_json::Number) -> Option<i128> {
    let exact = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let float = number.as_f64().filter(|float| float.fract() == 0.0);
    exact.or_else(|| float.map(|float| float as i128))
}

fn digits(text: &str, least: u32, most: u32) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| plain && (least..=most).contains(number))
}

fn date(text: &str) -> bool {
    let read = || {
        let (year, rest) = (text.get(..4)?, text.get(4..)?.strip_prefix('-')?);
        let (month, day) = (rest.get(..2)?, rest.get(2..)?.strip_prefix('-')?);
        let (year, month) = (digits(year, 0, 9999)?, digits(month, 1, 12)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        (day.len() == 2).then(|| digits(day, 1, days))?
    };
    read().is_some()
}

/// A day, `T`, and a time of day, with a fraction of a second if one likes. A leap second is one only at the end of a minute.
fn local(text: &str) -> bool {
    let read = || {
        let (day, time) = (text.get(..10)?, text.get(10..)?.strip_prefix(['T', 't'])?);
        let (clock, rest) = (time.get(..8)?, time.get(8..)?);
        let colons = clock.as_bytes()[2] == b':' && clock.as_bytes()[5] == b':';
        digits(clock.get(..2)?, 0, 23)?;
        digits(clock.get(3..5)?, 0, 59)?;
        digits(clock.get(6..)?, 0, 60)?;
        let fraction = rest.strip_prefix('.').map_or(rest.is_empty(), |fraction| {
            !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit())
        });
        Some(colons && fraction && date(day))
    };
    read().unwrap_or_default()
}

/// What stands before `Z` or an offset.
fn offset(text: &str) -> Option<&str> {
    if let Some(before) = text.strip_suffix(['Z', 'z']) {
        return Some(before);
    }
    let at = text.len().checked_sub(6)?;
    let (before, zone) = (text.get(..at)?, text.get(at..)?.strip_prefix(['+', '-'])?);
    digits(zone.get(..2)?, 0, 23)?;
    digits(zone.get(2..)?.strip_prefix(':')?, 0, 59)?;
    Some(before)
}

fn uuid(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let atom = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    local.len() <= 64
        && local.split('.').all(|atoms| !atoms.is_empty() && atoms.bytes().all(atom))
        && domain.len() <= 255
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_format_takes_what_its_rfc_does() {
        for (name, good, bad) in [
            (
                "date",
                &["2024-02-29", "2026-11-21"][..],
                &["2023-02-29", "2026-11-31", "2026-1-1", "26-11-21", "2026-11-211", "+026-11-21"][..],
            ),
            (
                "date-time",
                &["2026-11-21T18:30:00Z", "2026-11-21t18:30:00.25+02:00", "1990-12-31T23:59:60Z"],
                &[
                    "2026-11-21T18:30:00",
                    "2026-11-21T24:00:00Z",
                    "2026-11-21T18:30:00.Z",
                    "2026-11-21 18:30:00Z",
                    "2026-11-21T18:30:00+2:00",
                ],
            ),
            (
                "date-time-local",
                &["2026-11-21T18:30:00", "2026-11-21T18:30:00.5"],
                &["2026-11-21T18:30:00Z", "2026-11-21T18:30", "\u{e9}026-11-21T18:30:00"],
            ),
            (
                "uuid",
                &["f81d4fae-7dec-11d0-A765-00a0c91e6bf6"],
                &["f81d4fae7dec11d0a76500a0c91e6bf6", "g81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
            ),
            ("email", &["a.b+c@example.org"], &["a", "a@", "@b", "a@b@c", "a..b@c.d", "a@-b.c"]),
        ] {
            let format = Format::named(name).unwrap();
            good.iter().for_each(|text| assert!(format.fits(&json!(text)), "{name} {text}"));
            bad.iter().for_each(|text| assert!(!format.fits(&json!(text)), "{name} {text}"));
            assert!(format.fits(&json!(5)), "{name} says nothing about numbers");
        }
        assert!(Format::Int64.fits(&json!(i64::MIN)) && !Format::Int64.fits(&json!(u64::MAX)));
        assert!(!Format::Int64.fits(&json!(1e300)) && Format::Int32.fits(&json!("no number")));
    }
}
