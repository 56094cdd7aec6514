//! Limits of one gateway: by what they count, what they charge, and what clients are told.

use std::process::Command;

use crate::{
    client::Answer,
    harness::{Gate, stubs},
    mobile::{Mobile, offering},
};
use ftgo::stubs::service::Service;
use serde_json::json;

/// A gateway with these limits and these lines of its only route.
fn gate(limits: &str, route: &str) -> (ftgo::stubs::Stubs, Gate) {
    let stubs = stubs();
    let restaurant = stubs.address(Service::Restaurant);
    let gate = Gate::start(&format!(
        "upstreams: {{ restaurant: {{ url: \"http://{restaurant}\" }} }}\nlimits:\n{limits}routes:\n  \
         - path: /{{city}}/menu\n    auth: none\n    forward: {{ to: restaurant, path: /restaurants/1 }}\n{route}"
    ));
    (stubs, gate)
}

fn standing(answer: &Answer) -> (&str, &str) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[tokio::test]
async fn values_of_a_header_field_are_counted_apart_and_without_one_the_address_is() {
    let (_stubs, gate) =
        gate("  tenant: { rate: 2/h, by: { header: X-Tenant } }\n", "    limits: [tenant]\n");
    let status = async |tenant: &str| gate.get("/a/menu").header("x-tenant", tenant).send().await.status;
    assert_eq!([status("a").await, status("a").await, status("a").await], [200, 200, 429]);
    assert_eq!(status("b").await, 200);
    for expected in [200, 200, 429] {
        gate.get("/a/menu").send().await.expect(expected);
    }
}

#[tokio::test]
async fn values_of_a_path_parameter_are_counted_apart_however_they_are_escaped() {
    let (_stubs, gate) = gate("  city: { rate: 2/h, by: { path: city } }\n", "    limits: [city]\n");
    gate.get("/oslo/menu").send().await.expect(200);
    gate.get("/%6Fslo/menu").send().await.expect(200);
    gate.get("/osl%6f/menu").send().await.expect(429);
    gate.get("/rome/menu").send().await.expect(200);
    // Also what is no UTF-8.
    for (city, status) in [("%ffslo", 200), ("%FFsl%6f", 200), ("%FFslo", 429), ("%feslo", 200)] {
        gate.get(&format!("/{city}/menu")).send().await.expect(status);
    }
}

#[tokio::test]
async fn clients_are_told_how_they_stand_on_answers_of_any_kind() {
    let limits = "  browse: { rate: 100/s, burst: 3, by: address, count: cost }\n  \
                  day: { rate: 5/day, by: address }\n  quiet: { rate: 9/s, by: address, headers: false }\n";
    let (_stubs, gate) = gate(limits, "    limits: [browse, day, quiet]\n    cost: 3\n");
    let answer = gate.get("/a/menu").send().await.expect(200);
    let policy = r#""browse";q=100;w=1, "day";q=5;w=86400"#;
    assert_eq!(standing(&answer), (policy, r#""browse";r=0;t=1, "day";r=4;t=17280"#));
    let refused = gate.get("/a/menu").send().await.expect(429);
    assert_eq!(standing(&refused).0, policy);
    assert!(standing(&refused).1.starts_with(r#""browse";r="#), "{refused:?}");
    assert_eq!((refused.header("retry-after"), refused.code().as_str()), ("1", "rate_limited"));
    let unlimited = gate.get("/nothing").send().await.expect(404);
    assert_eq!(standing(&unlimited), ("", ""));
}

#[tokio::test]
async fn what_one_limit_refuses_counts_at_no_other() {
    let limits = "  wide: { rate: 10/h, by: address }\n  narrow: { rate: 2/h, by: { header: X-Tenant } }\n";
    let (_stubs, gate) = gate(limits, "    limits: [wide, narrow]\n");
    for expected in [200, 200, 429, 429, 429, 429] {
        gate.get("/a/menu").header("x-tenant", "a").send().await.expect(expected);
    }
    let other = gate.get("/a/menu").header("x-tenant", "b").send().await.expect(200);
    assert_eq!(other.header("ratelimit"), r#""wide";r=7;t=1080, "narrow";r=1;t=1800"#);
}

#[tokio::test]
async fn a_graphql_operation_costs_the_fields_of_its_answer_each_item_of_a_list_its_own() {
    let limit = "principal: { rate: 200/h, by: principal, count: cost }";
    let edited = |yaml: &str| yaml.replace("principal: { rate: 300/s, by: principal }", limit);
    let mobile = Mobile::edited(&|yaml| offering(&edited(yaml), "{ max_batch: 10, max_cost: 150 }")).await;
    let left = |answer: &Answer| {
        let told = answer.header("ratelimit").split(", ").last().unwrap_or_default().to_owned();
        told.strip_prefix(r#""principal";r="#).and_then(|told| told.split(';').next()).map(str::to_owned)
    };
    let send = async |body: serde_json::Value, status: u16, expected: &str| {
        let answer = mobile.post("", &body).send().await.expect(status);
        assert_eq!(left(&answer).as_deref(), Some(expected), "{body}");
        answer
    };
    send(json!({ "query": "{ __typename }" }), 200, "199").await;
    let batch = json!([{ "query": "{ a: __typename b: __typename }" }, { "query": "{ __typename" }]);
    send(batch, 200, "196").await; // two, and one for what is no document
    let query = "query($n: Int) { availableRestaurants(zip: \"94612\", first: $n) { nodes { id name } } }";
    let page = |n: u32| json!({"query": query, "variables": {"n": n}});
    send(page(5), 200, "184").await;
    send(page(50), 200, "82").await;
    let refused = send(page(50), 429, "82").await;
    assert_eq!(refused.code(), "rate_limited");
    // What is not executed costs as little as can be.
    send(page(75), 200, "81").await;
}

/// In a process of its own, so that nobody else's memory is counted.
#[test]
fn a_million_keys_take_no_more_memory_than_the_readme_says() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-limits")).arg("1000000").output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    println!("{told}");
    let grew = told.lines().find_map(|line| line.strip_prefix("grew by KiB: ")).expect("it says so");
    assert!(grew.parse::<u64>().unwrap() <= 10 << 10, "{told}");
}
