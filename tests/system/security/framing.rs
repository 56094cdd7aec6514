//! Where a request ends, and what is none: everything that two readers could count differently (RFC 9112).

use super::{Case, http1};

const AFTER: &str = "GET /it/smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/// A POST with these fields and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /it HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n{body}")
}

/// A POST in chunks.
fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked", body)
}

/// A GET with these fields.
fn get(fields: &str) -> String {
    format!("GET /it HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n")
}

fn line(line: &str) -> String {
    format!("{line}\r\nhost: a\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = lengths();
    cases.extend(codings());
    cases.extend(chunks());
    cases.extend(lines());
    cases.extend(legal());
    cases
}

fn lengths() -> Vec<Case> {
    let length = |name, value: &str| {
        http1(name, "RFC 9112 section 6.3", post(&format!("content-length: {value}"), "abcd"))
            .refused_and_closed(400)
    };
    vec![
        length("a length with a sign", "+4"),
        length("a negative length", "-4"),
        length("a length in hexadecimal", "0x4"),
        length("a length with a fraction", "4.0"),
        length("no length where one is named", ""),
        length("a length with a blank inside", "4 4"),
        length("a length above 64 bits", "99999999999999999999"),
        length("two lengths in one field that differ", "4, 5"),
        length("a length and a comma", "4,"),
        length("a length in other digits", "\u{0664}"),
        http1(
            "two lengths that differ",
            "RFC 9112 section 6.3",
            post("content-length: 4\r\ncontent-length: 5", "abcde"),
        )
        .refused_and_closed(400),
        http1(
            "two lengths that differ, 0 first",
            "RFC 9112 section 6.3",
            post("content-length: 0\r\ncontent-length: 42", AFTER),
        )
        .refused_and_closed(400),
        http1(
            "a length before the coding, and a request after the chunks",
            "RFC 9112 section 6.1",
            post("content-length: 6\r\ntransfer-encoding: chunked", &format!("0\r\n\r\n{AFTER}")),
        )
        .passes(&["transfer-encoding: chunked", "\r\n\r\n0\r\n\r\n"])
        .lacks(&["content-length", "smuggled"])
        .and_closes(),
        http1(
            "a length after the coding, and a request after the chunks",
            "RFC 9112 section 6.1",
            post("transfer-encoding: chunked\r\nContent-Length: 6", &format!("0\r\n\r\n{AFTER}")),
        )
        .passes(&["transfer-encoding: chunked", "\r\n\r\n0\r\n\r\n"])
        .lacks(&["content-length", "smuggled"])
        .and_closes(),
        http1(
            "a body that is longer than it says is the next request",
            "RFC 9112 section 6.3",
            post("content-length: 4", "abcdGARBAGE\r\n\r\n"),
        )
        .passes(&["\r\n\r\nabcd"])
        .lacks(&["GARBAGE"])
        .statuses(&[200, 400])
        .and_closes(),
    ]
}

fn codings() -> Vec<Case> {
    let coding = |name, source, value: &str| {
        http1(name, source, post(&format!("transfer-encoding: {value}"), "0\r\n\r\n"))
    };
    const SECTION: &str = "RFC 9112 section 6.1";
    vec![
        coding("a coding that nobody knows", SECTION, "xchunked").refused_and_closed(400),
        coding("chunked that is not last", SECTION, "chunked, identity").refused_and_closed(400),
        coding("chunked twice", "RFC 9112 section 7.1", "chunked, chunked").refused(501),
        coding("gzip and chunked", SECTION, "gzip, chunked").refused(501),
        coding("identity, which is no longer a coding", SECTION, "identity").refused_and_closed(400),
        coding("chunked with a parameter", SECTION, "chunked;q=1").refused_and_closed(400),
        coding("chunked in quotes", SECTION, "\"chunked\"").refused_and_closed(400),
        coding("chunked after a vertical tab", SECTION, "\u{b}chunked").refused_and_closed(400),
        coding("no coding where one is named", SECTION, "").refused_and_closed(400),
        coding("two fields of codings, chunked last", SECTION, "x\r\ntransfer-encoding: chunked")
            .refused(501),
        coding("two fields of codings, chunked first", SECTION, "chunked\r\ntransfer-encoding: x")
            .refused_and_closed(400),
        coding("a coding in a folded line", "RFC 9112 section 5.2", "\r\n chunked").refused_and_closed(400),
        http1(
            "a blank before the colon of the coding",
            "RFC 9112 section 5.1",
            post("transfer-encoding : chunked", "0\r\n\r\n"),
        )
        .refused_and_closed(400),
        http1(
            "a coding in HTTP/1.0",
            SECTION,
            "POST /it HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        )
        .refused_and_closed(400),
    ]
}

fn chunks() -> Vec<Case> {
    const SECTION: &str = "RFC 9112 section 7.1";
    let broken =
        |name, source, body: &str| http1(name, source, chunked(body)).refused_and_closed(400).never_whole();
    vec![
        broken("a chunk of negative size", SECTION, "-1\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk whose size begins with 0x", SECTION, "0x3\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk whose size is above 64 bits", SECTION, "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk without a size", SECTION, "\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk whose size is a word", SECTION, "three\r\nabc\r\n0\r\n\r\n"),
        broken("a chunk that is longer than it says", SECTION, "3\r\nabcX\r\n0\r\n\r\n"),
        broken("a chunk that ends with a bare line feed", SECTION, "3\r\nabc\n0\r\n\r\n"),
        broken("a chunk's size that ends with a bare line feed", SECTION, "3\nabc\r\n0\r\n\r\n"),
        broken("a chunk extension with a bare line feed", "RFC 9112 section 7.1.1", "3;x=\nabc\r\n0\r\n\r\n"),
        broken("a chunk's size that ends with a bare carriage return", SECTION, "3\rXabc\r\n0\r\n\r\n"),
        broken("the last chunk, which ends with a bare line feed", SECTION, "3\r\nabc\r\n0\n\n"),
        broken("a chunk extension without an end", "RFC 9112 section 7.1.1", &format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(40_000))),
        broken("trailers without an end", "RFC 9112 section 7.1.2", &format!("0\r\n{}\r\n", "x: y\r\n".repeat(20_000))),
        broken("a trailer that is no field", "RFC 9112 section 7.1.2", "3\r\nabc\r\n0\r\nno field\r\n\r\n"),
        http1("more in chunks than the route takes", "RFC 9110 section 15.5.14",
            "POST /small HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nc\r\nabcdefghijkl\r\n0\r\n\r\n")
            .refused(413).never_whole(),
    ]
}

fn lines() -> Vec<Case> {
    let bad = |name, source, sent: String| http1(name, source, sent).refused_and_closed(400);
    vec![
        bad("a blank before the colon of a field", "RFC 9112 section 5.1", get("x-a : 1")),
        bad("a field in a folded line", "RFC 9112 section 5.2", get("x-a: 1\r\n 2")),
        bad(
            "a folded line before the first field",
            "RFC 9112 section 2.2",
            "GET /it HTTP/1.1\r\n host: a\r\n\r\n".to_owned(),
        ),
        bad("a field without a colon", "RFC 9112 section 5", get("x-a")),
        bad("a field without a name", "RFC 9110 section 5.1", get(": 1")),
        bad("a field whose name holds a bracket", "RFC 9110 section 5.1", get("x(a): 1")),
        bad("a field whose name holds a NUL", "RFC 9110 section 5.1", get("x\0a: 1")),
        bad("a value with a NUL", "RFC 9110 section 5.5", get("x-a: 1\x002")),
        bad("a value with a bare carriage return", "RFC 9112 section 2.2", get("x-a: 1\rhost: b")),
        bad("a value with a control character", "RFC 9110 section 5.5", get("x-a: 1\x012")),
        bad("a value with a delete character", "RFC 9110 section 5.5", get("x-a: 1\x7f2")),
        bad("a method with a bracket", "RFC 9110 section 9.1", line("GE(T /it HTTP/1.1")),
        bad("two blanks before the target", "RFC 9112 section 3", line("GET  /it HTTP/1.1")),
        bad("two blanks after the target", "RFC 9112 section 3", line("GET /it  HTTP/1.1")),
        bad("a tab in the request line", "RFC 9112 section 3", line("GET\t/it\tHTTP/1.1")),
        bad("a blank before the method", "RFC 9112 section 3", line(" GET /it HTTP/1.1")),
        bad("a target with a blank in it", "RFC 9112 section 3.2", line("GET /it /other HTTP/1.1")),
        bad("a request line without a version", "RFC 9112 section 3", line("GET /it")),
        bad("a version in lower case", "RFC 9112 section 2.3", line("GET /it http/1.1")),
        bad("a version of two digits", "RFC 9112 section 2.3", line("GET /it HTTP/1.10")),
        bad("a version that does not exist", "RFC 9112 section 2.3", line("GET /it HTTP/3.0")),
        bad("HTTP/2 by its number only", "RFC 9113 section 3.3", line("GET /it HTTP/2.0")),
        bad(
            "a TLS handshake where none is spoken",
            "RFC 9112 section 2.2",
            "\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(),
        ),
        http1("no Host", "RFC 9112 section 3.2", "GET /it HTTP/1.1\r\nx: a\r\n\r\n").refused(400),
        http1("two Hosts", "RFC 9112 section 3.2", get("host: b")).refused(400),
        http1("an empty Host", "RFC 9112 section 3.2", "GET /it HTTP/1.1\r\nhost:\r\n\r\n").refused(400),
        http1("a Host with a user in it", "RFC 9110 section 7.2", "GET /it HTTP/1.1\r\nhost: a@b\r\n\r\n")
            .refused(400),
        http1("a Host with a path in it", "RFC 9110 section 7.2", "GET /it HTTP/1.1\r\nhost: a/b\r\n\r\n")
            .refused(400),
        http1("two hosts in one Host", "RFC 9112 section 3.2", "GET /it HTTP/1.1\r\nhost: a b\r\n\r\n")
            .refused(400),
        http1("more fields than anybody needs", "RFC 6585 section 5", get(&"x: y\r\n".repeat(150)))
            .refused_and_closed(431),
        http1("a field that is too long", "RFC 6585 section 5", get(&format!("x: {}", "y".repeat(40_000))))
            .refused(431),
        http1(
            "a method in lower case, which is another one",
            "RFC 9110 section 9.1",
            line("get /it HTTP/1.1"),
        )
        .refused(405),
        http1(
            "TRACE, which would show fields that the gateway adds",
            "RFC 9110 section 9.3.8",
            line("TRACE /it HTTP/1.1"),
        )
        .refused(405),
        http1("CONNECT, which would make a tunnel", "RFC 9110 section 9.3.6", line("CONNECT a:80 HTTP/1.1"))
            .refused(501),
    ]
}

fn legal() -> Vec<Case> {
    vec![
        http1("two requests at once", "RFC 9112 section 9.3.2", format!("{}{AFTER}", get("x: 1")))
            .passes(&["GET /it HTTP/1.1\r\n"])
            .passes(&["GET /it/smuggled HTTP/1.1\r\n"]),
        http1("an empty line before the request", "RFC 9112 section 2.2", format!("\r\n{}", get("x: 1")))
            .passes(&["GET /it "]),
        http1(
            "lines that end with a bare line feed",
            "RFC 9112 section 2.2",
            "GET /it HTTP/1.1\nhost: a\nx-a: 1\n\n",
        )
        .passes(&["x-a: 1\r\n"]),
        http1(
            "a GET with a body",
            "RFC 9110 section 9.3.1",
            "GET /it HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabcd",
        )
        .passes(&["GET /it ", "content-length: 4", "\r\n\r\nabcd"]),
        http1(
            "a DELETE with chunks",
            "RFC 9110 section 9.3.5",
            chunked("4\r\nabcd\r\n0\r\n\r\n").replace("POST", "DELETE"),
        )
        .passes(&["DELETE /it ", "\r\n\r\n4\r\nabcd\r\n0\r\n\r\n"]),
        http1(
            "the same length twice",
            "RFC 9112 section 6.3",
            post("content-length: 4\r\ncontent-length: 4", "abcd"),
        )
        .passes(&["content-length: 4\r\n", "\r\n\r\nabcd"])
        .lacks(&["4\r\ncontent-length: 4\r\n"]),
        http1("a length with zeros before it", "RFC 9110 section 8.6", post("content-length: 004", "abcd"))
            .passes(&["\r\n\r\nabcd"]),
        http1(
            "chunked in another case",
            "RFC 9112 section 7",
            post("Transfer-Encoding: cHuNkEd", "4\r\nabcd\r\n0\r\n\r\n"),
        )
        .passes(&["transfer-encoding: chunked\r\n", "abcd"]),
        http1(
            "a chunk extension",
            "RFC 9112 section 7.1.1",
            chunked("4;name=\"value\"\r\nabcd\r\n0\r\n\r\n"),
        )
        .passes(&["4\r\nabcd\r\n0\r\n\r\n"])
        .lacks(&["name"]),
        http1(
            "a chunk's size with zeros and capitals",
            "RFC 9112 section 7.1",
            chunked("000A\r\nabcdefghij\r\n0000\r\n\r\n"),
        )
        .passes(&["abcdefghij"]),
        http1(
            "a trailer, which goes no further",
            "RFC 9110 section 6.5.1",
            chunked("3\r\nabc\r\n0\r\nx-user-id: 1\r\n\r\n"),
        )
        .passes(&["abc\r\n0\r\n\r\n"])
        .lacks(&["x-user-id"]),
        http1("a field of bytes beyond ASCII", "RFC 9110 section 5.5", get("x-a: caf\u{e9}"))
            .passes(&["x-a: caf"]),
        http1(
            "a field whose name is all that a token may be",
            "RFC 9110 section 5.6.2",
            get("!#$%&'*+-.^_`|~9: 1"),
        )
        .passes(&["!#$%&'*+-.^_`|~9: 1"]),
        http1("an empty field", "RFC 9110 section 5.5", get("x-a:")).passes(&["x-a: \r\n"]),
        http1("blanks and tabs around a value", "RFC 9112 section 5.1", get("x-a: \t 1 \t "))
            .passes(&["x-a: 1\r\n"]),
        http1(
            "HTTP/1.0 without Host, whose connection ends",
            "RFC 9112 section 9.3",
            "GET /it HTTP/1.0\r\n\r\n",
        )
        .passes(&["GET /it HTTP/1.1\r\n"])
        .and_closes(),
        http1(
            "a client that waits for 100",
            "RFC 9110 section 10.1.1",
            post("expect: 100-continue\r\ncontent-length: 4", "abcd"),
        )
        .passes(&["\r\n\r\nabcd"])
        .statuses(&[100, 200]),
        http1(
            "an offer of HTTP/2, which is not taken up",
            "RFC 9113 section 3.1",
            get("connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__"),
        )
        .passes(&["GET /it "])
        .lacks(&["h2c", "http2-settings"]),
        http1("HEAD of what has a body", "RFC 9110 section 9.3.2", "HEAD /it HTTP/1.1\r\nhost: a\r\n\r\n")
            .passes(&["HEAD /it "]),
    ]
}
