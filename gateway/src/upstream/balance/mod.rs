//! Which endpoint a call goes to.
//!
//! 1. Who may be chosen: whom the breaker admits, and who is fit (healthy, not ejected). When fewer than the panic
//!    threshold are fit, fitness is ignored (as Envoy does): then it is likelier that the checks are wrong, or that the
//!    rest could not carry all the load, than that nobody is there. An open breaker is not ignored. It knows this very
//!    moment, from real calls, and it lets a probe through by itself.
//! 2. Those that this call has tried are left out, as long as there are others.
//! 3. The configured way chooses ([`BalanceConfig`]).
//!
//! A lesser endpoint (of a smaller weight, warming up, failing) takes part in a call only with a probability of its share
//! of the best one's, in all ways but hashing. A share that worked only through the comparison would mean nothing while
//! nobody is busy: the better one would simply always win. With hashing, keys stay where they are until their endpoint is
//! taken out.
//!
//! Not here: measuring (`load.rs`), verdicts (`ejection.rs`, `health.rs`), the set of endpoints. A [`Balance`] is built
//! anew when that changes. Zones are carried and not looked at.

pub mod config;
mod hash;
mod round_robin;
mod set;
#[cfg(test)]
mod simulation;

use self::round_robin::RoundRobin;
pub use self::{
    config::{BalanceConfig, HashOn},
    hash::key,
    set::Set,
};
use super::load::Load;

/// Fewer than these percent fit is a panic. Envoy's default.
pub const PANIC_PERCENT: u8 = 50;

/// An endpoint as it is typed or discovered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where it answers, `host:port`. Names it for hashing.
    pub address: Box<str>,
    /// How much it takes compared with others. At least 1; 0 is taken for 1.
    pub weight: u32,
    /// Where it stands, if that is known.
    pub zone: Option<Box<str>>,
}

/// What must be known of an endpoint at the moment of choosing. Asked for every endpoint at every call: be quick.
pub trait Candidate {
    /// What it has in progress and how quick it is.
    fn load(&self) -> &Load;

    /// Whether it is healthy and not ejected.
    fn fit(&self, now_ms: u64) -> bool;

    /// Whether its breaker would admit a call. Takes no permit.
    fn admits(&self, now_ms: u64) -> bool;
}

/// Chooses among a fixed set of endpoints.
pub struct Balance {
    way: Way,
    /// Of the greatest weight, above 0 and up to 1.
    weights: Box<[f32]>,
    panic_percent: usize,
}

enum Way {
    TwoChoices,
    LeastRequests,
    RoundRobin(RoundRobin),
    Hash(Box<[u64]>),
}

impl Balance {
    /// The balance over `members`, the first [`Set::MOST`] of them. [`Balance::pick`] takes candidates in this order.
    #[must_use]
    pub fn new(config: &BalanceConfig, members: &[Member], panic_percent: u8) -> Self {
        let members = &members[..members.len().min(Set::MOST)];
        let typed: Vec<u32> = members.iter().map(|member| member.weight.max(1)).collect();
        let most = typed.iter().copied().max().unwrap_or(1);
        let names = || members.iter().map(|member| hash::key(member.address.as_bytes())).collect();
        let way = match config {
            BalanceConfig::P2c => Way::TwoChoices,
            BalanceConfig::LeastRequests => Way::LeastRequests,
            BalanceConfig::WeightedRoundRobin => Way::RoundRobin(RoundRobin::new(&typed)),
            BalanceConfig::Hash(_) => Way::Hash(names()),
        };
        let weights = typed.iter().map(|weight| *weight as f32 / most as f32).collect();
        Balance { way, weights, panic_percent: panic_percent.into() }
    }

    /// The index of the endpoint to call. `tried` are those that this call has tried before; they are taken again only
    /// when there is nobody else. `key` is what is hashed; without one, hashing chooses as `p2c` does.
    ///
    /// `None` when no breaker of a fit endpoint admits.
    #[must_use]
    pub fn pick<C: Candidate>(
        &self,
        endpoints: &[C],
        tried: &Set,
        key: Option<u64>,
        now_ms: u64,
    ) -> Option<usize> {
        let endpoints = &endpoints[..endpoints.len().min(self.weights.len())];
        let available = self.available(endpoints, now_ms);
        let untried = available.without(tried);
        let among = if untried.is_empty() { available } else { untried };
        if !among.has_choice() {
            return among.iter().next();
        }
        let weight = |index: usize| self.weights[index];
        match (&self.way, key) {
            (Way::Hash(names), Some(key)) => {
                let in_flight = |index: usize| endpoints[index].load().in_flight();
                hash::choose(key, &among, names, &self.weights, in_flight)
            }
            (Way::RoundRobin(turns), _) => turns.next(&taking_part(endpoints, &among, |_| 1.0, now_ms)),
            (Way::LeastRequests, _) => {
                self.least_requests(endpoints, &taking_part(endpoints, &among, weight, now_ms), now_ms)
            }
            _ => self.two_choices(endpoints, &taking_part(endpoints, &among, weight, now_ms), now_ms),
        }
    }

    fn available<C: Candidate>(&self, endpoints: &[C], now_ms: u64) -> Set {
        let (mut fit, mut admitting, mut unfit) = (Set::EMPTY, Set::EMPTY, 0);
        for (index, endpoint) in endpoints.iter().enumerate() {
            if endpoint.fit(now_ms) {
                fit.insert(index);
            } else {
                unfit += 1;
            }
            if endpoint.admits(now_ms) {
                admitting.insert(index);
            }
        }
        let panic = (endpoints.len() - unfit) * 100 < self.panic_percent * endpoints.len();
        if panic { admitting } else { admitting.and(&fit) }
    }

    /// The cheaper of two different ones taken at random.
    fn two_choices<C: Candidate>(&self, endpoints: &[C], among: &Set, now_ms: u64) -> Option<usize> {
        if !among.has_choice() {
            return among.iter().next();
        }
        let count = among.len();
        let first = fastrand::usize(..count);
        let later = first + fastrand::usize(1..count);
        let second = if later < count { later } else { later - count };
        let (first, second) = (among.iter().nth(first)?, among.iter().nth(second)?);
        let cost = |index: usize| self.cost(&endpoints[index], self.weights[index], now_ms);
        Some(if cost(second) < cost(first) { second } else { first })
    }

    /// The latency that one more call would meet if those in progress were served in turn, divided by the merit. The
    /// weight divides only what is in progress: an idle endpoint is not slower for being small.
    fn cost<C: Candidate>(&self, endpoint: &C, weight: f32, now_ms: u64) -> f32 {
        let load = endpoint.load();
        let queue = load.in_flight() as f32 / (weight * load.warmth(now_ms));
        load.latency(now_ms) * (queue + 1.0) / load.merit(now_ms)
    }

    /// The one with the fewest calls in progress for its weight. Looking begins anywhere, since of equals the first is
    /// taken, which would otherwise always be the same.
    fn least_requests<C: Candidate>(&self, endpoints: &[C], among: &Set, now_ms: u64) -> Option<usize> {
        let busy = |index: usize| {
            let load = endpoints[index].load();
            load.in_flight() as f32 / (self.weights[index] * load.warmth(now_ms))
        };
        let count = among.len();
        let begin = fastrand::usize(..count.max(1));
        let ranked = among.iter().cycle().skip(begin).take(count).map(|index| (busy(index), index));
        ranked.min_by(|one, two| one.0.total_cmp(&two.0)).map(|(_, index)| index)
    }
}

/// Those of `among` that take part in this call: the best always, others with a probability of their share of its.
fn taking_part<C: Candidate>(
    endpoints: &[C],
    among: &Set,
    weight: impl Fn(usize) -> f32,
    now_ms: u64,
) -> Set {
    let share = |index: usize| {
        let load = endpoints[index].load();
        weight(index) * load.warmth(now_ms) * load.merit(now_ms)
    };
    let (least, best) = among
        .iter()
        .map(share)
        .fold((f32::MAX, 0.0_f32), |(least, best), share| (least.min(share), best.max(share)));
    // The usual case: all are equal, and nothing is drawn.
    if least >= best {
        return *among;
    }
    let drawn = |index: &usize| {
        let share = share(*index);
        share >= best || fastrand::f32() * best < share
    };
    among.iter().filter(drawn).collect()
}

#[cfg(test)]
mod tests;
