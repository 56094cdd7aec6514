//! Manifests of trusted documents, as the tools of Apollo and of Relay write them.
//!
//! `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id", "name", "type", "body"}]}`, or
//! `{"ID": "TEXT"}` for each document.
//!
//! Not here: whether the documents fit the schema (`trusted.rs`).

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

/// One document as a manifest has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) id: Box<str>,
    pub(super) text: Box<str>,
}

const APOLLO: &str = "apollo-persisted-query-manifest";

#[derive(Deserialize)]
struct Apollo {
    version: u64,
    operations: Vec<Operation>,
}

#[derive(Deserialize)]
struct Operation {
    id: Box<str>,
    body: Box<str>,
}

/// What the manifest `json` lists.
///
/// # Errors
/// A sentence for the operator.
pub(super) fn read(json: &[u8]) -> Result<Vec<Listed>, String> {
    let members: IndexMap<String, Value> =
        serde_json::from_slice(json).map_err(|why| format!("is no JSON object: {why}"))?;
    let listed = match members.get("format").and_then(Value::as_str) {
        Some(APOLLO) => of_apollo(members)?,
        Some(format) if members.contains_key("operations") => {
            return Err(format!("is of the format `{format}`, which nobody here reads"));
        }
        _ => of_relay(members)?,
    };
    if let Some(empty) = listed.iter().find(|listed| listed.id.is_empty() || listed.text.is_empty()) {
        return Err(format!("has nothing in the place of an id or a text: `{}`", empty.id));
    }
    Ok(listed)
}

fn of_apollo(members: IndexMap<String, Value>) -> Result<Vec<Listed>, String> {
    let whole = Value::Object(members.into_iter().collect());
    let read: Apollo = serde_json::from_value(whole)
        .map_err(|why| format!("is no manifest of the format `{APOLLO}`: {why}"))?;
    if read.version != 1 {
        return Err(format!("is of version {} of its format, and 1 is read here", read.version));
    }
    Ok(read.operations.into_iter().map(|one| Listed { id: one.id, text: one.body }).collect())
}

fn of_relay(members: IndexMap<String, Value>) -> Result<Vec<Listed>, String> {
    let listed = |(id, text): (String, Value)| match text {
        Value::String(text) => Ok(Listed { id: id.into(), text: text.into() }),
        _ => Err(format!("has something else than a text at `{id}`")),
    };
    members.into_iter().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(json: &str) -> Result<Vec<(String, String)>, String> {
        let listed = read(json.as_bytes())?;
        Ok(listed.into_iter().map(|one| (one.id.into_string(), one.text.into_string())).collect())
    }

    #[test]
    fn manifests_of_both_kinds_are_read() {
        let apollo = r#"{"format": "apollo-persisted-query-manifest", "version": 1, "operations":
            [{"id": "1a", "name": "A", "type": "query", "body": "query A { a }"}]}"#;
        let expected = vec![("1a".to_owned(), "query A { a }".to_owned())];
        assert_eq!(listed(apollo), Ok(expected.clone()));
        assert_eq!(listed(r#"{"1a": "query A { a }"}"#), Ok(expected));
        assert_eq!(listed("{}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_manifest_says_why() {
        for (json, why) in [
            ("", "is no JSON object"),
            ("[]", "is no JSON object"),
            (r#"{"1a": 5}"#, "has something else than a text at `1a`"),
            (r#"{"1a": ""}"#, "has nothing in the place of an id or a text: `1a`"),
            (r#"{"format": "other", "operations": []}"#, "is of the format `other`"),
            (
                r#"{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}"#,
                "is of version 2",
            ),
            (
                r#"{"format": "apollo-persisted-query-manifest", "version": 1}"#,
                "is no manifest of the format",
            ),
        ] {
            let said = listed(json).unwrap_err();
            assert!(said.starts_with(why), "{json}: {said}");
        }
    }
}
