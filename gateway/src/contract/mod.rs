//! The contract: what routes take and answer. Requests are held against it before any service is asked, and clients are told
//! it as OpenAPI 3.1.
//!
//! | file | what |
//! |---|---|
//! | `config.rs`, `compile.rs` | What is typed, and what is wrong with it. |
//! | `schema.rs`, `formats.rs`, `check.rs` | What is checked, and what is said of what does not fit. |
//! | `parameters.rs` | Texts as values. |
//! | `document.rs`, `composed.rs` | The document. |
//! | `pages.rs` | The document and its reader, served. |
//!
//! Answers are not checked: they are the services' (and a client that tolerates more is none the worse). Not here: when it is
//! checked (`guard.rs`).

mod check;
pub mod compile;
mod composed;
pub mod config;
pub mod document;
mod formats;
pub mod pages;
mod parameters;
mod schema;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, HeaderName, header};
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub use self::schema::Schema;
use self::{
    check::{Check, Place, Wrong},
    compile::Compiler,
    config::RequestConfig,
    parameters::{Kind, Parameter},
};
use crate::{
    composition::config::Tree,
    error::{Code, Error},
    mistake::{Mistake, Mistakes, below},
    routing::{Params, path},
};

/// The schemas with names, in the order typed.
#[derive(Debug, Clone, Default)]
pub struct Schemas(Arc<[Schema]>);

/// What a route takes.
#[derive(Debug)]
pub struct Contract {
    named: Schemas,
    path: Box<[Parameter]>,
    /// All that there may be.
    query: Option<Box<[Parameter]>>,
    headers: Box<[(HeaderName, Parameter)]>,
    body: Option<Schema>,
}

impl Schemas {
    /// The schemas typed under `schemas:`.
    pub fn build<'t>(
        typed: impl IntoIterator<Item = (&'t String, &'t Tree)> + Clone,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Self {
        let names: Vec<&str> = typed.clone().into_iter().map(|(name, _)| name.as_str()).collect();
        let mut compiler = Compiler { names: &names, mistakes };
        let read = |(name, typed): (&'t String, &'t Tree)| compiler.schema(typed, &below(at, name));
        let schemas: Vec<Schema> = typed.into_iter().map(read).collect();
        if let Some(index) = compile::endless(&schemas) {
            let message = format!("schema `{}` leads back to itself", names[index]);
            let mistake = Mistake::new(below(at, names[index]), message);
            mistakes.add(mistake.expected("a list or a member between, as in `items` and `properties`"));
            return Schemas::default(); // nobody may walk along it
        }
        for name in names {
            let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if !name.chars().all(fine) || name.is_empty() {
                let mistake = Mistake::new(
                    format!("{}:", below(at, name)),
                    format!("schema `{name}` cannot be referred to"),
                );
                mistakes.add(mistake.expected("letters, digits, `.`, `_` and `-`"));
            }
        }
        Schemas(schemas.into())
    }
}

/// What a request is held against, but for its body.
pub struct Head<'r> {
    /// The path parameters and the query.
    pub params: &'r Params,
    /// The header fields.
    pub headers: &'r HeaderMap,
}

impl Contract {
    /// What is typed at the key path `at` for a route with these path parameters. Names that schemas may have are `names`.
    pub fn build(
        typed: &RequestConfig,
        parameters: &[Box<str>],
        names: &[&str],
        named: &Schemas,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Contract {
        let mut builder =
            Builder { compiler: Compiler { names, mistakes }, named, required: &typed.required };
        let path = builder.all(&typed.path, &below(at, "path"), true);
        for (name, place) in
            typed.path.keys().map(|name| (name, format!("{}:", below(&below(at, "path"), name))))
        {
            if !parameters.iter().any(|known| **known == **name) {
                let mistake = Mistake::new(place, format!("the path has no parameter `{name}`"));
                builder.compiler.mistakes.add(mistake.one_of("parameters", parameters, name));
            }
        }
        let query = typed.query.as_ref().map(|query| builder.all(query, &below(at, "query"), false));
        let headers = builder.headers(&typed.headers, &below(at, "headers"));
        let body = typed.body.as_ref().map(|body| builder.compiler.schema(body, &below(at, "body")));
        for (index, name) in typed.required.iter().enumerate() {
            let known: Vec<&String> =
                typed.query.iter().flatten().map(|(name, _)| name).chain(typed.headers.keys()).collect();
            if !known.contains(&name) {
                let place = format!("{}[{index}]", below(at, "required"));
                let mistake = Mistake::new(place, format!("`{name}` is needed and not described"));
                mistakes.add(mistake.one_of("names in `query` and `headers`", known, name));
            }
        }
        Contract { named: named.clone(), path, query, headers, body }
    }

    /// Whether there is something to say about bodies.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Holds a request against it; with its body, if that was read.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`] with everything that is wrong, as far as one wants to know.
    pub fn check(&self, head: &Head<'_>, body: Option<&Value>) -> Result<(), Error> {
        let mut check = Check::new(&self.named.0);
        self.path(head.params, &mut check);
        if let Some(known) = &self.query {
            query(known, head.params.query(), &mut check);
        }
        check.of("header");
        for (name, parameter) in &self.headers {
            field(name, parameter, head.headers, &mut check);
        }
        if let (Some(schema), Some(body)) = (&self.body, body) {
            check.of("body");
            check.fits(schema, body, &Place::WHOLE);
        }
        let found = check.found();
        if found.is_empty() { Ok(()) } else { Err(invalid(&found)) }
    }

    fn path(&self, params: &Params, check: &mut Check<'_>) {
        check.of("path");
        for parameter in &self.path {
            let place = Place::WHOLE.name(&parameter.name);
            match params.get(&parameter.name).and_then(path::decode) {
                Some(text) => parameter.check(&text, &place, check),
                None => {
                    check.wrong(&place, "must be UTF-8, percent-encoded");
                }
            }
        }
    }
}

impl Parameter {
    fn check(&self, text: &str, place: &Place<'_>, check: &mut Check<'_>) {
        check.fits(&self.schema, &self.kind.read(text), place);
    }
}

/// Every parameter is known, there once, and fits; those that must be there are.
fn query(known: &[Parameter], query: &str, check: &mut Check<'_>) {
    check.of("query");
    let mut seen = vec![false; known.len()];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (raw, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((name, value)) = decoded(raw).zip(decoded(value)).filter(|_| !pair.contains(';')) else {
            // Some services begin another parameter at a `;`.
            check.wrong(&Place::WHOLE, "must be UTF-8, percent-encoded, also each `;`");
            continue;
        };
        let place = Place::WHOLE.name(&name);
        match known.iter().position(|parameter| *parameter.name == *name) {
            Some(index) if std::mem::replace(&mut seen[index], true) => {
                check.wrong(&place, "must be given once");
            }
            Some(index) => known[index].check(&value, &place, check),
            None => {
                check.wrong(&place, "is not known here");
            }
        }
    }
    for (parameter, _) in known.iter().zip(seen).filter(|(parameter, seen)| parameter.required && !seen) {
        check.wrong(&Place::WHOLE.name(&parameter.name), "is needed");
    }
}

/// A text without escapes; none if one is broken, which services read in more than one way, as `%u0041` is.
fn decoded(raw: &str) -> Option<Cow<'_, str>> {
    let digits = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    if !raw.split('%').skip(1).all(digits) {
        return None;
    }
    if !raw.contains('+') {
        return percent_decode_str(raw).decode_utf8().ok();
    }
    let spaced = raw.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}

fn field(name: &HeaderName, parameter: &Parameter, headers: &HeaderMap, check: &mut Check<'_>) {
    let place = Place::WHOLE.name(&parameter.name);
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(value), None) => match value.to_str() {
            Ok(text) => parameter.check(text, &place, check),
            Err(_) => {
                check.wrong(&place, "must be visible ASCII");
            }
        },
        (Some(_), Some(_)) => {
            check.wrong(&place, "must be given once");
        }
        (None, _) if parameter.required => {
            check.wrong(&place, "is needed");
        }
        (None, _) => {}
    }
}

fn invalid(found: &[Wrong]) -> Error {
    let places = found.iter().map(|wrong| format!("{} {}", wrong.part, wrong.message));
    let cause = places.collect::<Vec<_>>().join("; ");
    Error::new(Code::InvalidRequest, cause).errors(found.iter().map(Wrong::json).collect())
}

/// Reads what a route takes.
struct Builder<'a> {
    compiler: Compiler<'a>,
    named: &'a Schemas,
    required: &'a [String],
}

impl Builder<'_> {
    fn all<'t>(
        &mut self,
        typed: impl IntoIterator<Item = (&'t String, &'t Tree)>,
        at: &str,
        required: bool,
    ) -> Box<[Parameter]> {
        let read =
            |(name, typed): (&'t String, &'t Tree)| self.parameter(name, typed, &below(at, name), required);
        typed.into_iter().filter_map(read).collect()
    }

    fn parameter(&mut self, name: &str, typed: &Tree, at: &str, required: bool) -> Option<Parameter> {
        let before = self.compiler.mistakes.0.len();
        let schema = self.compiler.schema(typed, at);
        let required = required || self.required.iter().any(|known| known == name);
        match Kind::of(&schema, &self.named.0) {
            Some(kind) => return Some(Parameter { name: name.into(), kind, schema, required }),
            None if self.compiler.mistakes.is_empty() || self.compiler.mistakes.0.len() == before => {
                let mistake = Mistake::new(at, format!("what the text of `{name}` is read as is not said"));
                let one = "one `type`: string, integer, number or boolean, or an array of one of these";
                self.compiler.mistakes.add(mistake.expected(one));
            }
            None => {}
        }
        None
    }

    fn headers<'t>(
        &mut self,
        typed: impl IntoIterator<Item = (&'t String, &'t Tree)>,
        at: &str,
    ) -> Box<[(HeaderName, Parameter)]> {
        // OpenAPI 3.1 section 4.8.12.1: these are told of elsewhere.
        const ELSEWHERE: [HeaderName; 3] = [header::ACCEPT, header::CONTENT_TYPE, header::AUTHORIZATION];
        let mut read = Vec::new();
        for (name, typed) in typed {
            let parameter = self.parameter(name, typed, &below(at, name), false);
            match name.parse::<HeaderName>() {
                Ok(field) if !ELSEWHERE.contains(&field) => {
                    read.extend(parameter.map(|parameter| (field, parameter)));
                }
                Ok(_) => {
                    let mistake = Mistake::new(
                        format!("{}:", below(at, name)),
                        format!("`{name}` is not described here"),
                    );
                    let mistake = mistake.expected("any field but Accept, Authorization and Content-Type");
                    self.compiler.mistakes.add(mistake);
                }
                Err(_) => {
                    let mistake =
                        Mistake::new(format!("{}:", below(at, name)), format!("`{name}` is no header field"));
                    self.compiler.mistakes.add(mistake.expected("a name like `Idempotency-Key`"));
                }
            }
        }
        read.into()
    }
}
