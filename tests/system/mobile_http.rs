//! GraphQL over HTTP: methods, bodies, codes, limits, and the JSON text itself.

use std::fmt::Write;

use ftgo::stubs::service::Service;
use serde_json::json;

use crate::{
    harness::JOHN,
    mobile::{Mobile, data, errors},
};

const NAME: &str = "{ restaurant(restaurantId: 1) { name } }";
const NEWER: &str = "application/graphql-response+json";

async fn text(mobile: &Mobile, query: &str) -> String {
    let answer = mobile.post(&mobile.john(), &json!({ "query": query })).send().await.expect(200);
    String::from_utf8(answer.bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_query_is_answered_by_get_and_by_post() {
    let mobile = Mobile::start().await;
    let expected = json!({"data": {"restaurant": {"name": "Ajanta"}}});
    let by_get = mobile.get("", NAME, &json!({})).send().await.expect(200);
    let by_post = mobile.post("", &json!({ "query": NAME })).send().await.expect(200);
    for answer in [by_get, by_post] {
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json(), expected);
    }
    let newer = mobile.post("", &json!({ "query": NAME })).header("accept", NEWER).send().await.expect(200);
    assert_eq!((newer.header("content-type"), newer.json()), (NEWER, expected));
}

#[tokio::test]
async fn head_is_a_get_whose_body_stays_away() {
    let mobile = Mobile::start().await;
    let get = mobile.get("", NAME, &json!({})).send().await.expect(200);
    for head in [mobile.head("", NAME).send().await, mobile.head("", NAME).send_h2().await] {
        assert_eq!((head.status, head.header("content-type")), (200, "application/json"), "{head:?}");
        assert_eq!(head.header("content-length"), get.bytes().len().to_string());
        assert!(head.bytes().is_empty());
    }
    let options = mobile.gate.ask("OPTIONS", "/graphql").send().await.expect(204);
    assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS, POST");
}

#[tokio::test]
async fn the_operation_is_chosen_by_its_name() {
    let mobile = Mobile::start().await;
    let query =
        "query A { restaurant(restaurantId: 1) { name } } query B { restaurant(restaurantId: 1) { id } }";
    let body = json!({"query": query, "operationName": "B"});
    let answer = mobile.post("", &body).send().await.expect(200).json();
    assert_eq!(*data(&answer), json!({"restaurant": {"id": "1"}}));
}

#[tokio::test]
async fn a_mutation_by_get_is_not_allowed_and_changes_nothing() {
    let mobile = Mobile::start().await;
    let mutation = "mutation { cancelOrder(input: {orderId: 99}) { orderId } }";
    let answer = mobile.get(&mobile.john(), mutation, &json!({})).send().await.expect(405);
    let put = mobile.gate.ask("PUT", "/graphql").json(&json!({ "query": NAME })).send().await.expect(405);
    assert_eq!((answer.header("allow"), put.header("allow")), ("OPTIONS, POST", "GET, HEAD, OPTIONS, POST"));
    mobile.head(&mobile.john(), mutation).send().await.expect(405);
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused() {
    let mobile = Mobile::start().await;
    for body in ["", "{", "[]", "5", "{\"query\": 5}", "{\"query\": \"\"}", "{}", "{\"query\": \"{a}\"} x"] {
        let ask = mobile.gate.ask("POST", "/graphql").header("content-type", "application/json");
        let answer = ask.body(body).send().await.expect(400).json();
        assert_eq!(errors(&answer), [" BAD_USER_INPUT"], "{body}");
        assert!(answer.get("data").is_none(), "{answer}");
    }
    mobile.get("", "", &json!({})).send().await.expect(400);
    let bad_variables = "/graphql?query=%7B__typename%7D&variables=%7B";
    mobile.gate.get(bad_variables).send().await.expect(400);
}

#[tokio::test]
async fn a_wrong_document_says_at_which_step_it_failed() {
    let mobile = Mobile::start().await;
    for (query, code) in [
        ("{ restaurant(", "GRAPHQL_PARSE_FAILED"),
        ("nonsense", "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ restaurant { name } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ restaurant(restaurantId: 1) }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ restaurant(restaurantId: 1) { ...F } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ __schema { types { name } } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query A { __typename }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let body = json!({ "query": query });
        let answer = mobile.post("", &body).send().await.expect(200).json();
        assert!(errors(&answer).contains(&format!(" {code}")), "{query}: {answer}");
        assert!(answer.get("data").is_none(), "{answer}");
        mobile.post("", &body).header("accept", NEWER).send().await.expect(400);
    }
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn what_is_no_graphql_is_told_in_one_line_with_its_place() {
    let mobile = Mobile::start().await;
    let answer = mobile.post("", &json!({"query": "{\n  restaurant(\n}"})).send().await.expect(200).json();
    let error = &answer["errors"][0];
    assert_eq!(error["message"], "This is no GraphQL at line 3, column 1.");
    assert_eq!(error["locations"], json!([{"line": 3, "column": 1}]));
    assert_eq!(errors(&answer), [" GRAPHQL_PARSE_FAILED"]);
}

#[tokio::test]
async fn a_body_over_64_kib_is_too_large() {
    let mobile = Mobile::start().await;
    let padded = |length: usize| json!({"query": NAME, "padding": "x".repeat(length)});
    mobile.post("", &padded(64 << 10)).send().await.expect(413);
    let answer = mobile.post("", &padded((64 << 10) - 200)).send().await.expect(200).json();
    data(&answer);
}

/// Consumers of orders of consumers, so many times.
fn nested(levels: usize) -> String {
    let opened = "consumer { orders { ".repeat(levels);
    format!("{{ order(orderId: 99) {{ {opened} orderId {} }} }}", "} } ".repeat(levels))
}

fn aliased(count: usize) -> String {
    let mut query = "{".to_owned();
    for n in 0..count {
        write!(query, " a{n}: restaurant(restaurantId: 1) {{ name }}").unwrap();
    }
    query + " }"
}

/// Fragments, each of which spreads the next one twice.
fn doubling() -> String {
    let mut query = "{ restaurant(restaurantId: 1) { ...F0 } }".to_owned();
    for n in 0..40 {
        write!(query, " fragment F{n} on Restaurant {{ ...F{next} ...F{next} }}", next = n + 1).unwrap();
    }
    query + " fragment F40 on Restaurant { name }"
}

#[tokio::test]
async fn documents_that_ask_for_too_much_are_refused_before_any_service_is_asked() {
    let mobile = Mobile::start().await;
    let circle = "{ restaurant(restaurantId: 1) { ...A } } fragment A on Restaurant { ...A }".to_owned();
    let dear = format!(
        "{{ orders(consumerId: {JOHN}) {{ consumer {{ orders {{ consumer {{ orders {{ orderId }} }} }} }} }} }}"
    );
    for query in [
        nested(3),
        nested(10),
        nested(400),
        "{a".repeat(30_000),
        aliased(31),
        aliased(1_000),
        doubling(),
        circle,
        dear,
    ] {
        let answer = mobile.post(&mobile.john(), &json!({ "query": query })).send().await.expect(200).json();
        let told = errors(&answer);
        assert!(told.iter().all(|told| told == " GRAPHQL_VALIDATION_FAILED"), "{answer}: {}", &query[..80]);
        assert!(!told.is_empty() && answer.get("data").is_none(), "{answer}");
    }
    assert_eq!(mobile.asked(), 0);
    data(&mobile.ask(&mobile.john(), &aliased(30)).await);
    assert_eq!(mobile.counts(Service::Restaurant).total, 1);
}

#[tokio::test]
async fn fields_come_in_the_order_they_were_asked_for() {
    let mobile = Mobile::start().await;
    let query = "{ z: restaurant(restaurantId: 1) { name id } order(orderId: 99) { state \
         restaurant { name } orderId ...F bill { amount state } } a: restaurant(restaurantId: 1) { id name } } \
         fragment F on Order { ticket { state } orderTotal }";
    let expected = "{\"data\":{\"z\":{\"name\":\"Ajanta\",\"id\":\"1\"},\"order\":{\"state\":\"APPROVED\",\
         \"restaurant\":{\"name\":\"Ajanta\"},\"orderId\":\"99\",\"ticket\":{\"state\":\"AWAITING_ACCEPTANCE\"},\
         \"orderTotal\":\"61.70\",\"bill\":{\"amount\":\"61.70\",\"state\":\"AUTHORIZED\"}},\
         \"a\":{\"id\":\"1\",\"name\":\"Ajanta\"}}}";
    assert_eq!(text(&mobile, query).await, expected);
    // The slowest first: its place does not depend on when it comes.
    mobile.fault(Service::Restaurant, json!({"latency": "100ms"})).await;
    assert_eq!(text(&mobile, query).await, expected);
}

#[tokio::test]
async fn fields_that_failed_are_null_in_their_place() {
    let mobile = Mobile::start().await;
    mobile.fault(Service::Kitchen, json!({"fault": {"status": 500}})).await;
    let query = "{ order(orderId: 99) { ticket { state } orderId deliveryInfo { status estimatedDeliveryTime } \
         bill { amount } } unknown: order(orderId: 555) { orderId } restaurant(restaurantId: 1) { name } }";
    let text = text(&mobile, query).await;
    let begins =
        "{\"data\":{\"order\":{\"ticket\":null,\"orderId\":\"99\",\"deliveryInfo\":{\"status\":null,";
    assert!(text.starts_with(begins), "{text}");
    assert!(text.contains("},\"bill\":{\"amount\":\"61.70\"}},\"unknown\":null,\"restaurant\":{"), "{text}");
}

#[tokio::test]
async fn who_takes_no_json_is_told_so_before_anything_is_done() {
    let mobile = Mobile::start().await;
    let mutation = json!({ "query": "mutation { cancelOrder(input: {orderId: 99}) { orderId } }" });
    for accept in ["text/html", "application/xml, text/*", "application/json;q=0"] {
        let refused =
            mobile.post(&mobile.john(), &mutation).header("accept", accept).send().await.expect(406);
        assert_eq!(refused.code(), "not_acceptable", "{accept}");
    }
    assert_eq!(mobile.asked(), 0);
    let weighed = "application/json;q=0.5, application/graphql-response+json;q=0.9";
    let answer =
        mobile.post("", &json!({ "query": NAME })).header("accept", weighed).send().await.expect(200);
    assert_eq!(answer.header("content-type"), NEWER);
}

#[tokio::test]
async fn what_the_schema_holds_is_not_given_away_by_errors() {
    let mobile = Mobile::start().await;
    for query in ["{ restaurnt(restaurantId: 1) { name } }", "{ restaurant(restaurntId: 1) { name } }"] {
        let told = mobile.ask("", query).await.to_string();
        assert!(told.contains("Unknown") && !told.contains("Did you mean"), "{told}");
    }
    let open = Mobile::offering("{ introspection: true }").await;
    let told = open.ask("", "{ restaurnt(restaurantId: 1) { name } }").await.to_string();
    assert!(told.contains("Did you mean"), "{told}");
    // More wrong names than anybody writes by hand are not compared with all that are right.
    let many = (0..200).fold(String::new(), |all, n| format!("{all} restaurantName{n}"));
    let told = open.ask("", &format!("{{ restaurant(restaurantId: 1) {{ {many} }} }}")).await.to_string();
    assert!(told.contains("Unknown") && !told.contains("Did you mean"), "{told}");
    data(&open.ask("", "{ __schema { queryType { name } } }").await);
}

#[tokio::test]
async fn batches_are_taken_where_they_are_offered() {
    let mobile = Mobile::start().await;
    let batch = |many: usize| json!(vec![json!({ "query": NAME }); many]);
    mobile.post("", &batch(1)).send().await.expect(400);
    let mobile = Mobile::offering("{ max_batch: 10 }").await;
    mobile.post("", &batch(11)).send().await.expect(400);
    assert_eq!(mobile.asked(), 0);
    let answers = mobile.post("", &batch(10)).send().await.expect(200).json();
    assert_eq!(answers.as_array().unwrap().len(), 10);
}

/// A page of another site can make a browser send these without asking first (CSRF).
#[tokio::test]
async fn a_body_of_a_kind_that_forms_send_is_refused_and_changes_nothing() {
    let mobile = Mobile::start().await;
    let mutation =
        json!({ "query": "mutation { cancelOrder(input: {orderId: 99}) { orderId } }" }).to_string();
    for kind in [
        "",
        "text/plain",
        "text/plain; application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let ask = mobile.gate.ask("POST", "/graphql").token(&mobile.john());
        let ask = if kind.is_empty() { ask } else { ask.header("content-type", kind) };
        let answer = ask.body(mutation.clone()).send().await.expect(415);
        assert_eq!(answer.code(), "unsupported_media_type", "{kind}");
    }
    assert_eq!(mobile.asked(), 0);
}
