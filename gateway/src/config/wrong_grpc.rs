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
    let all = "descriptors: [proxy/grpc/testing.binpb], int64: string, defaults: false, max_reply: 1MiB";
    assert_eq!(said(&known(all)), "");
}
