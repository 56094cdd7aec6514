//! How an answer is written into Redis, and read again: a version, then every part behind its length.
//!
//! What cannot be read to its last byte is nothing. No request is in it: whom it was for, and what it varies by, are
//! compared by a SHA-256 over all of it.
//! Not here: under which key it stands, and until when (`mod.rs`).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::cache::control::{OF_A_CONNECTION, Terms, is_storable};

/// Of what is written; in the keys as well, so that versions do not meet. To be counted up with every change here, and with
/// every change of what an answer means.
pub(super) const VERSION: u8 = 1;

/// What all of a key, and of what its answer varies by, comes to.
pub(super) type Digest = [u8; 32];

const NAMES: u8 = b'V';
const ANSWER: u8 = b'A';

/// What stands in Redis under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// The answers vary by these fields: each stands under a key of its own.
    Names(Box<[HeaderName]>),
    /// An answer.
    Kept(Box<Kept>),
}

/// An answer as it stands in Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// What it was asked for by whom.
    pub(super) digest: Digest,
    /// The last purge that it knows of.
    pub(super) as_of: u64,
    /// How long it was to stand there when it was written, and how old it was then.
    pub(super) lasts: Duration,
    pub(super) age: Duration,
    pub(super) status: StatusCode,
    pub(super) terms: Terms,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Names of fields, as they stand in Redis.
pub(super) fn names(names: &[HeaderName]) -> Vec<u8> {
    let mut out = vec![VERSION, NAMES];
    count(&mut out, names.len());
    names.iter().for_each(|name| part(&mut out, name.as_str().as_bytes()));
    out
}

impl Kept {
    /// How many bytes it is written in, or somewhat more.
    pub(super) fn size(headers: &HeaderMap, body: &Bytes) -> usize {
        const FIXED: usize = 128;
        let fields: usize = headers.iter().map(|(name, value)| 8 + name.as_str().len() + value.len()).sum();
        FIXED + fields + body.len()
    }

    /// Whether it could have been kept anywhere: whoever writes into Redis decides about data, not about framing.
    pub(super) fn is_an_answer(&self) -> bool {
        let mut lengths = self.headers.get_all(header::CONTENT_LENGTH).iter();
        let length = lengths.next().is_none_or(|told| *told == HeaderValue::from(self.body.len()));
        let empty = self.status != StatusCode::NO_CONTENT || self.body.is_empty();
        let own = OF_A_CONNECTION.iter().all(|name| !self.headers.contains_key(name));
        (200..600).contains(&self.status.as_u16())
            && is_storable(self.status)
            && (length && lengths.next().is_none())
            && (empty && own)
    }

    /// As it stands in Redis.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Kept::size(&self.headers, &self.body));
        out.extend_from_slice(&[VERSION, ANSWER]);
        out.extend_from_slice(&self.digest);
        number(&mut out, self.as_of);
        for span in
            [self.lasts, self.age, self.terms.lifetime, self.terms.while_revalidate, self.terms.if_error]
        {
            number(&mut out, millis(span));
        }
        out.push(u8::from(self.terms.always_validate) | u8::from(self.terms.never_stale) << 1);
        out.extend_from_slice(&self.status.as_u16().to_be_bytes());
        count(&mut out, self.headers.len());
        for (name, value) in &self.headers {
            part(&mut out, name.as_str().as_bytes());
            part(&mut out, value.as_bytes());
        }
        part(&mut out, &self.body);
        out
    }
}

/// What it says, if all of it can be read.
pub(super) fn decode(bytes: Bytes) -> Option<Value> {
    let mut rest = Rest(bytes);
    let value = match rest.take::<2>()? {
        [VERSION, NAMES] => {
            let count = rest.count()?;
            let names = (0..count).map(|_| rest.name()).collect::<Option<Box<[_]>>>()?;
            Value::Names(names)
        }
        [VERSION, ANSWER] => Value::Kept(Box::new(kept(&mut rest)?)),
        _ => return None,
    };
    rest.0.is_empty().then_some(value)
}

fn kept(rest: &mut Rest) -> Option<Kept> {
    let (digest, as_of) = (rest.take()?, rest.number()?);
    let [lasts, age, lifetime, while_revalidate, if_error] =
        [rest.span()?, rest.span()?, rest.span()?, rest.span()?, rest.span()?];
    let [flags] = rest.take()?;
    if flags > 3 {
        return None;
    }
    let (always_validate, never_stale) = (flags & 1 != 0, flags & 2 != 0);
    let terms = Terms { lifetime, always_validate, never_stale, while_revalidate, if_error };
    let status = StatusCode::from_u16(u16::from_be_bytes(rest.take()?)).ok()?;
    let fields = rest.count()?;
    let mut headers = HeaderMap::with_capacity(fields);
    for _ in 0..fields {
        let name = rest.name()?;
        headers.append(name, HeaderValue::from_maybe_shared(rest.part()?).ok()?);
    }
    Some(Kept { digest, as_of, lasts, age, status, terms, headers, body: rest.part()? })
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_be_bytes());
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What has not been read yet.
struct Rest(Bytes);

impl Rest {
    fn bytes(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.0.len()).then(|| self.0.split_to(count))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        (*self.bytes(N)?).try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn span(&mut self) -> Option<Duration> {
        self.number().map(Duration::from_millis)
    }

    /// How many parts follow: each takes four bytes at least, so that a wrong number takes no memory.
    fn count(&mut self) -> Option<usize> {
        let count = u32::from_be_bytes(self.take()?) as usize;
        (count <= self.0.len() / 4 && count <= MOST_PARTS).then_some(count)
    }

    fn part(&mut self) -> Option<Bytes> {
        let length = u32::from_be_bytes(self.take()?) as usize;
        self.bytes(length)
    }

    fn name(&mut self) -> Option<HeaderName> {
        HeaderName::from_bytes(&self.part()?).ok()
    }
}

/// Far more than a header section may have, and fewer than a map of them can hold.
const MOST_PARTS: usize = 4_096;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn header() -> impl Strategy<Value = (HeaderName, HeaderValue)> {
        let name = "[a-z][a-z0-9-]{0,20}".prop_map(|name| name.parse().unwrap());
        let value = vec(prop_oneof![32..127u8, 128..=255u8], 0..40);
        (name, value.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()))
    }

    fn any_kept() -> impl Strategy<Value = Kept> {
        let span = || (0..u64::MAX).prop_map(Duration::from_millis);
        let terms = (span(), any::<bool>(), any::<bool>(), span(), span()).prop_map(
            |(lifetime, always_validate, never_stale, while_revalidate, if_error)| Terms {
                lifetime,
                always_validate,
                never_stale,
                while_revalidate,
                if_error,
            },
        );
        let headers = vec(header(), 0..8).prop_map(|all| {
            let mut headers = HeaderMap::new();
            for (name, value) in all {
                headers.append(name, value);
            }
            headers
        });
        let body = vec(any::<u8>(), 0..200);
        (any::<[u8; 32]>(), any::<u64>(), (span(), span()), 100..1000u16, terms, headers, body).prop_map(
            |(digest, as_of, (lasts, age), status, terms, headers, body)| Kept {
                digest,
                as_of,
                lasts,
                age,
                status: StatusCode::from_u16(status).unwrap(),
                terms,
                headers,
                body: body.into(),
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_and_nothing_that_is_cut_short_or_goes_on(kept in any_kept()) {
            let written = Bytes::from(kept.encode());
            prop_assert!(written.len() <= Kept::size(&kept.headers, &kept.body));
            prop_assert_eq!(decode(written.clone()), Some(Value::Kept(Box::new(kept))));
            for end in 0..written.len() {
                prop_assert_eq!(decode(written.slice(..end)), None);
            }
            let longer = [&written[..], b"x"].concat();
            prop_assert_eq!(decode(longer.into()), None);
        }

        #[test]
        fn what_is_no_answer_is_nothing_and_ends_nobody(
            kept in any_kept(), at in any::<prop::sample::Index>(), byte: u8, noise in vec(any::<u8>(), 0..200),
        ) {
            let mut written = kept.encode();
            let at = at.index(written.len());
            written[at] = byte;
            drop(decode(written.into()));
            drop(decode([&[VERSION, ANSWER][..], &noise].concat().into()));
            drop(decode([&[VERSION, NAMES][..], &noise].concat().into()));
            prop_assert!(decode([&[VERSION + 1, ANSWER][..], &noise].concat().into()).is_none());
        }

        #[test]
        fn names_are_read_again(all in vec(header(), 0..16)) {
            let all: Box<[HeaderName]> = all.into_iter().map(|(name, _)| name).collect();
            let written = Bytes::from(names(&all));
            for end in 0..written.len() {
                prop_assert_eq!(decode(written.slice(..end)), None);
            }
            prop_assert_eq!(decode(written), Some(Value::Names(all)));
        }
    }

    #[test]
    fn what_no_service_could_have_said_is_no_answer() {
        let kept = |status: u16, fields: &[(HeaderName, &'static str)], body: &'static str| Kept {
            digest: [0; 32],
            as_of: 0,
            lasts: Duration::ZERO,
            age: Duration::ZERO,
            status: StatusCode::from_u16(status).unwrap(),
            terms: Terms {
                lifetime: Duration::ZERO,
                always_validate: false,
                never_stale: false,
                while_revalidate: Duration::ZERO,
                if_error: Duration::ZERO,
            },
            headers: fields
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect(),
            body: Bytes::from_static(body.as_bytes()),
        };
        let length = |value| (header::CONTENT_LENGTH, value);
        for answer in [kept(200, &[], "it"), kept(404, &[length("2")], "it"), kept(204, &[length("0")], "")] {
            assert!(answer.is_an_answer(), "{answer:?}");
        }
        for none in [
            kept(101, &[], ""),
            kept(206, &[], "it"),
            kept(304, &[], ""),
            kept(999, &[], "it"),
            kept(204, &[], "it"),
            kept(200, &[length("1")], "it"),
            kept(200, &[length("+2")], "it"),
            kept(200, &[length("2"), length("2")], "it"),
            kept(200, &[(header::TRANSFER_ENCODING, "chunked")], "it"),
            kept(200, &[(header::CONNECTION, "close")], "it"),
        ] {
            assert!(!none.is_an_answer(), "{none:?}");
        }
    }
}
