//! What is counted of GraphQL routes: operations by name and client, and how documents were named.
//!
//! Names of operations are those of trusted documents, names of clients those that the configuration lists: what clients make
//! up is counted as `other`.
//!
//! Not here: the HTTP request (`observability/`).

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
    },
};

use super::subscriptions::{self, metrics::SubscriptionMetrics};

/// How a request said which document it means, and what became of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Text,
    Persisted,
    Registered,
    Trusted,
    Untrusted,
    Unknown,
    Mismatched,
}

impl Named {
    const ALL: [(Named, &'static str); 7] = [
        (Named::Text, "text"),
        (Named::Persisted, "persisted"),
        (Named::Registered, "registered"),
        (Named::Trusted, "trusted"),
        (Named::Untrusted, "untrusted"),
        (Named::Unknown, "unknown"),
        (Named::Mismatched, "mismatched"),
    ];
}

/// What an operation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of its data.
    Ok,
    /// Data and errors.
    Partial,
    /// Errors only.
    Refused,
}

impl Outcome {
    const ALL: [(Outcome, &'static str); 3] =
        [(Outcome::Ok, "ok"), (Outcome::Partial, "partial"), (Outcome::Refused, "refused")];
}

/// Whoever is not listed.
const OTHER: &str = "other";

/// Counters by outcome.
pub(super) type Outcomes = [Counter; Outcome::ALL.len()];

/// The counters of one route.
#[derive(Debug, Default)]
pub struct GraphqlMetrics {
    documents: [Counter; Named::ALL.len()],
    /// By operation and client. Looked up when a configuration is built.
    operations: Mutex<BTreeMap<(String, String), Arc<Outcomes>>>,
    /// Of what stays open, on routes that offer it.
    subscriptions: OnceLock<Arc<SubscriptionMetrics>>,
}

impl GraphqlMetrics {
    pub(crate) fn subscriptions(&self) -> Arc<SubscriptionMetrics> {
        self.subscriptions.get_or_init(Arc::default).clone()
    }

    pub(super) fn named(&self, how: Named) {
        self.documents[how as usize].inc();
    }

    fn operation(&self, operation: &str, client: &str) -> Arc<Outcomes> {
        let key = (operation.to_owned(), client.to_owned());
        self.operations.lock().entry(key).or_default().clone()
    }
}

/// The counters of every operation and client that are told apart: one row for each operation, the last for others; in it one
/// for each client, the last for others.
#[derive(Debug, Default)]
pub(super) struct Counters {
    clients: Vec<String>,
    rows: Vec<Vec<Arc<Outcomes>>>,
}

impl Counters {
    /// For these names, whose indexes in the list are those of the rows.
    pub(super) fn new(metrics: &GraphqlMetrics, operations: &[String], clients: &[String]) -> Self {
        let row = |operation: &str| {
            let clients = clients.iter().map(String::as_str).chain([OTHER]);
            clients.map(|client| metrics.operation(operation, client)).collect()
        };
        let rows = operations.iter().map(String::as_str).chain([OTHER]).map(row).collect();
        Counters { clients: clients.to_vec(), rows }
    }

    /// Which client a request is of.
    pub(super) fn client(&self, headers: &HeaderMap) -> usize {
        const CLIENT: HeaderName = HeaderName::from_static("apollographql-client-name");
        if self.clients.is_empty() {
            return 0;
        }
        let named = headers.get(CLIENT).map(|value| value.as_bytes());
        let known = self.clients.iter().position(|client| named == Some(client.as_bytes()));
        known.unwrap_or(self.clients.len())
    }

    pub(super) fn count(&self, operation: Option<usize>, client: usize, outcome: Outcome) {
        let row = self.rows.get(operation.unwrap_or(usize::MAX)).or_else(|| self.rows.last());
        if let Some(outcomes) = row.and_then(|row| row.get(client)) {
            outcomes[outcome as usize].inc();
        }
    }
}

/// All of it.
pub(crate) fn encode(
    routes: &HashMap<String, Arc<GraphqlMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, help) = ("gateway_graphql_operations", "Operations of GraphQL by name, client and outcome");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, metrics) in routes {
        for ((operation, client), outcomes) in &*metrics.operations.lock() {
            for (outcome, told) in Outcome::ALL {
                let count = outcomes[outcome as usize].get();
                if count > 0 {
                    let (operation, client) = (operation.as_str(), client.as_str());
                    let labels = [
                        ("route", route.as_str()),
                        ("operation", operation),
                        ("client", client),
                        ("outcome", told),
                    ];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
    }
    let (name, help) = ("gateway_graphql_documents", "Documents of GraphQL by how they were named");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, metrics) in routes {
        for (how, told) in Named::ALL {
            let labels = [("route", route.as_str()), ("named", told)];
            let counter = ConstCounter::new(metrics.documents[how as usize].get());
            counter.encode(family.encode_family(&labels)?)?;
        }
    }
    let open = routes.iter().filter_map(|(route, metrics)| Some((&**route, metrics.subscriptions.get()?)));
    subscriptions::metrics::encode(&open.collect(), encoder)
}
