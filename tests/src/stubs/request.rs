//! What the services read from a request: ids, parameters, bodies; what is malformed is a 400 that names it.
//!
//! The content type of a body is not asked for.

use std::str::FromStr;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{
    Deserializer,
    de::{DeserializeOwned, IntoDeserializer, value::StrDeserializer},
};

use super::{problem::Refusal, world::Invalid};

/// The id in the path.
pub(super) struct Id(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Invalid::new("id", NO_ID))?;
        Ok(Id(parsed_id(&text, "id")?))
    }
}

const NO_ID: &str = "a whole number of 64 bits is expected";

fn parsed_id(text: &str, field: &str) -> Result<i64, Invalid> {
    text.parse().map_err(|_| Invalid::new(field, NO_ID))
}

/// The query's parameters; an empty one counts as missing.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Params, Refusal> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(pairs)| Params(pairs))
            .map_err(|wrong| Invalid::new("query", wrong.to_string()).into())
    }
}

impl Params {
    /// Whether the parameter is there, empty or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// The parameter's value.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// The words between the parameter's commas.
    pub(super) fn words(&self, name: &str) -> Vec<&str> {
        let values = self.0.iter().filter(|(key, _)| key == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect()
    }

    /// The ids between the parameter's commas, each once; the parameter must be there.
    pub(super) fn ids(&self, name: &str) -> Result<Vec<i64>, Refusal> {
        if !self.has(name) {
            return Err(missing(name));
        }
        let mut ids = Vec::new();
        for word in self.words(name) {
            let id = parsed_id(word, name)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// The one id of a parameter that must be there.
    pub(super) fn id(&self, name: &str) -> Result<i64, Refusal> {
        Ok(parsed_id(self.text(name).ok_or_else(|| missing(name))?, name)?)
    }

    /// The parameter, read by `read`.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, Refusal> {
        let read = self.text(name).map(read).transpose();
        read.map_err(|wrong| Invalid::new(name, wrong).into())
    }

    /// A value of an enum, as it is written in JSON.
    pub(super) fn variant<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let read = |text: &str| {
            let value: StrDeserializer<'_, serde::de::value::Error> = text.into_deserializer();
            T::deserialize(value).map_err(|wrong| Invalid::new(name, wrong.to_string()))
        };
        Ok(self.text(name).map(read).transpose()?)
    }

    /// How many records a page has.
    pub(super) fn page_size(&self) -> Result<usize, Refusal> {
        let wrong = "from 1 to 200";
        let size = self.read("pageSize", |text| usize::from_str(text).map_err(|_| wrong))?.unwrap_or(50);
        if (1..=200).contains(&size) { Ok(size) } else { Err(Invalid::new("pageSize", wrong).into()) }
    }

    /// Where a page goes on; an empty key was never given.
    pub(super) fn start_key<T: FromStr<Err = &'static str>>(&self) -> Result<Option<T>, Refusal> {
        if self.has("startKey") && self.text("startKey").is_none() {
            return Err(Invalid::new("startKey", "not a key that this service gave").into());
        }
        self.read("startKey", str::parse)
    }
}

fn missing(name: &str) -> Refusal {
    Invalid::new(name, "is required").into()
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Response> {
        let bytes = Bytes::from_request(request, state).await.map_err(IntoResponse::into_response)?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let body = decoded(&mut json).and_then(|body| match json.end() {
            Ok(()) => Ok(Body(body)),
            Err(wrong) => Err(Invalid::new("body", wrong.to_string())),
        });
        body.map_err(|wrong| Refusal::from(wrong).into_response())
    }
}

/// The value in JSON, or the path of the field that is wrong.
pub(super) fn decoded<'de, T: DeserializeOwned, D>(json: D) -> Result<T, Invalid>
where
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(json).map_err(|error| {
        let message = error.inner().to_string();
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        Invalid::new(named(&path, &message), message)
    })
}

/// The path, and the field that serde misses there or does not know.
fn named(path: &str, message: &str) -> String {
    let about_field = message.starts_with("missing field") || message.starts_with("unknown field");
    match message.split('`').nth(1) {
        Some(field) if about_field && path.is_empty() => field.to_owned(),
        Some(field) if about_field && path.rsplit('.').next() != Some(field) => format!("{path}.{field}"),
        _ if path.is_empty() => "body".to_owned(),
        _ => path.to_owned(),
    }
}

/// The key that makes a write happen once.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty())
}
