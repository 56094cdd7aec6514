//! JSON read strictly: a key that an object holds twice is a mistake, not a choice.
//!
//! The gateway decides on the body that a service then reads again. Where a parser may take the first or the last of two
//! keys, the two would decide on different values (RFC 8259 section 4). Not here: JSON that nothing is decided on.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Number, Value, map::Entry};

use super::{Input, Policy};
use crate::error::{Code, Error};

/// Reads a request's body for a rule. Nesting is bounded by serde_json (128 levels).
///
/// # Errors
/// [`Code::BadRequest`] when it is no JSON, or when an object at any depth holds a key twice.
pub fn strict_json(body: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice::<Strict>(body).map(|Strict(value)| value).map_err(|cause| {
        Error::new(Code::BadRequest, format!("body: {cause}"))
            .detail("The body must be valid JSON that names no field twice.")
    })
}

impl Policy {
    /// Holds the names in `body` against those that the rule reads.
    ///
    /// # Errors
    /// [`Code::BadRequest`] when a name is not one that the rule reads, and yet would be to a service that does not look at
    /// case, or that ends a name at a NUL.
    pub fn check_names(&self, body: &Value) -> Result<(), Error> {
        let alike = self.inputs.iter().find_map(|input| match input {
            Input::Body(field) => alike(body, field),
            _ => None,
        });
        let Some(name) = alike else { return Ok(()) };
        let error =
            Error::new(Code::BadRequest, format!("body: a name that is like `{name}`, which the rule reads"));
        Err(error
            .detail(format!("The body must spell `{name}` like that, and hold no other spelling of it.")))
    }
}

/// The name on the way to `field` that some key is a misspelling of.
fn alike<'f>(body: &Value, field: &'f [String]) -> Option<&'f str> {
    let (name, rest) = field.split_first()?;
    let object = body.as_object()?;
    let folded = fold(name);
    if object.keys().any(|key| key != name && fold(key) == folded) {
        return Some(name);
    }
    alike(object.get(name)?, rest)
}

/// A name as it is to those who do not look at case, be it by small letters or by capitals: K is the Kelvin sign to some.
pub(crate) fn fold(name: &str) -> String {
    name.split('\0').next().unwrap_or_default().to_lowercase().to_uppercase()
}

/// A value without a key given twice.
struct Strict(Value);

/// An object without a key given twice, at any depth.
pub(crate) struct StrictObject(pub(crate) Map<String, Value>);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(object) => Ok(StrictObject(object)),
            _ => Err(de::Error::custom("not an object")),
        }
    }
}

struct StrictVisitor;

impl<'de> de::Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<Cow<'de, str>>()? {
            match object.entry(key) {
                Entry::Vacant(free) => free.insert(fields.next_value::<Strict>()?.0),
                Entry::Occupied(_) => return Err(de::Error::custom("a key is given twice")),
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_as_it_is() {
        let text = br#" {"a":[1,-2,1.5,"x",null,true],"b":{"c":{}},"big":18446744073709551615} "#;
        assert_eq!(strict_json(text).unwrap(), serde_json::from_slice::<Value>(text).unwrap());
    }

    #[test]
    fn a_key_given_twice_is_refused_at_any_depth_and_however_it_is_spelt() {
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"b":{"a":1,"c":[],"a":2}}]"#,
            r#"{"a":null,"a":{}}"#,
        ] {
            assert_eq!(strict_json(twice.as_bytes()).unwrap_err().code(), Code::BadRequest, "{twice}");
        }
    }

    #[test]
    fn a_key_that_another_reader_takes_for_that_of_the_rule_is_refused() {
        let policy = Policy::parse("claims.sub == body.order.sku").unwrap();
        let checked = |text: &str| policy.check_names(&strict_json(text.as_bytes()).unwrap());
        for wrong in [
            r#"{"order":{"sku":1,"SKU":2}}"#,
            r#"{"Order":{"sku":1}}"#,
            r#"{"order":{"sku":1,"s\u212au":2}}"#,
            r#"{"order":{"sku":1,"\u017fku":2}}"#,
            r#"{"order":{"sku\u0000x":2}}"#,
        ] {
            let error = checked(wrong).unwrap_err();
            assert_eq!(error.code(), Code::BadRequest, "{wrong}");
        }
        for good in [r#"{"order":{"sku":1,"skus":2},"SKU":3}"#, r#"{"order":[{"SKU":1}]}"#, "{}", "7"] {
            assert!(checked(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "{} {}", "{'a':1}", "{\"a\":1e999}", "nul", "\u{feff}{}", &deep] {
            assert_eq!(strict_json(text.as_bytes()).unwrap_err().code(), Code::BadRequest);
        }
        assert!(strict_json(b"{\"a\":\"\xff\"}").is_err());
    }
}
