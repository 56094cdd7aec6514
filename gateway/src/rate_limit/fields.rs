//! What clients are told of limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers, structured
//! fields), without formatting machinery for what changes with each request.
//!
//! `q` is the quota and `w` its window in seconds, `r` what is left at once, `t` the seconds until all of it is back.
//! Not here: `Retry-After`, which every refusal has (`error.rs`).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// A limit's name as a string of structured fields (RFC 9651 section 3.3.3). None when it cannot be one.
pub(super) fn quoted(name: &str) -> Option<String> {
    let plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    plain.then(|| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Appends `"browse";r=5;t=1`.
pub(super) fn push(out: &mut Vec<u8>, quoted: &str, remaining: u32, full_in: u64) {
    const MORE: &[u8] = b", ";
    let (mut left, mut seconds) = (itoa::Buffer::new(), itoa::Buffer::new());
    out.reserve(MORE.len() + quoted.len() + 6 + 10 + 10); // once for most requests
    if !out.is_empty() {
        out.extend_from_slice(MORE);
    }
    out.extend_from_slice(quoted.as_bytes());
    out.extend_from_slice(b";r=");
    out.extend_from_slice(left.format(remaining).as_bytes());
    out.extend_from_slice(b";t=");
    out.extend_from_slice(seconds.format(full_in).as_bytes());
}

/// Sets both fields; what a service said of its own limits gives way.
pub(super) fn set(headers: &mut HeaderMap, policy: &HeaderValue, standing: Vec<u8>) {
    let standing = HeaderValue::from_maybe_shared(Bytes::from(standing));
    headers.insert(STANDING, standing.expect("names are plain, numbers are digits"));
    headers.insert(POLICY, policy.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_those_that_cannot_be_are_none() {
        assert_eq!(quoted("browse").unwrap(), r#""browse""#);
        assert_eq!(quoted(r#"a"b\c"#).unwrap(), r#""a\"b\\c""#);
        assert_eq!((quoted("größe"), quoted("a\nb")), (None, None));
    }

    #[test]
    fn several_limits_make_one_list() {
        let mut out = Vec::new();
        push(&mut out, r#""a""#, 5, 1);
        push(&mut out, r#""b""#, 0, 86_400);
        assert_eq!(String::from_utf8(out).unwrap(), r#""a";r=5;t=1, "b";r=0;t=86400"#);
    }
}
