//! Reads typed structs out of the tree: a serde `Deserializer` that knows its key path and leaves out what was erased.
//!
//! Text may be typed with or without quotes, whatever it looks like; numbers, `true` and `false` only without. An empty
//! value is a mistake everywhere: `allow:` with nothing behind it must not mean "no rule".
//!
//! Not here: what to erase and when (`load.rs`), messages (`fault.rs`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{
    Deserializer,
    de::{
        self, DeserializeSeed, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    fault::Fault,
    node::{Entry, Node, Scalar, Value},
    path,
};
use crate::mistake::below;

/// What stands for the text of a secret while a fault in it is put into words.
const MASK: &str = "***";

/// How the tree is read differently from how it was typed.
#[derive(Default)]
pub(super) struct Erased {
    /// Values that are left out, by key path.
    pub(super) gone: BTreeSet<String>,
    /// Keys that are missing, by the path of their mapping. Something empty is read in their place, so that the keys
    /// missing beside them are found too.
    pub(super) holes: BTreeMap<String, Vec<&'static str>>,
    /// Secrets at and below this path are read as `***`.
    pub(super) masked: Option<String>,
}

impl Erased {
    /// Whether `at` or something that holds it was left out.
    pub(super) fn holds(&self, at: &str) -> bool {
        self.gone.iter().any(|gone| path::is_within(at, gone))
    }

    fn text<'t>(&self, scalar: &'t Scalar, at: &str) -> &'t str {
        let masked = self.masked.as_ref().is_some_and(|above| path::is_within(at, above));
        if masked && scalar.typed.is_some() { MASK } else { &scalar.text }
    }
}

/// A value about to be read. Without a node it is a hole.
pub(super) struct Typed<'t> {
    node: Option<&'t Node>,
    at: String,
    erased: &'t Erased,
}

impl<'t> Typed<'t> {
    /// The whole tree.
    pub(super) fn whole(tree: &'t Node, erased: &'t Erased) -> Self {
        Typed { node: Some(tree), at: String::new(), erased }
    }

    /// Runs `read` on what the node holds and notes the path on its fault.
    fn reading<T>(self, read: impl FnOnce(&Self) -> Result<T, Fault>) -> Result<T, Fault> {
        read(&self).map_err(|fault| fault.or_at(&self.at))
    }

    fn any<V: Visitor<'t>>(&self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.map(|node| &node.value) {
            Some(Value::Scalar(scalar)) => {
                let text = self.erased.text(scalar, &self.at);
                match looks_like(scalar, text) {
                    Seen::Nothing => visitor.visit_unit(),
                    Seen::Truth(truth) => visitor.visit_bool(truth),
                    Seen::Whole(number) => visitor.visit_u64(number),
                    Seen::Negative(number) => visitor.visit_i64(number),
                    Seen::Real(number) => visitor.visit_f64(number),
                    Seen::Text => visitor.visit_borrowed_str(text),
                }
            }
            Some(Value::List(items)) => visitor.visit_seq(self.items(items)),
            Some(Value::Mapping(entries)) => visitor.visit_map(self.entries(entries)),
            None => visitor.visit_borrowed_str(""),
            Some(Value::Refused) => visitor.visit_unit(),
        }
    }

    fn items(&self, items: &'t [Node]) -> Items<'t> {
        Items { items: items.iter().enumerate(), at: self.at.clone(), erased: self.erased }
    }

    fn entries(&self, entries: &'t [Entry]) -> Entries<'t> {
        let holes = self.erased.holes.get(&self.at).map_or(&[][..], Vec::as_slice);
        let filled = holes.iter().map(|key| (*key, None));
        let typed = entries.iter().map(|entry| (entry.key.as_str(), Some(&entry.value)));
        let all = filled.chain(typed).map(|(key, node)| (key, below(&self.at, key), node));
        let kept = all.filter(|(_, at, node)| node.is_none() || !self.erased.gone.contains(at));
        Entries { left: kept.collect::<Vec<_>>().into_iter(), value: None, erased: self.erased }
    }
}

/// What a scalar is read as. Compiled once, and not again for each type that is read.
enum Seen {
    Nothing,
    Truth(bool),
    Whole(u64),
    Negative(i64),
    Real(f64),
    Text,
}

/// A plain scalar is what it looks like (YAML 1.2, core schema); any other one is text.
fn looks_like(scalar: &Scalar, text: &str) -> Seen {
    match text {
        _ if scalar.is_null() => Seen::Nothing,
        _ if !scalar.plain => Seen::Text,
        "true" => Seen::Truth(true),
        "false" => Seen::Truth(false),
        _ => {
            let whole = text.parse().map(Seen::Whole);
            let number = whole.or_else(|_| text.parse().map(Seen::Negative)).ok();
            // Rust would also read `inf` and `nan`.
            let digits = || text.contains(|c: char| c.is_ascii_digit());
            number.or_else(|| text.parse().ok().filter(|_| digits()).map(Seen::Real)).unwrap_or(Seen::Text)
        }
    }
}

fn unfit<T>(found: Unexpected<'_>, expected: &dyn Expected) -> Result<T, Fault> {
    Err(de::Error::invalid_type(found, expected))
}

impl<'t> Deserializer<'t> for Typed<'t> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reading(|typed| typed.any(visitor))
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            None => visitor.visit_bool(false),
            Some(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u64<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            None => visitor.visit_u64(0),
            Some(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reading(|typed| match typed.node.and_then(Node::text) {
            Some(scalar) if !scalar.is_null() => {
                visitor.visit_borrowed_str(typed.erased.text(scalar, &typed.at))
            }
            _ => typed.any(visitor),
        })
    }

    fn deserialize_string<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node {
            None => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reading(|typed| match typed.node {
            None => visitor.visit_seq(typed.items(&[])),
            Some(_) => typed.any(visitor),
        })
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.reading(|typed| match typed.node.map(|node| &node.value) {
            None => visitor.visit_map(typed.entries(&[])),
            // serde would read a struct from a list, by position.
            Some(Value::List(_)) => unfit(Unexpected::Seq, &visitor),
            Some(_) => typed.any(visitor),
        })
    }

    fn deserialize_struct<V: Visitor<'t>>(
        self,
        _name: &'static str,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    /// A name alone, or a mapping of one name to what belongs to it.
    fn deserialize_enum<V: Visitor<'t>>(
        self,
        _name: &'static str,
        _values: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.reading(|typed| match typed.node.map(|node| &node.value) {
            Some(Value::Scalar(scalar)) if !scalar.is_null() => {
                let name: StrDeserializer<'_, Fault> =
                    typed.erased.text(scalar, &typed.at).into_deserializer();
                visitor.visit_enum(name)
            }
            Some(Value::Mapping(entries)) if entries.len() == 1 => {
                let read = visitor.visit_enum(de::value::MapAccessDeserializer::new(typed.entries(entries)));
                read.map_err(Fault::of_the_choice)
            }
            Some(Value::Mapping(_)) => unfit(Unexpected::Map, &"a mapping with exactly one key"),
            Some(Value::List(_)) => unfit(Unexpected::Seq, &visitor),
            _ => unfit(Unexpected::Unit, &"one of its values"),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'t>>
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

/// The items of a list that were not left out. Each keeps the index that it has in the file.
struct Items<'t> {
    items: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
    at: String,
    erased: &'t Erased,
}

impl<'t> Iterator for Items<'t> {
    type Item = Typed<'t>;

    fn next(&mut self) -> Option<Typed<'t>> {
        let erased = self.erased;
        let mut all = self.items.by_ref().map(|(index, node)| (node, path::item(&self.at, index)));
        let (node, at) = all.find(|(_, at)| !erased.gone.contains(at))?;
        Some(Typed { node: Some(node), at, erased })
    }
}

impl<'t> SeqAccess<'t> for Items<'t> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'t>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.next().map(|typed| seed.deserialize(typed)).transpose()
    }
}

/// The entries of a mapping that were not left out, and its holes.
struct Entries<'t> {
    left: std::vec::IntoIter<(&'t str, String, Option<&'t Node>)>,
    value: Option<Typed<'t>>,
    erased: &'t Erased,
}

impl<'t> MapAccess<'t> for Entries<'t> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'t>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, at, node)) = self.left.next() else { return Ok(None) };
        let read: StrDeserializer<'t, Fault> = key.into_deserializer();
        let key = seed.deserialize(read).map_err(|fault| fault.or_at(&at))?;
        self.value = Some(Typed { node, at, erased: self.erased });
        Ok(Some(key))
    }

    fn next_value_seed<V: DeserializeSeed<'t>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let value = self.value.take().expect("serde asks for a key before its value");
        let at = value.at.clone();
        seed.deserialize(value).map_err(|fault| fault.or_at(&at))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Store {
        Local,
        Redis { url: String },
        Within(f32),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Name(String);

    fn read<T: de::DeserializeOwned>(yaml: &str) -> Result<T, String> {
        let tree = crate::config::node::parse(yaml).tree.expect("it is YAML");
        let mut read = BTreeMap::<String, T>::deserialize(Typed::whole(&tree, &Erased::default()))
            .map_err(|fault| fault.at().to_owned())?;
        read.remove("a").ok_or_else(|| "no key `a`".to_owned())
    }

    #[test]
    fn text_is_read_as_typed_whatever_it_looks_like() {
        for text in ["8087", "007", "true", "1e5", "no", "-"] {
            assert_eq!(read(&format!("a: \"{text}\"")), Ok(text.to_owned()));
            assert!(text == "-" || read(&format!("a: {text}")) == Ok(Name(text.to_owned())), "{text}");
        }
        for nothing in ["", "~", "null"] {
            assert_eq!(read::<String>(&format!("a: {nothing}")), Err("a".to_owned()));
            assert_eq!(read::<Option<String>>(&format!("a: {nothing}")), Err("a".to_owned()));
        }
    }

    #[test]
    fn numbers_and_truths_are_read_without_quotes_only() {
        assert_eq!((read("a: 5"), read("a: -5"), read("a: 0.5")), (Ok(5_u8), Ok(-5_i64), Ok(0.5_f64)));
        assert_eq!((read("a: true"), read("a: [1, 2]")), (Ok(true), Ok((1_u16, 2_u32))));
        for wrong in ["'5'", "0x5", "5_0", "256", "-1", "1.5", "true", "[]", "{}"] {
            assert_eq!(read::<u8>(&format!("a: {wrong}")), Err("a".to_owned()), "{wrong}");
        }
        assert!(read::<bool>("a: 'true'").is_err() && read::<bool>("a: yes").is_err());
        assert!(read::<f64>("a: .inf").is_err() && read::<f64>("a: nan").is_err());
    }

    #[test]
    fn one_of_several_is_a_name_or_a_mapping_with_that_name() {
        assert_eq!(read("a: local"), Ok(Store::Local));
        assert_eq!(read("a: { redis: { url: x } }"), Ok(Store::Redis { url: "x".to_owned() }));
        assert_eq!(read("a: { within: 5 }"), Ok(Store::Within(5.0)));
        assert_eq!(read::<Store>("a: { redis: { url: [] } }"), Err("a.redis.url".to_owned()));
        for wrong in ["redis", "{ rediss: 5 }", "{ local: 5, within: 5 }", "[]", "", "5"] {
            assert!(read::<Store>(&format!("a: {wrong}")).is_err_and(|at| at.starts_with('a')), "{wrong}");
        }
    }
}
