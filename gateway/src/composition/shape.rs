//! The answer as `respond` says it: members of parts selected, renamed, merged, with a status and header fields.
//!
//! Members are found by looking at names only, and written byte for byte. What is not there is left out.
//! Not here: what is written when nothing is said (`mod.rs`).

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};
use indexmap::IndexMap;
use serde_json::Value;

use super::{
    Compose, Composed,
    json::{self, Edit},
    part::Fate,
};
use crate::{
    auth::policy::Facts,
    body::Response,
    handler::{Admitted, with_parts},
    loaders::KeyPath,
    members::Members,
    tags::Tag,
};

/// How what was composed is answered.
pub struct Respond {
    /// The body, if it is not an object with a member for each part.
    pub body: Option<Shape>,
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: Vec<(HeaderName, Tag)>,
    /// The most calls of one request.
    pub max_calls: usize,
    /// The most bytes of all parts.
    pub max_held: u64,
}

/// What is written in one place.
pub enum Shape {
    /// This JSON.
    Literal(Box<str>),
    /// What is found there.
    Found(Reference),
    /// An object; each name as `"name":`.
    Object(Vec<(Box<[u8]>, Shape)>),
    /// The members of several objects in one, those of later ones in the place of earlier ones.
    Merged(Vec<Reference>),
}

/// A part, by index, or a member of it.
pub struct Reference {
    /// The part.
    pub part: usize,
    /// Where in it.
    pub(crate) path: Option<KeyPath>,
}

/// What shapes are written from.
#[derive(Clone, Copy)]
struct Parts<'a> {
    fates: &'a [Fate],
    edits: &'a [Vec<Edit>],
}

/// A piece of a part's text.
struct Piece<'a> {
    json: &'a Bytes,
    edits: &'a [Edit],
    range: Range<usize>,
}

impl Shape {
    pub(super) fn body(&self, fates: &[Fate], edits: &[Vec<Edit>]) -> Bytes {
        let mut out = BytesMut::with_capacity(fates.iter().filter_map(Fate::json).map(Bytes::len).sum());
        if !self.write(Parts { fates, edits }, &mut out) {
            out.put_slice(b"null");
        }
        out.freeze()
    }

    /// Whether there was something to write.
    fn write(&self, parts: Parts<'_>, out: &mut BytesMut) -> bool {
        match self {
            Shape::Literal(json) => out.put_slice(json.as_bytes()),
            Shape::Found(reference) => match reference.find(parts) {
                Some(piece) => piece.put(out),
                None => return false,
            },
            Shape::Object(members) => {
                let members = members.iter().map(|(name, shape)| (&**name, shape));
                object(out, members, |shape, out| shape.write(parts, out));
            }
            Shape::Merged(references) => {
                let pieces: Vec<Piece<'_>> = references.iter().filter_map(|one| one.find(parts)).collect();
                let members = merged(&pieces);
                let names: Vec<_> = members.iter().map(|(name, at)| (named(name), at)).collect();
                object(out, names.iter().map(|(name, at)| (&**name, *at)), |(piece, range), out| {
                    json::put(out, piece.json, range.clone(), piece.edits);
                    true
                });
            }
        }
        true
    }
}

/// Writes an object of those members that there is something to write for.
fn object<'m, T: 'm>(
    out: &mut BytesMut,
    members: impl Iterator<Item = (&'m [u8], T)>,
    write: impl Fn(T, &mut BytesMut) -> bool,
) {
    out.put_u8(b'{');
    let begun = out.len();
    for (name, member) in members {
        let before = out.len();
        if before > begun {
            out.put_u8(b',');
        }
        out.put_slice(name);
        if !write(member, out) {
            out.truncate(before);
        }
    }
    out.put_u8(b'}');
}

/// `"name":`, ready to be written.
#[must_use]
pub fn named(name: &str) -> Box<[u8]> {
    format!("{}:", Value::from(name)).into_bytes().into()
}

impl Reference {
    fn find<'a>(&self, parts: Parts<'a>) -> Option<Piece<'a>> {
        let json = parts.fates[self.part].json()?;
        let range = match &self.path {
            None => 0..json.len(),
            Some(path) => {
                let whole = json::text(json);
                json::place(whole, path.find(whole)?)
            }
        };
        Some(Piece { json, edits: parts.edits.get(self.part).map_or(&[], Vec::as_slice), range })
    }
}

impl Piece<'_> {
    fn put(&self, out: &mut BytesMut) {
        json::put(out, self.json, self.range.clone(), self.edits);
    }
}

/// The members of all pieces that are objects: each where it stood first, as it is said last.
fn merged<'a>(pieces: &'a [Piece<'a>]) -> IndexMap<String, (&'a Piece<'a>, Range<usize>)> {
    let mut all = IndexMap::new();
    for piece in pieces {
        let whole = json::text(piece.json);
        let text = whole.get(piece.range.clone()).unwrap_or_default();
        let Ok(Members(members)) = serde_json::from_str(text) else { continue };
        for (name, value) in members {
            all.insert(name, (piece, json::place(whole, value)));
        }
    }
    all
}

impl Compose {
    /// Looks at what a request and the parts of it so far hold.
    pub(super) fn with_facts<R>(
        &self,
        views: &[Option<Value>],
        body: Option<&Value>,
        admitted: &Admitted,
        look: impl FnOnce(&Facts<'_>) -> R,
    ) -> R {
        let part = |name: &str| {
            let index = self.plan.nodes.iter().position(|node| node.part.name() == name)?;
            Some(views.get(index).and_then(Option::as_ref).unwrap_or(&Value::Null))
        };
        with_parts(&admitted.caller, &admitted.params, body, &part, look)
    }

    /// Adds the header fields that can be written; the others are left out.
    pub(super) fn add_headers(&self, response: &mut Response, composed: &Composed, admitted: &Admitted) {
        self.with_facts(&composed.views, None, admitted, |facts| {
            for (name, template) in &self.respond.headers {
                let value = template.write(facts).and_then(|text| HeaderValue::try_from(text).ok());
                if let Some(value) = value {
                    response.headers_mut().insert(name.clone(), value);
                }
            }
        });
    }
}
