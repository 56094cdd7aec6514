//! Limits that can never be kept, the Redis that they are shared over, and what is said about both. Read the snapshots: they are
//! what an operator sees.
//!
//! Not here: other configurations that make no sense (`wrong_meanings.rs`).

use super::wrong_meanings::{RIGHT, redis, route, said, wrong};

/// A file with this limit `browse` and no route.
fn limit(keys: &str) -> String {
    format!("{RIGHT}routes: []\n").replace("rate: 5/s, by: address", keys)
}

/// A file with this limit `browse` and a route that counts against it.
fn limited(keys: &str, line: &str) -> String {
    route(&format!(
        "path: /orders/{{orderId}}\nauth: none\nlimits: [browse]\nforward: {{ to: order }}\n{line}"
    ))
    .replace("rate: 5/s, by: address }", &format!("{keys} }}"))
}

wrong! {
    a_limit_of_two_kinds: limited("rate: 5/s, quota: 5/day, by: address", "");
    a_quota_with_a_burst: limited("quota: 5/day, burst: 3, by: address", "");
    a_limit_by_no_header: limit("rate: 5/s, by: { header: \"X Tenant\" }");
    a_limit_by_something_else: limit("rate: 5/s, by: { haeder: X-Tenant }");
    a_limit_by_a_path_parameter_that_a_route_lacks: limited("rate: 5/s, by: { path: oderId }", "");
    a_limit_that_is_shared_by_nothing: limit("rate: 5/s, by: address, shared: true");
    a_limit_whose_name_cannot_be_told: limit("rate: 5/s, by: address").replace("browse", "\"größe\"");
    a_limit_of_something_else: limit("rate: 5/s, by: address, count: bytes");
    a_route_that_costs_nothing: limited("rate: 5/s, by: address, count: cost", "cost: 0");
    a_route_that_costs_more_than_is_ever_let_in:
        limited("rate: 50/s, burst: 10, by: address, count: cost", "cost: 20");
    a_cost_that_nobody_counts: limited("rate: 5/s, by: address", "cost: 2");
    a_redis_with_tls: redis("url: \"rediss://cache:6379\"");
    a_redis_that_is_none: redis("url: \"http://cache:6379\"");
    a_redis_out_of_bounds: redis("url: \"redis://cache:6379\", timeout: 1ms, prefix: \"{a}\"");
    a_redis_without_an_address: redis("timeout: 5ms");
}

#[test]
fn what_is_said_of_limits_and_redis_may_be_right() {
    for right in [
        "rate: 5/s, by: { header: X-Tenant }, headers: false",
        "rate: 5/s, by: { path: orderId }",
        "rate: 5/s, burst: 20, by: principal, count: cost, shared: true",
        "quota: 5000/day, by: principal, shared: true",
    ] {
        let redis =
            "redis: { url: \"redis://gateway:${PASSWORD:-secret}@cache\", timeout: 2ms, prefix: bff-web }\n";
        assert_eq!(said(&format!("{}{redis}", limited(right, ""))), "", "{right}");
    }
    assert_eq!(said(&limited("rate: 5/s, by: address, count: cost", "cost: 5")), "");
    let of_plan = limited("rate: 5/s, by: principal, count: cost", "cost: 5").replace("limits: [browse]", "");
    assert_eq!(said(&format!("{of_plan}plans: {{ paid: {{ limits: [browse] }} }}\n")), "");
}
