//! One branch of a composition, or one thing that a rule asks for: a GET of some JSON from one upstream.
//!
//! Not here: keeping its answers (`kept.rs`).

use std::{
    fmt::Display,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, uri::PathAndQuery};
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::{
    config::{PartConfig, PartFallbackConfig},
    each::Joined,
    kept::Kept,
    write::Unwritten,
};
use crate::{
    auth::policy::{Facts, Input},
    body::Body,
    cache::entry::{self, Arrival},
    deadline::Deadline,
    error::Code,
    handler::with_facts,
    identity::Caller,
    loaders::Loader,
    routing::Params,
    template::Template,
    upstream::{Fault, Fetched, Reason, Upstream},
};

/// A part, resolved.
pub struct Part {
    /// `"name":`, ready to be written.
    key: Box<[u8]>,
    service: Arc<Service>,
    target: Template,
    /// Whether it is written from path parameters only.
    is_plain: bool,
    optional: bool,
    /// The JSON that stands in its place.
    fallback: Option<Bytes>,
    timeout: Option<Duration>,
    /// Where its answers are kept, if they are.
    kept: Option<Arc<Kept>>,
}

/// Whom a part asks.
pub struct Service {
    /// The part's name.
    name: Box<str>,
    upstream: Arc<Upstream>,
    max_size: u64,
}

/// One asking for a part.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) target: &'a PathAndQuery,
    /// What the call is kept together with others by.
    pub(super) together: Option<u64>,
    pub(super) deadline: Deadline,
}

/// What a service answers to it.
pub(super) enum Answered {
    /// This, known to be whole and well-formed.
    Whole(Fetched, Arrival),
    /// That what is kept is still good, says this header section.
    NotModified(HeaderMap, Arrival),
}

/// A part's JSON, known to be whole and well-formed.
pub struct Got {
    /// The text.
    pub json: Bytes,
    /// Where it comes from.
    pub(super) from: From,
    /// How long clients may keep it, if its service lets them.
    pub(super) lifetime: Option<Duration>,
}

/// Where a part's JSON comes from.
#[derive(Debug)]
pub(super) enum From {
    /// The service.
    Service,
    /// What was kept, so old, and is good.
    Kept(Duration),
    /// What was kept and is no longer good, so old; in the place of an answer that failed, if one did.
    Stale(Duration, Option<Standing>),
}

/// What is no longer good in the place of an answer.
#[derive(Debug)]
pub(super) struct Standing {
    /// Why there is no answer, unless another had asked for it.
    pub(super) fault: Option<Fault>,
    /// Whether it is the part's fallback.
    pub(super) fallback: bool,
}

/// What became of a part.
pub(super) enum Fate {
    /// It was asked for.
    Asked(Asked),
    /// It was looked up for each element of a list.
    Joined(Joined, Duration),
    /// It was to change something, and there is no answer that says so.
    Unwritten(Box<Unwritten>),
    /// It was not asked for: its condition does not hold, or what it needs is not there.
    Skipped,
}

impl Fate {
    /// What came of it, if it was asked for.
    pub(super) fn asked(&self) -> Option<&Asked> {
        if let Fate::Asked(asked) = self { Some(asked) } else { None }
    }

    /// The JSON to deliver, if there is any.
    pub(super) fn json(&self) -> Option<&Bytes> {
        self.asked().and_then(Asked::json)
    }

    /// Whether those that need it can go on.
    pub(super) fn is_there(&self) -> bool {
        matches!(self, Fate::Joined(..)) || self.json().is_some()
    }

    /// Why the service's own answer is missing, or some of it.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match self {
            Fate::Asked(asked) => asked.fault(),
            Fate::Joined(joined, _) => joined.fault.as_ref(),
            Fate::Unwritten(unwritten) => Some(&unwritten.fault),
            Fate::Skipped => None,
        }
    }

    /// How long clients may keep what it adds; as long as they like where it adds nothing.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        match self {
            Fate::Asked(asked) => asked.answer.as_ref().ok()?.lifetime,
            Fate::Joined(..) | Fate::Unwritten(_) => None,
            Fate::Skipped => Some(Duration::MAX),
        }
    }
}

/// What a part that was asked for came to.
pub(super) struct Asked {
    pub(super) answer: Result<Got, Fault>,
    /// What stands in the place of an answer that is missing.
    pub(super) fallback: Option<Bytes>,
    pub(super) took: Duration,
}

impl Asked {
    /// The JSON to deliver, if there is any.
    pub(super) fn json(&self) -> Option<&Bytes> {
        self.answer.as_ref().ok().map(|got| &got.json).or(self.fallback.as_ref())
    }

    /// Why the service's own answer is missing, as far as that is known.
    pub(super) fn fault(&self) -> Option<&Fault> {
        match &self.answer {
            Ok(Got { from: From::Stale(_, Some(standing)), .. }) => standing.fault.as_ref(),
            Ok(_) => None,
            Err(fault) => Some(fault),
        }
    }

    /// Whether the part's fallback stands in its place.
    pub(super) fn fell_back(&self) -> bool {
        match &self.answer {
            Ok(Got { from: From::Stale(_, Some(standing)), .. }) => standing.fallback,
            Ok(_) => false,
            Err(_) => self.fallback.is_some(),
        }
    }
}

impl Part {
    /// The part that asks `service` for `target`; its answers are kept by `kept`.
    #[must_use]
    pub fn new(
        config: &PartConfig,
        service: Arc<Service>,
        target: Template,
        kept: Option<Arc<Kept>>,
    ) -> Self {
        let fallback = match &config.fallback {
            Some(PartFallbackConfig::Value(value)) => Some(value.to_string().into()),
            Some(PartFallbackConfig::Stale) | None => None,
        };
        Part {
            key: format!("\"{}\":", service.name).into_bytes().into(),
            service,
            is_plain: target.is_plain(),
            target,
            optional: config.optional,
            fallback,
            timeout: config.timeout.map(|timeout| timeout.0),
            kept,
        }
    }

    /// The part that calls a method of `upstream` by gRPC.
    #[must_use]
    pub fn of_grpc(name: &str, config: &PartConfig, upstream: Arc<Upstream>) -> Self {
        let service = Service::new(name, upstream, config.max_size.0);
        Part::new(config, Arc::new(service), Template::default(), None)
    }

    /// The part that asks `loader` for keys.
    #[must_use]
    pub fn of_loader(name: &str, config: &PartConfig, loader: &Loader) -> Self {
        let service = Service::new(name, loader.upstream().clone(), config.max_size.0);
        Part::new(config, Arc::new(service), Template::default(), None)
    }

    /// As typed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.service.name
    }

    /// Whether the answer may do without it.
    #[must_use]
    pub fn optional(&self) -> bool {
        self.optional
    }

    /// The most bytes of its answer.
    pub(super) fn max_size(&self) -> u64 {
        self.service.max_size
    }

    /// What it is written from besides path parameters.
    pub fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.target.inputs()
    }

    /// The JSON in the place of its answer, which is counted.
    pub(super) fn fall_back(&self) -> Option<Bytes> {
        self.fallback.clone().inspect(|_| self.service.fell_back())
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The part's JSON.
    ///
    /// # Errors
    /// The [`Fault`] that left the gateway without it.
    pub async fn fetch(&self, caller: &Caller, params: &Params, deadline: Deadline) -> Result<Got, Fault> {
        let target = self.written(caller, params)?;
        self.fetch_at(&target, caller, params, self.until(deadline)).await
    }

    /// What its service is asked for on behalf of `caller`, as far as no other part's answer is needed for it.
    ///
    /// # Errors
    /// As [`Part::fetch`].
    pub(crate) fn written(&self, caller: &Caller, params: &Params) -> Result<PathAndQuery, Fault> {
        if self.is_plain {
            return Ok(self.target.target(params, false));
        }
        with_facts(caller, params, None, None, |facts| self.target(params, facts, None))
    }

    /// Where it is to be asked for.
    ///
    /// # Errors
    /// [`Reason::Request`] for what the client did not send or is not known to be, [`Reason::Malformed`] for what another
    /// part's answer does not hold.
    pub(super) fn target(
        &self,
        params: &Params,
        facts: &Facts<'_>,
        key: Option<&str>,
    ) -> Result<PathAndQuery, Fault> {
        self.target.write(params, facts, key).map_err(|input| self.unwritable(input))
    }

    /// That it cannot be asked for, since this is not there.
    pub(super) fn unwritable(&self, input: Option<&Input>) -> Fault {
        let reason = match input {
            Some(Input::Claim(_)) => Reason::Request(Code::Forbidden),
            Some(Input::Query(_) | Input::Body(_)) => Reason::Request(Code::MissingInput),
            _ => Reason::Malformed,
        };
        let what = input.map_or_else(|| "its key".to_owned(), ToString::to_string);
        self.fault(reason, &format!("part {}: it cannot be asked for by {what}", self.name()))
    }

    /// Whom it asks.
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.service.upstream
    }

    /// Whether this is JSON.
    pub(super) fn check(&self, fetched: &Fetched) -> Result<(), Fault> {
        self.service.check(fetched)
    }

    /// Until when it may take.
    pub(super) fn until(&self, deadline: Deadline) -> Deadline {
        self.timeout.map_or(deadline, |timeout| deadline.at_most(timeout))
    }

    /// A fault of this part.
    pub(super) fn fault(&self, reason: Reason, cause: &str) -> Fault {
        self.service.fault(reason, cause)
    }

    /// The part's JSON, asked for at `target` before `deadline`.
    ///
    /// # Errors
    /// As [`Part::fetch`].
    pub(super) async fn fetch_at(
        &self,
        target: &PathAndQuery,
        caller: &Caller,
        params: &Params,
        deadline: Deadline,
    ) -> Result<Got, Fault> {
        let together = self.service.upstream.path_key(params);
        let call = Call { caller, target, together, deadline };
        match &self.kept {
            // On the heap: few parts are kept, and the futures of all others would be larger.
            Some(kept) => Box::pin(kept.fetch(&call, params)).await,
            None => self.service.fetch(&call).await,
        }
    }

    /// The part's JSON from its service, kept or not, unless that is still the one that has this `ETag`.
    ///
    /// # Errors
    /// As [`Part::fetch`].
    pub(crate) async fn fetch_anew(
        &self,
        caller: &Caller,
        params: &Params,
        deadline: Deadline,
        known: Option<&HeaderValue>,
    ) -> Result<Option<Fetched>, Fault> {
        let target = self.written(caller, params)?;
        let together = self.service.upstream.path_key(params);
        let call = Call { caller, target: &target, together, deadline: self.until(deadline) };
        let condition = known.map(|tag| (header::IF_NONE_MATCH, tag.clone()));
        match self.service.ask(&call, condition.as_slice()).await? {
            Answered::Whole(fetched, _) => Ok(Some(fetched)),
            Answered::NotModified(..) => Ok(None),
        }
    }

    /// A fault of this part: its JSON is none.
    #[must_use]
    pub fn malformed(&self, error: &serde_json::Error) -> Fault {
        self.service.malformed(error)
    }
}

impl Service {
    /// For the part called `name`: this upstream, whose answers may have so many bytes.
    #[must_use]
    pub fn new(name: &str, upstream: Arc<Upstream>, max_size: u64) -> Self {
        Service { name: name.into(), upstream, max_size }
    }

    pub(super) fn fell_back(&self) {
        self.upstream.fell_back();
    }

    pub(super) fn fault(&self, reason: Reason, cause: &str) -> Fault {
        Fault::new(self.upstream.name(), reason, cause)
    }

    fn malformed(&self, error: &impl Display) -> Fault {
        self.fault(Reason::Malformed, &format!("part {}: {error}", self.name))
    }

    /// The part's JSON, from the service.
    pub(super) async fn fetch(&self, call: &Call<'_>) -> Result<Got, Fault> {
        let ask = |_no_body| call.caller.get(call.target, call.deadline);
        let fetched =
            self.upstream.fetch_by(call.together, &ask, Body::Empty, call.deadline, self.max_size).await?;
        self.check(&fetched)?;
        Ok(Got { json: fetched.json, from: From::Service, lifetime: None })
    }

    /// The same with these header fields, such as conditions, and with all that deciding over keeping it takes.
    pub(super) async fn ask(
        &self,
        call: &Call<'_>,
        fields: &[(HeaderName, HeaderValue)],
    ) -> Result<Answered, Fault> {
        let ask = |_no_body| {
            let mut request = call.caller.get(call.target, call.deadline);
            request.fields.extend(fields);
            request
        };
        let asked = Instant::now();
        let response = pin!(self.upstream.call_by(call.together, &ask, Body::Empty, call.deadline)).await?;
        let arrival = Arrival { asked, received: SystemTime::now(), framed: entry::is_framed(&response) };
        if response.status() == StatusCode::NOT_MODIFIED && !fields.is_empty() {
            return Ok(Answered::NotModified(response.into_parts().0.headers, arrival));
        }
        let fetched = self.upstream.read(response, call.deadline, self.max_size).await?;
        self.check(&fetched)?;
        Ok(Answered::Whole(fetched, arrival))
    }

    /// What is spliced into an answer must not be able to break it. Nothing is built, only looked at.
    fn check(&self, fetched: &Fetched) -> Result<(), Fault> {
        // Skipping a text in bytes does not look at its encoding, and JSON is UTF-8 (RFC 8259 section 8.1).
        let text = std::str::from_utf8(&fetched.json).map_err(|error| self.malformed(&error))?;
        serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| self.malformed(&error))
    }
}
