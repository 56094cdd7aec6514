//! Where keys are written in the target of a bulk call, and read from it again: `/restaurants?ids=1,2,3`.
//!
//! Each key is escaped, commas included, so that it can be nothing but one key.
//! Not here: what is answered (`records.rs`).

use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::routing::path;

/// What stands for the keys in the configuration.
pub(super) const KEYS: &str = "{keys}";
/// What stands for one key in a tag.
pub(super) const KEY: &str = "{key}";
/// The most bytes of one key. A longer one is nobody's id.
const LONGEST: usize = 256;
/// The most bytes of all keys in one target, whatever `max_keys` says: many services take 8 KiB in the first line.
const ROOM: usize = 6 << 10;

/// A target with a place for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    before: Box<str>,
    after: Box<str>,
}

impl Target {
    /// Reads what was typed, which begins with a slash.
    ///
    /// # Errors
    /// The words that are wrong, and why.
    pub(super) fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        let Some((before, after)) = text.split_once(KEYS) else {
            return Err((text.to_owned(), "there is no place for the keys"));
        };
        if let Some(at) =
            before.find(['{', '}']).or_else(|| Some(before.len() + KEYS.len() + after.find(['{', '}'])?))
        {
            let words = &text[at..];
            let end = words.find('}').map_or(words.len(), |end| end + 1);
            return Err((words[..end].to_owned(), "nothing but the keys, once, can stand in it"));
        }
        let sample = format!("{before}0{after}");
        // A fragment would be dropped, and what is not ASCII is escaped by some and not by others.
        let asked_for = sample.is_ascii() && !sample.contains('#') && sample.parse::<PathAndQuery>().is_ok();
        if !asked_for || !path::check(sample.split('?').next().unwrap_or_default()) {
            return Err((text.to_owned(), "it is no path that can be asked for"));
        }
        Ok(Target { before: before.into(), after: after.into() })
    }

    /// Parts of `keys` that fit into one call each: `most` at most.
    #[must_use]
    pub(super) fn split(&self, keys: Vec<Arc<str>>, most: usize) -> Vec<Vec<Arc<str>>> {
        let (mut parts, mut part, mut size) = (Vec::new(), Vec::new(), 0);
        for key in keys {
            let takes = key.len() * 3 + 1; // all of it escaped
            if part.len() == most || size + takes > ROOM {
                parts.push(std::mem::take(&mut part));
                size = 0;
            }
            size += takes;
            part.push(key);
        }
        parts.push(part);
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// The target that asks for `keys`.
    #[must_use]
    pub(super) fn write(&self, keys: &[Arc<str>]) -> PathAndQuery {
        let mut text = String::with_capacity(self.before.len() + self.after.len() + keys.len() * 8);
        text.push_str(&self.before);
        for (at, key) in keys.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            path::push_text(&mut text, key);
        }
        text.push_str(&self.after);
        PathAndQuery::try_from(text).expect("checked at config build, and keys are escaped")
    }

    /// The keys that a target asks for which was written by [`Target::write`].
    #[must_use]
    pub(super) fn read(&self, target: &str) -> Option<Vec<Arc<str>>> {
        let keys = target.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        keys.split(',').map(|key| path::decode(key).map(|key| Arc::from(&*key))).collect()
    }
}

/// Whether anything can have this key.
#[must_use]
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Vec<Arc<str>> {
        keys.iter().map(|key| Arc::from(*key)).collect()
    }

    #[test]
    fn what_is_written_is_read_again_whatever_a_key_holds() {
        for (typed, written, asked) in [
            ("/restaurants?ids={keys}", "/restaurants?ids=1,2", keys(&["1", "2"])),
            ("/r?ids={keys}&all=1", "/r?ids=1%2C2,a%26b%3D%25&all=1", keys(&["1,2", "a&b=%"])),
            ("/r/{keys}/x", "/r/a%2Fb,%C3%A9%20/x", keys(&["a/b", "é "])),
        ] {
            let target = Target::parse(typed).unwrap();
            assert_eq!(target.write(&asked).as_str(), written);
            assert_eq!(target.read(written), Some(asked));
        }
        let target = Target::parse("/r?ids={keys}").unwrap();
        assert_eq!((target.read("/s?ids=1"), target.read("/r?ids=%ff")), (None, None));
    }

    #[test]
    fn a_target_without_one_place_for_keys_is_refused_with_the_words_that_are_wrong() {
        for (typed, words) in [
            ("/r?ids=", "/r?ids="),
            ("/r?ids={keys}&more={keys}", "{keys}"),
            ("/r/{id}?ids={keys}", "{id}"),
            ("/r?ids={keys}{", "{"),
            ("/r?ids=}{keys}", "}"),
            ("/../r?ids={keys}", "/../r?ids={keys}"),
            ("/r r?ids={keys}", "/r r?ids={keys}"),
        ] {
            assert_eq!(Target::parse(typed).unwrap_err().0, words, "{typed}");
        }
    }

    #[test]
    fn keys_are_split_by_their_number_and_by_the_room_they_take() {
        let target = Target::parse("/r?ids={keys}").unwrap();
        let sizes =
            |keys: Vec<Arc<str>>, most| target.split(keys, most).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes((0..25).map(|n| Arc::from(n.to_string())).collect(), 10), [10, 10, 5]);
        assert_eq!(sizes(Vec::new(), 10), [0; 0]);
        let long = vec![Arc::from("x".repeat(LONGEST)); 20];
        assert_eq!(sizes(long, 100), [7, 7, 6]);
    }

    #[test]
    fn nothing_and_what_is_too_long_is_no_key() {
        assert!(is_key("1") && is_key(&"x".repeat(LONGEST)));
        assert!(!is_key("") && !is_key(&"x".repeat(LONGEST + 1)));
    }
}
