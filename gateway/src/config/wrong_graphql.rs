//! Routes of GraphQL that read well and make no sense, and what is said about them. Read the snapshots: they are what an
//! operator sees.
//!
//! Not here: trusted documents that the schema does not fit, which needs one (the system tests).

use super::wrong_meanings::{route, said, wrong};

/// A route with this under `graphql:`.
fn graphql(lines: &str) -> String {
    route(&format!("path: /graphql\nauth: none\nhandle: own\ngraphql: {{ {lines} }}\n"))
}

wrong! {
    a_graphql_key_that_is_none: graphql("max_batches: 5");
    graphql_beside_no_handler:
        route("path: /orders\nauth: none\nforward: { to: order }\ngraphql: { introspection: true }\n");
    graphql_beside_a_handler_of_something_else: graphql("introspection: true");
    a_mode_of_trust_that_is_none: graphql("trusted: { mode: strict, manifests: [a.json] }");
    trust_in_no_mode: graphql("trusted: { manifests: [a.json] }");
    a_room_for_documents_without_a_unit: graphql("persisted: { max_size: 4000000 }");
    limits_that_are_none: graphql("max_batch: 1000, max_tokens: 0, max_depth: 31, max_aliases: 5000, max_cost: 0");
    room_for_hardly_a_document: graphql("persisted: { max_size: 1KiB }");
    a_client_that_is_listed_twice: graphql("clients: [ios, android, ios]");
    a_content_coding_that_is_none: graphql("compression: deflate");
    content_codings_of_which_one_is_none: graphql("compression: [zstd, none]");
    a_list_of_no_content_codings: graphql("compression: []");
    a_content_coding_that_is_listed_twice: graphql("compression: [br, gzip, br]");
    content_codings_that_are_a_mapping: graphql("compression: { gzip: 1 }");
    a_manifest_that_is_not_there: graphql("trusted: { mode: log, manifests: [documents.json] }");
    no_manifest: graphql("trusted: { mode: log, manifests: [] }");
    subscriptions_to_nothing: graphql("subscriptions: {}");
    a_subscription_to_a_parameter_that_is_none:
        graphql("subscriptions: { watches: { order: { parts: { order: { get: \"order/orders/{orderId}\" } } } } }");
    a_subscription_to_a_query_that_is_none: graphql(
        "subscriptions: { watches: { order: { parts: { order: { get: \"order/orders?id={key}&x={query.x}\" } } } } }",
    );
    subscriptions_that_would_be_none: graphql(
        "subscriptions: { heartbeat: 10ms, max_clients: 0, watches: { order: { keep: 0, parts: {} } } }",
    );
    registering_what_is_not_trusted:
        graphql("persisted: {}, trusted: { mode: enforce, manifests: [documents.json] }");
}
