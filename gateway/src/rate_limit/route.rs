//! The limits of one route, and what one request was charged by them.
//!
//! All must let a request in. They are asked in their order, those that need no principal first, those of the caller's plan
//! last; when one refuses, what the others have counted is given back, so that a refused request counts nowhere.
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

/// The most limits that one route, or one plan, may count against.
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
    /// One bit a limit, those of a plan above [`MOST`]: whether it counted the request, and whether it did so in Redis.
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

    /// The limits of a plan on that route, for requests that cost so much: without those that the route has anyway.
    #[must_use]
    pub fn of_plan(&self, limits: Vec<Arc<RateLimit>>, cost: NonZeroU32, priced: bool) -> Self {
        let known = |limit: &Arc<RateLimit>| self.all.iter().any(|charge| Arc::ptr_eq(&charge.limit, limit));
        let plan = Self::new(limits.into_iter().filter(|limit| !known(limit)).collect(), cost, priced);
        let policy = match (&self.policy, &plan.policy) {
            (Some(own), Some(more)) => {
                HeaderValue::try_from([own.as_bytes(), b", ", more.as_bytes()].concat()).ok()
            }
            (own, more) => own.as_ref().or(more.as_ref()).cloned(),
        };
        RouteLimits { policy, ..plan }
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
        self.check(self.certain(None).take(self.late), None, asker, tally).await
    }

    /// Counts a request once its caller is known, and with it the caller's plan; `Some` when its handler is to count the
    /// rest.
    ///
    /// # Errors
    /// [`crate::error::Code::RateLimited`] with `Retry-After`.
    pub async fn check_late(
        &self,
        asker: &Asker<'_>,
        tally: &mut Tally,
        plan: Option<&RouteLimits>,
    ) -> Result<Option<Arc<Bill>>, Error> {
        if let Some(plan) = plan {
            tally.policy.clone_from(&plan.policy);
        }
        self.check(self.certain(plan).skip(self.late), plan, asker, tally).await?;
        let open = || self.billed().chain(plan.into_iter().flat_map(RouteLimits::billed));
        if open().next().is_some() {
            let open = open()
                .map(|charge| (charge.limit.clone(), charge.limit.by.subject(asker).into_owned()))
                .collect();
            let paid = self.counted(plan, tally, asker).collect();
            tally.bill = Some(Arc::new(Bill { open, paid, standing: Mutex::default() }));
        }
        Ok(tally.bill.clone())
    }

    /// What is charged before the handler, each with its bit in a tally.
    fn certain<'a>(&'a self, plan: Option<&'a RouteLimits>) -> impl Iterator<Item = (usize, &'a Charge)> {
        let own = self.all[..self.billed].iter().enumerate();
        own.chain(plan.into_iter().flat_map(|plan| (MOST..).zip(&plan.all[..plan.billed])))
    }

    fn billed(&self) -> impl Iterator<Item = &Charge> {
        self.all[self.billed..].iter()
    }

    async fn check<'a>(
        &self,
        charges: impl Iterator<Item = (usize, &'a Charge)>,
        plan: Option<&RouteLimits>,
        asker: &Asker<'_>,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        for (bit, Charge { limit, cost }) in charges {
            let subject = limit.by.subject(asker);
            let taken = limit.take(&subject, *cost).await;
            limit.tell(&mut tally.standing, &taken);
            match taken {
                Ok(taken) => {
                    tally.counted |= 1 << bit;
                    tally.shared |= u32::from(taken.store == Store::Shared) << bit;
                }
                Err(refused) => {
                    for charge in self.counted(plan, tally, asker) {
                        charge.give_back().await;
                    }
                    return Err(limit.refusal(&refused));
                }
            }
        }
        Ok(())
    }

    fn counted<'a>(
        &'a self,
        plan: Option<&'a RouteLimits>,
        tally: &Tally,
        asker: &'a Asker<'_>,
    ) -> impl Iterator<Item = Paid> + 'a {
        let (counted, shared) = (tally.counted, tally.shared);
        let charges = self.certain(plan).filter(move |(bit, _)| counted >> bit & 1 == 1);
        charges.map(move |(bit, Charge { limit, cost })| Paid {
            limit: limit.clone(),
            subject: limit.by.subject(asker).into_owned(),
            cost: *cost,
            store: if shared >> bit & 1 == 1 { Store::Shared } else { Store::Local },
        })
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
