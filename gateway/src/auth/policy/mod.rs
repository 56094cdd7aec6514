//! The policy language: who may do this, as one line of configuration that is checked when it is loaded.
//!
//! ```text
//! rule       = "or" over "and" over "not" over comparisons, with parentheses
//! comparison = operand ( "==" | "!=" | "in" ) operand
//! operand    = atom { "+" atom }                                 text put together
//! atom       = 'text' | integer | input
//! input      = claims.a.b | path.name | query.name | body.a.b | PART.a.b
//! ```
//!
//! Scalars compare by their text: the number 5 equals the text '5'. Null, objects and arrays equal nothing, and every
//! comparison with them is false, `!=` too; `in` finds a scalar in an array. A claim or a part's field that is not there
//! is like null. So `a != b` asks for both to be there, which `not a == b` does not.
//!
//! Three-valued (Kleene): what was not read yet is unknown, and a rule is decided as soon as the unknown cannot matter,
//! so that a caller can be refused before anything is asked.
//!
//! Not here: reading parts and bodies, and what a refusal looks like (403, or a 404 where existence is a secret).

mod evaluate;
mod facts;
mod json;
mod parse;
mod scan;
#[cfg(test)]
mod table;
mod view;

use std::fmt;

pub use self::{
    facts::{Decision, Facts, Why, names_in_query},
    json::strict_json,
    view::view,
};
pub(super) use json::StrictObject;
pub(crate) use json::fold;

/// A rule, parsed and checked. Cheap to evaluate: nothing is parsed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rule: Rule,
    inputs: Vec<Input>,
}

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    /// Where in the text, in bytes from its start.
    pub offset: usize,
    /// The words to underline; empty at the end of the text.
    pub words: String,
    /// One sentence.
    pub message: String,
    /// What would be right there. May be empty.
    pub expected: String,
}

/// Something that a rule reads. `Display` gives it as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// `claims.a.b`: a claim of the caller's token.
    Claim(Vec<String>),
    /// `path.name`: a parameter of the route's path.
    Path(String),
    /// `query.name`: a parameter of the query string.
    Query(String),
    /// `body.a.b`: a field of the request's JSON body.
    Body(Vec<String>),
    /// `PART.a.b`: a field of a part's JSON answer.
    Part {
        /// The part's name.
        part: String,
        /// The field, from the outside in. Never empty.
        field: Vec<String>,
    },
}

/// `or` and `and` hold all their branches, so that a long rule is not a deep one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Any(Vec<Rule>),
    All(Vec<Rule>),
    Not(Box<Rule>),
    Compare { left: Operand, by: Comparison, right: Operand },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    In,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Text(String),
    Input(Input),
    Joined(Vec<Operand>),
}

impl Input {
    /// Reads one input as it stands in a rule: `claims.a.b`, `query.name`.
    ///
    /// # Errors
    /// [`PolicyError`] when it is none.
    pub fn parse(name: &str) -> Result<Self, PolicyError> {
        parse::lone(name)
    }
}

impl Policy {
    /// Reads a rule.
    ///
    /// # Errors
    /// [`PolicyError`] for the first thing in the text that cannot be understood.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        parse::parse(text)
    }

    /// What the rule reads, in the order typed; a thing named twice is listed twice.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Whether the rule reads the request's body.
    #[must_use]
    pub fn reads_body(&self) -> bool {
        self.inputs.iter().any(|input| matches!(input, Input::Body(_)))
    }

    /// The names of the parts that the rule reads; a part read twice is listed twice.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Part { part, .. } => Some(part.as_str()),
            _ => None,
        })
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Claim(field) => write!(f, "claims.{}", field.join(".")),
            Input::Path(name) => write!(f, "path.{name}"),
            Input::Query(name) => write!(f, "query.{name}"),
            Input::Body(field) => write!(f, "body.{}", field.join(".")),
            Input::Part { part, field } => write!(f, "{part}.{}", field.join(".")),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}", self.message, self.offset)
    }
}

impl std::error::Error for PolicyError {}
