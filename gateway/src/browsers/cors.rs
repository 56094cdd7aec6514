//! Which pages of other origins may read answers (WHATWG Fetch section 3.2, "HTTP-CORS protocol").
//!
//! This protects users of browsers, not services: a request that asks for no preflight is carried out whoever sent it, and
//! its answer is only not shown. Not here: refusing what another site sends (`csrf.rs`).

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::Authority};

use super::config::CorsConfig;
use crate::{
    body::{Body, Response},
    mistake::{Mistake, Mistakes, below},
};

/// What begins all fields that only the gateway says where it answers for CORS.
const FIELDS: &str = "access-control-";
/// What a preflight's answer depends on.
const BY_PREFLIGHT: HeaderValue =
    HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
/// Header fields of the gateway's own, which pages may read at any rate: why not, until when, and what to complain about.
const OWN: [&str; 6] =
    ["composition-status", "proxy-status", "ratelimit", "ratelimit-policy", "retry-after", "x-request-id"];

/// One set under `cors:`, resolved.
pub struct Cors {
    origins: Origins,
    /// Empty for all that a route offers.
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    credentials: bool,
    allow_headers: HeaderValue,
    expose: HeaderValue,
    max_age: HeaderValue,
}

enum Origins {
    Any,
    Listed(Vec<Pattern>),
}

#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Exact(Box<str>),
    /// `https://` and `.ftgo.example`, with one label or more between them.
    Below(Box<str>, Box<str>),
}

/// A browser's question whether it may send a request.
pub struct Preflight<'a> {
    origin: &'a HeaderValue,
    /// The method of that request.
    pub method: Method,
    headers: &'a HeaderMap,
}

impl Cors {
    /// The set `name`, typed at the key path `at`.
    pub fn build(name: &str, config: &CorsConfig, at: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let before = mistakes.0.len();
        let origins = origins(name, config, at, mistakes);
        let methods = methods(name, config, at, mistakes);
        let headers = fields(name, &config.headers, &below(at, "headers"), mistakes);
        let mut expose = fields(name, &config.expose, &below(at, "expose"), mistakes);
        expose.extend(OWN.map(HeaderName::from_static));
        expose.dedup();
        (mistakes.0.len() == before).then(|| Cors {
            origins,
            methods,
            credentials: config.credentials,
            allow_headers: listed(&headers),
            expose: listed(&expose),
            max_age: HeaderValue::from(config.max_age.0.as_secs()),
            headers,
        })
    }

    /// Sets what an answer to a page of `origin` carries, in the place of what a service said of the same.
    pub fn tell(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        remove_own(headers);
        if !self.is_for_any() {
            vary_by_origin(headers);
        }
        if self.allow_origin(headers, origin) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, self.expose.clone());
        }
    }

    /// The answer to a preflight for a method that the path offers.
    #[must_use]
    pub fn answer(&self, asked: &Preflight<'_>) -> Response {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        vary_by_preflight(headers);
        let method = self.methods.is_empty() || self.methods.contains(&asked.method);
        if method && self.takes(asked.headers) && self.allow_origin(headers, Some(asked.origin)) {
            let method = HeaderValue::from_str(asked.method.as_str()).expect("a method is a token");
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.clone());
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        }
        response
    }

    fn is_for_any(&self) -> bool {
        matches!(self.origins, Origins::Any)
    }

    /// Whether pages of `origin` may act with their visitors' cookies.
    #[must_use]
    pub fn trusts(&self, origin: &HeaderValue) -> bool {
        self.credentials && self.lists(origin)
    }

    /// Whether `origin` is one of those listed. Everybody is nobody that was listed.
    fn lists(&self, origin: &HeaderValue) -> bool {
        let Origins::Listed(patterns) = &self.origins else { return false };
        patterns.iter().any(|pattern| pattern.fits(origin.as_bytes()))
    }

    /// Says that the page may read the answer, if it may.
    fn allow_origin(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) -> bool {
        let allowed = match (&self.origins, origin) {
            (Origins::Any, _) => HeaderValue::from_static("*"),
            (Origins::Listed(_), Some(origin)) if self.lists(origin) => origin.clone(),
            (Origins::Listed(_), _) => return false,
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        true
    }

    /// Whether all fields that a page wants to send may be sent.
    fn takes(&self, headers: &HeaderMap) -> bool {
        let asked = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
        let names = asked.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let mut names = names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty());
        names
            .all(|name| self.headers.iter().any(|known| known.as_str().as_bytes().eq_ignore_ascii_case(name)))
    }
}

impl<'a> Preflight<'a> {
    /// What an OPTIONS request asks for, if it is a preflight: one with `Origin` and `Access-Control-Request-Method`.
    #[must_use]
    pub fn of(headers: &'a HeaderMap) -> Option<Self> {
        let method = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        Some(Preflight { origin: origin(headers)?, method, headers })
    }
}

impl Pattern {
    /// `typed` as a pattern, or what is wrong with it.
    fn parse(typed: &str) -> Result<Self, &'static str> {
        if typed == "null" {
            return Ok(Pattern::Exact(typed.into()));
        }
        let (scheme, host) = typed.split_once("://").ok_or("has no scheme")?;
        if typed.contains(|c: char| c.is_ascii_uppercase()) {
            return Err("is in capitals, and browsers send small letters");
        }
        let below = host.strip_prefix("*.");
        let named: Authority =
            below.unwrap_or(host).parse().map_err(|_invalid| "names no host and nothing else")?;
        if named.as_str().contains('@') || named.as_str().ends_with(':') || !is_scheme(scheme) {
            return Err("names no host and nothing else");
        }
        if matches!((scheme, named.port_u16()), ("http", Some(80)) | ("https", Some(443))) {
            return Err("has a port that browsers leave out");
        }
        match below {
            None if host.contains('*') => Err("has a `*` that does not stand for all subdomains"),
            None => Ok(Pattern::Exact(typed.into())),
            Some(below) if below.contains('*') || !named.host().contains('.') => {
                Err("stands for more than the subdomains of one name")
            }
            Some(below) => Ok(Pattern::Below(format!("{scheme}://").into(), format!(".{below}").into())),
        }
    }

    fn fits(&self, origin: &[u8]) -> bool {
        match self {
            Pattern::Exact(exact) => exact.as_bytes() == origin,
            Pattern::Below(scheme, suffix) => {
                let host = origin.strip_prefix(scheme.as_bytes());
                host.and_then(|host| host.strip_suffix(suffix.as_bytes())).is_some_and(are_labels)
            }
        }
    }
}

/// `shop` or `eu.shop`: no port, no user, nothing empty.
fn are_labels(host: &[u8]) -> bool {
    let known = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    host.split(|byte| *byte == b'.').all(|label| !label.is_empty() && label.iter().all(known))
}

fn is_scheme(scheme: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(known)
}

/// The one `Origin` of a request. Of several none is believed.
#[must_use]
pub fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.next().filter(|_| origins.next().is_none())
}

/// Says that OPTIONS is answered in more than one way.
pub fn vary_by_preflight(headers: &mut HeaderMap) {
    headers.insert(header::VARY, BY_PREFLIGHT);
}

/// Without it, a cache would show the answer to one origin to another (RFC 9110 section 12.5.5).
fn vary_by_origin(headers: &mut HeaderMap) {
    let told =
        headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut told = told.map(<[u8]>::trim_ascii);
    if !told.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin")) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Removes what a service said. Looked for first, since most say nothing and each removal costs a hash.
fn remove_own(headers: &mut HeaderMap) {
    let own = |name: &&HeaderName| name.as_str().starts_with(FIELDS);
    if headers.keys().any(|name| own(&name)) {
        let names: Vec<HeaderName> = headers.keys().filter(own).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

fn listed(names: &[HeaderName]) -> HeaderValue {
    let names: Vec<&str> = names.iter().map(HeaderName::as_str).collect();
    HeaderValue::from_str(&names.join(", ")).expect("names are tokens")
}

fn origins(name: &str, config: &CorsConfig, at: &str, mistakes: &mut Mistakes) -> Origins {
    let at = below(at, "origins");
    let mut patterns = Vec::new();
    if config.origins.is_empty() {
        mistakes.add(Mistake::new(&at, format!("`{name}` lets no origin in")).expected("at least one"));
    }
    for (index, typed) in config.origins.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let wrong = |why: &str| Mistake::new(&at, format!("`{name}`: the origin `{typed}` {why}"));
        if typed == "*" && config.origins.len() > 1 {
            mistakes.add(wrong("stands beside others").expected("alone, or leave it out"));
        } else if config.credentials && matches!(typed.as_str(), "*" | "null") {
            let help = "list the origins that may, or leave `credentials` out";
            mistakes.add(wrong("would let any page act with the cookies of whoever looks at it").help(help));
        } else if typed != "*" {
            let shown = "like `https://app.ftgo.example` or `https://*.ftgo.example`";
            patterns.extend(mistakes.keep(Pattern::parse(typed).map_err(|why| wrong(why).expected(shown))));
        }
    }
    if config.origins.iter().any(|typed| typed == "*") { Origins::Any } else { Origins::Listed(patterns) }
}

fn methods(name: &str, config: &CorsConfig, at: &str, mistakes: &mut Mistakes) -> Vec<Method> {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    let mut methods = Vec::new();
    for (index, typed) in config.methods.iter().enumerate() {
        if KNOWN.contains(&typed.as_str()) {
            methods.extend(typed.parse::<Method>());
        } else {
            let message = format!("`{name}`: there is no method `{typed}`");
            let mistake = Mistake::new(format!("{}[{index}]", below(at, "methods")), message);
            mistakes.add(mistake.one_of("methods", KNOWN, typed));
        }
    }
    methods
}

fn fields(name: &str, typed: &[String], at: &str, mistakes: &mut Mistakes) -> Vec<HeaderName> {
    let mut fields = Vec::new();
    for (index, typed) in typed.iter().enumerate() {
        match typed.parse::<HeaderName>() {
            Ok(field) if typed != "*" => fields.push(field),
            _ => {
                let message = format!("`{name}`: `{typed}` is no header field");
                let mistake = Mistake::new(format!("{at}[{index}]"), message);
                mistakes.add(mistake.expected("each by its name, like `Idempotency-Key`"));
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    fn config(origins: &[&str]) -> CorsConfig {
        let text = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        CorsConfig {
            origins: text(origins),
            methods: text(&["GET", "DELETE"]),
            headers: text(&["Authorization", "X-Cart"]),
            expose: text(&["X-Total"]),
            credentials: false,
            max_age: Span::secs(60),
        }
    }

    fn cors(config: &CorsConfig) -> Cors {
        let mut mistakes = Mistakes::default();
        let built = Cors::build("web", config, "cors.web", &mut mistakes);
        built.unwrap_or_else(|| panic!("{mistakes:?}"))
    }

    fn allowed(origins: &[&str], origin: &str) -> bool {
        cors(&config(origins)).lists(&HeaderValue::from_str(origin).unwrap())
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn an_origin_is_let_in_as_it_was_typed_and_not_otherwise() {
        let app = ["https://app.ftgo.example"];
        assert!(allowed(&app, "https://app.ftgo.example"));
        for other in [
            "http://app.ftgo.example",
            "https://app.ftgo.example:8443",
            "https://app.ftgo.example.evil.example",
            "https://evilapp.ftgo.example",
            "https://app.ftgo.example/",
            "https://APP.ftgo.example",
            "null",
            "",
        ] {
            assert!(!allowed(&app, other), "{other}");
        }
        assert!(allowed(&["null"], "null") && !allowed(&["*"], "null"));
    }

    #[test]
    fn a_star_stands_for_one_label_or_more_and_nothing_else() {
        let all = ["https://*.ftgo.example"];
        for below in ["https://app.ftgo.example", "https://eu.shop.ftgo.example", "https://a-1.ftgo.example"]
        {
            assert!(allowed(&all, below), "{below}");
        }
        for other in [
            "https://ftgo.example",
            "https://.ftgo.example",
            "https://a..ftgo.example",
            "https://evilftgo.example",
            "https://evil.example/.ftgo.example",
            "https://evil.example#.ftgo.example",
            "https://evil.example:80.ftgo.example",
            "https://user@.ftgo.example",
            "https://app.ftgo.example:8443",
            "http://app.ftgo.example",
            "https://app.ftgo.example.evil.example",
            "null",
        ] {
            assert!(!allowed(&all, other), "{other}");
        }
        assert!(allowed(&["http://*.ftgo.example:3000"], "http://app.ftgo.example:3000"));
    }

    #[test]
    fn what_no_browser_sends_as_an_origin_is_a_mistake() {
        for typed in [
            "app.ftgo.example",
            "https://",
            "https://app.ftgo.example/",
            "https://app.ftgo.example?x",
            "https://user@app.ftgo.example",
            "https://App.ftgo.example",
            "https://app.ftgo.example:443",
            "http://app.ftgo.example:80",
            "https://app.ftgo.example:",
            "https://app.*.example",
            "https://*",
            "https://*.example",
            "https://*.*.example",
            "https://*app.ftgo.example",
            "*://app.ftgo.example",
            "",
        ] {
            assert!(Pattern::parse(typed).is_err(), "{typed}");
        }
        for typed in
            ["http://localhost:3000", "http://[::1]:3000", "capacitor://localhost", "https://a_b.example"]
        {
            assert_eq!(Pattern::parse(typed), Ok(Pattern::Exact(typed.into())));
        }
    }

    #[test]
    fn a_preflight_is_told_all_or_nothing() {
        const ACRH: HeaderName = header::ACCESS_CONTROL_REQUEST_HEADERS;
        let cors = cors(&config(&["https://app.ftgo.example"]));
        let ask = |origin: &'static str, method: &'static str, fields: &'static str| {
            let acrm = header::ACCESS_CONTROL_REQUEST_METHOD;
            let asked = headers(&[(header::ORIGIN, origin), (acrm, method), (ACRH, fields)]);
            let answer = cors.answer(&Preflight::of(&asked).unwrap());
            assert_eq!((answer.status().as_u16(), &answer.headers()[header::VARY]), (204, &BY_PREFLIGHT));
            let mut told: Vec<String> = answer
                .headers()
                .iter()
                .filter(|(name, _)| **name != header::VARY)
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            told.sort();
            told
        };
        let yes = [
            "access-control-allow-headers: authorization, x-cart",
            "access-control-allow-methods: DELETE",
            "access-control-allow-origin: https://app.ftgo.example",
            "access-control-max-age: 60",
        ];
        assert_eq!(ask("https://app.ftgo.example", "DELETE", "x-cart,AUTHORIZATION , "), yes);
        for (origin, method, fields) in [
            ("https://evil.example", "DELETE", ""),
            ("https://app.ftgo.example", "PUT", ""),
            ("https://app.ftgo.example", "delete", ""),
            ("https://app.ftgo.example", "DELETE", "x-cart, x-other"),
        ] {
            assert!(ask(origin, method, fields).is_empty(), "{origin} {method} {fields}");
        }
        for no_preflight in [
            headers(&[(header::ORIGIN, "https://app.ftgo.example")]),
            headers(&[(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")]),
        ] {
            assert!(Preflight::of(&no_preflight).is_none());
        }
    }

    #[test]
    fn what_a_service_says_gives_way_and_caches_are_told() {
        let app = HeaderValue::from_static("https://app.ftgo.example");
        let listed = cors(&CorsConfig { credentials: true, ..config(&["https://app.ftgo.example"]) });
        let mut answer = headers(&[
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
            (HeaderName::from_static("access-control-allow-private-network"), "true"),
            (header::VARY, "Accept"),
        ]);
        listed.tell(&mut answer, Some(&HeaderValue::from_static("https://evil.example")));
        let vary = || headers(&[(header::VARY, "Accept"), (header::VARY, "Origin")]);
        let mut expected = HeaderMap::new();
        vary().iter().for_each(|(name, value)| _ = expected.append(name, value.clone()));
        assert_eq!(answer, expected);
        listed.tell(&mut answer, Some(&app));
        assert_eq!(answer.get_all(header::VARY).iter().count(), 2);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], app);
        assert_eq!(answer[header::ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        let exposed = answer[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        assert!(exposed.starts_with("x-total, ") && exposed.contains("retry-after"), "{exposed}");
        let (any, mut answer) = (cors(&config(&["*"])), HeaderMap::new());
        any.tell(&mut answer, None);
        assert_eq!(
            (&answer[header::ACCESS_CONTROL_ALLOW_ORIGIN], answer.contains_key(header::VARY)),
            (&"*".parse().unwrap(), false)
        );
    }

    #[test]
    fn of_two_origins_none_is_believed() {
        let mut two = headers(&[(header::ORIGIN, "https://app.ftgo.example")]);
        assert!(origin(&two).is_some());
        two.append(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(origin(&two).is_none());
    }
}
