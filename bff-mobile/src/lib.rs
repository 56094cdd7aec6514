//! The GraphQL backend for the FTGO mobile apps: a typed schema over the FTGO services.
//!
//! Not here: listeners, tokens, limits by address; those are the gateway's, by configuration.

mod connections;
mod consumer;
mod delivery;
mod ids;
mod mutation;
mod order;
mod paging;
mod query;
mod records;
mod restaurant;
mod rules;
mod scalars;
mod schema;
mod services;
mod subscription;
#[cfg(test)]
mod tests;

use gateway::{cli::Program, handler::Handlers};

/// The configuration that ships.
pub const CONFIG: &str = "config/bff-mobile.yaml";

/// What this binary is.
#[must_use]
pub fn program() -> Program {
    Program {
        name: "bff-mobile",
        about: "The GraphQL backend of the FTGO mobile apps",
        config: Some(CONFIG),
        handlers: handlers(),
        schema: Some(sdl),
    }
}

/// What `handle:` may name: `graphql`, and `graphql-explorer`, the same with introspection and GraphiQL.
#[must_use]
pub fn handlers() -> Handlers {
    Handlers::default().with("graphql", schema::closed).with("graphql-explorer", schema::open)
}

/// For trying it out: `graphql` itself has introspection and GraphiQL on.
#[must_use]
pub fn playground() -> Handlers {
    Handlers::default().with("graphql", schema::open).with("graphql-explorer", schema::open)
}

/// The schema as GraphQL writes it down.
#[must_use]
pub fn sdl() -> String {
    schema::schema().sdl()
}
