//! Who the client is, as the proxies before the gateway tell: by `Forwarded` (RFC 7239) or `X-Forwarded-For`.
//!
//! Each proxy adds the address that it was asked from on the right, so they are read from there: the first that is no trusted
//! proxy is the client, and whatever stands to its left is only what it says itself. Where reading ends, at something that is no
//! address (`unknown`, `_hidden`, nonsense), the last trusted proxy is the client: nobody gets an address by saying so.
//! Where both fields are there, they must agree: a proxy that adds to one of them passes the other on as the client wrote it.
//!
//! Asked only for requests that come from a trusted proxy. Not here: who that is (`proxies.rs`), what services are told
//! (`proxy/headers.rs`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::proxies::Proxies;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// A client as a proxy tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// With port 0 where the port is not known.
    pub(super) address: SocketAddr,
    /// Whether it came by TLS, if that is told.
    pub(super) tls: Option<bool>,
}

/// Whom a request comes from that came from one of `proxies`; `None` for the proxy itself.
pub(super) fn client(headers: &HeaderMap, proxies: &Proxies) -> Option<Client> {
    let by = |name: &HeaderName, split: Split, read: Read| {
        headers.contains_key(name).then(|| walk(headers, name, proxies, split, read))
    };
    let forwarded = by(&header::FORWARDED, outside_quotes, element);
    let listed = by(&FORWARDED_FOR, |text, at| Some(text.split(at).collect()), entry);
    match (forwarded, listed) {
        (Some(forwarded), Some(listed)) => {
            forwarded.filter(|one| listed.is_some_and(|other| other.address.ip() == one.address.ip()))
        }
        (Some(forwarded), None) => forwarded,
        (None, Some(listed)) => listed.map(|client| Client { tls: scheme(headers), ..client }),
        (None, None) => None,
    }
}

type Split = fn(&str, char) -> Option<Vec<&str>>;
type Read = fn(&str) -> Option<Client>;

/// From right to left, over all fields of that name (RFC 9110 section 5.3).
fn walk(
    headers: &HeaderMap,
    name: &HeaderName,
    proxies: &Proxies,
    split: Split,
    read: Read,
) -> Option<Client> {
    let mut last = None;
    for line in headers.get_all(name).iter().rev() {
        let Some(hops) = line.to_str().ok().and_then(|line| split(line, ',')) else { return last };
        // Empty elements of a list count for nothing (RFC 9110 section 5.6.1.2).
        for hop in hops.into_iter().rev().map(str::trim).filter(|hop| !hop.is_empty()) {
            let Some(client) = read(hop) else { return last };
            last = Some(client);
            if !proxies.trust(client.address.ip()) {
                return last;
            }
        }
    }
    last
}

/// The parts of `text` between separators that are not quoted; `None` where a quote is not closed: then nobody can say what
/// was.
fn outside_quotes(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text
        .split(|c: char| {
            let ends = !quoted && c == separator;
            quoted ^= c == '"' && !escaped;
            escaped = quoted && c == '\\' && !escaped;
            ends
        })
        .collect();
    (!quoted).then_some(parts)
}

/// One element of `Forwarded`: `for="[2001:db8::1]:80";proto=https` (RFC 7239 section 4).
fn element(text: &str) -> Option<Client> {
    let (mut address, mut tls) = (None, None);
    for pair in outside_quotes(text, ';')?.into_iter().map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let (value, is) = (unquoted(value)?, |known| name.eq_ignore_ascii_case(known));
        if !is_token(name)
            || is("for") && address.replace(node(value)?).is_some()
            || is("proto") && tls.replace(is_https(value)).is_some()
        {
            return None; // each at most once (RFC 7239 section 4)
        }
    }
    Some(Client { address: address?, tls: tls.flatten() })
}

/// A token, or what stands in quotes. Escapes are not read: no address needs one.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\'])),
        None => Some(value).filter(|value| is_token(value)),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(known)
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]`, `[2001:db8::1]:80`, with a port that may be hidden (RFC 7239 section 6).
fn node(text: &str) -> Option<SocketAddr> {
    let (address, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, rest) = bracketed.split_once(']')?;
            (IpAddr::V6(address.parse::<Ipv6Addr>().ok()?), rest)
        }
        None => {
            let (address, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            (IpAddr::V4(address.parse::<Ipv4Addr>().ok()?), rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => 0,
        Some(hidden) if hidden.len() > 1 && hidden.starts_with('_') => 0,
        Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => port.parse().ok()?,
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

/// One entry of `X-Forwarded-For`: the same, and IPv6 without brackets, as most write it there.
fn entry(text: &str) -> Option<Client> {
    let bare = text.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical());
    let address = bare.map(|address| SocketAddr::new(address, 0)).or_else(|| node(text))?;
    Some(Client { address, tls: None })
}

/// `X-Forwarded-Proto`, where there is one and it says one thing.
fn scheme(headers: &HeaderMap) -> Option<bool> {
    let mut all = headers.get_all(FORWARDED_PROTO).iter();
    let only: Option<&HeaderValue> = all.next().filter(|_| all.next().is_none());
    is_https(only?.to_str().ok()?)
}

fn is_https(scheme: &str) -> Option<bool> {
    let is = |known| scheme.eq_ignore_ascii_case(known);
    (is("https") || is("http")).then(|| is("https"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(fields: &[(&'static str, &str)]) -> Option<String> {
        let networks = ["10.0.0.0/8", "2001:db8:a::/48"].map(|text| text.parse().unwrap());
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        let mut headers = HeaderMap::new();
        fields.for_each(|(name, value)| _ = headers.append(name, value));
        client(&headers, &Proxies::new(&networks, false)).map(|client| {
            let scheme = client.tls.map_or("", |tls| if tls { " https" } else { " http" });
            format!("{}{scheme}", client.address)
        })
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        for (field, client) in [
            ("198.51.100.7", "198.51.100.7:0"),
            ("6.6.6.6, 198.51.100.7", "198.51.100.7:0"),
            ("6.6.6.6,198.51.100.7 , 10.0.0.2", "198.51.100.7:0"),
            ("6.6.6.6, 10.0.0.3, 198.51.100.7:80, 10.0.0.2:99", "198.51.100.7:80"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3:0"),
            (", 198.51.100.7,, ", "198.51.100.7:0"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]:80, 2001:db8:a::2", "[2001:db8::1]:80"),
            ("::ffff:198.51.100.7", "198.51.100.7:0"),
            ("198.51.100.7, ::ffff:10.0.0.2", "198.51.100.7:0"),
            ("6.6.6.6\", 198.51.100.7", "198.51.100.7:0"),
        ] {
            assert_eq!(told(&[("x-forwarded-for", field)]).as_deref(), Some(client), "{field}");
        }
        let several = [
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-for", "10.0.0.2"),
        ];
        assert_eq!(told(&several).as_deref(), Some("198.51.100.7:0"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (field, client) in [
            ("for=198.51.100.7", "198.51.100.7:0"),
            ("For=\"198.51.100.7:4711\";Proto=HTTPS;by=10.0.0.1;host=\"a,b;c\"", "198.51.100.7:4711 https"),
            ("for=6.6.6.6;proto=https, for=198.51.100.7;proto=http", "198.51.100.7:0 http"),
            ("for=\"[2001:db8::1]:80\", for=\"[2001:db8:a::2]\"", "[2001:db8::1]:80"),
            ("for=198.51.100.7;proto=https, for=10.0.0.2;proto=http", "198.51.100.7:0 https"),
            ("for=\"198.51.100.7:_hidden\"; proto=ws;", "198.51.100.7:0"),
        ] {
            assert_eq!(told(&[("forwarded", field)]).as_deref(), Some(client), "{field}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_reading_at_the_last_trusted_proxy() {
        for wrong in [
            "x=\"\\\",for=10.0.0.9\";for=198.51.100.7",
            "unknown",
            "_hidden",
            "for",
            "",
            "=",
            "for=",
            "by=10.0.0.9",
            "for=2001:db8::1",
            "for=[2001:db8::1]",
            "for=198.51.100.7:80",
            "for=\"198.51.100.7:99999\"",
            "for=\"198.51.100.7:+8\"",
            "for=\"198.51.100.7:_\"",
            "for=\"198.51.100.7",
            "for=198.51.100.7;for=198.51.100.7",
            "for=\"[::1]x\"",
            "for=\"[::1%lo]:80\"",
            "for=\"198.51.100.7\\\"",
            "for =198.51.100.7",
            "for=198.051.100.7",
            "for=\"\"",
            "f(r=1;for=198.51.100.7",
            "for=198.51.100.7;proto=http;proto=https",
        ] {
            let first = told(&[("forwarded", &format!("for=6.6.6.6, {wrong}"))]);
            assert!(first.is_none() || wrong.is_empty(), "{wrong}: {first:?}");
            let apart = [("forwarded", wrong), ("forwarded", "for=10.0.0.2")];
            assert_eq!(told(&apart).as_deref(), Some("10.0.0.2:0"), "{wrong}");
        }
        for wrong in ["unknown", "6.6.6.6.6", "a", "6.6.6.6 6.6.6.6", "for=6.6.6.6", "[6.6.6.6]", "\u{e9}"] {
            assert_eq!(told(&[("x-forwarded-for", &format!("6.6.6.6, {wrong}"))]), None, "{wrong}");
        }
    }

    #[test]
    fn two_fields_that_disagree_say_nothing() {
        let both = |forwarded, listed| told(&[("forwarded", forwarded), ("x-forwarded-for", listed)]);
        assert_eq!(
            both("for=198.51.100.7;proto=https", "198.51.100.7:80").as_deref(),
            Some("198.51.100.7:0 https")
        );
        assert_eq!(both("for=6.6.6.6", "198.51.100.7"), None);
        assert_eq!(both("for=198.51.100.7", "6.6.6.6"), None);
        assert_eq!(both("for=unknown", "198.51.100.7"), None);
        assert_eq!(both("for=198.51.100.7", "unknown"), None);
    }

    #[test]
    fn a_scheme_counts_where_it_is_told_once() {
        let with = |schemes: &[&str]| {
            let mut fields = vec![("x-forwarded-for", "198.51.100.7")];
            fields.extend(schemes.iter().map(|scheme| ("x-forwarded-proto", *scheme)));
            told(&fields).unwrap()
        };
        assert_eq!(
            (with(&["https"]), with(&["HTTP"])),
            ("198.51.100.7:0 https".into(), "198.51.100.7:0 http".into())
        );
        for none in [&[][..], &["https, http"], &["https", "https"], &["ws"], &[""]] {
            assert_eq!(with(none), "198.51.100.7:0", "{none:?}");
        }
        assert_eq!(told(&[("x-forwarded-proto", "https")]), None);
    }

    proptest! {
        #[test]
        fn what_a_client_sends_never_gives_it_another_address(sent in "[ -~]{0,40}") {
            for (name, line) in [
                ("x-forwarded-for", format!("{sent},198.51.100.7")),
                ("forwarded", format!("{sent},for=198.51.100.7;by=\"10.0.0.1:80\"")),
                ("forwarded", format!("{sent}, for=\"198.51.100.7:80\"")),
            ] {
                let told = told(&[(name, &line)]);
                prop_assert!(told.as_deref().is_none_or(|told| told.starts_with("198.51.100.7:")), "{line}: {told:?}");
            }
        }
    }
}
