//! The gateway library.

pub mod auth;
pub mod body;
pub mod composition;
pub mod config;
pub mod deadline;
pub mod error;
pub mod mistake;
pub mod proxy;
pub mod rate_limit;
pub mod server;
pub mod units;
pub mod upstream;
