//! Documents and requests that are made to cost much: each is refused, and no service is asked.
//!
//! What each costs is told by the ignored test, in a build with optimizations.

use std::{fmt::Write, fs, time::Duration};

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
#[expect(clippy::too_many_lines, reason = "a table")]
fn attacks() -> Vec<(&'static str, String, u16)> {
    let document = |query: String| json!({ "query": query }).to_string();
    let nested = |open: &str, close: &str, levels: usize| open.repeat(levels) + &close.repeat(levels);
    let batch = |many: usize| format!("[{}]", vec![r#"{"query":"{a}"}"#; many].join(","));
    let variables = |values: usize| {
        format!(r#"{{"query":"{{__typename}}","variables":{{"a":[{}]}}}}"#, vec!["[]"; values].join(","))
    };
    let deep = format!(r#"{{"query":"{{__typename}}","variables":{{"a":{}}}}}"#, nested("[", "]", 10_000));
    let name = " restaurant(restaurantId: 1) { name }";
    let arguments = |many: usize| (0..many).fold(String::new(), |all, n| format!("{all} a{n}: 1"));
    let operations = |many: usize, below: &str| {
        let fragment = format!("fragment F on Query {{ {below} }}");
        (0..many).fold(fragment, |all, n| format!("{all} query Q{n} {{ ...F }}"))
    };
    let spread = |fragment: &str, many: usize| {
        let spreads = " ...F".repeat(many);
        format!("{{ restaurant(restaurantId: 1) {{{spreads} }} }} fragment F on Restaurant {{ {fragment} }}")
    };
    let sent = |value: String| {
        let query = "query($i: [String!]) { restaurant(restaurantId: 1) { name(x: $i) } }";
        format!(r#"{{"query":"{query}","variables":{{"i":{value}}}}}"#)
    };
    let more = vec![
        (
            "fragments of an interface that double 30 times",
            document(
                doubling(30)
                    .replace("on Restaurant", "on Node")
                    .replace("restaurant(restaurantId", "node(nodeId"),
            ),
            200,
        ),
        (
            "fragments with directives that double 30 times",
            document(doubling(30).replace(" ...F", " ...@include(if: true) { __typename } ...F")),
            200,
        ),
        (
            "300 arguments against 480 fields without",
            document(format!("{{ a({}) {} }}", arguments(300), " a".repeat(480))),
            200,
        ),
        (
            "30 arguments in each of 20 equal fields",
            document(format!("{{ {} }}", format!("a({})", arguments(30)).repeat(20))),
            200,
        ),
        ("700 unknown arguments", document(format!("{{ order({}) {{ state }} }}", arguments(660))), 200),
        (
            "100 operations over one fragment",
            document(operations(100, &format!("order({}) {{ state }}", arguments(300)))),
            200,
        ),
        (
            "20 operations with 300 unknown variables",
            document(operations(
                20,
                &format!("order({}) {{ state }}", arguments(300).replace(": 1", ": $x")),
            )),
            200,
        ),
        (
            "one fragment with 1,000 tokens spread 200 times",
            document(spread(&format!("name({})", arguments(300)), 200)),
            200,
        ),
        (
            "480 unknown fields",
            document(format!("{{ restaurant(restaurantId: 1) {{ {} }} }}", " zzz".repeat(480))),
            200,
        ),
        (
            "fragments within 30 fragments over 400 fields",
            document(format!(
                "{{ restaurant(restaurantId: 1) {}{{ {} zzz }}{} }}",
                "{ ... ".repeat(30),
                "name ".repeat(400),
                " }".repeat(30)
            )),
            200,
        ),
        ("60 levels that do not end", document("{a ".repeat(60)), 200),
        ("60 fragments that do not end", document("{...".repeat(60)), 200),
        ("60 lists that do not end", document(format!("{{a(b:{}", "[".repeat(60))), 200),
        ("60 objects that do not end", document(format!("{{a(b:{}", "{a:".repeat(60))), 200),
        (
            "objects in 60 objects",
            document(format!("{{ order(orderId: {}1{}) {{ state }} }}", "{a:".repeat(60), "}".repeat(60))),
            200,
        ),
        (
            "1,900 literals in a list",
            document(format!("{{ order(orderId: [{}]) {{ state }} }}", "1 ".repeat(1_900))),
            200,
        ),
        (
            "a string of 15,000 escapes",
            document(format!("{{ order(orderId: \"{}\") {{ x }} }}", "\\n".repeat(15_000))),
            200,
        ),
        (
            "a block string of 15,000 lines",
            document(format!("{{ order(orderId: \"\"\"{}\"\"\") {{ x }} }}", "\n ".repeat(15_000))),
            200,
        ),
        ("20,000 lines of comments", document(format!("{{ a {} }}", "#\n".repeat(15_000))), 200),
        ("60,000 commas", document(format!("{{ a {} }}", ",".repeat(60_000))), 200),
        (
            "a number of 60,000 digits",
            document(format!("{{ order(orderId: {}) {{ state }} }}", "9".repeat(60_000))),
            200,
        ),
        ("990 values of the wrong type", sent(format!("[{}]", vec!["{}"; 990].join(","))), 200),
        ("objects in 100 objects of variables", sent("{\"a\":".repeat(100) + "1" + &"}".repeat(100)), 200),
        (
            "a key of variables 60,000 long",
            format!(r#"{{"query":"{{a}}","variables":{{"{}":1}}}}"#, "k".repeat(60_000)),
            200,
        ),
        (
            "500 variables",
            document(format!(
                "query({}) {{ a }}",
                (0..390).fold(String::new(), |all, n| format!("{all} $v{n}: I"))
            )),
            200,
        ),
    ];
    let mut all = vec![
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
    ];
    all.extend(more);
    all
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

/// What all threads of this process have taken of the processors.
fn spent() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    let spent = stats.filter_map(|stat| stat.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(spent.sum())
}

/// How much memory this process holds, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let row = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    row.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In time of the processors, the least of 20, with the client's own and that of the connection.
#[tokio::test]
#[ignore = "a measurement"]
async fn what_each_costs() {
    let mobile = Mobile::offering("{ max_batch: 10 }").await;
    let mut before = resident();
    for (name, body, _) in attacks() {
        let (mut least, mut length) = (Duration::MAX, 0);
        for n in 0..20 {
            let ask = mobile.gate.ask("POST", "/graphql").header("content-type", "application/json");
            let body = body.clone() + &" ".repeat(n);
            let begin = spent();
            let answer = ask.body(body).send().await;
            length = answer.bytes().len();
            least = least.min(spent() - begin);
        }
        let held = resident();
        let grown = held.saturating_sub(before);
        before = held;
        println!("{:>9.3} ms {length:>7} B answered {grown:>7} KiB more  {name}", least.as_secs_f64() * 1e3);
    }
}
