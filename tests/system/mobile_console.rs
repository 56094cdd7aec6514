//! The console in the browser: whole, closed to everything else, and only where it is asked for.

use aws_lc_rs::digest;
use base64::{Engine, prelude::BASE64_STANDARD};
use gateway::handler::Handlers;
use serde_json::json;

use crate::{
    client::Answer,
    harness::{Gate, stubs},
    mobile,
};

/// What browsers send.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

async fn asked(handlers: Handlers, path: &str) -> Answer {
    let stubs = stubs();
    let gate = Gate::with(&mobile::yaml(&stubs), handlers);
    gate.get(path).header("accept", BROWSER).send().await
}

/// What stands between the page's only pair of these tags.
fn between<'p>(page: &'p str, tag: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("<{tag}>")).expect("it opens");
    let (text, after) = rest.split_once(&format!("</{tag}>")).expect("it closes");
    assert!(!after.contains(&format!("<{tag}")), "there is another {tag}");
    text
}

#[tokio::test]
async fn the_page_loads_nothing_and_its_policy_knows_it_byte_for_byte() {
    let answer = asked(bff_mobile::playground(), "/graphql").await.expect(200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let page = std::str::from_utf8(answer.bytes()).unwrap();
    for outside in ["//", "src=", "href=", "@import", "url("] {
        let found = page.lines().find(|line| line.contains(outside) && !line.starts_with("// "));
        assert_eq!(found, None, "{outside}");
    }
    let hash = |tag| BASE64_STANDARD.encode(digest::digest(&digest::SHA256, between(page, tag).as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash("script"),
        hash("style")
    );
    assert_eq!(answer.header("content-security-policy"), policy);
}

#[tokio::test]
async fn what_the_console_asks_of_the_schema_is_within_the_limits() {
    let stubs = stubs();
    let gate = Gate::with(&mobile::yaml(&stubs), bff_mobile::playground());
    let page = gate.get("/graphql").header("accept", BROWSER).send().await.expect(200);
    let page = String::from_utf8(page.bytes().to_vec()).unwrap();
    let (_, query) = page.split_once("const SCHEMA = `").expect("it is there");
    let (query, _) = query.split_once('`').expect("it ends");
    let answer =
        gate.ask("POST", "/graphql").json(&json!({ "query": query })).send().await.expect(200).json();
    let types = mobile::data(&answer)["__schema"]["types"].as_array().unwrap();
    assert!(types.iter().any(|named| named["name"] == "Order"), "{types:?}");
}

#[tokio::test]
async fn apps_in_production_get_no_page() {
    let answer = asked(bff_mobile::handlers(), "/graphql?query=%7B__typename%7D").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
}
