//! The head of a request as it must be before anything goes by it, beyond what hyper checks, and what it has of what is
//! looked for further down.
//!
//! Not here: the rule about paths (`routing/path.rs`), which fields go on (`proxy/headers.rs`).

use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, uri::Scheme};

use crate::{
    body::{MOST_FIELDS, Request},
    error::{Code, Error},
    identity,
    proxy::headers::remove_named,
};

/// What a header section has, found in one pass: to look for a field in the map costs a hash, also when it is not there, and most
/// requests have none of these.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// `Connection`.
    pub connection: bool,
    /// `traceparent`.
    pub traceparent: bool,
    /// Fields that are not among those that nearly all clients send, and so may be in the gateway's name.
    pub others: bool,
}

impl Seen {
    /// Removes what `Connection` names, and what is said in the gateway's name, such as by its own fields `ours`.
    pub fn clean(self, headers: &mut HeaderMap, ours: &[HeaderName]) {
        if self.connection {
            remove_named(headers);
        }
        if self.others || !ours.is_empty() {
            identity::strip(headers, ours);
        }
    }
}

/// What of a header section is checked.
#[derive(Default)]
struct Section<'r> {
    size: usize,
    host: Option<&'r HeaderValue>,
    coding: Option<&'r HeaderValue>,
    /// More than one `Host`, or `Transfer-Encoding`.
    twice: (bool, bool),
    seen: Seen,
}

impl<'r> Section<'r> {
    fn of(headers: &'r HeaderMap) -> Self {
        let mut section = Section::default();
        for (name, value) in headers {
            let name = name.as_str();
            section.size += name.len() + value.len() + 4; // as in `body::head_size`
            match name {
                "host" => section.twice.0 |= section.host.replace(value).is_some(),
                "transfer-encoding" => section.twice.1 |= section.coding.replace(value).is_some(),
                "connection" => section.seen.connection = true,
                "traceparent" => section.seen.traceparent = true,
                "accept" | "accept-encoding" | "accept-language" | "authorization" | "cache-control"
                | "content-length" | "content-type" | "cookie" | "origin" | "referer" | "user-agent" => {}
                _ => section.seen.others = true,
            }
        }
        section
    }

    /// RFC 9112 section 3.2: exactly one `Host` in HTTP/1.1, and one that names a host. RFC 9113 section 8.3.1: in HTTP/2
    /// `:authority` or `Host`, and no two that differ.
    fn names_host(&self, request: &Request) -> bool {
        let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
        let same = |host: &HeaderValue| {
            authority.is_none_or(|named| named.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()))
        };
        match self.host {
            None => authority.is_some() || request.version() < Version::HTTP_11,
            Some(host) => !self.twice.0 && is_host(host.as_bytes()) && same(host),
        }
    }

    /// As [`codings_are_known`](crate::proxy::headers::codings_are_known).
    fn coding_is_known(&self) -> bool {
        self.coding.is_none_or(|coding| !self.twice.1 && coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    }
}

/// What hyper leaves to us: the size of the header section, the number of its fields over HTTP/2, one valid `Host`, and no
/// coding but `chunked`.
///
/// # Errors
/// 400, 431, 501.
pub fn check(request: &Request, max_size: usize) -> Result<Seen, Error> {
    let headers = request.headers();
    if headers.len() > MOST_FIELDS {
        let why = format!("the header section has over {MOST_FIELDS} fields");
        return Err(Error::new(Code::HeadersTooLarge, why));
    }
    let section = Section::of(headers);
    if section.size > max_size {
        let why = format!("the header section is over {max_size} bytes");
        return Err(Error::new(Code::HeadersTooLarge, why));
    }
    check_target(request.uri())?;
    if !section.names_host(request) {
        return Err(Error::new(Code::BadRequest, "no Host, several, or one that names none")
            .detail("One valid Host is needed."));
    }
    if !section.coding_is_known() {
        return Err(Error::new(Code::NotImplemented, "a transfer coding that is not exactly `chunked`"));
    }
    Ok(section.seen)
}

/// The bytes of the path and the query: a host is bounded with the header section.
pub fn target_size(target: &Uri) -> usize {
    target.path_and_query().map_or(0, |target| target.as_str().len())
}

/// A whole URL in place of a path (RFC 9112 section 3.2.2): its host counts as `Host` does, and is held to the same.
fn check_target(target: &Uri) -> Result<(), Error> {
    let known = target.scheme().is_none_or(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
    let named = target.authority().is_none_or(|host| is_host(host.as_str().as_bytes()));
    let refusal = || {
        Error::new(Code::BadRequest, "a target of another scheme, or whose host names none")
            .detail("The target must be a path, or a URL of http or https without user and password.")
    };
    if known && named { Ok(()) } else { Err(refusal()) }
}

/// `uri-host [ ":" port ]` (RFC 3986 section 3.2.2), as far as a service could be misled by it.
fn is_host(host: &[u8]) -> bool {
    const KNOWN: [bool; 256] = {
        let (mut known, mut byte) = ([false; 256], 0);
        while byte < 256 {
            known[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let (others, mut at) = (b"-._~%!$&'()*+,;=:[]", 0);
        while at < others.len() {
            known[others[at] as usize] = true;
            at += 1;
        }
        known
    };
    !host.is_empty() && host[0] != b':' && host.iter().all(|byte| KNOWN[usize::from(*byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_names_none_is_refused() {
        for good in ["ftgo.example", "127.0.0.1:8087", "[::1]:8087", "localhost"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", "a b", "a/b", "a@b", "a\"b", ":80", "a\u{e9}"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn what_is_seen_is_what_is_there() {
        let request = |fields: &[(&str, &str)]| {
            let mut request = http::Request::builder().uri("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            request.body(crate::body::Body::Empty).unwrap()
        };
        let host = ("host", "ftgo.example");
        let seen = |fields: &[(&str, &str)]| check(&request(fields), 1000).unwrap();
        assert_eq!(seen(&[host, ("accept", "*/*"), ("cookie", "a=b")]), Seen::default());
        assert_eq!(seen(&[host, ("connection", "close")]), Seen { connection: true, ..Seen::default() });
        assert_eq!(seen(&[host, ("traceparent", "x")]), Seen { traceparent: true, ..Seen::default() });
        for ours in ["x-user-id", "x_user_id", "x-request-id"] {
            assert_eq!(seen(&[host, (ours, "7")]), Seen { others: true, ..Seen::default() });
        }
        let refused = |fields: &[(&str, &str)]| check(&request(fields), 1000).unwrap_err().code();
        assert_eq!(refused(&[]), Code::BadRequest);
        assert_eq!(refused(&[host, host]), Code::BadRequest);
        assert_eq!(refused(&[host, ("transfer-encoding", "gzip")]), Code::NotImplemented);
        let chunked = ("transfer-encoding", "chunked");
        assert_eq!(refused(&[host, chunked, chunked]), Code::NotImplemented);
        assert_eq!(refused(&[host, ("a", &"x".repeat(1000))]), Code::HeadersTooLarge);
    }
}
