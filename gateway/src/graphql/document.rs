//! Documents, parsed and checked against the limits once for each text, and kept.
//!
//! Not here: validation, which depends on the variables and is the schema's.

use std::sync::Arc;

use async_graphql::parser::{
    Error as ParseError, parse_query,
    types::{ExecutableDocument, OperationType},
};
use moka::sync::Cache;

use super::{Limits, Refusal, lenient::Shapes, lexer, limits};

/// A document that was let in.
pub(super) struct Document {
    pub(super) parsed: ExecutableDocument,
}

/// Documents by their text.
pub(super) struct Documents {
    known: Cache<Arc<str>, Arc<Document>>,
    limits: Limits,
    shapes: Shapes,
    introspection: bool,
}

/// What the kept texts may weigh, in bytes; parsed they weigh some ten times as much.
const MOST: u64 = 4 << 20;

impl Documents {
    pub(super) fn new(limits: Limits, shapes: Shapes, introspection: bool) -> Self {
        let weight = |text: &Arc<str>, _: &Arc<Document>| u32::try_from(text.len()).unwrap_or(u32::MAX);
        let known = Cache::builder().max_capacity(MOST).weigher(weight).build();
        Documents { known, limits, shapes, introspection }
    }

    /// The document of that text.
    pub(super) fn get(&self, query: &str) -> Result<Arc<Document>, Refusal> {
        if let Some(known) = self.known.get(query) {
            return Ok(known);
        }
        let document = Arc::new(self.read(query)?);
        self.known.insert(query.into(), document.clone());
        Ok(document)
    }

    fn read(&self, query: &str) -> Result<Document, Refusal> {
        lexer::measure(query, &self.limits).map_err(invalid)?;
        let mut parsed = parse_query(query).map_err(|wrong| unparsed(&wrong))?;
        limits::check(&parsed, &self.limits).map_err(invalid)?;
        if !self.introspection && limits::introspects(&parsed) {
            return Err(invalid("Introspection is not offered here."));
        }
        self.shapes.loosen(&mut parsed);
        Ok(Document { parsed })
    }
}

impl Document {
    /// What kind the operation is that would be executed; none when there is none of that name.
    pub(super) fn kind(&self, operation_name: Option<&str>) -> Option<OperationType> {
        let mut operations = self.parsed.operations.iter();
        let of_name = |name: &str| {
            operations.clone().find(|(known, _)| known.is_some_and(|known| known.as_str() == name))
        };
        let operation = match operation_name {
            Some(name) => of_name(name),
            None => operations.next(),
        };
        operation.map(|(_, operation)| operation.node.ty)
    }
}

/// Names that clash are found by the parser, but are the validation's to tell (GraphQL, sections 5.2 and 5.5.1).
fn unparsed(wrong: &ParseError) -> Refusal {
    let code = match wrong {
        ParseError::OperationDuplicated { .. }
        | ParseError::FragmentDuplicated { .. }
        | ParseError::MultipleOperations { .. } => "GRAPHQL_VALIDATION_FAILED",
        _ => "GRAPHQL_PARSE_FAILED",
    };
    Refusal { code, message: wrong.to_string().into() }
}

fn invalid(why: &'static str) -> Refusal {
    Refusal { code: "GRAPHQL_VALIDATION_FAILED", message: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(introspection: bool) -> Documents {
        Documents::new(Limits::default(), Shapes::default(), introspection)
    }

    #[test]
    fn a_text_is_parsed_once() {
        let documents = documents(true);
        let (first, second) = (documents.get("{ a }").ok().unwrap(), documents.get("{ a }").ok().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn what_is_refused_says_by_which_step() {
        let code = |query: &str| documents(false).get(query).err().unwrap().code;
        assert_eq!(code("{ a"), "GRAPHQL_PARSE_FAILED");
        assert_eq!(code(""), "GRAPHQL_PARSE_FAILED");
        assert_eq!(code("query A { a } query A { a }"), "GRAPHQL_VALIDATION_FAILED");
        assert_eq!(code(&"{ a ".repeat(2_000)), "GRAPHQL_VALIDATION_FAILED");
        assert_eq!(code("{ __schema { types { name } } }"), "GRAPHQL_VALIDATION_FAILED");
    }

    #[test]
    fn the_kind_is_that_of_the_operation_asked_for() {
        let document = documents(true).get("query A { a } mutation B { b }").ok().unwrap();
        assert_eq!(document.kind(Some("A")), Some(OperationType::Query));
        assert_eq!(document.kind(Some("B")), Some(OperationType::Mutation));
        assert_eq!(document.kind(Some("C")), None);
    }
}
