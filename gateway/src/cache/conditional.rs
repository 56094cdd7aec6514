//! What a stored answer is to a request with conditions or a range: whole, not modified, a part, or no part that is there
//! (RFC 9111 section 4.3.2, RFC 9110 sections 13 and 14).
//!
//! Not here: asking a service by conditions of our own (`control.rs`).

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::control::date;

/// What a client gets of a stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Portion {
    /// All of it.
    Whole,
    /// That it has not changed: 304.
    NotModified,
    /// These bytes: 206.
    Part(Range<usize>),
    /// That there are no such bytes: 416.
    Unsatisfiable,
}

/// Conditions that only the service can decide: they are about changing something (RFC 9110 section 13.1).
#[must_use]
pub fn is_for_service(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Whether a request says nothing to caches: no condition, no range, no directive. Most do not, and one look over their fields
/// costs less than a search for each of seven.
#[must_use]
pub fn is_plain(request: &HeaderMap) -> bool {
    const SAID: [HeaderName; 7] = [
        header::CACHE_CONTROL,
        header::IF_MATCH,
        header::IF_UNMODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_RANGE,
        header::RANGE,
    ];
    !request.keys().any(|name| SAID.contains(name))
}

/// Whether a request may be content with less than the whole answer.
#[must_use]
pub fn has_any(request: &HeaderMap) -> bool {
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE]
        .iter()
        .any(|name| request.contains_key(name))
}

/// Removes all of a client's own conditions: the gateway asks by its own and decides over these itself.
pub fn remove(headers: &mut HeaderMap) {
    for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE] {
        headers.remove(name);
    }
}

/// What `request` gets of an answer of `length` bytes; `None` if its length is not known yet, and parts are not given.
#[must_use]
pub fn portion(
    request: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    length: Option<usize>,
) -> Portion {
    if !has_any(request) {
        return Portion::Whole;
    }
    if is_not_modified(request, status, stored) {
        return Portion::NotModified;
    }
    match length {
        Some(length) if status == StatusCode::OK && if_range_holds(request, stored) => range(request, length),
        _ => Portion::Whole,
    }
}

/// RFC 9110 section 13.2.2: a tag before a date, and conditions only for what would be a success.
fn is_not_modified(request: &HeaderMap, status: StatusCode, stored: &HeaderMap) -> bool {
    if !status.is_success() {
        return false;
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        return matches_a_tag(request, stored);
    }
    let Some(since) = date(request, header::IF_MODIFIED_SINCE) else { return false };
    // RFC 9111 section 4.3.2: without a date of change, that of the answer.
    let changed = date(stored, header::LAST_MODIFIED);
    let changed = changed.or_else(|| {
        (!stored.contains_key(header::LAST_MODIFIED)).then(|| date(stored, header::DATE)).flatten()
    });
    changed.is_some_and(|changed| changed <= since)
}

/// RFC 9110 section 13.1.2: any tag of the list by the weak comparison, or `*`.
fn matches_a_tag(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let own = tag_of(stored);
    let lines = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(tags).any(|tag| tag == "*" || Some(opaque(tag)) == own)
}

/// Whether a 304 is about what is stored: it may name no tag, but no other one (RFC 9111 section 4.3.4).
#[must_use]
pub fn is_about(stored: &HeaderMap, told: &HeaderMap) -> bool {
    tag_of(told).is_none_or(|named| tag_of(stored).is_none_or(|own| own == named))
}

fn tag_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(opaque)
}

/// A tag without its weakness (RFC 9110 section 8.8.3.2).
fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The members of a list of tags: between quotes, commas are part of a tag.
fn tags(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let mut quoted = false;
        let end = rest.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        let (tag, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        (!tag.is_empty()).then(|| tag.trim_end())
    })
}

/// RFC 9110 section 13.1.5: the strong comparison, byte for byte; a date must be exactly that of the last change.
fn if_range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    if condition.as_bytes().starts_with(b"\"") {
        return stored.get(header::ETAG) == Some(condition);
    }
    let changed = date(stored, header::LAST_MODIFIED);
    changed.is_some() && date(request, header::IF_RANGE) == changed
}

/// RFC 9110 section 14.2: one range of bytes. Several, and what is none, get the whole: that is always allowed.
fn range(request: &HeaderMap, length: usize) -> Portion {
    let mut lines = request.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Portion::Whole };
    let Some((unit, spec)) = line.to_str().ok().and_then(|line| line.split_once('=')) else {
        return Portion::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Portion::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return Portion::Whole };
    match (number(first), number(last)) {
        (Bound::None, Bound::At(suffix)) => match suffix.min(length) {
            0 => Portion::Unsatisfiable,
            suffix => Portion::Part(length - suffix..length),
        },
        (Bound::At(first), Bound::At(last)) if last < first => Portion::Whole,
        (Bound::At(first), _) if first >= length => Portion::Unsatisfiable,
        (Bound::At(first), Bound::At(last)) => Portion::Part(first..last.saturating_add(1).min(length)),
        (Bound::At(first), Bound::None) => Portion::Part(first..length),
        _ => Portion::Whole,
    }
}

enum Bound {
    None,
    At(usize),
    Wrong,
}

fn number(text: &str) -> Bound {
    match text {
        "" => Bound::None,
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Bound::At(text.parse().unwrap_or(usize::MAX))
        }
        _ => Bound::Wrong,
    }
}

/// Makes the head of a whole answer that of a portion of it.
pub fn reshape(portion: &Portion, status: &mut StatusCode, headers: &mut HeaderMap, length: usize) {
    match portion {
        Portion::Whole => {}
        Portion::NotModified => {
            // RFC 9110 section 15.4.5: the fields that describe the body go with the body.
            const OF_BODY: [HeaderName; 5] = [
                header::CONTENT_LENGTH,
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_RANGE,
            ];
            *status = StatusCode::NOT_MODIFIED;
            OF_BODY.iter().for_each(|name| drop(headers.remove(name)));
        }
        Portion::Part(part) => {
            *status = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).expect("made of digits"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.len()));
        }
        Portion::Unsatisfiable => {
            *status = StatusCode::RANGE_NOT_SATISFIABLE;
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
            let range = format!("bytes */{length}");
            headers.insert(header::CONTENT_RANGE, HeaderValue::try_from(range).expect("made of digits"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = lines.iter();
        pairs.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn of(request: &[(&'static str, &'static str)], stored: &[(&'static str, &'static str)]) -> Portion {
        portion(&headers(request), StatusCode::OK, &headers(stored), Some(10))
    }

    #[test]
    fn a_304_is_about_the_stored_tag_or_about_none() {
        let stored = headers(&[("etag", "\"a\"")]);
        for (tag, about) in [("\"a\"", true), ("W/\"a\"", true), ("\"b\"", false), ("W/\"b\"", false)] {
            assert_eq!(is_about(&stored, &headers(&[("etag", tag)])), about, "{tag}");
        }
        assert!(is_about(&stored, &headers(&[])) && is_about(&headers(&[]), &stored));
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let tagged = [("etag", "\"a\""), ("last-modified", CHANGED)];
        for (condition, holds) in [
            (("if-none-match", "\"a\""), true),
            (("if-none-match", "W/\"a\""), true),
            (("if-none-match", "\"x\", \"a,b\" , \"a\""), true),
            (("if-none-match", "*"), true),
            (("if-none-match", "\"b\", \"a,\""), false),
            (("if-none-match", "a"), false),
            (("if-modified-since", CHANGED), true),
            (("if-modified-since", LATER), true),
            (("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT"), true),
            (("if-modified-since", EARLIER), false),
            (("if-modified-since", "yesterday"), false),
        ] {
            let expected = if holds { Portion::NotModified } else { Portion::Whole };
            assert_eq!(of(&[condition], &tagged), expected, "{condition:?}");
        }
        // A tag counts, and not the date beside it.
        let both = [("if-none-match", "\"b\""), ("if-modified-since", LATER)];
        assert_eq!(of(&both, &tagged), Portion::Whole);
        assert_eq!(of(&[("if-modified-since", LATER)], &[("date", CHANGED)]), Portion::NotModified);
        assert_eq!(of(&[("if-modified-since", EARLIER)], &[("date", CHANGED)]), Portion::Whole);
        let missing =
            portion(&headers(&[("if-none-match", "*")]), StatusCode::NOT_FOUND, &headers(&[]), None);
        assert_eq!(missing, Portion::Whole, "a condition is only for what would be a success");
    }

    #[test]
    fn a_range_is_cut_out_of_what_is_stored() {
        for (range, expected) in [
            ("bytes=0-1", Portion::Part(0..2)),
            ("bytes=1-", Portion::Part(1..10)),
            ("bytes=-1", Portion::Part(9..10)),
            ("bytes=-99", Portion::Part(0..10)),
            ("Bytes=5-99", Portion::Part(5..10)),
            ("bytes=10-", Portion::Unsatisfiable),
            ("bytes=-0", Portion::Unsatisfiable),
            ("bytes=99999999999999999999-", Portion::Unsatisfiable),
            ("bytes=3-1", Portion::Whole),
            ("bytes=0-1,3-4", Portion::Whole),
            ("bytes=-", Portion::Whole),
            ("bytes=a-b", Portion::Whole),
            ("lines=0-1", Portion::Whole),
        ] {
            assert_eq!(of(&[("range", range)], &[]), expected, "{range}");
        }
    }

    #[test]
    fn a_range_may_depend_on_what_the_client_has() {
        for (condition, stored, expected) in [
            ("\"a\"", ("etag", "\"a\""), Portion::Part(0..2)),
            ("\"a\"", ("etag", "\"b\""), Portion::Whole),
            ("W/\"a\"", ("etag", "W/\"a\""), Portion::Whole),
            (CHANGED, ("last-modified", CHANGED), Portion::Part(0..2)),
            (LATER, ("last-modified", CHANGED), Portion::Whole),
            (CHANGED, ("x-nothing", ""), Portion::Whole),
        ] {
            let request = [("range", "bytes=0-1"), ("if-range", condition)];
            assert_eq!(of(&request, &[stored]), expected, "{condition}");
        }
    }

    #[test]
    fn the_head_says_what_portion_it_is() {
        let stored = headers(&[("content-length", "10"), ("content-type", "text/plain"), ("etag", "\"a\"")]);
        let head = |portion| {
            let (mut status, mut headers) = (StatusCode::OK, stored.clone());
            reshape(&portion, &mut status, &mut headers, 10);
            (status.as_u16(), headers)
        };
        assert_eq!(head(Portion::NotModified), (304, headers(&[("etag", "\"a\"")])));
        let (status, part) = head(Portion::Part(2..5));
        assert_eq!(
            (status, &part["content-range"], &part["content-length"]),
            (206, &HeaderValue::from_static("bytes 2-4/10"), &HeaderValue::from_static("3"))
        );
        let (status, none) = head(Portion::Unsatisfiable);
        assert_eq!((status, &none["content-range"]), (416, &HeaderValue::from_static("bytes */10")));
    }
}
