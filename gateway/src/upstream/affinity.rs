//! What calls are kept together by, where an upstream balances by a hash.
//!
//! Not here: which endpoint a key leads to (`balance/hash.rs`).

use http::HeaderName;

use super::{
    Outgoing,
    balance::{self, BalanceConfig, HashOn},
};
use crate::{
    identity::USER_ID,
    mistake::{Mistake, Mistakes, below},
    routing::{Params, path},
};

/// What calls are kept together by.
pub(super) enum HashBy {
    /// A field of the request to the service.
    Header(HeaderName),
    /// A parameter of the route's path.
    Path(Box<str>),
}

impl HashBy {
    /// As `balance` says, of the upstream so named and typed at `at`.
    pub(super) fn build(
        balance: &BalanceConfig,
        name: &str,
        at: &str,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        match balance {
            BalanceConfig::Hash(HashOn::Principal) => Some(HashBy::Header(USER_ID)),
            // Whether there is such a parameter is for those to say who know the routes (`config/`).
            BalanceConfig::Hash(HashOn::Path(parameter)) => Some(HashBy::Path(parameter.as_str().into())),
            BalanceConfig::Hash(HashOn::Header(header)) => {
                let wrong = |_invalid| {
                    let message = format!("upstream `{name}`: `{header}` is no header field");
                    Mistake::new(below(at, "balance.hash.header"), message)
                };
                mistakes.keep(header.parse().map(HashBy::Header).map_err(wrong))
            }
            _ => None,
        }
    }

    /// The key of a request to the service.
    pub(super) fn of_request(&self, request: &Outgoing) -> Option<u64> {
        let HashBy::Header(name) = self else { return None };
        request.fields.get(name).map(|value| balance::key(value.as_bytes()))
    }

    /// The key of these parameters of a path: of what it stands for, however it was escaped.
    pub(super) fn of_path(&self, params: &Params) -> Option<u64> {
        let HashBy::Path(name) = self else { return None };
        params.get(name).map(|raw| balance::key(&path::bytes(raw)))
    }
}
