//! Pages by cursor over services that go on from the end of a page only.
//!
//! A cursor says where its page began (the service's `startKey`), how far into the page its edge stands, and what it is
//! on. Going on from the last edge is the service's next page; from any other, the same page again with its beginning
//! left out, found by what the edge is on, so that what was added in front meanwhile moves nothing.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::graphql::Refusal;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The services give at most so many a page.
const MOST: usize = 200;

/// Where an edge stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    /// Edges of the page up to this one; 0 when `start` itself goes on behind it.
    taken: usize,
    id: i64,
    start: String,
}

impl Cursor {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}.{}.{}", self.taken, self.id, self.start))
    }

    fn decode(text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, '.');
        let (taken, id, start) = (parts.next()?, parts.next()?, parts.next()?);
        let taken = taken.parse().ok().filter(|taken| *taken <= MOST)?;
        Some(Cursor { taken, id: id.parse().ok()?, start: start.to_owned() })
    }
}

/// A page that a client asks for.
#[derive(Debug)]
pub(crate) struct Wanted {
    first: usize,
    after: Option<Cursor>,
}

/// A page with a cursor for each of its items.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<(String, T)>,
    pub(crate) more: bool,
    pub(crate) before: bool,
}

impl Wanted {
    /// # Errors
    /// `BAD_USER_INPUT` for a size the services do not have, and for a cursor that was never given out.
    pub(crate) fn of(first: Option<i32>, after: Option<&str>) -> Result<Self, Refusal> {
        let first = usize::try_from(first.unwrap_or(20)).ok().filter(|first| (1..=MOST).contains(first));
        let first = first.ok_or_else(|| Refusal::bad_input("`first` is a number from 1 to 200."))?;
        let wrong = || Refusal::bad_input("`after` is no cursor of this list.");
        let after = after.map(|text| Cursor::decode(text).ok_or_else(wrong)).transpose()?;
        Ok(Wanted { first, after })
    }

    /// `pageSize=` and `startKey=` for the service.
    pub(crate) fn query(&self) -> String {
        let skipped = self.after.as_ref().map_or(0, |after| after.taken);
        // What is skipped and what is wanted come as one page; where that is too much, the client gets less and goes on.
        let mut query = format!("pageSize={}", (self.first + skipped).min(MOST));
        if let Some(start) = self.after.as_ref().map(|after| &after.start).filter(|start| !start.is_empty()) {
            push(&mut query, "startKey", start);
        }
        query
    }

    /// What the service answered as the page asked for.
    pub(crate) fn page<T>(&self, all: Vec<T>, next: Option<&str>, id: impl Fn(&T) -> i64) -> Page<T> {
        let start = self.after.as_ref().map_or("", |after| &after.start);
        let skipped = self.skipped(&all, &id);
        let end = all.len().min(skipped + self.first);
        let cut = all.len() > end;
        let last = all.len();
        let cursor = |at: usize, item: &T| {
            let here = Cursor { taken: at + 1, id: id(item), start: start.to_owned() };
            match &next {
                Some(next) if at + 1 == last => Cursor { taken: 0, start: (*next).to_owned(), ..here },
                _ => here,
            }
        };
        let items = all.into_iter().enumerate().take(end).skip(skipped);
        let items = items.map(|(at, item)| (cursor(at, &item).encode(), item)).collect();
        Page { items, more: cut || next.is_some(), before: self.after.is_some() }
    }

    /// How many are in front of what is wanted.
    fn skipped<T>(&self, all: &[T], id: impl Fn(&T) -> i64) -> usize {
        let Some(after) = self.after.as_ref().filter(|after| after.taken > 0) else { return 0 };
        let at = all.iter().position(|item| id(item) == after.id).map(|at| at + 1);
        at.unwrap_or(after.taken).min(all.len())
    }
}

/// Whatever could mean something in a query is escaped.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Adds a parameter to a query that has one already.
pub(crate) fn push(query: &mut String, name: &str, value: &str) {
    let _ = write!(query, "&{name}={}", utf8_percent_encode(value, PLAIN));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with these items, that keys the end of a page by its last item.
    fn served(items: &[i64], query: &str) -> (Vec<i64>, Option<String>) {
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name).map(|p| p.1)
        };
        let size: usize = value("pageSize").unwrap().parse().unwrap();
        let begin = value("startKey").map_or(0, |key| {
            let last: i64 = key.strip_prefix('k').unwrap().parse().unwrap();
            items.iter().position(|item| *item == last).unwrap() + 1
        });
        let page: Vec<i64> = items[begin..].iter().copied().take(size).collect();
        let next = (begin + size < items.len()).then(|| format!("k{}", page.last().unwrap()));
        (page, next)
    }

    fn page(items: &[i64], first: i32, after: Option<&str>) -> Page<i64> {
        let wanted = Wanted::of(Some(first), after).unwrap();
        let (all, next) = served(items, &wanted.query());
        wanted.page(all, next.as_deref(), |item| *item)
    }

    fn ids(page: &Page<i64>) -> Vec<i64> {
        page.items.iter().map(|(_, id)| *id).collect()
    }

    #[test]
    fn a_list_can_be_gone_on_with_from_every_edge() {
        let items: Vec<i64> = (100..110).collect();
        let first = page(&items, 4, None);
        assert_eq!((ids(&first), first.more, first.before), (vec![100, 101, 102, 103], true, false));
        for (at, (cursor, _)) in first.items.iter().enumerate() {
            let second = page(&items, 4, Some(cursor));
            assert_eq!(ids(&second), items[at + 1..at + 5], "after edge {at}");
            for (then, (cursor, _)) in second.items.iter().enumerate() {
                let third = page(&items, 20, Some(cursor));
                assert_eq!(ids(&third), items[at + then + 2..], "after edges {at} and {then}");
                assert!(!third.more && third.before);
            }
        }
    }

    #[test]
    fn what_is_added_in_front_moves_nothing() {
        let cursor = page(&[5, 4, 3, 2, 1], 3, None).items[1].0.clone();
        assert_eq!(ids(&page(&[6, 5, 4, 3, 2, 1], 3, Some(&cursor))), [3, 2]);
    }

    #[test]
    fn behind_the_last_edge_there_is_nothing() {
        let cursor = page(&[2, 1], 5, None).items[1].0.clone();
        let end = page(&[2, 1], 5, Some(&cursor));
        assert!(end.items.is_empty() && !end.more);
    }

    #[test]
    fn sizes_and_cursors_are_checked() {
        for first in [0, -1, 201, i32::MIN] {
            assert_eq!(Wanted::of(Some(first), None).unwrap_err().code, "BAD_USER_INPUT");
        }
        let huge = URL_SAFE_NO_PAD.encode("9999.1.");
        for after in ["", "x", "!", "MTIz", &huge] {
            assert_eq!(Wanted::of(None, Some(after)).unwrap_err().code, "BAD_USER_INPUT", "{after}");
        }
        assert_eq!(Wanted::of(None, None).unwrap().query(), "pageSize=20");
    }
}
