//! The limits of one route, and what one request was charged by them.
//!
//! All must let a request in. They are asked in their order, those that need no principal first; when one refuses, what the
//! others have counted is given back, so that a refused request counts nowhere.
//!
//! Not here: how one limit counts (`mod.rs`).

use std::{num::NonZeroU32, sync::Arc};

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::{
    Asker, RateLimit, Store,
    config::{Key, Unit},
    fields,
    key::Subject,
};
use crate::error::Error;

/// The most limits that one route may count against.
pub(crate) const MOST: usize = 16;

/// The limits of one route.
#[derive(Default)]
pub struct RouteLimits {
    /// Those that need no principal, then those by principal, then those whose cost the handler says.
    all: Vec<Charge>,
    late: usize,
    billed: usize,
    /// Absent when no limit tells clients how they stand.
    policy: Option<HeaderValue>,
}

struct Charge {
    limit: Arc<RateLimit>,
    cost: NonZeroU32,
}

/// What one request was charged so far.
#[derive(Default)]
pub struct Tally {
    /// One bit a limit: whether it counted the request, and whether it did so in Redis.
    counted: u32,
    shared: u32,
    /// `RateLimit` as it will be.
    standing: Vec<u8>,
    policy: Option<HeaderValue>,
    bill: Option<Arc<Bill>>,
}

/// What is still to be charged: the handler knows what the request costs once it has read it.
pub struct Bill {
    open: Vec<(Arc<RateLimit>, Subject<'static>)>,
    paid: Vec<Paid>,
    standing: Mutex<Vec<u8>>,
}

struct Paid {
    limit: Arc<RateLimit>,
    subject: Subject<'static>,
    cost: NonZeroU32,
    store: Store,
}

impl RouteLimits {
    /// Those limits, for a route whose requests cost so much, or whatever its handler says (`priced`).
    #[must_use]
    pub fn new(limits: Vec<Arc<RateLimit>>, cost: NonZeroU32, priced: bool) -> Self {
        let counts_cost = |limit: &Arc<RateLimit>| limit.config().count == Unit::Cost;
        let (billed, certain): (Vec<_>, Vec<_>) =
            limits.into_iter().partition(|limit| priced && counts_cost(limit));
        let (late, early): (Vec<_>, Vec<_>) =
            certain.into_iter().partition(|limit| limit.config().by == Key::Principal);
        let (late_at, billed_at) = (early.len(), early.len() + late.len());
        let all: Vec<_> = early.into_iter().chain(late).chain(billed).collect();
        let policies: Vec<_> = all.iter().filter_map(|limit| limit.policy.as_deref()).collect();
        let policy = HeaderValue::try_from(policies.join(", ")).ok().filter(|_| !policies.is_empty());
        let charge = |limit: Arc<RateLimit>| {
            let cost = if counts_cost(&limit) { cost } else { NonZeroU32::MIN };
            Charge { limit, cost }
        };
        RouteLimits { all: all.into_iter().map(charge).collect(), late: late_at, billed: billed_at, policy }
    }

    /// Counts a request before its token is looked at, so that guessing costs.
    ///
    /// # Errors
    /// [`crate::error::Code::RateLimited`] with `Retry-After`.
    pub async fn check_early(&self, asker: &Asker<'_>, tally: &mut Tally) -> Result<(), Error> {
        if self.all.is_empty() {
            return Ok(());
        }
        tally.policy.clone_from(&self.policy);
        self.check(0, self.late, asker, tally).await
    }

    /// Counts a request once its caller is known; `Some` when its handler is to count the rest.
    ///
    /// # Errors
    /// [`crate::error::Code::RateLimited`] with `Retry-After`.
    pub async fn check_late(&self, asker: &Asker<'_>, tally: &mut Tally) -> Result<Option<Arc<Bill>>, Error> {
        self.check(self.late, self.billed, asker, tally).await?;
        if self.billed < self.all.len() {
            tally.bill = Some(Arc::new(self.bill(asker, tally)));
        }
        Ok(tally.bill.clone())
    }

    async fn check(&self, from: usize, to: usize, asker: &Asker<'_>, tally: &mut Tally) -> Result<(), Error> {
        for (index, Charge { limit, cost }) in self.all.iter().enumerate().take(to).skip(from) {
            let subject = limit.by.subject(asker);
            let taken = limit.take(&subject, *cost).await;
            limit.tell(&mut tally.standing, &taken);
            match taken {
                Ok(taken) => {
                    tally.counted |= 1 << index;
                    tally.shared |= u32::from(taken.store == Store::Shared) << index;
                }
                Err(refused) => {
                    for charge in self.counted(tally, asker) {
                        charge.give_back().await;
                    }
                    return Err(limit.refusal(&refused));
                }
            }
        }
        Ok(())
    }

    fn counted<'a>(&'a self, tally: &Tally, asker: &'a Asker<'_>) -> impl Iterator<Item = Paid> + 'a {
        let (counted, shared) = (tally.counted, tally.shared);
        let charges = self.all.iter().enumerate().filter(move |(index, _)| counted >> index & 1 == 1);
        charges.map(move |(index, Charge { limit, cost })| Paid {
            limit: limit.clone(),
            subject: limit.by.subject(asker).into_owned(),
            cost: *cost,
            store: if shared >> index & 1 == 1 { Store::Shared } else { Store::Local },
        })
    }

    fn bill(&self, asker: &Asker<'_>, tally: &Tally) -> Bill {
        let open = self.all[self.billed..].iter();
        let open = open.map(|charge| (charge.limit.clone(), charge.limit.by.subject(asker).into_owned()));
        Bill { open: open.collect(), paid: self.counted(tally, asker).collect(), standing: Mutex::default() }
    }
}

impl Tally {
    /// Tells the client how it stands, on an answer of any kind.
    pub fn tell(self, headers: &mut HeaderMap) {
        let Some(policy) = self.policy else { return };
        let mut standing = self.standing;
        if let Some(bill) = self.bill {
            let more = bill.standing.lock();
            if !standing.is_empty() && !more.is_empty() {
                standing.extend_from_slice(b", ");
            }
            standing.extend_from_slice(&more);
        }
        if !standing.is_empty() {
            fields::set(headers, &policy, standing);
        }
    }
}

impl Bill {
    /// Charges `cost`, which is known now.
    ///
    /// # Errors
    /// [`crate::error::Code::RateLimited`] with `Retry-After`; then no limit of the route has counted the request.
    pub async fn pay(&self, cost: u32) -> Result<(), Error> {
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN);
        let mut paid: Vec<Paid> = Vec::new();
        for (limit, subject) in &self.open {
            let taken = limit.take(subject, cost).await;
            limit.tell(&mut self.standing.lock(), &taken);
            match taken {
                Ok(taken) => {
                    let (limit, subject) = (limit.clone(), subject.clone());
                    paid.push(Paid { limit, subject, cost, store: taken.store });
                }
                Err(refused) => {
                    for charge in self.paid.iter().chain(&paid) {
                        charge.give_back().await;
                    }
                    return Err(limit.refusal(&refused));
                }
            }
        }
        Ok(())
    }
}

impl Paid {
    async fn give_back(&self) {
        self.limit.give_back(&self.subject, self.cost, self.store).await;
    }
}

impl std::fmt::Debug for Bill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bill")
    }
}
