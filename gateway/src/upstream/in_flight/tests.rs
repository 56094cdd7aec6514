//! The limit on a paused clock, and a service of twenty threads under three times the load that it can take.

use std::cell::RefCell;

use futures_util::future::join_all;
use tokio::{sync::Semaphore, task::LocalSet, time::sleep};

use super::*;
use crate::units::Span;

const MILLI: Duration = Duration::from_millis(1);

fn in_flight(limit: u32, max_waiting: u32) -> Arc<InFlight> {
    let config = InFlightConfig { limit, max_waiting, ..InFlightConfig::default() };
    InFlight::new(&config, Instant::now())
}

fn later() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

#[tokio::test(start_paused = true)]
async fn a_call_above_the_limit_waits_for_its_time_and_is_refused() {
    let calls = in_flight(2, 10);
    let _slots = (calls.acquire(later()).await.unwrap(), calls.acquire(later()).await.unwrap());
    let begun = Instant::now();
    assert_eq!(calls.acquire(later()).await.unwrap_err(), Full);
    assert_eq!((begun.elapsed(), calls.waiting()), (50 * MILLI, 0));
    assert_eq!(calls.acquire(Deadline::after(10 * MILLI)).await.unwrap_err(), Full);
    assert_eq!((begun.elapsed(), calls.in_flight()), (60 * MILLI, 2));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_order_that_they_came() {
    let (calls, order) = (in_flight(1, 10), RefCell::new(Vec::new()));
    let first = calls.acquire(later()).await.unwrap();
    let call = async |at: i32| {
        let slot = calls.acquire(later()).await.unwrap();
        order.borrow_mut().push(at);
        drop(slot);
    };
    let release = async {
        sleep(10 * MILLI).await;
        drop(first);
    };
    tokio::join!(join_all((0..5).map(call)), release);
    assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may_and_one_who_leaves_makes_room() {
    let calls = in_flight(1, 1);
    let _slot = calls.acquire(later()).await.unwrap();
    let mut waiting = Box::pin(calls.acquire(later()));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let begun = Instant::now();
    assert_eq!(calls.acquire(later()).await.unwrap_err(), Full);
    assert_eq!((begun.elapsed(), calls.waiting()), (Duration::ZERO, 1));
    drop(waiting);
    assert_eq!(calls.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_long_in_a_queue_that_lasts() {
    let calls = in_flight(1, 1_000);
    let _slot = calls.acquire(later()).await.unwrap();
    let call = async |at: u32| {
        sleep(at * 4 * MILLI).await;
        let begun = Instant::now();
        calls.acquire(later()).await.unwrap_err();
        begun.elapsed()
    };
    let waited = join_all((0..40).map(call)).await;
    assert!(waited[0] == 50 * MILLI && waited[39] == 5 * MILLI, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_lasts_and_is_empty_for_a_moment_lasts_on() {
    let calls = in_flight(1, 1_000);
    let _slot = calls.acquire(later()).await.unwrap();
    sleep(1_000 * MILLI).await;
    let waits = async || {
        let begun = Instant::now();
        calls.acquire(later()).await.unwrap_err();
        begun.elapsed()
    };
    for expected in [50, 50, 5, 5] {
        assert_eq!(waits().await, expected * MILLI);
        sleep(MILLI).await;
    }
    sleep(50 * MILLI).await;
    assert_eq!(waits().await, 50 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_lowered_below_what_is_under_way_holds_as_soon_as_it_can() {
    let calls = in_flight(4, 0);
    let mut slots = vec![];
    for _ in 0..4 {
        slots.push(calls.acquire(later()).await.unwrap());
    }
    calls.resize(2);
    slots.truncate(2);
    assert!(calls.acquire(later()).await.is_err());
    calls.resize(3);
    slots.push(calls.acquire(later()).await.unwrap());
    assert!(calls.acquire(later()).await.is_err());
    slots.clear();
    assert_eq!((calls.in_flight(), calls.limit(), calls.free.available_permits()), (0, 3, 3));
}

#[test]
fn no_slot_is_lost_or_made_among_many_threads() {
    let calls = in_flight(50, 0);
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for turn in 0..2_000 {
            drop(runtime.block_on(calls.acquire(later())));
            if turn % 100 == 0 {
                calls.sample(MILLI, false, Instant::now());
            }
        }
    };
    std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(work))));
    assert_eq!((calls.in_flight(), calls.free.available_permits()), (0, 50));
}

/// What came of a load.
#[derive(Debug)]
struct Outcome {
    /// Answers a second.
    goodput: usize,
    /// From when a call came in until its answer, of those that were admitted, in milliseconds.
    p99: u128,
}

/// A service of twenty threads that takes 10 ms a call on average, spread as widely as chance does, for ten seconds. Its
/// own queue has no end: only the gateway can keep it short.
async fn offer(per_milli: u32, config: InFlightConfig) -> Outcome {
    const SECS: u32 = 10;
    let calls = InFlight::new(&config, Instant::now());
    let threads = Arc::new(Semaphore::new(20));
    let answered = RefCell::new(Vec::new());
    let call = async |at: u32| {
        sleep(at / per_milli * MILLI).await;
        let begun = Instant::now();
        let Ok(_slot) = calls.acquire(later()).await else { return };
        let sent = Instant::now();
        let _thread = threads.acquire().await.unwrap();
        sleep((10 * MILLI).mul_f64(-(1.0 - fastrand::f64()).ln())).await;
        calls.sample(sent.elapsed(), false, Instant::now());
        answered.borrow_mut().push((calls.born.elapsed(), begun.elapsed()));
    };
    LocalSet::new().run_until(join_all((0..SECS * 1_000 * per_milli).map(call))).await;
    // The first two seconds are for finding the limit.
    let settled = 2_000 * MILLI..SECS * 1_000 * MILLI;
    let mut took: Vec<Duration> =
        answered.take().into_iter().filter(|(at, _)| settled.contains(at)).map(|(_, took)| took).collect();
    took.sort_unstable();
    Outcome { goodput: took.len() / 8, p99: took[took.len() * 99 / 100].as_millis() }
}

#[tokio::test(start_paused = true)]
async fn under_three_times_the_load_goodput_stays_and_so_does_the_tail() {
    fastrand::seed(7);
    let adaptive =
        || InFlightConfig { limit: 20, adaptive: Some(AdaptiveConfig::default()), ..Default::default() };
    let unloaded = offer(1, adaptive()).await;
    let peak =
        offer(6, InFlightConfig { limit: 100_000, max_wait: Span::millis(0), ..Default::default() }).await;
    let overloaded = offer(6, adaptive()).await;
    assert!(overloaded.goodput * 10 >= peak.goodput * 9, "{overloaded:?} of {peak:?}");
    assert!(overloaded.p99 <= unloaded.p99 * 3, "{overloaded:?} against {unloaded:?}");
    assert!(peak.p99 > unloaded.p99 * 3, "without a limit it would be another picture: {peak:?}");
}
