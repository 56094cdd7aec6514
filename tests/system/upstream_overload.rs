//! A service that is offered three times what it can do does as much as ever, as quickly as ever, for some; the others
//! hear at once that they should come back later.

use std::time::Duration;

use crate::{
    harness::Gate,
    open_load::{Due, offer},
    replicas::{Replica, Sample, quantile, seconds, yaml},
};

/// Usually: 200 a second. A machine that runs other tests at the same time can do no more.
const TAKES: Duration = Duration::from_millis(40);
/// By hand: 400 a second.
const QUICK: Duration = Duration::from_millis(20);
const THREADS: usize = 8;
/// How long each load lasts, unless `SECONDS` says otherwise.
const USUAL: u64 = 5;

/// What came of a load.
#[derive(Debug)]
struct Came {
    /// Whole 200s a second.
    goodput: f64,
    median: Duration,
    p99: Duration,
    refused: usize,
}

/// Leaves out what ended in the first `warm_up`.
fn came(of: &[Due], warm_up: Duration, lasting: Duration) -> Came {
    let within = |due: &&Due| (warm_up..lasting).contains(&due.sample.at);
    let counted: Vec<&Due> = of.iter().filter(within).collect();
    let served: Vec<Sample> =
        counted.iter().map(|due| due.sample).filter(|sample| sample.status == 200).collect();
    let refused: Vec<_> = counted.iter().filter(|due| due.sample.status != 200).collect();
    assert!(refused.iter().all(|due| due.sample.status == 503 && due.retry_after), "{refused:?}");
    Came {
        goodput: served.len() as f64 / (lasting - warm_up).as_secs_f64(),
        median: quantile(&served, 500),
        p99: quantile(&served, 990),
        refused: refused.len(),
    }
}

/// A service, a gateway whose adaptive limit begins at far more than that can do, and what it can do in a second.
async fn overloadable() -> (Replica, Gate, u32) {
    let takes = if by_hand() { QUICK } else { TAKES };
    let replica = Replica::of_threads(THREADS, takes).await;
    let gate = Gate::start(&yaml(&format!(
        "url: \"http://{}\", in_flight: {{ limit: 100, adaptive: {{}} }}",
        replica.address
    )));
    (replica, gate, (THREADS as f64 / takes.as_secs_f64()) as u32)
}

fn by_hand() -> bool {
    seconds(USUAL) != Duration::from_secs(USUAL)
}

/// The limit has two seconds to come down to what this service can do.
#[tokio::test]
async fn three_times_the_load_costs_neither_goodput_nor_time() {
    let (lasting, settled) = (seconds(USUAL), Duration::from_secs(2));
    let (_replica, gate, capacity) = overloadable().await;
    let run = async |rate| came(&offer(gate.address(), rate, lasting).await, settled, lasting);
    let unloaded = run(capacity / 4).await;
    let peak = run(capacity * 11 / 10).await;
    let overloaded = run(capacity * 3).await;
    for (load, came) in [("a quarter", &unloaded), ("1.1 times", &peak), ("3 times", &overloaded)] {
        eprintln!("overload: {load} of {capacity}/s for {lasting:?}: {came:?}");
    }
    assert_eq!(unloaded.refused, 0);
    assert!(overloaded.median <= 3 * unloaded.median, "{overloaded:?} against {unloaded:?}");
    // A machine that runs other tests may take some of both.
    let (goodput, times) = if by_hand() { (0.9, 3) } else { (0.75, 6) };
    assert!(overloaded.goodput >= goodput * peak.goodput, "{overloaded:?} of {peak:?}");
    assert!(overloaded.p99 <= times * unloaded.p99, "{overloaded:?} against {unloaded:?}");
}

/// Nobody has ever seen this service without a queue.
#[tokio::test]
async fn a_gateway_that_starts_in_an_overload_finds_out_what_the_service_can_do() {
    let (lasting, settled) = (seconds(USUAL) + Duration::from_secs(3), Duration::from_secs(5));
    let (_replica, gate, capacity) = overloadable().await;
    let overloaded = came(&offer(gate.address(), capacity * 3, lasting).await, settled, lasting);
    eprintln!("overload: 3 times of {capacity}/s from the start, for {lasting:?}: {overloaded:?}");
    let takes = if by_hand() { QUICK } else { TAKES };
    let (goodput, times) = if by_hand() { (0.8, 4) } else { (0.6, 8) };
    assert!(overloaded.goodput >= goodput * f64::from(capacity), "{overloaded:?}");
    assert!(overloaded.p99 <= times * takes, "{overloaded:?}");
}
