//! Answers of GraphQL that may be kept, and those that are sent in fewer bytes.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::mobile::{Mobile, data, errors};

const NAME: &str = "{ restaurant(restaurantId: 1) { name } }";
const OFFER: &str = "{ max_age: { Restaurant: 1m, Restaurant.menu: 30s, Consumer: 5s }, compression: gzip }";

#[tokio::test]
async fn the_answer_to_a_get_may_be_kept_as_long_as_its_shortest_lived_field() {
    let mobile = Mobile::offering(OFFER).await;
    for (query, expected) in [
        (NAME, "public, max-age=60"),
        ("{ restaurant(restaurantId: 1) { name menu { name } } }", "public, max-age=30"),
        ("{ restaurant(restaurantId: 1) { name address { zip } } }", "no-store"),
        ("{ restaurant(restaurantId: 1) { name } order(orderId: 99) { state } }", "no-store"),
        (
            "{ restaurant(restaurantId: 1) { name } unknown: restaurant(restaurantId: 555) { name } }",
            "no-store",
        ),
    ] {
        let answer = mobile.get("", query, &json!({})).send().await.expect(200);
        assert_eq!(answer.header("cache-control"), expected, "{query}: {}", answer.json());
        assert_eq!(answer.headers.contains_key("etag"), expected != "no-store");
    }
    let known = mobile.get(&mobile.john(), NAME, &json!({})).send().await.expect(200);
    assert_eq!(known.header("cache-control"), "private, max-age=60");
    assert_eq!(known.header("vary"), "accept, authorization");
    let posted = mobile.post("", &json!({ "query": NAME })).send().await.expect(200);
    assert_eq!((posted.header("cache-control"), posted.header("etag")), ("no-store", ""));
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let mobile = Mobile::offering(OFFER).await;
    let first = mobile.get("", NAME, &json!({})).send().await.expect(200);
    let tag = first.header("etag").to_owned();
    let ask = |tag: &str| mobile.get("", NAME, &json!({})).header("if-none-match", tag);
    let again = ask(&format!("\"x\", {tag}")).send().await.expect(304);
    assert_eq!((again.header("etag"), again.header("cache-control")), (&*tag, first.header("cache-control")));
    assert!(again.bytes().is_empty() && again.header("content-type").is_empty());
    data(&ask("W/\"x\"").send().await.expect(200).json());
    // What fails is told, not taken for what the client has.
    let wrong = mobile.get("", "{ nonsense }", &json!({})).header("if-none-match", "*").send().await;
    assert_eq!(errors(&wrong.expect(200).json()), [" GRAPHQL_VALIDATION_FAILED"]);
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_take_it() {
    let mobile = Mobile::offering(OFFER).await;
    let aliases: String = (0..30)
        .map(|n| format!(" alias{n}: restaurant(restaurantId: 1) {{ name address {{ street1 }} }}"))
        .collect();
    let long = json!({ "query": format!("{{{aliases} }}") });
    let plain = mobile.post("", &long).send().await.expect(200);
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), ("", "accept-encoding"));
    let gzip = mobile.post("", &long).header("accept-encoding", "br, gzip").send().await.expect(200);
    assert_eq!((gzip.header("content-encoding"), gzip.header("vary")), ("gzip", "accept-encoding"));
    assert!(gzip.bytes().len() < plain.bytes().len() / 4);
    let mut text = Vec::new();
    GzDecoder::new(&gzip.bytes()[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.bytes()[..]);
    let refused = mobile.post("", &long).header("accept-encoding", "gzip;q=0").send().await.expect(200);
    assert_eq!(refused.header("content-encoding"), "");
    let short = mobile.post("", &json!({ "query": NAME })).header("accept-encoding", "gzip").send().await;
    assert_eq!(short.expect(200).header("content-encoding"), "");
    let shipped = Mobile::start().await;
    let answer = shipped.post("", &long).header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("", ""));
}
