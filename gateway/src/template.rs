//! A target that is written for a call: `/orders/{orderId}`, `/restaurants/{order.restaurantId}`. Parsed once, at config build.
//!
//! What is written is escaped for the place it stands in, so that it can never become more than one segment or one value.
//! `{query}` is the client's own query, less the parameters that the template sets itself.
//! Not here: what a name between braces may be (`tags.rs`).

use http::uri::PathAndQuery;

use crate::{
    auth::policy::{Facts, Input, names_in_query},
    routing::{Params, path},
    tags::{Known, input},
};

/// A path with an optional query, with places for path parameters and, in parts, for what else a request holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    has_query: bool,
    /// The names of its own parameters, where the client's query goes on.
    own: Vec<String>,
}

/// What stands between two braces, in the query or before it; or why not, and what could.
type ReadPiece<'a> = dyn Fn(&str, bool) -> Result<Piece, (String, String)> + 'a;

/// Words of a template that are wrong, why, and what would be right (may be empty).
pub type Wrong = (String, String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The index of a parameter among the route's own. `whole`: `{*rest}`, whose slashes stay.
    Param {
        index: usize,
        whole: bool,
    },
    /// A claim, a query parameter, a member of another part's answer.
    Input(Input),
    /// The key of one element of a list.
    Key,
    /// The client's query.
    Query,
}

impl Template {
    /// Reads a template whose parameters are among `names`.
    ///
    /// # Errors
    /// The words that are wrong, and why.
    pub fn parse(text: &str, names: &[Box<str>], rest: Option<&str>) -> Result<Self, (String, String)> {
        let piece = |name: &str, in_query: bool| {
            let index = names.iter().position(|known| **known == *name).ok_or_else(|| {
                let known = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() {
                    "the path has none".to_owned()
                } else {
                    format!("parameters are: {known}")
                };
                (format!("`{name}` is no parameter of the route's path; {known}"), String::new())
            })?;
            Ok(Piece::Param { index, whole: rest == Some(name) && !in_query })
        };
        Template::read(text, &piece).map_err(|(words, why, _)| (words, why))
    }

    /// Reads the template of a part, which may be written from all that is `known`; with `{key}` if it `has_key`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_part(text: &str, known: &Known<'_>, rest: Option<&str>, has_key: bool) -> Result<Self, Wrong> {
        let piece = |name: &str, in_query: bool| match name {
            "key" if has_key => Ok(Piece::Key),
            "query" if text.matches("{query}").count() > 1 => {
                Err(("the client's query would go on twice".to_owned(), "`{query}` once".to_owned()))
            }
            "query" if text.ends_with("?{query}") || text.ends_with("&{query}") => Ok(Piece::Query),
            "query" => Err((
                "the client's query does not stand at the end of a query".to_owned(),
                "`{query}` at the very end, after a `?` or a `&`".to_owned(),
            )),
            _ => Ok(
                match input(name, known).map_err(|(why, expected)| (why, with_key(expected, has_key)))? {
                    Input::Path(name) => {
                        let index = known.params.iter().position(|param| **param == *name);
                        let whole = rest == Some(&*name) && !in_query;
                        Piece::Param { index: index.unwrap_or_default(), whole }
                    }
                    other => Piece::Input(other),
                },
            ),
        };
        let template = Template::read(text, &piece)?;
        if has_key && !template.pieces.contains(&Piece::Key) {
            let why = "there is no place for the key".to_owned();
            return Err((
                text.to_owned(),
                why,
                "a path with `{key}`, like `restaurant/restaurants/{key}`".to_owned(),
            ));
        }
        Ok(template)
    }

    fn read(text: &str, piece: &ReadPiece<'_>) -> Result<Self, Wrong> {
        let wrong = |words: &str, why: &str| (words.to_owned(), why.to_owned(), String::new());
        if !text.starts_with('/') {
            return Err(wrong(text, "the path must begin with `/`"));
        }
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some(open) = left.find('{') {
            pieces.push(literal(&left[..open])?);
            let close = left[open..].find('}').map(|close| open + close);
            let close = close.ok_or_else(|| wrong(&left[open..], "the brace is never closed"))?;
            let in_query = text[..text.len() - left.len() + open].contains('?');
            let read = piece(&left[open + 1..close], in_query);
            pieces.push(read.map_err(|(why, expected)| (left[open..=close].to_owned(), why, expected))?);
            left = &left[close + 1..];
        }
        pieces.push(literal(left)?);
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        let mut template = Template { pieces, has_query: text.contains('?'), own: Vec::new() };
        let sample = template.sample();
        if sample.parse::<PathAndQuery>().is_err()
            || !path::check(sample.split('?').next().unwrap_or_default())
        {
            return Err(wrong(text, "it is no path that can be asked for"));
        }
        if template.pieces.contains(&Piece::Query) {
            let query = sample.split_once('?').map_or("", |(_, query)| query);
            template.own = names_in_query(query).collect();
        }
        Ok(template)
    }

    /// Whether it is written from path parameters only.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_) | Piece::Param { .. }))
    }

    /// What it is written from besides path parameters.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Input(input) => Some(input),
            _ => None,
        })
    }

    fn sample(&self) -> String {
        let mut sample = String::new();
        for piece in &self.pieces {
            sample.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Query => "",
                _ => "0",
            });
        }
        sample
    }

    /// The target for one request; with the client's own query as well if `with_query`.
    #[must_use]
    pub fn target(&self, params: &Params, with_query: bool) -> PathAndQuery {
        let mut text = String::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Param { index, whole: true } => text.push_str(params.raw(*index)),
                Piece::Param { index, whole: false } => path::push_escaped(&mut text, params.raw(*index)),
                Piece::Input(_) | Piece::Key | Piece::Query => {}
            }
        }
        if with_query && !params.query().is_empty() {
            text.push(if self.has_query { '&' } else { '?' });
            text.push_str(params.query());
        }
        PathAndQuery::try_from(text).expect("checked at config build, and parameters are escaped")
    }

    /// The target of a part for one request, or for one element of a list by its `key`.
    ///
    /// # Errors
    /// What it cannot be written from: it is not there, no scalar, empty, or would be more than one segment of a path.
    pub fn write(
        &self,
        params: &Params,
        facts: &Facts<'_>,
        key: Option<&str>,
    ) -> Result<PathAndQuery, Option<&Input>> {
        let mut text = String::with_capacity(96);
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Param { index, whole: true } => text.push_str(params.raw(*index)),
                Piece::Param { index, whole: false } => path::push_escaped(&mut text, params.raw(*index)),
                Piece::Input(input) => {
                    let value = facts.text(input).filter(|value| fits(value, text.contains('?')));
                    path::push_text(&mut text, &value.ok_or(Some(input))?);
                }
                Piece::Key => {
                    let key = key.filter(|key| fits(key, text.contains('?'))).ok_or(None)?;
                    path::push_text(&mut text, key);
                }
                Piece::Query => self.push_query(&mut text, params.query()),
            }
        }
        PathAndQuery::try_from(text).map_err(|_| None)
    }

    /// The client's query, without what would be a parameter of the template's own to somebody.
    fn push_query(&self, out: &mut String, query: &str) {
        let others = |pair: &&str| !names_in_query(pair).any(|name| self.own.contains(&name));
        for pair in query.split('&').filter(|pair| !pair.is_empty()).filter(others) {
            out.push_str(pair);
            out.push('&');
        }
        out.pop(); // what was there before the query, or what is behind its last pair
    }
}

/// What is written as it stands. Two readers would take for two things what no target holds (RFC 3986 section 3): a fragment
/// is cut off by who parses it, and what is not ASCII is escaped by some.
fn literal(text: &str) -> Result<Piece, Wrong> {
    let wrong =
        |at: usize, why: &str, right: &str| Err((text[at..].to_owned(), why.to_owned(), right.to_owned()));
    match text.find(|one: char| matches!(one, '}' | '#') || !one.is_ascii()) {
        None => Ok(Piece::Text(text.to_owned())),
        Some(at) if text[at..].starts_with('}') => wrong(at, "a brace is closed that was never opened", ""),
        Some(at) if text[at..].starts_with('#') => {
            wrong(at, "a fragment is never sent (RFC 9110 section 7.1)", "`%23` where a `#` is meant")
        }
        Some(at) => wrong(
            at,
            "what is not ASCII is sent escaped (RFC 3986 section 2.1)",
            "its bytes in UTF-8, like `%C3%A9`",
        ),
    }
}

/// What may stand between braces, where the key of an element may too.
fn with_key(expected: String, has_key: bool) -> String {
    if has_key { expected.replacen("one of: ", "one of: {key}, ", 1) } else { expected }
}

/// Whether a value can be written: it is not empty, and in a path everybody takes it for one segment.
fn fits(value: &str, in_query: bool) -> bool {
    let segment = || {
        let mut escaped = "/".to_owned();
        path::push_text(&mut escaped, value);
        path::check(&escaped)
    };
    !value.is_empty() && (in_query || segment())
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::routing::{Found, Router};

    fn write(template: &str, target: &str) -> String {
        let mut router = Router::default();
        router.add("/consumers/{consumerId}/history", &[Method::GET], &(), "routes[0]").unwrap();
        let target: PathAndQuery = target.parse().unwrap();
        let Found::Route((), params) = router.find(&Method::GET, &target) else { panic!("not found") };
        Template::parse(template, &["consumerId".into()], None).unwrap().target(&params, true).to_string()
    }

    #[test]
    fn a_parameter_stays_one_value_wherever_it_is_written() {
        assert_eq!(write("/orders?consumerId={consumerId}", "/consumers/7/history"), "/orders?consumerId=7");
        assert_eq!(
            write("/orders?id={consumerId}", "/consumers/7&id=8/history?a=b"),
            "/orders?id=7%26id%3D8&a=b"
        );
        assert_eq!(write("/c/{consumerId}/x", "/consumers/a%3Fb/history"), "/c/a%3Fb/x");
    }

    /// The target of a part under `/consumers/{consumerId}/history` that is written from a part `order`.
    fn of_part(template: &str, target: &str, order: &serde_json::Value) -> Option<String> {
        let mut router = Router::default();
        router.add("/consumers/{consumerId}/history", &[Method::GET], &(), "routes[0]").unwrap();
        let target: PathAndQuery = target.parse().unwrap();
        let Found::Route((), params) = router.find(&Method::GET, &target) else { panic!("not found") };
        let known = Known { params: &["consumerId".into()], callers: true, body: false, parts: &["order"] };
        let template = Template::of_part(template, &known, None, false).unwrap();
        let facts = Facts {
            claims: None,
            path: &|_| None,
            query: params.query(),
            body: None,
            part: &|_| Some(order),
        };
        template.write(&params, &facts, None).ok().map(|target| target.to_string())
    }

    #[test]
    fn what_another_part_says_stays_one_segment_or_one_value_or_is_not_written() {
        for (id, written) in [
            (json!(9_007_199_254_740_993_u64), Some("/r/9007199254740993?a=9007199254740993")),
            (json!("a b?c&d=e;f%"), Some("/r/a%20b%3Fc%26d%3De%3Bf%25?a=a%20b%3Fc%26d%3De%3Bf%25")),
            (json!(false), Some("/r/false?a=false")),
            (json!("."), None),
            (json!(".."), None),
            (json!("a/b"), None),
            (json!("a\\b"), None),
            (json!(";x"), None),
            (json!("a\r\nb"), None),
            (json!(""), None),
            (json!(null), None),
            (json!([1]), None),
            (json!({}), None),
        ] {
            let order = json!({ "id": id });
            let target = of_part("/r/{order.id}?a={order.id}", "/consumers/7/history", &order);
            assert_eq!(target.as_deref(), written, "{id}");
        }
        let slashes = of_part("/r?a={order.id}", "/consumers/7/history", &json!({"id": "../a"}));
        assert_eq!(slashes.as_deref(), Some("/r?a=..%2Fa"));
    }

    #[test]
    fn the_clients_query_goes_on_without_what_the_template_sets() {
        for (query, written) in [
            ("", "/o?consumerId=7&a=x"),
            ("?", "/o?consumerId=7&a=x"),
            ("?b=1&b=2&c", "/o?consumerId=7&a=x&b=1&b=2&c"),
            ("?consumerId=8&b=1", "/o?consumerId=7&a=x&b=1"),
            ("?b=1&CONSUMERID=8&%61=8&a[]=8&a%00z=8&+a=8", "/o?consumerId=7&a=x&b=1"),
            ("?b=1;consumerId=8&x=a%26a=8", "/o?consumerId=7&a=x&x=a%26a=8"),
            ("?a&&b", "/o?consumerId=7&a=x&b"),
        ] {
            let target = format!("/consumers/7/history{query}");
            let target = of_part("/o?consumerId={consumerId}&a=x&{query}", &target, &json!({}));
            assert_eq!(target.as_deref(), Some(written), "{query}");
        }
        assert_eq!(of_part("/o?{query}", "/consumers/7/history", &json!({})).as_deref(), Some("/o"));
        assert_eq!(of_part("/o?{query}", "/consumers/7/history?0=1", &json!({})).as_deref(), Some("/o?0=1"));
    }

    #[test]
    fn templates_that_cannot_be_written_are_refused_with_the_words_that_are_wrong() {
        let wrong = |text| Template::parse(text, &["id".into()], None).unwrap_err().0;
        assert_eq!(wrong("orders"), "orders");
        assert_eq!(wrong("/orders/{orderId}"), "{orderId}");
        assert_eq!(wrong("/orders/{id"), "{id");
        assert_eq!(wrong("/orders/../{id}"), "/orders/../{id}");
        for (text, words) in [
            ("/a#b{id}", "#b"),
            ("/{id}?q=#{id}", "#"),
            ("/a}/{id}", "}/"),
            ("/{id}}", "}"),
            ("/caf\u{e9}/{id}", "\u{e9}/"),
            ("/{id}?\u{f6}=1", "\u{f6}=1"),
        ] {
            assert_eq!(wrong(text), words, "{text}");
        }
    }

    #[test]
    fn the_clients_query_goes_on_once() {
        let known = Known { params: &[], callers: true, body: false, parts: &[] };
        let (words, why, _) = Template::of_part("/o?{query}&{query}", &known, None, false).unwrap_err();
        assert_eq!((&*words, &*why), ("{query}", "the client's query would go on twice"));
    }
}
