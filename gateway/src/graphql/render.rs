//! The answer as HTTP: its media type, its status, its JSON.
//!
//! Not here: HTTP errors, which are problem documents.

use async_graphql::{Response as Executed, ServerError, Value};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Refusal, failure::before_execution};
use crate::body::{Body, Response};

/// The media type that the client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// `application/json`: the status is 200 for whatever is well-formed, as clients of old expect.
    Json,
    /// `application/graphql-response+json`: the status says whether anything was executed.
    GraphqlResponse,
}

impl Media {
    /// What `Accept` prefers; the order in it counts, its weights only when they are zero.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut offers = accepted(headers);
        let first = offers.find(|name| {
            matches!(
                *name,
                "application/json" | "application/graphql-response+json" | "*/*" | "application/*"
            )
        });
        if first == Some("application/graphql-response+json") { Media::GraphqlResponse } else { Media::Json }
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
    accepted(headers).any(|name| name == "text/html")
}

fn accepted(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    fields.flat_map(|field| field.split(',')).filter_map(|offer| {
        let mut parts = offer.split(';').map(str::trim);
        let name = parts.next()?;
        let refused = parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"));
        (!refused).then_some(name)
    })
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

/// The answer to one request.
pub(super) fn one(executed: &Executed, media: Media) -> Response {
    let failed = media == Media::GraphqlResponse && before_execution(executed);
    let status = if failed { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    respond(status, media, &Rendered::of(executed))
}

/// The answers to a batch, in its order.
pub(super) fn many(executed: &[Executed], media: Media) -> Response {
    respond(StatusCode::OK, media, &executed.iter().map(Rendered::of).collect::<Vec<_>>())
}

/// The answer to what is no GraphQL request.
pub(super) fn unread(refusal: Refusal, media: Media, request_id: &str) -> Response {
    let mut executed = Executed::from_errors(vec![refusal.into_server_error()]);
    super::failure::classify(&mut executed, "", request_id);
    respond(StatusCode::BAD_REQUEST, media, &Rendered::of(&executed))
}

fn respond(status: StatusCode, media: Media, body: &impl Serialize) -> Response {
    let json = serde_json::to_vec(body).expect("values of GraphQL are JSON");
    let mut response = Response::new(Body::full(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media.value());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_media_type_is_for_those_who_ask_for_it_first() {
        let of = |accept: &'static str| {
            Media::of(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert_eq!(Media::of(&HeaderMap::new()), Media::Json);
        assert_eq!(of("*/*"), Media::Json);
        assert_eq!(of("application/json"), Media::Json);
        assert_eq!(of("application/graphql-response+json, application/json;q=0.9"), Media::GraphqlResponse);
        assert_eq!(of("application/graphql-response+json;q=0, application/json"), Media::Json);
    }
}
