//! The documents that a route trusts: those of its manifests, checked against the schema when the configuration is built, and
//! kept as they are executed.
//!
//! Not here: reading manifests (`manifest.rs`), what becomes of other documents (`lookup.rs`).

use std::{collections::HashMap, sync::Arc};

use async_graphql::{ObjectType, Request as Execution, Schema, ServerError, SubscriptionType, Variables};
use futures_util::FutureExt;

use super::{
    config::Mode,
    document::{Document, Documents},
    settings::Manifests,
};
use crate::mistake::{Mistake, Mistakes};

/// Trusted documents by their ids and by their texts.
#[derive(Default)]
pub(super) struct Trusted {
    mode: Mode,
    by_id: HashMap<Box<str>, Known>,
    by_text: HashMap<Arc<str>, Known>,
    /// The names of their operations, each once.
    names: Vec<String>,
}

/// A document, and the index of its operation's name; none where it has several operations.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) document: Arc<Document>,
    pub(super) name: Option<usize>,
}

/// Where a mistake in a manifest is told, below the route.
const MANIFESTS: &str = "graphql.trusted.manifests";
/// More of one file say the same: it was made for another schema.
const MOST: usize = 10;

impl Trusted {
    /// What the manifests list.
    pub(super) fn new<Q, M, S>(
        manifests: &Manifests,
        documents: &Documents,
        schema: &Schema<Q, M, S>,
        mistakes: &mut Mistakes,
    ) -> Self
    where
        Q: ObjectType + 'static,
        M: ObjectType + 'static,
        S: SubscriptionType + 'static,
    {
        let mut trusted = Trusted { mode: manifests.mode, ..Trusted::default() };
        for (index, listed) in manifests.listed.iter().enumerate() {
            let known = mistakes.0.len();
            for one in listed {
                let read = documents.read(&one.text).map_err(|wrong| told(&one.id, "", &wrong));
                let fits = read.and_then(|document| fit(schema, &one.id, &document).map(|()| document));
                let why = match fits.map(|document| trusted.add(&one.id, document)) {
                    Ok(true) => continue,
                    Ok(false) => format!("the id `{}` stands for two documents", one.id),
                    Err(why) => why,
                };
                if mistakes.0.len() < known + MOST {
                    let file = manifests.files[index].display();
                    mistakes.add(Mistake::new(format!("{MANIFESTS}[{index}]"), format!("{file}: {why}")));
                }
            }
        }
        trusted
    }

    /// Whether the id was free, or stands for the same text.
    fn add(&mut self, id: &str, document: Document) -> bool {
        if let Some(known) = self.by_id.get(id) {
            return *known.document.text == *document.text;
        }
        let name = document.only_name().map(|name| self.name(name));
        let known = Known { document: Arc::new(document), name };
        self.by_text.insert(known.document.text.clone(), known.clone());
        self.by_id.insert(id.into(), known);
        true
    }

    fn name(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn enforces(&self) -> bool {
        self.mode == Mode::Enforce
    }

    pub(super) fn logs(&self) -> bool {
        self.mode == Mode::Log
    }

    /// The document of that id, with or without the prefix of its kind (GraphQL over HTTP, appendix A).
    pub(super) fn of_id(&self, id: &str) -> Option<&Known> {
        self.by_id.get(id).or_else(|| self.by_id.get(id.strip_prefix("sha256:")?))
    }

    pub(super) fn of_text(&self, text: &str) -> Option<&Known> {
        self.by_text.get(text)
    }
}

fn told(id: &str, operation: &str, wrong: &ServerError) -> String {
    let place = wrong.locations.first().map(|at| format!(" at line {}, column {}", at.line, at.column));
    let whose =
        if operation.is_empty() { format!("document `{id}`") } else { format!("operation `{operation}`") };
    format!("{whose}{}: {}", place.unwrap_or_default(), wrong.message)
}

/// Whether a document is one of the schema; else which operation is not, and why.
///
/// async-graphql validates what it executes and nothing else, so the document is executed with all that it asks for left out:
/// no resolver is called.
fn fit<Q, M, S>(schema: &Schema<Q, M, S>, id: &str, document: &Document) -> Result<(), String>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
{
    for name in document.names() {
        if let Err(dear) = document.cost(name.as_deref(), &Variables::default()) {
            return Err(told(id, &name.unwrap_or_default(), &dear));
        }
        let mut execution = Execution::new(String::new()).variables(Variables::default());
        execution.operation_name.clone_from(&name);
        execution.set_parsed_query(document.asking_nothing());
        let executed = schema.execute(execution).now_or_never();
        let executed = executed.expect("without resolvers there is nothing to wait for");
        if let Some(wrong) = executed.errors.into_iter().next() {
            return Err(told(id, &name.unwrap_or_default(), &wrong));
        }
    }
    Ok(())
}
