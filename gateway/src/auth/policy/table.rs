//! The rules that a food-delivery shop needs, row by row, and the language's own edges. Not here: wrong texts (`parse.rs`).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Decision, Facts, Policy, Why};

/// A case: a caller and a request.
#[derive(Clone, Default)]
struct Case {
    claims: Option<Value>,
    path: &'static str,
    query: &'static str,
    body: Option<Value>,
    parts: Option<Value>,
}

fn by(claims: Value) -> Case {
    Case { claims: Some(claims), ..Case::default() }
}

fn consumer(sub: &str) -> Case {
    by(json!({"sub": sub, "roles": ["consumer"]}))
}

fn restaurant(sub: &str) -> Case {
    by(json!({"sub": sub, "roles": ["restaurant"]}))
}

fn courier(sub: &str) -> Case {
    by(json!({"sub": sub, "roles": ["courier"]}))
}

fn support() -> Case {
    by(json!({"sub": "s-1", "roles": ["support"]}))
}

impl Case {
    /// The path parameter `id`.
    fn at(self, path: &'static str) -> Self {
        Case { path, ..self }
    }

    fn asking(self, query: &'static str) -> Self {
        Case { query, ..self }
    }

    fn sending(self, body: Value) -> Self {
        Case { body: Some(body), ..self }
    }

    fn having(self, parts: Value) -> Self {
        Case { parts: Some(parts), ..self }
    }

    fn under(&self, rule: &str) -> Decision {
        let claims: Option<&Map<String, Value>> = self.claims.as_ref().and_then(Value::as_object);
        let path = |name: &str| (name == "id").then_some(Cow::Borrowed(self.path));
        let part = |name: &str| self.parts.as_ref().and_then(|parts| parts.get(name));
        let facts = Facts { claims, path: &path, query: self.query, body: self.body.as_ref(), part: &part };
        Policy::parse(rule).unwrap().decide(&facts)
    }
}

fn missing(what: &str) -> Decision {
    Decision::Missing(what.to_owned(), Why::Absent)
}

fn twice(what: &str) -> Decision {
    Decision::Missing(what.to_owned(), Why::Twice)
}

use Decision::{Allow, Refuse, Undecided};

#[track_caller]
fn table(rule: &str, rows: &[(Case, Decision)]) {
    for (row, (case, decision)) in rows.iter().enumerate() {
        assert_eq!(case.under(rule), *decision, "row {row} of {rule}");
    }
}

const SELF_OR_SUPPORT: &str =
    "'support' in claims.roles or 'consumer' in claims.roles and claims.sub == path.id";

#[test]
fn a_consumer_is_read_by_itself_and_by_support() {
    table(
        SELF_OR_SUPPORT,
        &[
            (consumer("7").at("7"), Allow),
            (consumer("7").at("8"), Refuse),
            (support().at("8"), Allow),
            (restaurant("7").at("7"), Refuse),
            (by(json!({"sub": "7"})).at("7"), Refuse),
            (by(json!({"sub": "7", "roles": "consumer"})).at("7"), Refuse),
            (Case::default().at("7"), Refuse),
        ],
    );
}

#[test]
fn a_history_is_asked_for_by_its_consumer_and_by_support() {
    table(
        "'support' in claims.roles or 'consumer' in claims.roles and claims.sub == query.consumerId",
        &[
            (consumer("7").asking("consumerId=7"), Allow),
            (consumer("7").asking("consumerId=8"), Refuse),
            (consumer("7").asking("pageSize=5"), missing("query.consumerId")),
            (consumer("7").asking("consumerId=7&consumerId=8"), twice("query.consumerId")),
            (consumer("7").asking("consumerId=7&consumer%49d=8"), twice("query.consumerId")),
            (support().asking(""), Allow),
            (courier("7").asking(""), Refuse),
            (courier("7").asking("consumerId=7"), Refuse),
        ],
    );
}

#[test]
fn an_order_is_placed_by_a_consumer_for_itself() {
    table(
        "'consumer' in claims.roles and claims.sub == body.consumerId",
        &[
            (consumer("1511300065921"), Undecided),
            (consumer("1511300065921").sending(json!({"consumerId": 1_511_300_065_921_u64})), Allow),
            (consumer("1511300065921").sending(json!({"consumerId": "1511300065921"})), Allow),
            (consumer("7").sending(json!({"consumerId": 8})), Refuse),
            (consumer("7").sending(json!({"consumerId": null})), Refuse),
            (consumer("7").sending(json!({"consumerId": [7]})), Refuse),
            (consumer("7").sending(json!({})), missing("body.consumerId")),
            (consumer("7").sending(json!([7])), missing("body.consumerId")),
            (support(), Refuse),
        ],
    );
}

#[test]
fn an_order_is_read_by_its_consumer_its_restaurant_and_support() {
    let order = || json!({"orderInfo": {"consumerId": 7, "restaurantId": 1}});
    table(
        "'support' in claims.roles \
         or 'consumer' in claims.roles and claims.sub == orderInfo.consumerId \
         or 'restaurant' in claims.roles and claims.sub == 'restaurant-' + orderInfo.restaurantId",
        &[
            (support(), Allow),
            (courier("courier-1"), Refuse),
            (Case::default(), Refuse),
            (consumer("7"), Undecided),
            (restaurant("restaurant-1"), Undecided),
            (consumer("7").having(order()), Allow),
            (consumer("8").having(order()), Refuse),
            (restaurant("restaurant-1").having(order()), Allow),
            (restaurant("restaurant-2").having(order()), Refuse),
            (consumer("restaurant-1").having(order()), Refuse),
            (restaurant("7").having(order()), Refuse),
            (consumer("7").having(json!({"orderInfo": null})), Refuse),
            (restaurant("restaurant-").having(json!({"orderInfo": {"consumerId": 7}})), Refuse),
        ],
    );
}

#[test]
fn an_order_is_changed_by_its_consumer_only() {
    table(
        "'consumer' in claims.roles and claims.sub == order.consumerId",
        &[
            (support(), Refuse),
            (consumer("7"), Undecided),
            (consumer("7").having(json!({"order": {"consumerId": 7}})), Allow),
            (consumer("7").having(json!({"order": {"consumerId": 70}})), Refuse),
        ],
    );
}

#[test]
fn a_menu_is_written_by_support_and_by_that_restaurant() {
    table(
        "'support' in claims.roles or 'restaurant' in claims.roles and claims.sub == 'restaurant-' + path.id",
        &[
            (support().at("1"), Allow),
            (restaurant("restaurant-1").at("1"), Allow),
            (restaurant("restaurant-1").at("11"), Refuse),
            (consumer("restaurant-1").at("1"), Refuse),
        ],
    );
}

#[test]
fn a_ticket_is_moved_by_its_restaurant_and_picked_up_by_its_courier() {
    table(
        "'restaurant' in claims.roles and claims.sub == 'restaurant-' + ticket.restaurantId",
        &[
            (restaurant("restaurant-1").having(json!({"ticket": {"restaurantId": 1}})), Allow),
            (restaurant("restaurant-1").having(json!({"ticket": {"restaurantId": 2}})), Refuse),
            (courier("restaurant-1"), Refuse),
        ],
    );
    table(
        "'courier' in claims.roles and claims.sub == 'courier-' + delivery.assignedCourier",
        &[
            (courier("courier-7").having(json!({"delivery": {"assignedCourier": 7}})), Allow),
            (courier("courier-7").having(json!({"delivery": {"assignedCourier": null}})), Refuse),
            (courier("courier-").having(json!({"delivery": {}})), Refuse),
            (courier("courier-7"), Undecided),
        ],
    );
}

#[test]
fn a_courier_says_itself_when_it_is_there() {
    table(
        "'courier' in claims.roles and claims.sub == 'courier-' + path.id",
        &[
            (courier("courier-7").at("7"), Allow),
            (courier("courier-7").at("8"), Refuse),
            (support().at("7"), Refuse),
        ],
    );
}

#[test]
fn true_wins_an_or_and_false_an_and_over_whatever_is_unknown() {
    table("query.a == 'x' or 1 == 1", &[(support(), Allow)]);
    table("p.a == 'x' or 1 == 1", &[(support(), Allow)]);
    table("query.a == 'x' and 1 == 2", &[(support(), Refuse)]);
    table("p.a == 'x' and 1 == 2", &[(support(), Refuse)]);
    table("not p.a == 'x'", &[(support(), Undecided)]);
    table("not (query.a == 'x' or 1 == 1)", &[(support(), Refuse)]);
}

#[test]
fn what_is_not_read_outweighs_what_is_missing() {
    let read = support().having(json!({"p": {"a": "x"}}));
    table("query.a == 'x' and p.a == 'x'", &[(support(), Undecided), (read.clone(), missing("query.a"))]);
    table("query.a == 'x' or p.a == 'x'", &[(support(), Undecided), (read.clone(), Allow)]);
    table("query.a + p.a == 'xx'", &[(support(), Undecided), (read, missing("query.a"))]);
}

#[test]
fn scalars_compare_by_text_and_what_is_none_equals_nothing() {
    let odd = by(json!({
        "n": 5, "t": "5", "yes": true, "none": null, "list": [5, null, {"a": 1}], "object": {"t": "5"},
        "huge": 1e20, "half": 1.5,
    }));
    for truth in [
        "claims.n == '5'",
        "claims.t == 5",
        "claims.n == claims.t",
        "claims.yes == 'true'",
        "claims.half == '1.5'",
        "claims.n != 6",
        "claims.n in claims.list",
        "'5' in claims.list",
        "claims.object.t == 5",
        "not claims.none == claims.none",
        "not claims.gone == 'x'",
    ] {
        assert_eq!(odd.under(truth), Allow, "{truth}");
    }
    for falsehood in [
        "claims.none == claims.none",
        "claims.none != 'x'",
        "claims.gone != 'x'",
        "claims.list != 'x'",
        "claims.object != 'x'",
        "claims.list == claims.list",
        "claims.none in claims.list",
        "claims.list in claims.list",
        "'1' in claims.list",
        "'5' in claims.t",
        "claims.huge == claims.huge",
        "'x' + claims.none == 'x'",
        "claims.t.deeper == 5",
    ] {
        assert_eq!(odd.under(falsehood), Refuse, "{falsehood}");
    }
}
