//! Reads what is asked from a GET's query or a POST's body (GraphQL over HTTP, sections 5 and 6).
//!
//! Not here: what a document says, and how large a body may be, which the route says.

use async_graphql::{Extensions, Variables};
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::Refusal;
use crate::{
    body::{BodyError, Request},
    error::{Code, Error},
};

/// One operation as a client asks for it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Asked {
    #[serde(default)]
    pub(super) query: Option<String>,
    #[serde(default)]
    pub(super) operation_name: Option<String>,
    #[serde(default)]
    pub(super) variables: Variables,
    #[serde(default)]
    extensions: Option<Extensions>,
}

/// One operation or several.
#[derive(Debug)]
pub(super) enum Batch {
    One(Box<Asked>),
    Many(Vec<Asked>),
}

/// Why nothing is executed: an HTTP error, or a GraphQL error of status 400.
#[derive(Debug)]
pub(super) enum Unread {
    Http(Error),
    Graphql(Refusal),
}

impl From<Refusal> for Unread {
    fn from(refusal: Refusal) -> Self {
        Unread::Graphql(refusal)
    }
}

impl Asked {
    /// The document's text.
    pub(super) fn text(&self) -> Result<&str, Refusal> {
        if let Some(query) = self.query.as_deref().filter(|query| !query.is_empty()) {
            return Ok(query);
        }
        let by_hash = self.extensions.as_ref().is_some_and(|sent| sent.contains_key("persistedQuery"));
        Err(if by_hash {
            // The word by which clients know to send the text instead.
            Refusal { code: "PERSISTED_QUERY_NOT_SUPPORTED", message: "PersistedQueryNotSupported".into() }
        } else {
            Refusal::bad_input("The request has no `query`.")
        })
    }
}

/// What `request` asks for, of at most `most` operations.
pub(super) async fn read(request: &mut Request, most: usize) -> Result<Batch, Unread> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            Ok(Batch::One(Box::new(of_query(request.uri().query().unwrap_or_default())?)))
        }
        Method::POST => {
            if !is_json(request.headers()) {
                return Err(Unread::Http(Error::new(Code::UnsupportedMediaType, "not application/json")));
            }
            let body = std::mem::take(request.body_mut()).collect().await;
            let body = body.map_err(|error| Unread::Http(of_body(&error)))?;
            Ok(of_body_text(&body, most)?)
        }
        _ => Err(Unread::Http(not_allowed(ALL))),
    }
}

/// What the router says of a route with GET and POST.
const ALL: &str = "GET, HEAD, OPTIONS, POST";
/// By which methods something may be changed.
pub(super) const WRITES: &str = "OPTIONS, POST";

/// 405, with the methods that are.
pub(super) fn not_allowed(allowed: &'static str) -> Error {
    Error::new(Code::MethodNotAllowed, "graphql").header(header::ALLOW, HeaderValue::from_static(allowed))
}

fn of_body(error: &BodyError) -> Error {
    match error {
        BodyError::TooLarge(_) => Error::new(Code::BodyTooLarge, error.to_string()),
        BodyError::Stalled(_) | BodyError::Deadline => Error::new(Code::RequestTimeout, error.to_string()),
        _ => Error::new(Code::BadRequest, error.to_string()),
    }
}

/// Nothing but JSON: a page elsewhere can make a browser post other kinds without asking (CSRF).
fn is_json(headers: &HeaderMap) -> bool {
    let typed = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = typed.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn of_query(query: &str) -> Result<Asked, Refusal> {
    const READ: [&str; 4] = ["query", "operationName", "variables", "extensions"];
    let mut asked = Asked::default();
    let mut seen = Vec::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if seen.contains(&name) {
            return Err(Refusal::bad_input("A parameter is given twice."));
        }
        seen.extend(READ.contains(&name).then_some(name));
        match name {
            "query" => asked.query = Some(decoded(value)?),
            "operationName" => asked.operation_name = Some(decoded(value)?).filter(|name| !name.is_empty()),
            "variables" => asked.variables = json(&decoded(value)?)?.unwrap_or_default(),
            "extensions" => asked.extensions = json(&decoded(value)?)?,
            _ => {}
        }
    }
    Ok(asked)
}

/// `application/x-www-form-urlencoded`: `+` is a blank.
fn decoded(value: &str) -> Result<String, Refusal> {
    let spaced = value.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8();
    text.map(|text| text.into_owned()).map_err(|_| Refusal::bad_input("A parameter is not UTF-8."))
}

fn json<T: for<'de> Deserialize<'de>>(text: &str) -> Result<Option<T>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map_err(|_| Refusal::bad_input("A parameter is no JSON object."))
}

fn of_body_text(body: &[u8], most: usize) -> Result<Batch, Refusal> {
    let wrong = |_| Refusal::bad_input("The body is no JSON object of a GraphQL request.");
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return serde_json::from_slice(body).map(|asked| Batch::One(Box::new(asked))).map_err(wrong);
    }
    let all: Vec<Asked> = serde_json::from_slice(body).map_err(wrong)?;
    if all.is_empty() || all.len() > most {
        return Err(Refusal::bad_input(format!("A batch holds 1 to {most} requests.")));
    }
    Ok(Batch::Many(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;

    async fn post(typed: &'static str, body: &'static str) -> Result<Batch, Unread> {
        let request = http::Request::post("/graphql").header("content-type", typed);
        read(&mut request.body(Body::full(body)).unwrap(), 2).await
    }

    #[tokio::test]
    async fn a_get_carries_everything_in_its_query() {
        let uri = "/graphql?query=query+A(%24a:Int){a}&operationName=A&variables=%7B%22a%22:1%7D&extensions=";
        let mut request = http::Request::get(uri).body(Body::Empty).unwrap();
        let Batch::One(asked) = read(&mut request, 1).await.unwrap() else { panic!("one") };
        assert_eq!(asked.text().unwrap(), "query A($a:Int){a}");
        assert_eq!(asked.operation_name.as_deref(), Some("A"));
        assert_eq!(asked.variables.len(), 1);
    }

    #[tokio::test]
    async fn a_parameter_that_is_given_twice_is_refused() {
        for twice in
            ["query=a&query=a", "variables=&x=1&variables=", "query=a&operationName=A&operationName="]
        {
            let mut request = http::Request::get(format!("/graphql?{twice}")).body(Body::Empty).unwrap();
            assert!(matches!(read(&mut request, 1).await, Err(Unread::Graphql(_))), "{twice}");
        }
        let mut request = http::Request::get("/graphql?query=a&x=1&x=2").body(Body::Empty).unwrap();
        assert!(read(&mut request, 1).await.is_ok());
    }

    #[tokio::test]
    async fn a_post_is_one_request_or_a_bounded_batch() {
        assert!(matches!(
            post("application/json; charset=utf-8", r#"{"query":"{a}","variables":null}"#).await,
            Ok(Batch::One(_))
        ));
        assert!(
            matches!(post("application/json", r#" [{"query":"{a}"},{"query":"{b}"}]"#).await, Ok(Batch::Many(all)) if all.len() == 2)
        );
        for wrong in ["", "x", "[]", "5", r#"{"query":5}"#, r#"[{},{},{}]"#] {
            assert!(matches!(
                post("application/json", wrong).await,
                Err(Unread::Graphql(refusal)) if refusal.code == "BAD_USER_INPUT"
            ));
        }
    }

    #[tokio::test]
    async fn other_kinds_and_methods_are_refused() {
        assert!(matches!(post("text/plain", "{}").await, Err(Unread::Http(e)) if e.status() == 415));
        let mut put = http::Request::put("/graphql").body(Body::Empty).unwrap();
        assert!(matches!(read(&mut put, 1).await, Err(Unread::Http(e)) if e.status() == 405));
    }

    #[test]
    fn a_query_sent_by_its_hash_alone_is_told_so() {
        let asked: Asked =
            serde_json::from_str(r#"{"extensions":{"persistedQuery":{"version":1}}}"#).unwrap();
        assert_eq!(asked.text().unwrap_err().code, "PERSISTED_QUERY_NOT_SUPPORTED");
    }
}
