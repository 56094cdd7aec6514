//! Schemas as they are checked: JSON Schema 2020-12, as far as `docs/openapi.md` has its keywords.
//!
//! Not here: reading them (`compile.rs`), what is said of a value that does not fit (`check.rs`).

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Number, Value};

use super::formats::Format;

/// A schema: all of this must hold, in this order. What is cheap comes first, and the first failure about a value itself is
/// the last that is said of it.
#[derive(Debug, Default)]
pub struct Schema(pub(super) Box<[Keyword]>);

/// One keyword of a schema.
#[derive(Debug)]
pub(super) enum Keyword {
    /// `false`: nothing fits.
    Never,
    Type(Types),
    /// `enum`, and `const` as one of one; with how it is told.
    OneOf(Box<[Value]>, Box<str>),
    /// At least, or more than if it is exclusive.
    Minimum(Number, bool),
    /// At most, or less than if it is exclusive.
    Maximum(Number, bool),
    /// A whole number.
    MultipleOf(u64),
    /// In Unicode code points, as all lengths.
    MinLength(usize),
    MaxLength(usize),
    Format(Format),
    Pattern(Regex),
    MinItems(usize),
    MaxItems(usize),
    UniqueItems,
    Required(Box<[Box<str>]>),
    /// `properties`, by name, and `additionalProperties`.
    Members(Vec<(Box<str>, Schema)>, Option<Schema>),
    Items(Schema),
    /// A schema by its place among those with names.
    Named(usize),
    AllOf(Box<[Schema]>),
    AnyOf(Box<[Schema]>),
    ExactlyOne(Box<[Schema]>),
}

/// Types of JSON, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Types(u8);

/// What `type` may say, and how it is told to clients.
pub(super) const TYPES: [(&str, &str); 7] = [
    ("null", "null"),
    ("boolean", "`true` or `false`"),
    ("integer", "a whole number"),
    ("number", "a number"),
    ("string", "text"),
    ("array", "a list"),
    ("object", "an object"),
];

impl Types {
    /// These and the one so named; none if there is none of the name.
    pub(super) fn with(self, name: &str) -> Option<Types> {
        let index = TYPES.iter().position(|(known, _)| *known == name)?;
        Some(Types(self.0 | 1 << index))
    }

    fn has(self, index: usize) -> bool {
        self.0 & 1 << index != 0
    }

    /// The only one, by its name.
    pub(super) fn only(self) -> Option<&'static str> {
        let mut named = (0..TYPES.len()).filter(|index| self.has(*index)).map(|index| TYPES[index].0);
        named.next().filter(|_| named.next().is_none())
    }

    pub(super) fn fit(self, value: &Value) -> bool {
        match value {
            Value::Null => self.has(0),
            Value::Bool(_) => self.has(1),
            Value::Number(number) => self.has(3) || self.has(2) && is_whole(number),
            Value::String(_) => self.has(4),
            Value::Array(_) => self.has(5),
            Value::Object(_) => self.has(6),
        }
    }

    /// `text or null`.
    pub(super) fn told(self) -> String {
        let named = (0..TYPES.len()).rev().filter(|index| self.has(*index)).map(|index| TYPES[index].1);
        named.collect::<Vec<_>>().join(" or ")
    }
}

impl Schema {
    /// The one type that everything that fits is of, as far as that is said.
    pub(super) fn only_type(&self, named: &[Schema]) -> Option<&'static str> {
        self.0.iter().find_map(|keyword| match keyword {
            Keyword::Type(types) => types.only(),
            // Loops of names are refused before this is asked.
            Keyword::Named(index) => named.get(*index)?.only_type(named),
            _ => None,
        })
    }

    /// What the items of a list must fit.
    pub(super) fn items<'s>(&'s self, named: &'s [Schema]) -> Option<&'s Schema> {
        self.0.iter().find_map(|keyword| match keyword {
            Keyword::Items(items) => Some(items),
            Keyword::Named(index) => named.get(*index)?.items(named),
            _ => None,
        })
    }

    /// The names that are looked at for the value itself, and not for what is in it: a loop of these would never end.
    pub(super) fn same_place(&self, found: &mut Vec<usize>) {
        for keyword in &self.0 {
            match keyword {
                Keyword::Named(index) => found.push(*index),
                Keyword::AllOf(all) | Keyword::AnyOf(all) | Keyword::ExactlyOne(all) => {
                    all.iter().for_each(|schema| schema.same_place(found));
                }
                _ => {}
            }
        }
    }
}

/// `1.0` is as whole as `1` (JSON Schema Core section 4.2.3).
fn is_whole(number: &Number) -> bool {
    !number.is_f64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// The whole part of a number, downwards, exactly for whatever 64 bits hold, and what is left.
fn split(number: &Number) -> (i128, f64) {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (whole, number.as_f64()) {
        (Some(whole), _) => (whole, 0.0),
        (None, Some(float)) => (float.floor() as i128, float - float.floor()),
        (None, None) => (0, 0.0),
    }
}

/// Which number is larger. Exact, where a comparison of floats would call 9007199254740993 and ...992 equal.
pub(super) fn compare(one: &Number, other: &Number) -> Ordering {
    let (one, other, floats) = (split(one), split(other), (one.as_f64(), other.as_f64()));
    let exact = one.0.cmp(&other.0).then_with(|| one.1.total_cmp(&other.1));
    // Beyond 128 bits there are only floats.
    exact.then_with(|| floats.0.partial_cmp(&floats.1).unwrap_or(Ordering::Equal))
}

/// Whether a number is so many times another.
pub(super) fn divides(step: u64, number: &Number) -> bool {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match whole {
        Some(whole) => whole % i128::from(step) == 0,
        None => number.as_f64().is_some_and(|float| float % step as f64 == 0.0),
    }
}

/// Whether two values are the same, numbers by what they are and not by how they are written.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => compare(one, other) == Ordering::Equal,
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let member = |(name, value): (&String, &Value)| other.get(name).is_some_and(|o| same(value, o));
            one.len() == other.len() && one.iter().all(member)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_compared_as_they_are_and_not_as_floats() {
        for (one, other, order) in [
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("9007199254740993", "9007199254740992.0", Ordering::Greater),
            ("1", "1.0", Ordering::Equal),
            ("-1", "-0.5", Ordering::Less),
            ("18446744073709551615", "1e300", Ordering::Less),
            ("1e300", "1e301", Ordering::Less),
            ("-9223372036854775808", "18446744073709551615", Ordering::Less),
            ("0.1", "0.2", Ordering::Less),
        ] {
            assert_eq!(compare(&number(one), &number(other)), order, "{one} {other}");
            assert_eq!(compare(&number(other), &number(one)), order.reverse(), "{other} {one}");
        }
        assert!(divides(3, &number("9007199254740993")) && !divides(3, &number("9007199254740992")));
        assert!(divides(2, &number("4.0")) && !divides(2, &number("4.5")));
    }
}
