//! The answer as HTTP: its media type, its status, its JSON.
//!
//! Not here: HTTP errors, which are problem documents.

use async_graphql::{Response as Executed, ServerError, Value};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Refusal, compress, config::Coding, failure::before_execution, hash::Hash, subscriptions::Form};
use crate::{
    body::{Body, Response},
    cache::conditional::{self, Portion},
    error::{Code, Error},
};

/// The media type that the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: the status is 200 for whatever is well-formed, as clients of old expect.
    Json,
    /// `application/graphql-response+json`: the status says whether anything was executed.
    GraphqlResponse,
}

impl Media {
    /// What `Accept` prefers (RFC 9110 section 12.5.1): the greatest weight, of several the first. Where both are as welcome
    /// it is `application/json`, which everybody reads.
    ///
    /// # Errors
    /// [`Code::NotAcceptable`] when it takes neither. Nothing must be executed then.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let (mut best, mut asked) = (None, false);
        for (name, weight) in accepted(headers) {
            asked = true;
            let media = match name {
                name if name.eq_ignore_ascii_case("application/graphql-response+json") => {
                    Media::GraphqlResponse
                }
                "*/*" | "application/*" => Media::Json,
                name if name.eq_ignore_ascii_case("application/json") => Media::Json,
                _ => continue,
            };
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((media, weight));
            }
        }
        match best {
            Some((media, _)) => Ok(media),
            None if !asked => Ok(Media::Json),
            None => Err(Error::new(Code::NotAcceptable, "Accept takes no JSON")),
        }
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Media::Json => "application/json",
            Media::GraphqlResponse => "application/graphql-response+json",
        })
    }
}

/// Whether a browser asks for a page.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    accepted(headers).any(|(name, weight)| name == "text/html" && weight > 0)
}

/// The media ranges of `Accept` with their weights in thousandths. Other parameters say nothing here.
fn accepted(headers: &HeaderMap) -> impl Iterator<Item = (&str, u16)> {
    let fields = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).filter_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next().filter(|name| !name.is_empty())?;
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        Some((name, weight.map_or(1_000, thousandths)))
    })
}

/// `0.85` into 850; what is no weight counts as 1.
fn thousandths(weight: &str) -> u16 {
    let read = weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight)).unwrap_or(1.0);
    (read * 1_000.0) as u16
}

#[derive(Serialize)]
struct Rendered<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [ServerError],
}

impl<'a> Rendered<'a> {
    fn of(executed: &'a Executed) -> Self {
        let data = (!before_execution(executed)).then_some(&executed.data);
        Rendered { data, errors: &executed.errors }
    }
}

/// Whom an answer goes to.
pub(super) struct To<'a> {
    pub(super) media: Media,
    pub(super) coding: Coding,
    /// The request's.
    pub(super) headers: &'a HeaderMap,
}

/// For how long an answer may be kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) seconds: u32,
    /// By the client only.
    pub(super) private: bool,
}

/// A result as JSON.
pub(super) fn json(executed: &Executed) -> Vec<u8> {
    serde_json::to_vec(&Rendered::of(executed)).expect("values of GraphQL are JSON")
}

/// The transport that stays open which `Accept` prefers, if it takes any.
pub(super) fn open_form(headers: &HeaderMap) -> Option<Form> {
    let form = |name: &str| match name {
        name if name.eq_ignore_ascii_case("text/event-stream") => Some(Form::Events),
        name if name.eq_ignore_ascii_case("multipart/mixed") => Some(Form::Multipart),
        _ => None,
    };
    let taken = accepted(headers).filter(|(_, weight)| *weight > 0);
    let mut best = None;
    for (form, weight) in taken.filter_map(|(name, weight)| Some((form(name)?, weight))) {
        if best.is_none_or(|(_, known)| weight > known) {
            best = Some((form, weight));
        }
    }
    best.map(|(form, _)| form)
}

/// The answer to one request. One with errors is not kept, whatever `keep` says.
pub(super) fn one(executed: &Executed, to: &To<'_>, keep: Option<Keep>) -> Response {
    let failed = to.media == Media::GraphqlResponse && before_execution(executed);
    let status = if failed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    respond(status, to, keep.filter(|_| executed.errors.is_empty()), &Rendered::of(executed))
}

/// The answers to a batch, in its order.
pub(super) fn many(executed: &[Executed], to: &To<'_>) -> Response {
    respond(StatusCode::OK, to, None, &executed.iter().map(Rendered::of).collect::<Vec<_>>())
}

/// The answer to what is no GraphQL request.
pub(super) fn unread(refusal: Refusal, to: &To<'_>, request_id: &str) -> Response {
    let mut executed = Executed::from_errors(vec![refusal.into_server_error()]);
    super::failure::classify(&mut executed, "", request_id);
    respond(StatusCode::BAD_REQUEST, to, None, &Rendered::of(&executed))
}

fn respond(status: StatusCode, to: &To<'_>, keep: Option<Keep>, body: &impl Serialize) -> Response {
    let json = serde_json::to_vec(body).expect("values of GraphQL are JSON");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, to.media.value());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut response = match keep {
        None => coded(json, &mut headers, to),
        Some(keep) => kept(json, keep, &mut headers, to),
    };
    if response.status() == StatusCode::OK {
        *response.status_mut() = status;
    }
    *response.headers_mut() = headers;
    response
}

/// In the content coding that the client takes.
fn coded(json: Vec<u8>, headers: &mut HeaderMap, to: &To<'_>) -> Response {
    if to.coding == Coding::None {
        return Response::new(Body::full(json));
    }
    headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    match compress::gzip(&json, to.headers) {
        None => Response::new(Body::full(json)),
        Some(gzip) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            Response::new(Body::full(gzip))
        }
    }
}

/// With a tag to ask by whether it has changed. The tag is weak: it is that of every coding (RFC 9110, section 8.8.3).
fn kept(json: Vec<u8>, keep: Keep, headers: &mut HeaderMap, to: &To<'_>) -> Response {
    let whose = if keep.private { "private" } else { "public" };
    let directives = format!("{whose}, max-age={}", keep.seconds);
    let tag = format!("W/\"{}\"", Hash::of_bytes(&json).short());
    for (name, value) in [(header::CACHE_CONTROL, directives), (header::ETAG, tag)] {
        headers.insert(name, HeaderValue::try_from(value).expect("letters, digits and signs"));
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept, authorization"));
    let portion = conditional::portion(to.headers, StatusCode::OK, headers, None);
    if portion == Portion::Whole {
        return coded(json, headers, to);
    }
    let mut response = Response::new(Body::Empty);
    conditional::reshape(&portion, response.status_mut(), headers, 0);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_is_the_one_that_weighs_most() {
        let of = |accept: &'static str| {
            Media::of(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))])).ok()
        };
        assert_eq!(Media::of(&HeaderMap::new()).ok(), Some(Media::Json));
        for json in [
            "",
            "*/*",
            "application/*",
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json, application/graphql-response+json",
            "application/graphql-response+json;q=0, application/json",
            "application/graphql-response+json;q=0.5, application/json;q=0.9",
            "text/html, application/xhtml+xml, */*;q=0.8",
        ] {
            assert_eq!(of(json), Some(Media::Json), "{json}");
        }
        for newer in [
            "application/graphql-response+json",
            "application/graphql-response+json, application/json;q=0.9",
            "application/json;q=0.9, application/graphql-response+json",
            "application/graphql-response+json;charset=utf-8, */*",
        ] {
            assert_eq!(of(newer), Some(Media::GraphqlResponse), "{newer}");
        }
        for neither in ["text/html", "application/xml, text/*", "application/json;q=0", "*/*; q=0.000"] {
            assert_eq!(of(neither), None, "{neither}");
        }
    }
}
