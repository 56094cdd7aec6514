//! One answer from many services: parts are asked at once, each required or optional, and their JSON is spliced together
//! without being parsed and written again.
//!
//! A required part that fails decides the answer, and all other calls stop. An optional part that fails is left out, or its
//! fallback stands in its place; either is told in `Composition-Status` (a structured-field list, RFC 9651, in the manner of
//! RFC 9211). A rule over a part's
//! answer is decided as soon as that part is there, so that a refusal takes as long as "there is no such thing" does.
//! What is put together is never kept here; its parts may be, each by itself (`kept.rs`).
//! Not here: parts that need another part's answer.

pub mod config;
pub mod kept;
pub mod part;
mod status;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{BufMut, BytesMut};
use futures_util::future::try_join_all;
use http::{HeaderValue, header};

pub use self::{
    kept::Kept,
    part::{Part, Service},
};
use self::{part::Asked, status::Status};
use crate::{
    body::{Body, Request, Response},
    deadline::Deadline,
    error::Error,
    guard::Guard,
    handler::{Admitted, Answer, Handler},
    observability::record::Note,
};

/// Composes the answers of one route.
pub struct Compose {
    parts: Vec<Part>,
    /// The part that the route's rule speaks of, and the rule.
    decides: Option<(usize, Arc<Guard>)>,
    /// Whether not everybody may have the answer.
    guarded: bool,
}

impl Compose {
    /// Composes `parts`, in this order. `guard` is asked once the part that it speaks of is there.
    #[must_use]
    pub fn new(parts: Vec<Part>, guard: &Arc<Guard>) -> Self {
        let decides = guard.part().and_then(|name| parts.iter().position(|part| part.name() == name));
        let decides = decides.map(|index| (index, guard.clone()));
        Compose { parts, decides, guarded: guard.knows_callers() }
    }

    async fn compose(&self, admitted: &Admitted) -> Result<Response, Error> {
        let latest = admitted.deadline.keeping(reserve(admitted.deadline.remaining()));
        let parts =
            self.parts.iter().enumerate().map(|(index, part)| self.ask(index, part, admitted, latest));
        let asked = try_join_all(parts).await?;
        Ok(self.join(&asked))
    }

    /// One part, or the error that answers the whole request.
    async fn ask(
        &self,
        index: usize,
        part: &Part,
        admitted: &Admitted,
        latest: Deadline,
    ) -> Result<Asked, Error> {
        let begun = Instant::now();
        let deadline = if part.optional() { latest } else { admitted.deadline };
        let answer = part.fetch(&admitted.caller, &admitted.params, deadline).await;
        let answer = match answer {
            Err(fault) if !part.optional() => return Err(fault.into_error()),
            answer => answer,
        };
        if let Some((deciding, guard)) = &self.decides
            && *deciding == index
            && let Ok(got) = &answer
        {
            guard.decide_by_part(part, &got.json, admitted)?;
        }
        let fallback = answer.as_ref().err().and_then(|_| part.fall_back());
        Ok(Asked { answer, fallback, took: begun.elapsed() })
    }

    fn join(&self, asked: &[Asked]) -> Response {
        let size = asked.iter().map(|asked| asked.json().map_or(0, |json| json.len() + 32)).sum::<usize>();
        let mut out = BytesMut::with_capacity(size + 2);
        let mut status = Status::of(asked.len());
        for (part, asked) in self.parts.iter().zip(asked) {
            status.add(part.name(), asked);
            let Some(json) = asked.json() else { continue };
            out.put_u8(if out.is_empty() { b'{' } else { b',' });
            out.put_slice(part.key());
            out.put_slice(json);
        }
        if out.is_empty() {
            out.put_u8(b'{');
        }
        out.put_u8(b'}');
        let mut response = Response::new(Body::Full(out.freeze()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(status::NAME, status.value());
        response.headers_mut().insert(header::CACHE_CONTROL, control(asked, self.guarded));
        if let Some(missing) = missing(asked) {
            response.extensions_mut().insert(Note(missing));
        }
        response
    }
}

/// How long clients may keep what was composed: as long as the strictest of its parts says. Nobody knows that of a part
/// that is missing, stands in for another, or is not kept here; and who may have it is decided anew each time.
fn control(asked: &[Asked], guarded: bool) -> HeaderValue {
    let lifetimes = asked.iter().map(|asked| asked.answer.as_ref().ok().and_then(|got| got.lifetime));
    let strictest = lifetimes.collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
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
fn missing(asked: &[Asked]) -> Option<String> {
    let told = |asked: &Asked| {
        let fault = asked.fault()?;
        Some(if asked.fell_back() { format!("{fault} (fallback)") } else { fault.to_string() })
    };
    let faults: Vec<String> = asked.iter().filter_map(told).collect();
    (!faults.is_empty()).then(|| format!("missing parts: {}", faults.join("; ")))
}

impl Handler for Compose {
    fn answer<'a>(&'a self, _request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(self.compose(admitted))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        part::{From, Got},
        *,
    };
    use crate::upstream::{Fault, Reason};

    #[test]
    fn the_log_is_told_why_parts_are_missing_and_where_a_fallback_stands() {
        let fault = |upstream| Err(Fault::new(upstream, Reason::Timeout, "no answer in time"));
        let asked = |answer, fallback| Asked { answer, fallback, took: Duration::ZERO };
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
