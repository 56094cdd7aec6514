//! JSON that is put together from pieces of other JSON, byte for byte: nothing is parsed into values and written again, so
//! that no number, no order and no key given twice is lost.
//!
//! Not here: what is put where (`shape.rs`, `each.rs`).

use std::{ops::Range, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

/// What is written into the text of a part, in the place of the bytes in `at`.
#[derive(Debug, Clone)]
pub(super) struct Edit {
    pub(super) at: Range<usize>,
    pub(super) text: Bytes,
    /// What stands before `text`: a comma and a name.
    pub(super) before: Option<Arc<[u8]>>,
}

/// Where `piece`, a part of `whole`, stands in it.
pub(super) fn place(whole: &str, piece: &RawValue) -> Range<usize> {
    let begin = piece.get().as_ptr() as usize - whole.as_ptr() as usize;
    begin..begin + piece.get().len()
}

/// The text of JSON that is known to be well-formed; empty where it is none, of which nobody finds anything.
pub(super) fn text(json: &Bytes) -> &str {
    std::str::from_utf8(json).unwrap_or_default()
}

/// Writes what stands at `range` in `json`, with the `edits` that lie within it; they are in the order of their places.
pub(super) fn put(out: &mut BytesMut, json: &[u8], range: Range<usize>, edits: &[Edit]) {
    let mut from = range.start;
    let within = |edit: &&Edit| edit.at.start >= range.start && edit.at.end <= range.end;
    for edit in edits.iter().filter(within) {
        if edit.at.start < from {
            continue; // two in one place: the first stays
        }
        out.put_slice(&json[from..edit.at.start]);
        out.put_slice(edit.before.as_deref().unwrap_or_default());
        out.put_slice(&edit.text);
        from = edit.at.end;
    }
    out.put_slice(&json[from..range.end]);
}
