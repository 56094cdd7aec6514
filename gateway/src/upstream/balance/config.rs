//! What one types under `upstreams.NAME.balance`.

use serde::Deserialize;

/// How an endpoint is chosen for a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BalanceConfig {
    /// The better of two taken at random, by latency, calls in progress and failures.
    ///
    /// The default: it needs no tuning, and many gateways that see only their own calls do not all choose the same one
    /// (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).
    #[default]
    P2c,
    /// The one with the fewest calls in progress for its weight: for calls of very different length.
    LeastRequests,
    /// In turn, each as often as its weight says.
    WeightedRoundRobin,
    /// Always the same one for the same key: for services that keep something per key in memory.
    Hash(HashOn),
}

/// What makes calls go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashOn {
    /// The value of this header field of the request.
    Header(String),
    /// The `sub` of the caller.
    Principal,
    /// The value of this parameter of the route's path.
    Path(String),
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use super::*;

    fn read(typed: Value) -> Result<BalanceConfig, String> {
        from_value(typed).map_err(|error| error.to_string())
    }

    #[test]
    fn every_way_can_be_typed() {
        assert_eq!(read(json!("p2c")), Ok(BalanceConfig::P2c));
        assert_eq!(read(json!("least-requests")), Ok(BalanceConfig::LeastRequests));
        assert_eq!(read(json!("weighted-round-robin")), Ok(BalanceConfig::WeightedRoundRobin));
        let hash = |on| Ok(BalanceConfig::Hash(on));
        assert_eq!(
            read(json!({ "hash": { "header": "X-Cart" } })),
            hash(HashOn::Header("X-Cart".to_owned()))
        );
        assert_eq!(read(json!({ "hash": "principal" })), hash(HashOn::Principal));
        assert_eq!(read(json!({ "hash": { "path": "orderId" } })), hash(HashOn::Path("orderId".to_owned())));
    }

    #[test]
    fn a_way_that_is_none_is_told_what_there_is() {
        let said = read(json!("random")).unwrap_err();
        assert!(said.contains("`p2c`, `least-requests`, `weighted-round-robin`, `hash`"), "{said}");
        let said = read(json!({ "hash": { "cookie": "x" } })).unwrap_err();
        assert!(said.contains("`header`, `principal`, `path`"), "{said}");
    }
}
