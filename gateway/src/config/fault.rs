//! What serde found wrong with the tree, and how that is said to people.
//!
//! Not here: noticing it (`typed.rs`), going on after it (`load.rs`).

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

use super::{node::Node, path};
use crate::mistake::{Mistake, below};

/// Quoted values are cut here.
const QUOTED: usize = 60;

/// The first thing that serde found wrong.
#[derive(Debug)]
pub(super) struct Fault {
    /// The key path of the value, or of the mapping that lacks a key. Unknown until a value's reader has seen the fault.
    pub(super) at: Option<String>,
    pub(super) what: What,
}

/// What is wrong there.
#[derive(Debug)]
pub(super) enum What {
    UnknownKey { typed: String, keys: &'static [&'static str] },
    MissingKey(&'static str),
    UnknownValue { typed: String, values: &'static [&'static str] },
    Unfit { found: String, expected: String },
    Said(String),
}

impl Fault {
    fn new(what: What) -> Self {
        Fault { at: None, what }
    }

    fn unfit(found: &Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::new(What::Unfit { found: in_words(found), expected: in_plain_words(&expected.to_string()) })
    }

    /// Notes where it is, unless something nearer did.
    pub(super) fn or_at(mut self, at: &str) -> Self {
        self.at.get_or_insert_with(|| at.to_owned());
        self
    }

    /// In a mapping that stands for one of several values, a wrong name is wrong with the whole mapping.
    pub(super) fn of_the_choice(self) -> Self {
        if matches!(self.what, What::UnknownValue { .. }) { Fault { at: None, ..self } } else { self }
    }

    /// Where it is; for an unknown key, the key.
    pub(super) fn at(&self) -> &str {
        self.at.as_deref().unwrap_or_default()
    }

    /// The fault in the words of people who know the file and not the code.
    pub(super) fn mistake(self, tree: &Node) -> Mistake {
        let at = self.at.unwrap_or_default();
        let names = path::names(tree, &at);
        match self.what {
            What::UnknownKey { typed, keys } => unknown_key(tree, &at, &typed, keys),
            What::MissingKey(key) => missing_key(&at, &names, key),
            What::UnknownValue { typed, values } => {
                let found = in_words(&Unexpected::Str(&typed));
                Mistake::new(at, format!("{} cannot be {found}", subject(&names)))
                    .one_of("values", values, &typed)
            }
            What::Unfit { found, expected } => unfit(at, &names, &found, &expected),
            What::Said(said) => said_by_the_value(at, &names, &said),
        }
    }
}

fn subject(names: &[String]) -> String {
    if names.is_empty() { "the file".to_owned() } else { names.join(": ") }
}

/// `part `ticketInfo` of route `/orders``: innermost first.
fn inside(names: &[String]) -> String {
    if names.is_empty() {
        return "at the top level".to_owned();
    }
    format!("in {}", names.iter().rev().map(String::as_str).collect::<Vec<_>>().join(" of "))
}

fn unknown_key(tree: &Node, at: &str, typed: &str, keys: &[&str]) -> Mistake {
    let place = inside(&path::names(tree, path::above(at, typed)));
    Mistake::new(format!("{at}:"), format!("unknown key `{typed}` {place}")).one_of("keys", keys, typed)
}

fn missing_key(at: &str, names: &[String], key: &str) -> Mistake {
    let mistake = Mistake::new(below(at, key), format!("{} has no `{key}`", subject(names)));
    match key {
        "auth" => mistake.help("write `auth: none` if anyone may use it"),
        "listen" => mistake.help("say where clients connect: `listen: [{ address: \"127.0.0.1:8087\" }]`"),
        "routes" => mistake.help("say what is offered, as a list: `routes:`"),
        _ => mistake,
    }
}

fn unfit(at: String, names: &[String], found: &str, expected: &str) -> Mistake {
    let mistake = Mistake::new(at, format!("{} cannot be {found}", subject(names)));
    let mistake = mistake.expected(format!("expected {expected}"));
    let quoted = found.strip_prefix("the text `").and_then(|text| text.strip_suffix('`'));
    match quoted {
        None if found == "empty" => mistake.help("give it a value, or take the key out"),
        Some("true" | "false") => mistake.help("write it without quotes"),
        Some(text) if text.parse::<i64>().is_ok() => mistake.help("write it without quotes"),
        _ => mistake,
    }
}

/// Types that read text say themselves what is wrong with it, and after a colon what would be right.
fn said_by_the_value(at: String, names: &[String], said: &str) -> Mistake {
    let said = match said {
        // The standard library's words for an address.
        "invalid socket address syntax" => "this is no address: write it like 127.0.0.1:8087 or [::]:443",
        said => said,
    };
    let (wrong, right) = said.split_once(": ").unwrap_or((said, ""));
    Mistake::new(at, format!("{}: {wrong}", subject(names))).expected(right)
}

/// What was found, quoted.
fn in_words(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Str(text) => format!("the text `{}`", cut(text)),
        Unexpected::Unit | Unexpected::Option => "empty".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// What serde and Rust call a type, in words.
fn in_plain_words(expected: &str) -> String {
    let plain = match expected {
        "u8" => "a whole number up to 255",
        "u16" => "a whole number up to 65535",
        "u32" => "a whole number up to 4294967295",
        "u64" | "usize" => "a whole number",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, perhaps a negative one",
        "f32" | "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "a string" | "str" | "path string" => "text",
        "socket address" => "an address like 127.0.0.1:8087",
        other if other.starts_with("struct ") => "a mapping",
        other => other,
    };
    plain.to_owned()
}

fn cut(text: &str) -> String {
    let start: String = text.chars().take(QUOTED).collect();
    if start.len() < text.len() { start + "..." } else { start }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(said: T) -> Self {
        Fault::new(What::Said(said.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::unfit(&found, expected)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Fault::unfit(&found, expected)
    }

    fn unknown_variant(typed: &str, values: &'static [&'static str]) -> Self {
        Fault::new(What::UnknownValue { typed: typed.to_owned(), values })
    }

    fn unknown_field(typed: &str, keys: &'static [&'static str]) -> Self {
        Fault::new(What::UnknownKey { typed: typed.to_owned(), keys })
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::new(What::MissingKey(key))
    }
}
