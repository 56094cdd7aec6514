//! TODO opener.

pub mod config;
pub mod policy;
