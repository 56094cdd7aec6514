//! Which header fields go on, in either direction (RFC 9110 section 7.6), and what the gateway adds.
//!
//! Not here: the identity of the caller (`handler.rs`), which is set after all of this, so that naming such a field in
//! `Connection` does not remove it.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::{body::Response, downstream::Downstream};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What concerns one connection only (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHORIZATION,
];

/// Whether a message says of itself how it ends in a way that everybody understands: by `chunked` alone, or without a
/// transfer coding (RFC 9112 section 6.1). What is not understood must not be passed on as if it were.
#[must_use]
pub fn codings_are_known(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Makes a service's answer one of ours: in our version, and without a length that its coding overrides (RFC 9112 section
/// 6.3), which a client would believe.
pub fn reframe(response: &mut Response) {
    let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let headers = response.headers_mut();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    add_via(headers, version);
}

/// Removes what concerns one connection only, with all that `Connection` names. Looked for in one pass, since most messages
/// have none of it and each removal costs a hash.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        remove_named(headers);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn remove_named(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    let named = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for name in named.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()) {
        headers.remove(name);
    }
}

/// Tells the service where the request came from. What the client said about that is replaced: nobody vouches for it.
pub fn add_forwarded(headers: &mut HeaderMap, downstream: &Downstream, host: Option<HeaderValue>) {
    let proto = HeaderValue::from_static(if downstream.tls { "https" } else { "http" });
    headers.insert(FORWARDED_FOR, downstream.forwarded_for.clone());
    headers.insert(FORWARDED_PROTO, proto);
    headers.insert(FORWARDED, downstream.forwarded(host.as_ref()));
    match host {
        Some(host) => drop(headers.insert(FORWARDED_HOST, host)),
        None => drop(headers.remove(FORWARDED_HOST)),
    }
}

/// RFC 9110 section 7.6.3: the version the message was received in, and a name that stands for the gateway.
pub fn add_via(headers: &mut HeaderMap, version: Version) {
    let via = match version {
        Version::HTTP_2 => "2 gateway",
        Version::HTTP_10 => "1.0 gateway",
        _ => "1.1 gateway",
    };
    headers.append(header::VIA, HeaderValue::from_static(via));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_concerns_one_connection_and_what_connection_names_does_not_go_on() {
        let mut sent = headers(&[
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("accept", "*/*"),
        ]);
        sent.append(header::CONNECTION, HeaderValue::from_static("close, X-Mine"));
        sent.append(header::CONNECTION, HeaderValue::from_static("te"));
        remove_hop_by_hop(&mut sent);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn what_a_client_says_about_where_it_comes_from_is_replaced() {
        let mut sent = headers(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6")]);
        let downstream = Downstream::new("192.0.2.7:99".parse().unwrap(), false);
        add_forwarded(&mut sent, &downstream, Some(HeaderValue::from_static("api.ftgo.example:8087")));
        assert_eq!(sent["x-forwarded-for"], "192.0.2.7");
        assert_eq!(sent["forwarded"], "for=192.0.2.7;proto=http;host=\"api.ftgo.example:8087\"");
        assert_eq!(sent["x-forwarded-host"], "api.ftgo.example:8087");
    }
}
