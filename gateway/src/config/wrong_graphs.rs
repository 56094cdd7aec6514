//! Compositions whose parts can never come out right, and what is said about them. Read the snapshots: they are what an
//! operator sees.
//!
//! Not here: other configurations that make no sense (`wrong_meanings.rs`).

use super::wrong_meanings::{route, said, wrong};

/// An open route that composes these parts, a line each, and answers as a last line says that begins with `respond`.
fn graph(lines: &str) -> String {
    let indent = |line: &str| if line.starts_with("respond") { line.to_owned() } else { format!("  {line}") };
    let lines: Vec<String> = lines.lines().map(indent).collect();
    route(&format!("path: /orders/{{orderId}}\nauth: none\ncompose:\n{}\n", lines.join("\n")))
}

/// An open route that is posted to and composes these parts.
fn writing(lines: &str) -> String {
    graph(lines).replace("auth: none", "auth: none\n    methods: [POST]")
}

wrong! {
    a_write_that_is_read: graph("a: { post: order/a }");
    two_writes: writing("a: { post: order/a }\nb: { put: \"order/b\", body: request }");
    a_part_after_a_write: writing("a: { post: order/a }\nb: { get: \"order/b/{a.id}\" }\nc: { get: order/c, needs: [a] }");
    a_write_of_what_may_be_missing: writing("a: { get: order/a, optional: true }\nb: { post: order/b, body: { x: \"{a.id}\" } }");
    a_write_that_is_read_as_well: writing("a: { get: order/a, delete: order/a }");
    a_write_like_a_read: writing(
        "a: { patch: order/a, optional: true, fallback: { value: {} }, cache: {} }");
    a_read_like_a_write: graph("a: { get: order/a, body: { x: 1 }, headers: { A: b }, idempotency: required }");
    a_body_of_what_is_not_there: writing(
        "a: { get: order/a }\nb: { post: order/b, body: { x: \"{c.id}\", y: [\"{id}\", \"a {claims.sub}\", \"{\"], z: \"{b.id}\" } }");
    fields_that_a_write_does_not_set: writing(
        "a: { post: order/a, headers: { Idempotency-Key: a, X-User-Id: b, \"a b\": c, If-Match: \"{query.}\" } }");
    a_key_of_nobody: writing("a: { post: order/a, idempotency: always }");
    a_write_that_decides: route(
        "path: /orders\nmethods: [POST]\nauth: { provider: ftgo, allow: \"claims.sub == a.b\" }\ncompose: { a: { post: order/a } }\n");
    a_rule_over_a_body_and_a_part_of_a_write: route(
        "path: /orders\nmethods: [POST]\nauth: { provider: ftgo, allow: \"claims.sub == a.b and body.c == a.c\" }\ncompose: { a: { get: order/a }, b: { post: order/a } }\n");
    a_question_that_writes: route(
        "path: /orders\nauth: { provider: ftgo, allow: \"claims.sub == a.b\" }\nask: { a: { post: order/a, body: request } }\nforward: { to: order }\n");
    a_part_that_needs_itself: graph("a: { get: \"order/a/{a.id}\" }");
    parts_in_a_circle: graph("a: { get: \"order/a/{c.id}\" }\nb: { get: \"order/b/{a.id}\" }\nc: { get: \"order/c/{b.id}\" }");
    a_reference_to_an_unknown_part: graph("orderInfo: { get: order/a }\nb: { get: \"order/b/{orderInf.id}\" }");
    a_reference_to_a_whole_part: graph("a: { get: order/a }\nb: { get: \"order/b/{a}\" }");
    a_reference_to_claims_of_nobody: graph("a: { get: \"order/{claims.sub}\" }");
    a_reference_to_a_body: graph("a: { get: \"order/{body.id}\" }");
    a_reference_to_a_parameter_that_is_none: graph("a: { get: \"order/{path.id}?b={query.a.b}\" }");
    a_reference_that_is_almost_a_parameter: graph("a: { get: \"order/{orderid}\" }");
    targets_that_two_readers_take_for_two: graph(
        "a: { get: \"order/a#b\" }\nb: { get: \"order/b/{orderId}}\" }\nc: { get: \"order/caf\u{e9}\" }");
    items_of_lists_by_number: graph(
        "a: { get: order/a }\nb: { get: \"order/b/{a.items[0].id}\" }\nc: { each: \"a.items[0]\", key: id, get: \"order/{key}\", into: c }\nrespond: { body: { a: \"a.items[0]\", b: b } }");
    the_clients_query_twice: graph("a: { get: \"order/a?{query}&{query}\" }");
    a_field_that_is_set_twice: graph("a: { get: order/a }\nrespond: { headers: { X-A: b, x-a: c } }");
    the_clients_query_in_the_middle: graph("a: { get: \"order/a?{query}&b=1\" }\nb: { get: \"order/{query}\" }");
    a_required_part_of_an_optional_one: graph("a: { get: order/a, optional: true }\nb: { get: \"order/b/{a.id}\" }");
    a_required_part_of_a_conditional_one: graph("a: { get: order/a, when: \"query.a == '1'\" }\nb: { get: order/b, needs: [a] }");
    needs_of_unknown_parts: graph("a: { get: order/a }\nb: { get: order/b, needs: [c, a, a] }");
    needs_that_are_implied: graph("a: { get: order/a }\nb: { get: \"order/b/{a.id}\", needs: [a] }");
    a_condition_that_is_none: graph("a: { get: order/a, when: \"query.a = '1'\" }");
    a_condition_over_what_is_not_there:
        graph("a: { get: order/a, when: \"path.id == '1' and claims.sub == '1' and body.a == '1' and c.d == '1'\" }");
    a_part_called_like_something_else: graph("claims: { get: order/a }");
    a_part_without_a_target: graph("a: { optional: true }");
    a_join_of_an_unknown_list: graph("a: { get: order/a }\nb: { each: c.orders, key: id, get: \"order/{key}\", into: order }");
    a_join_of_an_unknown_loader: graph("a: { get: order/a }\nb: { each: a.orders, key: id, from: order, into: order }");
    a_join_that_says_too_little: graph("a: { get: order/a }\nb: { each: a.orders }");
    a_join_that_says_too_much: graph(
        "a: { get: order/a }\nb: { each: a.orders, key: id, from: orders, get: order/b, at_once: 2, cache: {}, into: a.b }");
    a_join_for_nothing: graph("a: { get: order/a }\nb: { each: a.o, key: a..b, get: \"order/{key}\", into: c, at_once: 0, max_items: 0 }");
    a_join_whose_key_is_called_otherwise: graph("a: { get: order/a }\nb: { each: a.orders, key: id, get: \"order/{id}\", into: order }");
    a_join_without_a_place_for_the_key: graph("a: { get: order/a }\nb: { each: a.orders, key: id, get: order/b, into: order }");
    a_join_over_what_is_joined: graph(
        "a: { get: order/a }\nb: { each: a.o, key: id, get: \"order/{key}\", into: b }\nc: { each: b.o, key: id, get: \"order/{key}\", into: c }");
    two_joins_into_one_member: graph(
        "a: { get: order/a }\nb: { each: a.o, key: id, get: \"order/{key}\", into: b }\nc: { each: a.o, key: id, get: \"order/{key}\", into: b }");
    a_required_join_into_an_optional_part:
        graph("a: { get: order/a, optional: true }\nb: { each: a.o, key: id, get: \"order/{key}\", into: b }");
    keys_of_a_join_without_a_list: graph("a: { get: order/a, key: id, from: x, into: y, at_once: 1, max_items: 1 }");
    what_is_asked_for_first_and_needs_others: route(
        "path: /orders\nauth: { provider: ftgo, allow: \"claims.sub == a.b\" }\nask: { a: { get: order/a, needs: [b], when: \"query.a == '1'\" } }\nforward: { to: order }\n");
    a_rule_over_a_conditional_part: route(
        "path: /orders\nauth: { provider: ftgo, allow: \"claims.sub == a.b\" }\ncompose: { a: { get: order/a, when: \"query.a == '1'\" } }\n");
    a_shape_of_unknown_parts: graph("order: { get: order/a }\nrespond: { body: { a: ordr.b, b: order..c, c: { d: claims.sub } } }");
    a_shape_of_nothing: graph("a: { get: order/a }\nrespond: { body: { a: 5, b: [a], c: { merge: [a] }, d: { merge: [a, 5] } } }");
    a_shape_that_leaves_a_part_out: graph("a: { get: order/a }\nb: { get: order/b }\nrespond: { body: { a: a } }");
    a_shape_without_a_composition: route("path: /orders\nauth: none\nrespond: { body: { a: a } }\nforward: { to: order }\n");
    a_status_and_fields_that_cannot_be: graph(
        "a: { get: order/a }\nrespond: { status: 204, max_calls: 0, max_held: 0B, headers: { Content-Length: a, \"a b\": b, X-A: \"{b.c}\", X-B: \"\" } }");
}

#[test]
fn what_is_said_of_graphs_may_be_right() {
    for right in [
        "a: { get: order/a }\nb: { get: \"order/{a.id}?c={a.b.c}&{query}\", optional: true, when: \"query.b == '1' and a.x != '0'\" }",
        "b: { each: a.list, key: info.id, get: \"order/{key}?x={orderId}\", into: b, at_once: 2 }\na: { get: order/a, needs: [c] }\nc: { get: order/c }",
        "a: { get: order/a }\nb: { each: a, key: id, from: orders, into: b, max_items: 5 }\nrespond: { body: a, headers: { X-A: \"{a.id}-{query.b}\" } }",
        "a: { get: order/a }\nb: { get: order/b }\nrespond: { body: { c: { merge: [a, b.c] }, d: { value: [1] } }, status: 203, max_calls: 2 }",
    ] {
        assert_right(&graph(right));
    }
    for right in [
        "a: { get: order/a }\nb: { post: \"order/{a.id}\", body: { x: \"{a.x}\", y: [1, null, \"{orderId}-{query.a}\"], z: { value: \"{}\" } } }",
        "b: { delete: order/b, headers: { If-Match: \"{a.version}\" }, idempotency: client, when: \"a.x == '1'\" }\na: { get: order/a }",
        "a: { put: order/a, body: request, idempotency: required }\nrespond: { body: { done: a }, headers: { X-A: \"{a.id}\" } }",
    ] {
        assert_right(&writing(right));
    }
    let guarded = "path: /o\nmethods: [POST]\nauth: { provider: ftgo, allow: \"claims.sub == body.c\" }\ncompose: { a: { post: order/a, body: request } }\n";
    assert_right(&route(guarded));
}

fn assert_right(yaml: &str) {
    let loader = "loaders: { orders: { get: order/orders?ids={keys}, key: id } }\n";
    assert_eq!(said(&format!("{yaml}{loader}")), "", "{yaml}");
}
