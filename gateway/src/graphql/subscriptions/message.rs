//! Messages of `graphql-transport-ws` (GraphQL over WebSocket), as clients send them and as they are sent to clients.
//!
//! Not here: which may come when (`socket.rs`).

use std::borrow::Cow;

use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest id of an operation, in bytes: those of clients have 36.
const LONGEST_ID: usize = 128;

/// What a client says.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// With its credential, if it sends one here.
    Init(Option<HeaderValue>),
    Ping,
    Pong,
    Subscribe(Cow<'a, str>, &'a RawValue),
    Complete(Cow<'a, str>),
}

#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    payload: Option<&'a RawValue>,
}

/// What is read of the payload of `connection_init`.
#[derive(Deserialize, Default)]
struct Init {
    #[serde(rename = "Authorization", alias = "authorization", default)]
    authorization: Option<String>,
}

impl<'a> Message<'a> {
    /// What `text` says.
    ///
    /// # Errors
    /// What the client is told when it is no message.
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        let sent: Sent<'a> = serde_json::from_str(text).map_err(|_| "This is no message")?;
        let id = sent.id.filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
        let with_id = |id: Option<Cow<'a, str>>| id.ok_or("The id must be a text of 1 to 128 bytes");
        match &*sent.kind {
            "connection_init" => credential(sent.payload).map(Message::Init),
            "ping" => Ok(Message::Ping),
            "pong" => Ok(Message::Pong),
            "subscribe" => {
                let payload = sent.payload.ok_or("A subscription has a payload")?;
                with_id(id).map(|id| Message::Subscribe(id, payload))
            }
            "complete" => with_id(id).map(Message::Complete),
            _ => Err("There is no message of this type"),
        }
    }
}

fn credential(payload: Option<&RawValue>) -> Result<Option<HeaderValue>, &'static str> {
    let Some(payload) = payload else { return Ok(None) };
    if payload.get().starts_with('[') {
        return Err("The payload is no object"); // serde would read a list as one
    }
    let init: Option<Init> = serde_json::from_str(payload.get())
        .map_err(|_| "The payload is no object, or its Authorization no text")?;
    let Some(text) = init.unwrap_or_default().authorization else { return Ok(None) };
    HeaderValue::try_from(text).map(Some).map_err(|_| "This Authorization is none")
}

pub(super) const ACK: &str = r#"{"type":"connection_ack"}"#;
pub(super) const PING: &str = r#"{"type":"ping"}"#;
pub(super) const PONG: &str = r#"{"type":"pong"}"#;

/// A result, or errors, of the operation `id`.
pub(super) fn payload(kind: &str, id: &str, json: &[u8]) -> String {
    let (id, json) = (quoted(id), String::from_utf8_lossy(json));
    format!(r#"{{"id":{id},"type":"{kind}","payload":{json}}}"#)
}

pub(super) fn complete(id: &str) -> String {
    format!(r#"{{"id":{},"type":"complete"}}"#, quoted(id))
}

fn quoted(id: &str) -> String {
    serde_json::to_string(id).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_told_so() {
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"type":"start","id":"1"}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","payload":{}}"#,
            r#"{"type":"subscribe","id":1,"payload":{}}"#,
            r#"{"type":"complete","id":""}"#,
            r#"{"type":"connection_init","payload":[]}"#,
            r#"{"type":"connection_init","payload":{"Authorization":1}}"#,
            r#"{"type":"connection_init","payload":{"Authorization":"a","authorization":"b"}}"#,
            r#"{"type":"connection_init","payload":{"Authorization":"a\n"}}"#,
        ] {
            assert!(Message::read(wrong).is_err(), "{wrong}");
        }
        assert!(Message::read(&format!(r#"{{"type":"complete","id":"{}"}}"#, "a".repeat(129))).is_err());
    }

    #[test]
    fn a_credential_comes_under_either_spelling_or_not_at_all() {
        let of = |text| match Message::read(text).unwrap() {
            Message::Init(value) => value.map(|value| value.to_str().unwrap().to_owned()),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(r#"{"type":"connection_init"}"#), None);
        assert_eq!(of(r#"{"type":"connection_init","payload":null}"#), None);
        assert_eq!(of(r#"{"type":"connection_init","payload":{"x":1}}"#), None);
        for name in ["Authorization", "authorization"] {
            let text = format!(r#"{{"payload":{{"{name}":"Bearer a"}},"type":"connection_init"}}"#);
            assert_eq!(of(text.leak()).unwrap(), "Bearer a");
        }
    }

    #[test]
    fn an_id_comes_back_as_it_was_sent() {
        let sent = "\"\u{1}é";
        let told: serde_json::Value = serde_json::from_str(&payload("next", sent, b"{}")).unwrap();
        assert_eq!((told["id"].as_str(), told["type"].as_str()), (Some(sent), Some("next")));
    }
}
