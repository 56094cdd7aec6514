//! Documents that clients have registered under their hash (automatic persisted queries, as Apollo's clients speak them).
//!
//! The room is bounded in bytes, and clients are not trusted with it. A document is *fresh* until somebody else than who
//! registered it asks for it; then it is *proven*. Fresh ones have a quarter of the room, and of that quarter nobody has more
//! than a sixteenth: who registers more loses what they registered first. Proven ones leave only for other proven ones. So one
//! client, however many documents it makes up, ends nothing of anybody else's, and many together end what nobody else uses.
//!
//! Not here: whether a document is any good: only those that were executed come here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parking_lot::Mutex;

use super::hash::Hash;

/// The room for fresh documents is one part of so many.
const FRESH: usize = 4;
/// Of that room, one registrant has one part of so many.
const SHARE: usize = 16;
/// What a document takes beside its text: its hash, its places in the maps.
const OVERHEAD: usize = 200;

/// Whoever may be told from others: a principal, or a network.
pub(super) type Owner = u64;

/// The documents of one route.
#[derive(Debug)]
pub struct Persisted {
    most: usize,
    room: Mutex<Room>,
}

#[derive(Debug, Clone, Default)]
struct Room {
    known: HashMap<Hash, Entry>,
    /// By when they were registered.
    fresh: Segment,
    /// By when they were used last.
    proven: Segment,
    /// What each registrant has of the fresh ones.
    owners: HashMap<Owner, Segment>,
    clock: u64,
}

#[derive(Debug, Clone, Default)]
struct Segment {
    bytes: usize,
    order: BTreeMap<u64, Hash>,
}

#[derive(Debug, Clone)]
struct Entry {
    text: Arc<str>,
    owner: Owner,
    at: u64,
    proven: bool,
}

impl Persisted {
    /// Room for so many bytes, with what was in that of `before`, as far as it fits.
    #[must_use]
    pub fn new(most: usize, before: Option<&Persisted>) -> Self {
        let mut room = before.map(|before| before.room.lock().clone()).unwrap_or_default();
        room.fit(most);
        Persisted { most, room: Mutex::new(room) }
    }

    /// How many bytes there is room for.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// The document of that hash.
    pub(super) fn get(&self, hash: &Hash, asker: Owner) -> Option<Arc<str>> {
        let mut room = self.room.lock();
        let entry = room.known.get(hash)?;
        if entry.proven || entry.owner != asker {
            room.prove(*hash, self.most);
        }
        room.known.get(hash).map(|entry| entry.text.clone())
    }

    /// Keeps a document under its hash, unless it is known or larger than one registrant's share.
    pub(super) fn register(&self, hash: Hash, text: &Arc<str>, owner: Owner) -> bool {
        let share = self.most / FRESH / SHARE;
        let mut room = self.room.lock();
        if room.known.contains_key(&hash) || weight(text) > share {
            return false;
        }
        room.add(hash, Entry { text: text.clone(), owner, at: 0, proven: false });
        while room.owners.get(&owner).is_some_and(|mine| mine.bytes > share) {
            let Some(first) = room.owners.get(&owner).and_then(Segment::first) else { break };
            room.remove(&first);
        }
        room.fit(self.most);
        true
    }
}

fn weight(text: &str) -> usize {
    text.len() + OVERHEAD
}

impl Segment {
    fn first(&self) -> Option<Hash> {
        self.order.first_key_value().map(|(_, hash)| *hash)
    }

    fn add(&mut self, at: u64, hash: Hash, bytes: usize) {
        self.order.insert(at, hash);
        self.bytes += bytes;
    }

    fn remove(&mut self, at: u64, bytes: usize) {
        if self.order.remove(&at).is_some() {
            self.bytes -= bytes;
        }
    }
}

impl Room {
    fn add(&mut self, hash: Hash, mut entry: Entry) {
        self.clock += 1;
        entry.at = self.clock;
        let bytes = weight(&entry.text);
        if entry.proven {
            self.proven.add(entry.at, hash, bytes);
        } else {
            self.fresh.add(entry.at, hash, bytes);
            self.owners.entry(entry.owner).or_default().add(entry.at, hash, bytes);
        }
        self.known.insert(hash, entry);
    }

    fn remove(&mut self, hash: &Hash) -> Option<Entry> {
        let entry = self.known.remove(hash)?;
        let bytes = weight(&entry.text);
        if entry.proven {
            self.proven.remove(entry.at, bytes);
            return Some(entry);
        }
        self.fresh.remove(entry.at, bytes);
        if let Some(mine) = self.owners.get_mut(&entry.owner) {
            mine.remove(entry.at, bytes);
            if mine.order.is_empty() {
                self.owners.remove(&entry.owner);
            }
        }
        Some(entry)
    }

    /// It was used, by somebody for whom it was not made up.
    fn prove(&mut self, hash: Hash, most: usize) {
        let Some(entry) = self.remove(&hash) else { return };
        self.add(hash, Entry { proven: true, ..entry });
        self.fit(most);
    }

    fn fit(&mut self, most: usize) {
        let (fresh, proven) = (most / FRESH, most - most / FRESH);
        while self.fresh.bytes > fresh
            && let Some(first) = self.fresh.first()
        {
            self.remove(&first);
        }
        while self.proven.bytes > proven
            && let Some(first) = self.proven.first()
        {
            self.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Owner = 1;
    const BOB: Owner = 2;

    fn text(n: usize) -> Arc<str> {
        format!("{{ a{n:0>99} }}").into()
    }

    fn register(persisted: &Persisted, n: usize, owner: Owner) -> Hash {
        let hash = Hash::of(&text(n));
        persisted.register(hash, &text(n), owner);
        hash
    }

    #[test]
    fn what_one_client_makes_up_ends_nothing_of_anybody_elses() {
        let persisted = Persisted::new(1 << 20, None);
        let fresh = register(&persisted, 0, BOB);
        let proven = register(&persisted, 1, BOB);
        assert_eq!(persisted.get(&proven, ALICE), Some(text(1)));
        let made_up: Vec<Hash> = (2..100_000).map(|n| register(&persisted, n, ALICE)).collect();
        assert_eq!(persisted.get(&fresh, BOB), Some(text(0)));
        assert_eq!(persisted.get(&proven, BOB), Some(text(1)));
        assert_eq!(persisted.get(&made_up[0], ALICE), None, "its own are what it loses");
        assert_eq!(persisted.get(&made_up[99_997], ALICE), Some(text(99_999)));
    }

    #[test]
    fn what_many_clients_make_up_ends_nothing_that_is_used() {
        let most = 1 << 20;
        let persisted = Persisted::new(most, None);
        let proven = register(&persisted, 0, ALICE);
        assert!(persisted.get(&proven, BOB).is_some());
        for n in 1..20_000 {
            register(&persisted, n, n as Owner);
        }
        assert!(persisted.get(&proven, ALICE).is_some());
        let room = persisted.room.lock();
        assert!(room.fresh.bytes <= most / FRESH && room.proven.bytes <= most - most / FRESH);
        assert_eq!(room.known.len(), room.fresh.order.len() + room.proven.order.len());
        assert_eq!(room.owners.len(), room.fresh.order.len(), "nothing is kept of those who have nothing");
    }

    #[test]
    fn the_proven_that_was_used_longest_ago_makes_room() {
        let persisted = Persisted::new(64 << 10, None);
        let hashes: Vec<Hash> = (0..300)
            .map(|n| {
                let hash = register(&persisted, n, ALICE);
                persisted.get(&hash, BOB);
                persisted.get(&Hash::of(&text(0)), BOB); // used all the time
                hash
            })
            .collect();
        assert!(persisted.get(&hashes[0], BOB).is_some());
        assert!(persisted.get(&hashes[1], BOB).is_none());
        assert!(persisted.get(&hashes[299], BOB).is_some());
    }

    #[test]
    fn other_room_takes_over_what_fits() {
        let persisted = Persisted::new(1 << 20, None);
        let hash = register(&persisted, 0, ALICE);
        assert!(Persisted::new(2 << 20, Some(&persisted)).get(&hash, ALICE).is_some());
        assert!(Persisted::new(0, Some(&persisted)).get(&hash, ALICE).is_none());
    }

    #[test]
    fn a_document_larger_than_a_share_is_not_kept() {
        let persisted = Persisted::new(64 << 10, None);
        let long: Arc<str> = "x".repeat(1 << 10).into();
        assert!(!persisted.register(Hash::of(&long), &long, ALICE));
    }
}
