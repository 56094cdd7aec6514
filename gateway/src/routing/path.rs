//! The one rule about paths, applied before anything looks at one: a path that two readers could read in two ways is
//! refused. What passes is matched, authorized and forwarded as it was sent, byte for byte. Not here: paths that only two
//! routes beside each other make doubtful (`readings.rs`).
//!
//! Refused: dot segments (RFC 3986 section 3.3) also when encoded, empty segments but the last, `/` and `\` encoded or a
//! literal `\`, control characters, broken percent-escapes, dot segments with a parameter (`..;a`, which servlet containers
//! take for `..`), segments of nothing but parameters (`/;a`, which they take for an empty one), characters of UTF-8 in more bytes than they need (RFC 3629 section 10), which may stand for `.` or `/`.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What stays as it is in a query value or a path segment that the gateway writes (RFC 3986 section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether everybody reads this path the same way.
#[must_use]
pub fn check(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    // Nearly all paths hold neither escapes nor dots nor doubled slashes: one look over the bytes tells.
    let mut last = b'/';
    let plain = bytes[1..].iter().all(|&byte| {
        let fine = !matches!((last, byte), (b'/', b'/' | b'.' | b';'))
            && !matches!(byte, b'%' | b'\\' | 0..=0x20 | 0x7f);
        last = byte;
        fine
    });
    plain
        || bytes[1..]
            .split(|byte| *byte == b'/')
            .enumerate()
            .all(|(at, segment)| check_segment(segment, at, bytes))
}

fn check_segment(segment: &[u8], at: usize, path: &[u8]) -> bool {
    if segment.is_empty() {
        // only after the last slash
        return path[1..].iter().filter(|byte| **byte == b'/').count() == at;
    }
    decoded(segment).is_some_and(|decoded| {
        let name = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
        !matches!(name, b"" | b"." | b"..")
            && !decoded.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0..=0x1f | 0x7f))
            && !is_overlong(&decoded)
    })
}

/// Whether some character is written in more bytes than it needs. Other bytes that are no UTF-8 have one reading.
fn is_overlong(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    bytes.iter().any(|byte| matches!(byte, 0xc0 | 0xc1))
        || pairs.into_iter().any(|pair| matches!(pair, (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f)))
}

/// The bytes that a segment stands for; `None` when an escape is broken.
fn decoded(segment: &[u8]) -> Option<Vec<u8>> {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'%' { (hex(bytes.next())? * 16 + hex(bytes.next())?) as u8 } else { *byte });
    }
    Some(out)
}

/// The path as a lenient reader has it: escapes decoded, parameters of segments left out (RFC 3986 section 3.3), and as
/// if neither case nor a slash at the end mattered.
pub(super) fn leniently(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for segment in path.split('/').skip(1) {
        let bytes: Vec<u8> = percent_decode_str(segment).collect();
        let name = bytes.split(|byte| *byte == b';').next().unwrap_or_default();
        out.push('/');
        out += &String::from_utf8_lossy(name).to_lowercase();
    }
    if out.len() > 1 && out.ends_with('/') {
        out.pop();
    }
    out
}

/// A parameter as text: percent-decoded. `None` when it is not UTF-8.
#[must_use]
pub fn decode(raw: &str) -> Option<Cow<'_, str>> {
    if raw.contains('%') { percent_decode_str(raw).decode_utf8().ok() } else { Some(Cow::Borrowed(raw)) }
}

/// The bytes that a parameter stands for, however it was escaped: also those that are no text.
#[must_use]
pub fn bytes(raw: &str) -> Cow<'_, [u8]> {
    percent_decode_str(raw).into()
}

/// Appends `raw` to a target that is being written, so that it can be nothing but one value there, whatever it holds.
pub fn push_escaped(out: &mut String, raw: &str) {
    let tame =
        raw.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    match decode(raw) {
        _ if tame => out.push_str(raw),
        Some(text) => out.extend(utf8_percent_encode(&text, ESCAPED)),
        None => out
            .extend(percent_encoding::percent_encode(&percent_decode_str(raw).collect::<Vec<u8>>(), ESCAPED)),
    }
}

/// Appends a plain text in the same way.
pub fn push_text(out: &mut String, text: &str) {
    out.extend(utf8_percent_encode(text, ESCAPED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for good in [
            "/",
            "/orders/99",
            "/orders/",
            "/a.b/.well-known",
            "/a%20b",
            "/caf%C3%A9",
            "/...",
            "/a/..b",
            "/a;v=1",
            "/%e0%a4%85",
            "/%ff",
        ] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "//",
            "/a//b",
            "/./a",
            "/a/..",
            "/a/../b",
            "/%2e%2E/a",
            "/a/.%2e",
            "/a%2fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%0d%0ab",
            "/a//",
            "/a/..;/b",
            "/a/.;b",
            "/;a",
            "/a/;b/c",
            "/a/;",
            "/a/%3bb",
            "/a/%c0%ae",
            "/%e0%80%af",
            "/%f0%80%80%af",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn a_value_cannot_leave_the_place_it_is_written_to() {
        let mut out = String::new();
        for raw in ["99", "1&x=2", "a%26b", "a+b", "a%2Bb c"] {
            push_escaped(&mut out, raw);
            out.push('|');
        }
        assert_eq!(out, "99|1%26x%3D2|a%26b|a%2Bb|a%2Bb%20c|");
    }
}
