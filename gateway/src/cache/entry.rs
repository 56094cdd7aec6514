//! One kept answer: a head that is ready, a body that is whole, and the terms on which it may be given out.
//!
//! Not here: finding it (`store.rs`), its body while it comes (`filling.rs`).

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use tokio::time::Instant;

use super::{
    conditional::{self, Portion},
    control::{self, Asked, Refused, Rules, Terms},
    directives::Directives,
    key::OwnedKey,
    status::{self, Told},
    store::Mark,
    vary::Selection,
};
use crate::body::{Body, Response};

/// An answer as it is kept, but for its body.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is kept under.
    pub key: OwnedKey,
    /// Its status.
    pub status: StatusCode,
    /// Its header section as every client gets it, in memory of its own.
    pub headers: HeaderMap,
    /// Which requests for the URL it fits.
    pub selection: Selection,
    /// On which terms it may be given out.
    pub terms: Terms,
    /// Since when it is older than `initial_age`.
    pub received: Instant,
    /// How old it was then.
    pub initial_age: Duration,
    /// What makes it invalid when it changes: its URL's mark, then those of its tags.
    pub marks: Box<[Mark]>,
}

/// What an answer came with that its header section does not say.
#[derive(Debug)]
pub struct Arrival {
    /// When its request was sent.
    pub asked: Instant,
    /// The time of day when it came.
    pub received: SystemTime,
    /// Whether its end can be told from a broken connection.
    pub framed: bool,
}

impl Draft {
    /// What is kept of this answer.
    ///
    /// # Errors
    /// Why it is not kept.
    pub fn of(
        key: OwnedKey,
        asked: &Asked<'_>,
        status: StatusCode,
        headers: &HeaderMap,
        arrival: &Arrival,
        rules: &Rules,
        marks: Box<[Mark]>,
    ) -> Result<Self, Refused> {
        if !arrival.framed {
            return Err(Refused::Unframed);
        }
        let told = Directives::of_answer(headers);
        let freshness = control::freshness(status, headers, &told, arrival.received, rules);
        control::storable(asked, status, headers, &told, freshness)?;
        let selection = Selection::of(headers, asked.headers).ok_or(Refused::VaryStar)?;
        let now = Instant::now();
        let initial_age = control::initial_age(headers, arrival.received, now - arrival.asked);
        Ok(Draft {
            key,
            status,
            headers: kept(headers, &told, arrival.received),
            selection,
            terms: Terms::of(&told, freshness, rules),
            received: now,
            initial_age,
            marks,
        })
    }

    /// How old it is (RFC 9111 section 4.2.3).
    #[must_use]
    pub fn age(&self) -> Duration {
        self.initial_age + self.received.elapsed()
    }

    /// Whether it may be given out without asking.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.terms.always_validate && self.terms.lifetime > self.age()
    }

    /// Whether it may be given out where the service fails (RFC 5861 section 4).
    #[must_use]
    pub fn may_stand_in(&self) -> bool {
        control::may_stand_in(&self.terms, self.age())
    }

    /// Whether those who ask while it comes may have it as well.
    #[must_use]
    pub fn is_shareable(&self) -> bool {
        !self.terms.always_validate && self.terms.lifetime > self.initial_age
    }

    /// The head for a client: `age`, how old it is, and what became of its request.
    #[must_use]
    pub fn head(&self, told: Told, age: Duration) -> http::response::Parts {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = self.status;
        parts.headers = self.headers.clone();
        parts.headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        told.tell(&mut parts.headers);
        parts
    }
}

/// Whether an answer's end can be told from a broken connection (RFC 9112 section 8): it says its length, or comes in chunks
/// or frames.
#[must_use]
pub fn is_framed(response: &Response) -> bool {
    let says = |name| response.headers().contains_key(name);
    says(header::CONTENT_LENGTH)
        || says(header::TRANSFER_ENCODING)
        || response.version() == Version::HTTP_2
        || response.body().is_empty()
}

/// What of a header section is kept, copied out of the connection's read buffer, which each value would keep alive. With room
/// for what each client is told: a map that grows is copied once more.
fn kept(headers: &HeaderMap, told: &Directives, received: SystemTime) -> HeaderMap {
    let mut kept = headers.clone();
    control::remove_unstored(&mut kept, told);
    if !kept.contains_key(header::DATE) {
        // RFC 9110 section 6.6.1: who keeps an answer without a date adds when it came.
        let date = HeaderValue::try_from(httpdate::fmt_http_date(received));
        kept.insert(header::DATE, date.expect("a date is text"));
    }
    let mut kept = compact(&kept);
    kept.insert(header::AGE, HeaderValue::from_static("0"));
    status::make_room(&mut kept);
    kept
}

fn compact(headers: &HeaderMap) -> HeaderMap {
    let mut text = BytesMut::with_capacity(headers.values().map(HeaderValue::len).sum());
    headers.values().for_each(|value| text.extend_from_slice(value.as_bytes()));
    let text = text.freeze();
    let mut copy = HeaderMap::with_capacity(headers.len() + 2);
    let mut at = 0;
    for (name, value) in headers {
        let own = HeaderValue::from_maybe_shared(text.slice(at..at + value.len()));
        copy.append(name.clone(), own.expect("it was a header value"));
        at += value.len();
    }
    copy
}

/// A kept answer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// All but its body.
    pub draft: Draft,
    /// Its body, whole.
    pub body: Bytes,
}

impl Entry {
    /// The same once its service has said that it has not changed (RFC 9111 section 4.3.4).
    ///
    /// # Errors
    /// Why what it says now forbids keeping it.
    pub fn renewed(
        &self,
        told: &HeaderMap,
        asked: &Asked<'_>,
        arrival: &Arrival,
        rules: &Rules,
        marks: Box<[Mark]>,
    ) -> Result<Entry, Box<(Entry, Refused)>> {
        if !conditional::is_about(&self.draft.headers, told) {
            return Err(Box::new((self.clone(), Refused::Another)));
        }
        let mut headers = self.draft.headers.clone();
        headers.remove(header::AGE);
        control::update(&mut headers, told);
        let arrival = Arrival { framed: true, ..*arrival };
        let key = self.draft.key.clone();
        let status = self.draft.status;
        match Draft::of(key, asked, status, &headers, &arrival, rules, marks) {
            Ok(draft) => Ok(Entry { draft, body: self.body.clone() }),
            Err(why) => {
                let draft = Draft { headers, ..self.draft.clone() };
                Err(Box::new((Entry { draft, body: self.body.clone() }, why)))
            }
        }
    }

    /// The answer to a request that says nothing to caches, `age` after it was made.
    #[must_use]
    pub fn whole(&self, told: Told, age: Duration) -> Response {
        http::Response::from_parts(self.draft.head(told, age), Body::Full(self.body.clone()))
    }

    /// The answer to `request`.
    #[must_use]
    pub fn answer(&self, method: &Method, request: &HeaderMap, told: Told) -> Response {
        let length = self.body.len();
        let mut parts = self.draft.head(told, self.draft.age());
        // A range is for GET only (RFC 9110 section 14.2).
        let known = (*method == Method::GET).then_some(length);
        let portion = conditional::portion(request, parts.status, &self.draft.headers, known);
        conditional::reshape(&portion, &mut parts.status, &mut parts.headers, length);
        let body = match portion {
            Portion::Whole => Body::Full(self.body.clone()),
            Portion::Part(part) => Body::Full(self.body.slice(part)),
            Portion::NotModified | Portion::Unsatisfiable => Body::Empty,
        };
        http::Response::from_parts(parts, body)
    }

    /// `Told` for an answer out of the cache that is so old.
    #[must_use]
    pub fn hit(&self, age: Duration) -> Told {
        Told::Hit { ttl: status::ttl(self.draft.terms.lifetime, age) }
    }

    /// The same where another instance had kept it.
    #[must_use]
    pub fn shared_hit(&self) -> Told {
        Told::SharedHit { ttl: status::ttl(self.draft.terms.lifetime, self.draft.age()) }
    }

    /// What it takes, in bytes: the body, the header section with the table it stands in, and what stands around it.
    #[must_use]
    pub fn size(&self) -> usize {
        const AROUND: usize = 400;
        const FIELD: usize = 130;
        let draft = &self.draft;
        let values: usize = draft.headers.values().map(HeaderValue::len).sum();
        let fields = draft.headers.len() * FIELD;
        AROUND + self.body.len() + values + fields + draft.selection.size() + size_of_val(&*draft.marks)
    }
}
