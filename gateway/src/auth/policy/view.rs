//! Of a part's JSON, what a rule looks at. The rest is skipped, not read: a number in it that nothing here can hold, such
//! as `1e400`, is none of the rule's business.
//!
//! Not here: whether the text is JSON at all, which is known before (`composition/part.rs`); bodies of requests, which
//! are read whole and strictly (`json.rs`).

use std::collections::HashMap;

use serde_json::{Map, Value, value::RawValue};

use super::{Input, Policy};
use crate::members::Members;

impl Policy {
    /// The fields of the part called `name` that the rule looks at, where they are in its answer. What is looked at and
    /// is no scalar, and no list, is null: both equal nothing.
    ///
    /// # Errors
    /// When `json` is none.
    pub fn view(&self, name: &str, json: &[u8]) -> serde_json::Result<Value> {
        view(&self.inputs, name, json)
    }
}

/// The fields of the part called `name` that are among `inputs`, as [`Policy::view`] gives them.
///
/// # Errors
/// When `json` is none.
pub fn view<'i>(
    inputs: impl IntoIterator<Item = &'i Input>,
    name: &str,
    json: &[u8],
) -> serde_json::Result<Value> {
    let fields: Vec<&[String]> = inputs
        .into_iter()
        .filter_map(|input| match input {
            Input::Part { part, field } if part == name => Some(field.as_slice()),
            _ => None,
        })
        .collect();
    serde_json::from_slice::<&RawValue>(json).map(|raw| look(raw, &fields))
}

/// `raw` as far as `fields` lead into it; each field is as long as what is typed in a rule.
fn look(raw: &RawValue, fields: &[&[String]]) -> Value {
    let Ok(Members(all)) = serde_json::from_str(raw.get()) else { return leaf(raw) };
    // Nothing for a name that is there twice: nobody knows which one others take.
    let mut members = HashMap::with_capacity(all.len());
    for (name, member) in all {
        members.entry(name).and_modify(|one| *one = None).or_insert(Some(member));
    }
    let mut seen = Map::new();
    for first in fields.iter().filter_map(|field| field.first()) {
        let Some(Some(member)) = members.get(first) else { continue };
        let below: Vec<&[String]> = fields.iter().filter_map(|field| below(field, first)).collect();
        seen.insert(first.clone(), look(member, &below));
    }
    Value::Object(seen)
}

fn below<'f>(field: &'f [String], step: &str) -> Option<&'f [String]> {
    field.split_first().filter(|(first, _)| *first == step).map(|(_, rest)| rest)
}

fn leaf(raw: &RawValue) -> Value {
    match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        Ok(items) => Value::Array(items.into_iter().map(scalar).collect()),
        Err(_) => scalar(raw),
    }
}

/// Null for what cannot be held, and for what is no scalar.
fn scalar(raw: &RawValue) -> Value {
    let nested = raw.get().starts_with(['{', '[']);
    if nested { Value::Null } else { serde_json::from_str(raw.get()).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use serde_json::json;

    use super::*;
    use crate::auth::policy::{Decision, Facts};

    fn seen(rule: &str, json: &str) -> Value {
        Policy::parse(rule).unwrap().view("order", json.as_bytes()).unwrap()
    }

    fn decided(rule: &str, json: &str) -> Decision {
        let (policy, order) = (Policy::parse(rule).unwrap(), seen(rule, json));
        policy.decide(&Facts {
            claims: None,
            path: &|_| None::<Cow<'_, str>>,
            query: "",
            body: None,
            part: &|_| Some(&order),
        })
    }

    #[test]
    fn only_what_the_rule_looks_at_is_read() {
        let json = r#" {"a": {"b": 5, "c": 1e400}, "d": [1e400], "e": ["x", 1e400, 7], "f": {"g": 1}} "#;
        assert_eq!(
            seen("order.a.b == order.e or order.f == other.x", json),
            json!({"a": {"b": 5}, "e": ["x", null, 7], "f": {}})
        );
        assert_eq!(seen("order.a == '5' and order.a.b == '5'", json), json!({"a": {"b": 5}}));
        assert_eq!(seen("order.a == '5'", "[1e400]"), json!([null]));
    }

    #[test]
    fn a_member_that_is_there_twice_is_not_found_at_any_depth() {
        for json in [
            r#"{"owner": "mallory", "owner": "john"}"#,
            r#"{"owner": "john", "o\u0077ner": "mallory"}"#,
            r#"{"owner": "john", "owner": "john"}"#,
        ] {
            assert_eq!(decided("order.owner == 'john'", json), Decision::Refuse, "{json}");
            assert_eq!(decided("order.owner != 'john'", json), Decision::Refuse, "{json}");
        }
        let within = r#"{"a": {"id": 1, "id": 2}, "b": 3, "c": 4, "c": 5}"#;
        assert_eq!(seen("order.a.id == order.b", within), json!({"a": {}, "b": 3}));
    }

    #[test]
    fn a_number_that_cannot_be_held_equals_nothing_and_costs_the_others_nothing() {
        let json = r#"{"id": 7, "total": 1e400, "owners": [1e400, 7]}"#;
        assert_eq!(decided("order.id == 7", json), Decision::Allow);
        assert_eq!(decided("'7' in order.owners", json), Decision::Allow);
        assert_eq!(decided("order.total == order.total", json), Decision::Refuse);
        assert_eq!(decided("order.total != 7", json), Decision::Refuse);
    }

    #[test]
    fn ids_beyond_what_floating_point_tells_apart_are_compared_exactly() {
        for (rule, decision) in [
            ("order.id == 9007199254740993", Decision::Allow),
            ("order.id == 9007199254740992", Decision::Refuse),
            ("order.id == '9007199254740993'", Decision::Allow),
        ] {
            assert_eq!(decided(rule, r#"{"id": 9007199254740993}"#), decision, "{rule}");
        }
        let largest = r#"{"id": 18446744073709551615}"#;
        assert_eq!(decided("order.id == '18446744073709551615'", largest), Decision::Allow);
        assert_eq!(decided("order.id == '18446744073709551614'", largest), Decision::Refuse);
        // Beyond 64 bits, and with a fraction, two numbers can share one text: nothing equals them.
        assert_eq!(
            decided("order.id == '18446744073709551616'", r#"{"id": 18446744073709551616}"#),
            Decision::Refuse
        );
        assert_eq!(
            decided("order.id == '9007199254740993'", r#"{"id": 9007199254740993.0}"#),
            Decision::Refuse
        );
    }

    #[test]
    fn depth_is_that_of_the_rule_and_not_that_of_the_answer() {
        let deep = format!(r#"{{"id": 7, "deep": {}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(decided("order.id == 7", &deep), Decision::Allow);
        assert_eq!(decided("order.deep == 7", &deep), Decision::Refuse);
    }
}
