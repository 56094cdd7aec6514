//! What a request is counted under. Not here: how (`local.rs`, `redis_counter.rs`).

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use http::{HeaderMap, HeaderName};

use super::config::Key;
use crate::{
    downstream::Network,
    routing::{Params, path},
};

/// What is known of who asks, at some point of a request's life.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The address of the peer.
    pub address: IpAddr,
    /// The `sub` of the caller, if there is one and it is known.
    pub sub: Option<&'a str>,
    /// The request's header section.
    pub headers: &'a HeaderMap,
    /// The path parameters, for limits by one.
    pub params: Option<&'a Params>,
}

/// What a limit looks at, resolved once.
#[derive(Debug, Clone)]
pub(super) enum By {
    Address,
    Principal,
    Header(HeaderName),
    Path(Box<str>),
}

impl By {
    /// None for a header field that is none.
    pub(super) fn of(key: &Key) -> Option<By> {
        Some(match key {
            Key::Address => By::Address,
            Key::Principal => By::Principal,
            Key::Header(name) => By::Header(name.parse().ok()?),
            Key::Path(name) => By::Path(name.as_str().into()),
        })
    }

    /// Whom the request is counted as. What it does not have is no way around: then it is its address.
    pub(super) fn subject<'a>(&self, asker: &Asker<'a>) -> Subject<'a> {
        let found = match self {
            By::Address => None,
            By::Principal => asker.sub.map(|sub| Cow::Borrowed(sub.as_bytes())).map(Subject::Principal),
            By::Header(name) => {
                asker.headers.get(name).map(|value| Cow::Borrowed(value.as_bytes())).map(Subject::Header)
            }
            By::Path(name) => {
                asker.params.and_then(|params| params.get(name)).map(path::bytes).map(Subject::Path)
            }
        };
        found.unwrap_or(Subject::Address(asker.address))
    }
}

/// Whom a request is counted as.
#[derive(Debug, Clone)]
pub(super) enum Subject<'a> {
    Address(IpAddr),
    Principal(Cow<'a, [u8]>),
    Header(Cow<'a, [u8]>),
    Path(Cow<'a, [u8]>),
}

impl Subject<'_> {
    /// The same, for later.
    pub(super) fn into_owned(self) -> Subject<'static> {
        let own = |text: Cow<'_, [u8]>| Cow::Owned(text.into_owned());
        match self {
            Subject::Address(address) => Subject::Address(address),
            Subject::Principal(text) => Subject::Principal(own(text)),
            Subject::Header(text) => Subject::Header(own(text)),
            Subject::Path(text) => Subject::Path(own(text)),
        }
    }

    /// A kind and its bytes: no principal can pose as an address. The same in every instance.
    pub(super) fn with_bytes<T>(&self, then: impl FnOnce(u8, &[u8]) -> T) -> T {
        match self {
            Subject::Address(address) => match Network::of(*address) {
                Network::V4(bits) => then(4, &bits.to_be_bytes()),
                Network::V6(bits) => then(6, &bits.to_be_bytes()),
            },
            Subject::Principal(text) => then(b'p', text),
            Subject::Header(text) => then(b'h', text),
            Subject::Path(text) => then(b'a', text),
        }
    }
}

/// What is counted apart from what. Small and `Copy`: nothing is allocated per request, and a long `sub` costs no more
/// memory than a short one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// An address.
    Network(Network),
    /// A hash of a text. Its key is random, so that nobody can look for a text that shares another's bucket.
    Text(u64),
    /// One of a fixed number of buckets that all share while too many keys are held.
    Crowd(u16),
}

/// Turns requests into keys.
#[derive(Default)]
pub(super) struct Keys(RandomState);

impl Keys {
    pub(super) fn of(&self, subject: &Subject<'_>) -> Counted {
        match subject {
            Subject::Address(address) => Counted::Network(Network::of(*address)),
            text => text.with_bytes(|_kind, bytes| Counted::Text(self.0.hash_one(bytes))),
        }
    }
}
