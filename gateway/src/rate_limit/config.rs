//! What one types under `limits:`.

use serde::Deserialize;

use crate::units::Rate;

/// One limit as typed under `limits:`, by name. Routes name the limits that they are under.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitConfig {
    /// Requests a period, which come back little by little: `100/s`. Either this or `quota`.
    #[serde(default)]
    pub rate: Option<Rate>,
    /// Requests in a period of the calendar (UTC), which are all back when the next one begins: `5000/day`.
    #[serde(default)]
    pub quota: Option<Rate>,
    /// How many of a `rate` may come at once. One period's worth unless given: browsers open a page in a burst.
    #[serde(default)]
    pub burst: Option<u32>,
    /// What is counted apart from what.
    pub by: Key,
    /// Whether each request is one, or as many as it costs.
    #[serde(default)]
    pub count: Unit,
    /// Whether all instances that use the same Redis count together.
    #[serde(default)]
    pub shared: bool,
    /// Whether clients are told how they stand. Who is told does not have to find out.
    #[serde(default = "told")]
    pub headers: bool,
}

fn told() -> bool {
    true
}

/// What is counted apart from what.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// The address of the peer, IPv6 by its /64.
    Address,
    /// The `sub` of the caller; a caller without one is counted by address.
    Principal,
    /// The value of this header field; a request without it is counted by address.
    Header(String),
    /// The value of this parameter of the route's path.
    Path(String),
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Each request is one.
    #[default]
    Requests,
    /// Each request is what its route says, or its GraphQL document.
    Cost,
}
