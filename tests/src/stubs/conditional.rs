//! Conditional reads: strong validators and 304 (RFC 9110 section 13).
//!
//! GET and HEAD only: no write here has a precondition.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// The value as JSON with its validators, or 304 if the client has it; `modified` is in seconds since 1970.
pub(super) fn conditional<T: Serialize>(headers: &HeaderMap, value: &T, modified: u64) -> Response {
    let body = serde_json::to_vec(value).expect("records are JSON");
    let etag = etag(&body);
    let modified = UNIX_EPOCH + Duration::from_secs(modified);
    let validators = [
        (header::ETAG, etag.clone()),
        (header::LAST_MODIFIED, httpdate::fmt_http_date(modified)),
        (header::CACHE_CONTROL, "public, max-age=60".to_owned()),
    ];
    if is_known(headers, &etag, modified) {
        return (StatusCode::NOT_MODIFIED, validators).into_response();
    }
    (validators, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn etag(body: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

/// `If-Modified-Since` counts only where there is no `If-None-Match` (RFC 9110 section 13.2.2).
fn is_known(headers: &HeaderMap, etag: &str, modified: SystemTime) -> bool {
    if headers.contains_key(header::IF_NONE_MATCH) {
        let lists = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        return lists.flat_map(|list| list.split(',')).any(|tag| matches(tag.trim(), etag));
    }
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(|since| since.to_str().ok());
    since.and_then(|since| httpdate::parse_http_date(since).ok()).is_some_and(|since| modified <= since)
}

/// The weak comparison (RFC 9110 section 8.8.3.2).
fn matches(tag: &str, etag: &str) -> bool {
    tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag
}
