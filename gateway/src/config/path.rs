//! Key paths (`routes[3].compose.ticketInfo.get`): what they lead to in the tree, and what people call that place.
//!
//! Two additions are understood besides keys and indexes: a colon at the end means the key itself and not its value
//! (`routes[3].timout:`), and `@31..37` means a place in the text that no key leads to, in bytes.
//!
//! Not here: drawing the place (`diagnostics.rs`).

use std::ops::Range;

use super::node::{Entry, Node, Value};

/// Keys whose entries have names, and what such an entry is called.
const NAMED: [(&str, &str); 7] = [
    ("upstreams", "upstream"),
    ("providers", "provider"),
    ("limits", "limit"),
    ("cors", "set"),
    ("security_headers", "set"),
    ("compose", "part"),
    ("ask", "part"),
];

/// Keys whose items are known by one of their keys, and what such an item is called.
const LISTED: [(&str, &str, &str); 2] = [("routes", "route", "path"), ("listen", "listener", "address")];

/// The path of a place in the text.
pub(super) fn bytes(bytes: Range<usize>) -> String {
    format!("@{}..{}", bytes.start, bytes.end)
}

/// The place in the text that `at` is the path of.
pub(super) fn as_bytes(at: &str) -> Option<Range<usize>> {
    let (start, end) = at.strip_prefix('@')?.split_once("..")?;
    Some(start.parse().ok()?..end.parse().ok()?)
}

/// The path of an item of the list at `at`.
pub(super) fn item(at: &str, index: usize) -> String {
    format!("{at}[{index}]")
}

/// The path of the mapping that has `key` at `at`.
pub(super) fn above<'p>(at: &'p str, key: &str) -> &'p str {
    let above = at.strip_suffix(key).unwrap_or(at);
    above.strip_suffix('.').unwrap_or(above)
}

/// Whether `at` is `above` or lies below it.
pub(super) fn is_within(at: &str, above: &str) -> bool {
    let rest = at.strip_prefix(above);
    above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// One step down from a node.
pub(super) enum Step<'t> {
    Key(&'t Entry),
    Item(usize, &'t Node),
}

impl<'t> Step<'t> {
    pub(super) fn node(&self) -> &'t Node {
        match self {
            Step::Key(entry) => &entry.value,
            Step::Item(_, node) => node,
        }
    }

    fn key(&self) -> Option<&'t str> {
        if let Step::Key(entry) = self { Some(&entry.key) } else { None }
    }
}

/// Goes down from `tree` along `at` as far as there is something, and says what is left of `at`.
pub(super) fn walk<'t, 'p>(tree: &'t Node, at: &'p str) -> (Vec<Step<'t>>, &'p str) {
    let (mut steps, mut node, mut rest) = (Vec::new(), tree, at);
    while let Some((step, left)) = down(node, rest) {
        (node, rest) = (step.node(), left);
        steps.push(step);
    }
    (steps, rest)
}

fn down<'t, 'p>(node: &'t Node, rest: &'p str) -> Option<(Step<'t>, &'p str)> {
    match &node.value {
        Value::Mapping(entries) => {
            let rest = rest.strip_prefix('.').unwrap_or(rest);
            // Keys may hold dots: the longest one that fits is meant.
            let fitting = entries.iter().filter(|entry| leads(&entry.key, rest));
            let entry = fitting.max_by_key(|entry| entry.key.len())?;
            Some((Step::Key(entry), &rest[entry.key.len()..]))
        }
        Value::List(items) => {
            let (index, left) = rest.strip_prefix('[')?.split_once(']')?;
            let index = index.parse().ok()?;
            Some((Step::Item(index, items.get(index)?), left))
        }
        Value::Scalar(_) | Value::Refused => None,
    }
}

fn leads(key: &str, rest: &str) -> bool {
    rest.strip_prefix(key).is_some_and(|left| left.is_empty() || left.starts_with(['.', '[', ':']))
}

/// What people call the place that `at` leads to, outermost first: route `/orders`, part `ticketInfo`, `get`.
pub(super) fn names(tree: &Node, at: &str) -> Vec<String> {
    let (steps, _) = walk(tree, at);
    let (mut names, mut unnamed) = (Vec::new(), String::new());
    for (depth, step) in steps.iter().enumerate() {
        let above = depth.checked_sub(1).and_then(|above| steps[above].key());
        if let Some(name) = above.and_then(|above| name(above, step)) {
            unnamed.clear();
            names.push(name);
            continue;
        }
        match step {
            Step::Key(entry) => unnamed = crate::mistake::below(&unnamed, &entry.key),
            Step::Item(index, _) => unnamed = item(&unnamed, *index),
        }
    }
    let last = (!unnamed.is_empty()).then(|| format!("`{unnamed}`"));
    names.into_iter().chain(last).collect()
}

fn name(above: &str, step: &Step<'_>) -> Option<String> {
    match step {
        Step::Key(entry) => {
            let (_, noun) = NAMED.iter().find(|(key, _)| *key == above)?;
            Some(format!("{noun} `{}`", entry.key))
        }
        Step::Item(index, node) => {
            let (_, noun, key) = LISTED.iter().find(|(list, ..)| *list == above)?;
            let known_by = node.get(key).and_then(Node::text).filter(|scalar| !scalar.is_null());
            Some(known_by.map_or_else(
                || format!("{noun} number {}", index + 1),
                |scalar| format!("{noun} `{}`", scalar.shown()),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_of(at: &str) -> String {
        let yaml = "upstreams: { a.b: { url: x } }\nroutes:\n- path: /a\n  compose: { one: { get: x } }\n- auth: none\n";
        names(&crate::config::node::parse(yaml).tree.expect("it is YAML"), at).join(": ")
    }

    #[test]
    fn a_place_is_called_by_what_people_know_it_by() {
        assert_eq!(names_of("routes[0].compose.one.get"), "route `/a`: part `one`: `get`");
        assert_eq!(names_of("routes[1].auth"), "route number 2: `auth`");
        assert_eq!(names_of("upstreams.a.b.url"), "upstream `a.b`: `url`");
        assert_eq!(names_of("routes"), "`routes`");
        assert_eq!(names_of("nowhere"), "");
    }

    #[test]
    fn a_path_is_within_another_by_whole_steps() {
        assert!(is_within("a.b[0]", "a.b") && is_within("a", "") && is_within("a", "a"));
        assert!(!is_within("a.bc", "a.b") && !is_within("a", "a.b"));
    }
}
