//! Two users at once, by texts, hashes and batches, over everything that is kept: neither is ever shown what is the other's.
//!
//! Not here: who may see what (`mobile_rules.rs`).

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::mobile::{Mobile, offering};

const OWN: &str = "query Own($c: ID!, $o: ID!) { orders(consumerId: $c) { orderId consumerId restaurant { name } } \
     order(orderId: $o) { orderId consumerId bill { amount } consumer { id } } }";
const USERS: [i64; 2] = [777, 778];

/// Both have a restaurant in common, and ten orders each.
async fn two_users() -> Mobile {
    let mobile = Mobile::edited(&|yaml| {
        let unlimited = yaml.replace("1000/s", "1000000/s").replace("300/s", "1000000/s");
        offering(&unlimited, "{ max_batch: 4, persisted: {} }")
    })
    .await;
    let line = json!([{"menuItemId": "1", "name": "Soup", "price": "4.50", "quantity": 2}]);
    let order = |user: i64, n: i64| json!({"orderId": user * 100 + n, "consumerId": user, "restaurantId": 901, "lineItems": line});
    let orders = USERS.into_iter().flat_map(|user| (0..10).map(move |n| (user, n)));
    mobile.seed(&json!({
        "consumers": USERS.map(|user| json!({"consumerId": user})),
        "restaurants": [{"id": 901, "name": "R901"}],
        "orders": orders.map(|(user, n)| order(user, n)).collect::<Vec<_>>(),
    }));
    mobile
}

/// The same document by its text, with its hash, by its hash, in batches, and with what is the other's.
fn asked(n: i64, user: i64, other: i64) -> Value {
    let hash = digest(&SHA256, OWN.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    let by_hash = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
    let of = |user: i64| json!({"c": user.to_string(), "o": (user * 100 + n % 10).to_string()});
    let text = json!({"query": OWN, "variables": of(user)});
    let named = json!({"variables": of(user), "extensions": by_hash});
    match n % 5 {
        0 => text,
        1 => json!({"query": OWN, "variables": of(user), "extensions": by_hash}),
        2 => named,
        3 => json!([text, named, {"query": "{ restaurant(restaurantId: 901) { name } }"}]),
        _ => json!({"query": OWN, "variables": of(other)}),
    }
}

/// How many ids of users stand in an answer, and how many of them are the other's.
fn ids(answer: &Value, other: &str) -> (u32, u32) {
    let below = |all: &mut dyn Iterator<Item = &Value>| {
        all.map(|value| ids(value, other)).fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1))
    };
    match answer {
        Value::Array(items) => below(&mut items.iter()),
        Value::Object(fields) => below(&mut fields.values()),
        // The id of a user is three digits and that of an order five; a request's own id may begin with any.
        Value::String(text) => {
            let of = |user: &str| text == user || text.len() == 5 && text.starts_with(user);
            (u32::from(USERS.iter().any(|user| of(&user.to_string()))), u32::from(of(other)))
        }
        _ => (0, 0),
    }
}

async fn interleaved(requests: i64) {
    let mobile = two_users().await;
    let tokens = USERS.map(|user| mobile.consumer(&user.to_string()));
    let ask = |n: i64| {
        let (mobile, tokens) = (&mobile, &tokens);
        async move {
            let mine = usize::try_from(n / 5 % 2).unwrap();
            let (user, other) = (USERS[mine], USERS[1 - mine]);
            let answer = mobile.post(&tokens[mine], &asked(n, user, other)).send().await.expect(200).json();
            let (shown, leaked) = ids(&answer, &other.to_string());
            assert_eq!(leaked, 0, "{n}: {answer}");
            (n, shown)
        }
    };
    let answers: Vec<_> = stream::iter((0..requests).map(ask)).buffer_unordered(50).collect().await;
    // Who asks for what is the other's is shown nothing; of the others, at most those by hash came before the document.
    let foreign = answers.iter().filter(|(n, shown)| n % 5 == 4 && *shown > 0).count();
    let empty = answers.iter().filter(|(n, shown)| n % 5 != 4 && *shown < 20).count();
    assert!(foreign == 0 && empty < 100, "{foreign} were shown what is not theirs, {empty} lacked their own");
    println!(
        "{requests} requests, {} ids of users were shown, all their own",
        answers.iter().map(|(_, shown)| shown).sum::<u32>()
    );
}

#[tokio::test]
async fn of_two_users_neither_is_shown_what_is_the_others() {
    interleaved(500).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn of_two_users_neither_is_shown_what_is_the_others_in_10_000_requests() {
    interleaved(10_000).await;
}
