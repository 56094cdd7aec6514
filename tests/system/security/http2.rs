//! What HTTP/1.1 would never hold and a gateway must not make of HTTP/2: messages (RFC 9113 section 8) and frames (sections 4
//! to 6).

use super::{
    Case,
    frames::{
        CONTINUATION, DATA, END, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
        WEIGHED, WHOLE, WINDOW_UPDATE, block, frame,
    },
    http2,
};

/// What is said of nearly everything: the codec does not name what is wrong more closely.
const PROTOCOL: u32 = 1;
const FLOW: u32 = 3;
const SIZE: u32 = 6;

type Field<'a> = (&'a str, &'a str);

const GET: [Field<'static>; 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/it"), (":authority", "shop.example")];
const POST: [Field<'static>; 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/it"), (":authority", "shop.example")];

fn coded(fields: &[Field<'_>]) -> Vec<u8> {
    let fields: Vec<(&[u8], &[u8])> =
        fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    block(&fields)
}

/// A request of these fields and no body.
fn only(fields: &[Field<'_>]) -> Vec<u8> {
    frame(HEADERS, END | WHOLE, 1, &coded(fields))
}

/// A GET with these fields beside the usual ones.
fn with(more: &[Field<'_>]) -> Vec<u8> {
    only(&[&GET, more].concat())
}

/// A GET whose field of that name is another, or none.
fn instead(name: &str, value: Option<&str>) -> Vec<u8> {
    let fields: Vec<Field<'_>> = GET
        .iter()
        .filter_map(|field| if field.0 == name { value.map(|value| (field.0, value)) } else { Some(*field) })
        .collect();
    only(&fields)
}

/// A POST with these fields and this body.
fn post(more: &[Field<'_>], body: &str) -> Vec<u8> {
    [frame(HEADERS, WHOLE, 1, &coded(&[&POST, more].concat())), frame(DATA, END, 1, body.as_bytes())].concat()
}

pub(super) fn messages() -> Vec<Case> {
    let mut cases = fields();
    cases.extend(pseudo_fields());
    cases.extend(bodies());
    cases.extend(legal());
    cases
}

fn fields() -> Vec<Case> {
    // What no parser of fields gets past costs the connection; what is a field and forbidden costs the stream.
    let broken = |name, source, field: Field<'_>| http2(name, source, with(&[field])).gone(PROTOCOL);
    let bad = |name, source, field: Field<'_>| http2(name, source, with(&[field])).reset(PROTOCOL);
    const NAMES: &str = "RFC 9113 section 8.2.1";
    const CONNECTION: &str = "RFC 9113 section 8.2.2";
    vec![
        broken("a name in capitals", NAMES, ("X-Mine", "1")),
        broken("a name with a blank", NAMES, ("x mine", "1")),
        broken("a name with a colon in it", NAMES, ("x:mine", "1")),
        broken("a name with a line break", NAMES, ("x\r\nsmuggled", "1")),
        broken("a name with a NUL", NAMES, ("x\0mine", "1")),
        broken("an empty name", NAMES, ("", "1")),
        broken("a value with a line break and a field", NAMES, ("x-mine", "1\r\nsmuggled: 1")),
        broken(
            "a value with a whole request",
            NAMES,
            ("x-mine", "1\r\n\r\nGET /it/smuggled HTTP/1.1\r\nhost: a"),
        ),
        broken("a value with a line feed", NAMES, ("x-mine", "1\nsmuggled: 1")),
        broken("a value with a carriage return", NAMES, ("x-mine", "1\rsmuggled: 1")),
        broken("a value with a NUL over HTTP/2", NAMES, ("x-mine", "1\x002")),
        bad("a coding", CONNECTION, ("transfer-encoding", "chunked")),
        bad("Connection", CONNECTION, ("connection", "x-user-id")),
        bad("Keep-Alive", CONNECTION, ("keep-alive", "5")),
        bad("Proxy-Connection", CONNECTION, ("proxy-connection", "close")),
        bad("Upgrade", CONNECTION, ("upgrade", "h2c")),
        bad("TE that asks for more than trailers", CONNECTION, ("te", "gzip")),
    ]
}

fn pseudo_fields() -> Vec<Case> {
    let broken = |name, source, frames: Vec<u8>| http2(name, source, frames).gone(PROTOCOL);
    let bad = |name, source, frames: Vec<u8>| http2(name, source, frames).reset(PROTOCOL);
    const REQUEST: &str = "RFC 9113 section 8.3.1";
    const PSEUDO: &str = "RFC 9113 section 8.3";
    vec![
        bad("no method", REQUEST, instead(":method", None)),
        bad("no scheme", REQUEST, instead(":scheme", None)),
        bad("no path", REQUEST, instead(":path", None)),
        bad("an empty path", REQUEST, instead(":path", Some(""))),
        bad("two methods", REQUEST, with_first((":method", "POST"))),
        bad("two paths", REQUEST, with_first((":path", "/mine"))),
        bad("two authorities", REQUEST, with_first((":authority", "other.example"))),
        bad("a pseudo-field of answers", PSEUDO, with_first((":status", "200"))),
        broken("a pseudo-field that does not exist", PSEUDO, with_first((":user", "7"))),
        bad("a pseudo-field after a field", PSEUDO, only(&[GET[0], GET[1], GET[3], ("x", "1"), GET[2]])),
        bad(
            "a path with a whole request line in it",
            REQUEST,
            instead(":path", Some("/it HTTP/1.1\r\nx: 1")),
        ),
        bad("a path with a blank", REQUEST, instead(":path", Some("/it /mine"))),
        broken(
            "a method with a request line in it",
            REQUEST,
            instead(":method", Some("GET /mine HTTP/1.1\r\nx: 1\r\n\r\nGET")),
        ),
        broken("a method with a blank", REQUEST, instead(":method", Some("GET /mine"))),
        bad("an authority with a line break", REQUEST, instead(":authority", Some("a\r\nx: 1"))),
        bad(
            "an extended CONNECT that was not offered",
            "RFC 8441 section 3",
            only(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/it"),
                (":authority", "a"),
            ]),
        ),
        http2("CONNECT", "RFC 9113 section 8.5", only(&[(":method", "CONNECT"), (":authority", "a:80")]))
            .refused(501),
        http2("an authority with a user", REQUEST, instead(":authority", Some("user@a"))).refused(400),
        http2("a scheme that is none of ours", REQUEST, instead(":scheme", Some("ftp"))).refused(400),
        http2("an authority and another Host", REQUEST, with(&[("host", "other.example")])).refused(400),
        http2(
            "two Hosts and no authority",
            REQUEST,
            only(&[GET[0], GET[1], GET[2], ("host", "a"), ("host", "b")]),
        )
        .refused(400),
        http2("neither an authority nor Host", REQUEST, instead(":authority", None)).refused(400),
        bad("a path that is none", REQUEST, instead(":path", Some("it"))),
        http2("dot segments", "RFC 3986 section 5.2.4", instead(":path", Some("/it/../mine"))).refused(400),
        bad("a path that is a URL", REQUEST, instead(":path", Some("http://b/it"))),
    ]
}

/// A GET that has one more field first.
fn with_first(field: Field<'_>) -> Vec<u8> {
    only(&[&[field][..], &GET].concat())
}

fn bodies() -> Vec<Case> {
    const SECTION: &str = "RFC 9113 section 8.1.1";
    let bad = |name, source, frames: Vec<u8>| http2(name, source, frames).reset(PROTOCOL).never_whole();
    vec![
        bad("less than the length says", SECTION, post(&[("content-length", "9")], "abcd")),
        bad("more than the length says", SECTION, post(&[("content-length", "2")], "abcd")),
        bad(
            "a length of 0 before a request",
            SECTION,
            post(&[("content-length", "0")], "GET /it/smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        ),
        bad("a length and no body", SECTION, with(&[("content-length", "4")])),
        bad(
            "a length with a sign over HTTP/2",
            "RFC 9110 section 8.6",
            post(&[("content-length", "+4")], "abcd"),
        ),
        bad("a length that is a word", "RFC 9110 section 8.6", post(&[("content-length", "four")], "abcd")),
        bad(
            "two lengths",
            "RFC 9110 section 8.6",
            post(&[("content-length", "4"), ("content-length", "5")], "abcd"),
        ),
        bad(
            "two lengths, the right one last",
            "RFC 9110 section 8.6",
            post(&[("content-length", "5"), ("content-length", "4")], "abcd"),
        ),
        bad(
            "trailers that do not end the stream",
            "RFC 9113 section 8.1",
            [
                frame(HEADERS, WHOLE, 1, &coded(&POST)),
                frame(DATA, 0, 1, b"abcd"),
                frame(HEADERS, WHOLE, 1, &coded(&[("x", "1")])),
            ]
            .concat(),
        ),
        http2("a field section that is too large", "RFC 9113 section 10.5.1", {
            let large = coded(&[&GET[..], &[("x-mine", &"y".repeat(40_000))]].concat());
            let (first, rest) = large.split_at(16_000);
            let (second, third) = rest.split_at(16_000);
            [
                frame(HEADERS, END, 1, first),
                frame(CONTINUATION, 0, 1, second),
                frame(CONTINUATION, WHOLE, 1, third),
            ]
            .concat()
        })
        .refused(431),
    ]
}

fn legal() -> Vec<Case> {
    vec![
        http2(
            "Host in the place of an authority",
            "RFC 9113 section 8.3.1",
            only(&[GET[0], GET[1], GET[2], ("host", "shop.example")]),
        )
        .passes(&["GET /it HTTP/1.1\r\n", "x-forwarded-host: shop.example\r\n"]),
        http2("an authority and the same Host", "RFC 9113 section 8.3.1", with(&[("host", "shop.example")]))
            .passes(&["x-forwarded-host: shop.example\r\n"]),
        http2(
            "cookies in pieces, which are one again",
            "RFC 9113 section 8.2.3",
            with(&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")]),
        )
        .passes(&["\r\ncookie: a=1; b=2\r\n"]),
        http2("TE for trailers, which stays here", "RFC 9113 section 8.2.2", with(&[("te", "trailers")]))
            .passes(&["GET /it "])
            .lacks(&["\r\nte:"]),
        http2("a body without a length", "RFC 9113 section 8.1.1", post(&[], "abcd"))
            .passes(&["transfer-encoding: chunked\r\n", "abcd"]),
        http2(
            "a body of its length in two frames",
            "RFC 9113 section 8.1.1",
            [
                frame(HEADERS, WHOLE, 1, &coded(&[&POST[..], &[("content-length", "4")]].concat())),
                frame(DATA, 0, 1, b"ab"),
                frame(DATA, END, 1, b"cd"),
            ]
            .concat(),
        )
        .passes(&["content-length: 4\r\n", "\r\n\r\nabcd"]),
        http2(
            "trailers, which go no further",
            "RFC 9110 section 6.5.1",
            [
                frame(HEADERS, WHOLE, 1, &coded(&POST)),
                frame(DATA, 0, 1, b"abcd"),
                frame(HEADERS, END | WHOLE, 1, &coded(&[("x-user-id", "1")])),
            ]
            .concat(),
        )
        .passes(&["abcd\r\n0\r\n\r\n"])
        .lacks(&["x-user-id"]),
        http2(
            "pseudo-fields in trailers, which go no further",
            "RFC 9113 section 8.1",
            [
                frame(HEADERS, WHOLE, 1, &coded(&POST)),
                frame(DATA, 0, 1, b"abcd"),
                frame(HEADERS, END | WHOLE, 1, &coded(&[(":path", "/mine")])),
            ]
            .concat(),
        )
        .passes(&["POST /it ", "abcd\r\n0\r\n\r\n"])
        .lacks(&["/mine"]),
        http2(
            "a fragment over HTTP/2, which goes no further",
            "RFC 9113 section 8.3.1",
            instead(":path", Some("/it#/mine")),
        )
        .passes(&["GET /it HTTP/1.1\r\n"])
        .lacks(&["mine"]),
        http2(
            "somebody else's identity over HTTP/2",
            "RFC 7239 section 8.1",
            with(&[("x-user-id", "31337"), ("x_user_id", "31337"), ("x-forwarded-for", "31337")]),
        )
        .passes(&["x-forwarded-for: 127.0.0.1\r\n", "via: 2 gateway\r\n"])
        .lacks(&["31337"]),
    ]
}

pub(super) fn frames() -> Vec<Case> {
    let gone = |name, source, code, frames: Vec<u8>| http2(name, source, frames).gone(code);
    let settings =
        |id: u16, value: u32| frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let (get, open) = (coded(&GET), frame(HEADERS, WHOLE, 1, &coded(&POST)));
    let ping = frame(PING, 0, 0, &[0; 8]);
    vec![
        gone("DATA of no stream", "RFC 9113 section 6.1", PROTOCOL, frame(DATA, 0, 0, b"abcd")),
        gone("HEADERS of no stream", "RFC 9113 section 6.2", PROTOCOL, frame(HEADERS, END | WHOLE, 0, &get)),
        gone(
            "a stream of an even number",
            "RFC 9113 section 5.1.1",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 2, &get),
        ),
        gone("DATA before HEADERS", "RFC 9113 section 5.1", PROTOCOL, frame(DATA, END, 1, b"abcd")),
        gone(
            "CONTINUATION without HEADERS",
            "RFC 9113 section 6.10",
            PROTOCOL,
            frame(CONTINUATION, WHOLE, 1, &get),
        ),
        gone(
            "a frame between HEADERS and CONTINUATION",
            "RFC 9113 section 6.2",
            PROTOCOL,
            [frame(HEADERS, END, 1, &get[..4]), ping.clone(), frame(CONTINUATION, WHOLE, 1, &get[4..])]
                .concat(),
        ),
        gone(
            "CONTINUATION of another stream",
            "RFC 9113 section 6.10",
            PROTOCOL,
            [frame(HEADERS, END, 1, &get[..4]), frame(CONTINUATION, WHOLE, 3, &get[4..])].concat(),
        ),
        gone(
            "padding that is longer than its frame",
            "RFC 9113 section 6.1",
            PROTOCOL,
            [open.clone(), frame(DATA, END | PADDED, 1, &[9, 1, 2])].concat(),
        ),
        gone("SETTINGS of a stream", "RFC 9113 section 6.5", PROTOCOL, frame(SETTINGS, 0, 1, &[])),
        gone(
            "SETTINGS of a size that is none",
            "RFC 9113 section 6.5",
            PROTOCOL,
            frame(SETTINGS, 0, 0, &[0; 5]),
        ),
        gone(
            "an acknowledgement with settings in it",
            "RFC 9113 section 6.5",
            PROTOCOL,
            frame(SETTINGS, END, 0, &[0; 6]),
        ),
        gone("a push that is neither on nor off", "RFC 9113 section 6.5.2", PROTOCOL, settings(2, 2)),
        gone("a window that is too large", "RFC 9113 section 6.5.2", PROTOCOL, settings(4, u32::MAX)),
        gone("a largest frame that is too small", "RFC 9113 section 6.5.2", PROTOCOL, settings(5, 16)),
        gone("PING of a wrong size", "RFC 9113 section 6.7", PROTOCOL, frame(PING, 0, 0, &[0; 7])),
        gone("PING of a stream", "RFC 9113 section 6.7", PROTOCOL, frame(PING, 0, 1, &[0; 8])),
        gone(
            "RST_STREAM of a stream that is not open",
            "RFC 9113 section 6.4",
            PROTOCOL,
            frame(RST_STREAM, 0, 1, &[0; 4]),
        ),
        gone(
            "RST_STREAM of a wrong size",
            "RFC 9113 section 6.4",
            PROTOCOL,
            [open.clone(), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
        )
        .never_whole(),
        gone(
            "a window that grows by nothing",
            "RFC 9113 section 6.9",
            PROTOCOL,
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
        ),
        gone(
            "a window that overflows",
            "RFC 9113 section 6.9.1",
            FLOW,
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        gone(
            "a push by a client",
            "RFC 9113 section 8.4",
            PROTOCOL,
            [open, frame(PUSH_PROMISE, WHOLE, 1, &[0, 0, 0, 2])].concat(),
        )
        .never_whole(),
        gone("a frame that is too large", "RFC 9113 section 4.2", SIZE, frame(DATA, 0, 1, &[0; 16_385])),
        gone(
            "a field of the table that is not there",
            "RFC 7541 section 2.3.3",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0xff, 0x7f]),
        ),
        gone(
            "field 0 of the table",
            "RFC 7541 section 6.1",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0x80]),
        ),
        gone(
            "a table that is too large",
            "RFC 7541 section 6.3",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0x3f, 0xff, 0xff, 0x7f]),
        ),
        gone(
            "a text that is longer than its block",
            "RFC 7541 section 5.2",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0, 0x7e, b'x']),
        ),
        gone(
            "a number without an end",
            "RFC 7541 section 5.1",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0xff; 20]),
        ),
        gone(
            "a code that is not finished rightly",
            "RFC 7541 section 5.2",
            PROTOCOL,
            frame(HEADERS, END | WHOLE, 1, &[0, 0x81, 0x00, 0x01, b'x']),
        ),
        gone(
            "a stream of a lower number",
            "RFC 9113 section 5.1.1",
            PROTOCOL,
            [
                frame(HEADERS, END | WHOLE, 5, &coded(&[(":method", "GET")])),
                frame(HEADERS, END | WHOLE, 3, &get),
            ]
            .concat(),
        ),
        http2(
            "DATA after the end",
            "RFC 9113 section 5.1",
            [only(&[GET[0], GET[1], ("x", "1")]), frame(DATA, END, 1, b"abcd")].concat(),
        )
        .gone(PROTOCOL),
        http2(
            "a frame that nobody knows",
            "RFC 9113 section 4.1",
            [frame(0xee, 0xff, 0, b"abcd"), only(&GET)].concat(),
        )
        .passes(&["GET /it "]),
        http2(
            "a setting that nobody knows",
            "RFC 9113 section 6.5.2",
            [settings(0xeeee, 1), only(&GET)].concat(),
        )
        .passes(&["GET /it "]),
        http2(
            "a priority",
            "RFC 9113 section 5.3.2",
            [
                frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15]),
                frame(HEADERS, END | WHOLE | WEIGHED, 1, &[&[0, 0, 0, 0, 15], &get[..]].concat()),
            ]
            .concat(),
        )
        .passes(&["GET /it "]),
        http2(
            "padding",
            "RFC 9113 section 6.2",
            frame(HEADERS, END | WHOLE | PADDED, 1, &[&[3], &get[..], &[0; 3]].concat()),
        )
        .passes(&["GET /it "]),
        http2(
            "fields in many CONTINUATIONs",
            "RFC 9113 section 6.10",
            [
                frame(HEADERS, END, 1, &get[..9]),
                frame(CONTINUATION, 0, 1, &get[9..20]),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, WHOLE, 1, &get[20..]),
            ]
            .concat(),
        )
        .passes(&["GET /it "]),
        http2(
            "a goodbye after the request",
            "RFC 9113 section 6.8",
            [only(&GET), frame(GOAWAY, 0, 0, &[0; 8])].concat(),
        )
        .passes(&["GET /it "])
        .and_closes(),
        http2(
            "PING, and a larger window",
            "RFC 9113 section 6.7",
            [ping, frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]), only(&GET)].concat(),
        )
        .passes(&["GET /it "]),
    ]
}
