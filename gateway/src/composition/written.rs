//! JSON that is written for one request from what it and the parts of its composition hold: the body of a write, or the message
//! of a call of gRPC.
//!
//! A reference that stands alone is what it refers to, byte for byte; among other text it is text.
//! Not here: what of that was typed wrong (`config/write.rs`).

use bytes::{BufMut, BytesMut};
use serde_json::Value;

use super::{
    json,
    part::Fate,
    shape::{Reference, named},
};
use crate::{
    auth::policy::{Facts, Input},
    loaders::KeyPath,
    tags::Tag,
};

/// JSON that is written for a request.
pub enum Written {
    /// This.
    Literal(Box<str>),
    /// What a part has there, byte for byte.
    Found(Reference, Input),
    /// What the client's body has there, byte for byte.
    OfBody(InBody, Input),
    /// A text.
    Text(Tag),
    /// An object; each name as `"name":`.
    Object(Vec<(Box<[u8]>, Written)>),
    /// A list.
    List(Vec<Written>),
}

/// Where something stands in the client's body.
pub struct InBody(pub(crate) KeyPath);

/// A text, or the first of what it is written from that is not there.
pub(super) fn text<'t>(tag: &'t Tag, facts: &Facts<'_>) -> Result<String, Option<&'t Input>> {
    tag.write(facts)
        .ok_or_else(|| tag.inputs().find(|input| facts.text(input).is_none()).or(tag.inputs().next()))
}

impl Written {
    /// All that it is written from.
    pub(super) fn all_inputs(&self) -> Vec<&Input> {
        let mut all = Vec::new();
        self.inputs(&mut all);
        all
    }

    /// What is written at a path such as `lineItems[0].quantity`, as far down as that is known.
    pub(super) fn at(&self, path: &str) -> &Written {
        path.split(['.', '[']).fold(self, |written, step| {
            let step = step.trim_end_matches(']');
            let found = match written {
                Written::Object(members) => {
                    let key = named(step);
                    members.iter().find(|(name, _)| *name == key).map(|(_, member)| member)
                }
                Written::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            found.unwrap_or(written)
        })
    }

    pub(super) fn inputs<'a>(&'a self, all: &mut Vec<&'a Input>) {
        match self {
            Written::Literal(_) => {}
            Written::Found(_, input) | Written::OfBody(_, input) => all.push(input),
            Written::Text(tag) => all.extend(tag.inputs()),
            Written::Object(members) => members.iter().for_each(|(_, member)| member.inputs(all)),
            Written::List(items) => items.iter().for_each(|item| item.inputs(all)),
        }
    }

    /// Appends it to `out`; `body` is the client's. Or what it cannot be written from.
    pub(super) fn write(
        &self,
        fates: &[Option<Fate>],
        facts: &Facts<'_>,
        body: &str,
        out: &mut BytesMut,
    ) -> Result<(), Option<&Input>> {
        match self {
            Written::Literal(json) => out.put_slice(json.as_bytes()),
            Written::Found(Reference { part, path }, input) => {
                let whole = fates[*part].as_ref().and_then(Fate::json).map(json::text);
                let found = whole.zip(path.as_ref()).and_then(|(whole, path)| path.find(whole));
                out.put_slice(found.ok_or(Some(input))?.get().as_bytes());
            }
            Written::OfBody(InBody(path), input) => {
                out.put_slice(path.find(body).ok_or(Some(input))?.get().as_bytes());
            }
            Written::Text(tag) => {
                out.put_slice(Value::from(text(tag, facts)?).to_string().as_bytes());
            }
            Written::Object(members) => {
                out.put_u8(b'{');
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.put_u8(b',');
                    }
                    out.put_slice(name);
                    member.write(fates, facts, body, out)?;
                }
                out.put_u8(b'}');
            }
            Written::List(items) => {
                out.put_u8(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.put_u8(b',');
                    }
                    item.write(fates, facts, body, out)?;
                }
                out.put_u8(b']');
            }
        }
        Ok(())
    }
}
