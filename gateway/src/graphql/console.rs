//! The GraphQL console: one page to try queries in a browser, for development.
//!
//! It is whole: it loads nothing from anywhere, and its policy keeps it so. Not an editor that completes what is typed.

use http::{HeaderValue, header};

use crate::body::{Body, Response};

const PAGE: &str = include_str!("console.html");

/// Only the page's own script and style, by their SHA-256, and requests to where it came from.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'sha256-d9n0N8WP2HH1PWaiH+BYgq0kCGnLIUrLvqFxm9dWr5Y='; style-src 'sha256-l2ruzCx2RiqENHGTA7+0yFZMFHOcqEg2v8Eayqp/17U='; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

/// The page.
pub(super) fn page() -> Response {
    let mut response = Response::new(Body::full(PAGE));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The address may hold a query.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}
