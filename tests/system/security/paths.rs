//! Paths that could lead elsewhere than to where they were authorized, and targets of every form.

use super::{Case, http1};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n")
}

pub(super) fn cases() -> Vec<Case> {
    let bad = |name, source, target: &str| http1(name, source, get(target)).refused(400);
    let good = |name, source, target: &str| {
        http1(name, source, get(target)).passes(&[&format!("GET {target} HTTP/1.1\r\n")])
    };
    const DOTS: &str = "RFC 3986 section 5.2.4";
    const ESCAPES: &str = "RFC 3986 section 2.1";
    vec![
        bad("dot segments that lead out", DOTS, "/it/../mine"),
        bad("a dot segment that leads nowhere", DOTS, "/it/./a"),
        bad("a dot segment at the end", DOTS, "/it/.."),
        bad("dots that are escaped", "CVE-2021-41773", "/it/%2e%2e/mine"),
        bad("one dot that is escaped", "CVE-2021-41773", "/it/.%2e/mine"),
        bad("dots that are escaped in capitals", DOTS, "/it/%2E%2E/mine"),
        bad("dots with a parameter", "RFC 3986 section 3.3", "/it/..;/mine"),
        bad("dots with a named parameter", "RFC 3986 section 3.3", "/it/..;a=b/mine"),
        bad("a dot with an escaped parameter", "RFC 3986 section 3.3", "/it/.%3ba/mine"),
        bad("an empty segment", "RFC 3986 section 3.3", "/it//mine"),
        bad("a path that begins like a host", "RFC 3986 section 4.2", "//it/mine"),
        bad("a slash that is escaped", ESCAPES, "/it/a%2fb"),
        bad("a slash that is escaped, after dots", ESCAPES, "/it/..%2fmine"),
        bad("a backslash that is escaped", ESCAPES, "/it/..%5cmine"),
        bad("a backslash", "RFC 3986 section 2", "/it\\..\\mine"),
        bad("a NUL that is escaped", "RFC 3986 section 7.3", "/it/a%00.png"),
        bad("a line break that is escaped", "RFC 3986 section 7.3", "/it/a%0d%0ax:%20y"),
        bad("a tab that is escaped", "RFC 3986 section 7.3", "/it/a%09"),
        bad("an escape that breaks off", ESCAPES, "/it/%2"),
        bad("an escape of other letters", ESCAPES, "/it/%zz"),
        bad("an escape as JavaScript once wrote it", ESCAPES, "/it/%u002e%u002e/mine"),
        bad("a dot in too many bytes", "RFC 3629 section 10", "/it/%c0%ae%c0%ae/mine"),
        bad("a slash in too many bytes", "RFC 3629 section 10", "/it/..%c0%afmine"),
        bad("a slash in three bytes", "RFC 3629 section 10", "/it/..%e0%80%afmine"),
        bad("a slash in four bytes", "RFC 3629 section 10", "/it/..%f0%80%80%afmine"),
        bad("a stricter route with a letter that is escaped", "RFC 3986 section 6.2.2.2", "/it/%6dine"),
        bad("a stricter route with a parameter", "RFC 3986 section 3.3", "/it/mine;x=1"),
        bad("a stricter route with a parameter that is escaped", "RFC 3986 section 3.3", "/it/mine%3bx"),
        bad("a stricter route with an escape further up", "RFC 3986 section 6.2.2.2", "/it/%6Dine/1"),
        bad("a stricter route with a parameter further up", "RFC 3986 section 3.3", "/it/mine;a/1"),
        bad("a stricter route in another case", "RFC 3986 section 6.2.2.1", "/it/Mine/1"),
        bad("a stricter route with a slash at the end", "RFC 3986 section 6.2.3", "/it/mine/1/"),
        bad("a segment of parameters only", "RFC 3986 section 3.3", "/it/;x=1/mine"),
        bad("a URL with a user", "RFC 9110 section 4.2.4", "http://a@b/it"),
        bad("a URL of another scheme", "RFC 9112 section 3.2.2", "ftp://a/it"),
        http1("a file URL", "RFC 9112 section 3.2.2", get("file:///etc/passwd")).refused_and_closed(400),
        bad("a host and a port as the target of GET", "RFC 9112 section 3.2.3", "a:80"),
        bad("a target that is no path", "RFC 9112 section 3.2", "it"),
        bad("an asterisk for GET", "RFC 9112 section 3.2.4", "*"),
        http1("a fragment, which goes no further", "RFC 9112 section 3.2", get("/it#/mine"))
            .passes(&["GET /it HTTP/1.1\r\n"])
            .lacks(&["mine"]),
        http1("a path with a control character", "RFC 3986 section 2", get("/it/a\x01"))
            .refused_and_closed(400),
        http1("a path with a NUL", "RFC 3986 section 7.3", get("/it/a\0")).refused_and_closed(400),
        http1("another path in another case", "RFC 3986 section 6.2.2.1", get("/IT")).refused(404),
        http1("a path that only begins like a route", "RFC 3986 section 3.3", get("/items")).refused(404),
        http1(
            "a target that is too long",
            "RFC 9110 section 15.5.15",
            get(&format!("/it?{}", "x".repeat(20_000))),
        )
        .refused(414),
        good("an escape in an escape, once", ESCAPES, "/it/%252e%252e/a"),
        good("three dots", "RFC 3986 section 3.3", "/it/.../a"),
        good("a name that begins with dots", "RFC 8615 section 3", "/it/.well-known/..a"),
        good("a parameter of a segment", "RFC 3986 section 3.3", "/it/a;v=1"),
        good(
            "an escape that need not be, where no route is stricter",
            "RFC 3986 section 6.2.2.2",
            "/it/%6dines",
        ),
        good("all that a segment may hold", "RFC 3986 section 3.3", "/it/-._~!$&'()*+,;=:@"),
        good(
            "letters of other alphabets, escaped",
            "RFC 3986 section 2.5",
            "/it/caf%C3%A9/%E2%82%AC/%F0%9F%8D%95",
        ),
        good(
            "a query with dots, slashes and question marks",
            "RFC 3986 section 3.4",
            "/it?a=../..//x?&b=%2f%00",
        ),
        http1("a whole URL, whose host counts", "RFC 9112 section 3.2.2", get("http://shop.example/it/a?b"))
            .passes(&["GET /it/a?b HTTP/1.1\r\n", "x-forwarded-host: shop.example\r\n"]),
    ]
}
