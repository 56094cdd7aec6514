//! One branch of a composition, or one thing that a rule asks for: a GET of some JSON from one upstream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::config::PartConfig;
use crate::{
    body::Body,
    deadline::Deadline,
    identity::Caller,
    routing::Params,
    template::Template,
    upstream::{Fault, Reason, Upstream},
};

/// A part, resolved.
pub struct Part {
    name: Box<str>,
    /// `"name":`, ready to be written.
    key: Box<[u8]>,
    upstream: Arc<Upstream>,
    target: Template,
    optional: bool,
    /// The JSON that stands in its place.
    fallback: Option<Bytes>,
    timeout: Option<Duration>,
    max_size: u64,
}

/// What a part came to.
pub(super) struct Asked {
    pub(super) answer: Result<Bytes, Fault>,
    /// What stands in the place of an answer that is missing.
    pub(super) fallback: Option<Bytes>,
    pub(super) took: Duration,
}

impl Asked {
    /// The JSON to deliver, if there is any.
    pub(super) fn json(&self) -> Option<&Bytes> {
        self.answer.as_ref().ok().or(self.fallback.as_ref())
    }
}

impl Part {
    /// The part called `name` that asks `upstream` for `target`.
    #[must_use]
    pub fn new(name: &str, config: &PartConfig, upstream: Arc<Upstream>, target: Template) -> Self {
        Part {
            name: name.into(),
            key: format!("\"{name}\":").into_bytes().into(),
            upstream,
            target,
            optional: config.optional,
            fallback: config.fallback.as_ref().map(|fallback| fallback.value.to_string().into()),
            timeout: config.timeout.map(|timeout| timeout.0),
            max_size: config.max_size.0,
        }
    }

    /// As typed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the answer may do without it.
    #[must_use]
    pub fn optional(&self) -> bool {
        self.optional
    }

    /// The JSON in the place of its answer, which is counted.
    pub(super) fn fall_back(&self) -> Option<Bytes> {
        self.fallback.clone().inspect(|_| self.upstream.fell_back())
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The part's JSON text, known to be whole and well-formed.
    ///
    /// # Errors
    /// The [`Fault`] that left the gateway without it.
    pub async fn fetch(&self, caller: &Caller, params: &Params, deadline: Deadline) -> Result<Bytes, Fault> {
        let deadline = self.timeout.map_or(deadline, |timeout| deadline.at_most(timeout));
        let target = self.target.target(params, false);
        let ask = |_no_body| caller.get(&target, deadline);
        let key = self.upstream.path_key(params);
        let fetched = self.upstream.fetch_by(key, &ask, Body::Empty, deadline, self.max_size).await?;
        // What is spliced into an answer must not be able to break it. Nothing is built, only looked at.
        match serde_json::from_slice::<IgnoredAny>(&fetched.json) {
            Ok(_) => Ok(fetched.json),
            Err(error) => Err(self.malformed(&error)),
        }
    }

    /// A fault of this part: its JSON is none.
    #[must_use]
    pub fn malformed(&self, error: &serde_json::Error) -> Fault {
        Fault::new(self.upstream.name(), Reason::Malformed, format!("part {}: {error}", self.name))
    }
}
