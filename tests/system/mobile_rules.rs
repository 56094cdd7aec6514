//! Who may see and do what through GraphQL: at every depth, under every name, in every batch.

use ftgo::stubs::service::Service;
use serde_json::{Value, json};

use crate::{
    harness::{JOHN, MARY},
    mobile::{Mobile, data, errors},
};

/// Everything that is not public, asked for about John.
fn johns() -> String {
    format!(
        "{{ consumer(consumerId: {JOHN}) {{ firstName }} order(orderId: 99) {{ state }} \
         orders(consumerId: {JOHN}) {{ orderId }} orderHistory(consumerId: {JOHN}) {{ nodes {{ orderId }} }} }}"
    )
}

fn all(code: &str) -> Vec<String> {
    ["consumer", "order", "orderHistory", "orders"].map(|field| format!("{field} {code}")).into()
}

/// An answer without what differs from request to request.
fn without_request(mut answer: Value) -> Value {
    for error in answer["errors"].as_array_mut().into_iter().flatten() {
        error["extensions"]["requestId"].take();
    }
    answer
}

#[tokio::test]
async fn without_a_token_only_what_is_public_is_answered() {
    let mobile = Mobile::start().await;
    let answer = mobile.ask("", &johns()).await;
    assert_eq!(errors(&answer), all("UNAUTHENTICATED"));
    let nothing = json!({"consumer": null, "order": null, "orders": null, "orderHistory": null});
    assert_eq!((&answer["data"], mobile.asked()), (&nothing, 0));
    let public = "{ restaurant(restaurantId: 1) { name menu { price } } \
         availableRestaurants(zip: \"94612\") { nodes { id } } }";
    assert_eq!(data(&mobile.ask("", public).await)["restaurant"]["name"], "Ajanta");
}

#[tokio::test]
async fn a_missing_role_or_scope_is_forbidden_before_anything_is_asked() {
    let mobile = Mobile::start().await;
    let reads = "consumers:read orders:read";
    for (roles, scope) in [(&["consumer"][..], "orders:write"), (&["courier"], reads), (&[], reads)] {
        let token = mobile.stubs.token(JOHN, roles, scope);
        assert_eq!(errors(&mobile.ask(&token, &johns()).await), all("FORBIDDEN"), "{roles:?} {scope}");
    }
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn another_consumer_is_forbidden_and_another_order_is_not_found() {
    let mobile = Mobile::start().await;
    let answer = mobile.ask(&mobile.consumer(MARY), &johns()).await;
    let told = ["consumer FORBIDDEN", "order NOT_FOUND", "orderHistory FORBIDDEN", "orders FORBIDDEN"];
    assert_eq!(errors(&answer), told);
    assert_eq!(mobile.asked(), 1, "only the order is looked at");
}

#[tokio::test]
async fn a_foreign_order_looks_like_an_unknown_one() {
    let mobile = Mobile::start().await;
    let mary = mobile.consumer(MARY);
    let parts = "state ticket { state } bill { amount } deliveryInfo { status } consumer { firstName }";
    for query in [
        format!("query($id: ID!) {{ order(orderId: $id) {{ {parts} }} }}"),
        "mutation($id: ID!) { cancelOrder(input: {orderId: $id}) { orderId } }".to_owned(),
        "mutation($id: ID!) { reviseOrder(input: {orderId: $id, lineItems: []}) { orderId } }".to_owned(),
    ] {
        let foreign = mobile.ask_with(&mary, &query, json!({"id": 99})).await;
        let unknown = mobile.ask_with(&mary, &query, json!({"id": 555})).await;
        assert!(errors(&foreign)[0].ends_with("NOT_FOUND"), "{foreign}");
        assert_eq!(without_request(foreign), without_request(unknown));
    }
    assert_eq!((mobile.asked(), mobile.writes()), (6, 0));
}

#[tokio::test]
async fn a_foreign_node_is_no_more_to_be_seen_than_by_its_plain_id() {
    let mobile = Mobile::start().await;
    let node = data(
        &mobile.ask(&mobile.john(), "{ order(orderId: 99) { nodeId consumer { nodeId } } }").await,
    )["order"]
        .clone();
    let query = "query($o: ID!, $c: ID!) { o: node(nodeId: $o) { nodeId } c: node(nodeId: $c) { nodeId } }";
    let ids = json!({"o": node["nodeId"], "c": node["consumer"]["nodeId"]});
    let answer = mobile.ask_with(&mobile.consumer(MARY), query, ids.clone()).await;
    assert_eq!(errors(&answer), ["c FORBIDDEN", "o NOT_FOUND"]);
    let answer = mobile.ask_with("", query, ids).await;
    assert_eq!(errors(&answer), ["c UNAUTHENTICATED", "o UNAUTHENTICATED"]);
}

#[tokio::test]
async fn a_restaurant_sees_its_order_and_not_who_ordered() {
    let mobile = Mobile::start().await;
    let scope = "orders:read consumers:read";
    let query = "{ order(orderId: 99) { state ticket { state } bill { amount } \
         consumer { firstName orders { orderId } } } }";
    let own = mobile.ask(&mobile.stubs.token("restaurant-1", &["restaurant"], scope), query).await;
    assert_eq!(errors(&own), ["order.consumer FORBIDDEN"]);
    assert_eq!(own["data"]["order"]["ticket"]["state"], "AWAITING_ACCEPTANCE");
    let other = mobile.ask(&mobile.stubs.token("restaurant-2", &["restaurant"], scope), query).await;
    assert_eq!(errors(&other), ["order NOT_FOUND"]);
    assert_eq!(mobile.counts(Service::Consumer).total, 0);
}

#[tokio::test]
async fn a_scope_is_needed_at_every_depth() {
    let mobile = Mobile::start().await;
    let token = |scope| mobile.stubs.token(JOHN, &["consumer"], scope);
    let query = format!("{{ consumer(consumerId: {JOHN}) {{ firstName orders {{ orderId }} }} }}");
    let answer = mobile.ask(&token("consumers:read"), &query).await;
    assert_eq!(errors(&answer), ["consumer.orders FORBIDDEN"]);
    assert_eq!(answer["data"]["consumer"], json!({"firstName": "John", "orders": null}));

    let query = "{ order(orderId: 99) { orderId consumer { orders { consumer { firstName } } } } }";
    let answer = mobile.ask(&token("orders:read"), query).await;
    assert_eq!(errors(&answer), ["order.consumer FORBIDDEN"]);
    assert_eq!(answer["data"]["order"], json!({"orderId": "99", "consumer": null}));
    assert_eq!(data(&mobile.ask(&mobile.john(), query).await)["order"]["orderId"], "99");
}

#[tokio::test]
async fn support_reads_everything_and_writes_no_orders() {
    let mobile = Mobile::start().await;
    let token = mobile.stubs.token("support-1", &["support"], "consumers:read orders:read orders:write");
    data(&mobile.ask(&token, &johns()).await);
    let cancel = "mutation { cancelOrder(input: {orderId: 99}) { orderId } }";
    assert_eq!(errors(&mobile.ask(&token, cancel).await), ["cancelOrder FORBIDDEN"]);
    assert_eq!(mobile.writes(), 0);
}

#[tokio::test]
async fn aliases_are_decided_one_by_one() {
    let mobile = Mobile::start().await;
    let query = format!(
        "{{ own: order(orderId: 99) {{ state }} foreign: order(orderId: 105) {{ state }} \
         unknown: order(orderId: 555) {{ state }} me: consumer(consumerId: {JOHN}) {{ id }} \
         mary: consumer(consumerId: {MARY}) {{ id }} list: orders(consumerId: {MARY}) {{ orderId }} }}"
    );
    let answer = mobile.ask(&mobile.john(), &query).await;
    let told = ["foreign NOT_FOUND", "list FORBIDDEN", "mary FORBIDDEN", "unknown NOT_FOUND"];
    assert_eq!(errors(&answer), told);
    let data = &answer["data"];
    assert_eq!((&data["own"]["state"], &data["me"]["id"]), (&json!("APPROVED"), &json!(JOHN)));
    assert_eq!(mobile.counts(Service::Order).total, 1, "one bulk call for all three");
}

#[tokio::test]
async fn the_operations_of_a_batch_are_decided_one_by_one() {
    let mobile = Mobile::offering("{ max_batch: 10 }").await;
    let batch = json!([
        {"query": "{ order(orderId: 99) { state } }"},
        {"query": "{ order(orderId: 105) { state } }"},
        {"query": "mutation { cancelOrder(input: {orderId: 105}) { orderId } }"},
        {"query": "{ nonsense }"},
        {"query": "query($id: Int!) { consumer(consumerId: $id) { id } }", "variables": {"id": MARY}},
    ]);
    let answers = mobile.post(&mobile.john(), &batch).send().await.expect(200).json();
    assert_eq!(answers[0], json!({"data": {"order": {"state": "APPROVED"}}}));
    let told: Vec<_> = answers.as_array().unwrap()[1..].iter().flat_map(errors).collect();
    let expected =
        ["order NOT_FOUND", "cancelOrder NOT_FOUND", " GRAPHQL_VALIDATION_FAILED", "consumer FORBIDDEN"];
    assert_eq!(told, expected);
    assert_eq!(mobile.writes(), 0);
}

#[tokio::test]
async fn a_refused_mutation_never_reaches_a_service() {
    let mobile = Mobile::start().await;
    let create = format!(
        "createOrder(input: {{consumerId: {JOHN}, restaurantId: 1, deliveryTime: \"2099-01-01T19:00:00\", \
         deliveryAddress: {{street1: \"1\", city: \"O\", state: \"CA\", zip: \"94612\"}}, \
         lineItems: [{{menuItemId: 1, quantity: 1}}]}}) {{ orderId }}"
    );
    let query = format!(
        "mutation {{ {create} cancelOrder(input: {{orderId: 99}}) {{ orderId }} \
         reviseOrder(input: {{orderId: 99, lineItems: []}}) {{ orderId }} }}"
    );
    let readers = mobile.stubs.token(JOHN, &["consumer"], "orders:read consumers:read");
    let mary = mobile.consumer(MARY);
    for (token, codes) in [
        ("", ["UNAUTHENTICATED"; 3]),
        (&readers, ["FORBIDDEN"; 3]),
        (&mary, ["NOT_FOUND", "FORBIDDEN", "NOT_FOUND"]),
    ] {
        let expected: Vec<_> = ["cancelOrder", "createOrder", "reviseOrder"]
            .iter()
            .zip(codes)
            .map(|(field, code)| format!("{field} {code}"))
            .collect();
        assert_eq!(errors(&mobile.ask(token, &query).await), expected);
    }
    assert_eq!(mobile.writes(), 0);
}

#[tokio::test]
async fn a_bad_token_refuses_the_whole_request() {
    let mobile = Mobile::start().await;
    let query = json!({"query": "{ restaurant(restaurantId: 1) { name } }"});
    for bad in ["nonsense", &format!("{}x", mobile.john())] {
        let answer = mobile.post(bad, &query).send().await.expect(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
    }
    assert_eq!(mobile.asked(), 0);
}
