//! GraphQL over HTTP: requests are read, bounded, parsed once and executed by a typed schema; answers are negotiated.
//!
//! `read -> look up (hash, id) -> measure -> parse (cached) -> limits, cost -> execute -> arrange -> classify errors -> render`.
//! Whatever costs more the larger a document is comes behind a limit on its size.
//!
//! Not here: what the schema says, who may see what, which services are asked. That is the business of whoever brings it.

mod arrange;
pub mod changes;
mod coding;
mod compress;
pub mod config;
mod document;
mod emptied;
mod engine;
mod failure;
mod faults;
mod freshness;
mod graphiql;
mod handler;
mod hash;
mod lenient;
mod lexer;
mod limits;
mod lists;
mod loader;
mod lookup;
mod manifest;
pub(crate) mod metrics;
mod one_by_one;
mod overlap;
mod persisted;
mod price;
mod proven;
mod read;
mod refusal;
mod render;
mod sent;
mod settings;
pub(crate) mod subscriptions;
mod trusted;
mod turn;
mod variables;
mod weights;

pub(crate) use self::settings::Around;
pub use self::{
    handler::{Call, GraphqlHandler},
    limits::Limits,
    lists::{cost, list_size},
    loader::{Answers, Loader, Source},
    metrics::GraphqlMetrics,
    one_by_one::{loads, one_by_one},
    persisted::Persisted,
    price::price,
    refusal::Refusal,
    settings::{Manifests, Settings},
    subscriptions::Subscriptions,
};
