//! A part's answers, kept: by the same rules as those of a route that forwards, but whole.
//!
//! Only what a composition could use is kept: JSON of a 2xx, whole, well-formed and within the part's `max_size`. So errors
//! never are, and neither is what was put together of several parts.
//! Not here: the rules (`cache/control.rs`), keeping (`cache/store.rs`), who asks for others (`cache/flight.rs`).

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::part::{Answered, Call, From, Got, Service, Standing};
use crate::{
    cache::{
        CAPABILITY, Draft, Entry, Found, Keeping, Key, SURROGATE_CAPABILITY, Stood,
        control::{self, Asked, Reuse},
        directives::{About, Directives},
        entry::Arrival,
        flight::{Joined, Lead, Outcome},
    },
    deadline::Deadline,
    routing::Params,
    tags::Tags,
    upstream::{Fault, Fetched, Reason},
};

/// Who has waited so often for others asks alone.
const ROUNDS: usize = 4;

/// What keeps the answers of one part.
pub struct Kept {
    /// Whom it asks.
    pub service: Arc<Service>,
    /// How its answers are kept.
    pub keeping: Keeping,
    /// What makes them invalid besides what the service says.
    pub tags: Tags,
    /// Whether a rule decides by it: then by what is good, and nothing else.
    pub decides: bool,
    /// Whether what is no longer good is its fallback.
    pub falls_back: bool,
    /// What it asks with, as far as an answer may vary by it.
    pub sent: HeaderMap,
}

/// A call that looks for a kept answer.
#[derive(Clone, Copy)]
struct Look<'a> {
    call: Call<'a>,
    key: Key<'a>,
    hash: u64,
}

/// What came of a look and one asking.
enum Round {
    Answer(Result<Got, Fault>),
    /// Look again.
    Again,
    /// Ask for it without the cache; this is there, and is no longer good.
    Pass(Option<Arc<Entry>>),
}

impl Kept {
    fn look<'a>(&self, call: &Call<'a>, tags: &'a str) -> Look<'a> {
        let key = Key {
            host: b"", // the service is part of what `route` stands for
            target: call.target.as_str(),
            tls: false,
            whose: self.keeping.whose(call.caller.whose(false)),
            tags,
            route: self.keeping.route,
        };
        Look { call: *call, key, hash: self.keeping.store.hash(&key) }
    }

    /// What is kept and good, else the service's answer, else what may stand in for it.
    pub(super) async fn fetch(self: &Arc<Self>, call: &Call<'_>, params: &Params) -> Result<Got, Fault> {
        let (mut waited, mut stale) = (false, None);
        if let Some(tags) = self.tags.lines(call.caller, params) {
            let look = self.look(call, &tags);
            for _ in 0..ROUNDS {
                match self.round(&look, waited).await {
                    Round::Answer(answer) => return answer,
                    Round::Again => waited = true,
                    Round::Pass(known) => {
                        stale = known;
                        break;
                    }
                }
            }
        }
        self.keeping.metrics.bypassed.inc();
        match self.service.fetch(call).await {
            Err(fault) => self.instead(stale, fault),
            got => got,
        }
    }

    async fn round(self: &Arc<Self>, look: &Look<'_>, waited: bool) -> Round {
        let store = &self.keeping.store;
        let stale = match store.find(look.hash, &look.key, &self.sent) {
            Found::Pass => return Round::Pass(None),
            Found::Other(_) => None,
            Found::Entry { entry, soft } => match reuse(&entry, soft) {
                Reuse::Fresh => {
                    let metrics = &self.keeping.metrics;
                    if waited {
                        metrics.coalesced.inc()
                    } else {
                        metrics.hits.inc()
                    };
                    return Round::Answer(Ok(kept(&entry)));
                }
                Reuse::WhileRevalidating if !self.decides => {
                    self.keeping.metrics.stale.inc();
                    self.revalidate(look, &entry);
                    return Round::Answer(Ok(aged(&entry, None)));
                }
                Reuse::WhileRevalidating | Reuse::Validate => Some(entry),
            },
        };
        match store.join(look.hash) {
            Joined::Lead(lead) => Round::Answer(self.lead(look, lead, stale).await),
            Joined::Follow(flight) => match look.call.deadline.bound(pin!(flight.outcome())).await {
                Err(_elapsed) => {
                    let fault =
                        self.service.fault(Reason::Timeout, "nobody had an answer before the deadline");
                    Round::Answer(self.instead(stale, fault))
                }
                Ok(Outcome::LookAgain | Outcome::Filling(_)) => Round::Again,
                Ok(Outcome::Pass) => Round::Pass(stale),
                Ok(Outcome::Failed) => match stale.filter(|entry| self.may_stand_in(entry)) {
                    Some(entry) => Round::Answer(Ok(self.stand_in(&entry, None))),
                    None => Round::Pass(None),
                },
            },
        }
    }

    /// Asks the service for all who want the same.
    async fn lead(
        self: &Arc<Self>,
        look: &Look<'_>,
        lead: Lead,
        mut stale: Option<Arc<Entry>>,
    ) -> Result<Got, Fault> {
        // Another leader may have ended between the look and the join.
        if let Found::Entry { entry, soft } = self.keeping.store.find(look.hash, &look.key, &self.sent)
            && reuse(&entry, soft) == Reuse::Fresh
        {
            lead.end(Outcome::LookAgain);
            self.keeping.metrics.coalesced.inc();
            return Ok(kept(&entry));
        }
        if let Some(entry) = self.keeping.store.look_further(look.hash, &look.key, &self.sent).await {
            if reuse(&entry, false) == Reuse::Fresh {
                lead.end(Outcome::LookAgain);
                self.keeping.metrics.hits.inc();
                return Ok(kept(&entry));
            }
            stale = Some(entry);
        }
        let stood = self.keeping.stands(&look.key);
        let mut fields =
            stale.as_ref().map(|stale| control::conditions(&stale.draft.headers)).unwrap_or_default();
        let conditional = !fields.is_empty();
        fields.push((SURROGATE_CAPABILITY, CAPABILITY));
        match (self.service.ask(&look.call, &fields).await, stale) {
            (Ok(Answered::NotModified(headers, arrival)), Some(stale)) if conditional => {
                Ok(self.renew(look, lead, &stale, &headers, &arrival, &stood))
            }
            (Ok(Answered::NotModified(..)), stale) => {
                lead.end(Outcome::Failed);
                self.instead(
                    stale,
                    self.service.fault(Reason::Malformed, "a 304 to a request without conditions"),
                )
            }
            (Ok(Answered::Whole(fetched, arrival)), stale) => {
                Ok(self.keep(look, lead, stale, fetched, &arrival, &stood))
            }
            (Err(fault), stale) => {
                self.keeping.metrics.misses.inc();
                let told = matches!(fault.reason, Reason::Status(status) if !is_failure(status));
                if let Some(gone) = stale.as_ref().filter(|_| told) {
                    self.keeping.store.remove(look.hash, gone); // it is not so any more, says the service
                }
                lead.end(if told { Outcome::Pass } else { Outcome::Failed });
                self.instead(stale, fault)
            }
        }
    }

    /// What is no longer good, if it may stand in for an answer that failed (RFC 5861 section 4).
    fn instead(&self, stale: Option<Arc<Entry>>, fault: Fault) -> Result<Got, Fault> {
        let failed = match fault.reason {
            Reason::Status(status) => is_failure(status),
            Reason::Request(_) => false,
            _ => true,
        };
        match stale.filter(|entry| failed && self.may_stand_in(entry)) {
            Some(entry) => Ok(self.stand_in(&entry, Some(fault))),
            None => Err(fault),
        }
    }

    fn may_stand_in(&self, entry: &Entry) -> bool {
        !self.decides && entry.draft.may_stand_in()
    }

    fn stand_in(&self, entry: &Entry, fault: Option<Fault>) -> Got {
        self.keeping.metrics.stale.inc();
        if self.falls_back {
            self.service.fell_back();
        }
        aged(entry, Some(Standing { fault, fallback: self.falls_back }))
    }

    fn asked<'a>(&'a self, look: &Look<'a>) -> Asked<'a> {
        self.keeping.asked(&Method::GET, &self.sent, look.call.caller.principal.is_some(), &look.key)
    }

    /// What is kept is still good, says the service.
    fn renew(
        &self,
        look: &Look<'_>,
        lead: Lead,
        stale: &Arc<Entry>,
        headers: &HeaderMap,
        arrival: &Arrival,
        stood: &Stood,
    ) -> Got {
        self.keeping.metrics.revalidated.inc();
        // A 304 need not repeat the tags.
        let marks = stood.marks(&self.keeping.store, &[headers, &stale.draft.headers]);
        let known = marks.is_some();
        let rules = &self.keeping.rules;
        match stale.renewed(headers, &self.asked(look), arrival, rules, marks.unwrap_or_default()) {
            Ok(entry) => {
                let shareable = known && entry.draft.is_shareable();
                if known {
                    self.keeping.store.put(look.hash, entry.clone());
                }
                lead.end(if shareable { Outcome::LookAgain } else { Outcome::Pass });
                from_service(entry.body.clone(), lifetime(&entry))
            }
            Err(refused) => {
                self.keeping.store.remove(look.hash, stale);
                lead.end(Outcome::Pass);
                from_service(refused.0.body, None)
            }
        }
    }

    /// Keeps an answer, if it may be kept.
    fn keep(
        &self,
        look: &Look<'_>,
        lead: Lead,
        stale: Option<Arc<Entry>>,
        fetched: Fetched,
        arrival: &Arrival,
        stood: &Stood,
    ) -> Got {
        self.keeping.metrics.misses.inc();
        let Some(marks) = stood.marks(&self.keeping.store, &[&fetched.headers]) else {
            lead.end(Outcome::LookAgain); // it may have changed on its way: those who wait ask anew, one for all
            return from_service(fetched.json, None);
        };
        let small = fetched.json.len() as u64 <= self.keeping.store.config().max_object.0;
        let (asked, rules) = (self.asked(look), &self.keeping.rules);
        let Fetched { status, headers, json } = fetched;
        let draft = Draft::of(look.key.owned(), &asked, status, &headers, arrival, rules, marks);
        let Some(draft) = draft.ok().filter(|_| small) else {
            if let Some(stale) = stale {
                self.keeping.store.remove(look.hash, &stale);
            }
            if lead.is_followed() {
                self.keeping.store.pass(look.hash, &look.key.owned());
            }
            lead.end(Outcome::Pass);
            return from_service(json, None);
        };
        let shareable = draft.is_shareable();
        // In memory of its own: it may be a small part of the connection's read buffer.
        let entry = Entry { draft, body: Bytes::copy_from_slice(&json) };
        let lifetime = lifetime(&entry);
        self.keeping.store.put(look.hash, entry);
        lead.end(if shareable { Outcome::LookAgain } else { Outcome::Pass });
        from_service(json, lifetime)
    }

    /// Asks anew for what was given out although it is no longer good (RFC 5861 section 3), unless somebody does already.
    fn revalidate(self: &Arc<Self>, look: &Look<'_>, entry: &Arc<Entry>) {
        let Joined::Lead(lead) = self.keeping.store.join(look.hash) else { return };
        let (kept, entry, tags) = (self.clone(), entry.clone(), look.key.tags.to_owned());
        let (caller, target, together) =
            (look.call.caller.clone(), look.call.target.clone(), look.call.together);
        let deadline = Deadline::after(self.keeping.timeout);
        tokio::spawn(async move {
            let call = Call { caller: &caller, target: &target, together, deadline };
            let look = kept.look(&call, &tags);
            drop(kept.lead(&look, lead, Some(entry)).await); // nobody waits for it
        });
    }
}

/// The header fields that parts ask with, as far as answers may vary by them.
#[must_use]
pub fn sent() -> HeaderMap {
    let accept: (HeaderName, HeaderValue) = (header::ACCEPT, HeaderValue::from_static("application/json"));
    HeaderMap::from_iter([accept])
}

/// Whether a status means that the service could not answer. Any other that is none of success is its answer: what was so
/// before must not take its place.
fn is_failure(status: http::StatusCode) -> bool {
    status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS
}

fn reuse(entry: &Entry, soft: bool) -> Reuse {
    control::reuse(&entry.draft.terms, entry.draft.age(), soft, None)
}

fn from_service(json: Bytes, lifetime: Option<Duration>) -> Got {
    Got { json, from: From::Service, lifetime }
}

fn kept(entry: &Entry) -> Got {
    let from = From::Kept(entry.draft.age());
    Got { json: entry.body.clone(), from, lifetime: lifetime(entry) }
}

fn aged(entry: &Entry, standing: Option<Standing>) -> Got {
    let from = From::Stale(entry.draft.age(), standing);
    Got { json: entry.body.clone(), from, lifetime: None }
}

/// How long clients may keep it as well: what the service says to all, not to caches like this one alone, nor what the
/// configuration says, since purges do not reach clients. Less where it says less to shared caches, which may stand between.
fn lifetime(entry: &Entry) -> Option<Duration> {
    let told = Directives::of(&entry.draft.headers);
    let kept_by_all = !told.no_store && told.no_cache == About::Nothing && told.private == About::Nothing;
    let longest = told.max_age.filter(|_| kept_by_all)?;
    let shared = told.s_maxage.unwrap_or(longest);
    longest.min(shared).checked_sub(entry.draft.age()).filter(|left| left.as_secs() > 0)
}
