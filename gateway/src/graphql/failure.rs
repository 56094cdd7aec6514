//! Gives every error of an answer its code and the request's id.
//!
//! Not here: errors of resolvers, which bring their code along.

use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};

/// Whether nothing was executed: the document, not a field, is at fault.
pub(super) fn before_execution(response: &Response) -> bool {
    response.data == Value::Null
        && !response.errors.is_empty()
        && response.errors.iter().all(|error| error.path.is_empty())
}

/// The most errors that are told of a document: more are of no use to anybody, and a short one can have very many.
const MOST: usize = 20;

/// Sets `extensions.code` where it is missing, and `extensions.requestId`.
pub(super) fn classify(response: &mut Response, query: &str, request_id: &str) {
    let unexecuted = before_execution(response);
    if unexecuted {
        response.errors.truncate(MOST);
    }
    for error in &mut response.errors {
        let code = code(error, query, unexecuted);
        let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        if extensions.get("code").is_none() {
            extensions.set("code", code);
        }
        extensions.set("requestId", request_id);
    }
}

fn code(error: &ServerError, query: &str, unexecuted: bool) -> &'static str {
    let argument = error.message.starts_with("Invalid value for argument");
    match (unexecuted, argument) {
        (true, true) if from_variable(error, query) => "BAD_USER_INPUT",
        (true, _) => "GRAPHQL_VALIDATION_FAILED",
        // Only arguments fail in execution without a code of ours: scalars that do not parse.
        (false, _) => "BAD_USER_INPUT",
    }
}

/// Whether the argument at fault was given as a variable: then the document is good, and what came with it is not.
fn from_variable(error: &ServerError, query: &str) -> bool {
    let Some(at) = error.locations.first() else { return false };
    let Some(line) = query.lines().nth(at.line.saturating_sub(1)) else { return false };
    let rest: String = line.chars().skip(at.column.saturating_sub(1)).collect();
    rest.split_once(':').is_some_and(|(_, value)| value.trim_start().starts_with('$'))
}
