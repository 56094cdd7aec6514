//! Reads what is asked from a GET's query or a POST's body (GraphQL over HTTP, sections 5 and 6).
//!
//! Not here: what a document says, and how large a body may be, which the route says.

use std::{borrow::Cow, fmt};

use async_graphql::Variables;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Refusal;
use crate::{
    body::{BodyError, Request},
    error::{Code, Error},
};

/// The most JSON values of one operation's variables, objects and lists counted with what is in them. Each takes two bytes of a
/// body at least and some hundred here.
const MOST_VALUES: usize = 1_000;

/// One operation as a client asks for it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) query: Option<String>,
    pub(super) operation_name: Option<String>,
    pub(super) variables: Variables,
    /// Whether the query is named by its hash.
    by_hash: bool,
}

/// The same as it was sent: nothing is built of what is not asked for, nor of what has not been measured.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent<'a> {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default, borrow)]
    variables: Option<&'a RawValue>,
    #[serde(default)]
    extensions: Option<SentExtensions>,
}

/// The one extension that says anything here, if it is there.
struct SentExtensions {
    by_hash: bool,
}

impl<'de> Deserialize<'de> for SentExtensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = SentExtensions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SentExtensions, A::Error> {
                let mut by_hash = false;
                while let Some((key, IgnoredAny)) = map.next_entry::<Cow<'de, str>, _>()? {
                    by_hash |= key == "persistedQuery";
                }
                Ok(SentExtensions { by_hash })
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Counts JSON values down, and fails where there are more.
struct Count<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| de::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Count(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Count(self.0))?;
        }
        Ok(())
    }
}

impl Sent<'_> {
    fn asked(self, wrong: &'static str) -> Result<Asked, Refusal> {
        let variables =
            self.variables.map_or_else(|| Ok(Variables::default()), |sent| variables(sent, wrong))?;
        let by_hash = self.extensions.is_some_and(|sent| sent.by_hash);
        Ok(Asked { query: self.query, operation_name: self.operation_name, variables, by_hash })
    }
}

fn variables(sent: &RawValue, wrong: &'static str) -> Result<Variables, Refusal> {
    let mut left = MOST_VALUES;
    let counted = Count(&mut left).deserialize(&mut serde_json::Deserializer::from_str(sent.get()));
    if counted.is_err() && left == 0 {
        return Err(Refusal::bad_input(format!("The variables hold more than {MOST_VALUES} values.")));
    }
    serde_json::from_str(sent.get()).map_err(|_| Refusal::bad_input(wrong))
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
        Err(if self.by_hash {
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
            "variables" => {
                let text = decoded(value)?;
                let sent: Option<&RawValue> = json(&text)?;
                asked.variables = sent.map_or(Ok(Variables::default()), |sent| variables(sent, NO_OBJECT))?;
            }
            "extensions" => {
                let text = decoded(value)?;
                let sent: Option<Option<SentExtensions>> = json(&text)?;
                asked.by_hash = sent.flatten().is_some_and(|sent| sent.by_hash);
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

fn of_body_text(body: &[u8], most: usize) -> Result<Batch, Refusal> {
    const NO_REQUEST: &str = "The body is no JSON object of a GraphQL request.";
    let wrong = |_| Refusal::bad_input(NO_REQUEST);
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        let sent: Sent<'_> = serde_json::from_slice(body).map_err(wrong)?;
        return Ok(Batch::One(Box::new(sent.asked(NO_REQUEST)?)));
    }
    let all: Vec<Sent<'_>> = serde_json::from_slice(body).map_err(wrong)?;
    if all.is_empty() || all.len() > most {
        return Err(Refusal::bad_input(format!("A batch holds 1 to {most} requests.")));
    }
    let all = all.into_iter().map(|sent| sent.asked(NO_REQUEST));
    Ok(Batch::Many(all.collect::<Result<_, _>>()?))
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
        let sent = br#"{"extensions":{"other":[1,{}],"persistedQuery":{"version":1}}}"#;
        let Ok(Batch::One(asked)) = of_body_text(sent, 1) else { panic!("one") };
        assert_eq!(asked.text().unwrap_err().code, "PERSISTED_QUERY_NOT_SUPPORTED");
        let asked = of_query("extensions=%7B%22persistedQuery%22:%7B%7D%7D").unwrap();
        assert_eq!(asked.text().unwrap_err().code, "PERSISTED_QUERY_NOT_SUPPORTED");
        for wrong in [&br#"{"extensions":[]}"#[..], br#"{"extensions":5}"#] {
            assert!(of_body_text(wrong, 1).is_err());
        }
        assert!(of_query("extensions=null").is_ok() && of_query("extensions=%5B%5D").is_err());
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
