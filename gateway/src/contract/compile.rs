//! From schemas as typed to those that are checked. A keyword that is not checked here is refused: it would promise something
//! that nobody keeps.
//!
//! Where a schema stands, a text is the name of one under `schemas:`: `items: LineItem`. `$ref` says the same.
//! Not here: what a schema means (`schema.rs`, `check.rs`).

use regex::Regex;
use serde_json::Value;

use super::{
    formats::{FORMATS, Format},
    schema::{Keyword, Schema, TYPES, Types},
};
use crate::{
    composition::config::Tree,
    mistake::{Mistake, Mistakes, below},
};

/// What `$ref` begins with.
pub(super) const COMPONENTS: &str = "#/components/schemas/";

/// The keywords that are checked.
const CHECKED: [&str; 23] = [
    "$ref",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
    "uniqueItems",
];

/// The keywords that only tell people something.
const TOLD: [&str; 5] = ["default", "deprecated", "description", "examples", "title"];

/// Reads schemas that may name those in `names`.
pub struct Compiler<'a> {
    /// What there is under `schemas:`, in order.
    pub names: &'a [&'a str],
    /// What is wrong.
    pub mistakes: &'a mut Mistakes,
}

impl Compiler<'_> {
    /// The schema typed at the key path `at`. What is wrong with it is noted, and left out.
    pub fn schema(&mut self, typed: &Tree, at: &str) -> Schema {
        let mut keywords = Vec::new();
        match typed {
            Tree::Text(name) => keywords.extend(self.named(name, at)),
            Tree::Other(Value::Bool(true)) => {}
            Tree::Other(Value::Bool(false)) => keywords.push(Keyword::Never),
            Tree::Object(members) => {
                for (key, value) in members {
                    let keyword = self.keyword(key, value, &below(at, key));
                    keywords.extend(keyword);
                }
                keywords.extend(self.members(
                    members.get("properties"),
                    members.get("additionalProperties"),
                    at,
                ));
            }
            Tree::List(_) | Tree::Other(_) => {
                self.wrong(at, "this is no schema", "a mapping of keywords, or a name under `schemas`");
            }
        }
        keywords.sort_by_key(rank);
        Schema(keywords.into())
    }

    fn wrong(&mut self, at: &str, message: impl Into<String>, expected: impl Into<String>) {
        self.mistakes.add(Mistake::new(at, message).expected(expected));
    }

    fn named(&mut self, name: &str, at: &str) -> Option<Keyword> {
        let index = self.names.iter().position(|known| *known == name);
        if index.is_none() {
            let mistake = Mistake::new(at, format!("there is no schema `{name}`")).words(name);
            self.mistakes.add(mistake.one_of("schemas", self.names, name));
        }
        index.map(Keyword::Named)
    }

    fn keyword(&mut self, key: &str, value: &Tree, at: &str) -> Option<Keyword> {
        let number = |value: &Tree| match value {
            Tree::Other(Value::Number(number)) => Some(number.clone()),
            _ => None,
        };
        let found = match key {
            "$ref" => return self.reference(value, at),
            "type" => return self.types(value, at),
            "enum" => return self.one_of(value, at),
            "const" => {
                let told = value.json();
                Some(Keyword::OneOf([as_json(value)].into(), told.into()))
            }
            "minimum" => number(value).map(|least| Keyword::Minimum(least, false)),
            "exclusiveMinimum" => number(value).map(|least| Keyword::Minimum(least, true)),
            "maximum" => number(value).map(|most| Keyword::Maximum(most, false)),
            "exclusiveMaximum" => number(value).map(|most| Keyword::Maximum(most, true)),
            "multipleOf" => {
                return self.count(value, at, 1).map(|step| Keyword::MultipleOf(step as u64));
            }
            "minLength" => return self.count(value, at, 0).map(Keyword::MinLength),
            "maxLength" => return self.count(value, at, 0).map(Keyword::MaxLength),
            "minItems" => return self.count(value, at, 0).map(Keyword::MinItems),
            "maxItems" => return self.count(value, at, 0).map(Keyword::MaxItems),
            "uniqueItems" => return self.unique(value, at),
            "pattern" => return self.pattern(value, at),
            "format" => return self.format(value, at),
            "required" => return self.texts(value, at).map(|names| Keyword::Required(names.into())),
            "items" => return Some(Keyword::Items(self.schema(value, at))),
            "allOf" => return self.schemas(value, at).map(Keyword::AllOf),
            "anyOf" => return self.schemas(value, at).map(Keyword::AnyOf),
            "oneOf" => return self.schemas(value, at).map(Keyword::ExactlyOne),
            "properties" | "additionalProperties" => return None, // read together
            told if TOLD.contains(&told) => return None,
            unknown => return self.unknown(unknown, at),
        };
        if found.is_none() {
            self.wrong(at, format!("`{key}` is no number"), "a number without quotes");
        }
        found
    }

    fn unknown(&mut self, key: &str, at: &str) -> Option<Keyword> {
        let mistake = Mistake::new(format!("{at}:"), format!("`{key}` is no keyword that is checked"));
        let known = CHECKED.iter().chain(&TOLD).copied();
        let mistake = mistake.one_of("keywords", known, key);
        self.mistakes.add(match key {
            "nullable" => mistake.help("add null to its types: `type: [string, null]`"),
            "example" => mistake.help("write `examples: [VALUE]`"),
            _ => mistake,
        });
        None
    }

    fn reference(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        let text = if let Tree::Text(text) = value { text.as_str() } else { "" };
        match text.strip_prefix(COMPONENTS) {
            Some(name) => self.named(name, at),
            None => {
                self.wrong(
                    at,
                    "this refers to nothing here",
                    format!("`{COMPONENTS}NAME`, quoted, or a name alone"),
                );
                None
            }
        }
    }

    fn types(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        let typed = match value {
            Tree::List(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut types = Types::default();
        for one in typed {
            let name = match one {
                Tree::Text(name) => name.as_str(),
                Tree::Other(Value::Null) => "null",
                _ => "",
            };
            match types.with(name) {
                Some(more) => types = more,
                None => {
                    let mistake = Mistake::new(at, format!("there is no type `{name}`"));
                    self.mistakes.add(mistake.one_of("types", TYPES.map(|(name, _)| name), name));
                    return None;
                }
            }
        }
        if types == Types::default() {
            self.wrong(at, "nothing is of no type", "at least one type");
            return None;
        }
        Some(Keyword::Type(types))
    }

    fn one_of(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        let Tree::List(items) = value else {
            self.wrong(at, "`enum` is no list", "a list of values");
            return None;
        };
        if items.is_empty() {
            self.wrong(at, "nothing is one of none", "at least one value");
        }
        let told = items.iter().map(Tree::json).collect::<Vec<_>>().join(", ");
        let told = if items.len() == 1 { told } else { format!("one of {told}") };
        Some(Keyword::OneOf(items.iter().map(as_json).collect(), told.into()))
    }

    fn count(&mut self, value: &Tree, at: &str, least: u64) -> Option<usize> {
        let number = match value {
            Tree::Other(Value::Number(number)) => number.as_u64().filter(|number| *number >= least),
            _ => None,
        };
        let number = number.and_then(|number| usize::try_from(number).ok());
        if number.is_none() {
            self.wrong(at, "this is no whole number", format!("a whole number, {least} or more"));
        }
        number
    }

    fn unique(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        match value {
            Tree::Other(Value::Bool(unique)) => unique.then_some(Keyword::UniqueItems),
            _ => {
                self.wrong(at, "`uniqueItems` is no truth", "`true` or `false`");
                None
            }
        }
    }

    /// What both Rust's `regex` and ECMA-262 understand: the first has no look-around and no back-references, which is why no
    /// text makes it slow.
    fn pattern(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        let Tree::Text(pattern) = value else {
            self.wrong(at, "`pattern` is no text", "a regular expression, in quotes");
            return None;
        };
        match Regex::new(pattern) {
            Ok(pattern) => Some(Keyword::Pattern(pattern)),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.wrong(
                    at,
                    format!("this pattern cannot be read: {why}"),
                    "a regular expression without look-around and back-references",
                );
                None
            }
        }
    }

    fn format(&mut self, value: &Tree, at: &str) -> Option<Keyword> {
        let name = if let Tree::Text(name) = value { name.as_str() } else { "" };
        let format = Format::named(name);
        if format.is_none() {
            let mistake = Mistake::new(at, format!("there is no format `{name}` that is checked"));
            self.mistakes.add(mistake.one_of("formats", FORMATS.map(|(name, _)| name), name));
        }
        format.map(Keyword::Format)
    }

    fn texts(&mut self, value: &Tree, at: &str) -> Option<Vec<Box<str>>> {
        let text = |item: &Tree| match item {
            Tree::Text(text) => Some(text.as_str().into()),
            _ => None,
        };
        let texts = match value {
            Tree::List(items) => items.iter().map(text).collect(),
            _ => None,
        };
        if texts.is_none() {
            self.wrong(at, "this is no list of names", "a list of names");
        }
        texts
    }

    fn schemas(&mut self, value: &Tree, at: &str) -> Option<Box<[Schema]>> {
        match value {
            Tree::List(items) if !items.is_empty() => {
                let items = items.iter().enumerate();
                Some(items.map(|(index, item)| self.schema(item, &format!("{at}[{index}]"))).collect())
            }
            _ => {
                self.wrong(at, "this is no list of schemas", "at least one schema");
                None
            }
        }
    }

    fn members(&mut self, known: Option<&Tree>, others: Option<&Tree>, at: &str) -> Option<Keyword> {
        let others = others.map(|others| self.schema(others, &below(at, "additionalProperties")));
        let mut read = Vec::new();
        let place = below(at, "properties");
        match known {
            Some(Tree::Object(members)) => {
                for (name, member) in members {
                    let schema = self.schema(member, &below(&place, name));
                    read.push((name.as_str().into(), schema));
                }
            }
            Some(_) => self.wrong(&place, "`properties` is no mapping", "a schema for each name"),
            None => {}
        }
        (known.is_some() || others.is_some()).then_some(Keyword::Members(read, others))
    }
}

/// What is cheap, and what others rely on, first.
fn rank(keyword: &Keyword) -> u8 {
    match keyword {
        Keyword::Never | Keyword::Type(_) => 0,
        Keyword::Pattern(_) | Keyword::Format(_) | Keyword::UniqueItems => 2,
        Keyword::Required(_) => 3,
        Keyword::Members(..) | Keyword::Items(_) => 4,
        Keyword::Named(_) | Keyword::AllOf(_) | Keyword::AnyOf(_) | Keyword::ExactlyOne(_) => 5,
        _ => 1,
    }
}

fn as_json(typed: &Tree) -> Value {
    match typed {
        Tree::Text(text) => text.as_str().into(),
        Tree::Other(value) => value.clone(),
        Tree::List(items) => items.iter().map(as_json).collect(),
        Tree::Object(members) => members.iter().map(|(name, value)| (name.clone(), as_json(value))).collect(),
    }
}

/// The first name that leads back to itself without a step into the value: checking one would never end.
pub(super) fn endless(named: &[Schema]) -> Option<usize> {
    let next: Vec<Vec<usize>> = named
        .iter()
        .map(|schema| {
            let mut found = Vec::new();
            schema.same_place(&mut found);
            found
        })
        .collect();
    let leads_back = |start: &usize| {
        let (mut seen, mut left) = (vec![false; named.len()], next[*start].clone());
        while let Some(at) = left.pop() {
            if at == *start {
                return true;
            }
            if !std::mem::replace(&mut seen[at], true) {
                left.extend(&next[at]);
            }
        }
        false
    };
    (0..named.len()).find(leads_back)
}
