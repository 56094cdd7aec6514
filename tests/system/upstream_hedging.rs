//! A second replica is asked when the first takes long: the tail is cut for a few more calls.

use std::time::Duration;

use crate::{
    harness::Gate,
    replicas::{Load, Replica, endpoints, failed, quantile, replicas, yaml},
};

const USUAL: Duration = Duration::from_millis(10);
const ASKED: usize = 2_400;

/// The 99th percentile, and the calls that it took.
async fn run(hedge: &str) -> (Duration, usize) {
    let all: [Replica; 2] = replicas(USUAL).await;
    // A little more than 1 %, so that the 99th percentile is one of them.
    all.iter().for_each(|replica| replica.slow(75, 50 * USUAL));
    let gate = Gate::start(&yaml(&format!("{}{hedge}", endpoints(&all))));
    let samples = Load::new(gate.address(), 16).times(ASKED).await;
    assert_eq!(failed(&samples), 0);
    (quantile(&samples, 990), all.iter().map(Replica::seen).sum())
}

#[tokio::test]
async fn hedging_cuts_the_tail_for_a_few_more_calls() {
    let (without, calls) = run("").await;
    assert_eq!(calls, ASKED);
    let (with, calls) = run(", hedge: {}").await;
    let more = (calls - ASKED) as f64 * 100.0 / ASKED as f64;
    eprintln!("hedging: p99 {without:?} without, {with:?} with, for {more:.2} % more calls");
    assert!(with * 5 <= without, "{with:?} of {without:?}");
    assert!(more <= 5.0, "{more} %");
}
