//! What is wrong with a configuration, said by whoever noticed it: where (a key path), what, and what would be right.
//!
//! Not here: turning a key path into file, line and column (`config/diagnostics.rs`). Folders below `config` report
//! mistakes without knowing that there is a file at all.

use std::fmt::Display;

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys joined by dots, list indexes in brackets, e.g. `routes[3].compose.ticketInfo.get`.
    pub at: String,
    /// The words inside the value to underline; all of it when `None`.
    pub words: Option<Box<str>>,
    /// One sentence: what is wrong, with the name of the route, part or upstream it is in.
    pub message: String,
    /// Beside the underlined words: what was expected, e.g. `upstreams are: kitchen, order`. May be empty.
    pub expected: String,
    /// Where the other one is, when two places do not go together.
    pub other: Option<Box<str>>,
    /// What to do, e.g. `did you mean `kitchen`?`.
    pub help: Option<Box<str>>,
}

impl Mistake {
    /// A mistake about the whole value at `at`.
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Mistake {
            at: at.into(),
            words: None,
            message: message.into(),
            expected: String::new(),
            other: None,
            help: None,
        }
    }

    /// Underlines `words` inside the value.
    #[must_use]
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.words = Some(words.into().into());
        self
    }

    /// Says what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = expected.into();
        self
    }

    /// Says where the other one is.
    #[must_use]
    pub fn other(mut self, at: impl Into<String>) -> Self {
        self.other = Some(at.into().into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// Lists the valid `names` of a `kind` and proposes the one nearest to `typed`.
    #[must_use]
    pub fn one_of<S: AsRef<str>>(self, kind: &str, names: impl IntoIterator<Item = S>, typed: &str) -> Self {
        let names: Vec<S> = names.into_iter().collect();
        let listed = names.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
        let listed = if listed.is_empty() { "none".to_owned() } else { listed };
        let nearest =
            nearest(typed, names.iter().map(AsRef::as_ref)).map(|name| format!("did you mean `{name}`?"));
        Mistake {
            help: nearest.map(Into::into).or(self.help),
            expected: format!("{kind} are: {listed}"),
            ..self
        }
    }
}

/// Every mistake found so far, in the order found.
#[derive(Debug, Default)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Notes one more.
    pub fn add(&mut self, mistake: Mistake) {
        self.0.push(mistake);
    }

    /// The value, or a note that it could not be had.
    pub fn keep<T>(&mut self, result: Result<T, Mistake>) -> Option<T> {
        result.map_err(|mistake| self.add(mistake)).ok()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The key path of `key` below `at`.
#[must_use]
pub fn below(at: &str, key: impl Display) -> String {
    if at.is_empty() { key.to_string() } else { format!("{at}.{key}") }
}

/// The name that a typing mistake probably meant: at most a third of its letters away.
#[must_use]
pub fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (typed.chars().count() / 3).max(1);
    let distance = |name: &str| strsim::damerau_levenshtein(&typed.to_lowercase(), &name.to_lowercase());
    names
        .into_iter()
        .map(|name| (distance(name), name))
        .filter(|(far, _)| *far <= most)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_proposed_and_a_far_one_is_not() {
        assert_eq!(nearest("kitchn", ["order", "kitchen"]), Some("kitchen"));
        assert_eq!(nearest("billing", ["order", "kitchen"]), None);
    }
}
