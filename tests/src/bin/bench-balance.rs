//! What choosing an endpoint costs: nanoseconds of `pick`, and of `pick`, `begin` and `end` together.
//!
//! `bench-balance [MILLIS]`, in a release build. Three endpoints, each way of choosing, alone and with 16 threads that
//! share everything. Nanoseconds are the median of batches of 1,000, so that it does not matter what else the machine does;
//! with more threads than CPUs, calls a second are what to look at.

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    time::{Duration, Instant},
};

use gateway::{
    upstream::{
        Outcome,
        balance::{Balance, BalanceConfig, Candidate, HashOn, Member, PANIC_PERCENT, Set},
        load::{DECAY, Load, SLOW_START},
    },
    worker,
};

const THREADS: usize = 16;

struct Endpoint(Arc<Load>);

impl Candidate for Endpoint {
    fn load(&self) -> &Load {
        &self.0
    }

    fn fit(&self, _now_ms: u64) -> bool {
        black_box(true)
    }

    fn admits(&self, _now_ms: u64) -> bool {
        black_box(true)
    }
}

struct World {
    balance: Balance,
    endpoints: Vec<Endpoint>,
}

impl World {
    fn new(way: &BalanceConfig) -> Self {
        let member = |index| Member { address: format!("10.0.0.{index}:8080").into(), weight: 1, zone: None };
        let members: Vec<Member> = (0..3).map(member).collect();
        let load = |_: &Member| Endpoint(Arc::new(Load::warm(DECAY, SLOW_START)));
        let endpoints: Vec<Endpoint> = members.iter().map(load).collect();
        for endpoint in &endpoints {
            endpoint.0.begin().end(Outcome::Ok, Duration::from_millis(10), 0);
        }
        World { balance: Balance::new(way, &members, PANIC_PERCENT), endpoints }
    }

    /// `call` counts up; the clock advances with every 64th, as it would at some 64,000 calls a second.
    fn now_ms(&self, call: u64) -> u64 {
        black_box(call / 64)
    }

    fn pick(&self, call: u64) -> usize {
        let picked = self.balance.pick(&self.endpoints, &Set::EMPTY, Some(call), self.now_ms(call));
        black_box(picked.expect("all are available"))
    }

    fn call(&self, call: u64) {
        let ticket = self.endpoints[self.pick(call)].0.begin();
        ticket.end(Outcome::Ok, Duration::from_micros(10_000 + call % 100), self.now_ms(call));
    }
}

/// How many of `work` were done within `time`, and the nanoseconds of one.
fn run(time: Duration, work: impl Fn(u64)) -> (u64, f64) {
    const BATCH: u64 = 1_000;
    let (begun, mut batches) = (Instant::now(), Vec::new());
    while begun.elapsed() < time {
        let (batch, first) = (Instant::now(), batches.len() as u64 * BATCH);
        (first..first + BATCH).for_each(&work);
        batches.push(batch.elapsed().as_nanos());
    }
    batches.sort_unstable();
    (batches.len() as u64 * BATCH, batches[batches.len() / 2] as f64 / BATCH as f64)
}

fn together(time: Duration, world: &World) -> (u64, f64) {
    let ready = Barrier::new(THREADS);
    let one = &|index: usize| {
        worker::name_this_thread(index);
        ready.wait();
        run(time, |call| world.call(call))
    };
    let results: Vec<(u64, f64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|index| scope.spawn(move || one(index))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let mean = results.iter().map(|(_, nanos)| nanos).sum::<f64>() / THREADS as f64;
    (results.iter().map(|(calls, _)| calls).sum(), mean)
}

fn main() {
    let millis = std::env::args().nth(1).map_or(500, |millis| millis.parse().expect("milliseconds"));
    let time = Duration::from_millis(millis);
    let hash = BalanceConfig::Hash(HashOn::Principal);
    for way in [BalanceConfig::P2c, BalanceConfig::LeastRequests, BalanceConfig::WeightedRoundRobin, hash] {
        let world = World::new(&way);
        let (_, pick) = run(time, |call| _ = world.pick(call));
        let (_, alone) = run(time, |call| world.call(call));
        let (calls, crowded) = together(time, &world);
        let rate = calls as f64 / time.as_secs_f64() / 1e6;
        println!("{way:?}: pick {pick:.0} ns, with begin and end {alone:.0} ns;");
        println!("    {THREADS} threads: {crowded:.0} ns each, {rate:.1} million calls a second together");
    }
}
