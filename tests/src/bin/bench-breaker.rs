//! What the policies before an upstream cost a call: CPU time in nanoseconds, by one thread alone and by sixteen at once.
//!
//! `bench-breaker [CALLS]`: each thread makes so many calls, a million unless told otherwise. Time is passed in, as it is
//! in the gateway, where one reading of the clock serves all of them. Figures are printed and never asserted.

use std::{
    hint::black_box,
    sync::Barrier,
    time::{Duration, Instant},
};

use gateway::{
    deadline::Deadline,
    units::Span,
    upstream::{
        circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, Verdict},
        hedge::{Hedge, HedgeConfig},
        in_flight::{InFlight, InFlightConfig},
        retry::{Retry, RetryConfig},
    },
    worker,
};
use http::Method;

const TOOK: Duration = Duration::from_millis(3);

fn main() {
    let calls = std::env::args().nth(1).map_or(1_000_000, |calls| calls.parse().expect("a number of calls"));
    let now = Instant::now();
    for threads in [1, 16] {
        println!("{threads} thread(s)");
        breaker(calls, threads, now);
        retry(calls, threads, now);
        hedge(calls, threads, now);
        in_flight(calls, threads);
    }
}

fn breaker(calls: u32, threads: usize, now: Instant) {
    // Time goes on by 10 us a call and a bucket lasts for 10 ms, so that none is ever full: a full one costs less.
    let config = CircuitBreakerConfig {
        window: Span::millis(100),
        failure_rate: 100,
        ..CircuitBreakerConfig::default()
    };
    let at = |call: u32| now + Duration::from_micros(10) * call;
    let breaker = CircuitBreaker::new(config, now, |change| panic!("{change:?}"));
    let call = |number: u32, verdict| {
        let now = at(number);
        black_box(&breaker).permit(now).expect("it never opens").record(verdict, TOOK, now);
    };
    measure("breaker: permit, record a success", calls, threads, |number| call(number, Verdict::Success));
    // One call in ten succeeds, so that it stays closed.
    measure("breaker: permit, record a failure", calls, threads, |number| {
        call(number, if number % 10 == 0 { Verdict::Success } else { Verdict::Failure });
    });
    measure("breaker: would_admit", calls, threads, |number| {
        black_box(breaker.would_admit(at(number)));
    });
}

fn retry(calls: u32, threads: usize, now: Instant) {
    let retry = Retry::new(RetryConfig::default(), now);
    measure("retry: begin a call, budget full", calls, threads, |_| {
        black_box(retry.attempts(&Method::GET));
    });
}

fn hedge(calls: u32, threads: usize, now: Instant) {
    let hedge = Hedge::new(&HedgeConfig::default(), now);
    measure("hedge: delay, record", calls, threads, |_| {
        black_box(hedge.delay());
        hedge.record(TOOK, now);
    });
}

fn in_flight(calls: u32, threads: usize) {
    let limit = InFlight::new(&InFlightConfig::default(), tokio::time::Instant::now());
    let deadline = Deadline::after(Duration::from_secs(3_600));
    measure("in flight: acquire, release", calls, threads, |_| {
        let slot = futures_util::FutureExt::now_or_never(limit.acquire(deadline));
        drop(slot.expect("there is room").expect("there is room"));
    });
}

fn measure(what: &str, calls: u32, threads: usize, call: impl Fn(u32) + Sync) {
    let start = Barrier::new(threads);
    let run = |index| {
        worker::name_this_thread(index);
        start.wait();
        let begun = Instant::now();
        (0..calls).for_each(&call);
        begun.elapsed()
    };
    let run = &run;
    let slowest = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|index| scope.spawn(move || run(index))).collect();
        all.into_iter().map(|thread| thread.join().expect("no panic")).max().expect("a thread")
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(threads);
    let nanos = slowest.as_nanos() as f64 * cores as f64 / (f64::from(calls) * threads as f64);
    println!("  {what:34} {nanos:7.1} ns");
}
