//! What a write makes invalid besides its own URL, since the configuration says so: tags, written from the request before it
//! is sent.
//!
//! They are purged when the service has answered, before the client is: what was asked for before that is not kept either,
//! however long it takes, since it remembers how things stood (`cache/store.rs`); what is asked for after that is asked of
//! a service that has done the write. So nothing has to be purged before. Only a 4xx says that nothing has changed: an
//! answer that is lost, a 5xx and a client that leaves may all stand for a write that was done.
//! Not here: the URL itself (`mod.rs`, RFC 9111 section 4.4).

use std::sync::Arc;

use crate::{
    body::Response,
    cache::{InvalidationMetrics, Store, store::Purge},
    handler::Admitted,
    observability::record::Note,
    tags::Tags,
    upstream::Fault,
};

/// What the writes of a route make invalid.
pub struct Invalidates {
    /// The tags.
    pub tags: Tags,
    /// The part that some are written from.
    pub part: Option<Box<str>>,
    /// Where they are purged.
    pub store: Arc<Store>,
    /// What is counted.
    pub metrics: Arc<InvalidationMetrics>,
}

/// A write whose outcome is not known yet. Dropped, it purges.
pub(crate) struct Pending<'a> {
    all: &'a Invalidates,
    tags: Vec<String>,
    missing: Vec<&'a str>,
}

impl Invalidates {
    /// What this write makes invalid, which is to be sent now.
    pub(crate) fn begin(&self, admitted: &Admitted) -> Pending<'_> {
        let asked = self.part.as_deref().zip(admitted.asked.as_deref());
        let (tags, missing) = self.tags.each(&admitted.caller, &admitted.params, asked);
        Pending { all: self, tags, missing }
    }
}

impl Pending<'_> {
    /// Purges, unless the write ended in a fault that says that the service has refused it.
    pub(crate) fn end_of(mut self, fault: Option<&Fault>) {
        if fault.is_some_and(|fault| fault.reason.refusal().is_some()) {
            self.tags.clear();
            self.missing.clear();
        }
    }

    /// Purges, unless the service has refused the write.
    pub(crate) fn end(mut self, outcome: &mut Result<Response, Fault>) {
        match outcome {
            Ok(response) if response.status().is_client_error() => {
                self.tags.clear();
                self.missing.clear();
            }
            Err(Fault { reason, .. }) if reason.refusal().is_some() => {
                self.tags.clear();
                self.missing.clear();
            }
            Ok(response) if !self.missing.is_empty() => {
                let note = format!("not invalidated, since nothing says which: {}", self.missing.join(", "));
                response.extensions_mut().insert(Note(note));
            }
            _ => {}
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.tags.iter().for_each(|tag| self.all.store.purge_tag(tag, Purge::Hard));
        self.all.metrics.purged.inc_by(self.tags.len() as u64);
        self.all.metrics.unresolved.inc_by(self.missing.len() as u64);
    }
}
