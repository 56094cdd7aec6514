//! From method and path to a route and its path parameters (RFC 9110 sections 9 and 15.5.5, 15.5.6).
//!
//! The most specific path wins, whatever order they were typed in: a literal segment before a parameter, a parameter
//! before `{*rest}`. HEAD is offered where GET is; OPTIONS is answered by the gateway unless a route takes it.
//! Not here: what a route does. The router holds any value.

pub mod path;
mod readings;

use std::sync::Arc;

use http::{HeaderValue, Method, uri::PathAndQuery};

use self::readings::Readings;
use crate::mistake::{Mistake, below};

/// The most parameters that one path may have.
const MOST_PARAMS: usize = 8;

/// Routes by path and method.
pub struct Router<T> {
    paths: matchit::Router<usize>,
    entries: Vec<Entry<T>>,
    readings: Readings,
}

struct Entry<T> {
    template: String,
    offered: Vec<Offer<T>>,
    allow: HeaderValue,
}

struct Offer<T> {
    method: Method,
    names: Arc<[Box<str>]>,
    value: T,
}

/// What the router says to a request.
pub enum Found<'a, T> {
    /// A route, and its path parameters.
    Route(&'a T, Params),
    /// No route has this path.
    Nothing,
    /// A route has this path, and a service might take it for that of a stricter route.
    Doubtful,
    /// The path is there; the methods offered are these.
    Not(&'a HeaderValue),
    /// OPTIONS for a path that is there; the methods offered are these.
    Options(&'a HeaderValue),
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Router { paths: matchit::Router::new(), entries: Vec::new(), readings: Readings::default() }
    }
}

impl<T> Router<T> {
    /// Adds a route, typed at the key path `at`.
    ///
    /// # Errors
    /// When the path is no template, or the same path and method are there already.
    pub fn add(&mut self, template: &str, methods: &[Method], value: &T, at: &str) -> Result<(), Mistake>
    where
        T: Clone,
    {
        let (canonical, names) = canonical(template).map_err(|wrong| {
            let shown = "like `/orders/{orderId}` or `/files/{*rest}`";
            Mistake::new(below(at, "path"), format!("route `{template}`: {wrong}")).expected(shown)
        })?;
        let index = self.entry(&canonical, template, at)?;
        let names: Arc<[Box<str>]> = names.into();
        for method in methods {
            let entry = &mut self.entries[index];
            if entry.offered.iter().any(|offer| offer.method == *method) {
                let message =
                    format!("route `{template}`: another route has its path and `{method}` already");
                return Err(Mistake::new(below(at, "path"), message).expected("each path and method once"));
            }
            entry.offered.push(Offer { method: method.clone(), names: names.clone(), value: value.clone() });
            entry.allow = allow(&entry.offered);
        }
        Ok(())
    }

    fn entry(&mut self, canonical: &str, template: &str, at: &str) -> Result<usize, Mistake> {
        if let Ok(found) = self.paths.at(canonical)
            && self.entries[*found.value].template == canonical
        {
            return Ok(*found.value);
        }
        let index = self.entries.len();
        let inserted = self.readings.add(canonical).and_then(|()| self.paths.insert(canonical, index));
        inserted.map_err(|error| {
            let message = format!("route `{template}` cannot be told from another: {error}");
            Mistake::new(below(at, "path"), message)
                .expected("a path that differs from the others in a literal segment")
        })?;
        let allow = HeaderValue::from_static("");
        self.entries.push(Entry { template: canonical.to_owned(), offered: Vec::new(), allow });
        Ok(index)
    }

    /// The route for `method` and the path of `target`, which must have passed [`path::check`].
    #[must_use]
    pub fn find(&self, method: &Method, target: &PathAndQuery) -> Found<'_, T> {
        let Ok(matched) = self.paths.at(target.path()) else { return Found::Nothing };
        if self.readings.differ(*matched.value, target.path()) {
            return Found::Doubtful;
        }
        let entry = &self.entries[*matched.value];
        let offer = |wanted: &Method| entry.offered.iter().find(|offer| offer.method == *wanted);
        let offered =
            offer(method).or_else(|| if *method == Method::HEAD { offer(&Method::GET) } else { None });
        match offered {
            Some(offer) => Found::Route(&offer.value, Params::of(target, &offer.names, &matched.params)),
            None if *method == Method::OPTIONS => Found::Options(&entry.allow),
            None => Found::Not(&entry.allow),
        }
    }
}

/// `GET, HEAD, OPTIONS, POST`: what RFC 9110 section 10.2.1 wants to be told.
fn allow<T>(offered: &[Offer<T>]) -> HeaderValue {
    let mut names: Vec<&str> = offered.iter().map(|offer| offer.method.as_str()).collect();
    names.push("OPTIONS");
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    HeaderValue::from_str(&names.join(", ")).expect("method names are tokens")
}

/// The names of a template's parameters, in order.
///
/// # Errors
/// A sentence that says what is wrong with the template.
pub fn parameters(template: &str) -> Result<Vec<Box<str>>, String> {
    canonical(template).map(|(_, names)| names)
}

/// The template with its parameters numbered, so that two routes may name the same segment differently.
pub(crate) fn canonical(template: &str) -> Result<(String, Vec<Box<str>>), String> {
    let Some(below_root) = template.strip_prefix('/') else {
        return Err("the path must begin with `/`".to_owned());
    };
    let mut names: Vec<Box<str>> = Vec::new();
    let mut segments = Vec::new();
    let count = below_root.split('/').count();
    for (at, segment) in below_root.split('/').enumerate() {
        let Some(name) = segment.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')) else {
            literal(segment)?;
            segments.push(segment.to_owned());
            continue;
        };
        let (star, name) = name.strip_prefix('*').map_or(("", name), |name| ("*", name));
        if star == "*" && at + 1 < count {
            return Err(format!("`{{*{name}}}` takes all that is left, so it must be last"));
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{segment}` needs a name of letters and digits between the braces"));
        }
        if names.iter().any(|known| **known == *name) {
            return Err(format!("the parameter `{name}` is there twice"));
        }
        segments.push(format!("{{{star}p{}}}", names.len()));
        names.push(name.into());
    }
    if names.len() > MOST_PARAMS {
        return Err(format!("more than {MOST_PARAMS} parameters"));
    }
    let path = format!("/{}", segments.join("/"));
    if !path::check(&path) {
        return Err("no request has a path with dot segments or empty ones".to_owned());
    }
    Ok((path, names))
}

fn literal(segment: &str) -> Result<(), String> {
    if segment.contains(['{', '}']) {
        return Err(format!("`{segment}`: a parameter must fill its whole segment"));
    }
    if segment.contains(['?', '#', '%', ' ']) {
        return Err(format!("`{segment}` holds a character that no path segment is matched by"));
    }
    Ok(())
}

/// The path parameters of one request: where they stand in its path. Copies nothing.
#[derive(Debug, Clone)]
pub struct Params {
    target: PathAndQuery,
    names: Arc<[Box<str>]>,
    spans: [(u16, u16); MOST_PARAMS],
}

impl Params {
    fn of(target: &PathAndQuery, names: &Arc<[Box<str>]>, matched: &matchit::Params<'_, '_>) -> Self {
        let path = target.path();
        let mut spans = [(0, 0); MOST_PARAMS];
        for (span, (_, value)) in spans.iter_mut().zip(matched.iter()) {
            let begin = value.as_ptr() as usize - path.as_ptr() as usize;
            // hyper takes no URI that is longer than 65534 bytes
            *span = (begin as u16, (begin + value.len()) as u16);
        }
        Params { target: target.clone(), names: names.clone(), spans }
    }

    /// One parameter, of no request's path: any text. None when it is too long to be in one.
    #[must_use]
    pub fn of_one(names: &Arc<[Box<str>]>, value: &str) -> Option<Self> {
        const LONGEST: usize = 1_000;
        let coded = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
        let target = PathAndQuery::try_from(format!("/{coded}")).ok()?;
        let end = Some(target.path().len()).filter(|end| *end <= LONGEST)?;
        let mut spans = [(0, 0); MOST_PARAMS];
        spans[0] = (1, end as u16);
        Some(Params { target, names: names.clone(), spans })
    }

    /// The parameter at `index` in its template, as sent: still percent-encoded.
    #[must_use]
    pub fn raw(&self, index: usize) -> &str {
        let (begin, end) = self.spans[index];
        &self.target.path()[usize::from(begin)..usize::from(end)]
    }

    /// The parameter called `name`, as sent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.names.iter().position(|known| **known == *name).map(|index| self.raw(index))
    }

    /// The path and query as sent.
    #[must_use]
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The raw query, empty when there is none.
    #[must_use]
    pub fn query(&self) -> &str {
        self.target.query().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<&'static str> {
        let mut router = Router::default();
        for (path, methods, value) in [
            ("/orders", vec![Method::POST], "create"),
            ("/orders", vec![Method::GET], "list"),
            ("/orders/{orderId}", vec![Method::GET], "order"),
            ("/orders/{id}", vec![Method::DELETE], "delete"),
            ("/orders/{orderId}/cancel", vec![Method::POST], "cancel"),
            ("/orders/newest", vec![Method::GET], "newest"),
            ("/files/{*rest}", vec![Method::GET], "files"),
        ] {
            router.add(path, &methods, &value, "routes[0]").unwrap();
        }
        router
    }

    fn say(method: &str, target: &str) -> String {
        let router = router();
        let target: PathAndQuery = target.parse().unwrap();
        match router.find(&method.parse().unwrap(), &target) {
            Found::Route(value, params) if params.names.is_empty() => (*value).to_owned(),
            Found::Route(value, params) => format!("{value} {}={}", params.names[0], params.raw(0)),
            Found::Nothing => "404".to_owned(),
            Found::Doubtful => "400".to_owned(),
            Found::Not(allow) => format!("405 {}", allow.to_str().unwrap()),
            Found::Options(allow) => format!("options {}", allow.to_str().unwrap()),
        }
    }

    #[test]
    fn the_most_specific_path_and_the_method_decide() {
        assert_eq!(say("GET", "/orders/99?x=1"), "order orderId=99");
        assert_eq!(say("DELETE", "/orders/99"), "delete id=99");
        assert_eq!(say("GET", "/orders/newest"), "newest");
        assert_eq!(say("GET", "/orders"), "list");
        assert_eq!(say("HEAD", "/orders/99"), "order orderId=99");
        assert_eq!(say("GET", "/files/a/b/c"), "files rest=a/b/c");
    }

    #[test]
    fn a_path_that_is_not_there_is_404_and_a_method_that_is_not_is_405_with_what_is() {
        assert_eq!(say("GET", "/nothing"), "404");
        assert_eq!(say("GET", "/orders/"), "404");
        assert_eq!(say("GET", "/orders/%6eewest"), "400");
        assert_eq!(say("DELETE", "/orders/Newest"), "400");
        assert_eq!(say("PUT", "/orders"), "405 GET, HEAD, OPTIONS, POST");
        assert_eq!(say("HEAD", "/orders/99/cancel"), "405 OPTIONS, POST");
        assert_eq!(say("OPTIONS", "/orders/99"), "options DELETE, GET, HEAD, OPTIONS");
    }

    #[test]
    fn templates_that_mean_nothing_or_the_same_are_mistakes() {
        for wrong in [
            "orders",
            "/a/{}",
            "/a/{x",
            "/a/b{x}",
            "/{x}/{x}",
            "/{*all}/more",
            "/a?b",
            "/orders",
            "/orders/{other}",
        ] {
            let mistake = router().add(wrong, &[Method::GET], &"again", "routes[7]").unwrap_err();
            assert_eq!(mistake.at, "routes[7].path", "{wrong}");
        }
    }
}
