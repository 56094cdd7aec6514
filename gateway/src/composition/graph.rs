//! Running a plan: each part begins the moment that all it needs is there.
//!
//! What is computed from other parts' answers, a target or the keys of a list, is computed when the part begins; so calls
//! borrow nothing from each other. Dropped, it stops all calls.
//! Not here: what needs what (`plan.rs`).

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::Value;

use super::{
    Asking, Compose, Composed, Join, Node, Under,
    each::{Joined, Keys},
    part::Fate,
    write::{Ready, Write},
};
use crate::{
    auth::policy::{self, Decision, Facts, Policy},
    error::Error,
    upstream::{Fault, Reason},
};

type Running<'a> = FuturesUnordered<BoxFuture<'a, Result<(usize, Fate), Error>>>;

/// One request's way through a plan.
struct Run<'a> {
    compose: &'a Compose,
    under: Under<'a>,
    fates: Vec<Option<Fate>>,
    views: Vec<Option<Value>>,
    /// How many parts each still waits for.
    waits: Vec<usize>,
    /// Those that wait for none.
    ready: Vec<usize>,
    /// How many calls were begun.
    calls: usize,
}

/// How a part begins.
enum Begun<'a> {
    /// It is asked for so.
    Ask(Asking<'a>),
    /// These keys are looked up, of which so many may be asked for.
    Each(Keys, usize),
    /// This is sent.
    Write(&'a Write, Ready),
    /// It is over already.
    Over(Fate),
}

impl Compose {
    /// All parts, or the error that answers the whole request.
    pub(super) async fn run(&self, under: Under<'_>) -> Result<Composed, Error> {
        let mut run = Run::of(self, under);
        let mut running = Running::new();
        loop {
            run.begin_all(&mut running)?;
            match running.next().await {
                Some(done) => {
                    let (index, fate) = done?;
                    if let Fate::Unwritten(unwritten) = fate {
                        return Err(self.unwritten(index, *unwritten, &run.fates, under.client));
                    }
                    run.is_over(index, fate);
                }
                None => break,
            }
        }
        let fates = run.fates.into_iter().map(|fate| fate.unwrap_or(Fate::Skipped)).collect();
        Ok(Composed { fates, views: run.views })
    }

    async fn each(
        &self,
        index: usize,
        join: &Join,
        keys: Keys,
        most: usize,
        under: Under<'_>,
    ) -> Result<Fate, Error> {
        let (begun, part, asked) = (Instant::now(), &self.plan.nodes[index].part, keys.keys.len());
        let deadline = if part.optional() { under.latest } else { under.admitted.deadline };
        let mut joined = join.load(part, keys, most, under.admitted, deadline).await;
        self.hold_joined(index, &mut joined, under);
        let none = joined.failed >= asked;
        match joined.fault.take_if(|_| none || !part.optional()) {
            Some(fault) => self.settle(index, Err(fault), begun.elapsed()),
            None => Ok(Fate::Joined(joined, begun.elapsed())),
        }
    }

    /// Counts what a join adds, as often as it is added.
    fn hold_joined(&self, index: usize, joined: &mut Joined, under: Under<'_>) {
        let size: usize = joined.edits.iter().map(|edit| edit.text.len()).sum();
        let held = under.held.fetch_add(size as u64, Relaxed) + size as u64;
        if self.max_held.is_some_and(|most| held > most) {
            let why = "more than `max_held` of all parts together";
            let fault = self.plan.nodes[index].part.fault(Reason::TooLarge, why);
            joined.edits.clear();
            (joined.fault, joined.failed) = (Some(fault), usize::MAX);
        }
    }
}

impl<'a> Run<'a> {
    fn of(compose: &'a Compose, under: Under<'a>) -> Self {
        let nodes = &compose.plan.nodes;
        let waits: Vec<usize> = nodes.iter().map(|node| node.needs.len() + node.after.len()).collect();
        let ready = (0..nodes.len()).filter(|index| waits[*index] == 0).collect();
        let (fates, views) = (nodes.iter().map(|_| None).collect(), vec![None; nodes.len()]);
        Run { compose, under, fates, views, waits, ready, calls: 0 }
    }

    /// Begins all that can begin, and whatever can then.
    fn begin_all(&mut self, running: &mut Running<'a>) -> Result<(), Error> {
        while !self.ready.is_empty() {
            for index in std::mem::take(&mut self.ready) {
                let (compose, under) = (self.compose, self.under);
                match self.begin(index)? {
                    Begun::Over(Fate::Unwritten(unwritten)) => {
                        return Err(compose.unwritten(index, *unwritten, &self.fates, under.client));
                    }
                    Begun::Over(fate) => self.is_over(index, fate),
                    Begun::Ask(asking) => {
                        let asked = compose.ask(index, asking, under);
                        running.push(asked.map(move |fate| Ok((index, fate?))).boxed());
                    }
                    Begun::Write(write, ready) => {
                        let sent = compose.send(index, write, ready, under);
                        running.push(sent.map(move |fate| Ok((index, fate))).boxed());
                    }
                    Begun::Each(keys, most) => {
                        let Some(join) = &compose.plan.nodes[index].join else { continue };
                        let asked = compose.each(index, join, keys, most, under);
                        running.push(asked.map(move |fate| Ok((index, fate?))).boxed());
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, index: usize) -> Result<Begun<'a>, Error> {
        let node = &self.compose.plan.nodes[index];
        let there = |need: &usize| self.fates[*need].as_ref().is_some_and(Fate::is_there);
        if !node.needs.iter().all(there) || node.when.as_ref().is_some_and(|when| !self.holds(when)) {
            return Ok(Begun::Over(Fate::Skipped));
        }
        if let Some(write) = &node.write {
            return Ok(self.ready(node, write));
        }
        let begun = match (&node.join, &node.rpc) {
            (Some(join), _) => self.keys(node, join),
            (None, Some(rpc)) => {
                let message = self.with_facts(|facts| rpc.framed(&node.part, &self.fates, facts, ""));
                message.map(|message| Begun::Ask(Asking::By(rpc, message)))
            }
            (None, None) => self
                .with_facts(|facts| node.part.target(&self.under.admitted.params, facts, None))
                .map(|target| Begun::Ask(Asking::At(target))),
        };
        let left = self.compose.respond.max_calls.saturating_sub(self.calls);
        match begun {
            Err(fault) => self.compose.settle(index, Err(fault), Duration::ZERO).map(Begun::Over),
            Ok(Begun::Each(keys, calls)) => {
                self.calls += calls.min(left);
                Ok(Begun::Each(keys, left))
            }
            Ok(begun) => {
                self.calls += 1;
                Ok(begun)
            }
        }
    }

    /// The write, if there is all that it is written from.
    fn ready(&mut self, node: &'a Node, write: &'a Write) -> Begun<'a> {
        let Some(client) = self.under.client else { return Begun::Over(Fate::Skipped) };
        self.calls += 1;
        let admitted = self.under.admitted;
        let ready = self.compose.with_facts(&self.views, client.json(), admitted, |facts| {
            write.ready(node, client, &self.fates, &admitted.params, facts)
        });
        match ready {
            Ok(ready) => Begun::Write(write, ready),
            Err(fault) => Begun::Over(Compose::not_sent(write, fault)),
        }
    }

    /// The keys of the list that `join` is about, and how many calls they take.
    fn keys(&self, node: &Node, join: &Join) -> Result<Begun<'a>, Fault> {
        let list = self.fates[join.list].as_ref().and_then(Fate::json);
        let keys = list.map_or(Err((Reason::Malformed, "there is no list")), |json| join.keys(json));
        let keys = keys.map_err(|(reason, why)| node.part.fault(reason, why))?;
        if keys.keys.is_empty() {
            return Ok(Begun::Over(Fate::Joined(Joined::default(), Duration::ZERO)));
        }
        let calls = join.calls(keys.keys.len());
        Ok(Begun::Each(keys, calls))
    }

    /// What becomes of others now that this one is over.
    fn is_over(&mut self, index: usize, fate: Fate) {
        let node = &self.compose.plan.nodes[index];
        if let Some(json) = fate.json().filter(|_| !node.shows.is_empty()) {
            self.views[index] = policy::view(&node.shows, node.part.name(), json).ok();
        }
        self.fates[index] = Some(fate);
        for follower in &self.compose.plan.followers[index] {
            self.waits[*follower] -= 1;
            if self.waits[*follower] == 0 {
                self.ready.push(*follower);
            }
        }
    }

    fn holds(&self, when: &Policy) -> bool {
        self.with_facts(|facts| when.decide(facts)) == Decision::Allow
    }

    fn with_facts<R>(&self, look: impl FnOnce(&Facts<'_>) -> R) -> R {
        self.compose.with_facts(&self.views, None, self.under.admitted, look)
    }
}
