//! The contract's table of routes and callers, row by row: who is let in, and what the others are told.
//!
//! Not here: what a refusal gives away (`refusals.rs`), what services learn of a caller (`identity_headers.rs`).

use ftgo::stubs::{Stubs, backend::Backend, recorder::Seen, service::Service};
use serde_json::{Value, json};

use crate::{
    client::{Answer, Ask},
    harness::{Ftgo, Gate, JOHN, MARY, stubs, until},
};

/// Everything that a token can allow.
const ALL_SCOPES: &str = "consumers:read orders:read orders:write restaurants:write deliveries:write";

/// A `sub` and a role.
type Who = (&'static str, &'static str);

const SUPPORT: Who = ("support-1", "support");
/// Subs of no entity in the fixtures, one for each role.
const ROLES: [Who; 4] =
    [("1511300065929", "consumer"), ("restaurant-98", "restaurant"), ("courier-98", "courier"), SUPPORT];

/// One route of the contract.
struct Row {
    method: &'static str,
    path: &'static str,
    body: Value,
    scope: &'static str,
    /// Who may.
    owners: &'static [Who],
    /// What callers of the owners' roles are told who own something else.
    foreign: u16,
}

fn row(
    (method, path): (&'static str, &'static str),
    scope: &'static str,
    owners: &'static [Who],
    foreign: u16,
) -> Row {
    Row { method, path, body: json!({}), scope, owners, foreign }
}

impl Row {
    fn sending(self, body: Value) -> Row {
        Row { body, ..self }
    }
}

fn rows() -> Vec<Row> {
    let mut rows = order_rows();
    rows.extend(other_rows());
    rows
}

fn order_rows() -> Vec<Row> {
    const JOHNS: &[Who] = &[(JOHN, "consumer")];
    const READERS: &[Who] = &[(JOHN, "consumer"), ("restaurant-1", "restaurant"), SUPPORT];
    let order = json!({
        "consumerId": 1_511_300_065_921_u64, "restaurantId": 1, "deliveryTime": "2099-01-01T19:00:00",
        "deliveryAddress": {"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"},
        "lineItems": [{"menuItemId": "1", "quantity": 5}],
    });
    let revision = json!({"revisedOrderLineItems": [{"menuItemId": "1", "quantity": 10}]});
    vec![
        row(("GET", "/orders?consumerId=1511300065921"), "orders:read", &[(JOHN, "consumer"), SUPPORT], 403),
        row(("POST", "/orders"), "orders:write", JOHNS, 403).sending(order),
        row(("GET", "/orders/99"), "orders:read", READERS, 404),
        row(("POST", "/orders/99/cancel"), "orders:write", JOHNS, 404),
        row(("POST", "/orders/99/revise"), "orders:write", JOHNS, 404).sending(revision),
    ]
}

fn other_rows() -> Vec<Row> {
    const KITCHEN_1: &[Who] = &[("restaurant-1", "restaurant")];
    const KITCHEN_3: &[Who] = &[("restaurant-3", "restaurant")];
    let restaurant = json!({
        "name": "Curry House", "menu": {"menuItems": []},
        "address": {"street1": "1 Main Street", "city": "Oakland", "state": "CA", "zip": "94611"},
    });
    let menu = json!({"menuItems": [{"id": "1", "name": "Chicken Vindaloo", "price": "12.34"}]});
    let ready_by = json!({"readyBy": "2099-01-01T18:30:00"});
    let restaurant_1: &[Who] = &[("restaurant-1", "restaurant"), SUPPORT];
    let courier_1: &[Who] = &[("courier-1", "courier")];
    let courier_2: &[Who] = &[("courier-2", "courier")];
    let courier_7: &[Who] = &[("courier-7", "courier")];
    vec![
        row(("GET", "/consumers/1511300065921"), "consumers:read", &[(JOHN, "consumer"), SUPPORT], 403),
        row(("POST", "/restaurants"), "restaurants:write", &[SUPPORT], 403).sending(restaurant),
        row(("PUT", "/restaurants/1/menu"), "restaurants:write", restaurant_1, 403).sending(menu),
        row(("POST", "/tickets/99/accept"), "restaurants:write", KITCHEN_1, 404).sending(ready_by),
        row(("POST", "/tickets/105/preparing"), "restaurants:write", KITCHEN_1, 404),
        row(("POST", "/tickets/100/ready"), "restaurants:write", KITCHEN_3, 404),
        row(("POST", "/tickets/107/pickup"), "deliveries:write", courier_1, 404),
        row(("POST", "/deliveries/110/dropoff"), "deliveries:write", courier_2, 404),
        row(("POST", "/couriers/7/availability"), "deliveries:write", courier_7, 403)
            .sending(json!({"available": true})),
    ]
}

impl Row {
    fn ask(&self, ftgo: &Ftgo) -> Ask {
        let ask = ftgo.gate.ask(self.method, self.path);
        if self.method == "GET" { ask } else { ask.json(&self.body) }
    }

    async fn by(&self, ftgo: &Ftgo, (sub, role): Who, scope: &str) -> Answer {
        let token = ftgo.stubs.token(sub, &[role], scope);
        self.ask(ftgo).token(&token).send().await
    }

    #[track_caller]
    fn refused(&self, ftgo: &Ftgo, answer: &Answer, status: u16, why: &str) {
        assert_eq!(answer.status, status, "{} {} by {why}: {answer:?}", self.method, self.path);
        let seen = all_seen(ftgo);
        if status == 404 {
            let written = seen.iter().find(|seen| seen.method != "GET");
            assert!(written.is_none(), "{} {} by {why}: {written:?}", self.method, self.path);
        } else {
            assert!(seen.is_empty(), "{} {} by {why}: {seen:?}", self.method, self.path);
        }
        ftgo.stubs.recorder().clear();
    }
}

/// What arrived at any service.
fn all_seen(ftgo: &Ftgo) -> Vec<Seen> {
    let services = Backend::all().filter(|backend| *backend != Backend::Identity);
    services.flat_map(|service| ftgo.stubs.recorder().counts(service).last).collect()
}

/// Stubs that have seen nothing yet, as in the fixtures.
fn fresh(ftgo: &Ftgo) {
    ftgo.stubs.world().reset();
    ftgo.stubs.recorder().clear();
}

#[tokio::test]
async fn owners_are_let_in() {
    let ftgo = Ftgo::start().await;
    for row in rows() {
        for owner in row.owners {
            fresh(&ftgo);
            let answer = row.by(&ftgo, *owner, row.scope).await;
            assert_eq!(answer.status, 200, "{} {} by {owner:?}: {answer:?}", row.method, row.path);
            let written = all_seen(&ftgo).iter().filter(|seen| seen.method == row.method).count();
            assert!(written > 0, "{} {} reached no service", row.method, row.path);
        }
    }
}

#[tokio::test]
async fn callers_of_the_right_role_who_own_something_else_are_refused() {
    let ftgo = Ftgo::start().await;
    fresh(&ftgo);
    for row in rows() {
        let strangers = ROLES
            .into_iter()
            .filter(|(sub, role)| *sub != SUPPORT.0 && row.owners.iter().any(|(_, may)| may == role));
        for stranger in strangers {
            let answer = row.by(&ftgo, stranger, ALL_SCOPES).await;
            row.refused(&ftgo, &answer, row.foreign, "a stranger");
        }
    }
}

#[tokio::test]
async fn owners_whose_token_lacks_the_scope_are_refused_before_anything_is_asked() {
    let ftgo = Ftgo::start().await;
    fresh(&ftgo);
    for row in rows() {
        let others = ALL_SCOPES.replace(row.scope, "");
        for owner in row.owners {
            let answer = row.by(&ftgo, *owner, &others).await;
            assert!(answer.header("www-authenticate").contains("insufficient_scope"), "{answer:?}");
            row.refused(&ftgo, &answer, 403, "an owner without the scope");
        }
    }
}

#[tokio::test]
async fn callers_of_another_role_are_refused_before_anything_is_asked() {
    let ftgo = Ftgo::start().await;
    fresh(&ftgo);
    for row in rows() {
        let others = ROLES.into_iter().filter(|(_, role)| row.owners.iter().all(|(_, may)| may != role));
        for other in others {
            let answer = row.by(&ftgo, other, ALL_SCOPES).await;
            row.refused(&ftgo, &answer, 403, other.1);
        }
    }
}

#[tokio::test]
async fn an_owners_name_without_the_owners_role_is_refused() {
    let ftgo = Ftgo::start().await;
    fresh(&ftgo);
    for row in rows() {
        for (sub, _) in row.owners {
            let answer = row.by(&ftgo, (sub, "guest"), ALL_SCOPES).await;
            row.refused(&ftgo, &answer, 403, "the owner's name in another role");
        }
    }
}

#[tokio::test]
async fn no_token_and_a_bad_token_are_unauthenticated() {
    let ftgo = Ftgo::start().await;
    let other_issuer = Ftgo::start().await;
    fresh(&ftgo);
    let owner = |of: &Ftgo| of.stubs.token(SUPPORT.0, &["support"], ALL_SCOPES);
    let tampered = owner(&ftgo).split_at(40).0.to_owned() + "AAAA";
    let bad = [
        ("garbage", "no.jwt.atall".to_owned()),
        ("a tampered token", tampered),
        ("another issuer's token", owner(&other_issuer)),
        ("an expired token", given(&ftgo, &json!({"exp": 1_700_000_000})).await),
        ("a token for others", given(&ftgo, &json!({"aud": "elsewhere"})).await),
        ("a token of later", given(&ftgo, &json!({"nbf": 4_000_000_000_u64})).await),
    ];
    for row in rows() {
        let answer = row.ask(&ftgo).send().await;
        assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
        row.refused(&ftgo, &answer, 401, "nobody");
        for (why, token) in &bad {
            let answer = row.ask(&ftgo).token(token).send().await;
            row.refused(&ftgo, &answer, 401, why);
        }
    }
}

/// A token of John's whose claims are overridden.
async fn given(ftgo: &Ftgo, claims: &Value) -> String {
    let wanted = json!({"sub": JOHN, "roles": ["consumer"], "scope": ALL_SCOPES, "claims": claims});
    let given = crate::client::ask(ftgo.stubs.control(), "POST", "/tokens").json(&wanted).send().await;
    given.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn public_routes_do_not_look_at_tokens() {
    let ftgo = Ftgo::start().await;
    let name = json!({"name": {"firstName": "Ada", "lastName": "Byron"}});
    for token in ["", "no.jwt.atall"] {
        for path in ["/restaurants", "/restaurants/1"] {
            ftgo.get(path).token(token).send().await.expect(200);
            ftgo.get(path).send().await.expect(200);
        }
        ftgo.post("/consumers").token(token).json(&name).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_consumer_cannot_order_for_another_by_any_reading_of_the_body() {
    let ftgo = Ftgo::start().await;
    fresh(&ftgo);
    let mary = ftgo.consumer(MARY);
    let ordering = |body: &'static str| {
        ftgo.post("/orders").token(&mary).header("content-type", "application/json").body(body).send()
    };
    for (body, status) in [
        (r#"{"consumerId":1511300065921}"#, 403),
        (r#"{"consumerId":1511300065922,"consumerId":1511300065921}"#, 400),
        (r#"{"consumerId":1511300065921,"consumerId":1511300065922}"#, 400),
        (r#"{"consumer\u0049d":1511300065921,"consumerId":1511300065922}"#, 400),
        (r#"{"consumerId":1511300065922,"ConsumerID":1511300065921}"#, 400),
        (r#"{"consumerId":1511300065922,"consumerid":1511300065921}"#, 400),
        (r#"{"consumerId":1511300065922.5}"#, 403),
        (r#"{"consumerId":[1511300065922]}"#, 403),
        (r#"{"consumerId":null}"#, 403),
        ("{}", 400),
        ("no json", 400),
        ("", 400),
    ] {
        let answer = ordering(body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    for typed in [
        &["application/x-www-form-urlencoded"][..],
        &["text/plain"],
        &["application/json; charset=utf-16"],
        &["application/json, text/plain"],
        &["application/json", "application/json"],
        &[],
    ] {
        let own = ftgo.post("/orders").token(&mary).body(r#"{"consumerId":1511300065922}"#);
        let own = typed.iter().fold(own, |own, typed| own.header("content-type", typed));
        assert_eq!(own.send().await.expect(415).code(), "unsupported_media_type", "{typed:?}");
    }
    // A service that is told no type takes some bodies for forms.
    let untold = ftgo.post("/orders").token(&mary).body(r#"{"consumerId":1511300065922}"#);
    let untold = untold.header("content-type", "application/json").header("connection", "Content-Type");
    untold.send().await.expect(415);
    assert!(all_seen(&ftgo).is_empty());
}

#[tokio::test]
async fn what_a_rule_cannot_use_is_told_truthfully() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    for (path, code, detail) in [
        ("/orders", "missing_input", "`query.consumerId` is needed."),
        ("/orders?consumerId=1&consumerId=2", "missing_input", "`query.consumerId` must be given once."),
        ("/orders?consumerId=1&CONSUMERID=2", "missing_input", "`query.consumerId` must be given once."),
        ("/orders?consumerId=1;consumerId=2", "missing_input", "`query.consumerId` must be given once."),
        ("/orders?consumerId=%ff", "bad_request", "`query.consumerId` must be UTF-8, percent-encoded."),
        ("/consumers/%ff", "bad_request", "`path.consumerId` must be UTF-8, percent-encoded."),
    ] {
        let answer = ftgo.get(path).token(&token).send().await.expect(400);
        assert_eq!(
            (answer.code().as_str(), answer.json()["detail"].as_str()),
            (code, Some(detail)),
            "{path}"
        );
    }
}

/// A gateway whose only route lets callers without a token in, and then asks its rule.
async fn optional(stubs: &Stubs, allow: &str) -> Gate {
    let identity = stubs.identity();
    let gate = Gate::start(&format!(
        "providers:\n  ftgo: {{ jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }} }}\n\
         upstreams:\n  consumer: {{ url: \"http://{}\" }}\nroutes:\n  - path: /consumers/{{id}}\n    methods: [GET, POST]\n    \
         auth: {{ provider: ftgo, optional: true, allow: \"{allow}\" }}\n    forward: {{ to: consumer }}\n",
        stubs.address(Service::Consumer)
    ));
    until("the gateway has keys", || gate.ready()).await;
    gate
}

#[tokio::test]
async fn a_caller_without_a_token_whom_a_rule_refuses_is_told_that_one_could_help() {
    let stubs = stubs();
    let by_claims = optional(&stubs, "claims.sub == path.id").await;
    let nobody = by_claims.get(&format!("/consumers/{JOHN}")).send().await.expect(401);
    assert_eq!(
        (nobody.code().as_str(), nobody.header("www-authenticate")),
        ("unauthenticated", "Bearer realm=\"ftgo\"")
    );
    let token = |sub: &str| stubs.token(sub, &["consumer"], "");
    let mary = by_claims.get(&format!("/consumers/{JOHN}")).token(&token(MARY)).send().await.expect(403);
    assert_eq!(mary.code(), "forbidden");
    by_claims.get(&format!("/consumers/{JOHN}")).token(&token(JOHN)).send().await.expect(200);

    let by_body = optional(&stubs, "claims.sub == body.sub or body.open == 'true'").await;
    let post = || by_body.ask("POST", &format!("/consumers/{JOHN}"));
    let nobody = post().json(&json!({"open": false})).send().await.expect(401);
    assert!(!nobody.header("www-authenticate").is_empty());
    post().json(&json!({"open": false, "sub": "x"})).token(&token(MARY)).send().await.expect(403);
    // What the service would decode is not what the rule has read.
    let coded = post().json(&json!({"open": true})).header("content-encoding", "br").send().await.expect(415);
    assert_eq!(coded.code(), "unsupported_media_type");
    assert_ne!(
        post().json(&json!({"open": true})).header("content-encoding", "identity").send().await.status,
        415
    );
}
