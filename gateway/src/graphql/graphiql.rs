//! GraphiQL: the page to try queries in a browser, for development, and what it is made of.
//!
//! All of it comes from the binary, at the address of the route itself, and the page's policy lets nothing else in. Not
//! here: which routes have it (`Settings`), and how the files were made (`graphiql/README.md`).

use http::{HeaderMap, HeaderValue, Uri, header};

use super::render::wants_page;
use crate::body::{Body, Response};

/// What the page is made of. It travels as it is stored: every browser takes gzip, and one behind a proxy that hides this
/// is still served, which a 406 would prevent.
struct Asset {
    /// What the page calls it: with its version, as it is kept for good.
    name: &'static str,
    media: &'static str,
    gzip: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const ASSETS: [Asset; 4] = [
    Asset { name: "react-18.3.1.js", media: SCRIPT, gzip: include_bytes!("graphiql/react.js.gz") },
    Asset { name: "react-dom-18.3.1.js", media: SCRIPT, gzip: include_bytes!("graphiql/react-dom.js.gz") },
    Asset { name: "graphiql-4.1.2.js", media: SCRIPT, gzip: include_bytes!("graphiql/graphiql.js.gz") },
    Asset { name: "graphiql-4.1.2.css", media: STYLE, gzip: include_bytes!("graphiql/graphiql.css.gz") },
];

const PAGE: &str = include_str!("graphiql/page.html");

/// Scripts and requests from and to where the page came from, and the page's own script by its SHA-256. GraphiQL and its
/// editor write styles into elements, and draw with images that stand in their style sheet.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self' 'sha256-/7bb62lg9Pv+EraJ1U5kGL+5ZawWGDf866V3jILDEd4='; \
     style-src 'self' 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// What a GET is answered: what the page is made of where the query names it, and the page where a browser asks for one.
pub(super) fn answer(uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    named(uri).map(asset).or_else(|| wants_page(headers).then(page))
}

/// `?graphiql=NAME`.
fn named(uri: &Uri) -> Option<&'static Asset> {
    let name = uri.query()?.strip_prefix("graphiql=")?;
    ASSETS.iter().find(|asset| asset.name == name)
}

fn asset(asset: &'static Asset) -> Response {
    let mut response = typed(Body::full(asset.gzip), asset.media);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}

fn page() -> Response {
    let mut response = typed(Body::full(PAGE), "text/html; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    // The address may hold a query.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn typed(body: Body, media: &'static str) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
