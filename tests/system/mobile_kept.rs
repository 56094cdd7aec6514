//! Answers of GraphQL that may be kept, and those that are sent in fewer bytes.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::json;

use crate::{
    client::Answer,
    mobile::{Mobile, data, errors},
};

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
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), ("gzip", "accept-encoding"));
}

/// What was encoded.
fn decoded(answer: &Answer) -> Vec<u8> {
    let (encoded, mut text) = (&answer.bytes()[..], Vec::with_capacity(1 << 20));
    match answer.header("content-encoding") {
        "zstd" => drop(zstd_safe::decompress(&mut text, encoded).unwrap()),
        "br" => drop(brotli::Decompressor::new(encoded, 4_096).read_to_end(&mut text).unwrap()),
        "gzip" => drop(GzDecoder::new(encoded).read_to_end(&mut text).unwrap()),
        other => panic!("{other}"),
    }
    text
}

fn vary(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
}

const KEPT: [&str; 2] = ["accept, authorization", "accept-encoding"];

/// An answer that may be kept and is long enough.
fn menus() -> String {
    let aliases: String = (0..20)
        .map(|n| format!(" a{n}: restaurant(restaurantId: 1) {{ name menu {{ id name }} }}"))
        .collect();
    format!("{{{aliases} }}")
}

#[tokio::test]
async fn in_each_coding_it_is_the_same_answer_under_a_tag_of_its_own() {
    let mobile = Mobile::offering(&OFFER.replace("gzip", "all")).await;
    let menus = menus();
    let get = || mobile.get("", &menus, &json!({}));
    let plain = get().send().await.expect(200);
    assert_eq!((plain.header("content-encoding"), vary(&plain)), ("", KEPT.to_vec()));
    let plain_tag = plain.header("etag").to_owned();
    for (accepted, coding) in [("gzip, deflate, br, zstd", "zstd"), ("gzip, br", "br"), ("gzip", "gzip")] {
        let coded = get().header("accept-encoding", accepted).send().await.expect(200);
        assert_eq!((coded.header("content-encoding"), vary(&coded)), (coding, KEPT.to_vec()));
        assert!(decoded(&coded) == plain.bytes()[..] && coded.bytes().len() < plain.bytes().len() / 3);
        let tag = coded.header("etag");
        assert_eq!(tag, format!("{}-{coding}\"", plain_tag.trim_end_matches('"')));

        let again = get().header("accept-encoding", accepted).header("if-none-match", tag);
        let again = again.send().await.expect(304);
        assert_eq!((again.header("etag"), again.header("content-encoding")), (tag, ""));
        assert!(again.bytes().is_empty() && vary(&again) == KEPT);
        let other = get().header("accept-encoding", accepted).header("if-none-match", &plain_tag);
        assert_eq!(other.send().await.expect(200).header("etag"), tag);
        get().header("if-none-match", tag).send().await.expect(200);

        let head = mobile.head("", &menus).header("accept-encoding", accepted).send().await.expect(200);
        assert_eq!((head.header("etag"), head.header("content-encoding")), (tag, coding));
        assert!(head.bytes().is_empty());
    }
}

#[tokio::test]
async fn batches_are_encoded_and_long_answers_are_in_pieces() {
    let mobile = Mobile::offering("{ max_batch: 100, max_fields: 10000, compression: [br, zstd] }").await;
    let batch = json!(vec![json!({ "query": menus() }); 40]);
    let plain = mobile.post("", &batch).send().await.expect(200);
    assert!(plain.bytes().len() > 64 << 10, "{}", plain.bytes().len());
    for (accepted, coding) in [("gzip, zstd, br", "br"), ("gzip, zstd, br;q=0.9", "zstd")] {
        let coded = mobile.post("", &batch).header("accept-encoding", accepted).send().await.expect(200);
        assert_eq!(coded.header("content-encoding"), coding);
        assert!(decoded(&coded) == plain.bytes()[..], "{coding}");
    }
    let neither = mobile.post("", &batch).header("accept-encoding", "gzip").send().await.expect(200);
    assert_eq!((neither.header("content-encoding"), vary(&neither)), ("", vec!["accept-encoding"]));
}

#[tokio::test]
async fn who_refuses_the_plain_answer_never_gets_it() {
    let mobile = Mobile::offering(OFFER).await;
    let short = |accepted: &'static str| {
        mobile.post("", &json!({ "query": NAME })).header("accept-encoding", accepted).send()
    };
    let coded = short("gzip, identity;q=0").await.expect(200);
    data(&serde_json::from_slice(&decoded(&coded)).unwrap());
    let asked = mobile.asked();
    let refused = short("br, identity;q=0").await.expect(406);
    assert_eq!(refused.json()["code"], "not_acceptable");
    assert_eq!(mobile.asked(), asked, "nothing is executed for nobody");
}
