//! What all policies before an upstream cost a call together: nanoseconds, by one thread alone and by sixteen that share
//! everything.
//!
//! `bench-call [MILLIS]`, in a release build. A slot in flight, the choice of one among three endpoints by two random ones,
//! its breaker's permit and its ticket; then what the call came to, told to the breaker, the load and the ejection, and
//! the slot is free again. With the clock passed in, and with the clock read wherever the gateway reads it. Nanoseconds
//! are the median of batches of 1,000, so that it does not matter what else the machine does; with more threads than CPUs,
//! calls a second are what to look at. Figures are printed and never asserted.
//!
//! Not here: each policy by itself (`bench-balance.rs`, `bench-breaker.rs`).

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use gateway::{
    deadline::Deadline,
    upstream::{
        Outcome,
        balance::{Balance, BalanceConfig, Candidate, Member, PANIC_PERCENT, Set},
        circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, Verdict},
        ejection::{Ejection, EjectionConfig, Standing},
        in_flight::{InFlight, InFlightConfig},
        load::{DECAY, Load, SLOW_START},
    },
    worker,
};

const THREADS: usize = 16;
const TOOK: Duration = Duration::from_millis(3);

struct Endpoint {
    begun: Instant,
    breaker: CircuitBreaker,
    load: Arc<Load>,
    standing: Arc<Standing>,
}

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.load
    }

    fn fit(&self, now_ms: u64) -> bool {
        !self.standing.is_ejected(now_ms)
    }

    fn admits(&self, now_ms: u64) -> bool {
        self.breaker.would_admit(self.begun + Duration::from_millis(now_ms))
    }
}

struct World {
    begun: Instant,
    deadline: Deadline,
    in_flight: Arc<InFlight>,
    balance: Balance,
    endpoints: Vec<Endpoint>,
    ejection: Ejection,
}

impl World {
    fn new() -> Self {
        let begun = Instant::now();
        let endpoint = || Endpoint {
            begun,
            breaker: CircuitBreaker::new(CircuitBreakerConfig::default(), begun, |change| {
                panic!("{change:?}")
            }),
            load: Arc::new(Load::warm(DECAY, SLOW_START)),
            standing: Arc::default(),
        };
        let endpoints = vec![endpoint(), endpoint(), endpoint()];
        let member = |index| Member { address: format!("10.0.0.{index}:8080").into(), weight: 1, zone: None };
        let members: Vec<Member> = (0..endpoints.len()).map(member).collect();
        let standings = endpoints.iter().map(|endpoint| endpoint.standing.clone());
        World {
            begun,
            deadline: Deadline::after(Duration::from_secs(3_600)),
            in_flight: InFlight::new(&InFlightConfig::default(), begun.into()),
            balance: Balance::new(&BalanceConfig::P2c, &members, PANIC_PERCENT),
            ejection: Ejection::new(EjectionConfig::default(), standings, 0),
            endpoints,
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_millis() as u64
    }

    /// `clock` is asked wherever the gateway asks for the time.
    fn call(&self, clock: impl Fn() -> Instant) {
        let slot = self.in_flight.acquire(self.deadline).now_or_never();
        let slot = slot.expect("nobody waits").expect("there is room");
        let picked = self.balance.pick(&self.endpoints, &Set::EMPTY, None, self.millis(clock()));
        let index = picked.expect("all are available");
        let endpoint = &self.endpoints[index];
        let permit = endpoint.breaker.permit(clock()).expect("it never opens");
        let ticket = endpoint.load.begin();
        black_box(&ticket);
        let now = clock();
        permit.record(Verdict::Success, TOOK, now);
        ticket.end(Outcome::Ok, TOOK, self.millis(now));
        black_box(self.ejection.note(index, true, self.millis(clock())));
        drop((ticket, slot));
    }

    /// Time goes on by a millisecond with every 64th call, as it would at some 64,000 calls a second.
    fn timed(&self, call: u32) {
        let now = self.begun + Duration::from_millis(u64::from(call / 64));
        self.call(|| black_box(now));
    }
}

/// How many of `work` were done within `time`, and the nanoseconds of one.
fn run(time: Duration, work: impl Fn(u32)) -> (u64, f64) {
    const BATCH: u32 = 1_000;
    let (begun, mut batches) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let (batch, first) = (Instant::now(), batches.len() as u32 * BATCH);
        (first..first + BATCH).for_each(&work);
        batches.push(batch.elapsed().as_nanos());
    }
    batches.sort_unstable();
    let median = batches[batches.len() / 2] as f64 / f64::from(BATCH);
    (batches.len() as u64 * u64::from(BATCH), median)
}

fn report(what: &str, time: Duration, work: impl Fn(&World, u32) + Sync) {
    let world = World::new();
    let (_, alone) = run(time, |call| work(&world, call));
    let (world, ready) = (World::new(), Barrier::new(THREADS));
    let one = &|index: usize| {
        worker::name_this_thread(index);
        ready.wait();
        run(time, |call| work(&world, call))
    };
    let results: Vec<(u64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|index| scope.spawn(move || one(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let each = results.iter().map(|(_, nanos)| nanos).sum::<f64>() / THREADS as f64;
    let rate = results.iter().map(|(calls, _)| calls).sum::<u64>() as f64 / time.as_secs_f64() / 1e6;
    println!(
        "{what:22} alone {alone:4.0} ns; {THREADS} threads: {each:4.0} ns each, {rate:.1} million calls a second"
    );
}

fn main() {
    let millis = std::env::args().nth(1).map_or(500, |millis| millis.parse().expect("milliseconds"));
    let time = Duration::from_millis(millis);
    report("clock passed in:", time, World::timed);
    report("clock read each time:", time, |world, _| world.call(Instant::now));
}
