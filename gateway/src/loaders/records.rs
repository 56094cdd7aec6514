//! The answer to a bulk call, taken apart: the text of each element, by its key, as the service wrote it.
//!
//! Not here: keeping it (`kept.rs`).

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where in an element its key stands: the names of members, outermost first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPath(Box<[Box<str>]>);

/// What an answer says of the keys that it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// What is known by each.
    pub(super) known: HashMap<Arc<str>, Bytes>,
    /// Keys of which two elements say different things.
    pub(super) torn: Vec<Arc<str>>,
    /// Whether an element has no key that could be read: any of those that are missing could be its own.
    pub(super) nameless: bool,
}

impl KeyPath {
    /// `id`, or `info.id`; none if a name between the dots is empty, or means an item of a list: `items[0]`.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let names: Box<[Box<str>]> = text.split('.').map(Into::into).collect();
        names.iter().all(|name| !name.is_empty() && !name.ends_with(']')).then_some(KeyPath(names))
    }

    /// The key of an element: a whole number as it is written, or a text.
    #[must_use]
    pub(crate) fn of(&self, element: &RawValue) -> Option<Arc<str>> {
        text(self.find(element.get())?)
    }

    /// What the names lead to in `json`. None if one of them is not there, or is there twice.
    #[must_use]
    pub(crate) fn find<'j>(&self, json: &'j str) -> Option<&'j RawValue> {
        Look(&self.0).deserialize(&mut serde_json::Deserializer::from_str(json)).ok()?
    }
}

fn text(leaf: &RawValue) -> Option<Arc<str>> {
    let written = leaf.get();
    if written.starts_with('"') {
        return serde_json::from_str::<Cow<'_, str>>(written).ok().map(|text| Arc::from(&*text));
    }
    let digits = written.strip_prefix('-').unwrap_or(written);
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| Arc::from(written))
}

/// Looks for the member that these names lead to. A name that is there twice leads nowhere.
struct Look<'a>(&'a [Box<str>]);

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0 {
            [] => serde::Deserialize::deserialize(deserializer).map(Some),
            _ => deserializer.deserialize_map(self),
        }
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a key")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut times) = (None, 0);
        while let Some(wanted) = members.next_key_seed(Is(&self.0[0]))? {
            if wanted {
                found = members.next_value_seed(Look(&self.0[1..]))?;
                times += 1;
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found.filter(|_| times == 1))
    }
}

/// Whether a member has this name.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

impl Records {
    /// What `json`, an array, says of `asked`. What it says of others nobody has asked for.
    ///
    /// # Errors
    /// When it is no array, or no JSON.
    pub(super) fn of(json: &[u8], key: &KeyPath, asked: &[Arc<str>]) -> Result<Self, serde_json::Error> {
        let elements: Vec<&RawValue> = serde_json::from_slice(json)?;
        let mut records = Records { known: HashMap::new(), torn: Vec::new(), nameless: false };
        let wanted: HashMap<&str, &Arc<str>> = asked.iter().map(|key| (&**key, key)).collect();
        for element in elements {
            let Some(key) = key.of(element) else {
                records.nameless = true;
                continue;
            };
            let Some(key) = wanted.get(&*key) else { continue };
            match records.known.entry((*key).clone()) {
                // A copy: a part of the whole would keep all of it in memory.
                Entry::Vacant(vacant) => {
                    vacant.insert(Bytes::copy_from_slice(element.get().as_bytes()));
                }
                Entry::Occupied(known) if known.get() == element.get().as_bytes() => {}
                Entry::Occupied(_) => records.torn.push((*key).clone()),
            }
        }
        records.torn.iter().for_each(|key| drop(records.known.remove(key)));
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str, path: &str, asked: &[&str]) -> (Vec<(String, String)>, Vec<Arc<str>>, bool) {
        let asked: Vec<Arc<str>> = asked.iter().map(|key| Arc::from(*key)).collect();
        let records = Records::of(json.as_bytes(), &KeyPath::parse(path).unwrap(), &asked).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let mut known: Vec<_> =
            records.known.iter().map(|(key, json)| (key.to_string(), text(json))).collect();
        known.sort();
        (known, records.torn, records.nameless)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, json)| ((*key).to_owned(), (*json).to_owned())).collect()
    }

    #[test]
    fn each_element_is_had_by_its_key_as_it_was_written() {
        let json = r#"[{"id":1,"price":12.340}, {"id":"2", "id2":0},{"x":{"id":7},"id":9007199254740993}]"#;
        let known = [
            ("1", r#"{"id":1,"price":12.340}"#),
            ("2", r#"{"id":"2", "id2":0}"#),
            ("9007199254740993", r#"{"x":{"id":7},"id":9007199254740993}"#),
        ];
        assert_eq!(of(json, "id", &["1", "2", "9007199254740993", "5"]), (pairs(&known), vec![], false));
        assert_eq!(of(json, "id", &["2"]).0, pairs(&known[1..2]), "nobody asked for the others");
        assert_eq!(of(json, "x.id", &["7"]).0.len(), 1);
        let escaped = r#"[{"\u0069d":"a\u002fb"}]"#;
        assert_eq!(of(escaped, "id", &["a/b"]).0[0].0, "a/b");
    }

    #[test]
    fn an_element_without_a_key_makes_doubtful_what_is_missing() {
        for element in
            ["1", "null", "{}", r#"{"id":1.5}"#, r#"{"id":null}"#, r#"{"id":1,"id":1}"#, r#"{"id":{}}"#]
        {
            let (known, torn, nameless) = of(&format!(r#"[{element},{{"id":2}}]"#), "id", &["1", "2"]);
            assert_eq!((known.len(), torn.len(), nameless), (1, 0, true), "{element}");
        }
    }

    #[test]
    fn of_a_key_that_is_there_twice_nothing_is_known_unless_both_say_the_same() {
        let (known, torn, _) = of(r#"[{"id":1},{"id":2,"a":1},{"id":2,"a":2},{"id":1}]"#, "id", &["1", "2"]);
        assert_eq!((known.len(), torn), (1, vec![Arc::from("2")]));
    }

    #[test]
    fn what_is_no_array_is_no_answer() {
        let path = KeyPath::parse("id").unwrap();
        for json in ["", "{}", "[", "[{\"id\":1}", "null", "[{\"id\":1}] x", "[\"\u{1}\"]"] {
            assert!(Records::of(json.as_bytes(), &path, &[]).is_err(), "{json}");
        }
        assert!(KeyPath::parse("a..b").is_none() && KeyPath::parse("").is_none());
    }
}
