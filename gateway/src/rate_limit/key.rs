//! What a request is counted under. Not here: how (`local.rs`).

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use super::config::Key;

/// What is counted apart from what. Small and `Copy`: nothing is allocated per request, and a long `sub` costs no more
/// memory than a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    V4(u32),
    /// The /64 that a provider gives to one customer, who may use all of its addresses.
    V6Network(u64),
    /// A hash of the `sub`. Its key is random, so that nobody can look for a `sub` that shares another's bucket.
    Principal(u64),
    /// One of a fixed number of buckets that all share while too many keys are held.
    Crowd(u16),
}

/// Turns requests into keys.
#[derive(Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    pub(super) fn of(&self, by: Key, address: IpAddr, sub: Option<&str>) -> Counted {
        match (by, sub) {
            (Key::Principal, Some(sub)) => Counted::Principal(self.0.hash_one(sub)),
            (Key::Principal, None) | (Key::Address, _) => network(address),
        }
    }
}

fn network(address: IpAddr) -> Counted {
    match address.to_canonical() {
        IpAddr::V4(address) => Counted::V4(address.to_bits()),
        IpAddr::V6(address) => Counted::V6Network((address.to_bits() >> 64) as u64),
    }
}
