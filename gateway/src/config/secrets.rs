//! Secrets that stand in the file as text. They are mistakes, since a file is copied, kept and shown; and until somebody
//! has mended that, no quoted line shows them.
//!
//! A variable's default may stand in for a secret, for development. It is hidden too.
//! Not here: what variables hold (`interpolate.rs`), messages (`diagnostics.rs` hides the same words there).

use std::ops::Range;

use super::{
    node::{Node, Scalar, Value},
    path,
};
use crate::mistake::{Mistake, Mistakes, below};

/// What is said in the place of a secret.
const HIDDEN: &str = "***";

/// The secrets of a file.
#[derive(Default)]
pub(super) struct Found {
    pub(super) mistakes: Mistakes,
    /// The secrets.
    pub(super) texts: Vec<String>,
    /// Where in the text they stand.
    pub(super) places: Vec<Range<usize>>,
}

/// Finds them in `tree`, which was read from `text` and still has its variables.
pub(super) fn find(tree: &mut Node, text: &str) -> Found {
    let mut found = Found::default();
    walk(tree, "", text, &mut found);
    found
}

fn walk(node: &mut Node, at: &str, text: &str, found: &mut Found) {
    let bytes = node.bytes.clone();
    match &mut node.value {
        Value::Scalar(scalar) => look(scalar, bytes, at, text, found),
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                walk(item, &path::item(at, index), text, found);
            }
        }
        Value::Mapping(entries) => {
            for entry in entries {
                walk(&mut entry.value, &below(at, &entry.key), text, found);
            }
        }
        Value::Refused => {}
    }
}

fn look(scalar: &mut Scalar, bytes: Range<usize>, at: &str, text: &str, found: &mut Found) {
    let whole = at.ends_with(".client_secret") || at.ends_with(".secret.value");
    let secret =
        if whole { Some(scalar.text.as_str()) } else { password(&scalar.text).map(|(_, word)| word) };
    let Some(secret) = secret.filter(|secret| !secret.is_empty()).map(str::to_owned) else { return };
    let words = scalar.text.split_once("://").map_or(scalar.text.as_str(), |(_, rest)| rest);
    if words.contains("${") {
        let default = secret.split_once(":-").and_then(|(_, rest)| rest.split('}').next());
        let Some(default) = default.filter(|default| !default.is_empty()).map(str::to_owned) else { return };
        return found.hide(&default, bytes, text);
    }
    found.hide(&secret, bytes, text);
    if whole || scalar.text.starts_with("redis") {
        let said = match at.rsplit('.').next() {
            Some("client_secret") => ("`client_secret` stands in the file", "write `${CLIENT_SECRET}`"),
            Some("value") => ("a `secret` stands in the file", "write `${SECRET}`"),
            _ => ("a password stands in the file", "write `redis://USER:${PASSWORD}@HOST`"),
        };
        let wrong = Mistake::new(at, said.0).help(said.1);
        found.mistakes.add(wrong.expected("secrets are written as variables"));
        scalar.typed = Some(HIDDEN.to_owned());
    }
}

impl Found {
    fn hide(&mut self, secret: &str, bytes: Range<usize>, text: &str) {
        // Escapes and line breaks may make it look different in the file: then all of the value is hidden.
        let within = text.get(bytes.clone()).and_then(|typed| typed.rfind(secret));
        let place = within.map(|start| bytes.start + start..bytes.start + start + secret.len());
        self.places.push(place.unwrap_or(bytes));
        self.texts.push(secret.to_owned());
    }
}

/// The password in a URL, and the byte at which it begins: `redis://USER:PASSWORD@HOST`.
fn password(url: &str) -> Option<(usize, &str)> {
    let authority = url.find("://")? + 3;
    let end = authority + url[authority..].find(['/', ' ', '"', '\'']).unwrap_or(url.len() - authority);
    let user = &url[authority..authority + url[authority..end].rfind('@')?];
    let (name, password) = user.split_once(':')?;
    Some((authority + name.len() + 1, password))
}

/// `line`, which begins at `start` of the text, without the secrets in it. As long as it was, so that what stands behind
/// them keeps its column. What could not be read as YAML is recognised by its looks.
pub(super) fn hidden(line: &str, start: usize, places: &[Range<usize>]) -> String {
    let end = start + line.len();
    let met = places.iter().filter(|place| place.start < end && place.end > start);
    let mut hide: Vec<Range<usize>> =
        met.map(|place| place.start.max(start) - start..place.end.min(end) - start).collect();
    hide.extend(by_looks(line));
    let mut shown = line.as_bytes().to_vec();
    hide.into_iter().flatten().for_each(|byte| shown[byte] = b'*');
    String::from_utf8(shown).unwrap_or_else(|_| HIDDEN.to_owned())
}

fn by_looks(line: &str) -> impl Iterator<Item = Range<usize>> {
    let value = line.find("secret").and_then(|at| Some(at + line[at..].find("value:")? + "value:".len()));
    let secret = line.find("client_secret:").map(|at| at + "client_secret:".len());
    let typed = [value, secret].into_iter().flatten().filter_map(|start| {
        let from = start + (line[start..].len() - line[start..].trim_start().len());
        let end = line[from..].find([',', '}', '#']).map_or(line.len(), |end| from + end);
        let end = from + line[from..end].trim_end().len();
        (end > from && !line[from..].trim_start_matches(['"', '\'']).starts_with("${")).then_some(from..end)
    });
    let url = password(line).filter(|(_, word)| !word.starts_with("${"));
    typed.chain(url.map(|(start, word)| start..start + word.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_as_yaml_is_hidden_by_its_looks() {
        for (line, shown) in [
            ("  client_secret: \"hunter2", "  client_secret: ********"),
            ("  a: { client_secret: hunter2, b: c }", "  a: { client_secret: *******, b: c }"),
            ("  secret: { value: hunter2, algorithm: x", "  secret: { value: *******, algorithm: x"),
            ("  url: redis://me:hunter2@cache:1", "  url: redis://me:*******@cache:1"),
            ("  url: redis://me:${PASSWORD}@cache", "  url: redis://me:${PASSWORD}@cache"),
            ("  client_secret: ${SECRET}", "  client_secret: ${SECRET}"),
            ("  url: http://a:80/b@c", "  url: http://a:80/b@c"),
        ] {
            assert_eq!(hidden(line, 0, &[]), shown);
        }
    }

    #[test]
    fn letters_of_many_bytes_are_hidden_whole() {
        assert_eq!(hidden("a: größe # ü", 10, std::slice::from_ref(&(13..20))), "a: ******* # ü");
    }
}
