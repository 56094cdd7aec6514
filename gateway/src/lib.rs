//! The gateway library.

pub mod admin;
pub mod auth;
pub mod body;
pub mod composition;
pub mod config;
pub mod deadline;
pub mod error;
pub mod graphql;
pub mod handler;
pub mod histogram;
pub mod mistake;
pub mod observability;
pub mod pipeline;
pub mod proxy;
pub mod rate_limit;
pub mod routing;
pub mod server;
pub mod template;
pub mod units;
pub mod upstream;
pub mod worker;
