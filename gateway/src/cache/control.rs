//! What a shared cache may keep, for how long, and what it may answer with it: RFC 9111, 5861 and 9213 as pure functions.
//!
//! Where the gateway is stricter than it must be, that is said: a service that says nothing of how long its answer is good
//! is not cached at all, unless its route gives a time or asks for guesses.
//! Not here: what directives say (`directives.rs`), which variant fits (`vary.rs`), what is answered to conditions and
//! ranges (`conditional.rs`), keeping anything (`store.rs`).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};

use super::{
    directives::{About, Directives, SURROGATE_CONTROL},
    marks::bare_host,
};

/// What a route says of its answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// How long an answer is good that says nothing of that itself.
    pub ttl: Option<Duration>,
    /// Whether that may be guessed from when it was last changed.
    pub heuristic: bool,
    /// How long an answer that is no longer good may stand in while it is asked for anew.
    pub stale_while_revalidate: Option<Duration>,
    /// How long it may stand in for an answer that cannot be had.
    pub stale_if_error: Option<Duration>,
    /// Whether what clients ask for by `Cache-Control` is done.
    pub client_directives: bool,
}

/// Where the time that an answer is good comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The service has said so.
    Told,
    /// The route gives it.
    Route,
    /// A guess.
    Guess,
    /// Nowhere: it is never good without being asked for.
    None,
}

/// How long an answer is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// From when it was made.
    pub lifetime: Duration,
    /// Who says so.
    pub source: Source,
}

/// The statuses whose answers may be kept without being told so (RFC 9110 section 15.1). Not 206: parts are never kept.
const HEURISTICALLY_CACHEABLE: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// A guess is a tenth of the time that nothing has changed (RFC 9111 section 4.2.2), and at most this.
const LONGEST_GUESS: Duration = Duration::from_secs(24 * 3600);

/// A date in any of the three formats (RFC 9110 section 5.6.7), if the field is there once.
#[must_use]
pub fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// How long an answer is good that was received at `received` (RFC 9111 section 4.2.1).
#[must_use]
pub fn freshness(
    status: StatusCode,
    headers: &HeaderMap,
    told: &Directives,
    received: SystemTime,
    rules: &Rules,
) -> Freshness {
    let explicit = |lifetime| Freshness { lifetime, source: Source::Told };
    // A shared cache: s-maxage before max-age before Expires.
    if let Some(lifetime) = told.s_maxage.or(told.max_age) {
        return explicit(lifetime);
    }
    let dated = date(headers, header::DATE).unwrap_or(received);
    if headers.contains_key(header::EXPIRES) && !told.targeted {
        // One that is none, such as `0`, is in the past (section 5.3).
        let expires = date(headers, header::EXPIRES);
        let lifetime = expires.and_then(|expires| expires.duration_since(dated).ok());
        return explicit(lifetime.unwrap_or_default());
    }
    let known = HEURISTICALLY_CACHEABLE.contains(&status.as_u16());
    if let Some(ttl) = rules.ttl.filter(|_| known && !status.is_server_error()) {
        return Freshness { lifetime: ttl, source: Source::Route };
    }
    // Section 4.2.2: where the status allows it, or the answer is marked as cacheable.
    let modified = date(headers, header::LAST_MODIFIED).filter(|_| rules.heuristic && (known || told.public));
    match modified.and_then(|modified| dated.duration_since(modified).ok()) {
        Some(unchanged) => Freshness { lifetime: (unchanged / 10).min(LONGEST_GUESS), source: Source::Guess },
        None => Freshness { lifetime: Duration::ZERO, source: Source::None },
    }
}

/// How old an answer already was when it was received (RFC 9111 section 4.2.3): `corrected_initial_age`.
#[must_use]
pub fn initial_age(headers: &HeaderMap, received: SystemTime, delay: Duration) -> Duration {
    let apparent =
        date(headers, header::DATE).and_then(|date| received.duration_since(date).ok()).unwrap_or_default();
    apparent.max(age(headers) + delay)
}

/// `Age`: of several the first, and nothing where it is no number (RFC 9111 section 5.1).
fn age(headers: &HeaderMap) -> Duration {
    let first = headers.get(header::AGE).and_then(|value| value.to_str().ok());
    let first = first.and_then(|value| value.split(',').next()).map(str::trim).unwrap_or_default();
    let number = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if number { first.parse().unwrap_or(u64::MAX).min(1 << 31) } else { 0 };
    Duration::from_secs(seconds)
}

/// What is known of a request where its answer might be kept.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its header section.
    pub headers: &'a HeaderMap,
    /// Whether it came with credentials, and its answer would be given to others as well.
    pub authorized: bool,
    /// What the service is told that is neither the client's own nor part of what the answer would be kept under.
    pub unkeyed: &'a [HeaderName],
}

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The method's answers are not kept (RFC 9111 section 3).
    Method,
    /// A part of an answer, no answer yet, or one that only means something beside another.
    Status,
    /// `no-store`, of either side.
    NoStore,
    /// `private`: for one reader.
    Private,
    /// Asked for by somebody, and nothing says that it is for others too (RFC 9111 section 3.5).
    Authorization,
    /// It sets a cookie, and nothing says that it is for everybody.
    SetCookie,
    /// Asked for with a cookie, and nothing but the route or a guess says that it may be kept.
    Cookie,
    /// It varies by what no request repeats, or by what is not the client's to say (RFC 9111 section 4.1).
    VaryStar,
    /// A status that is not understood, with `must-understand` (RFC 9111 section 5.2.2.3).
    NotUnderstood,
    /// Nothing says how long it is good, and there is nothing to ask again by.
    NoLifetime,
    /// Its end could not be told from a broken connection.
    Unframed,
    /// A 304 that names another representation than the one that was asked about (RFC 9111 section 4.3.4).
    Another,
}

impl Refused {
    /// Whether another request for the same may have had an answer that is kept: this one says nothing of what is kept.
    #[must_use]
    pub fn is_of_the_request(self) -> bool {
        matches!(self, Refused::Authorization | Refused::Cookie)
    }
}

/// Whether an answer may be kept for other requests (RFC 9111 section 3).
///
/// # Errors
/// Why not.
pub fn storable(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    told: &Directives,
    freshness: Freshness,
) -> Result<(), Refused> {
    if *asked.method != Method::GET {
        return Err(Refused::Method);
    }
    if !is_storable(status) {
        return Err(Refused::Status);
    }
    let understood = is_understood(status);
    if told.must_understand && !understood {
        return Err(Refused::NotUnderstood);
    }
    // Section 5.2.2.3: who understands the status does what it says, and leaves `no-store` to others.
    if told.no_store && !told.must_understand || Directives::of(asked.headers).no_store {
        return Err(Refused::NoStore);
    }
    if told.private == About::All {
        return Err(Refused::Private);
    }
    let for_all = told.public || told.s_maxage.is_some();
    if asked.authorized && !for_all && !told.must_revalidate {
        return Err(Refused::Authorization);
    }
    if headers.contains_key(header::SET_COOKIE) && !may_keep_cookie(told, freshness) {
        return Err(Refused::SetCookie);
    }
    // Stricter than section 3: what only the route or a guess makes cacheable may be one user's, if that one sent a cookie.
    let cookie = asked.headers.contains_key(header::COOKIE);
    if cookie && matches!(freshness.source, Source::Route | Source::Guess) {
        return Err(Refused::Cookie);
    }
    if super::vary::is_star(headers, asked.unkeyed) {
        return Err(Refused::VaryStar);
    }
    let validated = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let each_time = told.no_cache == About::All;
    // What must be asked for each time is of use only with something to ask by. Without a time, that must be said.
    let good = !freshness.lifetime.is_zero() && !each_time;
    let of_use = good || validated && (each_time || freshness.source != Source::None);
    if of_use { Ok(()) } else { Err(Refused::NoLifetime) }
}

/// Whether it is final, whole, and by itself: no 206, whose parts are not put together here, and no 304.
#[must_use]
pub fn is_storable(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 100..=199 | 206 | 304)
}

/// RFC 9111 section 7.3 lets a cache keep `Set-Cookie`. Here that takes a service that has said, in words for shared caches,
/// that the answer is for everybody.
fn may_keep_cookie(told: &Directives, freshness: Freshness) -> bool {
    freshness.source == Source::Told && (told.public || told.s_maxage.is_some() || told.targeted)
}

/// Whether the status is one whose rules about caching are known and followed here (RFC 9110 section 15).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

/// What concerns one connection. The proxy has removed it and what `Connection` names; of parts it is still there.
pub(super) const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes what is not kept with an answer (RFC 9111 section 3.1): what concerns one connection, what a proxy says for
/// itself, and what its directives exclude (sections 5.2.2.4 and 5.2.2.7).
pub fn remove_unstored(headers: &mut HeaderMap, told: &Directives) {
    for name in OF_A_CONNECTION.into_iter().chain([
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-authentication-info"),
        header::TRAILER,
        header::AGE,
        // It is said to this cache; those before it would take it for theirs.
        SURROGATE_CONTROL,
    ]) {
        headers.remove(name);
    }
    for about in [&told.no_cache, &told.private] {
        if let About::Fields(names) = about {
            names.iter().for_each(|name| drop(headers.remove(name)));
        }
    }
}

/// What is kept of the directives and times of a stored answer: all that deciding over it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long it is good.
    pub lifetime: Duration,
    /// Whether it must be asked for each time.
    pub always_validate: bool,
    /// Whether it must never be given out when it is no longer good (RFC 9111 section 4.2.4).
    pub never_stale: bool,
    /// For how long it may be, while it is asked for anew.
    pub while_revalidate: Duration,
    /// For how long it may be, when asking fails.
    pub if_error: Duration,
}

impl Terms {
    /// The terms of an answer that says `told`.
    #[must_use]
    pub fn of(told: &Directives, freshness: Freshness, rules: &Rules) -> Self {
        let or = |told: Option<Duration>, route: Option<Duration>| told.or(route).unwrap_or_default();
        let always_validate = told.no_cache == About::All;
        Terms {
            lifetime: freshness.lifetime,
            always_validate,
            // `s-maxage` implies `proxy-revalidate` (section 5.2.2.10).
            never_stale: always_validate
                || told.must_revalidate
                || told.proxy_revalidate
                || told.s_maxage.is_some(),
            while_revalidate: or(told.stale_while_revalidate, rules.stale_while_revalidate),
            if_error: or(told.stale_if_error, rules.stale_if_error),
        }
    }
}

/// What may be done with a stored answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// It is good.
    Fresh,
    /// It may be given out while it is asked for anew.
    WhileRevalidating,
    /// Only the service can say whether it is still good.
    Validate,
}

/// What may be done with an answer that is `age` old (RFC 9111 section 4). `asked` is what the client asks for, where that is
/// done. `soft` is whether an operator has marked it as no longer good.
#[must_use]
pub fn reuse(terms: &Terms, age: Duration, soft: bool, asked: Option<&Directives>) -> Reuse {
    if terms.always_validate || asked.is_some_and(|asked| asked.no_cache != About::Nothing) {
        return Reuse::Validate;
    }
    // Section 5.2.1: how old it may be, and how long it must still be good.
    let too_old = asked.and_then(|asked| asked.max_age).is_some_and(|most| age > most);
    let soon = asked.and_then(|asked| asked.min_fresh).unwrap_or_default();
    if too_old {
        return Reuse::Validate;
    }
    // Section 4.2: fresh while the lifetime is greater than the age.
    if terms.lifetime > age.saturating_add(soon) && !soft {
        return Reuse::Fresh;
    }
    let stale_for = if soft { Duration::ZERO } else { age.saturating_sub(terms.lifetime) };
    if terms.never_stale || !soon.is_zero() {
        return Reuse::Validate;
    }
    if asked.and_then(|asked| asked.max_stale).is_some_and(|most| stale_for <= most) {
        return Reuse::Fresh;
    }
    if !terms.while_revalidate.is_zero() && stale_for <= terms.while_revalidate {
        return Reuse::WhileRevalidating;
    }
    Reuse::Validate
}

/// Whether an answer that is no longer good may stand in for an error (RFC 5861 section 4).
#[must_use]
pub fn may_stand_in(terms: &Terms, age: Duration) -> bool {
    let allowed = !terms.never_stale && !terms.if_error.is_zero();
    allowed && age.saturating_sub(terms.lifetime) <= terms.if_error
}

/// Whether an answer counts as an error that a stored one may stand in for (RFC 5861 section 4).
#[must_use]
pub fn is_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The conditions by which a stored answer is asked for anew (RFC 9111 section 4.3.1); none if it has no validator.
#[must_use]
pub fn conditions(stored: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let one = |from: HeaderName, to: HeaderName| stored.get(from).map(|value| (to, value.clone()));
    let tag = one(header::ETAG, header::IF_NONE_MATCH);
    let modified = one(header::LAST_MODIFIED, header::IF_MODIFIED_SINCE);
    tag.into_iter().chain(modified).collect()
}

/// Takes over what a 304 says anew of a stored answer (RFC 9111 section 3.2): all fields but those that describe the body
/// which is stored, and the tag that it was asked for by.
pub fn update(stored: &mut HeaderMap, told: &HeaderMap) {
    const KEPT: [HeaderName; 5] = [
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::ETAG,
        HeaderName::from_static("content-md5"),
    ];
    for name in told.keys().filter(|name| !KEPT.contains(name)) {
        stored.remove(name);
        for value in told.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
}

/// Whether an answer to this method says that what is stored for its target may be wrong now (RFC 9111 section 4.4).
#[must_use]
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}

/// What else of the same host such an answer makes invalid: what `Location` and `Content-Location` name (RFC 9111 section
/// 4.4). A service may speak of its own host only, or it could empty the cache of others.
pub fn also_invalid<'a>(
    headers: &'a HeaderMap,
    host: &'a str,
    target: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let values =
        [header::LOCATION, header::CONTENT_LOCATION].into_iter().filter_map(|name| headers.get(name));
    values.filter_map(move |value| resolve(value.to_str().ok()?, host, target))
}

/// A reference as the path and query that it names on `host` (RFC 3986 section 5); none if it is elsewhere.
fn resolve(reference: &str, host: &str, target: &str) -> Option<String> {
    let reference = reference.split('#').next()?;
    let path = target.split('?').next()?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let scheme = reference.split(['/', '?']).next()?.split_once(':').map(|(scheme, _)| scheme);
    let known = scheme.is_none_or(|one| ["http", "https"].iter().any(|web| one.eq_ignore_ascii_case(web)));
    match scheme.map_or(reference, |scheme| &reference[scheme.len() + 1..]) {
        "" => None,
        _ if !known => None,
        absolute if absolute.starts_with("//") => {
            let uri: Uri = format!("http:{absolute}").parse().ok()?;
            let same = bare_host(uri.authority()?.as_str().as_bytes());
            let same = same.eq_ignore_ascii_case(bare_host(host.as_bytes()));
            same.then(|| without_dots(uri.path_and_query().map_or("/", |target| target.as_str())))
        }
        _ if scheme.is_some() => None,
        rooted if rooted.starts_with('/') => Some(without_dots(rooted)),
        query if query.starts_with('?') => Some(format!("{path}{query}")),
        relative => Some(without_dots(&format!("{folder}/{relative}"))),
    }
}

/// A target without `.` and `..` (RFC 3986 section 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    if !path.contains("/.") {
        return target.to_owned();
    }
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    let folder = path.ends_with("/.") || path.ends_with("/..");
    let end = if folder && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}{query}", segments.join("/"))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
