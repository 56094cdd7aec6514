//! Names that answers are kept under and made invalid by, written for one request: `order:{orderId}`,
//! `history:{claims.sub}`, `history:{order.consumerId}`. Parsed once, at config build.
//!
//! What stands between braces is looked up as rules look it up (`auth/policy/facts.rs`), a name alone being a parameter of
//! the route's path.
//! Not here: what a service says of its answers (`cache/keeping.rs`), targets of calls (`template.rs`).

use serde_json::Value;

use crate::{
    auth::policy::{Facts, Input},
    handler::with_facts,
    identity::Caller,
    routing::Params,
};

/// What a tag may be written from.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The parameters of the route's path.
    pub params: &'a [Box<str>],
    /// Whether the route knows who calls.
    pub callers: bool,
    /// Whether the client's body has been read by then.
    pub body: bool,
    /// The parts that are there by then.
    pub parts: &'a [&'a str],
}

/// One tag with places for what a request holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// As typed.
    typed: Box<str>,
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Input(Input),
}

/// Why a text is no tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The words that are wrong.
    pub words: String,
    /// Why, as the end of a sentence about its place.
    pub why: String,
    /// What would be right.
    pub expected: String,
}

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, known: &Known<'_>) -> Result<Self, Wrong> {
        let wrong = |words: &str, why: &str, expected: &str| Wrong {
            words: words.to_owned(),
            why: why.to_owned(),
            expected: expected.to_owned(),
        };
        if text.is_empty() {
            return Err(wrong(text, "a tag is empty", "a text like `order:{orderId}`"));
        }
        if text.contains(char::is_control) {
            return Err(wrong(text, "a tag is one line of text", "a text like `order:{orderId}`"));
        }
        let (mut pieces, mut left) = (Vec::new(), text);
        while let Some(open) = left.find(['{', '}']) {
            let close = left.find('}').filter(|close| *close > open + 1);
            let Some(close) = close.filter(|_| left[open..].starts_with('{')) else {
                return Err(wrong(&left[open..], "a brace has no other one, or nothing between", "`{NAME}`"));
            };
            pieces.push(Piece::Text(left[..open].into()));
            let name = &left[open + 1..close];
            pieces.push(Piece::Input(input(name, known).map_err(|(why, expected)| Wrong {
                words: left[open..=close].to_owned(),
                why,
                expected,
            })?));
            left = &left[close + 1..];
        }
        pieces.push(Piece::Text(left.into()));
        pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        Ok(Tag { typed: text.into(), pieces: pieces.into() })
    }

    /// What of the request and of parts it is written from.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Input(input) => Some(input),
            Piece::Text(_) => None,
        })
    }

    /// The text for one request. None if something that it is written from is not there.
    #[must_use]
    pub fn write(&self, facts: &Facts<'_>) -> Option<String> {
        let mut text = String::with_capacity(self.typed.len() + 16);
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Input(input) => text.push_str(&facts.text(input)?),
            }
        }
        // Tags stand a line each in what an answer is kept under: none may look like two.
        (!text.contains(char::is_control)).then_some(text)
    }
}

/// What is named between two braces, or why not and what could be.
pub(crate) fn input(name: &str, known: &Known<'_>) -> Result<Input, (String, String)> {
    let input = match name.contains('.') {
        false => Input::Path(name.to_owned()),
        true => Input::parse(name).map_err(|wrong| (wrong.message, wrong.expected))?,
    };
    match &input {
        Input::Path(name) if !known.params.iter().any(|param| **param == **name) => {
            Err((format!("the route's path has no parameter `{name}`"), known.told()))
        }
        Input::Part { field, .. } | Input::Claim(field) if field.iter().any(|name| name.ends_with(']')) => {
            Err((
                "an item of a list has no name".to_owned(),
                "a member; `each` takes all items of a list".to_owned(),
            ))
        }
        Input::Claim(_) if !known.callers => {
            Err(("`auth: none` knows no callers and no claims".to_owned(), known.told()))
        }
        Input::Body(_) if !known.body => Err(("no body is read for this".to_owned(), known.told())),
        Input::Part { part, .. } if !known.parts.contains(&part.as_str()) => {
            Err((format!("nothing called `{part}` is there by then"), known.told()))
        }
        _ => Ok(input),
    }
}

impl Known<'_> {
    fn told(&self) -> String {
        let params = self.params.iter().map(|name| format!("{{{name}}}"));
        let claims = self.callers.then(|| "{claims.NAME}".to_owned());
        let parts = self.parts.iter().map(|part| format!("{{{part}.MEMBER}}"));
        let body = self.body.then(|| "{body.MEMBER}".to_owned());
        let all = params.chain(["{query.NAME}".to_owned()]).chain(claims).chain(body).chain(parts);
        format!("one of: {}", all.collect::<Vec<_>>().join(", "))
    }
}

/// The tags of a route or a part.
#[derive(Debug, Clone, Default)]
pub struct Tags(Box<[Tag]>);

impl Tags {
    /// These.
    #[must_use]
    pub fn new(tags: Vec<Tag>) -> Self {
        Tags(tags.into())
    }

    /// What of parts they are written from.
    pub fn of_parts(&self) -> impl Iterator<Item = &Input> {
        self.0.iter().flat_map(Tag::inputs).filter(|input| matches!(input, Input::Part { .. }))
    }

    /// All of them for one request, a line each; empty where there are none. None if something that one is written from
    /// is not there: then nobody knows what would make the answer invalid.
    #[must_use]
    pub fn lines(&self, caller: &Caller, params: &Params) -> Option<String> {
        if self.0.is_empty() {
            return Some(String::new());
        }
        let written: Option<Vec<String>> = with_facts(caller, params, None, None, |facts| {
            self.0.iter().map(|tag| tag.write(facts)).collect()
        });
        Some(written?.join("\n"))
    }

    /// Those that can be written for one request, and as typed those that cannot.
    pub(crate) fn each(
        &self,
        caller: &Caller,
        params: &Params,
        asked: Option<(&str, &Value)>,
    ) -> (Vec<String>, Vec<&str>) {
        let (mut written, mut missing) = (Vec::new(), Vec::new());
        with_facts(caller, params, None, asked, |facts| {
            for tag in &self.0 {
                match tag.write(facts) {
                    Some(tag) => written.push(tag),
                    None => missing.push(&*tag.typed),
                }
            }
        });
        (written, missing)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Tag, Wrong> {
        let params: [Box<str>; 1] = ["orderId".into()];
        Tag::parse(text, &Known { params: &params, callers: true, body: false, parts: &["order"] })
    }

    fn write(text: &str, query: &str) -> Option<String> {
        let claims = json!({"sub": "7", "roles": ["a"], "age": 5});
        let order = json!({"consumerId": 9_007_199_254_740_993_u64});
        parse(text).unwrap().write(&Facts {
            claims: claims.as_object(),
            path: &|_| Some(Cow::Borrowed("9 9")),
            query,
            body: None,
            part: &|_| Some(&order),
        })
    }

    #[test]
    fn a_tag_is_written_from_what_a_request_holds() {
        for (tag, written) in [
            ("menu", "menu"),
            ("order:{orderId}", "order:9 9"),
            ("{path.orderId}", "9 9"),
            ("u:{claims.sub}/{claims.age}", "u:7/5"),
            ("history:{query.consumerId}", "history:a b"),
            ("history:{order.consumerId}", "history:9007199254740993"),
        ] {
            assert_eq!(write(tag, "consumerId=a+b").as_deref(), Some(written), "{tag}");
        }
    }

    #[test]
    fn a_tag_of_what_is_not_there_is_none() {
        for (tag, query) in [
            ("{claims.tenant}", ""),
            ("{claims.roles}", ""),
            ("{query.a}", ""),
            ("{query.a}", "a=1&a=2"),
            ("{query.a}", "a=%ff"),
            ("{query.a}", "a=1%0a2"),
            ("{order.id}", ""),
        ] {
            assert_eq!(write(tag, query), None, "{tag} {query}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_with_what_can() {
        for (tag, words) in [
            ("a:{id}", "{id}"),
            ("a:{body.id}", "{body.id}"),
            ("a:{ticket.id}", "{ticket.id}"),
            ("a:{claims.}", "{claims.}"),
            ("a:{claims.roles[0]}", "{claims.roles[0]}"),
            ("a:{order.items[].id}", "{order.items[].id}"),
            ("a:{query.a.b}", "{query.a.b}"),
            ("a:{orderId", "{orderId"),
            ("a:}", "}"),
            ("a:{}", "{}"),
            ("", ""),
        ] {
            assert_eq!(parse(tag).unwrap_err().words, words, "{tag}");
        }
        let expected = parse("{id}").unwrap_err().expected;
        assert_eq!(expected, "one of: {orderId}, {query.NAME}, {claims.NAME}, {order.MEMBER}");
        let nobody =
            Tag::parse("{claims.sub}", &Known { params: &[], callers: false, body: false, parts: &[] });
        assert_eq!(nobody.unwrap_err().expected, "one of: {query.NAME}");
    }
}
