//! What one types under `limits:`.

use serde::Deserialize;

use crate::units::Rate;

/// One limit as typed under `limits:`, by name. Routes name the limits that they are under.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Requests a period: `100/s`, `5000/day`.
    pub rate: Rate,
    /// How many may come at once. One period's worth unless given: browsers open a page in a burst.
    #[serde(default)]
    pub burst: Option<u32>,
    /// What is counted apart from what.
    pub by: Key,
}

/// What is counted apart from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// The address of the peer, IPv6 by its /64.
    Address,
    /// The `sub` of the caller; a caller without one is counted by address.
    Principal,
}
