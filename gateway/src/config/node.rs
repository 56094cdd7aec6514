//! YAML text as a tree that remembers where in the text each key and value stands.
//!
//! Strict, because a configuration that can be read in two ways is a mistake: a key occurs once, a file is one document,
//! and tags, anchors and aliases are refused (a few nested aliases grow into gigabytes). Size and depth are bounded.
//!
//! Not here: what the values mean (`typed.rs`), variables (`interpolate.rs`).

use std::{borrow::Cow, collections::HashSet, ops::Range};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::{braces, path};
use crate::mistake::{Mistake, Mistakes};

/// Larger than any configuration that people write; a wrong file (a log, a database) is refused before it is parsed.
const MAX_BYTES: usize = 1 << 20;

/// Three times as deep as the deepest key; the tree is walked by recursion.
const MAX_DEPTH: usize = 32;

/// A value and where it stands, in bytes from the start of the text.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) bytes: Range<usize>,
}

/// What stands there.
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
    /// An alias or something tagged: a mistake was noted, and nothing further is said about it.
    Refused,
}

/// A scalar, with its variables once `interpolate.rs` has seen it.
pub(super) struct Scalar {
    pub(super) text: String,
    /// Without quotes: may be a number, `true`, `false` or nothing at all.
    pub(super) plain: bool,
    /// The text as typed, if variables stood in it. The text itself is then a secret.
    pub(super) typed: Option<String>,
}

/// A key of a mapping and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_bytes: Range<usize>,
    pub(super) value: Node,
}

/// The tree, as far as the text could be read, and what is wrong with the text.
pub(super) struct Parsed {
    pub(super) tree: Option<Node>,
    pub(super) mistakes: Mistakes,
}

/// Reads `text`.
pub(super) fn parse(text: &str) -> Parsed {
    let hidden = braces::hide(text);
    let mut reader = Reader {
        parser: Parser::new_from_str(&hidden),
        lines: Lines::of(text),
        mistakes: Mistakes::default(),
    };
    let refused = too_large(text).or_else(|| tab(text));
    let tree = refused.map_or_else(|| reader.document(), Err);
    let tree = reader.mistakes.keep(tree);
    Parsed { tree, mistakes: reader.mistakes }
}

impl Node {
    /// The scalar's text, if it is one.
    pub(super) fn text(&self) -> Option<&Scalar> {
        if let Value::Scalar(scalar) = &self.value { Some(scalar) } else { None }
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let Value::Mapping(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }
}

impl Scalar {
    /// Whether nothing was written, or `null` or `~`.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null")
    }

    /// The text as it may be shown: as typed.
    pub(super) fn shown(&self) -> &str {
        self.typed.as_deref().unwrap_or(&self.text)
    }
}

fn too_large(text: &str) -> Option<Mistake> {
    let large = text.len() > MAX_BYTES;
    large
        .then(|| Mistake::new(path::bytes(0..0), format!("the file is larger than {} KiB", MAX_BYTES / 1024)))
}

/// The first tab that indents something. YAML allows a few such tabs, none of which an editor shows.
fn tab(text: &str) -> Option<Mistake> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        let empty = line.trim().is_empty() || line.trim_start().starts_with('#');
        if let (Some(tab), false) = (indent.find('\t'), empty) {
            let at = path::bytes(start + tab..start + tab + 1);
            return Some(
                Mistake::new(at, "a tab indents this line").expected("YAML is indented with spaces"),
            );
        }
        start += line.len();
    }
    None
}

/// Where each line starts. The parser's lines and columns are right, its indexes are not behind a comment.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
    /// Columns need not be counted: generated files may be one very long line.
    ascii: bool,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let ends = |at: &usize| match bytes[*at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = std::iter::once(0).chain((0..bytes.len()).filter(ends).map(|at| at + 1));
        Lines { text, starts: starts.collect(), ascii: text.is_ascii() }
    }

    fn byte(&self, mark: &Marker) -> usize {
        let Some(start) = self.starts.get(mark.line().saturating_sub(1)) else { return self.text.len() };
        if self.ascii {
            return (start + mark.col()).min(self.text.len());
        }
        let column = self.text[*start..].char_indices().nth(mark.col());
        column.map_or(self.text.len(), |(offset, _)| start + offset)
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    lines: Lines<'a>,
    mistakes: Mistakes,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>), Mistake> {
        let (event, span) = match self.parser.next_event() {
            Some(event) => event.map_err(|error| self.no_yaml(&error))?,
            None => return Ok((Event::StreamEnd, self.lines.text.len()..self.lines.text.len())),
        };
        let start = self.lines.byte(&span.start);
        Ok((event, start..self.lines.byte(&span.end).max(start)))
    }

    fn no_yaml(&self, error: &ScanError) -> Mistake {
        let start = self.lines.byte(error.marker());
        let mistake = Mistake::new(path::bytes(start..start), format!("this is not YAML: {}", error.info()));
        let line = self.lines.text[..start].rfind('\n').map_or(0, |end| end + 1);
        let line = self.lines.text[line..].lines().next().unwrap_or_default();
        if line.matches('{').count() > 1 {
            return mistake.help("inside { } and [ ], put a value that holds { or } in quotes");
        }
        mistake
    }

    /// The file's only document.
    fn document(&mut self) -> Result<Node, Mistake> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(_), _) => {}
                (Event::StreamEnd, _) => return Err(empty()),
                (event, bytes) => {
                    let tree = self.node(event, bytes, 0)?;
                    self.end();
                    let nothing = tree.text().is_some_and(Scalar::is_null);
                    return if nothing { Err(empty()) } else { Ok(tree) };
                }
            }
        }
    }

    /// Nothing may follow the document. What does follow is a mistake, but does not spoil what was read before.
    fn end(&mut self) {
        let second = loop {
            match self.next() {
                Ok((Event::DocumentEnd, _)) => {}
                Ok((Event::StreamEnd, _)) => return,
                Ok((_, bytes)) => break Mistake::new(path::bytes(bytes), "a second document begins here"),
                Err(mistake) => break mistake,
            }
        };
        self.mistakes.add(second.help("a configuration is one document: take out the `---`"));
    }

    fn node(&mut self, event: Event<'a>, bytes: Range<usize>, depth: usize) -> Result<Node, Mistake> {
        if depth > MAX_DEPTH {
            return Err(Mistake::new(path::bytes(bytes), format!("nested more than {MAX_DEPTH} deep")));
        }
        let (value, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (
                    Value::Scalar(Scalar { text: braces::shown(text.into_owned()), plain, typed: None }),
                    anchor,
                    tag,
                )
            }
            Event::SequenceStart(anchor, tag) => (self.list(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.mapping(depth)?, anchor, tag),
            _ => return Ok(self.alias(bytes)),
        };
        let end = self.end_of(&value).max(bytes.end);
        Ok(self.checked(Node { value, bytes: bytes.start..end }, anchor, tag.as_ref()))
    }

    /// The end of a list or mapping is where its last value ends; the parser says where the next thing begins.
    fn end_of(&self, value: &Value) -> usize {
        match value {
            Value::List(items) => items.last().map_or(0, |item| item.bytes.end),
            Value::Mapping(entries) => entries.last().map_or(0, |entry| entry.value.bytes.end),
            Value::Scalar(_) | Value::Refused => 0,
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Mistake> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, bytes) => items.push(self.node(event, bytes, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Mistake> {
        let (mut entries, mut keys) = (Vec::new(), HashSet::new());
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Mapping(entries)),
                (event, bytes) => self.node(event, bytes, depth + 1)?,
            };
            let (event, bytes) = self.next()?;
            let value = self.node(event, bytes, depth + 1)?;
            let entry =
                key_of(key).and_then(|(key, key_bytes)| unique(&mut keys, Entry { key, key_bytes, value }));
            entries.extend(self.mistakes.keep(entry));
        }
    }

    fn alias(&mut self, bytes: Range<usize>) -> Node {
        let mistake = Mistake::new(path::bytes(bytes.clone()), "aliases are not allowed in a configuration");
        self.mistakes.add(mistake.expected("write the value out"));
        Node { value: Value::Refused, bytes }
    }

    fn checked(&mut self, node: Node, anchor: usize, tag: Option<&Cow<'_, Tag>>) -> Node {
        let start = path::bytes(node.bytes.start..node.bytes.start);
        if anchor > 0 {
            self.mistakes.add(Mistake::new(start.clone(), "anchors are not allowed in a configuration"));
        }
        if tag.is_none() {
            return node;
        }
        self.mistakes.add(Mistake::new(start, "tags are not allowed in a configuration"));
        Node { value: Value::Refused, ..node }
    }
}

fn empty() -> Mistake {
    Mistake::new(path::bytes(0..0), "the file is empty").help("it needs `listen:` and `routes:` at least")
}

fn key_of(node: Node) -> Result<(String, Range<usize>), Mistake> {
    match node.value {
        Value::Scalar(scalar) if !scalar.text.is_empty() => Ok((scalar.text, node.bytes)),
        _ => Err(Mistake::new(path::bytes(node.bytes), "a key must be a name")),
    }
}

fn unique(keys: &mut HashSet<String>, entry: Entry) -> Result<Entry, Mistake> {
    if !keys.insert(entry.key.clone()) {
        let mistake =
            Mistake::new(path::bytes(entry.key_bytes), format!("the key `{}` occurs twice", entry.key));
        return Err(mistake.expected("already given above"));
    }
    Ok(entry)
}
