//! Fields of a request's message that are written from the path, where a route says so: `fields: { orderId: "{orderId}" }`.
//!
//! Not here: fields that come with the body (`json.rs`).

use indexmap::IndexMap;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::json::{self, Misfit};
use crate::{
    mistake::{Mistake, Mistakes, below},
    routing::{Params, path},
};

/// Fields by the parameters that they are written from.
#[derive(Default)]
pub(crate) struct Fields(Box<[Field]>);

struct Field {
    descriptor: FieldDescriptor,
    /// The index of a parameter among the route's own.
    parameter: usize,
}

impl Fields {
    /// What was typed at the key path `at` of the route that `whose` names, whose path has the parameters `names`.
    pub(crate) fn build(
        typed: &IndexMap<String, String>,
        kind: &MessageDescriptor,
        names: &[Box<str>],
        whose: &str,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Self {
        let mut all = Vec::with_capacity(typed.len());
        for (name, from) in typed {
            let built = field(name, from, kind, names, whose)
                .map_err(|wrong| Mistake { at: below(at, name), ..wrong });
            all.extend(mistakes.keep(built));
        }
        Fields(all.into())
    }

    /// `json` with the fields that the path says. What it says, the body must not say again.
    pub(super) fn fill(
        &self,
        mut json: Value,
        kind: &MessageDescriptor,
        params: &Params,
    ) -> Result<Value, Misfit> {
        if self.0.is_empty() {
            return Ok(json);
        }
        let Value::Object(object) = &mut json else { return Err(Misfit::new("", "an object")) };
        for Field { descriptor, parameter } in &self.0 {
            let name = descriptor.json_name();
            let again = |known: &String| json::field(kind, known).is_some_and(|known| known == *descriptor);
            if object.keys().any(again) {
                return Err(Misfit::new(name, "said by the path only"));
            }
            let text = path::decode(params.raw(*parameter));
            let text = text.ok_or_else(|| Misfit::new(name, "text in UTF-8"))?;
            let value = match (descriptor.kind(), &*text) {
                (Kind::Bool, "true") => Value::Bool(true),
                (Kind::Bool, "false") => Value::Bool(false),
                _ => Value::String(text.into_owned()),
            };
            object.insert(name.to_owned(), value);
        }
        Ok(json)
    }
}

fn field(
    name: &str,
    from: &str,
    kind: &MessageDescriptor,
    names: &[Box<str>],
    whose: &str,
) -> Result<Field, Mistake> {
    let Some(descriptor) = json::field(kind, name) else {
        let wrong = Mistake::new("", format!("{whose}: `{}` has no field `{name}`", kind.full_name()));
        let known: Vec<String> = kind.fields().map(|field| field.json_name().to_owned()).collect();
        return Err(wrong.one_of("fields", known, name));
    };
    if descriptor.is_list() || matches!(descriptor.kind(), Kind::Message(_) | Kind::Bytes) {
        let wrong = Mistake::new("", format!("{whose}: `{name}` is more than one value of a path"));
        return Err(wrong.expected(
            "a field that holds a number, a text, `true` or `false`, or a name of an enumeration",
        ));
    }
    let parameter = from.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let parameter = parameter.and_then(|name| names.iter().position(|known| **known == *name));
    parameter.map(|parameter| Field { descriptor, parameter }).ok_or_else(|| {
        let wrong = Mistake::new("", format!("{whose}: `{from}` is no parameter of its path"));
        let known: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
        wrong.one_of("parameters", known, from)
    })
}
