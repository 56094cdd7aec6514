//! Parts that need other parts, look-ups for each element of a list, conditions, and answers of another shape.
//!
//! Not here: parts that need nothing of each other (`composition.rs`).

use std::time::{Duration, Instant};

use ftgo::stubs::{Stubs, service::Service};
use serde_json::{Value, json};

use crate::{
    client::Answer,
    harness::{Ftgo, Gate, JOHN, MARY, stubs, until, web_yaml},
};

/// A gateway before `stubs` with one open route `/it/{id}` of these lines.
pub(crate) fn composing(stubs: &Stubs, lines: &str) -> Gate {
    let upstream = |service: &Service| {
        format!(
            "  {}: {{ url: \"http://{}\", retry: {{ attempts: 1 }} }}\n",
            service.name(),
            stubs.address(*service)
        )
    };
    let upstreams: String = Service::ALL.iter().map(upstream).collect();
    let lines: String = lines.trim().lines().map(|line| format!("    {line}\n")).collect();
    Gate::start(&format!(
        "upstreams:\n{upstreams}loaders:\n  restaurants: {{ get: \"restaurant/restaurants?ids={{keys}}\", key: id }}\n\
         routes:\n  - path: /it/{{id}}\n    auth: none\n    timeout: 3s\n{lines}"
    ))
}

/// Makes a service answer this.
async fn says(stubs: &Stubs, service: Service, body: &str) {
    let answer = json!({"status": 200, "headers": {"content-type": "application/json"}, "body": body});
    stubs.faults().set(service, json!({ "fault": answer })).await.unwrap();
}

fn total(stubs: &Stubs, service: Service) -> u64 {
    stubs.recorder().counts(service).total
}

/// `Composition-Status` without times.
pub(crate) fn told(answer: &Answer) -> String {
    let member = |member: &str| member.split(";t=").next().unwrap_or_default().to_owned();
    answer.header("composition-status").split(", ").map(member).collect::<Vec<_>>().join(", ")
}

const DIAMOND: &str = r#"
compose:
  a: { get: "order/orders/{id}" }
  b: { get: "kitchen/tickets/{a.orderId}" }
  c: { get: "delivery/deliveries/{a.orderId}" }
  d: { get: "accounting/bills/{b.orderId}", needs: [c] }
"#;
const FOUR: [Service; 4] = [Service::Order, Service::Kitchen, Service::Delivery, Service::Accounting];

#[tokio::test]
async fn a_diamond_takes_as_long_as_its_longest_way() {
    let stubs = stubs();
    let gate = composing(&stubs, DIAMOND);
    for service in FOUR {
        stubs.faults().set(service, json!({"latency": "50ms"})).await.unwrap();
    }
    // A machine that is busy elsewhere is late by itself: what the gateway adds shows in the best go.
    let mut medians = Vec::new();
    while medians.len() < 10 && medians.last().is_none_or(|median| *median >= Duration::from_millis(165)) {
        let mut took = Vec::new();
        for _ in 0..20 {
            let begun = Instant::now();
            let answer = gate.get("/it/99").send().await.expect(200);
            took.push(begun.elapsed());
            assert_eq!(told(&answer), "a;s=ok, b;s=ok, c;s=ok, d;s=ok");
            assert_eq!(answer.json()["d"]["orderId"], 99);
        }
        took.sort_unstable();
        assert!(took[0] >= Duration::from_millis(150), "{took:?}");
        medians.push(took[10]);
    }
    println!("p50 of a diamond: {medians:?}");
    assert!(medians.iter().any(|median| *median < Duration::from_millis(165)), "{medians:?}");
}

#[tokio::test]
async fn what_needs_the_same_runs_side_by_side_and_all_ends_with_the_client() {
    let stubs = stubs();
    let gate = composing(&stubs, DIAMOND);
    for service in [Service::Kitchen, Service::Delivery] {
        stubs.faults().set(service, json!({"fault": "hang"})).await.unwrap();
    }
    let asking = tokio::spawn(gate.get("/it/99").send());
    let counts = |service| stubs.recorder().counts(service);
    until("both run", || counts(Service::Kitchen).in_flight == 1 && counts(Service::Delivery).in_flight == 1)
        .await;
    asking.abort();
    until("both end", || counts(Service::Kitchen).cancelled == 1 && counts(Service::Delivery).cancelled == 1)
        .await;
    assert_eq!(total(&stubs, Service::Accounting), 0, "what it needs was never there");
}

#[tokio::test]
async fn a_value_stays_one_segment_and_what_is_none_is_never_asked_for() {
    let stubs = stubs();
    let gate = composing(
        &stubs,
        r#"
compose:
  a: { get: "order/orders/{id}" }
  b: { get: "restaurant/restaurants/{a.x}?of={a.x}", optional: true }"#,
    );
    for (x, asked) in [
        ("7", Some("/restaurants/7?of=7")),
        ("9007199254740993", Some("/restaurants/9007199254740993?of=9007199254740993")),
        ("true", Some("/restaurants/true?of=true")),
        (r#""a b&c=d?e""#, Some("/restaurants/a%20b%26c%3Dd%3Fe?of=a%20b%26c%3Dd%3Fe")),
        (r#""..""#, None),
        (r#""a/../b""#, None),
        (r#""""#, None),
        ("null", None),
        ("{}", None),
        ("[1]", None),
        ("1e400", None),
    ] {
        stubs.recorder().clear();
        says(&stubs, Service::Order, &format!(r#"{{"x":{x}}}"#)).await;
        let answer = gate.get("/it/1").send().await.expect(200);
        let seen = stubs.recorder().counts(Service::Restaurant).last;
        assert_eq!(seen.first().map(|seen| seen.path.as_str()), asked, "{x}");
        if asked.is_none() {
            assert_eq!(told(&answer), "a;s=ok, b;s=missing;reason=malformed", "{x}");
        }
    }
    says(&stubs, Service::Order, "{}").await;
    let answer = gate.get("/it/1").send().await.expect(200);
    assert_eq!(
        (told(&answer).as_str(), answer.bytes().as_ref()),
        ("a;s=ok, b;s=missing;reason=malformed", &b"{\"a\":{}}"[..])
    );
}

#[tokio::test]
async fn without_what_it_needs_a_part_is_skipped_and_so_is_what_needs_that() {
    let stubs = stubs();
    let gate = composing(
        &stubs,
        r#"
compose:
  a: { get: "order/orders/{id}", optional: true }
  b: { get: "kitchen/tickets/{a.orderId}", optional: true }
  c: { get: "accounting/bills/{id}", needs: [b], optional: true }
  d: { get: "delivery/deliveries/{id}?q={query.q}", optional: true }"#,
    );
    stubs.faults().set(Service::Order, json!({"fault": {"status": 500}})).await.unwrap();
    let answer = gate.get("/it/99").send().await.expect(200);
    assert_eq!(answer.bytes(), "{}");
    let expected = "a;s=missing;reason=status;code=500, b;s=skipped, c;s=skipped, d;s=skipped";
    assert_eq!(told(&answer), expected);
    assert_eq!(
        [Service::Kitchen, Service::Accounting, Service::Delivery].map(|one| total(&stubs, one)),
        [0; 3]
    );
}

#[tokio::test]
async fn what_a_required_part_needs_of_the_client_is_told() {
    let stubs = stubs();
    let gate = composing(&stubs, "compose:\n  a: { get: \"order/orders/{id}?of={query.of}\" }");
    gate.get("/it/99?of=a%26b").send().await.expect(200);
    assert_eq!(stubs.recorder().counts(Service::Order).last[0].path, "/orders/99?of=a%26b");
    assert_eq!(gate.get("/it/99").send().await.expect(400).code(), "missing_input");
    assert_eq!(gate.get("/it/99?of=1&of=2").send().await.expect(400).code(), "missing_input");
    assert_eq!(total(&stubs, Service::Order), 1);
}

#[tokio::test]
async fn a_part_is_asked_for_when_its_condition_holds() {
    let stubs = stubs();
    let gate = composing(
        &stubs,
        r#"
compose:
  a: { get: "order/orders/{id}" }
  b: { get: "accounting/bills/{id}", when: "query.expand == 'bill'" }
  c: { get: "kitchen/tickets/{id}", when: "a.state == 'APPROVED'" }"#,
    );
    for (query, state, expected) in [
        ("", "APPROVED", "a;s=ok, b;s=skipped, c;s=ok"),
        ("?expand=bill", "REJECTED", "a;s=ok, b;s=ok, c;s=skipped"),
        ("?expand=bill&expand=bill", "", "a;s=ok, b;s=skipped, c;s=skipped"),
    ] {
        says(&stubs, Service::Order, &json!({"state": state}).to_string()).await;
        let answer = gate.get(&format!("/it/99{query}")).send().await.expect(200);
        assert_eq!(told(&answer), expected, "{query}");
        let skipped = ["b", "c"].map(|part| answer.json().get(part).is_none());
        assert_eq!(skipped, ["b", "c"].map(|part| expected.contains(&format!("{part};s=skipped"))));
    }
}

fn page(orders: usize, restaurants: usize) -> String {
    let order = |number: usize| {
        format!(r#"{{"orderId":9007199254740993,"x":1e400,"restaurantId":"{}"}}"#, number % restaurants + 1)
    };
    let orders: Vec<String> = (0..orders).map(order).collect();
    format!(r#"{{"orders":[{}],"startKey":null}}"#, orders.join(","))
}

const BULK: &str = r#"
compose:
  h: { get: "order-history/orders?consumerId={id}" }
  r: { each: h.orders, key: restaurantId, from: restaurants, into: restaurant, optional: true }"#;
const SINGLY: &str = r#"
compose:
  h: { get: "order-history/orders?consumerId={id}" }
  r: { each: h.orders, key: restaurantId, get: "restaurant/restaurants/{key}", into: restaurant, at_once: 3, optional: true }"#;

#[tokio::test]
async fn ten_keys_in_a_hundred_elements_are_one_bulk_call() {
    let stubs = stubs();
    let gate = composing(&stubs, BULK);
    says(&stubs, Service::OrderHistory, &page(100, 10)).await;
    let all: Vec<String> =
        (1..=9).map(|id| format!(r#"{{"id":{id},"n":9007199254740993,"x":1e400}}"#)).collect();
    says(&stubs, Service::Restaurant, &format!("[{}]", all.join(","))).await;
    let answer = gate.get("/it/1").send().await.expect(200);
    assert_eq!(total(&stubs, Service::Restaurant), 1);
    assert_eq!(told(&answer), "h;s=ok, r;s=ok;unknown=1");
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    assert_eq!(text.matches(r#","restaurant":{"id":"#).count(), 90);
    assert!(text.starts_with(
        r#"{"h":{"orders":[{"orderId":9007199254740993,"x":1e400,"restaurantId":"1","restaurant":{"id":1,"n":9007199254740993,"x":1e400}}"#
    ), "{text}");
}

#[tokio::test]
async fn ten_keys_in_a_hundred_elements_are_ten_single_calls_and_never_more_than_three_at_once() {
    let stubs = stubs();
    let gate = composing(&stubs, SINGLY);
    says(&stubs, Service::OrderHistory, &page(100, 10)).await;
    let answer =
        json!({"status": 200, "headers": {"content-type": "application/json"}, "body": "{\"n\":1e400}"});
    let rules = json!([
        {"path": "/restaurants/4", "fault": {"status": 500}},
        {"path": "/restaurants/5", "fault": {"status": 404}},
        {"path": "/restaurants/*", "latency": "20ms", "fault": answer},
    ]);
    stubs.faults().set(Service::Restaurant, rules).await.unwrap();
    let answer = gate.get("/it/1").send().await.expect(200);
    let counts = stubs.recorder().counts(Service::Restaurant);
    assert_eq!((counts.total, counts.max_in_flight), (10, 3));
    assert_eq!(told(&answer), "h;s=ok, r;s=ok;reason=status;code=500;failed=1;unknown=1");
    let text = String::from_utf8(answer.bytes().to_vec()).unwrap();
    assert_eq!(text.matches(r#","restaurant":{"n":1e400}}"#).count(), 80);
}

#[tokio::test]
async fn a_join_that_cannot_be_leaves_the_list_as_it_is() {
    for (yaml, list, told_of_it) in [
        (BULK, r#"{"orders":null}"#.to_owned(), "missing;reason=malformed"),
        (BULK, r#"{"orders":[]}"#.to_owned(), "ok"),
        (BULK, r#"{"orders":[{"restaurantId":null},7,{}]}"#.to_owned(), "ok"),
        (BULK, page(201, 3), "missing;reason=too-large"),
        (BULK, page(3, 3), "missing;reason=status;code=500"),
        (SINGLY, page(3, 3), "missing;reason=status;code=500"),
        (SINGLY, r#"{"orders":[{"restaurantId":"../x"}]}"#.to_owned(), "missing;reason=malformed"),
    ] {
        let stubs = stubs();
        let gate = composing(&stubs, yaml);
        stubs.faults().set(Service::Restaurant, json!({"fault": {"status": 500}})).await.unwrap();
        says(&stubs, Service::OrderHistory, &list).await;
        let answer = gate.get("/it/1").send().await.expect(200);
        assert_eq!(told(&answer), format!("h;s=ok, r;s={told_of_it}"), "{list}");
        assert_eq!(answer.bytes(), &format!("{{\"h\":{list}}}"));
    }
}

#[tokio::test]
async fn a_required_join_that_fails_decides_the_answer() {
    let stubs = stubs();
    let gate = composing(&stubs, &SINGLY.replace(", optional: true", ""));
    says(&stubs, Service::OrderHistory, &page(5, 5)).await;
    let one = json!({"path": "/restaurants/2", "fault": {"status": 503}});
    stubs.faults().set(Service::Restaurant, one).await.unwrap();
    assert_eq!(gate.get("/it/1").send().await.expect(503).code(), "upstream_unavailable");
}

#[tokio::test]
async fn no_request_makes_more_calls_or_holds_more_than_it_may() {
    let stubs = stubs();
    says(&stubs, Service::OrderHistory, &page(20, 20)).await;
    says(&stubs, Service::Restaurant, &format!("{{\"a\":\"{}\"}}", "x".repeat(1_000))).await;
    let gate = composing(&stubs, &format!("{SINGLY}\nrespond: {{ max_calls: 11 }}"));
    let answer = gate.get("/it/1").send().await.expect(200);
    assert_eq!(
        (total(&stubs, Service::Restaurant), told(&answer).as_str()),
        (10, "h;s=ok, r;s=ok;reason=limit;failed=10")
    );
    let gate = composing(&stubs, &format!("{SINGLY}\nrespond: {{ max_held: 5KiB }}"));
    let answer = gate.get("/it/1").send().await.expect(200);
    assert_eq!(told(&answer), "h;s=ok, r;s=missing;reason=too-large");
    let gate = composing(&stubs, &format!("{SINGLY}\nrespond: {{ max_held: 100B }}"));
    gate.get("/it/1").send().await.expect(502);
}

#[tokio::test]
async fn an_answer_is_shaped_byte_for_byte() {
    let stubs = stubs();
    let gate = composing(
        &stubs,
        r#"
compose:
  a: { get: "order/orders/{id}" }
  b: { get: "kitchen/tickets/{id}", optional: true }
  l: { each: a.list, key: id, from: restaurants, into: there, optional: true }
respond:
  status: 203
  headers: { X-State: "{a.state}/{id}", X-None: "{a.none}", X-Bad: "{a.bad}" }
  body:
    id: a.deep.id
    list: a.list
    missing: b.x
    none: a.none
    nested: { fixed: { value: [1, { z: 1, a: x }] }, gone: b }
    both: { merge: [a.deep, a.more, b] }"#,
    );
    let order = r#"{ "deep": {"id":9007199254740993 ,"k":1e400,"k2":{"a":1,"a":2}}, "state":"NEW", "bad":"\n",
        "list":[{"id":1, "there":"old"}, {"id":2 }], "more":{"k":[ ],"z":0} }"#;
    says(&stubs, Service::Order, order).await;
    says(&stubs, Service::Restaurant, r#"[{"id":1,"n":1.0},{"id":2,"n":2.00}]"#).await;
    stubs.faults().set(Service::Kitchen, json!({"fault": {"status": 404}})).await.unwrap();
    let answer = gate.get("/it/99").send().await.expect(203);
    let expected = r#"{"id":9007199254740993,"list":[{"id":1, "there":{"id":1,"n":1.0}}, {"id":2 ,"there":{"id":2,"n":2.00}}],"nested":{"fixed":[1,{"z":1,"a":"x"}]},"both":{"id":9007199254740993,"k":[ ],"k2":{"a":1,"a":2},"z":0}}"#;
    assert_eq!(answer.bytes(), expected);
    assert_eq!(["x-state", "x-none", "x-bad"].map(|name| answer.header(name)), ["NEW/99", "", ""]);
    let gate = composing(&stubs, "compose:\n  a: { get: \"order/orders/{id}\" }\nrespond: { body: a.list }");
    assert_eq!(gate.get("/it/1").send().await.expect(200).bytes(), r#"[{"id":1, "there":"old"}, {"id":2 }]"#);
}

#[tokio::test]
async fn a_refusal_over_a_part_comes_before_what_depends_on_it_is_asked() {
    let ftgo = Ftgo::start().await;
    ftgo.get("/orders/99").token(&ftgo.consumer(MARY)).send().await.expect(404);
    assert_eq!(total(&ftgo.stubs, Service::Restaurant), 0);
    assert_eq!(total(&ftgo.stubs, Service::Order), 1);
    let answer = ftgo.get("/orders/99").token(&ftgo.consumer(JOHN)).send().await.expect(200);
    let id = answer.json()["orderInfo"]["restaurantId"].clone();
    assert_eq!(answer.json()["restaurantInfo"]["id"], id);
}

#[tokio::test]
async fn the_order_history_has_each_orders_restaurant_and_asks_only_for_those_that_are_not_kept() {
    let ftgo = Ftgo::start().await;
    let path = format!("/consumers/{JOHN}/orderhistory");
    let token = ftgo.consumer(JOHN);
    let orders: Vec<Value> =
        (1..=5).map(|id| json!({"orderId": "9", "restaurantId": id.to_string()})).collect();
    says(&ftgo.stubs, Service::OrderHistory, &json!({"orders": orders, "startKey": "k"}).to_string()).await;
    let get = || ftgo.get(&path).token(&token).send();
    let first = get().await.expect(200);
    assert_eq!(told(&first), "history;s=ok, restaurants;s=ok, consumer;s=ok");
    let body = first.json();
    assert_eq!(body["consumer"]["consumerId"].to_string(), JOHN);
    assert_eq!(
        (body["orders"][4]["restaurant"]["id"].clone(), body["startKey"].clone()),
        (json!(5), json!("k"))
    );
    assert_eq!(total(&ftgo.stubs, Service::Restaurant), 1);
    assert_eq!((get().await.expect(200).json(), total(&ftgo.stubs, Service::Restaurant)), (body.clone(), 1));
    let purged = "/cache?tag=restaurant:1&tag=restaurant:3&tag=restaurant:4";
    ftgo.gate.admin_ask("DELETE", purged).send().await.expect(200);
    assert_eq!(get().await.expect(200).json(), body);
    let counts = ftgo.stubs.recorder().counts(Service::Restaurant);
    assert_eq!((counts.total, counts.last[0].path.as_str()), (2, "/restaurants?ids=1,3,4"));
}

/// A second consumer, in all ways that some service may read as one.
const ANOTHER_CONSUMER: [&str; 6] = [
    "consumerId=1",
    "ConsumerID=1",
    "consumer%49d=1",
    "a=b;consumerId=1",
    "consumerId[]=1",
    "consumerId%00=1",
];

#[tokio::test]
async fn the_order_history_is_its_consumers_and_its_filters_go_on() {
    let ftgo = Ftgo::start().await;
    let path = format!("/consumers/{JOHN}/orderhistory");
    ftgo.get(&path).send().await.expect(401);
    ftgo.get(&path).token(&ftgo.consumer(MARY)).send().await.expect(403);
    assert_eq!(total(&ftgo.stubs, Service::OrderHistory), 0);
    let whole = ftgo.get(&path).token(&ftgo.support()).send().await.expect(200).json();
    assert!(whole["orders"].as_array().unwrap().len() > 1 && whole["startKey"].is_null(), "{whole}");
    let one =
        ftgo.get(&format!("{path}?pageSize=1&keywords=a%2Cb+c")).token(&ftgo.consumer(JOHN)).send().await;
    assert!(one.status == 200, "{one:?}");
    let asked = || ftgo.stubs.recorder().counts(Service::OrderHistory).last[0].path.clone();
    assert_eq!(asked(), format!("/orders?consumerId={JOHN}&pageSize=1&keywords=a%2Cb+c"));
    // Nobody gets another's orders by naming a second consumer, however it is spelt: the query is closed.
    let before = total(&ftgo.stubs, Service::OrderHistory);
    for other in ANOTHER_CONSUMER {
        let asking = ftgo.get(&format!("{path}?{other}&status=APPROVED")).token(&ftgo.consumer(JOHN));
        assert_eq!(asking.send().await.expect(400).code(), "invalid_request", "{other}");
    }
    assert_eq!(total(&ftgo.stubs, Service::OrderHistory), before, "nobody is asked for it");
    let bad = ftgo.get(&format!("{path}?pageSize=0")).token(&ftgo.consumer(JOHN)).send().await.expect(400);
    assert_eq!(bad.code(), "invalid_request");
}

#[tokio::test]
async fn a_query_that_goes_on_never_names_a_parameter_that_its_part_sets_itself() {
    let stubs = stubs();
    let gate =
        composing(&stubs, "compose:\n  history: { get: \"order-history/orders?consumerId={id}&{query}\" }");
    let asked = || stubs.recorder().counts(Service::OrderHistory).last[0].path.clone();
    for other in ANOTHER_CONSUMER {
        gate.get(&format!("/it/{JOHN}?{other}&status=APPROVED")).send().await.expect(200);
        assert_eq!(asked(), format!("/orders?consumerId={JOHN}&status=APPROVED"), "{other}");
        gate.get(&format!("/it/{JOHN}?{other}")).send().await.expect(200);
        assert_eq!(asked(), format!("/orders?consumerId={JOHN}"), "{other}");
    }
}

/// The optional parts of `GET /orders/{orderId}`.
const OPTIONAL: [(Service, &str); 4] = [
    (Service::Kitchen, "ticketInfo"),
    (Service::Delivery, "deliveryInfo"),
    (Service::Accounting, "billInfo"),
    (Service::Restaurant, "restaurantInfo"),
];

/// Every way to fail, how it is told, and what it makes of the answer where the part is required.
fn failures() -> [(Value, &'static str, u16); 7] {
    [
        (json!("refuse"), "refused", 502),
        (json!({"status": 500}), "status;code=500", 502),
        (json!({"status": 404}), "not-found", 404),
        (json!("hang"), "timeout", 504),
        (json!("malformed"), "malformed", 502),
        (json!({"truncate": 10}), "cut-short", 502),
        (json!("huge"), "too-large", 502),
    ]
}

/// The shipped configuration, with breakers that stay closed and shorter times.
fn patient(stubs: &Stubs) -> Gate {
    let mut yaml = web_yaml(stubs).replace("timeout: 1s }", "timeout: 200ms }").replace("1500ms", "700ms");
    for service in Service::ALL {
        let address = format!("{} }}", stubs.address(service));
        let patient = format!(
            "{}, circuit_breaker: {{ min_calls: 10000 }}, retry: {{ attempts: 1 }} }}",
            stubs.address(service)
        );
        yaml = yaml.replace(&address, &patient);
    }
    Gate::of(&yaml)
}

#[tokio::test]
async fn whatever_fails_in_whatever_way_the_rest_of_an_order_is_there_and_the_failure_is_told() {
    let stubs = stubs();
    let gate = patient(&stubs);
    until("the gateway has keys", || gate.ready()).await;
    let token = stubs.token(JOHN, &["consumer"], "orders:read");
    let whole = gate.get("/orders/99").token(&token).send().await.expect(200).json();
    for (fault, reason, refused) in failures() {
        for subset in 1_u8..16 {
            let fails = |index: usize| subset & (1 << index) != 0;
            for (index, (service, _)) in OPTIONAL.iter().enumerate() {
                match fails(index) {
                    true => stubs.faults().set(*service, json!({ "fault": fault })).await.unwrap(),
                    false => stubs.faults().heal(*service).await,
                }
            }
            let answer = gate.get("/orders/99").token(&token).send().await.expect(200);
            let (mut body, mut status) = (whole.clone(), "orderInfo;s=ok".to_owned());
            for (index, (_, part)) in OPTIONAL.iter().enumerate() {
                if fails(index) {
                    body.as_object_mut().unwrap().remove(*part);
                    status += &format!(", {part};s=missing;reason={reason}");
                } else {
                    status += &format!(", {part};s=ok");
                }
            }
            assert_eq!((told(&answer), answer.json()), (status, body), "{fault} {subset:04b}");
        }
        for (service, _) in OPTIONAL {
            stubs.faults().heal(service).await;
        }
        stubs.faults().set(Service::Order, json!({ "fault": fault })).await.unwrap();
        let answer = gate.get("/orders/99").token(&token).send().await.expect(refused);
        assert_eq!(answer.header("composition-status"), "", "an error tells nothing of parts");
        stubs.faults().heal(Service::Order).await;
    }
}
