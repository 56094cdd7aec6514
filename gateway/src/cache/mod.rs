//! Answers of services, kept for the next one who asks: a shared HTTP cache (RFC 9111).
//!
//! The rules are pure functions: `control.rs` over `directives.rs`, `vary.rs`, `conditional.rs`. What is kept is in
//! `store.rs`, by `key.rs`, until `marks.rs` says that it is invalid; `flight.rs` sees to it that of many who miss the same
//! only one asks, and `filling.rs` gives all of them one body while it comes; `second_tier/` is a second tier in Redis. It stands
//! behind the guard: nobody is answered from here who may not ask. `keeping.rs` is what routes and parts of compositions do
//! alike.
//! Not here: asking services (`proxy/cached.rs` and `composition/kept.rs` put both together).

pub mod conditional;
pub mod config;
pub mod control;
mod dictionary;
pub mod directives;
pub mod entry;
pub mod filling;
pub mod flight;
mod keeping;
pub mod key;
mod marks;
pub mod metrics;
pub mod second_tier;
pub mod status;
pub mod store;
pub mod tags;
pub mod vary;

pub use self::{
    config::CacheConfig,
    entry::{Draft, Entry},
    filling::Filling,
    keeping::{CAPABILITY, Keeping, SURROGATE_CAPABILITY, Stood},
    key::{Key, Whose},
    metrics::{CacheMetrics, InvalidationMetrics, SharedMetrics, StoreMetrics},
    second_tier::Shared,
    store::{Found, Store},
};
