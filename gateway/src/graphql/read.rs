//! Reads what is asked from a GET's query or a POST's body (GraphQL over HTTP, sections 5 and 6).
//!
//! Not here: what a document says, and how large a body may be, which the route says.

use async_graphql::Variables;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeSeed};
use serde_json::value::RawValue;

use super::{
    Refusal,
    sent::{AtMost, Sent, SentExtensions, variables},
};
use crate::{
    body::{BodyError, Request},
    error::{Code, Error},
};

/// One operation as a client asks for it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) query: Option<String>,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
    /// What else names the document.
    pub(super) reference: Option<Reference>,
}

/// What names a document besides its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// `extensions.persistedQuery.sha256Hash`, of the version that is known here.
    Hash(Option<String>),
    /// `documentId`, or `id` as Relay's clients say.
    Id(String),
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
    /// The document's text, if it was sent.
    pub(super) fn sent_text(&self) -> Option<&str> {
        self.query.as_deref().filter(|query| !query.is_empty())
    }

    /// Why it means nothing where documents are known by their texts only.
    pub(super) fn without_text(&self) -> Refusal {
        match self.reference {
            // The word by which clients know to send the text instead.
            Some(Reference::Hash(_)) => Refusal {
                code: "PERSISTED_QUERY_NOT_SUPPORTED",
                message: "PersistedQueryNotSupported".into(),
            },
            Some(Reference::Id(_)) => {
                Refusal::bad_input("No document is known by an id here: send its text as `query`.")
            }
            None => Refusal::bad_input("The request has no `query`."),
        }
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
                let error = Error::new(Code::UnsupportedMediaType, "not application/json");
                return Err(Unread::Http(error.detail("The body must be `application/json`, in UTF-8.")));
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
    let error = Error::new(Code::MethodNotAllowed, "graphql");
    let error =
        if allowed == WRITES { error.detail("Only queries may be sent by GET; use POST.") } else { error };
    error.header(header::ALLOW, HeaderValue::from_static(allowed))
}

fn of_body(error: &BodyError) -> Error {
    match error {
        BodyError::TooLarge(_) => Error::new(Code::BodyTooLarge, error.to_string()),
        BodyError::Stalled(_) | BodyError::Deadline => Error::new(Code::RequestTimeout, error.to_string()),
        _ => Error::new(Code::BadRequest, error.to_string()),
    }
}

/// Nothing but JSON, and that in UTF-8 (RFC 8259, section 8.1): a page elsewhere can make a browser post other kinds without asking (CSRF).
fn is_json(headers: &HeaderMap) -> bool {
    let typed = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = typed.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let other_charset = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, "utf-8"));
        name.eq_ignore_ascii_case("charset") && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    essence.eq_ignore_ascii_case("application/json") && !parts.any(other_charset)
}

fn of_query(query: &str) -> Result<Asked, Refusal> {
    const READ: [&str; 6] = ["query", "operationName", "variables", "extensions", "documentId", "id"];
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
            "variables" => {
                let text = decoded(value)?;
                let sent: Option<&RawValue> = json(&text)?;
                asked.variables = sent.map_or(Ok(Variables::default()), |sent| variables(sent, NO_OBJECT))?;
            }
            "extensions" => {
                let text = decoded(value)?;
                let sent: Option<Option<SentExtensions>> = json(&text)?;
                let hash = sent.flatten().and_then(SentExtensions::reference);
                asked.reference = hash.or(asked.reference);
            }
            "documentId" | "id" if !value.is_empty() && asked.reference.is_none() => {
                asked.reference = Some(Reference::Id(decoded(value)?));
            }
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

const NO_OBJECT: &str = "A parameter is no JSON object.";

fn json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<Option<T>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|_| Refusal::bad_input(NO_OBJECT))
}

/// What the payload of a message asks for.
pub(super) fn of_payload(json: &[u8]) -> Result<Asked, Refusal> {
    match of_body_text(json, 0)? {
        Batch::One(asked) => Ok(*asked),
        Batch::Many(_) => Err(Refusal::bad_input("A message asks for one operation.")),
    }
}

fn of_body_text(body: &[u8], most: usize) -> Result<Batch, Refusal> {
    const NO_REQUEST: &str = "The body is no JSON object of a GraphQL request.";
    let wrong = |_| Refusal::bad_input(NO_REQUEST);
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let sent: Sent<'_> = serde_json::from_slice(body).map_err(wrong)?;
        return Ok(Batch::One(Box::new(sent.asked(NO_REQUEST)?)));
    }
    if most == 0 {
        return Err(Refusal::bad_input("Batches are not offered here."));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let all = AtMost(most).deserialize(&mut json).and_then(|all| json.end().map(|()| all)).map_err(wrong)?;
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        return Err(Refusal::bad_input(format!("A batch holds 1 to {most} requests.")));
    };
    let all = all.into_iter().map(|sent| sent.asked(NO_REQUEST));
    Ok(Batch::Many(all.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::{super::sent::MOST_VALUES, *};
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
        assert_eq!(asked.sent_text(), Some("query A($a:Int){a}"));
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

    #[tokio::test]
    async fn json_in_another_charset_is_refused() {
        let body = r#"{"query":"{a}"}"#;
        for utf_8 in ["application/json;charset=UTF-8", "Application/JSON; charset=\"utf-8\"; x=y"] {
            assert!(post(utf_8, body).await.is_ok(), "{utf_8}");
        }
        let utf_16 = post("application/json; charset=utf-16", body).await;
        assert!(matches!(utf_16, Err(Unread::Http(e)) if e.status() == 415));
    }

    fn only(body: &str) -> Asked {
        let Ok(Batch::One(asked)) = of_body_text(body.as_bytes(), 0) else { panic!("{body}") };
        *asked
    }

    #[test]
    fn documents_are_named_by_their_hash_or_by_an_id() {
        let hash = |hash: &str| Some(Reference::Hash(Some(hash.to_owned())));
        let id = |id: &str| Some(Reference::Id(id.to_owned()));
        for (body, expected) in [
            (r#"{"extensions":{"o":[1,{}],"persistedQuery":{"version":1,"sha256Hash":"ab"}}}"#, hash("ab")),
            (
                r#"{"extensions":{"persistedQuery":{"version":2,"sha256Hash":"ab"}}}"#,
                Some(Reference::Hash(None)),
            ),
            (r#"{"extensions":{"persistedQuery":{"version":1}}}"#, Some(Reference::Hash(None))),
            (r#"{"extensions":{"persistedQuery":null}}"#, None),
            (r#"{"documentId":"sha256:ab"}"#, id("sha256:ab")),
            (r#"{"id":"ab"}"#, id("ab")),
            (r#"{"documentId":"ab","id":"cd"}"#, id("ab")),
            (r#"{"id":5,"documentId":null}"#, None),
        ] {
            assert_eq!(only(body).reference, expected, "{body}");
        }
        let of = |query: &str| of_query(query).unwrap().reference;
        assert_eq!(
            of("extensions=%7B%22persistedQuery%22:%7B%22version%22:1,%22sha256Hash%22:%22ab%22%7D%7D"),
            hash("ab")
        );
        assert_eq!((of("documentId=ab"), of("id=ab&documentId=")), (id("ab"), id("ab")));
        assert!(of_query("documentId=a&documentId=b").is_err());
    }

    #[test]
    fn a_query_sent_by_its_hash_alone_is_told_so() {
        let asked = only(r#"{"extensions":{"persistedQuery":{"version":1}}}"#);
        assert_eq!(asked.without_text().code, "PERSISTED_QUERY_NOT_SUPPORTED");
        let by_id = only(r#"{"id":"ab"}"#).without_text();
        assert_eq!(by_id.code, "BAD_USER_INPUT");
        assert_eq!(by_id.message, "No document is known by an id here: send its text as `query`.");
        assert_eq!(only("{}").without_text().message, "The request has no `query`.");
    }

    #[test]
    fn who_changes_something_by_get_is_told_to_post() {
        assert_eq!(not_allowed(WRITES).client_detail(), "Only queries may be sent by GET; use POST.");
        assert_eq!(not_allowed(ALL).client_detail(), "This method is not offered here.");
    }

    #[test]
    fn extensions_of_another_form_are_refused() {
        for wrong in [&br#"{"extensions":[]}"#[..], br#"{"extensions":5}"#] {
            assert!(of_body_text(wrong, 1).is_err());
        }
        assert!(of_query("extensions=null").is_ok() && of_query("extensions=%5B%5D").is_err());
    }

    #[test]
    fn batches_are_taken_where_they_are_offered() {
        let batch = |many: usize| format!("[{}]", vec![r#"{"query":"{a}"}"#; many].join(","));
        let told = |many, most| of_body_text(batch(many).as_bytes(), most).map_err(|refusal| refusal.message);
        assert!(matches!(told(2, 2), Ok(Batch::Many(all)) if all.len() == 2));
        assert_eq!(told(1, 0).unwrap_err(), "Batches are not offered here.");
        for many in [0, 3, 10_000] {
            assert_eq!(told(many, 2).unwrap_err(), "A batch holds 1 to 2 requests.");
        }
        assert!(of_body_text(br#"[{"query":"{a}"}] x"#, 2).is_err());
    }

    #[test]
    fn variables_of_too_many_values_are_refused_before_anything_is_built_of_them() {
        let body = |many: usize| {
            let list = vec!["{}"; many].join(",");
            format!(r#"{{"query":"{{a}}","variables":{{"a":[{list}],"b":{{"c":null}}}}}}"#)
        };
        let fits = MOST_VALUES - 4; // the object, the list, `b` and `c`
        assert!(of_body_text(body(fits).as_bytes(), 1).is_ok());
        for over in [fits + 1, 100_000] {
            let refusal = of_body_text(body(over).as_bytes(), 1).unwrap_err();
            assert_eq!(refusal.code, "BAD_USER_INPUT");
            assert_eq!(refusal.message, "The variables hold more than 1000 values.");
        }
        let list = vec!["0"; MOST_VALUES].join(",");
        assert!(of_query(&format!("query=a&variables=%7B%22a%22:[{list}]%7D")).is_err());
        assert!(of_body_text(br#"{"query":"{a}","variables":[]}"#, 1).is_err());
        assert!(of_body_text(br#"{"query":"{a}","variables":null,"extensions":null}"#, 1).is_ok());
    }
}
