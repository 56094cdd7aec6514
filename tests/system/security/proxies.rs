//! Where a request comes from, as trusted proxies tell. The gateway of these cases trusts 127.0.0.1, which all clients here are,
//! and 10.0.0.0/8.

use super::{Case, http1};

/// A GET with these fields that comes from this address, as far as the service is told.
fn from(name: &'static str, source: &'static str, fields: &str, address: &str) -> Case {
    let node = if address.contains(':') { format!("\"[{address}]\"") } else { address.to_owned() };
    let listed = format!("\r\nx-forwarded-for: {address}\r\n");
    let forwarded = format!("\r\nforwarded: for={node};proto=http;host=\"shop.example\"\r\n");
    let sent = format!("GET /it HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n\r\n");
    http1(name, source, sent).passes(&[&listed, &forwarded]).lacks(&["6.6.6.6", "31337"])
}

/// The proxy itself counts as the client.
fn ends(name: &'static str, source: &'static str, fields: &str) -> Case {
    from(name, source, fields, "127.0.0.1")
}

pub(super) fn cases() -> Vec<Case> {
    let (grammar, nodes) = ("RFC 7239 section 4", "RFC 7239 section 6");
    let (obscured, trust) = ("RFC 7239 section 6.3", "RFC 7239 section 8.1");
    let one = "198.51.100.7";
    let mut cases = vec![
        from("a client behind a trusted proxy", "RFC 7239 section 5.2", "x-forwarded-for: 198.51.100.7", one),
        from("a client behind two", "RFC 7239 section 7.1", "x-forwarded-for: 198.51.100.7, 10.0.0.9", one),
        from("a client that says more on the left", trust, "x-forwarded-for: 6.6.6.6, 198.51.100.7", one),
        from(
            "a client that names a trusted proxy",
            trust,
            "x-forwarded-for: 6.6.6.6, 10.0.0.9, 198.51.100.7",
            one,
        ),
        from(
            "a client that sends a field of its own",
            trust,
            "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 198.51.100.7",
            one,
        ),
        from(
            "a client that opens a quote in the list",
            trust,
            "x-forwarded-for: \"6.6.6.6, 198.51.100.7",
            one,
        ),
        from("a client with a port", nodes, "x-forwarded-for: 198.51.100.7:4711", one),
        from("a client of IPv6 without brackets", nodes, "x-forwarded-for: 2001:db8::7", "2001:db8::7"),
        from("a client of IPv6 with a port", nodes, "forwarded: for=\"[2001:db8::7]:80\"", "2001:db8::7"),
        from("a loopback client of IPv6", nodes, "forwarded: for=\"[::1]:80\"", "::1"),
        from("IPv4 written as IPv6", nodes, "forwarded: for=\"[::ffff:198.51.100.7]\"", one),
        from(
            "a client in Forwarded, right-most",
            grammar,
            "forwarded: for=6.6.6.6, for=198.51.100.7;by=10.0.0.9",
            one,
        ),
        from("a hidden port", obscured, "forwarded: for=\"198.51.100.7:_hidden\"", one),
        from("a comma in quotes", grammar, "forwarded: for=198.51.100.7;ext=\"a,for=6.6.6.6\"", one),
        from("nobody but trusted proxies", trust, "x-forwarded-for: 10.0.0.8, 10.0.0.9", "10.0.0.8"),
        from(
            "both fields of one mind",
            trust,
            "forwarded: for=198.51.100.7\r\nx-forwarded-for: 6.6.6.6, 198.51.100.7",
            one,
        ),
        from(
            "an unknown node before a trusted one",
            obscured,
            "forwarded: for=6.6.6.6, for=unknown, for=10.0.0.9",
            "10.0.0.9",
        ),
        ends("an unknown node", obscured, "forwarded: for=6.6.6.6, for=unknown"),
        ends("a hidden node", obscured, "forwarded: for=6.6.6.6, for=_hidden"),
        ends("an unknown entry in the list", obscured, "x-forwarded-for: 6.6.6.6, unknown"),
        ends("an element without an address", grammar, "forwarded: for=6.6.6.6, by=10.0.0.9;proto=http"),
        ends("two addresses in one element", grammar, "forwarded: for=6.6.6.6;for=6.6.6.6"),
        ends("a quote that is not closed", grammar, "forwarded: for=\"6.6.6.6, for=198.51.100.7"),
        ends("an address with a port and no quotes", grammar, "forwarded: for=6.6.6.6:80"),
        ends("IPv6 without brackets in Forwarded", nodes, "forwarded: for=\"2001:db8::7\""),
        ends("an address with a zone", nodes, "forwarded: for=\"[fe80::1%eth0]\""),
        ends("an address with zeros before it", nodes, "x-forwarded-for: 6.6.6.6, 198.051.100.7"),
        ends("two fields that disagree", trust, "forwarded: for=6.6.6.6\r\nx-forwarded-for: 198.51.100.7"),
        ends(
            "two fields that disagree the other way",
            trust,
            "forwarded: for=198.51.100.7\r\nx-forwarded-for: 6.6.6.6",
        ),
        ends("an address in X-Real-IP alone", trust, "x-real-ip: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6"),
        ends("another host in Forwarded", trust, "forwarded: host=31337\r\nx-forwarded-host: 31337"),
    ];
    cases.push(
        http1(
            "a client of the proxy that came by TLS",
            "RFC 7239 section 5.4",
            "GET /it HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 198.51.100.7\r\nx-forwarded-proto: https\r\n\r\n",
        )
        .passes(&["x-forwarded-proto: https\r\n", "forwarded: for=198.51.100.7;proto=https;host=\"a\"\r\n"]),
    );
    cases
}
