//! Shows mistakes in the file as a good compiler would: the line, the words, what was expected, what to do.
//!
//! Not here: finding mistakes, colours. Key paths are the only way in, so whoever finds a mistake needs no file.

use std::{ops::Range, path::Path};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{
    node::{Node, Value},
    path::{self, Step},
    secrets,
};
use crate::mistake::{Mistake, Mistakes};

/// What came from a variable is hidden wherever it occurs, if it is at least this long; anything shorter only where a
/// message quotes it, for it may well be a part of an ordinary word.
const SECRET: usize = 6;

/// A configuration file as it was read.
pub struct Source {
    file: String,
    text: String,
    tree: Option<Node>,
    secrets: Vec<String>,
    /// Where in the text secrets stand.
    hidden: Vec<Range<usize>>,
}

impl Source {
    pub(super) fn new(file: &str, text: &str, tree: Option<Node>, mut secrets: Vec<String>) -> Self {
        // Longest first: one may hold another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Source { file: file.to_owned(), text: text.to_owned(), tree, secrets, hidden: Vec::new() }
    }

    /// The folder of the file.
    pub(super) fn folder(&self) -> &Path {
        Path::new(&self.file).parent().unwrap_or(Path::new(""))
    }

    /// Shows nothing of what stands there.
    pub(super) fn hiding(self, hidden: Vec<Range<usize>>) -> Self {
        Source { hidden, ..self }
    }

    /// The number of the line that `mistake` is about.
    #[must_use]
    pub fn line_of(&self, mistake: &Mistake) -> usize {
        self.line(self.place(mistake)).0
    }

    /// The keys typed in the mapping at `at`, right or wrong.
    pub(super) fn keys(&self, at: &str) -> Vec<&str> {
        let node = self.tree.as_ref().and_then(|tree| tree.get(at));
        let Some(Value::Mapping(entries)) = node.map(|node| &node.value) else { return Vec::new() };
        entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    /// Whether a list of something is typed at `at`, right or wrong.
    pub(super) fn has_items(&self, at: &str) -> bool {
        let node = self.tree.as_ref().and_then(|tree| tree.get(at));
        matches!(node.map(|node| &node.value), Some(Value::List(items)) if !items.is_empty())
    }

    pub(super) fn tree(&self) -> Option<&Node> {
        self.tree.as_ref()
    }

    /// All of `mistakes`, by their place in the file, and how many they are. Nothing if there are none.
    #[must_use]
    pub fn render(&self, mistakes: &Mistakes) -> String {
        let mut placed: Vec<_> = mistakes.0.iter().map(|mistake| (self.place(mistake), mistake)).collect();
        placed.sort_by_key(|(bytes, _)| bytes.start);
        let mut shown: String = placed.into_iter().map(|(bytes, mistake)| self.one(bytes, mistake)).collect();
        match mistakes.0.len() {
            0 => {}
            1 => shown.push_str(&format!("1 mistake in {}\n", self.file)),
            many => shown.push_str(&format!("{many} mistakes in {}\n", self.file)),
        }
        shown
    }

    fn one(&self, bytes: Range<usize>, mistake: &Mistake) -> String {
        let (number, begin, line, within) = self.line(bytes);
        let label = self.without_secrets(&mistake.expected);
        let underlined = AnnotationKind::Primary.span(within).label((!label.is_empty()).then_some(label));
        let snippet = Snippet::source(secrets::hidden(line, begin, &self.hidden))
            .path(&self.file)
            .line_start(number)
            .annotation(underlined);
        let title = Level::ERROR.primary_title(self.without_secrets(&mistake.message));
        let help = mistake.help.as_ref().map(|help| Level::HELP.secondary_title(self.without_secrets(help)));
        let other = mistake.other.as_deref().map(|other| {
            let line = self.line_of(&Mistake::new(other, ""));
            Level::NOTE.secondary_title(format!("the other one is at {}:{line}", self.file))
        });
        let groups: Vec<_> = [title.element(snippet)]
            .into_iter()
            .chain(other.into_iter().chain(help).map(Group::with_title))
            .collect();
        Renderer::plain().render(&groups) + "\n\n"
    }

    /// The line in which `bytes` begin: its number, where it begins, its text, and the bytes within it.
    fn line(&self, bytes: Range<usize>) -> (usize, usize, &str, Range<usize>) {
        let start = self.boundary(bytes.start);
        let begin = self.text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let number = self.text[..begin].matches('\n').count() + 1;
        let from = (start - begin).min(line.len());
        let to = (self.boundary(bytes.end) - begin).clamp(from, line.trim_end().len().max(from));
        (number, begin, line, from..to)
    }

    /// The byte at or before `byte` at which a character begins.
    fn boundary(&self, byte: usize) -> usize {
        self.text.floor_char_boundary(byte)
    }

    /// What to underline.
    fn place(&self, mistake: &Mistake) -> Range<usize> {
        if let Some(bytes) = path::as_bytes(&mistake.at) {
            return bytes;
        }
        let Some(tree) = &self.tree else { return 0..0 };
        let (steps, left) = path::walk(tree, &mistake.at);
        match steps.last() {
            None => tree.bytes.clone(),
            Some(Step::Key(entry)) if left == ":" => entry.key_bytes.clone(),
            Some(step) => {
                let words = mistake.words.as_deref().and_then(|words| self.words(step.node(), words));
                words.unwrap_or_else(|| whole(step, left.is_empty()))
            }
        }
    }

    fn words(&self, node: &Node, words: &str) -> Option<Range<usize>> {
        let typed = self.text.get(node.bytes.clone())?;
        let start = node.bytes.start + typed.find(words)?;
        Some(start..start + words.len())
    }

    fn without_secrets(&self, said: &str) -> String {
        self.secrets.iter().filter(|secret| !secret.is_empty()).fold(said.to_owned(), |said, secret| {
            if secret.len() >= SECRET { said.replace(secret, "***") } else { hidden_in_quotes(&said, secret) }
        })
    }
}

/// Hides `secret` where it is a whole word between backticks.
fn hidden_in_quotes(said: &str, secret: &str) -> String {
    let quoted = said
        .split('`')
        .enumerate()
        .map(|(index, part)| if index % 2 == 1 { hidden_as_word(part, secret) } else { part.to_owned() });
    quoted.collect::<Vec<_>>().join("`")
}

fn hidden_as_word(part: &str, secret: &str) -> String {
    let (mut done, mut rest) = (String::new(), part);
    while let Some(start) = rest.find(secret) {
        let (before, after) = (&rest[..start], &rest[start + secret.len()..]);
        let in_word = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        done.push_str(before);
        done.push_str(if in_word { secret } else { "***" });
        rest = after;
    }
    done + rest
}

/// A scalar is shown itself; a list or a mapping by its key, or by its first line if it is an item.
fn whole(step: &Step<'_>, is_there: bool) -> Range<usize> {
    let node = step.node();
    let typed_on_one_line = matches!(node.value, Value::Scalar(_) | Value::Refused) && !node.bytes.is_empty();
    match step {
        Step::Key(entry) if !(typed_on_one_line && is_there) => entry.key_bytes.clone(),
        _ => node.bytes.clone(),
    }
}
