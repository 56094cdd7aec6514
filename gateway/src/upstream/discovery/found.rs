//! What was found when somebody was asked: all of it, for how long that is good, and what failed.
//!
//! Not here: asking.

use std::time::Duration;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found<T> {
    /// All of it, with what was known before wherever asking failed.
    pub(super) all: Vec<T>,
    /// For how long what was answered is good; `Duration::MAX` when nothing was.
    pub(super) ttl: Duration,
    /// What failed, for the log. The rest may have been answered.
    pub(super) failed: Option<String>,
}

impl<T> Found<T> {
    /// What nobody needs to be asked for again.
    pub(super) fn for_ever(all: Vec<T>) -> Self {
        Found { all, ttl: Duration::MAX, failed: None }
    }

    /// Nothing, and why.
    pub(super) fn nothing(why: String) -> Self {
        Found { all: Vec::new(), ttl: Duration::MAX, failed: Some(why) }
    }

    /// All of several, for the shortest time, with the first failure.
    pub(super) fn together(several: Vec<Self>) -> Self {
        let mut whole = Found::for_ever(Vec::new());
        for found in several {
            whole.all.extend(found.all);
            whole.ttl = whole.ttl.min(found.ttl);
            whole.failed = whole.failed.or(found.failed);
        }
        whole
    }

    /// The same, failed for `why` unless it has failed already.
    pub(super) fn or_failed(self, why: impl FnOnce() -> String) -> Self {
        Found { failed: self.failed.or_else(|| Some(why())), ..self }
    }

    /// The same of something else.
    pub(super) fn map<U>(self, into: impl FnMut(T) -> U) -> Found<U> {
        Found { all: self.all.into_iter().map(into).collect(), ttl: self.ttl, failed: self.failed }
    }
}
