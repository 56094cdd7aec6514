//! The answer as HTTP: its media type, its status, its JSON.
//!
//! Not here: HTTP errors, which are problem documents.

use async_graphql::{Response as Executed, ServerError, Value};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{
    Refusal, coding::Agreed, compress, config::Coding, failure::before_execution, hash::Hash,
    subscriptions::Form, weights::weighed,
};
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
        for (name, weight) in weighed(headers, header::ACCEPT) {
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
    weighed(headers, header::ACCEPT).any(|(name, weight)| name == "text/html" && weight > 0)
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
    pub(super) coding: Agreed,
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

impl Keep {
    /// With a tag to ask by whether it has changed, of its own for each coding: a cache that keeps several finds by the tag of a
    /// 304 which of them it is about (RFC 9111, section 4.3.4; RFC 9110, section 8.8.3.3). The tag is weak, as another version of
    /// an encoder may write other bytes (RFC 9110, section 8.8.1).
    fn say(self, json: &[u8], coding: Option<Coding>, headers: &mut HeaderMap) {
        let whose = if self.private { "private" } else { "public" };
        let directives = format!("{whose}, max-age={}", self.seconds);
        let hash = Hash::of_bytes(json).short();
        let tag = coding
            .map_or_else(|| format!("W/\"{hash}\""), |coding| format!("W/\"{hash}-{}\"", coding.name()));
        for (name, value) in [(header::CACHE_CONTROL, directives), (header::ETAG, tag)] {
            headers.insert(name, HeaderValue::try_from(value).expect("letters, digits and signs"));
        }
        headers.insert(header::VARY, HeaderValue::from_static("accept, authorization"));
    }
}

/// A result as JSON.
pub(super) fn json(executed: &Executed) -> Vec<u8> {
    written(&Rendered::of(executed))
}

fn written(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("values of GraphQL are JSON")
}

/// The transport that stays open which `Accept` prefers, if it takes any.
pub(super) fn open_form(headers: &HeaderMap) -> Option<Form> {
    let form = |name: &str| match name {
        name if name.eq_ignore_ascii_case("text/event-stream") => Some(Form::Events),
        name if name.eq_ignore_ascii_case("multipart/mixed") => Some(Form::Multipart),
        _ => None,
    };
    let taken = weighed(headers, header::ACCEPT).filter(|(_, weight)| *weight > 0);
    let mut best = None;
    for (form, weight) in taken.filter_map(|(name, weight)| Some((form(name)?, weight))) {
        if best.is_none_or(|(_, known)| weight > known) {
            best = Some((form, weight));
        }
    }
    best.map(|(form, _)| form)
}

/// The answer to one request. One with errors is not kept, whatever `keep` says.
pub(super) async fn one(executed: &Executed, to: &To<'_>, keep: Option<Keep>) -> Response {
    let failed = to.media == Media::GraphqlResponse && before_execution(executed);
    let status = if failed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    respond(status, to, keep.filter(|_| executed.errors.is_empty()), json(executed)).await
}

/// The answers to a batch, in its order.
pub(super) async fn many(executed: &[Executed], to: &To<'_>) -> Response {
    let all: Vec<_> = executed.iter().map(Rendered::of).collect();
    let json = written(&all);
    respond(StatusCode::OK, to, None, json).await
}

/// The answer to what is no GraphQL request.
pub(super) async fn unread(refusal: Refusal, to: &To<'_>, request_id: &str) -> Response {
    let mut executed = Executed::from_errors(vec![refusal.into_server_error()]);
    super::failure::classify(&mut executed, "", request_id);
    respond(StatusCode::BAD_REQUEST, to, None, json(&executed)).await
}

async fn respond(status: StatusCode, to: &To<'_>, keep: Option<Keep>, json: Vec<u8>) -> Response {
    let coding = to.coding.of_length(json.len());
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, to.media.value());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(keep) = keep {
        keep.say(&json, coding, &mut headers);
    }
    if to.coding.varies {
        headers.append(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    let portion = match keep {
        Some(_) => conditional::portion(to.headers, StatusCode::OK, &headers, None),
        None => Portion::Whole,
    };
    let mut response = Response::new(Body::Empty);
    if portion == Portion::Whole {
        *response.body_mut() = coded(json, coding, &mut headers).await;
        *response.status_mut() = status;
    } else {
        conditional::reshape(&portion, response.status_mut(), &mut headers, 0);
    }
    *response.headers_mut() = headers;
    response
}

/// An answer that cannot be encoded is sent as it is (RFC 9110, section 12.5.3), and then not as what its tag says.
async fn coded(json: Vec<u8>, coding: Option<Coding>, headers: &mut HeaderMap) -> Body {
    let Some(coding) = coding else { return Body::full(json) };
    match compress::encode(&json, coding).await {
        Ok(encoded) => {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
            Body::full(encoded)
        }
        Err(why) => {
            tracing::warn!(coding = coding.name(), %why, "an answer is sent without its content coding");
            headers.remove(header::ETAG);
            Body::full(json)
        }
    }
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
