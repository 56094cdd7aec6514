//! Ids of 64 bits, in every way an app may write them.

use serde_json::{Value, json};

use crate::{
    harness::JOHN,
    mobile::{Mobile, data, errors},
};

/// Beyond what a double holds.
const BIG: i64 = 9_007_199_254_740_993;

/// Orders of the same ids as their consumers.
async fn mobile() -> Mobile {
    let mobile = Mobile::start().await;
    let john: i64 = JOHN.parse().unwrap();
    mobile.seed(&json!({
        "consumers": [{"consumerId": BIG, "name": {"firstName": "Big", "lastName": "Id"}}],
        "orders": [{"orderId": BIG, "consumerId": BIG}, {"orderId": john, "consumerId": john}],
    }));
    mobile
}

/// Every document and variables that name this id.
fn forms(id: i64) -> Vec<(String, Value)> {
    let body = |id: &str| {
        format!(
            "{{ order(orderId: {id}) {{ orderId consumerId }} consumer(consumerId: {id}) {{ id }} \
             orders(consumerId: {id}) {{ orderId }} \
             orderHistory(consumerId: {id}) {{ nodes {{ orderId }} }} }}"
        )
    };
    let mut forms = vec![(body(&id.to_string()), json!({})), (body(&format!("\"{id}\"")), json!({}))];
    for declared in ["Int!", "ID!"] {
        let query = format!("query($id: {declared}) {}", body("$id"));
        forms.push((query.clone(), json!({ "id": id })));
        forms.push((query, json!({"id": id.to_string()})));
    }
    forms
}

fn names_everywhere(data: &Value, id: i64) {
    let id = json!(id.to_string());
    assert_eq!(data["order"], json!({"orderId": id, "consumerId": id}));
    assert_eq!(data["consumer"], json!({ "id": id }));
    for list in [&data["orders"], &data["orderHistory"]["nodes"]] {
        assert!(list.as_array().unwrap().contains(&json!({ "orderId": id })), "{list}");
    }
}

#[tokio::test]
async fn an_id_of_any_size_is_taken_in_every_form() {
    let mobile = mobile().await;
    for id in [JOHN.parse().unwrap(), BIG] {
        let token = mobile.consumer(&id.to_string());
        for (query, variables) in forms(id) {
            let posted = mobile.ask_with(&token, &query, variables.clone()).await;
            names_everywhere(data(&posted), id);
            let got = mobile.get(&token, &query, &variables).send().await.expect(200).json();
            names_everywhere(data(&got), id);
        }
    }
}

#[tokio::test]
async fn an_id_inside_an_input_may_be_declared_as_a_number_too() {
    let mobile = mobile().await;
    let token = mobile.consumer(&BIG.to_string());
    let forms = [("Int!", false), ("Int!", true), ("ID!", false), ("ID!", true)];
    for (id, (declared, as_text)) in (BIG + 2..).zip(forms) {
        mobile.seed(&json!({"orders": [{"orderId": id, "consumerId": BIG}]}));
        let query = format!(
            "mutation($id: {declared}) {{ cancelOrder(input: {{orderId: $id}}) {{ orderId consumerId }} }}"
        );
        let value = if as_text { json!(id.to_string()) } else { json!(id) };
        let answer = mobile.ask_with(&token, &query, json!({ "id": value })).await;
        let expected = json!({"orderId": id.to_string(), "consumerId": BIG.to_string()});
        assert_eq!(data(&answer)["cancelOrder"], expected);
    }
    assert_eq!(mobile.writes(), 4);
}

#[tokio::test]
async fn a_malformed_id_is_the_clients_mistake() {
    let mobile = mobile().await;
    let token = mobile.john();
    for wrong in
        ["abc", "1.5", "", " 1", "-1", "+1", "0x10", "9223372036854775808", "1,2", "99/cancel", "99?x"]
    {
        for declared in ["Int!", "ID!"] {
            let query = format!("query($id: {declared}) {{ order(orderId: $id) {{ state }} }}");
            let answer = mobile.ask_with(&token, &query, json!({ "id": wrong })).await;
            assert_eq!(errors(&answer), ["order BAD_USER_INPUT"], "{wrong:?}: {answer}");
        }
        let literal = format!("{{ order(orderId: {}) {{ state }} }}", json!(wrong));
        assert_eq!(errors(&mobile.ask(&token, &literal).await), ["order BAD_USER_INPUT"], "{wrong:?}");
    }
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn a_value_that_cannot_be_an_id_is_the_clients_mistake() {
    let mobile = mobile().await;
    let query = "query($id: ID!) { order(orderId: $id) { state } }";
    for wrong in [json!(1.5), json!(true), json!([1]), json!({"id": 1}), json!(-1), json!(u64::MAX)] {
        let answer = mobile.ask_with(&mobile.john(), query, json!({ "id": wrong })).await;
        let told = errors(&answer);
        assert!(told.len() == 1 && told[0].ends_with(" BAD_USER_INPUT"), "{wrong}: {answer}");
    }
    assert_eq!(mobile.asked(), 0);
}

#[tokio::test]
async fn a_node_id_leads_back_to_its_node() {
    let mobile = mobile().await;
    let token = mobile.consumer(&BIG.to_string());
    let query =
        format!("{{ order(orderId: {BIG}) {{ nodeId consumer {{ nodeId }} restaurant {{ nodeId }} }} }}");
    let answer = mobile.ask(&token, &query).await;
    let order = &data(&answer)["order"];
    let back = "query($o: ID!, $c: ID!, $r: ID!) { o: node(nodeId: $o) { ... on Order { orderId } } \
         c: node(nodeId: $c) { ... on Consumer { id } } r: node(nodeId: $r) { ... on Restaurant { id } } }";
    let ids =
        json!({"o": order["nodeId"], "c": order["consumer"]["nodeId"], "r": order["restaurant"]["nodeId"]});
    let big = BIG.to_string();
    let expected = json!({"o": {"orderId": big}, "c": {"id": big}, "r": {"id": "1"}});
    assert_eq!(*data(&mobile.ask_with(&token, back, ids).await), expected);
    let wrong = mobile.ask(&token, "{ node(nodeId: \"T3JkZXI\") { nodeId } }").await;
    assert_eq!(errors(&wrong), ["node BAD_USER_INPUT"]);
}
