//! What an answer is kept under: the URL, the route, and for whom it is.
//!
//! A look takes one hash and no copy; what is found is compared in full, so that a collision is a miss and never another's
//! answer.
//! Not here: the fields that an answer varies by (`vary.rs`).

use std::hash::{BuildHasher, Hasher};

use aws_lc_rs::digest::{Context, SHA256};
use http::{HeaderName, HeaderValue};

use super::second_tier::{finish, hash_part};

/// Everything that services are told of a caller, and may answer by.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// Who it is.
    pub user: &'a HeaderValue,
    /// Its roles.
    pub roles: &'a HeaderValue,
    /// Its credentials, where they go on.
    pub token: Option<&'a HeaderValue>,
    /// What else.
    pub told: &'a [(HeaderName, HeaderValue)],
}

impl Whose<'_> {
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let fixed = [Some(self.user), Some(self.roles), self.token];
        let fixed = fixed.into_iter().map(|value| value.map_or(&b""[..], HeaderValue::as_bytes));
        let told = self.told.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        fixed.chain(told)
    }

    /// All of it as bytes, each part behind its length: no two callers have the same.
    #[must_use]
    pub fn owned(&self) -> Box<[u8]> {
        let mut all = Vec::new();
        for part in self.parts() {
            all.extend_from_slice(&(part.len() as u32).to_be_bytes());
            all.extend_from_slice(part);
        }
        all.into()
    }

    fn is(&self, mut owned: &[u8]) -> bool {
        for part in self.parts() {
            let Some((length, rest)) = owned.split_first_chunk::<4>() else { return false };
            let length = u32::from_be_bytes(*length) as usize;
            if length != part.len() || rest.get(..length) != Some(part) {
                return false;
            }
            owned = &rest[length..];
        }
        owned.is_empty()
    }
}

/// What a request looks for.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// The host that is asked for, as the client wrote it: services are told so.
    pub host: &'a [u8],
    /// Path and query, as sent.
    pub target: &'a str,
    /// Whether the client came by TLS, which services are told.
    pub tls: bool,
    /// Who asks; nobody where the answer is everybody's.
    pub whose: Option<Whose<'a>>,
    /// The tags that the configuration gives the answer, a line each: what they are written from is part of the key, too.
    pub tags: &'a str,
    /// Stands for the route as it is configured: another configuration does not find what this one has kept.
    pub route: u64,
}

/// The same, kept beside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedKey {
    host: Box<[u8]>,
    target: Box<str>,
    tls: bool,
    whose: Option<Box<[u8]>>,
    tags: Box<str>,
    route: u64,
}

impl Key<'_> {
    /// One number for it.
    pub fn hash(&self, with: &impl BuildHasher) -> u64 {
        let mut state = with.build_hasher();
        state.write_u64(self.route ^ u64::from(self.tls));
        state.write_u64((self.host.len() as u64) << 32 | self.target.len() as u64);
        state.write(self.host);
        state.write(self.target.as_bytes());
        if let Some(whose) = &self.whose {
            whose.parts().for_each(|bytes| part(&mut state, bytes));
        }
        if !self.tags.is_empty() {
            part(&mut state, self.tags.as_bytes());
        }
        state.finish()
    }

    /// The tags one by one.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.tags.split('\n').filter(|tag| !tag.is_empty())
    }

    /// A copy to keep.
    #[must_use]
    pub fn owned(&self) -> OwnedKey {
        OwnedKey {
            host: self.host.into(),
            target: self.target.into(),
            tls: self.tls,
            whose: self.whose.map(|whose| whose.owned()),
            tags: self.tags.into(),
            route: self.route,
        }
    }
}

fn part(state: &mut impl Hasher, bytes: &[u8]) {
    state.write_usize(bytes.len());
    state.write(bytes);
}

impl OwnedKey {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, key: &Key<'_>) -> bool {
        let same_caller = match (&self.whose, &key.whose) {
            (None, None) => true,
            (Some(owned), Some(whose)) => whose.is(owned),
            _ => false,
        };
        same_caller
            && *self.target == *key.target
            && *self.host == *key.host
            && *self.tags == *key.tags
            && (self.tls, self.route) == (key.tls, key.route)
    }

    /// Host and target.
    pub(super) fn url(&self) -> (&[u8], &str) {
        (&self.host, &self.target)
    }

    /// The same on all instances, and never for two keys: a SHA-256 over all of it, from which nobody learns a token.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Context::new(&SHA256);
        hash.update(&self.route.to_be_bytes());
        hash.update(&[u8::from(self.tls), u8::from(self.whose.is_some())]);
        hash_part(&mut hash, &self.host);
        hash_part(&mut hash, self.target.as_bytes());
        hash_part(&mut hash, self.whose.as_deref().unwrap_or_default());
        hash_part(&mut hash, self.tags.as_bytes());
        finish(hash)
    }

    /// What it takes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.host.len()
            + self.target.len()
            + self.tags.len()
            + self.whose.as_ref().map_or(0, |whose| whose.len())
    }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use super::*;

    #[test]
    fn a_key_is_only_itself() {
        let [john, mary, none] = ["john", "mary", ""].map(HeaderValue::from_static);
        let token = HeaderValue::from_static("Bearer x");
        let told = [(HeaderName::from_static("x-tenant"), HeaderValue::from_static("a"))];
        let whose = |user, token, told| Some(Whose { user, roles: &none, token, told });
        let key = Key {
            host: b"ftgo",
            target: "/a?b",
            tls: false,
            whose: whose(&john, None, &[]),
            tags: "",
            route: 1,
        };
        let others = [
            Key { host: b"ftg", ..key },
            Key { host: b"ftgo/", target: "a?b", ..key },
            Key { target: "/a", ..key },
            Key { tls: true, ..key },
            Key { route: 2, ..key },
            Key { tags: "order:1", ..key },
            Key { whose: None, ..key },
            Key { whose: whose(&mary, None, &[]), ..key },
            Key { whose: whose(&john, Some(&token), &[]), ..key },
            Key { whose: whose(&john, None, &told), ..key },
        ];
        let (owned, random) = (key.owned(), RandomState::new());
        assert!(owned.is(&key) && key.hash(&random) == key.hash(&random));
        for other in &others {
            assert!(!owned.is(other) && !other.owned().is(&key), "{other:?}");
            assert_ne!(other.hash(&random), key.hash(&random));
            assert_ne!(other.owned().digest(), owned.digest());
        }
    }
}
