//! How many retries an upstream may be sent in all. Shared by all workers.
//!
//! Each call adds a share of a retry, time adds a few, each retry takes one: if everything fails, a service sees its load
//! times 1.2 and not times two or three. The model is Finagle's `RetryBudget`, which Linkerd has too.
//!
//! It differs in two ways, both for less load on a service that is down: it begins empty, and what is saved is ten
//! seconds' worth of `per_second`, not of the calls' share, which would double the load for the first seconds.
//!
//! Not here: whether one call may be tried again (`mod.rs`).

use std::time::Instant;

use super::config::BudgetConfig;
use crate::upstream::tokens::{Tokens, ten_seconds};

/// The retries that are left.
#[derive(Debug)]
pub struct Budget(Tokens);

impl Budget {
    /// An empty budget.
    #[must_use]
    pub fn new(config: &BudgetConfig, now: Instant) -> Self {
        /// Without `per_second`, what fifty calls earn by default.
        const LEAST: u32 = 10;
        let most = ten_seconds(config.per_second).max(LEAST);
        Budget(Tokens::new(config.percent, config.per_second, most, now))
    }

    /// A call is tried for the first time.
    pub fn deposit(&self) {
        self.0.earn();
    }

    /// Whether there is a retry left at `now`; if so, it is taken.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        self.0.spend(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_service_that_is_down_sees_no_more_than_a_fifth_and_ten_a_second_on_top() {
        let born = Instant::now();
        let budget = Budget::new(&BudgetConfig::default(), born);
        let mut retries = 0;
        for millis in 0..60_000_u64 {
            budget.deposit();
            // Each call that fails asks, and so does each retry.
            while budget.withdraw(born + Duration::from_millis(millis)) {
                retries += 1;
            }
            assert!(retries * 1_000 <= 200 * (millis + 1) + 10 * millis);
        }
        assert!((12_590..=12_600).contains(&retries), "the budget is used: {retries}");
    }

    #[test]
    fn an_hour_of_health_pays_for_a_hundred_retries() {
        let born = Instant::now();
        let budget = Budget::new(&BudgetConfig::default(), born);
        (0..1_000_000).for_each(|_| budget.deposit());
        let later = born + Duration::from_secs(3_600);
        assert_eq!((0..1_000).filter(|_| budget.withdraw(later)).count(), 100);
    }
}
