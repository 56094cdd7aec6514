//! System tests: whole gateways over real sockets, in front of the FTGO stubs or of services scripted byte by byte.
//!
//! One binary, a module for each behaviour. Every listener is on a port that was free.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod client;
#[allow(dead_code, reason = "the gateway's own tests need the rest of it")]
#[path = "../../gateway/src/upstream/discovery/testing.rs"]
mod dns_server;
mod framing;
mod harness;
mod mobile;
mod open_load;
mod origins;
mod redis;
mod replicas;
mod wire;

mod admin;
mod api_keys;
mod broken_answers;
mod cached;
mod certificates;
mod client_certificates;
mod client_deadlines;
mod composition;
mod composition_graph;
mod cors;
mod csrf;
mod drain;
mod encodings;
mod event_stream;
mod fallbacks;
mod floods;
mod forwarding;
mod graphql_over_http;
mod grpc;
mod identity_headers;
mod limits;
mod live_events;
mod loaders;
mod mobile_attacks;
mod mobile_bulk;
mod mobile_documents;
mod mobile_failures;
mod mobile_graphiql;
mod mobile_http;
mod mobile_ids;
mod mobile_kept;
mod mobile_mutations;
mod mobile_rules;
mod mobile_scenario;
mod overload;
mod panics;
mod partial_failure;
mod protocols;
mod reference_scenario;
mod reference_tokens;
mod refusals;
mod reload;
mod response_limits;
mod security;
mod security_headers;
mod shared_cache;
mod shared_limits;
mod shipped_configs;
mod slow_uploads;
mod streaming;
mod strict_requests;
mod token_store;
mod trusted_proxies;
mod upstream_breaker;
mod upstream_connections;
mod upstream_dns;
mod upstream_hashing;
mod upstream_hedging;
mod upstream_http2;
mod upstream_limits;
mod upstream_overload;
mod upstream_replicas;
mod upstream_retry;
mod upstream_tls;
mod who_may_do_what;
