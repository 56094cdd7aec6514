//! `Cache-Status` (RFC 9211): what became of a request here, as a structured field.

use std::{fmt::Write as _, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// `Cache-Status`.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Nothing yet: it is never sent.
const ROOM: HeaderValue = HeaderValue::from_static("gateway");

/// Why a request was sent on (RFC 9211 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fwd {
    /// Nothing is kept for its URL.
    UriMiss,
    /// What is kept does not fit it.
    VaryMiss,
    /// What is kept is no longer good.
    Stale,
    /// Its method's answers are not kept.
    Method,
    /// The client asked for that.
    Request,
    /// The cache was not to be used.
    Bypass,
}

impl Fwd {
    fn name(self) -> &'static str {
        match self {
            Fwd::UriMiss => "uri-miss",
            Fwd::VaryMiss => "vary-miss",
            Fwd::Stale => "stale",
            Fwd::Method => "method",
            Fwd::Request => "request",
            Fwd::Bypass => "bypass",
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Answered from here: seconds that it is still good, negative if it is not.
    Hit {
        /// How long.
        ttl: i64,
    },
    /// The same, by what another instance has kept.
    SharedHit {
        /// How long.
        ttl: i64,
    },
    /// Sent on.
    Forwarded {
        /// Why.
        fwd: Fwd,
        /// The service's status where it is not the answer's.
        status: Option<StatusCode>,
        /// Whether the answer is kept.
        stored: bool,
        /// Whether another request's answer serves for it.
        collapsed: bool,
    },
}

/// `lifetime` less `age`, in seconds.
#[must_use]
pub fn ttl(lifetime: Duration, age: Duration) -> i64 {
    lifetime.as_secs() as i64 - age.as_secs() as i64
}

impl Told {
    /// That it was sent on and nothing came of it here.
    #[must_use]
    pub fn passed(fwd: Fwd) -> Self {
        Told::Forwarded { fwd, status: None, stored: false, collapsed: false }
    }

    /// Says so, behind what caches on the way have said (RFC 9211 section 2).
    pub fn tell(self, headers: &mut HeaderMap) {
        let value = match self {
            Told::Hit { ttl } | Told::SharedHit { ttl } => {
                let mut text = BytesMut::with_capacity(64);
                text.extend_from_slice(b"gateway;hit;ttl=");
                text.extend_from_slice(itoa::Buffer::new().format(ttl).as_bytes());
                if matches!(self, Told::SharedHit { .. }) {
                    text.extend_from_slice(b";detail=shared");
                }
                HeaderValue::from_maybe_shared(text.freeze()).expect("a token and a number")
            }
            Told::Forwarded { fwd, status, stored, collapsed } => {
                let mut text = format!("gateway;fwd={}", fwd.name());
                if let Some(status) = status {
                    write!(text, ";fwd-status={}", status.as_u16()).expect("writing to a string cannot fail");
                }
                for (so, parameter) in [(stored, ";stored"), (collapsed, ";collapsed")] {
                    text.push_str(if so { parameter } else { "" });
                }
                HeaderValue::try_from(text).expect("tokens and a number")
            }
        };
        match headers.get_mut(CACHE_STATUS) {
            Some(room) if *room == ROOM => *room = value,
            _ => _ = headers.append(CACHE_STATUS, value),
        }
    }
}

/// Where [`Told::tell`] will write in copies of `headers`.
pub(super) fn make_room(headers: &mut HeaderMap) {
    if !headers.contains_key(CACHE_STATUS) {
        headers.insert(CACHE_STATUS, ROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_request_is_told_in_the_words_of_the_rfc() {
        let not_modified = Some(StatusCode::NOT_MODIFIED);
        for (told, text) in [
            (Told::Hit { ttl: 30 }, "gateway;hit;ttl=30"),
            (Told::Hit { ttl: -5 }, "gateway;hit;ttl=-5"),
            (Told::SharedHit { ttl: 30 }, "gateway;hit;ttl=30;detail=shared"),
            (Told::passed(Fwd::Method), "gateway;fwd=method"),
            (
                Told::Forwarded { fwd: Fwd::Stale, status: not_modified, stored: true, collapsed: false },
                "gateway;fwd=stale;fwd-status=304;stored",
            ),
            (
                Told::Forwarded { fwd: Fwd::UriMiss, status: None, stored: false, collapsed: true },
                "gateway;fwd=uri-miss;collapsed",
            ),
        ] {
            let mut headers = HeaderMap::new();
            told.tell(&mut headers);
            assert_eq!(headers[CACHE_STATUS], text);
        }
        assert_eq!(ttl(Duration::from_secs(5), Duration::from_secs(7)), -2);
    }
}
