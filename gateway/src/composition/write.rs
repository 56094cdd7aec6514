//! The one write of a composition: it is sent last, once all that is required is there, and as the same write each time that
//! it is sent.
//!
//! Its key (`Idempotency-Key`, draft-ietf-httpapi-idempotency-key-header) is the client's, or the request's own id: the same
//! for every attempt, and told to a client that does not learn what became of it. A write that failed has not been done: it
//! was not sent, or its service refused it. Of any other that has no answer nobody knows; that is what the client is told,
//! and it is never told that nothing happened. A client that leaves ends the call, as with a request that is forwarded: what
//! its service makes of that is the service's.
//! Not here: what must be there before (`plan.rs`, `graph.rs`), what of it can never come out right (`config/write.rs`).

use std::{
    collections::HashMap,
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
    },
};
use serde_json::Value;

use super::{
    Compose, Under,
    config::Idempotency,
    json,
    part::{Asked, Fate, From, Got, Part},
    shape::Reference,
    status::{self, Status},
};
use crate::{
    auth::policy::{Facts, Input},
    body::{Body, BodyError, Request},
    error::{Code, Error},
    handler::Admitted,
    proxy::Invalidates,
    tags::Tag,
    upstream::{Fault, Reason, retry::Methods},
};

/// The key of a write.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key: what services are known to keep (Stripe, PayPal).
const LONGEST_KEY: usize = 255;
/// What a client says about its body that goes on with it.
const OF_BODY: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];

/// What a composition changes.
pub struct Write {
    /// How.
    pub method: Method,
    /// What is sent.
    pub body: Sends,
    /// Header fields.
    pub headers: Vec<(HeaderName, Tag)>,
    /// Whose key it carries.
    pub idempotency: Idempotency,
    /// What it makes invalid.
    pub invalidates: Option<Invalidates>,
    /// What is counted.
    pub metrics: Arc<WriteMetrics>,
}

/// The body of a write.
pub enum Sends {
    /// None.
    Nothing,
    /// The client's own, as it came.
    Request,
    /// JSON.
    Json(Written),
}

/// JSON that is written for a request.
pub enum Written {
    /// This.
    Literal(Box<str>),
    /// What a part has there, byte for byte.
    Found(Reference, Input),
    /// A text.
    Text(Tag),
    /// An object; each name as `"name":`.
    Object(Vec<(Box<[u8]>, Written)>),
    /// A list.
    List(Vec<Written>),
}

/// What writes of a route come to.
#[derive(Debug, Default)]
pub struct WriteMetrics {
    /// Their service says that they are done.
    pub done: Counter,
    /// They were not sent, or were refused.
    pub failed: Counter,
    /// Nobody knows: no answer, or none that says so, or the client has left.
    pub unknown: Counter,
}

/// What a client sent that a write is made of.
pub(super) struct Client {
    body: Bytes,
    /// What it says about the body.
    fields: Vec<(HeaderName, HeaderValue)>,
    key: Option<HeaderValue>,
}

/// A write that can be sent.
pub(super) struct Ready {
    target: PathAndQuery,
    fields: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// A write without an answer that says that it is done.
pub(super) struct Unwritten {
    pub(super) fault: Fault,
    /// Whether it may have been done all the same.
    unknown: bool,
    took: Duration,
}

/// Counts what becomes of a write, also when it is dropped under way.
struct Counting<'a>(Option<&'a WriteMetrics>);

impl Counting<'_> {
    fn end(mut self, outcome: fn(&WriteMetrics) -> &Counter) {
        self.0.take().into_iter().for_each(|metrics| _ = outcome(metrics).inc());
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.0.into_iter().for_each(|metrics| _ = metrics.unknown.inc());
    }
}

impl Client {
    /// Reads what `write` needs of `request`; its body to the end, so that a write is never sent by halves.
    pub(super) async fn of(
        write: &Write,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Client, Error> {
        let key = key(write.idempotency, request.headers(), admitted)?;
        let body = std::mem::take(request.body_mut());
        let body = admitted.deadline.bound(pin!(body.collect())).await;
        let body =
            body.map_err(|_elapsed| Error::new(Code::RequestTimeout, "the body did not end in time"))?;
        let body = body.map_err(|error| match error {
            BodyError::TooLarge(_) => Error::new(Code::BodyTooLarge, error.to_string()),
            BodyError::Stalled(_) => Error::new(Code::RequestTimeout, error.to_string()),
            error => Error::new(Code::BadRequest, error.to_string()),
        })?;
        let said = |name: &HeaderName| {
            request
                .headers()
                .get_all(name)
                .iter()
                .map(|value| (name.clone(), value.clone()))
                .collect::<Vec<_>>()
        };
        Ok(Client { body, fields: OF_BODY.iter().flat_map(said).collect(), key })
    }
}

/// The key that a write carries.
fn key(typed: Idempotency, headers: &HeaderMap, admitted: &Admitted) -> Result<Option<HeaderValue>, Error> {
    let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
    let wrong = |why: &'static str| Error::new(Code::BadRequest, why).detail(why);
    match (sent.next(), sent.next(), typed) {
        (Some(_), Some(_), _) => Err(wrong("There must be one Idempotency-Key.")),
        (Some(key), None, _) if key.is_empty() || key.len() > LONGEST_KEY || key.to_str().is_err() => {
            Err(wrong("An Idempotency-Key has 1 to 255 visible characters."))
        }
        (Some(key), None, _) => Ok(Some(key.clone())),
        (None, _, Idempotency::Generated) => Ok(Some(admitted.caller.request_id.clone())),
        (None, _, Idempotency::Client) => Ok(None),
        (None, _, Idempotency::Required) => {
            let error = Error::new(Code::MissingInput, "no Idempotency-Key, which `idempotency` requires");
            Err(error.detail("The header field Idempotency-Key is missing."))
        }
    }
}

impl Write {
    /// What header fields and texts of it are written from.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        let mut all: Vec<&Input> = self.headers.iter().flat_map(|(_, tag)| tag.inputs()).collect();
        if let Sends::Json(written) = &self.body {
            written.inputs(&mut all);
        }
        all.into_iter()
    }

    /// What is to be sent, or what it cannot be written from.
    pub(super) fn ready(
        &self,
        target: PathAndQuery,
        client: &Client,
        fates: &[Option<Fate>],
        facts: &Facts<'_>,
    ) -> Result<Ready, Option<&Input>> {
        let mut fields = Vec::with_capacity(self.headers.len() + 4);
        for (name, tag) in &self.headers {
            let value = text(tag, facts)?;
            fields.push((name.clone(), HeaderValue::try_from(value).map_err(|_| tag.inputs().next())?));
        }
        let body = match &self.body {
            Sends::Nothing => Bytes::new(),
            Sends::Request => {
                fields.extend_from_slice(&client.fields);
                client.body.clone()
            }
            Sends::Json(written) => {
                let mut out = BytesMut::with_capacity(256);
                written.write(fates, facts, &mut out)?;
                fields.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
                out.freeze()
            }
        };
        fields.extend(client.key.clone().map(|key| (IDEMPOTENCY_KEY, key)));
        Ok(Ready { target, fields, body })
    }
}

/// A text, or the first of what it is written from that is not there.
fn text<'t>(tag: &'t Tag, facts: &Facts<'_>) -> Result<String, Option<&'t Input>> {
    tag.write(facts)
        .ok_or_else(|| tag.inputs().find(|input| facts.text(input).is_none()).or(tag.inputs().next()))
}

impl Written {
    fn inputs<'a>(&'a self, all: &mut Vec<&'a Input>) {
        match self {
            Written::Literal(_) => {}
            Written::Found(_, input) => all.push(input),
            Written::Text(tag) => all.extend(tag.inputs()),
            Written::Object(members) => members.iter().for_each(|(_, member)| member.inputs(all)),
            Written::List(items) => items.iter().for_each(|item| item.inputs(all)),
        }
    }

    fn write(
        &self,
        fates: &[Option<Fate>],
        facts: &Facts<'_>,
        out: &mut BytesMut,
    ) -> Result<(), Option<&Input>> {
        match self {
            Written::Literal(json) => out.put_slice(json.as_bytes()),
            Written::Found(Reference { part, path }, input) => {
                let whole = fates[*part].as_ref().and_then(Fate::json).map(json::text);
                let found = whole.zip(path.as_ref()).and_then(|(whole, path)| path.find(whole));
                out.put_slice(found.ok_or(Some(input))?.get().as_bytes());
            }
            Written::Text(tag) => {
                out.put_slice(Value::from(text(tag, facts)?).to_string().as_bytes());
            }
            Written::Object(members) => {
                out.put_u8(b'{');
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        out.put_u8(b',');
                    }
                    out.put_slice(name);
                    member.write(fates, facts, out)?;
                }
                out.put_u8(b'}');
            }
            Written::List(items) => {
                out.put_u8(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.put_u8(b',');
                    }
                    item.write(fates, facts, out)?;
                }
                out.put_u8(b']');
            }
        }
        Ok(())
    }
}

/// Whether a write that was sent once may have been done although it came to this.
fn may_be_done(reason: Reason) -> bool {
    match reason {
        Reason::Refused | Reason::CircuitOpen | Reason::Limit | Reason::Request(_) => false,
        // Said to be temporary, by whoever does not do it now (RFC 9110 section 15.6.4).
        Reason::Status(StatusCode::SERVICE_UNAVAILABLE | StatusCode::NOT_IMPLEMENTED) => false,
        Reason::Status(status) => status.is_server_error(),
        Reason::Grpc(status) => !status.is_answer(),
        Reason::Timeout
        | Reason::Reset
        | Reason::CutShort
        | Reason::Malformed
        | Reason::WrongType
        | Reason::TooLarge => true,
    }
}

impl Compose {
    /// Sends a write, and reads what its service says.
    pub(super) async fn send(&self, index: usize, write: &Write, ready: Ready, under: Under<'_>) -> Fate {
        let (begun, part) = (Instant::now(), &self.plan.nodes[index].part);
        let counting = Counting(Some(&write.metrics));
        let sent = AtomicU32::new(0);
        match pin!(answer(part, write, &ready, &sent, under))
            .await
            .and_then(|got| self.hold(part, got, under.held))
        {
            Ok(got) => {
                counting.end(|metrics| &metrics.done);
                Fate::Asked(Asked { answer: Ok(got), fallback: None, took: begun.elapsed() })
            }
            Err(fault) => {
                let config = &part.upstream().config().retry;
                let repeats = config.methods == Methods::All || write.method.is_idempotent();
                let unknown = match sent.load(Relaxed) {
                    0 => false,
                    1 => may_be_done(fault.reason),
                    // The last attempt says nothing about those before.
                    _ => repeats || may_be_done(fault.reason),
                };
                counting.end(if unknown { |metrics| &metrics.unknown } else { |metrics| &metrics.failed });
                Fate::Unwritten(Box::new(Unwritten { fault, unknown, took: begun.elapsed() }))
            }
        }
    }

    /// A write that is not sent.
    pub(super) fn not_sent(write: &Write, fault: Fault) -> Fate {
        write.metrics.failed.inc();
        Fate::Unwritten(Box::new(Unwritten { fault, unknown: false, took: Duration::ZERO }))
    }

    /// What the client is told of a write that has no answer, by the name of its part.
    pub(super) fn unwritten(
        &self,
        index: usize,
        unwritten: Unwritten,
        fates: &[Option<Fate>],
        client: Option<&Client>,
    ) -> Error {
        let Unwritten { fault, unknown, took } = unwritten;
        let mut status = Status::of(fates.len());
        for (other, (node, fate)) in self.plan.nodes.iter().zip(fates).enumerate() {
            match fate {
                _ if other == index => status.add_failed(node.part.name(), &fault, unknown, took),
                Some(fate) => status.add(node.part.name(), fate),
                None => {} // it was not over, and nobody waits for it any more
            }
        }
        let error = match (unknown, fault.reason) {
            (false, _) => fault.into_error(),
            (true, Reason::Timeout) => Error::new(Code::WriteTimeout, fault.to_string()),
            (true, _) => Error::new(Code::WriteUnconfirmed, fault.to_string()),
        };
        let error = error.header(status::NAME, status.value());
        match client.and_then(|client| client.key.clone()).filter(|_| unknown) {
            Some(key) => error.header(IDEMPOTENCY_KEY, key),
            None => error,
        }
    }
}

async fn answer(
    part: &Part,
    write: &Write,
    ready: &Ready,
    sent: &AtomicU32,
    under: Under<'_>,
) -> Result<Got, Fault> {
    let (admitted, upstream) = (under.admitted, part.upstream());
    let deadline = part.until(admitted.deadline);
    if deadline.remaining().is_zero() {
        return Err(part.fault(Reason::Request(Code::UpstreamTimeout), "no time was left to send it"));
    }
    let ask = |body| {
        sent.fetch_add(1, Relaxed);
        let mut request = admitted.caller.get(&ready.target, deadline);
        (request.method, request.body) = (write.method.clone(), body);
        request.fields.extend(&ready.fields);
        request
    };
    let body = if ready.body.is_empty() { Body::Empty } else { Body::Full(ready.body.clone()) };
    let together = upstream.path_key(&admitted.params);
    let pending = write.invalidates.as_ref().map(|invalidates| invalidates.begin(admitted));
    let mut outcome = pin!(upstream.call_by(together, &ask, body, deadline)).await;
    if let Some(pending) = pending {
        pending.end(&mut outcome);
    }
    let response = outcome?;
    let empty = response.status() == StatusCode::NO_CONTENT || response.body().is_empty();
    if response.status().is_success() && empty {
        return Ok(Got { json: Bytes::from_static(b"null"), from: From::Service, lifetime: None });
    }
    let fetched = upstream.read(response, deadline, part.max_size()).await?;
    part.check(&fetched)?;
    Ok(Got { json: fetched.json, from: From::Service, lifetime: None })
}

/// Writes the counters of all routes with a write as OpenMetrics text.
///
/// # Errors
/// When it cannot be written.
pub fn encode(
    all: &HashMap<String, Arc<WriteMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, help) = ("gateway_composition_writes", "Writes of compositions, by what became of them");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, metrics) in all {
        for (outcome, count) in
            [("done", &metrics.done), ("failed", &metrics.failed), ("unknown", &metrics.unknown)]
        {
            let labels = [("route", route.as_str()), ("outcome", outcome)];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_sent_or_was_refused_has_certainly_not_been_done() {
        let status = |status| Reason::Status(StatusCode::from_u16(status).unwrap());
        for (reason, done) in [
            (Reason::Refused, false),
            (Reason::CircuitOpen, false),
            (Reason::Limit, false),
            (status(302), false),
            (status(404), false),
            (status(409), false),
            (status(429), false),
            (status(503), false),
            (status(500), true),
            (status(502), true),
            (status(504), true),
            (Reason::Timeout, true),
            (Reason::Reset, true),
            (Reason::CutShort, true),
            (Reason::Malformed, true),
        ] {
            assert_eq!(may_be_done(reason), done, "{reason:?}");
        }
    }
}
