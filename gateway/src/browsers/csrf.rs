//! Whether a request that changes something was sent by the site's own pages (cross-site request forgery).
//!
//! The rule is that of Go's `net/http.CrossOriginProtection` and OWASP's "Fetch Metadata headers": browsers say themselves
//! where a request comes from, and pages cannot make them say otherwise. A client that says nothing of the kind is no
//! browser, or one from before 2020, and holds no cookies that somebody else could make it send.
//! Not here: tokens in forms, which need state; GraphQL, which takes nothing but JSON (`graphql/read.rs`).

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::Cors;
use crate::{
    body::Request,
    error::{Code, Error},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request in unless a page of another site has sent it. Whether that matters is for the caller to say.
///
/// # Errors
/// [`Code::CrossSite`] for an origin that is neither the request's own nor one that `cors` lets use
/// cookies.
pub(super) fn check(request: &Request, cors: Option<&Cors>) -> Result<(), Error> {
    let headers = request.headers();
    let trusted = |origin: &HeaderValue| cors.is_some_and(|cors| cors.trusts(origin));
    let site = only(headers, &SEC_FETCH_SITE)?;
    let origin = only(headers, &header::ORIGIN)?;
    if matches!(site.map(HeaderValue::as_bytes), Some(b"same-origin" | b"none")) {
        return Ok(());
    }
    if origin.is_some_and(trusted) {
        return Ok(());
    }
    match (site, origin) {
        (Some(_), _) => Err(refusal("Sec-Fetch-Site names another site")),
        (None, Some(origin)) if is_of(origin.as_bytes(), request) => Ok(()),
        (None, Some(_)) => Err(refusal("Origin is another one than the request's host")),
        (None, None) => check_referer(request, trusted),
    }
}

/// What pages without `Origin` leave: where they are, unless they say that this is to be kept.
fn check_referer(request: &Request, trusted: impl Fn(&HeaderValue) -> bool) -> Result<(), Error> {
    let Some(referer) = only(request.headers(), &header::REFERER)? else { return Ok(()) };
    let page = Uri::try_from(referer.as_bytes()).ok();
    let named = page.as_ref().and_then(|page| Some((page.scheme_str()?, page.authority()?)));
    let origin = named.and_then(|(scheme, host)| HeaderValue::try_from(format!("{scheme}://{host}")).ok());
    match origin {
        Some(origin) if is_of(origin.as_bytes(), request) || trusted(&origin) => Ok(()),
        _ => Err(refusal("Referer is another one than the request's host")),
    }
}

/// The one value of a field. What is there twice was put together by nobody who may be believed.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(refusal("a field that says where the request comes from is there twice")),
    }
}

/// Whether an origin has the host that the request asks for. Schemes are not compared: whether the client came by TLS is not
/// known where something else ends it.
fn is_of(origin: &[u8], request: &Request) -> bool {
    let asked = request.uri().authority().map(|host| host.as_str().as_bytes());
    let asked = asked.or_else(|| request.headers().get(header::HOST).map(HeaderValue::as_bytes));
    let host = origin.strip_prefix(b"https://").or_else(|| origin.strip_prefix(b"http://"));
    matches!((host, asked), (Some(host), Some(asked)) if host.eq_ignore_ascii_case(asked))
}

fn refusal(why: &str) -> Error {
    Error::new(Code::CrossSite, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        body::Body,
        browsers::{Browsers, config::CorsConfig},
        mistake::Mistakes,
        units::Span,
    };

    fn cors(origin: &str, credentials: bool) -> Cors {
        let (methods, headers, expose) = (Vec::new(), Vec::new(), Vec::new());
        let (origins, max_age) = (vec![origin.to_owned()], Span::secs(60));
        let config = CorsConfig { origins, methods, headers, expose, credentials, max_age };
        Cors::build("web", &config, "cors.web", &mut Mistakes::default()).unwrap()
    }

    fn post(fields: &[(&str, &str)]) -> Request {
        let mut request = http::Request::post("/orders").header("host", "api.ftgo.example");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(Body::Empty).unwrap()
    }

    fn allows(fields: &[(&str, &str)], cors: Option<&Cors>) -> bool {
        let (code, checked) = (Code::CrossSite, check(&post(fields), cors));
        assert!(checked.as_ref().is_ok() || checked.as_ref().is_err_and(|error| error.code() == code));
        checked.is_ok()
    }

    #[test]
    fn browsers_say_where_a_request_comes_from_and_are_believed() {
        for site in ["same-origin", "none"] {
            assert!(allows(&[("sec-fetch-site", site), ("origin", "https://evil.example")], None), "{site}");
        }
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN", "same-origin, none", "other"] {
            assert!(!allows(&[("sec-fetch-site", site)], None), "{site}");
            assert!(
                !allows(&[("sec-fetch-site", site), ("origin", "https://api.ftgo.example")], None),
                "{site}"
            );
        }
        assert!(!allows(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")], None));
    }

    #[test]
    fn without_that_the_origin_must_be_the_host_that_was_asked() {
        for own in ["https://api.ftgo.example", "http://api.ftgo.example", "https://API.ftgo.example"] {
            assert!(allows(&[("origin", own)], None), "{own}");
        }
        for other in [
            "https://evil.example",
            "https://api.ftgo.example:8443",
            "https://api.ftgo.example.evil.example",
            "https://api.ftgo.example/",
            "ftp://api.ftgo.example",
            "api.ftgo.example",
            "null",
            "",
        ] {
            assert!(!allows(&[("origin", other)], None), "{other}");
            assert!(!allows(&[("origin", other), ("referer", "https://api.ftgo.example/")], None), "{other}");
        }
    }

    #[test]
    fn without_either_the_referer_must_be_and_without_all_three_it_is_no_browser() {
        assert!(allows(&[], None) && allows(&[("referer", "https://api.ftgo.example/a?b")], None));
        for other in ["https://evil.example/https://api.ftgo.example/", "/a", "https://", "", "about:blank"] {
            assert!(!allows(&[("referer", other)], None), "{other}");
        }
    }

    #[test]
    fn origins_that_may_use_cookies_are_trusted_and_others_are_not() {
        let app = "https://app.ftgo.example";
        let from_app: [&[(&str, &str)]; 3] = [
            &[("sec-fetch-site", "same-site"), ("origin", app)],
            &[("origin", app)],
            &[("referer", "https://app.ftgo.example/cart")],
        ];
        for fields in from_app {
            assert!(allows(fields, Some(&cors(app, true))), "{fields:?}");
            assert!(!allows(fields, Some(&cors(app, false))), "{fields:?}");
            assert!(!allows(fields, Some(&cors("*", false))), "{fields:?}");
            assert!(!allows(fields, Some(&cors("https://other.ftgo.example", true))), "{fields:?}");
            assert!(allows(fields, Some(&cors("https://*.ftgo.example", true))), "{fields:?}");
        }
    }

    #[test]
    fn what_changes_nothing_is_let_in_whoever_sent_it_unless_it_opens_a_websocket() {
        for method in ["GET", "HEAD", "OPTIONS", "POST"] {
            let mut request = post(&[("sec-fetch-site", "cross-site")]);
            *request.method_mut() = method.parse().unwrap();
            let csrf = Browsers { csrf: true, ..Browsers::default() };
            let websocket = Browsers { websocket: true, ..Browsers::default() };
            assert_eq!(csrf.check(&request).is_ok(), method != "POST");
            assert!(websocket.check(&request).is_err() && Browsers::default().check(&request).is_ok());
        }
    }

    #[test]
    fn over_http2_and_in_a_whole_url_the_host_is_that_of_the_target() {
        let mut request = post(&[("origin", "https://other.example")]);
        assert!(check(&request, None).is_err());
        *request.uri_mut() = "http://other.example/orders".parse().unwrap();
        assert!(check(&request, None).is_ok());
    }
}
