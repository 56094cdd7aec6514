//! Documents and requests that are made to cost much: each is refused, and no service is asked.
//!
//! What each costs is told by the ignored test, in a build with optimizations.

use std::{fmt::Write, time::Instant};

use serde_json::json;

use crate::mobile::{Mobile, errors};

/// Fragments, each of which spreads the next one twice.
fn doubling(levels: usize) -> String {
    let mut query = "{ restaurant(restaurantId: 1) { ...F0 } }".to_owned();
    for n in 0..levels {
        write!(query, " fragment F{n} on Restaurant {{ ...F{next} ...F{next} }}", next = n + 1).unwrap();
    }
    write!(query, " fragment F{levels} on Restaurant {{ name }}").unwrap();
    query
}

/// Fragments, each of which spreads the next one, and the last the first.
fn circle(levels: usize) -> String {
    let mut query = "{ restaurant(restaurantId: 1) { ...F0 } }".to_owned();
    for n in 0..levels {
        write!(query, " fragment F{n} on Restaurant {{ ...F{} }}", (n + 1) % levels).unwrap();
    }
    query
}

fn repeated(what: &str, times: usize) -> String {
    let mut query = "{".to_owned();
    (0..times).for_each(|n| query.push_str(&what.replace("{n}", &n.to_string())));
    query + " }"
}

/// What each is called, its body, and which status it ends in.
fn attacks() -> Vec<(&'static str, String, u16)> {
    let document = |query: String| json!({ "query": query }).to_string();
    let nested = |open: &str, close: &str, levels: usize| open.repeat(levels) + &close.repeat(levels);
    let batch = |many: usize| format!("[{}]", vec![r#"{"query":"{a}"}"#; many].join(","));
    let variables = |values: usize| {
        format!(r#"{{"query":"{{__typename}}","variables":{{"a":[{}]}}}}"#, vec!["[]"; values].join(","))
    };
    let deep = format!(r#"{{"query":"{{__typename}}","variables":{{"a":{}}}}}"#, nested("[", "]", 10_000));
    let name = " restaurant(restaurantId: 1) { name }";
    vec![
        ("fragments that double 30 times", document(doubling(30)), 200),
        (
            "fragments that double to an unknown one",
            document(doubling(30).replace("Restaurant { name }", "Restaurant { ...X }")),
            200,
        ),
        ("a circle of one fragment", document(circle(1)), 200),
        ("a circle of 150 fragments", document(circle(150)), 200),
        ("10,000 aliases", document(repeated(" a{n}: __typename", 10_000)), 413),
        ("6,000 aliases", document(repeated(" a{n}:a", 6_000)), 200),
        ("400 aliases", document(repeated(" a{n}: __typename", 400)), 200),
        ("10,000 directives", document(repeated(" @x", 10_000).replace("{ @", "{ a @")), 200),
        ("600 directives", document(repeated(" @skip(if: false)", 300).replace("{ @", "{ a @")), 200),
        ("100,000 levels", document(nested("{a", "}", 100_000)), 413),
        ("10,000 levels", document(nested("{a", "}", 10_000)), 200),
        ("60 levels", document(nested("{a", "}", 60)), 200),
        ("lists in 10,000 lists", document(format!("{{ a(b: {}) }}", nested("[", "]", 10_000))), 200),
        ("600 fields of the operation", document(repeated(" __typename", 600)), 200),
        ("60 fields of the operation", document(repeated(name, 60)), 200),
        ("one name 60,000 long", document(format!("{{ {} }}", "a".repeat(60_000))), 200),
        ("10 MB of variables", variables(3_300_000), 413),
        ("20,000 values", variables(20_000), 400),
        ("values in 10,000 lists", deep, 400),
        ("10,000 in a batch", batch(10_000), 413),
        ("4,000 in a batch", batch(4_000), 400),
    ]
}

#[tokio::test]
async fn what_is_made_to_cost_much_is_refused_and_asks_nobody() {
    for mobile in [Mobile::start().await, Mobile::offering("{ max_batch: 10, persisted: {} }").await] {
        for (name, body, status) in attacks() {
            let ask = mobile.gate.ask("POST", "/graphql").header("content-type", "application/json");
            let answer = ask.body(body).send().await;
            assert_eq!(answer.status, status, "{name}: {answer:?}");
            let told = answer.json();
            if status == 413 {
                assert_eq!(answer.code(), "body_too_large", "{name}");
            } else {
                assert!(!errors(&told).is_empty() && told.get("data").is_none(), "{name}: {told}");
            }
        }
        assert_eq!(mobile.asked(), 0);
    }
}

/// As seen by a client on the same machine, the least of 20: parsing and validation included.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_each_costs() {
    let mobile = Mobile::offering("{ max_batch: 10 }").await;
    for (name, body, _) in attacks() {
        let mut least = f64::MAX;
        for n in 0..20 {
            let ask = mobile.gate.ask("POST", "/graphql").header("content-type", "application/json");
            let body = body.clone() + &" ".repeat(n);
            let begin = Instant::now();
            ask.body(body).send().await;
            least = least.min(begin.elapsed().as_secs_f64());
        }
        println!("{:>9.3} ms  {name}", least * 1e3);
    }
}
