//! Who says what to a service: fields that only the gateway may set, and what belongs to one connection.

use super::{Case, http1};

/// A GET with these fields.
fn get(fields: &str) -> String {
    format!("GET /it HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n\r\n")
}

/// A field that goes no further.
fn stays(name: &'static str, source: &'static str, fields: &str) -> Case {
    http1(name, source, get(fields)).passes(&["GET /it ", "x-request-id: "]).lacks(&["31337"])
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = vec![
        stays("somebody else's identity", "RFC 7239 section 8.1", "x-user-id: 31337\r\nx-user-roles: 31337"),
        stays("an identity with underscores", "RFC 3875 section 4.1.18", "x_user_id: 31337\r\nX-User_Roles: 31337"),
        stays("a request id of the client's own", "RFC 9110 section 7.6", "x-request-id: 31337"),
        stays("a time limit for services", "RFC 3875 section 4.1.18", "x-request-timeout-ms: 31337"),
        stays("another address in X-Forwarded-For", "RFC 7239 section 8.1", "x-forwarded-for: 31337")
            .and_holds(&["x-forwarded-for: 127.0.0.1\r\n"]),
        stays("another address in Forwarded", "RFC 7239 section 8.1", "forwarded: for=31337")
            .and_holds(&["forwarded: for=127.0.0.1;proto=http;host=\"shop.example\"\r\n"]),
        stays("another scheme in X-Forwarded-Proto", "RFC 7239 section 8.1", "x-forwarded-proto: 31337").and_holds(&["x-forwarded-proto: http\r\n"]),
        stays("another host in X-Forwarded-Host", "RFC 7239 section 8.1", "x-forwarded-host: 31337")
            .and_holds(&["x-forwarded-host: shop.example\r\n"]),
        stays("another port in X-Forwarded-Port", "RFC 7239 section 8.1", "x-forwarded-port: 31337"),
        stays("a path before the path in X-Forwarded-Prefix", "RFC 7239 section 8.1", "x-forwarded-prefix: /31337"),
        stays("a user in X-Forwarded-User", "RFC 3875 section 4.1.18", "x-forwarded-user: 31337\r\nx-forwarded-email: 31337"),
        stays("forwarded fields with underscores", "RFC 3875 section 4.1.18", "x_forwarded_for: 31337\r\nx_forwarded-host: 31337"),
        stays("another address in X-Real-IP", "RFC 7239 section 8.1", "x-real-ip: 31337"),
        stays("another address in fields of other proxies", "RFC 7239 section 8.1",
            "x-client-ip: 31337\r\nclient-ip: 31337\r\ntrue-client-ip: 31337\r\nx-cluster-client-ip: 31337\r\ncf-connecting-ip: 31337\r\n\
             fastly-client-ip: 31337\r\nx-forwarded: 31337\r\nforwarded-for: 31337\r\nx-original-forwarded-for: 31337\r\nX_Client_IP: 31337"),
        stays("another host in fields that frameworks obey", "RFC 9110 section 7.2",
            "x-host: 31337\r\nx-original-host: 31337\r\nx-http-host-override: 31337"),
        stays("another scheme in fields that frameworks obey", "RFC 9110 section 4.2",
            "x-scheme: 31337\r\nx-url-scheme: 31337\r\nfront-end-https: 31337"),
        stays("another path in X-Original-URL", "CVE-2018-14773", "x-original-url: /31337"),
        stays("another path in X-Rewrite-URL", "CVE-2018-14773", "x-rewrite-url: /31337"),
        stays("another method in X-HTTP-Method-Override", "RFC 9110 section 9.1", "x-http-method-override: 31337\r\nx-http-method: 31337\r\nx-method-override: 31337"),
        stays("another address in X_Real_IP", "RFC 3875 section 4.1.18", "x_real_ip: 31337\r\nX_Real-IP: 31337"),
        stays("another path in X_Original_URL", "RFC 3875 section 4.1.18", "X_Original_URL: /31337\r\nX-Original_URL: /31337\r\nX_Rewrite_URL: /31337"),
        stays("another method in X_HTTP_Method_Override", "RFC 3875 section 4.1.18",
            "X_HTTP_Method_Override: 31337\r\nX_HTTP-Method: 31337\r\nX_Method-Override: 31337"),
        stays("an identity with dots and other signs", "RFC 3875 section 4.1.18", "X.User.Id: 31337\r\nX~User!Roles: 31337\r\nX-Forwarded.For: 31337"),
        stays("a length and a coding with underscores", "RFC 3875 section 4.1.18", "Content_Length: 31337\r\nTransfer_Encoding: 31337"),
        stays("a proxy for CGI programs", "CVE-2016-5385", "proxy: http://31337"),
        stays("a token where nobody asks for one", "RFC 9110 section 11.6.2", "authorization: Bearer 31337"),
        stays("a credential for the gateway itself", "RFC 9110 section 11.7.2", "proxy-authorization: Basic 31337"),
        stays("a broken trace", "W3C Trace Context section 3.2.2", "traceparent: 00-31337-31337-01\r\ntracestate: a=31337").and_holds(&["traceparent: 00-"]),
        stays("fields that Connection names", "RFC 9110 section 7.6.1", "connection: x-hop, close\r\nx-hop: 31337").and_closes(),
        stays("Keep-Alive and Proxy-Connection", "RFC 9110 section 7.6.1", "keep-alive: 31337\r\nproxy-connection: 31337"),
        stays("TE of one connection", "RFC 9110 section 10.1.4", "te: 31337\r\nconnection: te"),
        stays("an upgrade to another protocol", "RFC 9110 section 7.8", "upgrade: 31337\r\nconnection: upgrade"),
        http1("Connection names what the gateway adds", "CVE-2022-31813",
            get("connection: x-forwarded-for, x-forwarded-host, forwarded, x-request-id, via, host"))
            .passes(&["x-forwarded-for: 127.0.0.1\r\n", "x-forwarded-host: shop.example\r\n", "forwarded: for=", "x-request-id: ",
                "via: 1.1 gateway\r\n", "\r\nhost: 127.0.0.1:"]),
        http1("Connection names the length", "RFC 9110 section 7.6.1",
            "POST /it HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nconnection: content-length\r\n\r\nabcd").passes(&["abcd"]),
        http1("Connection names the coding", "RFC 9110 section 7.6.1",
            "POST /it HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: transfer-encoding\r\n\r\n4\r\nabcd\r\n0\r\n\r\n")
            .passes(&["transfer-encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n"]),
    ];
    cases.extend([
        http1(
            "a host that breaks out of Forwarded",
            "RFC 7239 section 4",
            "GET /it HTTP/1.1\r\nhost: a\";for=6.6.6.6\r\n\r\n",
        )
        .refused(400),
        http1("a Via of others is added to", "RFC 9110 section 7.6.3", get("via: 1.0 fred"))
            .passes(&["via: 1.0 fred\r\nvia: 1.1 gateway\r\n"]),
        http1(
            "a trace is continued",
            "W3C Trace Context section 3.2.2",
            get("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        )
        .passes(&["traceparent: 00-0af7651916cd43dd8448eb211c80319c-"])
        .lacks(&["b7ad6b7169203331"]),
        http1(
            "fields of one name stay apart and in order",
            "RFC 9110 section 5.3",
            get("x-a: 1\r\nx-b: 2\r\nx-a: 3"),
        )
        .passes(&["x-a: 1\r\n", "x-a: 3\r\n", "x-b: 2\r\n"]),
        http1("a field with an underscore that is nobody's", "RFC 9110 section 5.1", get("x_mine: 1"))
            .passes(&["x_mine: 1\r\n"]),
    ]);
    cases
}

impl Case {
    /// What the service sees besides.
    fn and_holds(mut self, holds: &[&str]) -> Case {
        self.origin[0].extend(holds.iter().map(|text| (*text).to_owned()));
        self
    }
}
