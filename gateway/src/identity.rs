//! What services are told about a request: who asks, its id, its trace, the time left. Only the gateway says so: what a client
//! sent in these fields is removed.
//!
//! Not here: who it is (`auth/`), where a request came from (`proxy/headers.rs`).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header, uri::PathAndQuery};

use crate::{
    auth::Principal,
    body::Body,
    cache::Whose,
    deadline::{BudgetField, Deadline},
    observability::trace::Trace,
    upstream::{Fields, Outgoing},
};

/// `x-user-id`: the `sub` of the caller.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// `x-user-roles`: the caller's roles, comma-separated.
pub const USER_ROLES: HeaderName = HeaderName::from_static("x-user-roles");
/// `x-request-id`: new for every request, the same for all calls made for it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `x-request-timeout-ms`: the milliseconds that the call may still take, unless services are told so by another field.
pub const REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

/// The header fields that only the gateway may set; a client's own are removed, used or not.
pub const OURS: [HeaderName; 4] = [USER_ID, USER_ROLES, REQUEST_ID, REQUEST_TIMEOUT];

/// On whose behalf services are called: what every call made for a request tells them.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `X-Request-Id`.
    pub request_id: HeaderValue,
    /// Who asks; nobody when the route lets anyone in.
    pub principal: Option<Arc<Principal>>,
    /// The trace that the calls belong to.
    pub trace: Trace,
    /// How services are told what time is left.
    pub budget: BudgetField,
}

impl Caller {
    /// Adds the gateway's own header fields. None of them is there yet: what a client sent in the gateway's name has been
    /// removed ([`strip`]), and its trace does not go on ([`stays_here`]).
    pub fn stamp(&self, fields: &mut Fields, deadline: Deadline) {
        fields.push(REQUEST_ID, self.request_id.clone());
        self.budget.stamp(fields, deadline);
        self.trace.stamp(fields);
        if let Some(principal) = &self.principal {
            fields.push(USER_ID, principal.user_id.clone());
            fields.push(USER_ROLES, principal.user_roles.clone());
            for (name, value) in principal.told.iter() {
                fields.set(name.clone(), value.clone());
            }
        }
    }

    /// The same without saying who asks: for what is given to everybody.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        Caller { principal: None, ..self.clone() }
    }

    /// Everything that services are told of whoever asks, as part of what an answer is kept under; with the credentials where
    /// they go on. Nobody where nobody is known.
    #[must_use]
    pub fn whose(&self, token: bool) -> Option<Whose<'_>> {
        let principal = self.principal.as_ref()?;
        Some(Whose {
            user: &principal.user_id,
            roles: &principal.user_roles,
            token: principal.authorization.as_ref().filter(|_| token),
            told: &principal.told,
        })
    }

    /// A GET of `target` for JSON.
    #[must_use]
    pub fn get(&self, target: &PathAndQuery, deadline: Deadline) -> Outgoing {
        let mut request = Outgoing::get(target.clone(), 8);
        request.fields.push(header::ACCEPT, HeaderValue::from_static("application/json"));
        self.stamp(&mut request.fields, deadline);
        request
    }

    /// A POST of a JSON body to `target`.
    #[must_use]
    pub fn post(&self, target: &PathAndQuery, json: Body, deadline: Deadline) -> Outgoing {
        let mut request = self.get(target, deadline);
        (request.method, request.body) = (Method::POST, json);
        request.fields.push(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }
}

/// Removes what a client sent in the gateway's name, also when another character stands for a `-`: servers that make variables
/// of names (RFC 3875 section 4.1.18) read `_`, `.` and `-` as one. What a forwarded request leaves out anyway is removed here
/// in other spellings only. `also` are fields that the configuration has made the gateway's own.
pub fn strip(headers: &mut HeaderMap, also: &[HeaderName]) {
    remove_if(headers, |name| in_our_name(name) || !also.is_empty() && is_one_of(name, also));
}

/// Removes these fields, also when another character stands for a `-`.
pub fn remove(headers: &mut HeaderMap, fields: &[HeaderName]) {
    if !fields.is_empty() {
        remove_if(headers, |name| is_one_of(name, fields));
    }
}

fn remove_if(headers: &mut HeaderMap, goes: impl Fn(&HeaderName) -> bool) {
    if !headers.keys().any(&goes) {
        return;
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| goes(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

fn in_our_name(name: &HeaderName) -> bool {
    OURS.contains(name) || dashed(name).is_some_and(|name| means_something(&name))
}

fn is_one_of(name: &HeaderName, also: &[HeaderName]) -> bool {
    also.contains(name)
        || dashed(name)
            .is_some_and(|name| also.iter().any(|one| dashed(one).as_deref().unwrap_or(one.as_str()) == name))
}

/// How a name reads for those who take all punctuation for one; `None` if that is how it is spelled.
fn dashed(name: &HeaderName) -> Option<String> {
    let odd = |byte: u8| !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    // Without a way out in between, which is faster for names as short as these.
    let is_odd = name.as_str().bytes().fold(false, |found, byte| found | odd(byte));
    is_odd.then(|| name.as_str().chars().map(|c| if odd(c as u8) { '-' } else { c }).collect())
}

/// Whether more hangs on a field than that a service may like to know it: then nobody says it in another spelling.
fn means_something(name: &str) -> bool {
    OURS.iter().any(|ours| ours == name)
        || stays_here(name)
        || matches!(name, "content-length" | "content-type" | "content-encoding")
}

/// What never goes on to a service as a client sent it: one comparison of lengths for each name, where a look into a map would
/// cost a hash.
#[must_use]
pub fn stays_here(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "proxy-authorization"
            | "trailer"
            | "host"
            | "authorization"
            | "forwarded"
            | "traceparent"
            | "tracestate"
            // Another address than that of the connection, as other proxies write it.
            | "x-real-ip"
            | "x-client-ip"
            | "client-ip"
            | "true-client-ip"
            | "x-cluster-client-ip"
            | "cf-connecting-ip"
            | "fastly-client-ip"
            | "x-forwarded"
            | "forwarded-for"
            | "x-original-forwarded-for"
            // Another host or scheme, by which services would write links, which may be kept for others.
            | "x-host"
            | "x-original-host"
            | "x-http-host-override"
            | "x-scheme"
            | "x-url-scheme"
            | "front-end-https"
            // Another path or method than what was authorized (CVE-2018-14773).
            | "x-original-url"
            | "x-rewrite-url"
            | "x-http-method"
            | "x-http-method-override"
            | "x-method-override"
            // CGI makes HTTP_PROXY of it (CVE-2016-5385).
            | "proxy"
    ) || name.starts_with("x-forwarded-") // frameworks believe also `-port`, `-prefix`, `-user`
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_gateway_says_who_the_caller_is() {
        let mut headers = HeaderMap::new();
        for name in [
            "X-User-Id",
            "x_user_id",
            "X-User_Roles",
            "x-request-id",
            "X_Request-Timeout-Ms",
            "X_Forwarded_For",
            "x-forwarded_proto",
            "X_Forwarded-Host",
            "X.User.Id",
            "X~User!Id",
            "X_HTTP_Method_Override",
            "X_HTTP-Method",
            "X_Method-Override",
            "X_Original_URL",
            "X-Original_URL",
            "X_Rewrite.URL",
            "X_Real_IP",
            "Proxy_Authorization",
            "Transfer_Encoding",
            "Content_Length",
            "x-user-agent",
            "x_mine",
        ] {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("1"));
        }
        strip(&mut headers, &[]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-user-agent", "x_mine"]);
        strip(&mut headers, &[HeaderName::from_static("x-mine")]);
        assert_eq!(headers.len(), 1);
        headers.insert("x.key", HeaderValue::from_static("1"));
        remove(&mut headers, &[HeaderName::from_static("x_key")]);
        assert_eq!(headers.len(), 1);
    }
}
