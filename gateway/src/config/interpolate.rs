//! Variables inside values: `${NAME}`, `${NAME:-default}`, and `$${` for the text `${` itself.
//!
//! What comes from a variable is a secret: no message quotes it. (A default is none: it stands in the file.) It is put into values after the text was parsed, so it
//! cannot add keys or lists. In keys and comments `${` means nothing.
//!
//! Not here: where variables come from (the caller's lookup).

use super::{
    node::{Node, Scalar, Value},
    path,
};
use crate::mistake::{Mistake, Mistakes, below};

/// Finds the value of a variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What became of the variables in a tree.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) mistakes: Mistakes,
    /// The paths of the values that could not be made.
    pub(super) failed: Vec<String>,
    /// What stood in the variables.
    pub(super) secrets: Vec<String>,
}

/// Puts the variables into all values of `tree`.
pub(super) fn interpolate(tree: &mut Node, lookup: Lookup<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    walk(tree, "", lookup, &mut outcome);
    outcome
}

fn walk(node: &mut Node, at: &str, lookup: Lookup<'_>, outcome: &mut Outcome) {
    match &mut node.value {
        Value::Scalar(scalar) => replace(scalar, at, lookup, outcome),
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path::item(at, index), lookup, outcome);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                walk(&mut entry.value, &below(at, &entry.key), lookup, outcome);
            }
        }
        Value::Refused => outcome.failed.push(at.to_owned()),
    }
}

fn replace(scalar: &mut Scalar, at: &str, lookup: Lookup<'_>, outcome: &mut Outcome) {
    if !scalar.text.contains("${") {
        return;
    }
    let secrets = outcome.secrets.len();
    match expand(&scalar.text, lookup, &mut outcome.secrets) {
        Ok(text) => {
            let typed = std::mem::replace(&mut scalar.text, text);
            scalar.typed = (outcome.secrets.len() > secrets).then_some(typed);
        }
        Err(wrong) => {
            outcome.mistakes.add(Mistake { at: at.to_owned(), ..wrong });
            outcome.failed.push(at.to_owned());
        }
    }
}

/// The text with its variables filled in. What stood in them is added to `secrets`.
fn expand(text: &str, lookup: Lookup<'_>, secrets: &mut Vec<String>) -> Result<String, Mistake> {
    let (mut done, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            done.push_str(&rest[..start - 1]);
            done.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        let end = rest[start..].find('}').ok_or_else(|| unclosed(&rest[start..]))? + start;
        done.push_str(&rest[..start]);
        done.push_str(&variable(&rest[start..=end], lookup, secrets)?);
        rest = &rest[end + 1..];
    }
    Ok(done + rest)
}

/// The value of `typed`, which is `${...}`. It is added to `secrets` unless it is the default.
fn variable(typed: &str, lookup: Lookup<'_>, secrets: &mut Vec<String>) -> Result<String, Mistake> {
    let inner = &typed[2..typed.len() - 1];
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, text)| (name, Some(text)));
    if !is_name(name) {
        let wrong = Mistake::new("", format!("`{typed}` does not name a variable")).words(typed);
        return Err(wrong.expected("write ${NAME} or ${NAME:-default}, or $${ for the text ${"));
    }
    // As in a shell, `:-` also stands in for a variable that is set to nothing.
    let set = lookup(name).filter(|value| default.is_none() || !value.is_empty());
    secrets.extend(set.clone());
    set.or(default.map(str::to_owned)).ok_or_else(|| {
        let wrong = Mistake::new("", format!("the variable `{name}` is not set")).words(typed);
        wrong.help(format!("set it, or give a default: ${{{name}:-...}}"))
    })
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn unclosed(typed: &str) -> Mistake {
    let wrong = Mistake::new("", "a `${` is never closed").words(typed);
    wrong.expected("write ${NAME}, or $${ for the text ${")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "HOST" => Some("kitchen".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        expand(text, &lookup, &mut Vec::new()).map_err(|mistake| mistake.message)
    }

    #[test]
    fn variables_defaults_and_escapes_are_filled_in() {
        for (typed, meant) in [
            ("http://${HOST}:80${EMPTY}", "http://kitchen:80"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY:-x}${HOST:-x}", "xkitchen"),
            ("$${HOST} $5 ${HOST}", "${HOST} $5 kitchen"),
        ] {
            assert_eq!(expanded(typed).as_deref(), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn what_is_no_variable_is_said_so() {
        assert_eq!(expanded("${NONE}"), Err("the variable `NONE` is not set".to_owned()));
        for typed in ["${", "${HOST", "${}", "${1A}", "${a b}", "${HOST-x}", "${:-x}"] {
            assert!(expanded(typed).is_err(), "{typed}");
        }
    }
}
