//! Holds a value against a schema and says what is wrong, where, in words that a client may read.
//!
//! Bounded: a client chooses the value, so no value makes this long or deep. Values are at most 128 deep (that is how JSON is
//! read here), schemas lead back to themselves only with a step into the value, and all is counted.
//! Not here: what becomes of it (`mod.rs`).

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::schema::{Keyword, Schema, compare, divides, same};
use crate::auth::policy::fold;

/// As many are told at once. A client that sends nonsense needs no list of it.
const MOST_TOLD: usize = 10;

/// How often a schema is held against a value for one request: twice as often as a body of 1 MiB has values.
const MOST_STEPS: usize = 1 << 20;

/// Bytes of text that take about as long as a step.
const BYTES_A_STEP: usize = 64;

/// The most bytes of a place: names in it are the client's.
const MOST_OF_PLACE: usize = 256;

/// What is wrong with a request, as a member of `errors`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// `body`, `query`, `path` or `header`.
    pub(super) part: &'static str,
    /// A JSON Pointer (RFC 6901) into it.
    pub(super) at: String,
    /// What would be right.
    pub(super) message: String,
}

impl Wrong {
    /// As it is told.
    #[must_use]
    pub(super) fn json(&self) -> Value {
        json!({ "in": self.part, "at": self.at, "message": self.message })
    }
}

/// A place in a value, from the inside out.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    above: Option<&'p Place<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy)]
enum Step<'p> {
    Whole,
    Name(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    pub(super) const WHOLE: Place<'static> = Place { above: None, step: Step::Whole };

    pub(super) fn name(&'p self, name: &'p str) -> Place<'p> {
        Place { above: Some(self), step: Step::Name(name) }
    }

    fn item(&'p self, index: usize) -> Place<'p> {
        Place { above: Some(self), step: Step::Item(index) }
    }

    /// As a JSON Pointer, cut off where it gets long.
    fn pointer(&self) -> String {
        let mut out = self.above.map(Place::pointer).unwrap_or_default();
        match self.step {
            Step::Whole => {}
            Step::Item(index) => out.push_str(&format!("/{index}")),
            Step::Name(name) => {
                let end = (0..=MOST_OF_PLACE.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
                out.push('/');
                out.push_str(&name[..end.unwrap_or(0)].replace('~', "~0").replace('/', "~1"));
            }
        }
        let end = (0..=MOST_OF_PLACE.min(out.len())).rev().find(|end| out.is_char_boundary(*end));
        out.truncate(end.unwrap_or(0));
        out
    }
}

/// Checks one request.
pub(super) struct Check<'c> {
    named: &'c [Schema],
    part: &'static str,
    found: Vec<Wrong>,
    steps: usize,
    /// Set while it is only asked whether something fits.
    quiet: bool,
}

impl<'c> Check<'c> {
    pub(super) fn new(named: &'c [Schema]) -> Self {
        Check { named, part: "body", found: Vec::new(), steps: 0, quiet: false }
    }

    /// What is looked at from now on.
    pub(super) fn of(&mut self, part: &'static str) {
        self.part = part;
    }

    /// Everything that was found.
    pub(super) fn found(mut self) -> Vec<Wrong> {
        if self.steps > MOST_STEPS {
            let message = "is more than can be checked".to_owned();
            self.found = vec![Wrong { part: self.part, at: String::new(), message }];
        }
        self.found
    }

    /// Notes what is wrong at a place. Always `false`, for whoever goes on with it.
    pub(super) fn wrong(&mut self, place: &Place<'_>, message: impl Into<String>) -> bool {
        if !self.quiet && self.found.len() < MOST_TOLD {
            self.found.push(Wrong { part: self.part, at: place.pointer(), message: message.into() });
        }
        false
    }

    /// Whether a value fits a schema; notes why not.
    pub(super) fn fits(&mut self, schema: &Schema, value: &Value, place: &Place<'_>) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS || self.found.len() >= MOST_TOLD {
            return false;
        }
        let mut fits = true;
        for keyword in &schema.0 {
            fits &= self.holds(keyword, value, place);
            // What is in a value is looked at as a whole; of the value itself one thing is told.
            if !fits && (self.quiet || !matches!(keyword, Keyword::Required(_) | Keyword::Members(..))) {
                return false;
            }
        }
        fits
    }

    fn holds(&mut self, keyword: &Keyword, value: &Value, place: &Place<'_>) -> bool {
        match (keyword, value) {
            (Keyword::Never, _) => self.wrong(place, "is not known here"),
            (Keyword::Type(types), _) => {
                types.fit(value) || self.wrong(place, format!("must be {}", types.told()))
            }
            (Keyword::OneOf(values, told), _) => {
                values.iter().any(|one| same(one, value)) || self.wrong(place, format!("must be {told}"))
            }
            (Keyword::Format(format), _) => format.fits(value) || self.wrong(place, format.told()),
            (Keyword::Named(index), _) => {
                let named = self.named;
                self.fits(&named[*index], value, place)
            }
            (Keyword::AllOf(all), _) => all.iter().all(|schema| self.fits(schema, value, place)),
            (Keyword::AnyOf(all), _) => {
                self.count(all, 1, value, place) > 0 || self.wrong(place, "is of none of the kinds that fit")
            }
            (Keyword::ExactlyOne(all), _) => match self.count(all, 2, value, place) {
                0 => self.wrong(place, "is of none of the kinds that fit"),
                1 => true,
                _ => self.wrong(place, "is of several kinds, of which it must be one"),
            },
            (keyword, Value::Number(number)) => self.number(keyword, number, place),
            (keyword, Value::String(text)) => self.text(keyword, text, place),
            (keyword, Value::Array(items)) => self.list(keyword, items, place),
            (keyword, Value::Object(members)) => self.object(keyword, members, place),
            (_, Value::Null | Value::Bool(_)) => true,
        }
    }

    /// How many of these a value fits; counts no further than it needs to.
    fn count(&mut self, all: &[Schema], enough: usize, value: &Value, place: &Place<'_>) -> usize {
        let before = std::mem::replace(&mut self.quiet, true);
        let count = all.iter().filter(|schema| self.fits(schema, value, place)).take(enough).count();
        self.quiet = before;
        count
    }

    fn number(&mut self, keyword: &Keyword, number: &serde_json::Number, place: &Place<'_>) -> bool {
        match keyword {
            Keyword::Minimum(least, true) if compare(number, least).is_le() => {
                self.wrong(place, format!("must be more than {least}"))
            }
            Keyword::Minimum(least, false) if compare(number, least).is_lt() => {
                self.wrong(place, format!("must be at least {least}"))
            }
            Keyword::Maximum(most, true) if compare(number, most).is_ge() => {
                self.wrong(place, format!("must be less than {most}"))
            }
            Keyword::Maximum(most, false) if compare(number, most).is_gt() => {
                self.wrong(place, format!("must be at most {most}"))
            }
            Keyword::MultipleOf(step) if !divides(*step, number) => {
                self.wrong(place, format!("must be a multiple of {step}"))
            }
            _ => true,
        }
    }

    fn text(&mut self, keyword: &Keyword, text: &str, place: &Place<'_>) -> bool {
        self.steps += text.len() / BYTES_A_STEP;
        match keyword {
            // A text has at most as many characters as bytes.
            Keyword::MinLength(least) if text.chars().take(*least).count() < *least => {
                self.wrong(place, format!("must have at least {least} characters"))
            }
            Keyword::MaxLength(most) if text.len() > *most && text.chars().nth(*most).is_some() => {
                self.wrong(place, format!("must have at most {most} characters"))
            }
            Keyword::Pattern(pattern) if !pattern.is_match(text) => {
                self.wrong(place, format!("must match {}", pattern.as_str()))
            }
            _ => true,
        }
    }

    fn list(&mut self, keyword: &Keyword, items: &[Value], place: &Place<'_>) -> bool {
        match keyword {
            Keyword::MinItems(least) if items.len() < *least => {
                self.wrong(place, format!("must have at least {least} items"))
            }
            Keyword::MaxItems(most) if items.len() > *most => {
                self.wrong(place, format!("must have at most {most} items"))
            }
            Keyword::UniqueItems => {
                let mut seen = HashSet::new();
                for item in items {
                    let text = canonical(item);
                    self.steps += text.len() / BYTES_A_STEP;
                    if self.steps > MOST_STEPS {
                        return false;
                    }
                    if !seen.insert(text) {
                        return self.wrong(place, "must not have an item twice");
                    }
                }
                true
            }
            Keyword::Items(schema) => {
                let fits = |(index, item): (usize, &Value)| self.fits(schema, item, &place.item(index));
                items.iter().enumerate().map(fits).filter(|fits| !fits).take(MOST_TOLD).count() == 0
            }
            _ => true,
        }
    }

    fn object(&mut self, keyword: &Keyword, members: &Map<String, Value>, place: &Place<'_>) -> bool {
        match keyword {
            Keyword::Required(names) => {
                let mut missing = names.iter().filter(|name| !members.contains_key(&***name)).peekable();
                let fits = missing.peek().is_none();
                missing.for_each(|name| {
                    self.wrong(&place.name(name), "is needed");
                });
                fits
            }
            Keyword::Members(known, others) => {
                let fits = |(name, value): (&String, &Value)| {
                    let place = place.name(name);
                    if let Some((_, schema)) = known.iter().find(|(known, _)| **known == **name) {
                        return self.fits(schema, value, &place);
                    }
                    // To services that look at no case it is the one that is known, of another value.
                    let folded = fold(name);
                    if let Some((meant, _)) = known.iter().find(|(known, _)| alike(known, &folded)) {
                        return self.wrong(&place, format!("must be spelt `{meant}`"));
                    }
                    others.as_ref().is_none_or(|schema| self.fits(schema, value, &place))
                };
                members.iter().map(fits).filter(|fits| !fits).take(MOST_TOLD).count() == 0
            }
            _ => true,
        }
    }
}

/// Whether a known name is the same as one that has been folded.
fn alike(known: &str, folded: &str) -> bool {
    if known.is_ascii() { known.eq_ignore_ascii_case(folded) } else { fold(known) == folded }
}

/// A text that values share that are the same.
fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(value, &mut out);
    out
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Number(number) if number.is_f64() => {
            let whole = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e18);
            out.push_str(&whole.map_or_else(|| number.to_string(), |float| (float as i64).to_string()));
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (name, value) in members {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}
