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

use bytes::{Bytes, BytesMut};
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
    Compose, Node, Under,
    config::Idempotency,
    part::{Asked, Fate, From, Got},
    rpc,
    status::{self, Status},
    written::{self, Written},
};
use crate::{
    auth::policy::{Facts, Input, strict_json},
    body::{Body, BodyError, Request, is_encoded, is_plain_json},
    cache::{Store, store::Purge},
    error::{Code, Error},
    handler::Admitted,
    proxy::{Invalidates, host_of},
    routing::Params,
    tags::Tag,
    upstream::{Fault, Reason, retry::Methods},
};

/// The key of a write.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest key: what services are known to keep (Stripe, PayPal).
pub(crate) const LONGEST_KEY: usize = 255;
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
    /// Where what is kept of its URL ends, if anything is kept.
    pub store: Option<Arc<Store>>,
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
    /// The body, where the write is written from it.
    json: Option<Value>,
    /// What it has asked for, and where: what is kept of that is no longer so.
    host: Bytes,
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
        reads_body: bool,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Client, Error> {
        let key = key(write.idempotency, request.headers(), admitted)?;
        if reads_body && (is_encoded(request.headers()) || !is_plain_json(request.headers())) {
            let error = Error::new(Code::UnsupportedMediaType, "a write is written from the body");
            return Err(error.detail("The body must be JSON in no content coding."));
        }
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
        let json = if reads_body { Some(strict_json(&body)?) } else { None };
        let host = match &write.store {
            Some(_) => Bytes::copy_from_slice(host_of(request.uri(), request.headers())),
            None => Bytes::new(),
        };
        Ok(Client { body, fields: OF_BODY.iter().flat_map(said).collect(), key, json, host })
    }

    /// Its body, where something is written from it.
    pub(super) fn json(&self) -> Option<&Value> {
        self.json.as_ref()
    }

    /// The same as it was sent; no text where nothing is written from it.
    fn text(&self) -> &str {
        let read = self.json.as_ref().and_then(|_| std::str::from_utf8(&self.body).ok());
        read.unwrap_or_default()
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
    /// What is kept of the URL that the client has written to is no longer so (RFC 9111 section 4.4), or may not be.
    fn end_kept(&self, under: Under<'_>) {
        if let (Some(store), Some(client)) = (&self.store, under.client) {
            store.purge_url(&client.host, under.admitted.params.target().as_str(), Purge::Hard);
        }
    }

    /// What header fields and texts of it are written from.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        let mut all: Vec<&Input> = self.headers.iter().flat_map(|(_, tag)| tag.inputs()).collect();
        if let Sends::Json(written) = &self.body {
            written.inputs(&mut all);
        }
        all.into_iter()
    }

    /// What is to be sent by `node`, or why it cannot be.
    pub(super) fn ready(
        &self,
        node: &Node,
        client: &Client,
        fates: &[Option<Fate>],
        params: &Params,
        facts: &Facts<'_>,
    ) -> Result<Ready, Fault> {
        let Some(rpc) = &node.rpc else {
            let target = node.part.target(params, facts, None)?;
            let ready = self.over_http(target, client, fates, facts);
            return ready.map_err(|input| node.part.unwritable(input));
        };
        let body = rpc.framed(&node.part, fates, facts, client.text())?;
        let fields = client.key.iter().map(|key| (IDEMPOTENCY_KEY, key.clone())).collect();
        Ok(Ready { target: PathAndQuery::from_static("/"), fields, body })
    }

    fn over_http(
        &self,
        target: PathAndQuery,
        client: &Client,
        fates: &[Option<Fate>],
        facts: &Facts<'_>,
    ) -> Result<Ready, Option<&Input>> {
        let mut fields = Vec::with_capacity(self.headers.len() + 4);
        for (name, tag) in &self.headers {
            let value = written::text(tag, facts)?;
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
                written.write(fates, facts, client.text(), &mut out)?;
                fields.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
                out.freeze()
            }
        };
        fields.extend(client.key.clone().map(|key| (IDEMPOTENCY_KEY, key)));
        Ok(Ready { target, fields, body })
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
        let (begun, node) = (Instant::now(), &self.plan.nodes[index]);
        let part = &node.part;
        let counting = Counting(Some(&write.metrics));
        let sent = AtomicU32::new(0);
        match pin!(answer(node, write, &ready, &sent, under))
            .await
            .and_then(|got| self.hold(part, got, under.held))
        {
            Ok(got) => {
                counting.end(|metrics| &metrics.done);
                write.end_kept(under);
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
                if unknown {
                    write.end_kept(under);
                }
                let fault = rpc::as_http(fault);
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
    node: &Node,
    write: &Write,
    ready: &Ready,
    sent: &AtomicU32,
    under: Under<'_>,
) -> Result<Got, Fault> {
    let part = &node.part;
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
    if let Some(rpc) = &node.rpc {
        let count = || _ = sent.fetch_add(1, Relaxed);
        let (body, fields) = (ready.body.clone(), &ready.fields);
        let outcome = Box::pin(rpc.call(part, body, fields, admitted, deadline, &count)).await;
        if let Some(pending) = pending {
            pending.end_of(outcome.as_ref().err());
        }
        return outcome;
    }
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
