//! Which of several answers for one URL fits a request (RFC 9111 section 4.1): the fields that `Vary` names, compared.
//!
//! Compared after what cannot matter is taken away: lines are joined, blanks around commas go, but not of fields that are no
//! lists, and so does the case of languages and codings. The order of languages stays: many services prefer the first.
//! Not here: choosing among those that fit (`store.rs`).

use http::{HeaderMap, HeaderName, header};

/// More names than this, and an answer is not kept: every look would compare them all.
const MOST_NAMES: usize = 16;

/// What a request had in the fields that its answer varies by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection(Box<[(HeaderName, Value)]>);

/// Of a field, if the request had it.
type Value = Option<Box<[u8]>>;

/// Whether an answer fits no other request: `*`, what is no list of names, too many of them, or one that is `unkeyed`: a
/// field that clients do not send, so that all their requests would seem to fit.
#[must_use]
pub fn is_star(headers: &HeaderMap, unkeyed: &[HeaderName]) -> bool {
    if !headers.contains_key(header::VARY) {
        return false;
    }
    names(headers).is_none_or(|names| names.iter().any(|name| unkeyed.contains(name)))
}

fn names(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in headers.get_all(header::VARY) {
        for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return None;
            }
            let name = name.parse().ok()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    (names.len() <= MOST_NAMES).then_some(names)
}

impl Selection {
    /// What `request` had in the fields that `answer` varies by. None if no other request fits.
    #[must_use]
    pub fn of(answer: &HeaderMap, request: &HeaderMap) -> Option<Self> {
        if !answer.contains_key(header::VARY) {
            return Some(Selection::default());
        }
        let selected = names(answer)?.into_iter().map(|name| {
            let value = normalized(request, &name);
            (name, value)
        });
        Some(Selection(selected.collect()))
    }

    /// Whether the answer varies by nothing.
    #[must_use]
    pub fn is_everybodys(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `request` has the same in all of them.
    #[must_use]
    pub fn fits(&self, request: &HeaderMap) -> bool {
        self.0.iter().all(|(name, had)| is_same(request, name, had.as_deref()))
    }

    /// Another request's values of the same fields.
    #[must_use]
    pub fn again(&self, request: &HeaderMap) -> Self {
        Selection(self.0.iter().map(|(name, _)| (name.clone(), normalized(request, name))).collect())
    }

    /// A request's values of these fields.
    #[must_use]
    pub fn by(names: Box<[HeaderName]>, request: &HeaderMap) -> Self {
        let value = |name: HeaderName| {
            let value = normalized(request, &name);
            (name, value)
        };
        Selection(names.into_iter().map(value).collect())
    }

    /// Each field and what the request had in it.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.0.iter().map(|(name, value)| (name, value.as_deref()))
    }

    /// Feeds what tells it from others of the same URL.
    pub fn feed(&self, state: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        for (name, value) in &self.0 {
            (name.as_str(), value).hash(state);
        }
    }

    /// What it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.iter().map(|(_, value)| 48 + value.as_ref().map_or(0, |value| value.len())).sum()
    }
}

/// Without an allocation where the value is written as it was.
fn is_same(request: &HeaderMap, name: &HeaderName, had: Option<&[u8]>) -> bool {
    let mut values = request.get_all(name).iter();
    match (values.next(), values.next(), had) {
        (None, _, had) => had.is_none(),
        (Some(_), _, None) => false,
        (Some(only), None, Some(had)) if only.as_bytes() == had => true,
        (_, _, had) => normalized(request, name).as_deref() == had,
    }
}

fn normalized(request: &HeaderMap, name: &HeaderName) -> Value {
    let lines: Vec<&[u8]> = request.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    if lines.is_empty() {
        return None;
    }
    if *name == header::COOKIE {
        return Some(lines.join(&b"; "[..]).into()); // as services are told pieces of HTTP/2 (RFC 9113 section 8.2.3)
    }
    let mut joined = lines.join(&b","[..]);
    // What stands between quotes, or is no list, is nobody's to change.
    let is_text = matches!(*name, header::AUTHORIZATION | header::REFERER | header::USER_AGENT);
    if is_text || joined.contains(&b'"') {
        return Some(joined.into());
    }
    let members = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|one| !one.is_empty());
    joined = members.collect::<Vec<_>>().join(&b","[..]);
    if matches!(*name, header::ACCEPT_LANGUAGE | header::ACCEPT_ENCODING | header::ACCEPT_CHARSET) {
        joined.make_ascii_lowercase();
    }
    Some(joined.into())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn fits(
        vary: &'static str,
        then: &[(&'static str, &'static str)],
        now: &[(&'static str, &'static str)],
    ) -> bool {
        let selection = Selection::of(&headers(&[("vary", vary)]), &headers(then)).unwrap();
        selection.fits(&headers(now))
    }

    #[test]
    fn a_request_fits_that_has_the_same_in_all_fields_named() {
        assert!(fits("foo", &[("foo", "1")], &[("foo", "1"), ("other", "2")]));
        assert!(fits("Foo, bar", &[("foo", "1")], &[("foo", "1")]));
        for now in [&[("foo", "2")][..], &[], &[("foo", "1"), ("bar", "")]] {
            assert!(!fits("foo, bar", &[("foo", "1")], now), "{now:?}");
        }
        assert!(!fits("foo", &[], &[("foo", "")]), "empty is not absent");
    }

    #[test]
    fn what_cannot_matter_does_not() {
        assert!(fits("foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")]));
        assert!(fits("foo", &[("foo", "1,2")], &[("foo", "1,   2")]));
        assert!(fits("accept-language", &[("accept-language", "en, de")], &[("accept-language", "eN ,De")]));
        assert!(!fits("accept-language", &[("accept-language", "en, de")], &[("accept-language", "de, en")]));
        assert!(!fits("foo", &[("foo", "a")], &[("foo", "A")]));
        assert!(!fits("foo", &[("foo", "\"a, b\"")], &[("foo", "\"a,b\"")]));
    }

    #[test]
    fn a_star_anywhere_fits_nothing() {
        for star in ["*", "*, *", ", *", "foo, *", "*, foo", "a b"] {
            assert!(is_star(&headers(&[("vary", star)]), &[]), "{star}");
        }
        assert!(is_star(&headers(&[("vary", "foo"), ("vary", "*")]), &[]));
        let plain = headers(&[("vary", ""), ("vary", "foo")]);
        assert!(!is_star(&plain, &[]) && is_star(&plain, &[HeaderName::from_static("foo")]));
    }

    #[test]
    fn what_services_read_as_something_else_is_not_the_same() {
        let answer = headers(&[("vary", "Cookie, User-Agent")]);
        let fits = |one: &[(&'static str, &'static str)], other: &[(&'static str, &'static str)]| {
            Selection::of(&answer, &headers(one)).unwrap().fits(&headers(other))
        };
        let pieces = [("cookie", "a=1"), ("cookie", "b=2")];
        assert!(fits(&pieces, &[("cookie", "a=1; b=2")]), "that is what the service is told");
        assert!(!fits(&pieces, &[("cookie", "a=1,b=2")]));
        assert!(!fits(&[("cookie", "a=1, b=2")], &[("cookie", "a=1,b=2")]));
        assert!(!fits(&[("user-agent", "A (B, C)")], &[("user-agent", "A (B,C)")]));
    }
}
