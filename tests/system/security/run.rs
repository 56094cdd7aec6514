//! The tables against a gateway.

use super::{Ground, fields, framing, http2, paths, proxies, tokens};

#[tokio::test]
async fn nobody_is_misled_about_where_a_request_ends() {
    Ground::run_all(framing::cases()).await;
}

#[tokio::test]
async fn nobody_but_the_gateway_says_what_only_it_may_say() {
    Ground::run_all(fields::cases()).await;
}

#[tokio::test]
async fn only_a_trusted_proxy_says_where_a_request_comes_from_and_only_what_it_has_seen_itself() {
    let ground = Ground::start(", trusted_proxies: [127.0.0.1, 10.0.0.0/8]").await;
    ground.run_each(&proxies::cases()).await;
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let ground = Ground::start(", trusted_proxies: [10.0.0.0/8]").await;
    ground.run_each(&fields::cases()).await;
}

#[tokio::test]
async fn what_was_authorized_is_what_is_asked_for() {
    Ground::run_all(paths::cases()).await;
}

#[tokio::test]
async fn a_token_is_what_it_says_or_is_none() {
    Ground::run_all(tokens::cases()).await;
}

#[tokio::test]
async fn nothing_of_http2_becomes_more_than_one_request() {
    Ground::run_all(http2::messages()).await;
}

#[tokio::test]
async fn a_connection_that_breaks_the_rules_of_frames_ends() {
    Ground::run_all(http2::frames()).await;
}
