//! What is looked up for every element of a list: distinct keys, by one bulk call of a loader or by single calls, and what
//! was found becomes a member of each element.
//!
//! A key that cannot be had, or that nobody knows, leaves out the member of its own elements and nothing else.
//! Not here: asking in bulk and keeping (`loaders/`), when a join begins (`graph.rs`).

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{StatusCode, uri::PathAndQuery};
use serde_json::value::RawValue;

use super::{
    json::{self, Edit},
    part::{From, Part},
};
use crate::{
    deadline::Deadline,
    handler::{Admitted, with_facts},
    loaders::{KeyPath, Loader, State},
    upstream::{Fault, Reason},
};

/// A look-up for each element of a list.
pub struct Join {
    /// The part that the list stands in, by index.
    pub list: usize,
    /// Where in it; it is the list itself when nothing is said.
    pub(crate) path: Option<KeyPath>,
    /// The member of an element that holds its key.
    pub(crate) key: KeyPath,
    /// The member that it gets.
    pub(crate) into: KeyPath,
    /// The same, as `,"name":`, ready to be written.
    pub name: Arc<[u8]>,
    /// The most elements.
    pub max_items: usize,
    /// Who knows what belongs to a key.
    pub source: Source,
}

/// Who is asked for keys.
pub enum Source {
    /// A loader, for all at once.
    Loader(Arc<Loader>),
    /// The part's own service, for each by a call of its own: so many at once.
    Single(usize),
}

/// The keys of a list, and where in its text they belong.
pub(super) struct Keys {
    /// Distinct, in the order of the list.
    pub(super) keys: Vec<Arc<str>>,
    /// For each element that has a key: which one, and where the member goes.
    places: Vec<(usize, Place)>,
}

/// Where the member of an element goes.
enum Place {
    /// At the end of the object, which has its key for a member already.
    Append(usize),
    /// In the place of the one that is there.
    Replace(std::ops::Range<usize>),
}

/// What a join came to.
#[derive(Default)]
pub(super) struct Joined {
    /// What is written into the list's part.
    pub(super) edits: Vec<Edit>,
    /// How many keys could not be had, and why the first of them could not.
    pub(super) failed: usize,
    pub(super) fault: Option<Fault>,
    /// How many keys nobody knows.
    pub(super) unknown: usize,
    /// Whether something of it is no longer good.
    pub(super) is_stale: bool,
}

/// What is known by a key.
enum Found {
    Json(Bytes, bool),
    Nothing,
    Fault(Fault),
}

impl Join {
    /// The keys of the list in `json`.
    ///
    /// # Errors
    /// Why there is no such list.
    pub(super) fn keys(&self, json: &Bytes) -> Result<Keys, (Reason, &'static str)> {
        let whole = json::text(json);
        let list = match &self.path {
            None => Some(whole),
            Some(path) => path.find(whole).map(RawValue::get),
        };
        let no_list = (Reason::Malformed, "the part that it is joined to holds no such list");
        let items: Vec<&RawValue> = list.and_then(|list| serde_json::from_str(list).ok()).ok_or(no_list)?;
        if items.len() > self.max_items {
            return Err((Reason::TooLarge, "the list has more elements than `max_items`"));
        }
        let (mut keys, mut known, mut places) = (Vec::new(), HashMap::new(), Vec::with_capacity(items.len()));
        for item in items {
            let Some(key) = self.key.of(item).filter(|key| !key.is_empty()) else { continue };
            let index = match known.entry(key) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(vacant) => {
                    keys.push(vacant.key().clone());
                    *vacant.insert(keys.len() - 1)
                }
            };
            places.push((index, self.place(whole, item)));
        }
        Ok(Keys { keys, places })
    }

    fn place(&self, whole: &str, item: &RawValue) -> Place {
        if let Some(there) = self.into.find(item.get()) {
            return Place::Replace(json::place(whole, there));
        }
        Place::Append(json::place(whole, item).end - 1)
    }

    /// Looks up `keys`, of which the first `most` calls may be made.
    pub(super) async fn load(
        &self,
        part: &Part,
        keys: Keys,
        most: usize,
        admitted: &Admitted,
        deadline: Deadline,
    ) -> Joined {
        let found = match &self.source {
            Source::Loader(loader) => by_loader(loader, part, &keys.keys, admitted, deadline).await,
            Source::Single(at_once) => singly(*at_once, part, &keys.keys, most, admitted, deadline).await,
        };
        self.joined(&keys, found)
    }

    fn joined(&self, keys: &Keys, found: Vec<Found>) -> Joined {
        let mut joined = Joined::default();
        for (key, place) in &keys.places {
            let Some(Found::Json(json, _)) = found.get(*key) else { continue };
            let (at, before) = match place {
                Place::Replace(at) => (at.clone(), None),
                Place::Append(at) => (*at..*at, Some(self.name.clone())),
            };
            joined.edits.push(Edit { at, before, text: json.clone() });
        }
        for found in found {
            match found {
                Found::Json(_, stale) => joined.is_stale |= stale,
                Found::Nothing => joined.unknown += 1,
                Found::Fault(fault) => {
                    joined.failed += 1;
                    joined.fault.get_or_insert(fault);
                }
            }
        }
        joined
    }

    /// How many calls the keys take.
    pub(super) fn calls(&self, keys: usize) -> usize {
        match &self.source {
            Source::Loader(loader) => loader.calls(keys),
            Source::Single(_) => keys,
        }
    }
}

async fn by_loader(
    loader: &Loader,
    part: &Part,
    keys: &[Arc<str>],
    admitted: &Admitted,
    deadline: Deadline,
) -> Vec<Found> {
    let deadline = part.until(deadline);
    let mut loaded = loader.load(keys, &admitted.caller, deadline).await;
    let one = |key: &Arc<str>| match loaded.remove(key) {
        Some(Ok(Some(record))) => {
            let stale = !matches!(record.state, State::Good);
            Found::Json(record.json, stale)
        }
        Some(Ok(None)) | None => Found::Nothing,
        Some(Err(fault)) => Found::Fault(fault),
    };
    keys.iter().map(one).collect()
}

async fn singly(
    at_once: usize,
    part: &Part,
    keys: &[Arc<str>],
    most: usize,
    admitted: &Admitted,
    deadline: Deadline,
) -> Vec<Found> {
    let asking = Asking { part, admitted, deadline: part.until(deadline) };
    let mut asked = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        asked.push(asking.ask(index, key, index < most));
    }
    let mut found: Vec<_> = stream::iter(asked).buffer_unordered(at_once).collect().await;
    found.sort_unstable_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, found)| found).collect()
}

/// One request that asks for keys one by one.
#[derive(Clone, Copy)]
struct Asking<'a> {
    part: &'a Part,
    admitted: &'a Admitted,
    deadline: Deadline,
}

impl Asking<'_> {
    async fn ask(self, index: usize, key: &str, may: bool) -> (usize, Found) {
        if !may {
            let fault = self.part.fault(Reason::Limit, "more calls than `max_calls` allows");
            return (index, Found::Fault(fault));
        }
        let found = match target(self.part, key, self.admitted) {
            Ok(target) => one(self.part, &target, self.admitted, self.deadline).await,
            Err(fault) => Found::Fault(fault),
        };
        (index, found)
    }
}

fn target(part: &Part, key: &str, admitted: &Admitted) -> Result<PathAndQuery, Fault> {
    let (caller, params) = (&admitted.caller, &admitted.params);
    with_facts(caller, params, None, None, |facts| part.target(params, facts, Some(key)))
}

async fn one(part: &Part, target: &PathAndQuery, admitted: &Admitted, deadline: Deadline) -> Found {
    match part.fetch_at(target, &admitted.caller, &admitted.params, deadline).await {
        Ok(got) => {
            let stale = matches!(got.from, From::Stale(..));
            Found::Json(got.json, stale)
        }
        Err(fault) if fault.reason == Reason::Status(StatusCode::NOT_FOUND) => Found::Nothing,
        Err(fault) => Found::Fault(fault),
    }
}
