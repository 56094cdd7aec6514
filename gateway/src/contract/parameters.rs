//! Parameters of the path, the query and header fields: texts, read as what their schemas say.
//!
//! Not here: which there are (`mod.rs`).

use serde_json::{Number, Value};

use super::schema::Schema;

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) kind: Kind,
    pub(super) schema: Schema,
    pub(super) required: bool,
}

/// What a text is read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Number,
    Truth,
    /// Items with commas between.
    List(Box<Kind>),
}

impl Kind {
    /// What a parameter of this schema is read as; none if it does not say one type.
    pub(super) fn of(schema: &Schema, named: &[Schema]) -> Option<Kind> {
        Some(match schema.only_type(named)? {
            "string" => Kind::Text,
            "integer" => Kind::Whole,
            "number" => Kind::Number,
            "boolean" => Kind::Truth,
            "array" => match Kind::of(schema.items(named)?, named)? {
                Kind::List(_) => return None,
                item => Kind::List(Box::new(item)),
            },
            _ => return None,
        })
    }

    /// A text as JSON. What does not look like its kind stays a text, which then does not fit its schema.
    pub(super) fn read(&self, text: &str) -> Value {
        let read = match self {
            Kind::Text => None,
            Kind::Whole => number(text, true).map(Value::Number),
            Kind::Number => number(text, false).map(Value::Number),
            Kind::Truth => match text {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::List(_) if text.is_empty() => Some(Value::Array(Vec::new())),
            Kind::List(item) => Some(text.split(',').map(|text| item.read(text)).collect()),
        };
        read.unwrap_or_else(|| Value::from(text))
    }
}

/// A number as JSON has it: no `+5`, no `05`, no `0x5`, no blanks. A whole one is in digits alone: services read `5.0` and `5e0`
/// in more than one way.
fn number(text: &str, whole: bool) -> Option<Number> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let digits = !unsigned.is_empty() && unsigned.bytes().all(|byte| byte.is_ascii_digit());
    let begins = unsigned.starts_with(|first: char| first.is_ascii_digit());
    let ends = text.ends_with(|last: char| last.is_ascii_digit());
    if !begins || !ends || whole && !digits {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_read_as_its_kind_or_stays_one() {
        for (text, read) in [
            ("5", json!(5)),
            ("-5", json!(-5)),
            ("18446744073709551615", json!(u64::MAX)),
            ("+5", json!("+5")),
            ("05", json!("05")),
            ("5.0", json!("5.0")),
            ("5e0", json!("5e0")),
            (" 5", json!(" 5")),
            ("", json!("")),
            ("-", json!("-")),
        ] {
            assert_eq!(Kind::Whole.read(text), read, "{text}");
        }
        assert_eq!((Kind::Number.read("5.5"), Kind::Number.read("NaN")), (json!(5.5), json!("NaN")));
        assert_eq!((Kind::Truth.read("true"), Kind::Truth.read("1")), (json!(true), json!("1")));
        let list = Kind::List(Box::new(Kind::Whole));
        assert_eq!(
            (list.read("1,2"), list.read(""), list.read("1,")),
            (json!([1, 2]), json!([]), json!([1, ""]))
        );
    }
}
