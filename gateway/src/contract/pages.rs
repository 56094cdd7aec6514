//! What is served of the contract: the document, and a page of our own that shows it.
//!
//! The page reads the document from where it came from and nothing else: its policy lets nothing else in. Not here: what the
//! document says (`document.rs`).

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    body::{Body, Request, Response},
    cache::conditional::{Portion, portion},
    handler::{Admitted, Answer, Handler},
};

const PAGE: &str = include_str!("reference.html");

/// Where the page has the path of the document.
const DOCUMENT: &str = "OPENAPI_PATH";

/// The page's own script and style by their SHA-256, and requests to where it came from.
fn policy(script: &str, style: &str) -> Option<HeaderValue> {
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hash(script),
        hash(style)
    );
    HeaderValue::from_str(&policy).ok()
}

fn hash(text: &str) -> String {
    base64(digest(&SHA256, text.as_bytes()).as_ref())
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for letter in 0..4 {
            let index = (bits >> (18 - 6 * letter)) & 63;
            out.push(if letter <= chunk.len() { char::from(LETTERS[index as usize]) } else { '=' });
        }
    }
    out
}

/// What stands between two marks of the page.
fn between<'p>(page: &'p str, begin: &str, end: &str) -> &'p str {
    page.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(inner, _)| inner)
}

/// Something that is answered as it is, for as long as the configuration is in use.
pub struct Page {
    body: Bytes,
    headers: HeaderMap,
}

impl Page {
    /// The document.
    #[must_use]
    pub fn document(json: String) -> Self {
        let media = HeaderValue::from_static("application/openapi+json;version=3.1");
        Page::new(json, media)
    }

    /// The page that shows the document at `path`.
    #[must_use]
    pub fn reference(path: &str) -> Self {
        // A path of a route holds no `<`, but `'` it may.
        let path = path.replace('\\', "\\\\").replace('\'', "\\'").replace('<', "\\x3c");
        let page = PAGE.replace(DOCUMENT, &path);
        let policy = policy(between(&page, "<script>", "</script>"), between(&page, "<style>", "</style>"));
        let mut page = Page::new(page, HeaderValue::from_static("text/html; charset=utf-8"));
        page.headers.extend(policy.map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
        page.headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        page
    }

    fn new(body: String, media: HeaderValue) -> Self {
        let body = Bytes::from(body);
        let tag = format!("\"{}\"", base64(&digest(&SHA256, &body).as_ref()[..12]));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, media);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")); // kept, and asked about
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
        Page { body, headers }
    }

    fn respond(&self, request: &HeaderMap) -> Response {
        let unchanged = portion(request, StatusCode::OK, &self.headers, None) == Portion::NotModified;
        let body = if unchanged { Body::Empty } else { Body::Full(self.body.clone()) };
        let mut response = Response::new(body);
        *response.headers_mut() = self.headers.clone();
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        response
    }
}

impl Handler for Page {
    fn answer<'a>(&'a self, request: &'a mut Request, _admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(std::future::ready(Ok(self.respond(request.headers()))))
    }
}
