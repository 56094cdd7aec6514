//! What a rule is held against, and how an input is looked up in it.
//!
//! A fact that was not read yet is not one that is not there: the first may still decide, the second is the client's
//! mistake (query, body) or plainly nothing (claims, parts).

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde_json::{Map, Value};

use super::{Input, json::fold};

/// The answer of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The caller may.
    Allow,
    /// The caller may not, whatever has not been read yet.
    Refuse,
    /// It depends on the body or on parts that have not been read yet.
    Undecided,
    /// It depends on something that the client did not send, or not so that it can be used; which input, as typed in the
    /// rule: `query.consumerId`.
    Missing(String, Why),
}

/// Why an input of the client's does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is not there.
    Absent,
    /// It is there more than once.
    Twice,
    /// Decoded, it is no UTF-8.
    NoText,
}

/// Everything that a rule may speak of.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The caller's claims; `None` for a caller without a token.
    pub claims: Option<&'a Map<String, Value>>,
    /// A path parameter by name, decoded; none when that is no UTF-8. Which there are is known when a rule is loaded.
    pub path: &'a dyn Fn(&str) -> Option<Cow<'a, str>>,
    /// The query string as sent, without its `?`.
    pub query: &'a str,
    /// The request's body, from [`super::strict_json`]; `None` while it has not been read.
    pub body: Option<&'a Value>,
    /// What the rule looks at in a part's answer, from [`super::Policy::view`], by the part's name; `None` while it has not
    /// been read. A part that failed is `Some(&Value::Null)`.
    pub part: &'a dyn Fn(&str) -> Option<&'a Value>,
}

/// What an input turned out to be.
pub(super) enum Fact<'a> {
    /// A scalar, as text.
    Text(Cow<'a, str>),
    /// An array.
    List(&'a [Value]),
    /// Null, an object, or not there: equals nothing.
    Nothing,
    /// Not read yet.
    Unread,
    /// Something that the client had to send, and why it does not count.
    Missing(Why),
}

impl<'a> Facts<'a> {
    /// What an input is, as text: what a comparison would hold against another text. None for what is no scalar, and for
    /// what is not there, or not so that it can be used.
    #[must_use]
    pub fn text(&self, input: &Input) -> Option<Cow<'a, str>> {
        match self.find(input) {
            Fact::Text(text) => Some(text),
            Fact::List(_) | Fact::Nothing | Fact::Unread | Fact::Missing(_) => None,
        }
    }

    pub(super) fn find(&self, input: &Input) -> Fact<'a> {
        match input {
            Input::Claim(field) => {
                let found = self.claims.zip(field.split_first()).and_then(|(claims, (first, rest))| {
                    claims.get(first).and_then(|claim| descend(claim, rest))
                });
                found.map_or(Fact::Nothing, scalar)
            }
            Input::Path(name) => (self.path)(name).map_or(Fact::Missing(Why::NoText), Fact::Text),
            Input::Query(name) => in_query(self.query, name),
            Input::Body(field) => match self.body {
                Some(body) => descend(body, field).map_or(Fact::Missing(Why::Absent), scalar),
                None => Fact::Unread,
            },
            Input::Part { part, field } => match (self.part)(part) {
                Some(answer) => descend(answer, field).map_or(Fact::Nothing, scalar),
                None => Fact::Unread,
            },
        }
    }
}

fn descend<'a>(value: &'a Value, field: &[String]) -> Option<&'a Value> {
    field.iter().try_fold(value, |value, step| value.as_object()?.get(step))
}

/// Integers up to here are exact as floating point; beyond, two numbers can share one text.
const EXACT: f64 = 9_007_199_254_740_992.0;

pub(super) fn scalar(value: &Value) -> Fact<'_> {
    match value {
        Value::String(text) => Fact::Text(Cow::Borrowed(text)),
        Value::Bool(true) => Fact::Text(Cow::Borrowed("true")),
        Value::Bool(false) => Fact::Text(Cow::Borrowed("false")),
        Value::Number(number) if number.is_f64() && number.as_f64().is_none_or(|n| n.abs() >= EXACT) => {
            Fact::Nothing
        }
        Value::Number(number) => Fact::Text(Cow::Owned(number.to_string())),
        Value::Array(items) => Fact::List(items),
        Value::Null | Value::Object(_) => Fact::Nothing,
    }
}

/// The one parameter of that name. Given twice it is nobody's: which of them a service takes is not known here. Twice is also
/// what some services take for the same: in another case, with blanks around it, with a NUL or a `[` after it, and behind
/// a `;` where others have an `&`.
fn in_query<'a>(query: &'a str, name: &str) -> Fact<'a> {
    let key_of = |pair: &'a str| pair.split_once('=').map_or(pair, |(key, _)| key);
    let folded = fold(name);
    let mut found = None;
    for pair in query.split('&') {
        if !pair.split(';').any(|part| read_leniently(key_of(part)) == folded) {
            continue;
        }
        if found.is_some() || pair.contains(';') {
            return Fact::Missing(Why::Twice);
        }
        found = Some(pair.split_once('=').unwrap_or((pair, "")));
    }
    match found {
        Some((key, value)) if decoded(key).is_some_and(|key| key == name) => {
            decoded(value).map_or(Fact::Missing(Why::NoText), Fact::Text)
        }
        _ => Fact::Missing(Why::Absent),
    }
}

/// The names of the parameters in a query, as lenient readers take them: in any case, and behind a `;` too.
pub fn names_in_query(query: &str) -> impl Iterator<Item = String> {
    query
        .split(['&', ';'])
        .filter(|pair| !pair.is_empty())
        .map(|pair| read_leniently(pair.split_once('=').map_or(pair, |(key, _)| key)))
}

fn read_leniently(key: &str) -> String {
    let spaced = key.replace('+', " ");
    let text = percent_decode(spaced.as_bytes()).decode_utf8_lossy();
    fold(text.split(['\0', '[']).next().unwrap_or_default().trim())
}

/// Form decoding: `+` is a space, `%41` an `A`. `None` when the result is not UTF-8.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return percent_decode(spaced.as_bytes())
            .decode_utf8()
            .ok()
            .map(|text| Cow::Owned(text.into_owned()));
    }
    percent_decode(text.as_bytes()).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(query: &str) -> Result<String, Why> {
        match in_query(query, "consumerId") {
            Fact::Text(text) => Ok(text.into_owned()),
            Fact::Missing(why) => Err(why),
            _ => unreachable!("a query holds text only"),
        }
    }

    #[test]
    fn a_query_parameter_is_found_however_it_is_spelt_and_only_once() {
        assert_eq!(found("a=1&consumerId=5"), Ok("5".to_owned()));
        assert_eq!(found("consumer%49d=a+b%2B"), Ok("a b+".to_owned()));
        assert_eq!(found("consumerId"), Ok(String::new()));
        assert_eq!(found(""), Err(Why::Absent));
        assert_eq!(found("consumerid=5&xconsumerId=5"), Err(Why::Absent));
        assert_eq!(found("consumerId=5&%63onsumerId=5"), Err(Why::Twice));
        assert_eq!(found("consumerId=%ff"), Err(Why::NoText));
        for twice in [
            "consumerId=5&ConsumerID=6",
            "consumerid=6&consumerId=5",
            "consumerId=5&+consumerId%20=6",
            "consumerId=5&consumerId[]=6",
            "consumerId=5&consumerId%5B0%5D=6",
            "consumerId=5&consumerId%00x=6",
            "a=1;consumerId=6&consumerId=5",
            "consumerId=5;consumerId=6",
            "consumerId=5;a=1",
        ] {
            assert_eq!(found(twice), Err(Why::Twice), "{twice}");
        }
        assert_eq!(found("consumerId=a%3Bb&a;b=c"), Ok("a;b".to_owned()));
    }
}
