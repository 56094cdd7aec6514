//! A request to a service: what it asks for, its header fields as a list, and its body.
//!
//! A list and no map: HTTP/1.1 writes one field after the other, and looking eight names up in a map to put them there costs
//! more than all that writing. HTTP/2 makes a map of it.
//! Not here: which fields those are (`proxy/headers.rs`, `identity.rs`), how they are written (`http1/head.rs`).

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header, uri::PathAndQuery};

use super::wire::Naming;
use crate::body::{Body, Request};

/// A request to a service.
pub struct Outgoing {
    /// What is to be done.
    pub method: Method,
    /// With what.
    pub target: PathAndQuery,
    /// Its header section, without `Host`.
    pub fields: Fields,
    /// What comes after it.
    pub body: Body,
    /// Whether it asks for another protocol: then it goes over HTTP/1.1, by a connection of its own (RFC 9110 section 7.8).
    pub upgrade: bool,
}

/// A header section, in order.
#[derive(Clone, Default)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Outgoing {
    /// A GET of `target` with room for so many header fields.
    #[must_use]
    pub fn get(target: PathAndQuery, fields: usize) -> Self {
        Outgoing {
            method: Method::GET,
            target,
            fields: Fields(Vec::with_capacity(fields)),
            body: Body::Empty,
            upgrade: false,
        }
    }

    /// The same as a request of HTTP/2.
    pub(super) fn into_http2(self, naming: &Naming) -> Request {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = naming.uri(self.target);
        *request.version_mut() = Version::HTTP_2;
        let headers = request.headers_mut();
        headers.reserve(self.fields.0.len());
        for (name, value) in self.fields.0 {
            if name != header::HOST {
                headers.append(name, value); // `:authority` says it there (RFC 9113 section 8.3.1)
            }
        }
        request
    }

    /// The same again of one that HTTP/2 has not sent.
    pub(super) fn of_http2(request: Request) -> Self {
        let (head, body) = request.into_parts();
        let target = head.uri.path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let fields = head.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Outgoing { method: head.method, target, fields: Fields(fields), body, upgrade: false }
    }
}

impl Fields {
    /// Adds one, beside others of the same name.
    pub fn push(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Adds all of these.
    pub fn extend(&mut self, fields: &[(HeaderName, HeaderValue)]) {
        self.0.extend_from_slice(fields);
    }

    /// The only one of that name from now on.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove(&name);
        self.push(name, value);
    }

    /// Removes all of that name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|(known, _)| known != name);
    }

    /// The first of that name.
    #[must_use]
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.0.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl From<&Fields> for HeaderMap {
    fn from(fields: &Fields) -> Self {
        let mut headers = HeaderMap::with_capacity(fields.0.len());
        fields.iter().for_each(|(name, value)| _ = headers.append(name, value.clone()));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_set_is_there_once() {
        let name = || HeaderName::from_static("x-a");
        let mut fields = Fields::default();
        fields.push(name(), HeaderValue::from_static("1"));
        fields.push(HeaderName::from_static("x-b"), HeaderValue::from_static("2"));
        fields.push(name(), HeaderValue::from_static("3"));
        assert_eq!(fields.get(&name()).unwrap(), "1");
        fields.set(name(), HeaderValue::from_static("4"));
        let all: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(all, [("x-b", "2"), ("x-a", "4")]);
    }
}
