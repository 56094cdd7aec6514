//! The query side of orders: an index by consumer that is a little behind the orders themselves.
//!
//! It never asks the order service; the sagas tell it what changed.

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
};

use serde::Serialize;

use super::{
    model::{Order, OrderState, Version, id_as_text},
    money::Money,
    time::Time,
};

/// One order in a consumer's history.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(serialize_with = "id_as_text")]
    order_id: i64,
    status: OrderState,
    #[serde(serialize_with = "id_as_text")]
    restaurant_id: i64,
    restaurant_name: String,
    created_at: Time,
    order_total: Money,
    #[serde(skip)]
    consumer_id: i64,
    /// The names a keyword is looked for in, in lower case.
    #[serde(skip)]
    names: Vec<String>,
    #[serde(skip)]
    version: Version,
}

impl Entry {
    /// What the history says of an order as it is now.
    pub(crate) fn of(order: &Order, restaurant_name: &str) -> Entry {
        let dishes = order.line_items.iter().map(|line| line.name.as_str());
        Entry {
            order_id: order.order_id,
            status: order.state,
            restaurant_id: order.restaurant_id,
            restaurant_name: restaurant_name.to_owned(),
            created_at: order.created_at,
            order_total: order.order_total,
            consumer_id: order.consumer_id,
            names: dishes.chain([restaurant_name]).map(str::to_lowercase).collect(),
            version: order.version,
        }
    }

    fn place(&self) -> Place {
        Place(self.created_at.millis(), self.order_id)
    }
}

/// Where an entry stands in a consumer's history; pages go on from one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place(i64, i64);

impl Place {
    fn key(self) -> String {
        format!("{:016x}{:016x}", self.0, self.1)
    }
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(key: &str) -> Result<Place, Self::Err> {
        let wrong = "not a key that this service gave";
        if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let half = |half: &str| u64::from_str_radix(half, 16).map(u64::cast_signed).map_err(|_| wrong);
        Ok(Place(half(&key[..16])?, half(&key[16..])?))
    }
}

/// Which part of a consumer's history is asked for.
pub(crate) struct Search {
    pub(crate) consumer_id: i64,
    pub(crate) status: Option<OrderState>,
    pub(crate) since: Option<Time>,
    /// In lower case; none means any order.
    pub(crate) keywords: Vec<String>,
    pub(crate) page_size: usize,
    pub(crate) after: Option<Place>,
}

impl Search {
    fn admits(&self, entry: &Entry) -> bool {
        self.status.is_none_or(|status| status == entry.status)
            && self.since.is_none_or(|since| since <= entry.created_at)
            && (self.keywords.is_empty() || self.keywords.iter().any(|word| named(entry, word)))
    }
}

fn named(entry: &Entry, word: &str) -> bool {
    entry.names.iter().any(|name| name.contains(word))
}

/// A page of a consumer's history.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    orders: Vec<Entry>,
    start_key: Option<String>,
}

/// All consumers' histories.
#[derive(Clone, Default)]
pub(crate) struct History {
    entries: HashMap<i64, Entry>,
    places: HashMap<i64, BTreeSet<Place>>,
}

impl History {
    /// The entry of that order.
    pub(crate) fn get(&self, order_id: i64) -> Option<&Entry> {
        self.entries.get(&order_id)
    }

    /// Takes in what became of an order, unless something later is known.
    pub(crate) fn put(&mut self, entry: Entry) {
        if let Some(known) = self.entries.get(&entry.order_id) {
            if known.version > entry.version {
                return;
            }
            self.places.entry(known.consumer_id).or_default().remove(&known.place());
        }
        self.places.entry(entry.consumer_id).or_default().insert(entry.place());
        self.entries.insert(entry.order_id, entry);
    }

    /// The newest orders first, as many as fit one page.
    pub(crate) fn page(&self, search: &Search) -> Page {
        let end = search.after.unwrap_or(Place(i64::MAX, i64::MAX));
        let places = self.places.get(&search.consumer_id).into_iter();
        let newest_first = places.flat_map(|places| places.range(..end).rev());
        let entries = newest_first.filter_map(|place| self.entries.get(&place.1));
        let mut orders: Vec<&Entry> =
            entries.filter(|entry| search.admits(entry)).take(search.page_size + 1).collect();
        let more = orders.len() > search.page_size;
        orders.truncate(search.page_size);
        let start_key = orders.last().filter(|_| more).map(|last| last.place().key());
        Page { orders: orders.into_iter().cloned().collect(), start_key }
    }
}
