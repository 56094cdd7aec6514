//! What makes an answer invalid is a *mark*: two of a fixed number of counters that its URL, and each of its tags, falls on.
//!
//! An answer remembers what they stood at before it was asked for; once both have moved, it is not found any more, wherever
//! it is and even if it is still coming. Others may happen to move both: then it goes with them, which costs one request. So
//! writes and purges take the same short time however much is kept.
//!
//! Which tags a service gives an answer is known only when it comes. What they stood at before is not known then, but the last
//! tags that were purged are: one of these meanwhile, and the answer may be of before.
//! Not here: what is kept (`store.rs`), who tells other instances (`second_tier/`).

use std::{
    borrow::Cow,
    collections::VecDeque,
    hash::{BuildHasher, Hasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

/// 8 MiB of them, so that few URLs share one.
pub(super) const COUNT: usize = 1 << 20;
/// The low half of a counter counts what is marked as no longer good, the high half what is gone.
const GONE: u64 = 1 << 32;
/// Purges of tags that are remembered. An answer during which there were more of them is not kept if it has tags.
const RECENT: usize = 1_024;

/// What two counters stood at when an answer was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    at: [u32; 2],
    stood: [u64; 2],
}

/// How things stood before an answer was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    url: Mark,
    tag_purges: u64,
}

/// How a purge treats what it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purge {
    /// It is gone.
    Hard,
    /// It is no longer good: it may still stand in where that is allowed.
    Soft,
}

/// All counters.
pub(super) struct Marks {
    counters: Box<[AtomicU64]>,
    random: RandomState,
    /// How often a tag was purged, and which ones of late.
    tag_purges: AtomicU64,
    recent: Mutex<VecDeque<[u32; 2]>>,
}

/// The two counters of what has this hash.
pub(super) fn two(hash: u64) -> [u32; 2] {
    [hash as u32, (hash >> 32) as u32].map(|half| half % COUNT as u32)
}

/// Adds a URL to a hash, however it is written: hosts in any case and with a port that goes without saying, and escapes of
/// characters that need none (RFC 3986 section 6.2.2, RFC 9110 section 4.2.3).
pub(super) fn feed_url(state: &mut impl Hasher, host: &[u8], target: &str) {
    bare_host(host).iter().for_each(|byte| state.write_u8(byte.to_ascii_lowercase()));
    state.write_u8(b'/');
    state.write(plain(target).as_bytes());
}

/// A host without a port that goes without saying.
pub(super) fn bare_host(host: &[u8]) -> &[u8] {
    let without_port =
        [b":80".as_slice(), b":443", b":"].into_iter().find_map(|port| host.strip_suffix(port));
    without_port.unwrap_or(host)
}

/// A target without escapes that nobody needs, and the others with large letters.
fn plain(target: &str) -> Cow<'_, str> {
    let Some(first) = target.find('%') else { return target.into() };
    let (mut plain, mut rest) = (target[..first].to_owned(), &target[first..]);
    while let Some(escape) = rest.get(..3) {
        let byte = u8::from_str_radix(&escape[1..], 16).ok().filter(|_| !escape.contains('+'));
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
            }
            _ => plain.push_str(&escape.to_ascii_uppercase()),
        }
        let next = rest[3..].find('%').map_or(rest.len(), |next| 3 + next);
        plain.push_str(&rest[3..next]);
        rest = &rest[next..];
    }
    plain.push_str(rest);
    plain.into()
}

impl Marks {
    /// Nothing was ever made invalid.
    pub(super) fn new() -> Self {
        Marks {
            counters: (0..COUNT).map(|_| AtomicU64::new(0)).collect(),
            random: RandomState::new(),
            tag_purges: AtomicU64::new(0),
            recent: Mutex::new(VecDeque::with_capacity(RECENT)),
        }
    }

    /// How things stand before a URL is asked for.
    pub(super) fn before(&self, host: &[u8], target: &str) -> Before {
        let tag_purges = self.tag_purges.load(Ordering::Acquire);
        Before { url: self.mark(self.url(host, target)), tag_purges }
    }

    /// The mark of a tag as it stands.
    pub(super) fn of_tag(&self, tag: &str) -> Mark {
        self.mark(self.tag(tag))
    }

    /// The marks of an answer that has come with these tags. None if one of them was purged since it was asked for, or may
    /// have been.
    pub(super) fn since<'a>(
        &self,
        before: Before,
        tags: impl Iterator<Item = &'a str>,
    ) -> Option<Box<[Mark]>> {
        // First how they stand, then which ones were purged: who purges does it the other way round.
        let marks: Box<[Mark]> =
            std::iter::once(before.url).chain(tags.map(|tag| self.of_tag(tag))).collect();
        let purged = self.tag_purges.load(Ordering::Acquire) - before.tag_purges;
        (marks.len() == 1 || purged == 0 || !self.is_recent(before, &marks[1..])).then_some(marks)
    }

    fn is_recent(&self, before: Before, tags: &[Mark]) -> bool {
        let recent = self.recent.lock();
        let purged = (self.tag_purges.load(Ordering::Acquire) - before.tag_purges) as usize;
        purged > recent.len()
            || recent.iter().rev().take(purged).any(|at| tags.iter().any(|tag| tag.at == *at))
    }

    fn mark(&self, at: [u32; 2]) -> Mark {
        Mark { at, stood: at.map(|at| self.counters[at as usize].load(Ordering::Acquire)) }
    }

    fn url(&self, host: &[u8], target: &str) -> [u32; 2] {
        let mut state = self.random.build_hasher();
        feed_url(&mut state, host, target);
        two(state.finish())
    }

    fn tag(&self, tag: &str) -> [u32; 2] {
        two(self.random.hash_one(("tag", tag)))
    }

    /// Whether nothing has made it invalid; then whether something has marked it as no longer good.
    pub(super) fn stands(&self, marks: &[Mark]) -> Option<bool> {
        let mut soft = false;
        for mark in marks {
            let now = self.mark(mark.at).stood;
            let both = |moved: fn(u64, u64) -> bool| (0..2).all(|one| moved(now[one], mark.stood[one]));
            if both(|now, stood| now / GONE != stood / GONE) {
                return None;
            }
            soft |= both(|now, stood| now != stood);
        }
        Some(soft)
    }

    /// Makes a URL invalid.
    pub(super) fn purge_url(&self, host: &[u8], target: &str, how: Purge) {
        self.bump(self.url(host, target), how);
    }

    /// Makes a tag invalid.
    pub(super) fn purge_tag(&self, tag: &str, how: Purge) {
        let at = self.tag(tag);
        {
            let mut recent = self.recent.lock();
            if recent.len() == RECENT {
                recent.pop_front();
            }
            recent.push_back(at);
            self.tag_purges.fetch_add(1, Ordering::AcqRel);
        }
        self.bump(at, how);
    }

    /// Makes everything invalid.
    pub(super) fn purge_all(&self, how: Purge) {
        (0..COUNT as u32).for_each(|at| self.bump([at], how));
    }

    fn bump<const N: usize>(&self, at: [u32; N], how: Purge) {
        // The low half comes round after four thousand million purges.
        let step = if how == Purge::Hard { GONE } else { 1 };
        for at in at {
            self.counters[at as usize].fetch_add(step, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_invalid_by_its_own_tags_and_stays_good_when_others_are_purged() {
        let marks = Marks::new();
        let before = marks.before(b"h", "/a");
        (0..RECENT).for_each(|other| marks.purge_tag(&format!("other:{other}"), Purge::Hard));
        let kept = marks.since(before, ["menu"].into_iter()).expect("it was not one of these");
        assert_eq!(marks.stands(&kept), Some(false));
        marks.purge_tag("menu", Purge::Soft);
        assert_eq!(marks.stands(&kept), Some(true));
        assert!(marks.since(before, ["menu"].into_iter()).is_none());
        assert!(marks.since(before, ["x", "menu"].into_iter()).is_none());
        assert!(marks.since(before, [].into_iter()).is_some(), "it has no tags");
        assert!(marks.since(before, ["x"].into_iter()).is_none(), "more were purged than are remembered");
        let now = marks.before(b"h", "/a");
        assert!(marks.since(now, ["menu"].into_iter()).is_some());
    }

    #[test]
    fn a_url_is_the_same_however_it_is_written_and_another_is_not() {
        let marks = Marks::new();
        let at = |host: &str, target: &str| marks.url(host.as_bytes(), target);
        let plain = at("ftgo.example", "/orders/9?x=a-b%2F");
        for (host, target) in [
            ("FTGO.example", "/orders/9?x=a-b%2F"),
            ("ftgo.example:80", "/orders/%39?x=a%2Db%2f"),
            ("ftgo.example:443", "/%6frders/9?x=%61-b%2F"),
        ] {
            assert_eq!(at(host, target), plain, "{host}{target}");
        }
        for (host, target) in [
            ("ftgo.example:8080", "/orders/9?x=a-b%2F"),
            ("ftgo.example", "/orders/9?x=a-b/"),
            ("ftgo.example", "/Orders/9?x=a-b%2F"),
            ("ftgo.example", "/orders/9?x=a-b%252F"),
            ("ftgo.example", "/orders/9?x=a-b%2"),
            ("ftgo.example", "/orders/9?x=a-b%"),
        ] {
            assert_ne!(at(host, target), plain, "{host}{target}");
        }
        for odd in ["%", "%4", "%zz", "%é", "a%+1b", "%é1", "/%41%", "%%41"] {
            _ = super::plain(odd);
        }
        assert_eq!(super::plain("/%41%5a%c3%a9%%41"), "/AZ%C3%A9%%41");
    }
}
