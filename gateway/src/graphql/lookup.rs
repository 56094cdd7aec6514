//! Which document a request means: by its text, by its hash (Apollo's automatic persisted queries), or by its id (trusted
//! documents, GraphQL over HTTP, appendix A).
//!
//! A text that is sent is what counts; a hash beside it must be its own, and has it registered. Not here: keeping what is
//! registered (`persisted.rs`), what is trusted (`trusted.rs`).

use std::sync::Arc;

use async_graphql::ServerError;

use super::{
    Refusal,
    document::{Document, Documents},
    hash::Hash,
    metrics::{GraphqlMetrics, Named},
    persisted::{Owner, Persisted},
    read::{Asked, Reference},
    trusted::{Known, Trusted},
};

/// All that documents are known by.
pub(super) struct Lookup {
    pub(super) documents: Documents,
    pub(super) persisted: Option<Arc<Persisted>>,
    pub(super) trusted: Option<Trusted>,
    pub(super) metrics: Arc<GraphqlMetrics>,
}

/// A document that was found.
pub(super) struct Found {
    pub(super) document: Arc<Document>,
    /// What the operation costs that is executed.
    pub(super) cost: u32,
    /// The index of its operation's name among the trusted ones.
    pub(super) name: Option<usize>,
    /// What it is to be registered under once it was executed.
    pub(super) register: Option<Hash>,
    /// Whether the access log tells of it, as it would be refused if trust were enforced.
    pub(super) untrusted: bool,
}

/// Who asks, and how.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) owner: Owner,
    /// A GET registers nothing: a link must not change what others may do.
    pub(super) get: bool,
}

impl Lookup {
    /// What names documents when no text is sent with them.
    pub(super) fn knows_references(&self) -> bool {
        self.persisted.is_some() || self.trusted.is_some()
    }

    pub(super) fn find(&self, asked: &Asked, asker: Asker) -> Result<Found, ServerError> {
        match (asked.sent_text(), &asked.reference) {
            (Some(text), Some(Reference::Hash(hash))) if self.persisted.is_some() => {
                self.of_both(text, hash.as_deref(), asker)
            }
            (Some(text), _) => self.of_text(text),
            (None, Some(Reference::Hash(hash))) if self.knows_references() => {
                self.of_reference(hash.as_deref().unwrap_or_default(), asker)
            }
            (None, Some(Reference::Id(id))) if self.knows_references() => self.of_reference(id, asker),
            (None, _) => Err(asked.without_text().into_server_error()),
        }
    }

    fn of_text(&self, text: &str) -> Result<Found, ServerError> {
        if let Some(known) = self.trusted.as_ref().and_then(|trusted| trusted.of_text(text)) {
            return Ok(self.trusted(known));
        }
        if self.enforces() {
            self.metrics.named(Named::Untrusted);
            return Err(not_trusted().into_server_error());
        }
        let found = Found::of(self.documents.get(text)?);
        Ok(self.unlisted(found, Named::Text))
    }

    /// A text with its hash, which is to be registered.
    fn of_both(&self, text: &str, hash: Option<&str>, asker: Asker) -> Result<Found, ServerError> {
        let hash = hash.and_then(Hash::parse).filter(|hash| *hash == Hash::of(text)).ok_or_else(|| {
            self.metrics.named(Named::Mismatched);
            Refusal::bad_input("The hash is not that of the query.").into_server_error()
        })?;
        let found = self.of_text(text)?;
        Ok(Found { register: (!asker.get && found.name.is_none()).then_some(hash), ..found })
    }

    fn of_reference(&self, id: &str, asker: Asker) -> Result<Found, ServerError> {
        if let Some(known) = self.trusted.as_ref().and_then(|trusted| trusted.of_id(id)) {
            return Ok(self.trusted(known));
        }
        let hash = Hash::parse(id.strip_prefix("sha256:").unwrap_or(id));
        let kept = self.persisted.as_ref().zip(hash).and_then(|(kept, hash)| kept.get(&hash, asker.owner));
        let Some(text) = kept else {
            self.metrics.named(Named::Unknown);
            return Err(not_found().into_server_error());
        };
        let found = Found::of(self.documents.get(&text)?);
        Ok(self.unlisted(found, Named::Persisted))
    }

    fn trusted(&self, known: &Known) -> Found {
        self.metrics.named(Named::Trusted);
        Found { name: known.name, ..Found::of(known.document.clone()) }
    }

    fn unlisted(&self, found: Found, how: Named) -> Found {
        let untrusted = self.trusted.as_ref().is_some_and(Trusted::logs);
        self.metrics.named(if untrusted { Named::Untrusted } else { how });
        Found { untrusted, ..found }
    }

    fn enforces(&self) -> bool {
        self.trusted.as_ref().is_some_and(Trusted::enforces)
    }

    /// Registers what was executed.
    pub(super) fn register(&self, found: &Found, asker: Asker) {
        let (Some(persisted), Some(hash)) = (&self.persisted, found.register) else { return };
        if persisted.register(hash, &found.document.text, asker.owner) {
            self.metrics.named(Named::Registered);
        }
    }
}

impl Found {
    fn of(document: Arc<Document>) -> Self {
        Found { document, cost: 1, name: None, register: None, untrusted: false }
    }
}

/// The word by which clients know to send the text as well.
fn not_found() -> Refusal {
    Refusal { code: "PERSISTED_QUERY_NOT_FOUND", message: "PersistedQueryNotFound".into() }
}

fn not_trusted() -> Refusal {
    Refusal {
        code: "DOCUMENT_NOT_TRUSTED",
        message: "Only documents that are known here are executed.".into(),
    }
}
