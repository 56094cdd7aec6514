//! GraphiQL in the browser: whole, closed to everything else, and only where it is asked for.

use std::io::Read;

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::read::GzDecoder;
use gateway::handler::Handlers;
use serde_json::json;

use crate::{
    client::Answer,
    harness::{Gate, stubs},
    mobile,
};

/// What browsers send.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What GraphiQL asks of the schema before it shows anything.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { queryType { name kind } mutationType { name kind } \
    subscriptionType { name kind } types { ...FullType } directives { name description locations args { ...InputValue } } } }
  fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name description \
    args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } inputFields { ...InputValue } \
    interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } \
    possibleTypes { ...TypeRef } }
  fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
  fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
    ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

async fn asked(handlers: Handlers, path: &str, accept: &str) -> Answer {
    let stubs = stubs();
    let gate = Gate::with(&mobile::yaml(&stubs), handlers);
    gate.get(path).header("accept", accept).send().await
}

async fn page() -> (Answer, String) {
    let answer = asked(bff_mobile::playground(), "/graphql", BROWSER).await.expect(200);
    let page = String::from_utf8(answer.bytes().to_vec()).unwrap();
    (answer, page)
}

/// What stands between the first of `open` and the next of `close`, and what comes after.
fn between<'p>(page: &'p str, open: &str, close: &str) -> Option<(&'p str, &'p str)> {
    page.split_once(open)?.1.split_once(close)
}

/// Everything that the page loads: its address, and the hash that it must have.
fn loaded(mut page: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    while let Some((address, after)) = between(page, "=\"?", "\"") {
        let (hash, after) = between(after, " integrity=\"sha256-", "\">").expect("each has its hash");
        all.push((format!("/graphql?{address}"), hash.to_owned()));
        page = after;
    }
    all
}

fn sha256(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(digest::digest(&digest::SHA256, bytes))
}

#[tokio::test]
async fn the_page_is_graphiql_and_refers_to_nothing_elsewhere() {
    let (answer, page) = page().await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "no-cache");
    assert!(page.contains("<title>GraphiQL</title>"), "{page}");
    for outside in ["://", "=\"//", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    let references = page.matches("src=").count() + page.matches("href=").count();
    // The icon is the one that is no file.
    assert_eq!((references, loaded(&page).len()), (5, 4));
}

#[tokio::test]
async fn the_policy_lets_in_what_comes_from_here_and_the_pages_own_script() {
    let (answer, page) = page().await;
    let (script, after) = between(&page, "<script>", "</script>").expect("it is there");
    assert!(!after.contains("<script"), "there is another one");
    let policy = format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self' 'unsafe-inline'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        sha256(script.as_bytes())
    );
    assert_eq!(answer.header("content-security-policy"), policy);
}

#[tokio::test]
async fn what_the_page_loads_comes_compressed_and_is_what_the_page_expects() {
    let stubs = stubs();
    let gate = Gate::with(&mobile::yaml(&stubs), bff_mobile::playground());
    for (address, hash) in loaded(&page().await.1) {
        let answer = gate.get(&address).header("accept", "*/*").send().await.expect(200);
        let media = if address.ends_with(".css") { "text/css" } else { "text/javascript" };
        assert_eq!(answer.header("content-type"), format!("{media}; charset=utf-8"), "{address}");
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert_eq!(answer.header("cache-control"), "public, max-age=31536000, immutable");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let mut plain = Vec::new();
        GzDecoder::new(&answer.bytes()[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(sha256(&plain), hash, "{address}");
    }
}

#[tokio::test]
async fn what_graphiql_asks_of_the_schema_is_within_the_limits() {
    let stubs = stubs();
    let gate = Gate::with(&mobile::yaml(&stubs), bff_mobile::playground());
    let asked = json!({ "query": INTROSPECTION, "operationName": "IntrospectionQuery" });
    let answer = gate.ask("POST", "/graphql").json(&asked).send().await.expect(200).json();
    let types = mobile::data(&answer)["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|named| named["name"] == "Order"), "{types:?}");
}

#[tokio::test]
async fn a_name_that_the_page_does_not_have_is_no_file() {
    let answer = asked(bff_mobile::playground(), "/graphql?graphiql=graphiql-0.0.0.js", "*/*").await;
    assert_eq!(answer.expect(400).header("content-type"), "application/json");
}

#[tokio::test]
async fn apps_in_production_get_no_page_and_none_of_its_files() {
    let answer = asked(bff_mobile::handlers(), "/graphql?query=%7B__typename%7D", BROWSER).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    for (address, _) in loaded(&page().await.1) {
        let answer = asked(bff_mobile::handlers(), &address, BROWSER).await.expect(400);
        assert_eq!(answer.header("content-type"), "application/json", "{address}");
    }
}
