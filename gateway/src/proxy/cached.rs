//! Forwarding with a cache before the service: what is kept and good is answered, what is not is asked for once for all who
//! want it.
//!
//! The request has passed the guard by now. The answer is kept for the caller alone, unless the route says that it is
//! everybody's: services are told who calls.
//! Not here: the rules (`cache/control.rs`), keeping (`cache/store.rs`), who asks for others (`cache/flight.rs`).

use std::{pin::pin, sync::Arc, time::SystemTime};

use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;

use super::{Head, Origin, host_of};
use crate::{
    body::{Body, Request, Response},
    cache::{
        CAPABILITY, Draft, Entry, Filling, Found, Keeping, Key, SURROGATE_CAPABILITY, Stood,
        conditional::{self, Portion},
        control::{self, Asked, Reuse},
        directives::Directives,
        entry::{self, Arrival},
        flight::{Joined, Lead, Outcome},
        status::{Fwd, Told},
    },
    deadline::Deadline,
    error::{Code, Error},
    handler::{Admitted, late},
    tags::Tags,
    upstream::Fault,
};

/// Who has waited so often for others asks alone.
const ROUNDS: usize = 4;

/// Sets those apart whose answers may be kept for nobody else, by what they send: nobody else waits for these, or does without
/// the cache since these must.
const APART: u64 = 0x9e37_79b9_7f4a_7c15;

/// A route's answers, kept.
pub struct Cached {
    /// Whom it forwards to.
    pub origin: Arc<Origin>,
    /// How its answers are kept.
    pub keeping: Keeping,
    /// What makes them invalid besides what the service says.
    pub tags: Tags,
}

/// A request that looks for a kept answer.
#[derive(Clone, Copy)]
struct Look<'a> {
    client: Head<'a>,
    admitted: &'a Admitted,
    key: Key<'a>,
    hash: u64,
}

/// What came of a look and one asking.
enum Round {
    Answer(Response),
    /// Look again; among those who ask for this number, if it is known.
    Again(Option<u64>),
    /// Ask for it without the cache; what is kept may stand in.
    Pass(Fwd, Option<Arc<Entry>>),
}

impl Cached {
    /// `tags` are what [`Tags::lines`] has given for the request.
    fn look<'a>(&self, client: Head<'a>, admitted: &'a Admitted, tags: &'a str) -> Look<'a> {
        let key = Key {
            host: host_of(client.uri, client.headers),
            target: admitted.params.target().as_str(),
            tls: admitted.downstream.tls,
            whose: self.keeping.whose(admitted.caller.whose(self.origin.token)),
            tags,
            route: self.keeping.route,
        };
        Look { client, admitted, key, hash: self.keeping.store.hash(&key) }
    }

    /// Why the cache is not to be used for a request, if so.
    fn bypassed(request: &Request) -> Option<Fwd> {
        let headers = request.headers();
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some(Fwd::Method);
        }
        if !request.body().is_empty() || conditional::is_for_service(headers) {
            return Some(Fwd::Bypass);
        }
        let asks = headers.contains_key(header::CACHE_CONTROL) && Directives::of(headers).no_store;
        asks.then_some(Fwd::Request)
    }

    /// What is to be added to the number of a flight or of a pass.
    fn apart(&self, look: &Look<'_>) -> u64 {
        let rules = &self.keeping.rules;
        let cookie = look.client.headers.contains_key(header::COOKIE);
        let asked = self.asked(look);
        if asked.authorized || cookie && (rules.ttl.is_some() || rules.heuristic) { APART } else { 0 }
    }

    /// What the client asks of caches, where that is done.
    fn directives(&self, headers: &HeaderMap) -> Option<Directives> {
        let asks = self.keeping.rules.client_directives && headers.contains_key(header::CACHE_CONTROL);
        asks.then(|| Directives::of(headers))
    }

    /// What may be done with an entry for this request.
    fn reuse(&self, entry: &Entry, soft: bool, headers: &HeaderMap) -> Reuse {
        let asked = self.directives(headers);
        control::reuse(&entry.draft.terms, entry.draft.age(), soft, asked.as_ref())
    }

    /// The answer, if it is there and may be given out.
    pub(super) fn hit(self: &Arc<Self>, request: &Request, admitted: &Admitted) -> Option<Response> {
        let plain = *request.method() == Method::GET
            && request.body().is_empty()
            && conditional::is_plain(request.headers());
        if !plain && Cached::bypassed(request).is_some() {
            return None;
        }
        let tags = self.tags.lines(&admitted.caller, &admitted.params)?;
        let look = self.look(Head::of(request), admitted, &tags);
        let Found::Entry { entry, soft } = self.keeping.store.find(look.hash, &look.key, request.headers())
        else {
            return None;
        };
        let age = entry.draft.age();
        let asked = if plain { None } else { self.directives(request.headers()) };
        match control::reuse(&entry.draft.terms, age, soft, asked.as_ref()) {
            Reuse::Fresh => self.keeping.metrics.hits.inc(),
            Reuse::WhileRevalidating => {
                self.keeping.metrics.stale.inc();
                self.revalidate(&look, &entry);
                0
            }
            Reuse::Validate => return None,
        };
        let told = entry.hit(age);
        Some(if plain {
            entry.whole(told, age)
        } else {
            entry.answer(request.method(), request.headers(), told)
        })
    }

    /// Asks the service, or waits for who already does.
    pub(super) async fn ask(
        self: &Arc<Self>,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        let (mut why, mut kept) = (Cached::bypassed(request), None);
        let tags = self.tags.lines(&admitted.caller, &admitted.params);
        if let (None, Some(tags)) = (why, &tags) {
            let look = self.look(Head::of(request), admitted, tags);
            let mut variant = None;
            for _ in 0..ROUNDS {
                match pin!(self.round(&look, variant)).await? {
                    Round::Answer(response) => return Ok(response),
                    Round::Again(known) => variant = known,
                    Round::Pass(fwd, stale) => {
                        (why, kept) = (Some(fwd), stale.filter(|stale| stale.draft.may_stand_in()));
                        break;
                    }
                }
            }
        }
        self.keeping.metrics.bypassed.inc();
        let outcome = pin!(self.origin.call(request, admitted)).await;
        let failed = outcome.as_ref().map_or(true, |response| control::is_error(response.status()));
        if let Some(stale) = kept.filter(|_| failed) {
            self.keeping.metrics.stale.inc();
            return Ok(stale.answer(request.method(), request.headers(), stale.hit(stale.draft.age())));
        }
        let mut response = self.origin.settle(outcome, request.method())?;
        Told::passed(why.unwrap_or(Fwd::Bypass)).tell(response.headers_mut());
        Ok(response)
    }

    async fn round(self: &Arc<Self>, look: &Look<'_>, variant: Option<u64>) -> Result<Round, Error> {
        let headers = look.client.headers;
        let (stale, fwd, near) = match self.keeping.store.find(look.hash, &look.key, headers) {
            Found::Pass => return Ok(Round::Pass(Fwd::UriMiss, None)),
            Found::Other(None) => (None, Fwd::UriMiss, None),
            Found::Other(Some(other)) => (None, Fwd::VaryMiss, Some(other)),
            Found::Entry { entry, soft } => match self.reuse(&entry, soft, headers) {
                Reuse::Validate => (Some(entry.clone()), Fwd::Stale, Some(entry)),
                Reuse::Fresh | Reuse::WhileRevalidating => {
                    return Ok(Round::Answer(self.found(look, &entry)));
                }
            },
        };
        if headers.contains_key(header::CACHE_CONTROL) && Directives::of(headers).only_if_cached {
            return Err(Error::new(Code::NotCached, "only-if-cached, and nothing is")); // RFC 9111 section 5.2.1.7
        }
        if *look.client.method == Method::HEAD || headers.contains_key(header::RANGE) {
            return Ok(Round::Pass(fwd, stale)); // a part is never kept, and nobody is made to fetch the whole for one
        }
        let of_near =
            |entry: Arc<Entry>| self.keeping.store.variant(look.hash, &entry.draft.selection.again(headers));
        let (at, apart) = (variant.or_else(|| near.map(of_near)).unwrap_or(look.hash), self.apart(look));
        if apart != 0 && self.keeping.store.passes(look.hash ^ apart, &look.key) {
            return Ok(Round::Pass(fwd, None));
        }
        match self.keeping.store.join(at ^ apart) {
            Joined::Lead(lead) => self.lead(look, lead, stale, fwd).await.map(Round::Answer),
            Joined::Follow(flight) => {
                let waiting = pin!(flight.outcome());
                let outcome = look.admitted.deadline.bound(waiting).await.map_err(|_elapsed| late())?;
                Ok(self.follow(look, outcome, stale, fwd))
            }
        }
    }

    /// An answer that came to be there while this request looked for it.
    fn found(&self, look: &Look<'_>, entry: &Entry) -> Response {
        self.keeping.metrics.coalesced.inc();
        entry.answer(look.client.method, look.client.headers, entry.hit(entry.draft.age()))
    }

    /// What another request's asking is to this one.
    fn follow(&self, look: &Look<'_>, outcome: Outcome, stale: Option<Arc<Entry>>, fwd: Fwd) -> Round {
        match outcome {
            Outcome::LookAgain => Round::Again(None),
            Outcome::Pass => Round::Pass(fwd, None),
            Outcome::Failed => match stale.filter(|stale| stale.draft.may_stand_in()) {
                Some(stale) => Round::Answer(self.stand_in(look, &stale)),
                None => Round::Pass(fwd, None),
            },
            Outcome::Filling(filling) => {
                let draft = &filling.draft;
                if !draft.key.is(&look.key) || !self.keeping.store.is_valid(&draft.marks) {
                    return Round::Pass(fwd, None);
                }
                let headers = look.client.headers;
                if !draft.selection.fits(headers) {
                    let own = draft.selection.again(headers);
                    return Round::Again(Some(self.keeping.store.variant(look.hash, &own)));
                }
                let told = Told::Forwarded { fwd, status: None, stored: false, collapsed: true };
                match self.stream(look, &filling, told) {
                    Some(response) => {
                        self.keeping.metrics.coalesced.inc();
                        Round::Answer(response)
                    }
                    None => Round::Pass(fwd, None),
                }
            }
        }
    }

    /// An answer whose body is still coming.
    fn stream(&self, look: &Look<'_>, filling: &Arc<Filling>, told: Told) -> Option<Response> {
        let mut parts = filling.draft.head(told, filling.draft.age());
        let portion = conditional::portion(look.client.headers, parts.status, &filling.draft.headers, None);
        if portion == Portion::NotModified {
            conditional::reshape(&portion, &mut parts.status, &mut parts.headers, 0);
            filling.keep(look.admitted.deadline);
            return Some(http::Response::from_parts(parts, Body::Empty));
        }
        Some(http::Response::from_parts(parts, filling.read()?))
    }

    fn stand_in(&self, look: &Look<'_>, stale: &Entry) -> Response {
        self.keeping.metrics.stale.inc();
        stale.answer(look.client.method, look.client.headers, stale.hit(stale.draft.age()))
    }

    /// Asks the service for all who want the same.
    async fn lead(
        self: &Arc<Self>,
        look: &Look<'_>,
        lead: Lead,
        mut stale: Option<Arc<Entry>>,
        mut fwd: Fwd,
    ) -> Result<Response, Error> {
        // Another leader may have ended between the look and the join.
        if let Found::Entry { entry, soft } =
            self.keeping.store.find(look.hash, &look.key, look.client.headers)
            && self.reuse(&entry, soft, look.client.headers) == Reuse::Fresh
        {
            lead.end(Outcome::LookAgain);
            return Ok(self.found(look, &entry));
        }
        let headers = look.client.headers;
        if let Some(entry) = self.keeping.store.look_further(look.hash, &look.key, headers).await {
            match self.reuse(&entry, false, headers) {
                Reuse::Fresh => return Ok(self.found_further(look, lead, &entry, Reuse::Fresh)),
                // Who has one that is no longer good asks for it anew.
                Reuse::WhileRevalidating if stale.is_none() => {
                    return Ok(self.found_further(look, lead, &entry, Reuse::WhileRevalidating));
                }
                Reuse::WhileRevalidating | Reuse::Validate => (stale, fwd) = (Some(entry), Fwd::Stale),
            }
        }
        let stood = self.keeping.stands(&look.key);
        let sent = self.sent(look.client.headers, stale.as_deref());
        let client = Head { headers: &sent, ..look.client };
        let asked = Instant::now();
        let outcome = pin!(self.origin.fetch(&client, look.admitted)).await;
        let failed = outcome.as_ref().map_or(true, |(response, _)| control::is_error(response.status()));
        if let Some(stale) = stale.as_ref().filter(|stale| failed && stale.draft.may_stand_in()) {
            lead.end(Outcome::Failed);
            return Ok(self.stand_in(look, stale));
        }
        match outcome {
            Err(fault) => {
                lead.end(Outcome::Failed);
                self.keeping.metrics.misses.inc();
                self.origin.settle(Err(fault), look.client.method)
            }
            Ok((response, framed)) => {
                let arrival = Arrival { asked, received: SystemTime::now(), framed };
                match stale {
                    Some(stale) if response.status() == StatusCode::NOT_MODIFIED => {
                        Ok(self.renew(look, lead, &stale, &response, &arrival, &stood))
                    }
                    stale => self.keep(look, lead, stale, response, &arrival, &stood, fwd),
                }
            }
        }
    }

    /// An answer that another instance has kept.
    fn found_further(
        self: &Arc<Self>,
        look: &Look<'_>,
        lead: Lead,
        entry: &Arc<Entry>,
        reuse: Reuse,
    ) -> Response {
        lead.end(Outcome::LookAgain);
        if reuse == Reuse::Fresh {
            self.keeping.metrics.hits.inc();
        } else {
            self.keeping.metrics.stale.inc();
            self.revalidate(look, entry);
        }
        entry.answer(look.client.method, look.client.headers, entry.shared_hit())
    }

    /// The header section to ask by: without the client's own conditions, which are decided here, and with those of what is
    /// kept.
    fn sent(&self, headers: &HeaderMap, stale: Option<&Entry>) -> HeaderMap {
        let conditions = stale.map(|stale| control::conditions(&stale.draft.headers)).unwrap_or_default();
        let mut sent = headers.clone();
        conditional::remove(&mut sent);
        sent.extend(conditions);
        sent.insert(SURROGATE_CAPABILITY, CAPABILITY);
        sent
    }

    fn asked<'a>(&'a self, look: &Look<'a>) -> Asked<'a> {
        let headers = look.client.headers;
        let named = look.admitted.caller.principal.is_some() || headers.contains_key(header::AUTHORIZATION);
        self.keeping.asked(look.client.method, headers, named, &look.key)
    }

    /// What is kept is still good, says the service.
    fn renew(
        &self,
        look: &Look<'_>,
        lead: Lead,
        stale: &Arc<Entry>,
        response: &Response,
        arrival: &Arrival,
        stood: &Stood,
    ) -> Response {
        self.keeping.metrics.revalidated.inc();
        // A 304 need not repeat the tags.
        let marks = stood.marks(&self.keeping.store, &[response.headers(), &stale.draft.headers]);
        let status = Some(StatusCode::NOT_MODIFIED);
        let told = |stored| Told::Forwarded { fwd: Fwd::Stale, status, stored, collapsed: false };
        let asked = self.asked(look);
        let known = marks.is_some();
        let renewed = stale.renewed(
            response.headers(),
            &asked,
            arrival,
            &self.keeping.rules,
            marks.unwrap_or_default(),
        );
        let (method, headers) = (look.client.method, look.client.headers);
        match renewed {
            Ok(entry) if known => {
                self.keeping.store.put(look.hash, entry.clone());
                let shareable = entry.draft.is_shareable();
                lead.end(if shareable { Outcome::LookAgain } else { Outcome::Pass });
                entry.answer(method, headers, told(true))
            }
            Ok(entry) => {
                lead.end(Outcome::Pass);
                entry.answer(method, headers, told(false))
            }
            Err(refused) => {
                if !refused.1.is_of_the_request() {
                    self.keeping.store.remove(look.hash, stale);
                }
                lead.end(Outcome::Pass);
                refused.0.answer(method, headers, told(false))
            }
        }
    }

    /// Keeps an answer while it is given out, if it may be kept.
    #[allow(clippy::too_many_arguments, reason = "all that is known of an answer, and of who asked for it")]
    fn keep(
        &self,
        look: &Look<'_>,
        lead: Lead,
        stale: Option<Arc<Entry>>,
        mut response: Response,
        arrival: &Arrival,
        stood: &Stood,
        fwd: Fwd,
    ) -> Result<Response, Error> {
        self.keeping.metrics.misses.inc();
        let asked = self.asked(look);
        let (status, headers) = (response.status(), response.headers());
        let replaced = self.origin.fallback.as_ref().is_some_and(|fallback| fallback.replaces(status));
        let small = self.is_small(headers) && !replaced;
        let marks = stood.marks(&self.keeping.store, &[headers]);
        let overtaken = marks.is_none();
        let draft = marks.filter(|_| small).map(|marks| {
            Draft::of(look.key.owned(), &asked, status, headers, arrival, &self.keeping.rules, marks)
        });
        let status_of = |stored| Told::Forwarded { fwd, status: None, stored, collapsed: false };
        let Some(Ok(draft)) = draft else {
            let own = matches!(&draft, Some(Err(refused)) if refused.is_of_the_request());
            if let Some(stale) = stale.filter(|_| !own && !control::is_error(status)) {
                self.keeping.store.remove(look.hash, &stale);
            }
            if control::is_error(status) {
                lead.end(Outcome::Failed);
            } else if overtaken {
                lead.end(Outcome::LookAgain); // a purge was faster: those who wait ask anew, one for all
            } else {
                if lead.is_followed() {
                    self.keeping.store.pass(look.hash ^ self.apart(look), &look.key.owned());
                }
                lead.end(Outcome::Pass);
            }
            let portion = conditional::portion(look.client.headers, status, response.headers(), None);
            if portion == Portion::NotModified {
                let mut status = status;
                conditional::reshape(&portion, &mut status, response.headers_mut(), 0);
                *response.status_mut() = status;
                *response.body_mut() = Body::Empty;
            }
            status_of(false).tell(response.headers_mut());
            return self.origin.settle(Ok(response), look.client.method);
        };
        let source = std::mem::take(response.body_mut());
        let filling = Filling::begin(self.keeping.store.clone(), look.hash, draft, source, lead);
        let answer = self.stream(look, &filling, status_of(true));
        answer.ok_or_else(|| Error::new(Code::Internal, "a body that has just begun is not there"))
    }

    /// Whether an answer is not known to be larger than what is kept.
    fn is_small(&self, headers: &HeaderMap) -> bool {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        length.is_none_or(|length: u64| length <= self.keeping.store.config().max_object.0)
    }

    /// Asks anew for what was given out although it is no longer good (RFC 5861 section 3), unless somebody does already.
    fn revalidate(self: &Arc<Self>, look: &Look<'_>, entry: &Arc<Entry>) {
        let headers = look.client.headers;
        let at = self.keeping.store.variant(look.hash, &entry.draft.selection.again(headers));
        let Joined::Lead(lead) = self.keeping.store.join(at ^ self.apart(look)) else { return };
        let mut headers = headers.clone();
        conditional::remove(&mut headers);
        let (uri, version) = (look.client.uri.clone(), look.client.version);
        let deadline = Deadline::after(self.keeping.timeout);
        let (cached, admitted, entry) = (self.clone(), look.admitted.again(deadline), entry.clone());
        let tags = look.key.tags.to_owned();
        tokio::spawn(async move {
            let client = Head { method: &Method::GET, uri: &uri, version, headers: &headers };
            let look = cached.look(client, &admitted, &tags);
            let asking = pin!(cached.lead(&look, lead, Some(entry), Fwd::Stale));
            if let Ok(Ok(response)) = deadline.bound(asking).await {
                drop(deadline.bound(pin!(response.into_body().collect())).await); // read to its end, it is kept
            }
        });
    }
}

impl Origin {
    /// The service's answer, made one of ours, and whether its end can be told from a broken connection.
    async fn fetch(&self, client: &Head<'_>, admitted: &Admitted) -> Result<(Response, bool), Fault> {
        let key = self.upstream.path_key(&admitted.params);
        let ask = |body| self.outgoing(client, body, admitted);
        let mut response = pin!(self.upstream.call_by(key, &ask, Body::Empty, admitted.deadline)).await?;
        let framed = entry::is_framed(&response);
        self.take_over(&mut response)?;
        Ok((response, framed))
    }
}
