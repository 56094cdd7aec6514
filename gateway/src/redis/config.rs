//! What one types under `redis:`.

use std::fmt;

use serde::Deserialize;

use crate::units::Span;

/// The Redis that instances share, as typed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DATABASE]`.
    pub url: String,
    /// How long one answer is waited for. Short: a request waits for it.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// What all keys begin with, so that gateways of another kind may use the same Redis.
    #[serde(default = "prefix")]
    pub prefix: String,
}

/// Ten times what a Redis in the same place needs, and not yet felt by anybody.
fn timeout() -> Span {
    Span::millis(5)
}

fn prefix() -> String {
    "gateway".to_owned()
}

/// The address may hold a password, which is not printed.
impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RedisConfig { url: _, timeout, prefix } = self;
        f.debug_struct("RedisConfig")
            .field("timeout", timeout)
            .field("prefix", prefix)
            .finish_non_exhaustive()
    }
}
