//! A rule held against facts, in Kleene's three-valued logic.
//!
//! False wins an `and` and true wins an `or`, whatever is unknown beside them. What was not read yet outweighs what is
//! missing: reading on may still decide, and only then is a client told what it did not send.

use std::borrow::Cow;

use serde_json::Value;

use super::{
    Comparison, Input, Operand, Policy, Rule,
    facts::{Decision, Fact, Facts, Why, scalar},
};

impl Policy {
    /// Holds the rule against what is known so far. Never `Undecided` once the body and all parts have been read.
    #[must_use]
    pub fn decide(&self, facts: &Facts<'_>) -> Decision {
        match self.rule.weigh(facts) {
            Truth::True => Decision::Allow,
            Truth::False => Decision::Refuse,
            Truth::Unread => Decision::Undecided,
            Truth::Missing(input, why) => Decision::Missing(input.to_string(), why),
        }
    }
}

/// True, false, or unknown in two ways.
#[derive(Clone, Copy)]
enum Truth<'p> {
    True,
    False,
    Unread,
    Missing(&'p Input, Why),
}

impl<'p> Truth<'p> {
    fn not(self) -> Self {
        match self {
            Truth::True => Truth::False,
            Truth::False => Truth::True,
            unknown => unknown,
        }
    }

    /// The unknown that outweighs: what was not read, else the first that is missing.
    fn and_then(self, next: Self) -> Self {
        match (self, next) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::Unread, _) | (_, Truth::Unread) => Truth::Unread,
            (Truth::Missing(..), _) => self,
            (Truth::True, next) => next,
        }
    }
}

impl From<bool> for Truth<'_> {
    fn from(truth: bool) -> Self {
        if truth { Truth::True } else { Truth::False }
    }
}

impl Rule {
    fn weigh<'p>(&'p self, facts: &Facts<'_>) -> Truth<'p> {
        match self {
            Rule::All(branches) => all(branches.iter().map(|branch| branch.weigh(facts))),
            // De Morgan: some branch holds unless all of them fail.
            Rule::Any(branches) => all(branches.iter().map(|branch| branch.weigh(facts).not())).not(),
            Rule::Not(rule) => rule.weigh(facts).not(),
            Rule::Compare { left, by, right } => compare(left.value(facts), *by, right.value(facts)),
        }
    }
}

fn all<'p>(mut branches: impl Iterator<Item = Truth<'p>>) -> Truth<'p> {
    let ended = branches.try_fold(Truth::True, |so_far, next| match so_far.and_then(next) {
        Truth::False => Err(Truth::False),
        truth => Ok(truth),
    });
    ended.unwrap_or_else(|decided| decided)
}

/// An operand's value, from the rule (`'p`) or from the facts; for a missing one, which input it was.
enum Known<'p, 'v> {
    Text(Cow<'v, str>),
    List(&'v [Value]),
    Nothing,
    Unknown(Truth<'p>),
}

impl Operand {
    fn value<'p: 'v, 'a: 'v, 'v>(&'p self, facts: &Facts<'a>) -> Known<'p, 'v> {
        match self {
            Operand::Text(text) => Known::Text(Cow::Borrowed(text)),
            Operand::Joined(atoms) => joined(atoms, facts),
            Operand::Input(input) => match facts.find(input) {
                Fact::Text(text) => Known::Text(text),
                Fact::List(items) => Known::List(items),
                Fact::Nothing => Known::Nothing,
                Fact::Unread => Known::Unknown(Truth::Unread),
                Fact::Missing(why) => Known::Unknown(Truth::Missing(input, why)),
            },
        }
    }
}

/// Text put together. With nothing in it, it is nothing, however unknown the rest may be.
fn joined<'p: 'v, 'a: 'v, 'v>(atoms: &'p [Operand], facts: &Facts<'a>) -> Known<'p, 'v> {
    let mut text = String::new();
    let mut unknown = Truth::True;
    for atom in atoms {
        match atom.value(facts) {
            Known::Text(more) => text.push_str(&more),
            Known::Unknown(truth) => unknown = unknown.and_then(truth),
            Known::List(_) | Known::Nothing => return Known::Nothing,
        }
    }
    if matches!(unknown, Truth::True) { Known::Text(Cow::Owned(text)) } else { Known::Unknown(unknown) }
}

fn compare<'p>(left: Known<'p, '_>, by: Comparison, right: Known<'p, '_>) -> Truth<'p> {
    use Known::{List, Nothing, Text, Unknown};
    match (left, by, right) {
        // What equals nothing decides, though the other side be unknown.
        (Nothing | List(_), _, _) | (_, _, Nothing) => Truth::False,
        (_, Comparison::Equal | Comparison::NotEqual, List(_)) | (_, Comparison::In, Text(_)) => Truth::False,
        (Unknown(left), _, Unknown(right)) => left.and_then(right),
        (Unknown(truth), _, _) | (_, _, Unknown(truth)) => truth,
        (Text(left), Comparison::Equal, Text(right)) => (left == right).into(),
        (Text(left), Comparison::NotEqual, Text(right)) => (left != right).into(),
        (Text(left), Comparison::In, List(items)) => items.iter().any(|item| says(item, &left)).into(),
    }
}

fn says(item: &Value, text: &str) -> bool {
    matches!(scalar(item), Fact::Text(said) if said == text)
}
