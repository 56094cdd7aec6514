//! One answer from many services: each part is asked for as soon as what it needs is there, required or optional, and their
//! JSON is put together without being parsed and written again.
//!
//! A required part that fails decides the answer, and all other calls stop. An optional part that fails is left out, or its
//! fallback stands in its place; either is told in `Composition-Status` (a structured-field list, RFC 9651, in the manner of
//! RFC 9211). A rule over a part's answer is decided as soon as that part is there, so that a refusal takes as long as
//! "there is no such thing" does, and before anything is asked for by that answer.
//! One part may be a write, which comes last (`write.rs`).
//! What is put together is never kept here; its parts may be, each by itself (`kept.rs`).
//! Not here: what is wrong with a composition that is typed (`config/graph.rs`).

pub mod config;
pub mod each;
mod graph;
mod json;
pub mod kept;
pub mod part;
pub mod plan;
pub mod rpc;
pub mod shape;
mod status;
pub mod write;
pub mod written;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::try_join_all;
use http::{HeaderValue, header, uri::PathAndQuery};
use serde_json::Value;

pub use self::{
    each::Join,
    kept::Kept,
    part::{Part, Service},
    plan::{Node, Plan},
    shape::Respond,
};
use self::{
    json::Edit,
    part::{Asked, Fate, Got},
    rpc::Rpc,
    status::Status,
    write::{Client, Write},
};
use crate::{
    body::{Body, Request, Response},
    deadline::Deadline,
    error::Error,
    guard::Guard,
    handler::{Admitted, Answer, Handler},
    observability::record::Note,
    upstream::{Fault, Reason},
};

/// Composes the answers of one route.
pub struct Compose {
    plan: Plan,
    respond: Respond,
    /// The part that the route's rule speaks of, and the rule.
    decides: Option<(usize, Arc<Guard>)>,
    /// Whether not everybody may have the answer.
    guarded: bool,
    /// The most bytes of all parts, where they could be more.
    max_held: Option<u64>,
}

/// What all parts came to.
struct Composed {
    /// In the order typed.
    fates: Vec<Fate>,
    /// What of their answers was looked at, by index; empty where nothing is.
    views: Vec<Option<Value>>,
}

/// How a part is asked for.
enum Asking<'a> {
    /// By what the request alone holds.
    Plainly,
    /// There.
    At(PathAndQuery),
    /// By this message.
    By(&'a Rpc, Bytes),
}

/// What one request is composed under.
#[derive(Clone, Copy)]
struct Under<'a> {
    admitted: &'a Admitted,
    /// By when optional parts must be there.
    latest: Deadline,
    /// The bytes of all parts so far.
    held: &'a AtomicU64,
    /// What the client sent that a write is made of, where there is one.
    client: Option<&'a Client>,
}

impl Compose {
    /// Composes what is planned. `guard` is asked once the part that it speaks of is there.
    #[must_use]
    pub fn new(plan: Plan, respond: Respond, guard: &Arc<Guard>) -> Self {
        let nodes = &plan.nodes;
        let decides = guard.part().and_then(|name| nodes.iter().position(|node| node.part.name() == name));
        let decides = decides.map(|index| (index, guard.clone()));
        let could_be: u64 = nodes.iter().map(|node| node.part.max_size()).sum();
        let bounded = !plan.is_flat || could_be > respond.max_held;
        let max_held = bounded.then_some(respond.max_held);
        Compose { plan, respond, decides, guarded: guard.knows_callers(), max_held }
    }

    async fn compose(&self, admitted: &Admitted, client: Option<&Client>) -> Result<Response, Error> {
        let latest = admitted.deadline.keeping(reserve(admitted.deadline.remaining()));
        let under = Under { admitted, latest, held: &AtomicU64::new(0), client };
        let composed = if self.plan.is_flat {
            let parts = (0..self.plan.nodes.len()).map(|index| self.ask(index, Asking::Plainly, under));
            Composed { fates: try_join_all(parts).await?, views: Vec::new() }
        } else {
            Box::pin(self.run(under)).await?
        };
        Ok(self.answer_with(&composed, admitted))
    }

    /// The same where one of the parts is a write, for which the client's request is read first.
    async fn change(
        &self,
        write: &Write,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        let reads_body = self.plan.reads_body;
        let client = Client::of(write, reads_body, request, admitted).await?;
        self.compose(admitted, Some(&client)).await
    }

    /// One part, or the error that answers the whole request.
    async fn ask(&self, index: usize, asking: Asking<'_>, under: Under<'_>) -> Result<Fate, Error> {
        let (begun, part, admitted) = (Instant::now(), &self.plan.nodes[index].part, under.admitted);
        let deadline = if part.optional() { under.latest } else { admitted.deadline };
        let (caller, params) = (&admitted.caller, &admitted.params);
        let answer = match asking {
            Asking::Plainly => part.fetch(caller, params, deadline).await,
            Asking::At(target) => part.fetch_at(&target, caller, params, part.until(deadline)).await,
            // On the heap, since most parts have no such call, and all would carry the room for it.
            Asking::By(rpc, message) => {
                let deadline = part.until(deadline);
                let call = Box::pin(rpc.call(part, message, &[], admitted, deadline, &|| ()));
                call.await.map_err(rpc::as_http)
            }
        };
        let answer = answer.and_then(|got| self.hold(part, got, under.held));
        if let Some((deciding, guard)) = &self.decides
            && *deciding == index
            && let Ok(got) = &answer
        {
            guard.decide_by_part(part, &got.json, admitted)?;
        }
        self.settle(index, answer, begun.elapsed())
    }

    /// What an answer, or none, makes of a part.
    fn settle(&self, index: usize, answer: Result<Got, Fault>, took: Duration) -> Result<Fate, Error> {
        let part = &self.plan.nodes[index].part;
        match answer {
            Err(fault) if !part.optional() => Err(fault.into_error()),
            // The request does not hold what it would be asked for by.
            Err(Fault { reason: Reason::Request(_), .. }) => Ok(Fate::Skipped),
            answer => {
                let fallback = answer.as_ref().err().and_then(|_| part.fall_back());
                Ok(Fate::Asked(Asked { answer, fallback, took }))
            }
        }
    }

    /// Counts what is held until the answer is put together.
    fn hold(&self, part: &Part, got: Got, held: &AtomicU64) -> Result<Got, Fault> {
        let Some(most) = self.max_held else { return Ok(got) };
        let size = got.json.len() as u64;
        match held.fetch_add(size, Relaxed) + size > most {
            true => Err(part.fault(Reason::TooLarge, "more than `max_held` of all parts together")),
            false => Ok(got),
        }
    }

    fn answer_with(&self, composed: &Composed, admitted: &Admitted) -> Response {
        let fates = &composed.fates;
        let mut status = Status::of(fates.len());
        for (node, fate) in self.plan.nodes.iter().zip(fates) {
            status.add(node.part.name(), fate);
        }
        let edits = self.edits(fates);
        let body = match &self.respond.body {
            None => self.splice(fates, &edits),
            Some(shape) => shape.body(fates, &edits),
        };
        let mut response = Response::new(Body::Full(body));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(status::NAME, status.value());
        response.headers_mut().insert(header::CACHE_CONTROL, control(fates, self.guarded));
        if let Some(missing) = missing(fates) {
            response.extensions_mut().insert(Note(missing));
        }
        *response.status_mut() = self.respond.status;
        if !self.respond.headers.is_empty() {
            self.add_headers(&mut response, composed, admitted);
        }
        response
    }

    /// A member for each part that is there, in the order typed.
    fn splice(&self, fates: &[Fate], edits: &[Vec<Edit>]) -> Bytes {
        let size = fates.iter().map(|fate| fate.json().map_or(0, |json| json.len() + 32)).sum::<usize>();
        let mut out = BytesMut::with_capacity(size + 2);
        for (index, (node, fate)) in self.plan.nodes.iter().zip(fates).enumerate() {
            let Some(json) = fate.json() else { continue };
            out.put_u8(if out.is_empty() { b'{' } else { b',' });
            out.put_slice(node.part.key());
            match edits.get(index) {
                None => out.put_slice(json),
                Some(edits) => json::put(&mut out, json, 0..json.len(), edits),
            }
        }
        if out.is_empty() {
            out.put_u8(b'{');
        }
        out.put_u8(b'}');
        out.freeze()
    }

    /// What joins write into each part, in the order of its text; empty where nothing is joined.
    fn edits(&self, fates: &[Fate]) -> Vec<Vec<Edit>> {
        if self.plan.is_flat {
            return Vec::new();
        }
        let mut edits: Vec<Vec<Edit>> = fates.iter().map(|_| Vec::new()).collect();
        for (node, fate) in self.plan.nodes.iter().zip(fates) {
            if let (Some(join), Fate::Joined(joined, _)) = (&node.join, fate) {
                edits[join.list].extend(joined.edits.iter().cloned());
            }
        }
        edits.iter_mut().for_each(|edits| edits.sort_by_key(|edit| edit.at.start));
        edits
    }
}

/// How long clients may keep what was composed: as long as the strictest of its parts says. Nobody knows that of a part
/// that is missing, stands in for another, or is not kept here; and who may have it is decided anew each time.
fn control(fates: &[Fate], guarded: bool) -> HeaderValue {
    let strictest = fates.iter().map(Fate::lifetime).collect::<Option<Vec<_>>>();
    let strictest = strictest.and_then(|all| all.into_iter().min()).filter(|least| *least < Duration::MAX);
    match strictest.filter(|_| !guarded) {
        Some(lifetime) => {
            HeaderValue::try_from(format!("max-age={}", lifetime.as_secs())).expect("a token and a number")
        }
        None => HeaderValue::from_static("no-store"),
    }
}

/// What is kept back of the time that is `left`, so that an answer without its slow parts still leaves in time.
fn reserve(left: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(10);
    const MOST: Duration = Duration::from_millis(100);
    (left / 20).clamp(LEAST, MOST).min(left / 2)
}

/// For the log: why parts are missing.
fn missing(fates: &[Fate]) -> Option<String> {
    let told = |fate: &Fate| {
        let fault = fate.fault()?;
        let fell_back = fate.asked().is_some_and(Asked::fell_back);
        Some(if fell_back { format!("{fault} (fallback)") } else { fault.to_string() })
    };
    let faults: Vec<String> = fates.iter().filter_map(told).collect();
    (!faults.is_empty()).then(|| format!("missing parts: {}", faults.join("; ")))
}

impl Handler for Compose {
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        match self.plan.write() {
            Some(write) => Box::pin(self.change(write, request, admitted)),
            None => Box::pin(self.compose(admitted, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{part::From, *};

    #[test]
    fn the_log_is_told_why_parts_are_missing_and_where_a_fallback_stands() {
        let fault = |upstream| Err(Fault::new(upstream, Reason::Timeout, "no answer in time"));
        let asked = |answer, fallback| Fate::Asked(Asked { answer, fallback, took: Duration::ZERO });
        let parts = [
            asked(Ok(Got { json: "{}".into(), from: From::Service, lifetime: None }), None),
            asked(fault("kitchen"), None),
            asked(fault("delivery"), Some("[]".into())),
        ];
        let told = "missing parts: kitchen: timeout: no answer in time; delivery: timeout: no answer in time (fallback)";
        assert_eq!(missing(&parts).as_deref(), Some(told));
        assert_eq!(missing(&parts[..1]), None);
    }

    #[test]
    fn what_is_kept_back_fits_into_the_time_that_is_left() {
        let millis = Duration::from_millis;
        for (left, kept) in [(10_000, 100), (1_500, 75), (100, 10), (10, 5), (0, 0)] {
            assert_eq!(reserve(millis(left)), millis(kept), "{left}");
        }
    }
}
