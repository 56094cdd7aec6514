//! Money and local times: text that goes through as it is written, and enums that services may extend.
//!
//! No arithmetic: prices are summed where they are made.

use async_graphql::{
    InputValueError, InputValueResult, Scalar, ScalarType, TypeDirective, Value, resolver_utils::EnumType,
};
use chrono::NaiveDateTime;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

/// Null only where an error says why, at these levels of lists; a client that handles errors need not expect null.
#[TypeDirective(name = "semanticNonNull", location = "FieldDefinition")]
pub(crate) fn semantic_non_null(#[graphql(default_with = "vec![0]")] levels: Vec<i32>) {}

/// An exact decimal as text: `"61.70"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Money(pub(crate) String);

/// Exact decimal amount as a string, e.g. "61.70".
#[Scalar]
impl ScalarType for Money {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) if is_decimal(&text) => Ok(Money(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, cents) = text.strip_prefix('-').unwrap_or(text).split_once('.').unwrap_or((text, "0"));
    digits(whole.trim_start_matches('-')) && digits(cents)
}

/// A string, or a number whose digits are kept as they are written.
impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get().trim_matches('"');
        if is_decimal(text) {
            Ok(Money(text.to_owned()))
        } else {
            Err(de::Error::custom("an amount is a decimal"))
        }
    }
}

/// ISO 8601 without a zone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct LocalDateTime(pub(crate) String);

/// Date and time in ISO 8601 without zone, e.g. "2026-11-21T18:30:00".
#[Scalar]
impl ScalarType for LocalDateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => match moment(&text) {
                Some(_) => Ok(LocalDateTime(text)),
                None => Err(InputValueError::custom("a time such as 2026-11-21T18:30:00 is expected")),
            },
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if moment(text).is_some())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl LocalDateTime {
    /// The point in time; none when a service wrote something else.
    pub(crate) fn moment(&self) -> Option<NaiveDateTime> {
        moment(&self.0)
    }
}

fn moment(text: &str) -> Option<NaiveDateTime> {
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
}

/// A service's word as a value of the schema. One that the schema lacks is null, and told to the operator.
pub(crate) fn known<E: EnumType>(word: &str) -> Option<E> {
    let item = E::items().iter().find(|item| item.name == word);
    if item.is_none() {
        tracing::warn!(
            r#type = std::any::type_name::<E>(),
            value = word,
            "a service sent an unknown enum value"
        );
    }
    item.map(|item| item.value)
}

/// The word for a value of the schema.
pub(crate) fn word<E: EnumType>(value: E) -> &'static str {
    E::items().iter().find(|item| item.value == value).map_or("", |item| item.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::OrderState;

    #[test]
    fn amounts_keep_their_digits() {
        let read = |json: &str| serde_json::from_str::<Money>(json).ok().map(|money| money.0);
        assert_eq!(read("\"61.70\""), Some("61.70".to_owned()));
        assert_eq!(read("61.70"), Some("61.70".to_owned()));
        assert_eq!(read("\"-3\""), Some("-3".to_owned()));
        for wrong in ["\"x\"", "\"\"", "null", "\"1.\"", "1e3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn times_have_no_zone() {
        let valid = |text: &str| LocalDateTime::is_valid(&Value::String(text.to_owned()));
        assert!(
            valid("2026-11-21T18:30:00") && valid("2026-11-21T18:30:00.125") && valid("2026-11-21T18:30")
        );
        for wrong in ["2026-11-21", "2026-11-21T18:30:00Z", "2026-02-30T00:00:00", "soon", ""] {
            assert!(!valid(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_state_is_null() {
        assert_eq!(known::<OrderState>("APPROVED"), Some(OrderState::Approved));
        assert_eq!(known::<OrderState>("TELEPORTED"), None);
        assert_eq!(word(OrderState::CancelPending), "CANCEL_PENDING");
    }
}
