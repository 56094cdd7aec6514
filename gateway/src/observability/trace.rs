//! The trace a request belongs to (W3C Trace Context, level 1): a valid `traceparent` is continued, else one is begun.
//!
//! Not here: exporting spans.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::upstream::Fields;

/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace of one request.
#[derive(Debug, Clone)]
pub struct Trace {
    id: [u8; 32],
    flags: [u8; 2],
    state: Option<HeaderValue>,
}

impl Trace {
    /// The client's trace when its `traceparent` is valid, else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self::continued(headers).unwrap_or_else(Self::begun)
    }

    /// A new one.
    #[must_use]
    pub fn begun() -> Self {
        Trace { id: hex(fastrand::u128(1..)), flags: *b"01", state: None }
    }

    fn continued(headers: &HeaderMap) -> Option<Self> {
        let mut sent = headers.get_all(TRACEPARENT).iter();
        let parent = sent.next()?.as_bytes();
        if sent.next().is_some() || !valid(parent) {
            return None;
        }
        let id = parent[3..35].try_into().expect("a valid traceparent has 55 bytes at least");
        let flags = parent[53..55].try_into().expect("a valid traceparent has 55 bytes at least");
        Some(Trace { id, flags, state: headers.get(TRACESTATE).cloned() })
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).expect("hexadecimal digits")
    }

    /// Writes the `traceparent` of a new span, and the `tracestate` that came along. Neither may be there yet.
    pub fn stamp(&self, fields: &mut Fields) {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.id);
        text[36..52].copy_from_slice(&hex::<16>(u128::from(fastrand::u64(1..))));
        text[53..55].copy_from_slice(&self.flags);
        fields.push(TRACEPARENT, HeaderValue::from_bytes(&text).expect("hexadecimal digits and dashes"));
        if let Some(state) = &self.state {
            fields.push(TRACESTATE, state.clone());
        }
    }
}

/// The last `N` hexadecimal digits of `number`; `N` is even.
#[must_use]
pub fn hex<const N: usize>(number: u128) -> [u8; N] {
    let mut text = [b'0'; N];
    for (pair, byte) in text.rchunks_exact_mut(2).zip(number.to_le_bytes()) {
        pair.copy_from_slice(&PAIRS[usize::from(byte)]);
    }
    text
}

/// The two digits of each byte.
const PAIRS: [[u8; 2]; 256] = {
    let (digits, mut pairs, mut byte) = (b"0123456789abcdef", [[0; 2]; 256], 0);
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Section 3.2: version, trace id, parent id, flags; lower-case; ids not zero; a later version may be longer.
fn valid(text: &[u8]) -> bool {
    let digits = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' {
        return false;
    }
    let (version, id, span, flags) = (&text[..2], &text[3..35], &text[36..52], &text[53..55]);
    let length_fits = if version == b"00" { text.len() == 55 } else { text.len() == 55 || text[55] == b'-' };
    version != b"ff"
        && length_fits
        && [version, id, span, flags].into_iter().all(digits)
        && !zero(id)
        && !zero(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(parent: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        let mut sent = Fields::default();
        Trace::of(&headers).stamp(&mut sent);
        sent.get(&TRACEPARENT).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn a_valid_trace_is_continued_with_a_new_span() {
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let passed = stamped(sent);
        assert_eq!(passed[..36], sent[..36]);
        assert_ne!(passed[36..52], sent[36..52]);
        assert!(valid(passed.as_bytes()));
    }

    #[test]
    fn an_invalid_trace_is_replaced() {
        for sent in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "nonsense",
        ] {
            let passed = stamped(sent);
            assert!(valid(passed.as_bytes()) && !passed.contains("4bf92f3577b34da6"), "{sent}");
        }
    }
}
