//! JSON to messages and back, by the descriptors of the service (proto3, "JSON Mapping").
//!
//! Fields are known by both their names, `lineItems` and `line_items`, and by one of them at a time: a rule that has read the
//! one must not be passed by the other. Fields that the message does not have are left out, as a tolerant reader would; a value
//! that a field cannot hold is the client's mistake, and told with its path.
//! Not here: how messages are framed (`frame.rs`).

use std::fmt::Write;

use bytes::Bytes;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;

/// The longest path that is told: a name in it may be the client's own.
const LONGEST: usize = 200;

/// A value that its field cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Where, as in `lineItems[0].quantity`; empty for the whole.
    path: String,
    /// What would be right, if that can be said.
    expected: String,
}

impl Misfit {
    /// Says that `path` should be something else.
    pub(super) fn new(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Misfit { path: path.into(), expected: expected.into() }
    }

    /// Where.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What the client is told.
    pub(crate) fn detail(&self) -> String {
        let Misfit { path, expected } = self;
        let whose = match path.as_str() {
            "" => "The body".to_owned(),
            path if path.len() > LONGEST => "A value in the body".to_owned(),
            path => format!("`{path}`"),
        };
        if expected.is_empty() {
            format!("{whose} is not of a kind that is taken here.")
        } else {
            format!("{whose} must be {expected}.")
        }
    }
}

/// The message of type `kind` that `json` stands for.
pub(super) fn read(mut json: Value, kind: &MessageDescriptor) -> Result<DynamicMessage, Misfit> {
    trim(&mut json, kind, &mut String::new())?;
    // Nothing is unknown any more, so that an unknown value of an enumeration is a mistake instead of another value.
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(json, &mut track);
    DynamicMessage::deserialize_with_options(kind.clone(), tracked, &options).map_err(|wrong| {
        let path = track.path().to_string();
        Misfit::new(if path == "." { String::new() } else { path }, expected(&wrong.to_string()))
    })
}

/// What a mistake says that it would rather have; nothing if it only repeats what was typed.
fn expected(wrong: &str) -> &str {
    const LONGEST: usize = 60;
    let expected = wrong.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    match expected {
        "a map" => "an object",
        expected if expected.len() <= LONGEST => expected,
        _ => "",
    }
}

/// Takes out of `json` what the message does not have.
fn trim(json: &mut Value, kind: &MessageDescriptor, path: &mut String) -> Result<(), Misfit> {
    if kind.full_name().starts_with("google.protobuf.") {
        return Ok(()); // has a form of its own
    }
    let Value::Object(object) = json else { return Ok(()) };
    object.retain(|name, _| field(kind, name).is_some());
    let mut seen: Vec<u32> = Vec::with_capacity(object.len());
    for (name, value) in object.iter_mut() {
        let Some(field) = field(kind, name) else { continue };
        let begun = path.len();
        push(path, name);
        if seen.contains(&field.number()) {
            return Err(Misfit::new(&**path, "there once, by one of its names"));
        }
        seen.push(field.number());
        trim_field(value, &field, path)?;
        path.truncate(begun);
    }
    Ok(())
}

fn trim_field(json: &mut Value, field: &FieldDescriptor, path: &mut String) -> Result<(), Misfit> {
    let kind = match field.kind() {
        Kind::Message(kind) if field.is_map() => kind.map_entry_value_field().kind(),
        kind => kind,
    };
    let nullable = |kind: &Kind| match kind {
        Kind::Message(kind) => kind.full_name() == "google.protobuf.Value",
        Kind::Enum(kind) => kind.full_name() == "google.protobuf.NullValue",
        _ => false,
    };
    let each = |value: &mut Value, path: &mut String| match &kind {
        kind if value.is_null() && !nullable(kind) => Err(Misfit::new(&**path, "there, or left out")),
        Kind::Message(kind) => trim(value, kind, path),
        _ => Ok(()),
    };
    match json {
        Value::Array(items) if field.is_list() => {
            for (index, item) in items.iter_mut().enumerate() {
                let begun = path.len();
                _ = write!(path, "[{index}]");
                each(item, path)?;
                path.truncate(begun);
            }
            Ok(())
        }
        Value::Object(entries) if field.is_map() => {
            for (name, value) in entries {
                let begun = path.len();
                push(path, name);
                each(value, path)?;
                path.truncate(begun);
            }
            Ok(())
        }
        Value::Null => Ok(()), // a field that is null is not there
        json => each(json, path),
    }
}

fn push(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// The field of either name.
pub(crate) fn field(kind: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    kind.get_field_by_json_name(name).or_else(|| kind.get_field_by_name(name))
}

/// How messages are written as JSON.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    options: SerializeOptions,
    /// The most bytes of JSON: a message of two bytes may have as many fields that hold nothing as there are.
    most: usize,
}

/// Why a message is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// It is none of its type, and why.
    Malformed(String),
    /// Its JSON would be too large.
    TooLarge,
}

/// Text up to a limit.
struct Bounded {
    text: Vec<u8>,
    most: usize,
    over: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            self.over = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Writing {
    /// With integers of 64 bits as numbers or else as text; with fields that hold nothing, or else without; of `most` bytes.
    pub(super) fn new(numbers: bool, defaults: bool, most: usize) -> Self {
        let options = SerializeOptions::new().stringify_64_bit_integers(!numbers);
        Writing { options: options.skip_default_fields(!defaults), most }
    }

    /// The same of at most `most` bytes.
    pub(super) fn at_most(self, most: usize) -> Self {
        Writing { most: self.most.min(most), ..self }
    }

    /// The JSON text of an encoded message of type `kind`.
    pub(super) fn write(&self, message: Bytes, kind: &MessageDescriptor) -> Result<Vec<u8>, Unwritten> {
        let message = DynamicMessage::decode(kind.clone(), message)
            .map_err(|wrong| Unwritten::Malformed(wrong.to_string()))?;
        let out = Bounded { text: Vec::with_capacity(256), most: self.most, over: false };
        let mut json = serde_json::Serializer::new(out);
        let written = message.serialize_with_options(&mut json, &self.options);
        let out = json.into_inner();
        match written {
            Ok(()) => Ok(out.text),
            Err(_) if out.over => Err(Unwritten::TooLarge),
            Err(wrong) => Err(Unwritten::Malformed(wrong.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, prost::Message};
    use serde_json::json;

    use super::*;

    fn kind(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(&include_bytes!("testing.binpb")[..]).unwrap();
        pool.get_message_by_name(&format!("testing.{name}")).unwrap()
    }

    fn writing(numbers: bool, defaults: bool) -> Writing {
        Writing::new(numbers, defaults, 1 << 20)
    }

    /// What comes back of `json` when it has been a message.
    fn there_and_back(json: Value) -> Value {
        let kind = kind("Thing");
        let message = read(json, &kind).unwrap().encode_to_vec();
        let text = writing(true, false).write(message.into(), &kind).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn wrong(json: Value) -> String {
        read(json, &kind("Thing")).unwrap_err().detail()
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was() {
        let all = json!({
            "bigNumber": 9_007_199_254_740_993_i64, "huge": u64::MAX, "small": -7, "ratio": 0.5, "there": true,
            "name": "a \"name\"", "raw": "AAH/", "kind": "SQUARE", "parts": [{"name": "one"}, {"small": 2}],
            "named": {"a.b": {"name": "x"}}, "inner": {"inner": {"there": true}}, "maybe": 0, "right": 3,
            "at": "2030-01-01T18:00:00Z", "wrapped": 5, "numbers": [1, i64::MIN, i64::MAX],
        });
        assert_eq!(there_and_back(all.clone()), all);
    }

    #[test]
    fn numbers_may_be_text_and_names_may_be_those_of_the_protocol() {
        let typed = json!({"big_number": "9007199254740993", "huge": "18446744073709551615", "kind": 1, "small": 4.0});
        let same =
            json!({"bigNumber": 9_007_199_254_740_993_i64, "huge": u64::MAX, "kind": "ROUND", "small": 4});
        assert_eq!(there_and_back(typed), same);
    }

    #[test]
    fn what_the_message_does_not_have_is_left_out_at_any_depth() {
        let typed = json!({"colour": "red", "Small": 1, "parts": [{"name": "a", "colour": 1}], "inner": null,
            "named": {"k": {"colour": {}}}});
        assert_eq!(there_and_back(typed), json!({"parts": [{"name": "a"}], "named": {"k": {}}}));
    }

    #[test]
    fn a_field_is_there_once_whatever_it_is_called() {
        for twice in [json!({"bigNumber": 1, "big_number": 2}), json!({"bigNumber": null, "big_number": 2})] {
            let told = wrong(json!({ "inner": twice }));
            assert!(told.ends_with("must be there once, by one of its names."), "{told}");
        }
        assert!(wrong(json!({"left": "a", "right": 1})).contains("not of a kind"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_told_with_its_path() {
        for (typed, told) in [
            (json!({"small": "many"}), "`small` is not of a kind that is taken here."),
            (json!({"small": true}), "`small` must be a 32-bit signed integer."),
            (json!({"small": 3_000_000_000_i64}), "`small` is not of a kind that is taken here."),
            (json!({"bigNumber": 1.5}), "`bigNumber` is not of a kind that is taken here."),
            (json!({"name": 5}), "`name` must be a string."),
            (json!({"there": "yes"}), "`there` must be a boolean."),
            (json!({"kind": "TRIANGLE"}), "`kind` is not of a kind that is taken here."),
            (json!({"parts": {}}), "`parts` must be a list."),
            (
                json!({"parts": [{}, {"inner": {"small": []}}]}),
                "`parts[1].inner.small` must be a 32-bit signed integer.",
            ),
            (json!({"parts": [null]}), "`parts[0]` must be there, or left out."),
            (json!({"inner": 3}), "`inner` must be an object."),
            (json!([]), "The body must be an object."),
            (json!("text"), "The body must be an object."),
        ] {
            assert_eq!(wrong(typed.clone()), told, "{typed}");
        }
        let long = json!({"named": {"k".repeat(1_000): {"small": "x"}}});
        assert_eq!(wrong(long), "A value in the body is not of a kind that is taken here.");
    }

    #[test]
    fn how_answers_are_written_is_for_the_configuration_to_say() {
        let kind = kind("Query");
        let message = Bytes::from(read(json!({"id": i64::MAX}), &kind).unwrap().encode_to_vec());
        let written = |numbers, defaults| {
            String::from_utf8(writing(numbers, defaults).write(message.clone(), &kind).unwrap()).unwrap()
        };
        assert_eq!(written(true, false), r#"{"id":9223372036854775807}"#);
        assert_eq!(written(false, false), r#"{"id":"9223372036854775807"}"#);
        let all = r#"{"id":9223372036854775807,"textWords":"","deep":false,"kind":"UNKNOWN","tags":[]}"#;
        assert_eq!(written(true, true), all);
    }

    #[test]
    fn what_is_no_message_of_the_kind_is_refused() {
        let kind = kind("Thing");
        for broken in [&b"\xff"[..], b"\x08", b"\x0a\x05ab", b"\x32\x02\xff\xfe"] {
            assert!(writing(true, true).write(Bytes::from_static(broken), &kind).is_err(), "{broken:?}");
        }
        let written = writing(true, false).write(Bytes::from_static(b"\xa0\x06\x01"), &kind).unwrap();
        assert_eq!(written, b"{}", "a field of a later version");
    }

    #[test]
    fn a_few_bytes_do_not_become_many() {
        let kind = kind("Thing");
        let empty: Vec<u8> = [0x4a, 0].repeat(10_000); // ten thousand parts that hold nothing
        let written = |most| Writing::new(true, true, most).write(empty.clone().into(), &kind);
        assert!(written(8 << 20).unwrap().len() > 20 * empty.len());
        assert_eq!(written(8 * empty.len()), Err(Unwritten::TooLarge));
    }
}
