//! What operations cost: lists count for each of their items, and what costs too much is refused before a service is asked.
//!
//! Not here: how costs are worked out (`gateway/src/graphql/price.rs`), and limits on the rate that count them (`limits.rs`).

use serde_json::{Value, json};

use crate::{
    client::Ask,
    harness::{JOHN, TempFile},
    mobile::{Mobile, data, errors, offering, yaml},
};

/// An order in every detail, but for its consumer's orders: 106 fields.
const EVERYTHING: &str = "nodeId orderId consumerId state orderTotal createdAt \
     lineItems { menuItemId name price quantity } consumer { nodeId id firstName lastName } \
     restaurant { nodeId id name address { street1 street2 city state zip } menu { id name price } } \
     ticket { state readyBy acceptTime readyForPickupTime pickedUpTime } \
     deliveryInfo { status estimatedDeliveryTime assignedCourier } bill { state amount }";
const REFUSED: &str = " GRAPHQL_VALIDATION_FAILED";

async fn told(ask: Ask) -> (Vec<String>, String) {
    let answer = ask.send().await.expect(200).json();
    (errors(&answer), answer["errors"][0]["message"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn fifty_orders_in_every_detail_pass_and_those_of_each_ones_consumer_again_do_not() {
    let mobile = Mobile::start().await;
    let fifty = format!("{{ orders(consumerId: {JOHN}) {{ {EVERYTHING} }} }}");
    data(&mobile.ask(&mobile.john(), &fifty).await);
    let asked = mobile.asked();
    assert!(asked > 0);
    let again = format!("{{ orders(consumerId: {JOHN}) {{ consumer {{ orders {{ {EVERYTHING} }} }} }} }}");
    let (errors, message) = told(mobile.post(&mobile.john(), &json!({ "query": again }))).await;
    assert_eq!(errors, [REFUSED]);
    assert_eq!(message, "The operation costs 265101, and 10000 is the most.");
    let newer = mobile.post(&mobile.john(), &json!({ "query": again }));
    let newer = newer.header("accept", "application/graphql-response+json").send().await.expect(400).json();
    assert_eq!(newer["errors"][0]["locations"], json!([{"line": 1, "column": 1}]));
    assert_eq!(mobile.asked(), asked);
}

#[tokio::test]
async fn variables_decide_with_every_request_also_of_a_document_that_was_found_valid() {
    let mobile = Mobile::start().await;
    let query = format!(
        "query($first: Int) {{ orderHistory(consumerId: {JOHN}, first: $first) {{ nodes {{ {EVERYTHING} }} }} }}"
    );
    let sent =
        |first: Value| mobile.post(&mobile.john(), &json!({"query": query, "variables": {"first": first}}));
    for round in 0..3 {
        data(&sent(json!(5)).send().await.expect(200).json());
        let asked = mobile.asked();
        for (first, cost) in [(json!(200), "21202"), (json!(95), "10072"), (json!(u64::MAX), "4294967295")] {
            let (errors, message) = told(sent(first)).await;
            assert_eq!(errors, [REFUSED], "{round}");
            assert_eq!(message, format!("The operation costs {cost}, and 10000 is the most."));
        }
        assert_eq!(mobile.asked(), asked);
    }
    data(&sent(Value::Null).send().await.expect(200).json());
}

#[tokio::test]
async fn of_a_batch_only_what_costs_too_much_is_refused() {
    let mobile = Mobile::offering("{ max_batch: 2, max_cost: 51 }").await;
    let query = |fields: &str| json!({"query": format!("{{ orders(consumerId: {JOHN}) {{ {fields} }} }}")});
    let batch = json!([query("orderId"), query("orderId state")]);
    let answers = mobile.post(&mobile.john(), &batch).send().await.expect(200).json();
    assert!(data(&answers[0])["orders"].is_array());
    assert_eq!(errors(&answers[1]), [REFUSED]);
    assert_eq!(answers[1]["errors"][0]["message"], "The operation costs 101, and 51 is the most.");
}

#[tokio::test]
async fn a_trusted_document_that_costs_too_much_is_a_mistake() {
    let mobile = Mobile::start().await;
    let fine = format!("query Fine {{ orders(consumerId: {JOHN}) {{ orderId }} }}");
    let dear = format!("query Dear {{ orders(consumerId: {JOHN}) {{ orderId state }} }}");
    let page =
        "query Page($i: ID!, $n: Int = 60) { orderHistory(consumerId: $i, first: $n) { nodes { state } } }";
    let any = page.replace("Page", "Any").replace("Int = 60", "Int!");
    let manifest = TempFile::new("ios.json", &json!({"1": fine, "2": dear, "3": page, "4": any}).to_string());
    let trusted = format!("trusted: {{ mode: enforce, manifests: [{}] }}", manifest.name());
    let yaml = offering(&yaml(&mobile.stubs), &format!("{{ max_cost: 60, {trusted} }}"));
    let file = TempFile::new("bff-mobile.yaml", &yaml);
    let metrics = gateway::observability::metrics::Metrics::default();
    let wrong = gateway::instance::build(file.name(), &bff_mobile::handlers(), &metrics, None).err().unwrap();
    for why in [
        "document `2` at line 1, column 1: The operation costs 101, and 60 is the most.",
        "operation `Page` at line 1, column 1: The operation costs 62, and 60 is the most.",
    ] {
        assert!(wrong.contains(why), "{why} is not in\n{wrong}");
    }
    assert!(!wrong.contains("`Any`") && wrong.contains("2 mistakes"), "{wrong}");
}

/// What the schema says of its fields is so: all but those that it tells of cost as many calls for many orders as for few.
#[tokio::test]
async fn what_is_asked_for_one_by_one_is_told_and_nothing_else_is() {
    let told = gateway::graphql::one_by_one(&bff_mobile::sdl()).unwrap();
    assert_eq!(told, ["Consumer.orders asks a service once for each item of Query.orders"]);
    let mobile = Mobile::start().await;
    let orders = |consumer: i64, many: i64| {
        (0..many).map(move |n| {
            let id = consumer * 100 + n;
            json!({"orderId": id, "consumerId": consumer, "restaurantId": id, "lineItems": []})
        })
    };
    let all: Vec<Value> = orders(777, 2).chain(orders(778, 30)).collect();
    let restaurants = all.iter().map(|order| json!({"id": order["restaurantId"], "name": "R"}));
    mobile.seed(&json!({
        "consumers": [{"consumerId": 777}, {"consumerId": 778}],
        "restaurants": restaurants.collect::<Vec<_>>(),
        "orders": all,
    }));
    let mut calls = Vec::new();
    for (consumer, many) in [(777, 2), (778, 30)] {
        let before = mobile.asked();
        let query = format!("{{ orders(consumerId: {consumer}) {{ {EVERYTHING} }} }}");
        let answer = mobile.ask(&mobile.consumer(&consumer.to_string()), &query).await;
        assert_eq!(data(&answer)["orders"].as_array().unwrap().len(), many);
        calls.push(mobile.asked() - before);
    }
    assert_eq!(calls[0], calls[1], "{calls:?}");
}
