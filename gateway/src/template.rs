//! A target that is written for a call: `/orders/{orderId}`, `/orders?consumerId={consumerId}`. Parsed once, at config build.
//!
//! A parameter is escaped for the place it stands in, so that it can never become more than one segment or one value.

use http::uri::PathAndQuery;

use crate::routing::{Params, path};

/// A path with an optional query, with places for path parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    has_query: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The index of a parameter among the route's own. `whole`: `{*rest}`, whose slashes stay.
    Param {
        index: usize,
        whole: bool,
    },
}

impl Template {
    /// Reads a template whose parameters are among `names`.
    ///
    /// # Errors
    /// The words that are wrong, and why.
    pub fn parse(text: &str, names: &[Box<str>], rest: Option<&str>) -> Result<Self, (String, String)> {
        if !text.starts_with('/') {
            return Err((text.to_owned(), "the path must begin with `/`".to_owned()));
        }
        let mut pieces = Vec::new();
        let mut left = text;
        while let Some(open) = left.find('{') {
            pieces.push(Piece::Text(left[..open].to_owned()));
            let close = left.find('}').filter(|close| *close > open);
            let close =
                close.ok_or_else(|| (left[open..].to_owned(), "the brace is never closed".to_owned()))?;
            let name = &left[open + 1..close];
            let index = names.iter().position(|known| **known == *name).ok_or_else(|| {
                let known = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() {
                    "the path has none".to_owned()
                } else {
                    format!("parameters are: {known}")
                };
                (
                    left[open..=close].to_owned(),
                    format!("`{name}` is no parameter of the route's path; {known}"),
                )
            })?;
            pieces.push(Piece::Param {
                index,
                whole: rest == Some(name) && !text[..text.len() - left.len() + open].contains('?'),
            });
            left = &left[close + 1..];
        }
        pieces.push(Piece::Text(left.to_owned()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        let template = Template { pieces, has_query: text.contains('?') };
        let sample = template.sample();
        if sample.parse::<PathAndQuery>().is_err()
            || !path::check(sample.split('?').next().unwrap_or_default())
        {
            return Err((text.to_owned(), "it is no path that can be asked for".to_owned()));
        }
        Ok(template)
    }

    fn sample(&self) -> String {
        self.pieces
            .iter()
            .map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "0" })
            .collect()
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
            }
        }
        if with_query && !params.query().is_empty() {
            text.push(if self.has_query { '&' } else { '?' });
            text.push_str(params.query());
        }
        PathAndQuery::try_from(text).expect("checked at config build, and parameters are escaped")
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

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

    #[test]
    fn templates_that_cannot_be_written_are_refused_with_the_words_that_are_wrong() {
        let wrong = |text| Template::parse(text, &["id".into()], None).unwrap_err().0;
        assert_eq!(wrong("orders"), "orders");
        assert_eq!(wrong("/orders/{orderId}"), "{orderId}");
        assert_eq!(wrong("/orders/{id"), "{id");
        assert_eq!(wrong("/orders/../{id}"), "/orders/../{id}");
    }
}
