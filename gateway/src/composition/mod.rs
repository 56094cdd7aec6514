//! TODO opener.

pub mod config;
