//! One fault rule: which requests it meets, and what then happens to them.
//!
//! Not the doing: `answer.rs` breaks answers, `server.rs` breaks connections.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::fields::{Fields, signed_millis};
use super::world::Invalid;

/// A rule of `PUT /faults/{service}`.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    method: Option<Method>,
    path: Option<String>,
    rate: f64,
    latency: Duration,
    jitter: Duration,
    pub(super) fault: Option<Fault>,
}

/// What happens to a request after the latency.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// This answer instead of the real one.
    Scripted(Script),
    /// No answer ever.
    Hang,
    /// A TCP reset before an answer.
    Reset,
    /// So many bytes of the real body, then the connection is closed.
    Truncate(usize),
    /// The real body, a byte at a time.
    Trickle(Duration),
    /// 200 and broken JSON.
    Malformed,
    /// 100 MiB of valid JSON.
    Huge,
    /// 200 and `text/html`.
    WrongType,
    /// Neither listener nor connections, until healed.
    Refuse,
}

/// A scripted answer.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Rule {
    /// The rules of one object or of a list of them.
    pub(super) fn read_all(value: Value) -> Result<Vec<Rule>, Invalid> {
        match value {
            Value::Array(rules) => {
                rules.into_iter().enumerate().map(|(i, rule)| Rule::read(rule, &format!("[{i}]"))).collect()
            }
            rule => Ok(vec![Rule::read(rule, "")?]),
        }
    }

    fn read(value: Value, at: &str) -> Result<Rule, Invalid> {
        let mut fields = Fields::of(value, at)?;
        let rule = Rule {
            method: read_method(&mut fields)?,
            path: read_path(&mut fields)?,
            rate: read_rate(&mut fields)?,
            latency: fields.duration("latency")?.unwrap_or_default(),
            jitter: fields.duration("jitter")?.unwrap_or_default(),
            fault: read_fault(&mut fields)?,
        };
        fields.end()?;
        Ok(rule)
    }

    /// Whether the rule is for this request; the rate is left to chance.
    pub(super) fn meets(&self, method: &Method, path: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self.path.as_ref().is_none_or(|pattern| path_matches(pattern, path))
            && (self.rate >= 1.0 || fastrand::f64() < self.rate)
    }

    /// How long this request waits: the latency and up to the jitter on top.
    pub(super) fn wait(&self) -> Duration {
        self.latency + self.jitter.mul_f64(fastrand::f64())
    }

    /// Whether the rule shuts the whole service. Its method, path, rate and latency then do not matter.
    pub(super) fn refuses(&self) -> bool {
        matches!(self.fault, Some(Fault::Refuse))
    }
}

/// `*` stands for one segment, at the end for the rest (at least one segment, be it empty).
fn path_matches(pattern: &str, path: &str) -> bool {
    let mut path = path.split('/');
    let mut pattern = pattern.split('/').peekable();
    while let Some(wanted) = pattern.next() {
        match path.next() {
            Some(_) if wanted == "*" && pattern.peek().is_none() => return true,
            Some(segment) if wanted == "*" || wanted == segment => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

fn read_method(fields: &mut Fields) -> Result<Option<Method>, Invalid> {
    let Some(text) = fields.take::<String>("method")? else { return Ok(None) };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&text.as_str());
    let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| known);
    method.map(Some).ok_or_else(|| fields.wrong("method", "must be an HTTP method in capitals"))
}

fn read_path(fields: &mut Fields) -> Result<Option<String>, Invalid> {
    let path = fields.take::<String>("path")?;
    match path.as_deref() {
        Some(text) if text != "*" && !text.starts_with('/') => {
            Err(fields.wrong("path", "must begin with a slash"))
        }
        Some(text) if text.contains('?') => Err(fields.wrong("path", "the query is not matched")),
        _ => Ok(path),
    }
}

fn read_rate(fields: &mut Fields) -> Result<f64, Invalid> {
    let rate = fields.take::<f64>("rate")?.unwrap_or(1.0);
    if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(fields.wrong("rate", "must be from 0.0 to 1.0")) }
}

fn read_fault(fields: &mut Fields) -> Result<Option<Fault>, Invalid> {
    let at = fields.path("fault");
    match fields.take::<Value>("fault")? {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(name)) => named_fault(&name, &at).map(Some),
        Some(Value::Object(map)) => object_fault(map, &at).map(Some),
        Some(_) => Err(Invalid::new(at, "must be a name or an object")),
    }
}

fn named_fault(name: &str, at: &str) -> Result<Fault, Invalid> {
    Ok(match name {
        "hang" => Fault::Hang,
        "reset" => Fault::Reset,
        "malformed" => Fault::Malformed,
        "huge" => Fault::Huge,
        "wrong-type" => Fault::WrongType,
        "refuse" => Fault::Refuse,
        _ => {
            let message = format!(
                "unknown fault {name:?}: there are hang, reset, malformed, huge, wrong-type, refuse, and \
                 objects with status, truncate or trickle"
            );
            return Err(Invalid::new(at, message));
        }
    })
}

fn object_fault(map: Map<String, Value>, at: &str) -> Result<Fault, Invalid> {
    let mut fields = Fields::of(Value::Object(map), at)?;
    let truncate = fields.take::<usize>("truncate")?.map(Fault::Truncate);
    let trickle = if truncate.is_none() { read_trickle(&mut fields)? } else { None };
    let fault = match truncate.or(trickle) {
        Some(fault) => fault,
        None => Fault::Scripted(read_script(&mut fields)?),
    };
    fields.end()?;
    Ok(fault)
}

fn read_trickle(fields: &mut Fields) -> Result<Option<Fault>, Invalid> {
    let Some(text) = fields.take::<String>("trickle")? else { return Ok(None) };
    let millis = signed_millis(&text).and_then(|millis| u64::try_from(millis).ok());
    let every = millis.map(Duration::from_millis);
    every
        .map(|every| Some(Fault::Trickle(every)))
        .ok_or_else(|| fields.wrong("trickle", "must be a time such as \"1s\""))
}

fn read_script(fields: &mut Fields) -> Result<Script, Invalid> {
    let status = fields.required::<u16>("status")?;
    let status = StatusCode::from_u16(status).ok().filter(|_| (200..600).contains(&status));
    let status = status.ok_or_else(|| fields.wrong("status", "must be from 200 to 599"))?;
    let body = Bytes::from(fields.take::<String>("body")?.unwrap_or_default());
    let mut headers = read_headers(fields)?;
    if !headers.contains_key(header::CONTENT_TYPE) && serde_json::from_slice::<Value>(&body).is_ok() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    Ok(Script { status, headers, body })
}

fn read_headers(fields: &mut Fields) -> Result<HeaderMap, Invalid> {
    let given = fields.take::<Map<String, Value>>("headers")?.unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = |message| fields.wrong(&format!("headers.{name}"), message);
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        let value = value.ok_or_else(|| wrong("must be a string that fits a header"))?;
        let key = HeaderName::try_from(&name).map_err(|_| wrong("is not a header name"))?;
        if key == header::CONTENT_LENGTH || key == header::TRANSFER_ENCODING {
            return Err(wrong("is the server's own"));
        }
        headers.insert(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(value: Value) -> Rule {
        Rule::read_all(value).unwrap().remove(0)
    }

    #[test]
    fn a_star_is_one_segment_and_at_the_end_the_rest() {
        for (pattern, path, matches) in [
            ("/orders", "/orders", true),
            ("/orders", "/orders/99", false),
            ("/orders/*", "/orders/99", true),
            ("/orders/*", "/orders/99/cancel", true),
            ("/orders/*", "/orders", false),
            ("/orders/*/cancel", "/orders/99/cancel", true),
            ("/orders/*/cancel", "/orders/99/revise", false),
            ("/orders/*/cancel", "/orders/cancel", false),
            ("/*", "/anything/at/all", true),
            ("*", "/anything/at/all", true),
        ] {
            assert_eq!(path_matches(pattern, path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn a_rule_without_conditions_meets_everything() {
        assert!(rule(json!({"fault": "hang"})).meets(&Method::PUT, "/"));
        assert!(!rule(json!({"method": "GET", "fault": "hang"})).meets(&Method::PUT, "/"));
        assert!(!rule(json!({"rate": 0, "fault": "hang"})).meets(&Method::GET, "/"));
    }

    #[test]
    fn jitter_comes_on_top_of_the_latency() {
        let rule = rule(json!({"latency": "100ms", "jitter": "20ms"}));
        for _ in 0..100 {
            let wait = rule.wait();
            assert!(wait >= Duration::from_millis(100) && wait <= Duration::from_millis(120), "{wait:?}");
        }
    }

    #[test]
    fn a_scripted_json_body_is_labelled_unless_the_script_says_otherwise() {
        let label = |fault: Value| match rule(json!({ "fault": fault })).fault {
            Some(Fault::Scripted(script)) => script.headers.get(header::CONTENT_TYPE).cloned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(label(json!({"status": 200, "body": "{}"})).unwrap(), "application/json");
        assert_eq!(label(json!({"status": 200, "body": "oh"})), None);
        let html = json!({"status": 200, "headers": {"Content-Type": "text/html"}, "body": "{}"});
        assert_eq!(label(html).unwrap(), "text/html");
    }

    #[test]
    fn every_mistake_names_its_field() {
        for (body, field) in [
            (json!("hang"), ""),
            (json!([{"fault": "hang"}, {"foo": 1}]), "[1].foo"),
            (json!({"method": "get"}), "method"),
            (json!({"path": "orders"}), "path"),
            (json!({"rate": 2}), "rate"),
            (json!({"latency": 100}), "latency"),
            (json!({"latency": "-1s"}), "latency"),
            (json!({"jitter": "soon"}), "jitter"),
            (json!({"fault": "explode"}), "fault"),
            (json!({"fault": 5}), "fault"),
            (json!({"fault": {"status": 42}}), "fault.status"),
            (json!({"fault": {"body": ""}}), "fault.status"),
            (json!({"fault": {"status": 200, "body": {}}}), "fault.body"),
            (json!({"fault": {"status": 200, "headers": {"a": 1}}}), "fault.headers.a"),
            (
                json!({"fault": {"status": 200, "headers": {"content-length": "1"}}}),
                "fault.headers.content-length",
            ),
            (json!({"fault": {"truncate": -1}}), "fault.truncate"),
            (json!({"fault": {"truncate": 1, "trickle": "1s"}}), "fault.trickle"),
            (json!({"fault": {"trickle": "x"}}), "fault.trickle"),
        ] {
            assert_eq!(Rule::read_all(body.clone()).unwrap_err().field, field, "{body}");
        }
    }
}
