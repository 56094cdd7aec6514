//! Documents that clients name instead of sending them: registered under their hash, or trusted since they were written down.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    client::Ask,
    harness::{TempFile, until_answer},
    mobile::{Mobile, data, errors, offering, yaml},
};

const NAME: &str = "query Name($id: ID!) { restaurant(restaurantId: $id) { name } }";
const NEWER: &str = "application/graphql-response+json";

fn hash(text: &str) -> String {
    digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// What Apollo's clients send: the text is null where it is left out.
fn by_hash(text: Option<&str>, hash: &str) -> Value {
    let extensions = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
    json!({"query": text, "variables": {"id": 1}, "extensions": extensions})
}

fn get(mobile: &Mobile, request: &Value) -> Ask {
    let coded = |key: &str| utf8_percent_encode(&request[key].to_string(), NON_ALPHANUMERIC).to_string();
    let text = request["query"].as_str().unwrap_or_default();
    let query = utf8_percent_encode(text, NON_ALPHANUMERIC);
    let (variables, extensions) = (coded("variables"), coded("extensions"));
    mobile.gate.get(&format!("/graphql?query={query}&variables={variables}&extensions={extensions}"))
}

async fn counted(mobile: &Mobile, named: &str) -> u64 {
    let row = format!("gateway_graphql_documents_total{{route=\"/graphql\",named=\"{named}\"}} ");
    metric(mobile, &row).await
}

async fn metric(mobile: &Mobile, row: &str) -> u64 {
    let text = mobile.gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8(text.bytes().to_vec()).unwrap();
    text.lines().find_map(|line| line.strip_prefix(row)).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_document_is_registered_by_post_and_then_named_by_its_hash() {
    let mobile = Mobile::offering("{ persisted: {} }").await;
    let unknown = mobile.post("", &by_hash(None, &hash(NAME))).send().await.expect(200);
    assert_eq!(errors(&unknown.json()), [" PERSISTED_QUERY_NOT_FOUND"]);
    assert_eq!(unknown.json()["errors"][0]["message"], "PersistedQueryNotFound");
    assert_eq!(unknown.header("cache-control"), "no-store");
    let newer = mobile.post("", &by_hash(None, &hash(NAME))).header("accept", NEWER);
    assert_eq!(newer.send().await.expect(400).header("cache-control"), "no-store");
    assert_eq!(mobile.asked(), 0);

    let expected = json!({"restaurant": {"name": "Ajanta"}});
    let whole = mobile.post("", &by_hash(Some(NAME), &hash(NAME))).send().await.expect(200).json();
    let named = mobile.post("", &by_hash(None, &hash(NAME))).send().await.expect(200).json();
    let got = get(&mobile, &by_hash(None, &hash(NAME))).send().await.expect(200).json();
    for answer in [whole, named, got] {
        assert_eq!(*data(&answer), expected);
    }
    assert_eq!((counted(&mobile, "registered").await, counted(&mobile, "persisted").await), (1, 2));
    assert_eq!(counted(&mobile, "unknown").await, 2);
}

#[tokio::test]
async fn what_must_not_be_registered_is_not() {
    let mobile = Mobile::offering("{ persisted: {} }").await;
    let other = "query Other { __typename }";
    for wrong in [hash(other), String::new(), "x".repeat(64)] {
        let answer = mobile.post("", &by_hash(Some(NAME), &wrong)).send().await.expect(200).json();
        assert_eq!(errors(&answer), [" BAD_USER_INPUT"], "{wrong}");
    }
    data(&get(&mobile, &by_hash(Some(NAME), &hash(NAME))).send().await.expect(200).json());
    let nonsense = "{ nonsense }";
    mobile.post("", &by_hash(Some(nonsense), &hash(nonsense))).send().await.expect(200);
    for text in [NAME, other, nonsense] {
        let answer = mobile.post("", &by_hash(None, &hash(text))).send().await.expect(200).json();
        assert_eq!(errors(&answer), [" PERSISTED_QUERY_NOT_FOUND"], "{text}");
    }
    assert_eq!((counted(&mobile, "registered").await, counted(&mobile, "mismatched").await), (0, 3));
    let mutation = "mutation { cancelOrder(input: {orderId: 99}) { orderId } }";
    data(
        &mobile
            .post(&mobile.john(), &by_hash(Some(mutation), &hash(mutation)))
            .send()
            .await
            .expect(200)
            .json(),
    );
    get(&mobile, &by_hash(None, &hash(mutation))).token(&mobile.john()).send().await.expect(405);
}

#[tokio::test]
async fn without_room_for_documents_clients_are_told_to_send_them() {
    let mobile = Mobile::start().await;
    let answer = mobile.post("", &by_hash(None, &hash(NAME))).send().await.expect(400).json();
    assert_eq!(errors(&answer), [" PERSISTED_QUERY_NOT_SUPPORTED"]);
    data(&mobile.post("", &by_hash(Some(NAME), &hash(NAME))).send().await.expect(200).json());
}

#[tokio::test]
async fn what_was_registered_survives_a_reload() {
    let mobile = Mobile::offering("{ persisted: {} }").await;
    data(&mobile.post("", &by_hash(Some(NAME), &hash(NAME))).send().await.expect(200).json());
    let offers = "{ persisted: { max_size: 1MiB }, introspection: true }";
    mobile.gate.rewrite(&offering(&yaml(&mobile.stubs), offers));
    let schema = || mobile.post("", &json!({"query": "{ __schema { queryType { name } } }"}));
    until_answer(schema, |answer| answer.get("errors").is_none()).await;
    data(&mobile.post("", &by_hash(None, &hash(NAME))).send().await.expect(200).json());
}

/// A manifest as Apollo's tool writes it.
fn apollo(documents: &[(&str, &str, &str)]) -> String {
    let operation = |(id, name, body): &(&str, &str, &str)| json!({"id": id, "name": name, "type": "query", "body": body});
    let operations: Vec<Value> = documents.iter().map(operation).collect();
    json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations}).to_string()
}

fn trusting(mode: &str, manifests: &[&TempFile]) -> String {
    let names: Vec<_> = manifests.iter().map(|file| file.name()).collect();
    format!("{{ trusted: {{ mode: {mode}, manifests: [{}] }}, clients: [ios] }}", names.join(", "))
}

#[tokio::test]
async fn where_trust_is_enforced_nothing_else_is_executed() {
    let menu = "query Menu($id: ID!) { restaurant(restaurantId: $id) { menu { name } } }";
    let ios = TempFile::new("ios.json", &apollo(&[(&hash(NAME), "Name", NAME)]));
    let web = TempFile::new("web.json", &json!({"menu-1": menu}).to_string());
    let mobile = Mobile::offering(&trusting("enforce", &[&ios, &web])).await;
    let variables = json!({"id": 1});
    for trusted in [
        by_hash(None, &hash(NAME)),
        json!({"query": NAME, "variables": variables}),
        json!({"documentId": format!("sha256:{}", hash(NAME)), "variables": variables}),
        json!({"documentId": "menu-1", "variables": variables}),
        json!({"id": "menu-1", "variables": variables}),
    ] {
        let ask = mobile.post("", &trusted).header("apollographql-client-name", "ios");
        data(&ask.send().await.expect(200).json());
    }
    let by_get = mobile.gate.get("/graphql?documentId=menu-1&variables=%7B%22id%22:1%7D");
    data(&by_get.send().await.expect(200).json());
    let asked = mobile.asked();
    for (untrusted, code) in [
        (json!({"query": "{ restaurant(restaurantId: 1) { name } }"}), "DOCUMENT_NOT_TRUSTED"),
        (json!({"query": format!("{NAME} "), "variables": variables}), "DOCUMENT_NOT_TRUSTED"),
        (by_hash(Some("{ __typename }"), &hash("{ __typename }")), "DOCUMENT_NOT_TRUSTED"),
        (by_hash(None, &hash("{ __typename }")), "PERSISTED_QUERY_NOT_FOUND"),
        (json!({"documentId": "menu-2"}), "PERSISTED_QUERY_NOT_FOUND"),
    ] {
        let answer = mobile.post("", &untrusted).send().await.expect(200).json();
        assert_eq!(errors(&answer), [format!(" {code}")], "{untrusted}");
        mobile.post("", &untrusted).header("accept", NEWER).send().await.expect(400);
    }
    assert_eq!(mobile.asked(), asked);
    let row = "gateway_graphql_operations_total{route=\"/graphql\",operation=";
    let of = async |labels: &str| metric(&mobile, &format!("{row}{labels}}} ")).await;
    assert_eq!(of("\"Menu\",client=\"ios\",outcome=\"ok\"").await, 2);
    assert_eq!(of("\"Menu\",client=\"other\",outcome=\"ok\"").await, 1);
    assert_eq!(of("\"other\",client=\"other\",outcome=\"refused\"").await, 10);
}

#[tokio::test]
async fn where_trust_is_logged_the_others_are_executed_and_counted() {
    let ios = TempFile::new("ios.json", &apollo(&[(&hash(NAME), "Name", NAME)]));
    let mobile = Mobile::offering(&trusting("log", &[&ios])).await;
    data(&mobile.ask("", "{ restaurant(restaurantId: 1) { name } }").await);
    data(&mobile.post("", &by_hash(None, &hash(NAME))).send().await.expect(200).json());
    assert_eq!((counted(&mobile, "untrusted").await, counted(&mobile, "trusted").await), (1, 1));
}

#[tokio::test]
async fn a_manifest_that_does_not_fit_the_schema_is_a_mistake() {
    let mobile = Mobile::start().await;
    let ios = TempFile::new(
        "ios.json",
        &apollo(&[
            ("1", "Name", NAME),
            ("2", "Courier", "query Courier { order(orderId: 1) { courier } }"),
            ("3", "Broken", "query Broken {"),
            ("4", "Argument", "query Argument { restaurant(id: 1) { name } }"),
            ("1", "Twice", "query Twice { __typename }"),
        ]),
    );
    let yaml = offering(&yaml(&mobile.stubs), &trusting("enforce", &[&ios]));
    let file = TempFile::new("bff-mobile.yaml", &yaml);
    let metrics = gateway::observability::metrics::Metrics::default();
    let wrong = gateway::instance::build(file.name(), &bff_mobile::handlers(), &metrics, None).err().unwrap();
    let told = wrong;
    for why in [
        "operation `Courier` at line 1, column 37: Unknown field \"courier\" on type \"Order\".",
        "document `3` at line 1, column 15: This is no GraphQL at line 1, column 15.",
        "operation `Argument` at line 1, column 18: Field \"restaurant\" argument \"restaurantId\"",
        "the id `1` stands for two documents",
    ] {
        assert!(told.contains(why), "{why} is not in\n{told}");
    }
    assert!(told.contains("ios.json") && !told.contains("`Name`"), "{told}");
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn a_manifest_that_changes_is_taken_up() {
    let ios = TempFile::new("ios.json", &apollo(&[("1", "Name", NAME)]));
    let mobile = Mobile::offering(&trusting("enforce", &[&ios])).await;
    let later = json!({"documentId": "2"});
    let refused = mobile.post("", &later).send().await.expect(200).json();
    assert_eq!(errors(&refused), [" PERSISTED_QUERY_NOT_FOUND"]);
    std::fs::write(ios.name(), apollo(&[("2", "Later", "query Later { __typename }")])).unwrap();
    until_answer(|| mobile.post("", &later), |answer| answer.get("errors").is_none()).await;
    let gone = mobile.post("", &json!({"documentId": "1"})).send().await.expect(200).json();
    assert_eq!(errors(&gone), [" PERSISTED_QUERY_NOT_FOUND"]);
}
