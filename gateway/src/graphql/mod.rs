//! GraphQL over HTTP: requests are read, bounded, parsed once and executed by a typed schema; answers are negotiated.
//!
//! `read -> measure -> parse (cached) -> limits -> execute -> arrange -> classify errors -> render`. Whatever costs
//! more the larger a document is comes behind a limit on its size.
//!
//! Not here: what the schema says, who may see what, which services are asked. That is the business of whoever brings it.

mod arrange;
mod document;
mod emptied;
mod failure;
mod faults;
mod graphiql;
mod handler;
mod lenient;
mod lexer;
mod limits;
mod loader;
mod read;
mod refusal;
mod render;
mod turn;
mod variables;

pub use self::{
    handler::{Call, GraphqlHandler, Settings},
    limits::Limits,
    loader::{Answers, Loader, Source},
    refusal::Refusal,
};
