//! What is said about calls of gRPC that make no sense. Read the snapshots: they are what an operator sees.
//!
//! In a file of its own since descriptors are looked for beside the configuration, which is in `src/` here.

use super::wrong_meanings::{said_of, wrong};

const FILE: &str = "src/bff-web.yaml";

/// What every file here begins with.
const RIGHT: &str = r#"listen: [{ address: "127.0.0.1:8087" }]
upstreams:
  things: { url: "http://things:50051", protocol: http2 }
  order: { url: "http://order:8082" }
"#;

const KNOWN: &str = "grpc: { descriptors: [proxy/grpc/testing.binpb] }\n";

/// What is said when `yaml` is built; nothing when it is right.
fn said(yaml: &str) -> String {
    said_of(FILE, yaml)
}

/// A route with these keys under `forward`.
fn route(keys: &str) -> String {
    let route = format!("  - path: /things/{{id}}\n    auth: none\n    forward: {{ {keys} }}\n");
    format!("{RIGHT}{KNOWN}routes:\n{route}")
}

/// A route of these methods that composes a read of the order service and a part of these keys.
fn part(methods: &str, keys: &str) -> String {
    let parts = format!("      a: {{ get: \"order/a/{{id}}\" }}\n      b: {{ {keys} }}\n");
    let route =
        format!("  - path: /things/{{id}}\n    auth: none\n    methods: [{methods}]\n    compose:\n{parts}");
    format!("{RIGHT}{KNOWN}routes:\n{route}")
}

/// A part that calls `Find` with this message.
fn finding(message: &str) -> String {
    part("GET", &format!("grpc: things/testing.Things/Find, message: {message}"))
}

/// A file with these descriptors and no route.
fn known(keys: &str) -> String {
    format!("{RIGHT}grpc: {{ {keys} }}\nroutes: []\n")
}

wrong! {
    descriptors_that_are_not_there: known("descriptors: [missing.binpb]");
    descriptors_that_are_none: known("descriptors: [proxy/grpc/testing.proto]");
    no_descriptors_at_all: known("descriptors: []");
    descriptors_without_a_list: known("descriptors: order.binpb");
    integers_in_a_form_that_there_is_not: known("descriptors: [proxy/grpc/testing.binpb], int64: float");
    a_method_that_nothing_describes: route("grpc: things/testing.Things/Find").replace(KNOWN, "");
    a_method_that_is_not_three_names: route("grpc: things/testing.Things");
    a_method_of_an_unknown_upstream: route("grpc: thigns/testing.Things/Find");
    a_method_of_an_unknown_service: route("grpc: things/testing.Thing/Find");
    a_method_that_there_is_not: route("grpc: things/testing.Things/Fnd");
    a_method_that_streams: route("grpc: things/testing.Things/Watch");
    a_method_over_http1: route("grpc: order/testing.Things/Find");
    a_field_that_the_message_does_not_have: route("grpc: things/testing.Things/Find, fields: { idd: \"{id}\" }");
    a_field_from_a_parameter_that_there_is_not: route("grpc: things/testing.Things/Find, fields: { id: \"{thing}\" }");
    a_field_that_is_a_list: route("grpc: things/testing.Things/Find, fields: { tags: \"{id}\" }");
    fields_of_no_message: route("to: order, fields: { id: \"{id}\" }");
    a_forward_to_nobody: route("token: false");
    a_forward_to_two_places: route("to: order, grpc: things/testing.Things/Find");
    a_method_with_a_path: route("grpc: things/testing.Things/Find, path: \"/other/{id}\"");
    reasons_that_are_none: known("descriptors: [proxy/grpc/testing.binpb], reasons: { keyReused: 422, A: 500 }");
    a_message_of_fields_that_there_are_not: finding("{ idd: \"{id}\", text_words: x }");
    a_message_that_has_no_fields: finding("\"{id}\"");
    a_message_that_does_not_fit: finding("{ id: some, deep: \"{query.deep}\" }");
    a_message_of_what_is_not_there: finding("{ id: \"{b.id}\", textWords: \"{body.x}\" }");
    a_message_of_no_method: part("GET", "get: order/b, message: { id: 1 }, write: true");
    a_part_by_grpc_and_over_http: part("GET", "get: order/b, grpc: things/testing.Things/Find");
    a_part_by_grpc_that_is_more: part(
        "GET", "grpc: things/testing.Things/Find, cache: {}, body: { a: 1 }, headers: { A: b }, idempotency: required");
    a_part_by_grpc_for_a_list: part("GET", "grpc: things/testing.Things/Find, each: a, key: id, into: c");
    a_part_by_a_method_that_there_is_not: part("GET", "grpc: things/testing.Things/Fnd");
    a_part_by_grpc_over_http1: part("GET", "grpc: order/testing.Things/Find");
    a_write_by_grpc_that_is_read: part("GET", "grpc: things/testing.Things/Find, write: true");
    a_write_by_grpc_that_may_fail: part("POST", "grpc: things/testing.Things/Find, write: true, optional: true");
    a_question_by_grpc: route("to: order").replace(
        "    forward", "    ask: { a: { grpc: things/testing.Things/Find, message: { id: 1 } } }\n    forward");
    a_method_that_is_kept: route("grpc: things/testing.Things/Find").replace("auth: none", "auth: none\n    cache: {}");
}

#[test]
fn calls_of_grpc_may_be_right() {
    for right in [
        "grpc: things/testing.Things/Find",
        "grpc: things/testing.Things/Find, fields: { id: \"{id}\" }",
        "grpc: things/testing.Things/Find, fields: { text_words: \"{id}\" }, fallback: { value: [] }",
    ] {
        assert_eq!(said(&route(right)), "", "{right}");
    }
    for right in ["{ id: \"{id}\", textWords: \"{a.name} of {id}\" }", "{ id: 7, deep: true }", "{}"] {
        assert_eq!(said(&finding(right)), "", "{right}");
    }
    let write = "grpc: things/testing.Things/Find, write: true, idempotency: required, message: { id: \"{body.id}\" }";
    assert_eq!(said(&part("POST", write)), "");
    let all = "descriptors: [proxy/grpc/testing.binpb], int64: string, defaults: false, max_reply: 1MiB, reasons: { A_1: 410 }";
    assert_eq!(said(&known(all)), "");
}
