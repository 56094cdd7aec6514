//! The heads of messages: a request's written, an answer's read, and how its body is framed (RFC 9112 section 6).
//!
//! What can be read in two ways is refused: whoever reads it the other way takes one answer for another.
//! Not here: which fields a request has (`proxy/headers.rs`, `identity.rs`).

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, response::Parts};
use http_body::Body as _;
use httparse::{ParserConfig, Status};

use super::{super::outgoing::Outgoing, Broken, SMALL, chunked::Chunked, upload::Upload};
use crate::body::Body;

/// The most header fields of an answer.
const MOST_FIELDS: usize = 100;
/// How many fields the gateway may add to an answer without its map having to grow.
const OURS: usize = 4;

/// How an answer's body ends.
pub(super) enum Framing {
    /// After so many bytes. Zero where there can be none: answers to HEAD, 204 and 304.
    Length(u64),
    /// With its last chunk.
    Chunked(Chunked),
    /// With the connection.
    Close,
}

/// The head of an answer.
pub(super) struct Head {
    pub(super) parts: Parts,
    pub(super) framing: Framing,
    /// Whether another request may follow.
    pub(super) keeps_alive: bool,
    /// How many bytes it was.
    pub(super) size: usize,
    /// All that had been read; the fields are slices of it.
    pub(super) text: Bytes,
}

impl Head {
    /// Whether no other head follows. After one that switches protocols nothing of HTTP does.
    pub(super) fn is_final(&self) -> bool {
        !self.parts.status.is_informational() || self.parts.status == StatusCode::SWITCHING_PROTOCOLS
    }
}

/// What of a request decides how its answer is read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    /// By HEAD.
    pub(super) head: bool,
    /// For another protocol.
    pub(super) upgrade: bool,
}

/// Writes the head of `request`, and its body if that is there and small. Returns what is still to be sent.
pub(super) fn write(request: &mut Outgoing, host: &HeaderValue, out: &mut Vec<u8>) -> Option<Box<Upload>> {
    out.extend_from_slice(request.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target.as_str().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in request.fields.iter() {
        // How long the body is we say ourselves, and where it goes.
        if name != header::CONTENT_LENGTH && name != header::TRANSFER_ENCODING && name != header::HOST {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    let length = request.body.size_hint().exact();
    match length {
        Some(0) if !says_that_there_is_none(request) => {}
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    match &request.body {
        _ if length == Some(0) => None,
        Body::Full(bytes) if bytes.len() <= SMALL => {
            out.extend_from_slice(bytes);
            None
        }
        _ => Some(Upload::new(std::mem::take(&mut request.body), length)),
    }
}

/// Methods that usually have a body say when there is none (RFC 9110 section 8.6), and all say what their client said.
fn says_that_there_is_none(request: &Outgoing) -> bool {
    matches!(request.method, Method::POST | Method::PUT | Method::PATCH)
        || request.fields.get(&header::CONTENT_LENGTH).is_some()
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut at) = ([0; 20], 20);
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Reads a head, of `max` bytes at most. `None` when it is not all there yet.
pub(super) fn parse(read: &[u8], asked: Asked, max: usize) -> Result<Option<Head>, Broken> {
    let mut fields = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut answer, read, &mut fields);
    let size = match parsed {
        Ok(Status::Complete(size)) if size <= max => size,
        Ok(Status::Complete(_)) => return Err(Broken::TooLarge),
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Broken::TooLarge),
        Err(error) => return Err(Broken::Malformed(malformed(error))),
    };
    let text = Bytes::copy_from_slice(read);
    let start = read.as_ptr() as usize;
    let version = if answer.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let mut headers = HeaderMap::with_capacity(answer.headers.len() + OURS);
    let mut told = Told::default();
    for field in answer.headers.iter() {
        let wrong = |_| Broken::Malformed("a header field that is none");
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| wrong(()))?;
        let at = field.value.as_ptr() as usize - start;
        let value = HeaderValue::from_maybe_shared(text.slice(at..at + field.value.len()));
        let value = value.map_err(|_| wrong(()))?;
        told.note(&name, &value)?;
        headers.append(name, value);
    }
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Broken::Malformed("a status that is none"))?;
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if switches && !asked.upgrade {
        return Err(Broken::Malformed("an answer that switches protocols"));
    }
    let (framing, framed_once) = match told.framing(status, version, asked.head)? {
        _ if switches => (Framing::Close, false), // what follows is not HTTP, and lasts
        framing => framing,
    };
    let keeps_alive = framed_once && told.keeps_alive(version);
    let mut parts = http::Response::new(()).into_parts().0;
    (parts.status, parts.version, parts.headers) = (status, version, headers);
    Ok(Some(Head { parts, framing, keeps_alive, size, text }))
}

fn malformed(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "no HTTP/1.1: a header field's name",
        httparse::Error::HeaderValue => "no HTTP/1.1: a header field's value",
        httparse::Error::NewLine => "no HTTP/1.1: the end of a line",
        httparse::Error::Status => "no HTTP/1.1: the status",
        httparse::Error::Version => "no HTTP/1.1: the version",
        _ => "no HTTP/1.1",
    }
}

/// What the fields of a head say about its body and its connection.
#[derive(Default)]
struct Told {
    length: Option<u64>,
    /// How many fields name transfer codings, and whether the last is exactly `chunked`.
    codings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl Told {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), Broken> {
        if name == header::CONTENT_LENGTH {
            let length = length(value.as_bytes()).ok_or(Broken::Malformed("a length that is none"))?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(Broken::Malformed("two lengths"));
            }
        } else if name == header::TRANSFER_ENCODING {
            self.codings += 1;
            self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
        } else if name == header::CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= option.eq_ignore_ascii_case(b"close");
                self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }

    /// RFC 9112 section 6.3, and whether there is no doubt about it, so that another answer may follow.
    fn framing(
        &self,
        status: StatusCode,
        version: Version,
        asked_for_head: bool,
    ) -> Result<(Framing, bool), Broken> {
        let without = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || asked_for_head;
        if self.codings > 0 && (self.codings > 1 || !self.chunked) {
            return Err(Broken::Malformed("a transfer coding that is not exactly `chunked`"));
        }
        match (self.codings, self.length) {
            _ if without => Ok((Framing::Length(0), true)),
            (0, Some(length)) => Ok((Framing::Length(length), true)),
            (0, None) => Ok((Framing::Close, false)),
            // A length beside it, or a version that knows no codings, may mean that somebody was led astray (section 6.1).
            (_, length) => {
                Ok((Framing::Chunked(Chunked::default()), length.is_none() && version == Version::HTTP_11))
            }
        }
    }

    fn keeps_alive(&self, version: Version) -> bool {
        !self.close && (version == Version::HTTP_11 || self.keep_alive)
    }
}

/// `Content-Length`: one number, or the same one several times (RFC 9110 section 8.6).
fn length(value: &[u8]) -> Option<u64> {
    let mut all = value.split(|byte| *byte == b',').map(|one| {
        let one = one.trim_ascii();
        let add = |sum: u64, byte: &u8| {
            let digit = byte.wrapping_sub(b'0');
            if digit < 10 { sum.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
        };
        if one.is_empty() { None } else { one.iter().try_fold(0, add) }
    });
    let first = all.next()??;
    all.all(|other| other == Some(first)).then_some(first)
}
