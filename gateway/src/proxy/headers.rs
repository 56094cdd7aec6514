//! Which header fields go on, in either direction (RFC 9110 section 7.6), and what the gateway adds.
//!
//! Not here: the identity of the caller (`identity.rs`), which is set after all of this, so that naming such a field in
//! `Connection` does not remove it.

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use crate::{body::Response, downstream::Downstream, identity::stays_here, upstream::Fields};

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

/// Makes a service's answer one of ours: in our version, without what concerns its connection only, and without a length that
/// its coding overrides (RFC 9112 section 6.3), which a client would believe. What is to be removed is looked for in one pass,
/// since most answers have none of it and each removal costs a hash.
/// Whether that could be done: its codings must be known ([`codings_are_known`]).
pub fn reframe(response: &mut Response) -> bool {
    let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
    let headers = response.headers_mut();
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        if !codings_are_known(headers) {
            return false;
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        remove_hop_by_hop(headers);
    }
    headers.append(header::VIA, via(version));
    true
}

/// Copies what a client sent and a service should know. Not what concerns one connection only, what the gateway says itself,
/// trailers, which go no further (`body.rs`), credentials, which are meant for the gateway, and what some services would
/// obey instead of what was authorized. What `Connection` names has been removed ([`remove_named`]).
pub fn pass_on(client: &HeaderMap, sent: &mut Fields) {
    let mut cookies = false;
    for (name, value) in client {
        if *name == header::COOKIE {
            if !std::mem::replace(&mut cookies, true) {
                sent.push(header::COOKIE, join_cookies(client, value)); // all of them
            }
        } else if !stays_here(name.as_str()) {
            sent.push(name.clone(), value.clone());
        }
    }
}

/// Removes the fields that a client's `Connection` names (RFC 9110 section 7.6.1), before anything goes by them: no rule, limit
/// or kept answer is then about what the service is not told. What stays here anyway is still for the gateway.
pub fn remove_named(client: &mut HeaderMap) {
    for name in named(client).into_iter().filter(|name| !stays_here(name.as_str())) {
        client.remove(name);
    }
}

/// HTTP/2 clients may send cookies in pieces; HTTP/1.1 has one field for all (RFC 9113 section 8.2.3, RFC 6265 section 5.4).
fn join_cookies(client: &HeaderMap, first: &HeaderValue) -> HeaderValue {
    let all = client.get_all(header::COOKIE);
    if all.iter().nth(1).is_none() {
        return first.clone();
    }
    let pieces: Vec<&[u8]> = all.iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&pieces.join(&b"; "[..])).expect("made of header values")
}

/// Removes what concerns one connection only, with all that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    for name in named(headers).into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// What `Connection` names (RFC 9110 section 7.6.1).
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    let named = values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    named.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok()).collect()
}

/// Tells the service where the request came from. What the client said about that has been left out: nobody vouches for it.
pub fn add_forwarded(sent: &mut Fields, downstream: &Downstream, host: Option<HeaderValue>) {
    let proto = HeaderValue::from_static(if downstream.tls { "https" } else { "http" });
    sent.push(FORWARDED_FOR, downstream.forwarded_for.clone());
    sent.push(FORWARDED_PROTO, proto);
    sent.push(FORWARDED, downstream.forwarded(host.as_ref()));
    if let Some(host) = host {
        sent.push(FORWARDED_HOST, host);
    }
}

/// RFC 9110 section 7.6.3: the version the message was received in, and a name that stands for the gateway.
pub fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 gateway",
        Version::HTTP_10 => "1.0 gateway",
        _ => "1.1 gateway",
    })
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
        let mut client = headers(&[
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("accept", "*/*"),
        ]);
        client.append(header::CONNECTION, HeaderValue::from_static("close, X-Mine"));
        client.append(header::CONNECTION, HeaderValue::from_static("te"));
        client.append(header::CONNECTION, HeaderValue::from_static("host"));
        client.append(header::HOST, HeaderValue::from_static("ftgo.example"));
        let (mut answer, mut sent) = (client.clone(), Fields::default());
        remove_named(&mut client);
        assert_eq!(client["host"], "ftgo.example", "it is still for the gateway");
        pass_on(&client, &mut sent);
        let sent = HeaderMap::from(&sent);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
        remove_hop_by_hop(&mut answer);
        assert_eq!(answer, sent);
    }

    #[test]
    fn what_a_client_says_about_where_it_comes_from_is_replaced() {
        let mut sent = Fields::default();
        let client =
            headers(&[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=6.6.6.6"), ("accept", "*/*")]);
        pass_on(&client, &mut sent);
        assert_eq!(HeaderMap::from(&sent), headers(&[("accept", "*/*")]));
        let downstream = Downstream::new("192.0.2.7:99".parse().unwrap(), false);
        add_forwarded(&mut sent, &downstream, Some(HeaderValue::from_static("api.ftgo.example:8087")));
        let sent = HeaderMap::from(&sent);
        assert_eq!(sent["x-forwarded-for"], "192.0.2.7");
        assert_eq!(sent["forwarded"], "for=192.0.2.7;proto=http;host=\"api.ftgo.example:8087\"");
        assert_eq!(sent["x-forwarded-host"], "api.ftgo.example:8087");
    }
}
