//! What `Cache-Control` says (RFC 9111 section 5.2), and the fields that say it to us alone (RFC 9213).
//!
//! Reading is forgiving where that is safe: what would let an answer be kept for longer must be well-formed, what forbids
//! something is believed however it is written.
//! Not here: what follows from it (`control.rs`).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Longer than any answer is kept: what is larger is this (RFC 9111 section 1.2.2).
const FOREVER: u64 = 1 << 31;

/// The fields that say it to caches like this one before `Cache-Control` does, in their order (RFC 9213 section 2.2): our
/// own, then that for all caches of a service's own.
const TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("gateway-cache-control"), HeaderName::from_static("cdn-cache-control")];

/// What services said to caches of their own before RFC 9213, and many still do: the Edge Architecture Specification (W3C
/// note of 2001), section 2.3. As forgiving as `Cache-Control`.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// The name by which such a directive is meant for this cache, as `Surrogate-Capability` tells services.
pub const SURROGATE: &str = "gateway";

/// Which of an answer's fields a directive is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum About {
    /// The directive is not there.
    #[default]
    Nothing,
    /// All of the answer.
    All,
    /// These fields only (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    Fields(Vec<HeaderName>),
}

impl About {
    fn add(&mut self, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            *self = About::All;
            return;
        };
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let named: Result<Vec<_>, _> = names.map(str::parse).collect();
        match (&mut *self, named) {
            (About::All, _) => {}
            (_, Err(_)) => *self = About::All,
            (About::Nothing, Ok(named)) => *self = About::Fields(named),
            (About::Fields(known), Ok(named)) => known.extend(named),
        }
    }
}

/// The directives of a message that mean something to a shared cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`.
    pub no_cache: About,
    /// `private`.
    pub private: About,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `only-if-cached`, of a request.
    pub only_if_cached: bool,
    /// `max-age`; zero when it is none that can be believed.
    pub max_age: Option<Duration>,
    /// `s-maxage`, the same.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 section 3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 section 4).
    pub stale_if_error: Option<Duration>,
    /// `max-stale`, of a request; forever without a value.
    pub max_stale: Option<Duration>,
    /// `min-fresh`, of a request.
    pub min_fresh: Option<Duration>,
    /// Whether a field for caches like this one said so. Then `Expires` says nothing (RFC 9213 section 2.2).
    pub targeted: bool,
}

impl Directives {
    /// What `Cache-Control` says.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut all = Directives::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            for (name, value) in members(line) {
                all.add(name, value);
            }
        }
        all
    }

    /// What an answer says to this cache: by the first targeted field that is valid and not empty, else by
    /// `Cache-Control` (RFC 9213 section 2.2).
    #[must_use]
    pub fn of_answer(headers: &HeaderMap) -> Self {
        let targeted = TARGETED.iter().find_map(|name| Directives::targeted(headers, name));
        let targeted = targeted.or_else(|| Directives::of_surrogates(headers));
        targeted.unwrap_or_else(|| Directives::of(headers))
    }

    /// What `Surrogate-Control` says to all such caches, or to this one by its name.
    fn of_surrogates(headers: &HeaderMap) -> Option<Self> {
        let mut all = Directives { targeted: true, ..Directives::default() };
        let nothing = all.clone();
        for line in headers.get_all(SURROGATE_CONTROL) {
            for (name, value) in members(line) {
                let (name, of_name) = name.split_once(';').unwrap_or((name, ""));
                let (value, of_value) = value.map_or((None, ""), |value| {
                    let (value, target) = value.split_once(';').unwrap_or((value, ""));
                    (Some(value), target)
                });
                if [of_name, of_value].iter().all(|target| ["", SURROGATE].contains(&target.trim())) {
                    all.add(name, value);
                }
            }
        }
        (all != nothing).then_some(all)
    }

    fn targeted(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek()?;
        let mut all = Directives { targeted: true, ..Directives::default() };
        let mut any = false;
        for line in lines {
            for member in super::dictionary::members(line.to_str().ok()?)? {
                any = true;
                all.add_typed(&member?);
            }
        }
        any.then_some(all)
    }

    /// Of a structured field: a directive whose value is of the wrong type is none (RFC 9213 section 2.1).
    fn add_typed(&mut self, member: &super::dictionary::Member<'_>) {
        use super::dictionary::Value;
        let seconds = |value: i64| u64::try_from(value).ok().map(|secs| secs.min(FOREVER).to_string());
        match member.value {
            Value::Integer(value) => {
                if let Some(seconds) = seconds(value) {
                    self.replace(member.key, &seconds);
                }
            }
            Value::Text(text) if matches!(member.key, "no-cache" | "private") => {
                self.add(member.key, Some(text));
            }
            Value::True if !is_timed(member.key) => self.add(member.key, None),
            Value::True | Value::Text(_) | Value::Other => {}
        }
    }

    /// The last of several counts in a dictionary (RFC 9651 section 3.2).
    fn replace(&mut self, name: &str, value: &str) {
        if let Some(slot) = self.timed(name) {
            *slot = None;
            self.add(name, Some(value));
        }
    }

    fn timed(&mut self, name: &str) -> Option<&mut Option<Duration>> {
        Some(match name {
            "max-age" => &mut self.max_age,
            "s-maxage" => &mut self.s_maxage,
            "stale-while-revalidate" => &mut self.stale_while_revalidate,
            "stale-if-error" => &mut self.stale_if_error,
            "min-fresh" => &mut self.min_fresh,
            _ => return None,
        })
    }

    fn add(&mut self, name: &str, value: Option<&str>) {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.add(value),
            "private" => self.private.add(value),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-stale" => {
                self.max_stale = Some(value.map_or(Duration::from_secs(FOREVER), delta_seconds));
            }
            lower => {
                if let Some(slot) = self.timed(lower) {
                    let told = value.map_or(Duration::ZERO, delta_seconds);
                    // Two that differ: the answer is taken for stale (RFC 9111 section 4.2.1).
                    *slot = Some(slot.map_or(told, |known| known.min(told)));
                }
            }
        }
    }
}

/// Whether a directive is nothing without seconds.
fn is_timed(name: &str) -> bool {
    Directives::default().timed(name).is_some()
}

/// RFC 9111 section 1.2.2. What is no number of seconds is none at all, so that the answer is stale (section 4.2.1).
fn delta_seconds(text: &str) -> Duration {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    Duration::from_secs(text.parse().unwrap_or(FOREVER).min(FOREVER))
}

/// The members of a `Cache-Control` line: `name` or `name=value`, the value with its quotes taken off. A value holds commas
/// only between quotes.
fn members(line: &HeaderValue) -> impl Iterator<Item = (&str, Option<&str>)> {
    // What is no ASCII text says nothing, and nothing is stored without being allowed.
    let mut rest = line.to_str().unwrap_or("no-store");
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (member, after) = cut(rest);
            rest = after;
            let member = member.trim();
            if member.is_empty() {
                continue;
            }
            let Some((name, value)) = member.split_once('=') else { return Some((member, None)) };
            // A blank beside `=` is no grammar: it is kept in the value, which then is no number.
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            return Some((name.trim(), Some(unquoted.unwrap_or(value))));
        }
        None
    })
}

/// Cuts at the first comma that does not stand between quotes.
fn cut(text: &str) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[(&'static str, &'static str)]) -> Directives {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Directives::of_answer(&headers)
    }

    fn max_age(line: &'static str) -> Option<u64> {
        of(&[("cache-control", line)]).max_age.map(|age| age.as_secs())
    }

    #[test]
    fn a_lifetime_is_a_whole_number_of_seconds_or_none() {
        for (line, seconds) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("foobar, max-age=3600", Some(3600)),
            ("max-age=99999999999999999999999", Some(FOREVER)),
            ("max-age=2147483649", Some(FOREVER)),
            ("max-age='3600'", Some(0)),
            ("max-age=-3600", Some(0)),
            ("max-age=3600.0", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("extension=\"max-age=3600\", max-age=1", Some(1)),
            ("max-age=1, extension=\"a, max-age=3600\"", Some(1)),
            ("extension=\"\\\", max-age=5\"", None),
            ("max-age=1800, max-age=1", Some(1)),
            ("max-age=1, max-age=1800", Some(1)),
            ("private", None),
        ] {
            assert_eq!(max_age(line), seconds, "{line}");
        }
    }

    #[test]
    fn what_forbids_is_believed_however_it_is_written() {
        for line in ["no-store", "No-StOrE", "max-age=5,no-store=\"x\"", ",, no-store ,", "no-store =1"] {
            assert!(of(&[("cache-control", line)]).no_store, "{line}");
        }
        let fields = of(&[("cache-control", "no-cache=\"a, b\""), ("cache-control", "private=c")]);
        let (a, b, c) =
            (HeaderName::from_static("a"), HeaderName::from_static("b"), HeaderName::from_static("c"));
        assert_eq!((fields.no_cache, fields.private), (About::Fields(vec![a, b]), About::Fields(vec![c])));
        for line in ["no-cache", "no-cache=\"\"", "no-cache=\"a b\"", "no-cache=\"a\", no-cache"] {
            assert_eq!(of(&[("cache-control", line)]).no_cache, About::All, "{line}");
        }
    }

    #[test]
    fn a_targeted_field_replaces_the_others_if_it_is_a_valid_one() {
        let control = ("cache-control", "no-store");
        for (line, seconds) in [
            ("max-age=60", Some(60)),
            ("max-age=60;x=1, foo", Some(60)),
            ("max-age=5, max-age=60", Some(60)),
            ("max-age=99999999999", Some(FOREVER)),
        ] {
            let told = of(&[control, ("cdn-cache-control", line)]);
            assert_eq!((told.no_store, told.max_age), (false, seconds.map(Duration::from_secs)), "{line}");
        }
        for ignored in ["", "max-age=60, &&&", "MaX-age=60", "max-age =60", "max-age= 60", "max-age=60,"] {
            assert!(of(&[control, ("cdn-cache-control", ignored)]).no_store, "{ignored}");
        }
        let wrong_type = of(&[("cache-control", "max-age=5"), ("cdn-cache-control", "max-age=\"60\"")]);
        assert_eq!((wrong_type.targeted, wrong_type.max_age), (true, None));
        for (line, seconds) in [
            ("max-age=60", Some(60)),
            ("MaX-aGe=60", Some(60)),
            ("foobar, max-age=60;gateway", Some(60)),
            ("max-age=60;other, content=\"ESI/1.0\"", None),
        ] {
            let told = of(&[("surrogate-control", line)]).max_age;
            assert_eq!(told, seconds.map(Duration::from_secs), "{line}");
        }
        assert!(of(&[("surrogate-control", "no-store"), ("cache-control", "max-age=5")]).no_store);
        let ours = of(&[control, ("cdn-cache-control", "max-age=1"), ("gateway-cache-control", "private")]);
        assert_eq!((ours.max_age, ours.private), (None, About::All));
    }
}
