//! What is wrong with schemas and with what routes say that they take, and what is said about it.
//!
//! Not here: what is checked of requests (`contract/`).

use super::wrong_meanings::{RIGHT, route, said, wrong};

/// A file with these schemas and no route.
fn schemas(lines: &str) -> String {
    format!("{RIGHT}routes: []\nschemas:\n{lines}")
}

/// A route that takes this.
fn taking(request: &str) -> String {
    let lines =
        format!("path: /orders/{{orderId}}\nauth: none\nforward: {{ to: order }}\nrequest: {request}\n");
    route(&lines) + "schemas: { Id: { type: integer } }\n"
}

/// A file whose document is told of like this.
fn told(openapi: &str) -> String {
    route("path: /orders\nauth: none\nforward: { to: order }\n") + &format!("openapi: {openapi}\n")
}

#[test]
fn right_ones_are_right() {
    assert_eq!(
        said(&taking(
            "{ path: { orderId: Id }, query: { ids: { type: array, items: Id } }, required: [ids], body: { type: object } }"
        )),
        ""
    );
    assert_eq!(said(&told("{ title: Orders, version: \"1\", reference: /reference }")), "");
}

wrong! {
    a_schema_that_is_not_there: schemas("  Order: { properties: { id: Idd } }\n  Id: { type: integer }\n");
    a_reference_to_nothing: schemas("  Order: { properties: { id: { $ref: '#/definitions/Id' } } }\n");
    a_keyword_that_is_not_checked: schemas("  Order: { patternProperties: {} }\n  Id: { type: integer, nullable: true }\n");
    a_type_that_there_is_not: schemas("  Id: { type: int }\n");
    a_pattern_that_cannot_be_read: schemas("  Id: { type: string, pattern: \"^(?=a)\" }\n");
    a_format_that_is_not_checked: schemas("  Id: { type: string, format: hostname }\n");
    a_bound_in_quotes: schemas("  Id: { type: integer, minimum: \"1\" }\n");
    a_length_that_is_none: schemas("  Id: { type: string, maxLength: -1 }\n");
    a_schema_that_is_a_number: schemas("  Id: 5\n");
    a_schema_that_leads_back_to_itself: schemas("  A: { anyOf: [B] }\n  B: A\n");
    a_schema_with_the_name_of_the_gateways_own: schemas("  Problem: { type: object }\n");
    a_schema_for_a_parameter_that_the_path_has_not: taking("{ path: { order: Id } }");
    a_parameter_that_is_an_object: taking("{ query: { filter: { type: object } } }");
    a_needed_parameter_that_is_not_described: taking("{ query: { page: Id }, required: [pages] }");
    a_header_that_is_described_elsewhere: taking("{ headers: { Authorization: { type: string } } }");
    a_header_that_is_none: taking("{ headers: { \"X Page\": { type: string } } }");
    an_unknown_key_in_a_request: taking("{ querry: {} }");
    an_answer_of_a_status_that_is_none: route("path: /orders\nauth: none\nforward: { to: order }\nanswers: { 20: problem, 200: Ordr }\n");
    a_body_that_nobody_reads: route("path: /orders\nauth: none\nrequest: { body: { type: object } }\ncompose:\n  a: { get: order/orders, schema: A }\n");
    an_operation_of_two_methods: route("path: /orders\nmethods: [GET, POST]\nauth: none\noperation: a\nforward: { to: order }\n");
    a_document_where_a_route_is: told("{ title: Orders, version: \"1\", reference: /orders }");
    a_document_without_a_version: told("{ title: Orders }");
}
