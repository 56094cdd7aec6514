//! The opening handshake, on both sides (RFC 6455 section 4). Each side has a key of its own: what one of them proves with it
//! is that it speaks WebSocket, and the gateway wants to know that itself.
//!
//! Subprotocols and extensions are between the ends, and go on as they are. Not here: what follows (`tunnel.rs`).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body::Body as _;

use crate::{
    body::{Request, Response},
    error::{Code, Error},
    proxy::headers,
    upstream::Outgoing,
};

/// What keys are hashed with (RFC 6455 section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one version there is.
const VERSION: HeaderValue = HeaderValue::from_static("13");
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// What proves to the client that the gateway has understood.
///
/// # Errors
/// [`Code::UpgradeRequired`] when it asks for something else, [`Code::BadRequest`] when it asks wrongly.
pub(crate) fn accept(request: &Request) -> Result<HeaderValue, Error> {
    let headers = request.headers();
    let asks = *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && lists(headers, &header::CONNECTION, "upgrade")
        && lists(headers, &header::UPGRADE, "websocket");
    if !asks {
        return Err(required(request.version(), "no opening handshake of a WebSocket"));
    }
    if only(headers, &header::SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        return Err(required(request.version(), "another version of WebSocket"));
    }
    let wrong =
        |why| Error::new(Code::BadRequest, why).detail("The opening handshake is not one of RFC 6455.");
    let key =
        only(headers, &header::SEC_WEBSOCKET_KEY).ok_or_else(|| wrong("no Sec-WebSocket-Key, or several"))?;
    if !STANDARD.decode(key).is_ok_and(|key| key.len() == 16) {
        return Err(wrong("a Sec-WebSocket-Key that is not 16 bytes in Base64"));
    }
    if !request.body().is_end_stream() {
        return Err(wrong("an opening handshake with a body"));
    }
    Ok(proof(key.as_bytes()))
}

/// Says which protocol there is (RFC 9110 section 15.5.22), and which version of it (RFC 6455 section 4.4).
fn required(version: Version, why: &'static str) -> Error {
    let error = Error::new(Code::UpgradeRequired, why).header(header::SEC_WEBSOCKET_VERSION, VERSION);
    if version >= Version::HTTP_2 {
        return error; // there is no `Upgrade` in it (RFC 9113 section 8.2.2)
    }
    error.header(header::UPGRADE, WEBSOCKET).header(header::CONNECTION, UPGRADE)
}

/// What is asked of a service.
pub(super) struct Offer {
    key: HeaderValue,
    /// What the client offers.
    protocols: Vec<String>,
    extensions: bool,
}

impl Offer {
    /// With a key of its own, and with what a client offers by `headers`.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let key = STANDARD.encode(fastrand::u128(..).to_ne_bytes());
        let protocols = members(headers, &header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
        let extensions = headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS);
        Offer { key: HeaderValue::from_str(&key).expect("Base64 is ASCII"), protocols, extensions }
    }

    /// Makes `request` an opening handshake.
    pub(super) fn ask(&self, request: &mut Outgoing) {
        request.upgrade = true;
        request.fields.push(header::CONNECTION, UPGRADE);
        request.fields.push(header::UPGRADE, WEBSOCKET);
        request.fields.set(header::SEC_WEBSOCKET_KEY, self.key.clone());
    }

    /// Whether the service has understood (RFC 6455 section 4.1), and chose nothing that was not offered.
    ///
    /// # Errors
    /// Why it has not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        if !lists(headers, &header::UPGRADE, "websocket") || !lists(headers, &header::CONNECTION, "upgrade") {
            return Err("it switches to another protocol");
        }
        if only(headers, &header::SEC_WEBSOCKET_ACCEPT) != Some(&proof(self.key.as_bytes())) {
            return Err("its Sec-WebSocket-Accept is wrong");
        }
        let mut chosen = members(headers, &header::SEC_WEBSOCKET_PROTOCOL);
        match (chosen.next(), chosen.next()) {
            (None, _) => {}
            (Some(one), None) if self.protocols.iter().any(|offered| offered == one) => {}
            _ => return Err("it chooses a subprotocol that was not offered"),
        }
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) && !self.extensions {
            return Err("it chooses an extension, and none was offered");
        }
        Ok(())
    }
}

/// Whether a client offers to speak `protocol` inside (RFC 6455 section 1.9).
pub(crate) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    members(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == protocol)
}

/// Whether anything else than HTTP is asked for.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE) && lists(headers, &header::UPGRADE, "websocket")
}

/// The answer that opens one in which `protocol` is spoken.
pub(crate) fn open(accept: HeaderValue, protocol: HeaderValue) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    response
}

/// Makes the answer of a service one for the client. Whether that could be done.
pub(super) fn answer(response: &mut Response, accept: HeaderValue) -> bool {
    if !headers::reframe(response) {
        return false;
    }
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH); // nothing of HTTP follows
    headers.insert(header::CONNECTION, UPGRADE);
    headers.insert(header::UPGRADE, WEBSOCKET);
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    true
}

/// What whoever has understood makes of a key (RFC 6455 section 4.2.2).
fn proof(key: &[u8]) -> HeaderValue {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID.as_bytes()].concat());
    HeaderValue::from_str(&STANDARD.encode(hash)).expect("Base64 is ASCII")
}

/// The one value of a field.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// The members of a list (RFC 9110 section 5.6.1).
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    members(headers, name).any(|known| known.eq_ignore_ascii_case(member))
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;
    use crate::body::Body;

    const GOOD: [(&str, &str); 5] = [
        ("host", "ftgo.example"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    /// A good handshake whose field `name` has these values instead.
    fn with(name: &str, values: &[&str]) -> Request {
        let mut request = http::Request::get("/chat");
        for (known, value) in GOOD.iter().filter(|(known, _)| *known != name) {
            request = request.header(*known, *value);
        }
        for value in values {
            request = request.header(name, *value);
        }
        request.body(Body::Empty).unwrap()
    }

    fn code(request: &Request) -> Option<Code> {
        accept(request).err().map(|error| error.code())
    }

    #[test]
    fn the_example_of_the_rfc_is_understood() {
        assert_eq!(accept(&with("", &[])).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_is_no_handshake_is_told_what_would_be() {
        for (name, values) in [
            ("connection", &["keep-alive"][..]),
            ("connection", &[]),
            ("upgrade", &["h2c"]),
            ("upgrade", &[]),
            ("sec-websocket-version", &["8"]),
            ("sec-websocket-version", &["13, 8"]),
            ("sec-websocket-version", &["13", "8"]),
            ("sec-websocket-version", &[]),
        ] {
            assert_eq!(code(&with(name, values)), Some(Code::UpgradeRequired), "{name}: {values:?}");
        }
        let mut post = with("", &[]);
        *post.method_mut() = Method::POST;
        let mut old = with("", &[]);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!((code(&post), code(&old)), (Some(Code::UpgradeRequired), Some(Code::UpgradeRequired)));
    }

    #[test]
    fn a_key_is_sixteen_bytes_and_there_once() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        for values in [&[][..], &[key, key], &["c2hvcnQ="], &["dGhlIHNhbXBsZSBub25jZQ"], &["no base64!"]] {
            assert_eq!(code(&with("sec-websocket-key", values)), Some(Code::BadRequest), "{values:?}");
        }
        let mut request = with("", &[]);
        *request.body_mut() = Body::full("body");
        assert_eq!(code(&request), Some(Code::BadRequest));
    }

    #[test]
    fn a_service_must_prove_that_it_has_understood_and_chooses_of_what_is_offered() {
        let offer = Offer::new(with("sec-websocket-protocol", &["chat, soap", "mqtt"]).headers());
        let mut request = Outgoing::get(PathAndQuery::from_static("/chat"), 1);
        offer.ask(&mut request);
        let key = request.fields.get(&header::SEC_WEBSOCKET_KEY).unwrap().clone();
        let answers = |fields: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::UPGRADE, WEBSOCKET);
            headers.insert(header::CONNECTION, UPGRADE);
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, proof(key.as_bytes()));
            for (name, value) in fields {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            offer.check(&headers).is_ok()
        };
        assert!(answers(&[]) && answers(&[("sec-websocket-protocol", "mqtt")]));
        for wrong in [
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-protocol", "other"),
            ("sec-websocket-protocol", "chat, soap"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            assert!(!answers(&[wrong]), "{wrong:?}");
        }
    }
}
