//! The connection that requests come by, as the rest of the gateway knows it.
//!
//! Not here: serving it (`server/`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use http::HeaderValue;
use tokio::sync::Notify;

use crate::worker;

/// The connection that a request came by, with what is told to services about it. Where a trusted proxy stands before the
/// gateway, each request has its own, with the client's address and the connection's activity.
#[derive(Debug)]
pub struct Downstream {
    /// The client's address; with port 0 where a proxy did not tell the port.
    pub peer: SocketAddr,
    /// The same as text, for the log; without a port where that is not known.
    pub peer_text: Box<str>,
    /// Whether the client came by TLS.
    pub tls: bool,
    /// `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
    /// `for=...;proto=...`, the part of `Forwarded` (RFC 7239) that is the same for all requests.
    forwarded: String,
    /// The first host that was asked for, and `Forwarded` with it: clients stay with one host.
    first_host: OnceLock<(HeaderValue, HeaderValue)>,
    /// The names in the client's certificate, which was checked in the handshake.
    certificate: OnceLock<Arc<[Box<str>]>>,
    /// What is being done on it.
    pub activity: Arc<Activity>,
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 one, since providers give a customer all of it. An IPv4
/// address that is written as IPv6 (RFC 4291 section 2.5.5.2) is an IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// An address of IPv4.
    V4(u32),
    /// The first 64 bits of an address of IPv6.
    V6(u64),
}

impl Network {
    /// Where `address` lies.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Network::V4(address.to_bits()),
            IpAddr::V6(address) => Network::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// So many requests may be given up on one connection before their answers, in so many ticks: ten seconds. Each has cost the
/// gateway a request, and a service perhaps, and none of them the client a stream (CVE-2023-44487, in pace).
const MOST_LEFT: u32 = 100;
const LEFT_WITHIN: u32 = 100;

/// What is being done on a connection. It is served by one worker, so loads and stores suffice where others would have to
/// count atomically.
#[derive(Debug)]
pub struct Activity {
    /// Requests that have begun and whose answers have not ended.
    answering: AtomicU32,
    /// Of these, answers of which the client has been given something and has not asked for more.
    given: AtomicU32,
    /// The worker's tick at which something went on last: the client's reading, the end of an answer.
    since: AtomicU32,
    /// Whether an answer waits for the client to read.
    blocked: AtomicBool,
    /// Whether it has not taken all that it was given since it was waited for, and the bytes of that since `since`.
    behind: AtomicBool,
    taken: AtomicU32,
    /// Whether an answer broke off that only the end of the connection ends: then the end must not look like one.
    cut: AtomicBool,
    /// Whether all that was answered has been handed to the system.
    flushed: AtomicBool,
    /// How many bytes of answers a client was given, to tell one time from another; it wraps.
    gifts: AtomicU32,
    /// Set while an answer ends because its client takes nothing of it.
    ending: AtomicBool,
    /// Requests that the client gave up before their answers, since `left_since`.
    left: AtomicU32,
    left_since: AtomicU32,
    /// Whether they were too many, and who wants to know.
    restless: AtomicBool,
    told: Notify,
}

/// What one stream of HTTP/2 can tell of its answer by what changes while it runs, since one runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Answers that wait for their client to take something.
    waiting: u32,
    gifts: u32,
}

impl Given {
    /// Whether the answer of the stream that ran since `before` waits for its client now, if it `waited` then; and for how many
    /// new bytes.
    #[must_use]
    pub fn since(self, before: Given, waited: bool) -> (bool, u32) {
        let waits = (u32::from(waited) + self.waiting).saturating_sub(before.waiting) > 0;
        (waits, if waits { self.gifts.wrapping_sub(before.gifts) } else { 0 })
    }
}

impl Default for Activity {
    fn default() -> Self {
        let (answering, given) = (AtomicU32::new(0), AtomicU32::new(0));
        let since = AtomicU32::new(worker::ticks());
        let flushed = AtomicBool::new(true);
        let (blocked, behind, cut, ending, restless) = Default::default();
        let (taken, gifts, left, left_since, told) = Default::default();
        Activity {
            answering,
            given,
            since,
            blocked,
            behind,
            taken,
            cut,
            flushed,
            gifts,
            ending,
            left,
            left_since,
            restless,
            told,
        }
    }
}

impl Activity {
    /// A request has begun.
    pub fn begin(&self) {
        self.answering.store(self.answering.load(Relaxed) + 1, Relaxed);
    }

    /// An answer has ended, or nobody waits for it any more.
    pub fn end(&self) {
        self.answering.store(self.answering.load(Relaxed).saturating_sub(1), Relaxed);
        self.flushed.store(false, Relaxed); // its last bytes are still to be written
        self.since.store(worker::ticks(), Relaxed);
    }

    /// So many bytes of an answer are there for the client to take. What has none, such as trailers, counts as one.
    pub fn given(&self, bytes: usize) {
        let bytes = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        self.given.store(self.given.load(Relaxed) + 1, Relaxed);
        self.gifts.store(self.gifts.load(Relaxed).wrapping_add(bytes), Relaxed);
        self.since.store(worker::ticks(), Relaxed);
    }

    /// How it stands with what clients were given.
    #[must_use]
    pub fn gave(&self) -> Given {
        Given { waiting: self.given.load(Relaxed), gifts: self.gifts.load(Relaxed) }
    }

    /// Runs `end`, which ends an answer of which the client takes nothing.
    pub fn ending(&self, end: impl FnOnce()) {
        self.ending.store(true, Relaxed);
        end();
        self.ending.store(false, Relaxed);
    }

    /// Whether that is why an answer ends.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// The client gave a request up before there was an answer.
    pub fn left(&self) {
        let now = worker::ticks();
        if now.wrapping_sub(self.left_since.load(Relaxed)) > LEFT_WITHIN {
            self.left_since.store(now, Relaxed);
            self.left.store(0, Relaxed);
        }
        let left = self.left.load(Relaxed) + 1;
        self.left.store(left, Relaxed);
        if left > MOST_LEFT && !self.restless.swap(true, Relaxed) {
            self.told.notify_one();
        }
    }

    /// Returns once the client has given up too many requests for one that means them.
    pub async fn restless(&self) {
        while !self.restless.load(Relaxed) {
            self.told.notified().await;
        }
    }

    /// The client has made room for more, or the answer is over.
    pub fn wanted(&self) {
        self.given.store(self.given.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// The client has taken some bytes.
    pub fn written(&self) {
        self.blocked.store(false, Relaxed);
        self.since.store(worker::ticks(), Relaxed);
    }

    /// The client has taken so many bytes: nothing to speak of while it is behind and they are not `least` together.
    pub fn took(&self, bytes: usize, least: usize) {
        self.blocked.store(false, Relaxed);
        let taken = (self.taken.load(Relaxed) as usize).saturating_add(bytes);
        if taken < least && self.behind.load(Relaxed) {
            self.taken.store(taken as u32, Relaxed);
        } else {
            self.taken.store(0, Relaxed);
            self.since.store(worker::ticks(), Relaxed);
        }
    }

    /// The client takes no more bytes.
    pub fn blocked(&self) {
        self.blocked.store(true, Relaxed);
        if !self.behind.swap(true, Relaxed) {
            self.taken.store(0, Relaxed);
            self.since.store(worker::ticks(), Relaxed);
        }
    }

    /// An answer over HTTP/1.0 broke off: to such a client the end of the connection is the end of the answer.
    pub fn cut(&self) {
        self.cut.store(true, Relaxed);
    }

    /// Whether that happened.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// All that was written has been handed to the system.
    pub fn flushed(&self) {
        self.flushed.store(true, Relaxed);
        self.behind.store(false, Relaxed);
    }

    /// Whether the next byte cannot belong to an answer.
    #[must_use]
    pub fn is_between_answers(&self) -> bool {
        self.flushed.load(Relaxed) && self.answering.load(Relaxed) == 0
    }

    /// For how many ticks the client has kept the gateway waiting.
    #[must_use]
    pub fn quiet(&self) -> u32 {
        if self.answering.load(Relaxed) > 0 && !self.blocked.load(Relaxed) {
            return 0;
        }
        worker::ticks().wrapping_sub(self.since.load(Relaxed))
    }

    /// The same over HTTP/2, where several answers are under way and the connection is never full.
    #[must_use]
    pub fn quiet_over_http2(&self) -> u32 {
        if self.answering.load(Relaxed) > self.given.load(Relaxed) {
            return 0;
        }
        worker::ticks().wrapping_sub(self.since.load(Relaxed))
    }
}

impl Downstream {
    /// A connection from `peer`.
    #[must_use]
    pub fn new(peer: SocketAddr, tls: bool) -> Self {
        let ip = peer.ip().to_canonical();
        let proto = if tls { "https" } else { "http" };
        // RFC 7239 section 6: an IPv6 address stands in brackets and quotes.
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        let forwarded_for =
            HeaderValue::from_str(&ip.to_string()).expect("an address is made of header characters");
        let peer_text = if peer.port() == 0 { ip.to_string() } else { peer.to_string() }.into();
        let forwarded = format!("for={node};proto={proto}");
        let (first_host, certificate, activity) = (OnceLock::new(), OnceLock::new(), Arc::default());
        Downstream { peer, peer_text, tls, forwarded_for, forwarded, first_host, certificate, activity }
    }

    /// The same connection, for a request of `client` that the one who connected only passes on. A certificate is that of
    /// whoever connected.
    #[must_use]
    pub fn on_behalf_of(&self, client: SocketAddr, tls: bool) -> Self {
        let (certificate, activity) = (self.certificate.clone(), self.activity.clone());
        Downstream { certificate, activity, ..Downstream::new(client, tls) }
    }

    /// The handshake is over, and the client sent a certificate of these names, or none.
    pub fn is_certified(&self, names: Option<Vec<Box<str>>>) {
        if let Some(names) = names {
            _ = self.certificate.set(names.into()); // there is one handshake
        }
    }

    /// The names in the client's certificate, if it sent one.
    #[must_use]
    pub fn certificate(&self) -> Option<&[Box<str>]> {
        self.certificate.get().map(|names| &**names)
    }

    /// `Forwarded` of a request for `host` (RFC 7239 section 4).
    #[must_use]
    pub fn forwarded(&self, host: Option<&HeaderValue>) -> HeaderValue {
        let Some(host) = host else { return value(self.forwarded.clone()) };
        let (first, known) = self.first_host.get_or_init(|| (host.clone(), self.forwarded_to(host)));
        if first == host { known.clone() } else { self.forwarded_to(host) }
    }

    /// A host with a port is no token and stands in quotes.
    fn forwarded_to(&self, host: &HeaderValue) -> HeaderValue {
        match host.to_str() {
            Ok(host) if !host.contains(['"', '\\']) => value(format!("{};host=\"{host}\"", self.forwarded)),
            _ => value(self.forwarded.clone()),
        }
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of header characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_an_address_of_ipv4_or_a_64_of_ipv6() {
        let network = |address: &str| Network::of(address.parse().unwrap());
        assert_eq!(network("192.0.2.7"), network("::ffff:192.0.2.7"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff::2"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("0.0.0.0"), network("::"));
    }

    #[test]
    fn a_stream_tells_its_own_answer_from_the_others_by_what_changes_while_it_runs() {
        let activity = Activity::default();
        activity.given(7); // another stream's
        let before = activity.gave();
        assert_eq!(activity.gave().since(before, false), (false, 0));
        activity.given(10);
        assert_eq!(activity.gave().since(before, false), (true, 10));
        let before = activity.gave();
        assert_eq!(activity.gave().since(before, true), (true, 0), "it still waits for the same");
        activity.wanted();
        activity.given(0);
        assert_eq!(activity.gave().since(before, true), (true, 1), "some of it was taken");
        activity.wanted();
        assert_eq!(activity.gave().since(before, true), (false, 0));
    }

    #[test]
    fn a_client_that_takes_drops_while_it_is_behind_is_as_quiet_as_one_that_takes_nothing() {
        const LEAST: usize = 1_000;
        let activity = Activity::default();
        activity.begin();
        let drops = |bytes, times| {
            for _ in 0..times {
                activity.blocked();
                worker::tick();
                activity.took(bytes, LEAST);
            }
            activity.blocked();
            activity.quiet()
        };
        assert_eq!(drops(10, 50), 50);
        assert_eq!(drops(500, 1), 0, "with those before it is enough");
        assert_eq!(drops(500, 3), 1);
        activity.flushed();
        assert_eq!(drops(10, 5), 5, "it had caught up, and begins anew");
        activity.took(1, LEAST);
        activity.flushed();
        (0..9).for_each(|_| worker::tick());
        assert_eq!(activity.quiet(), 0, "it waits for the service");
    }

    #[tokio::test]
    async fn a_client_that_gives_up_too_many_requests_is_restless() {
        let activity = Activity::default();
        (0..MOST_LEFT).for_each(|_| activity.left());
        assert!(!activity.restless.load(Relaxed));
        (0..=LEFT_WITHIN).for_each(|_| worker::tick());
        (0..MOST_LEFT).for_each(|_| activity.left());
        assert!(!activity.restless.load(Relaxed), "those of before are forgotten");
        activity.left();
        activity.restless().await;
        activity.restless().await;
    }

    #[test]
    fn an_ipv6_peer_is_quoted_in_forwarded() {
        let downstream = Downstream::new("[2001:db8::7]:1234".parse().unwrap(), true);
        assert_eq!(downstream.forwarded(None), "for=\"[2001:db8::7]\";proto=https");
    }

    #[test]
    fn a_request_that_is_passed_on_has_its_own_address_on_the_same_connection() {
        let proxy = Downstream::new("10.0.0.1:4711".parse().unwrap(), false);
        proxy.is_certified(Some(vec!["dns:proxy.example".into()]));
        let client = proxy.on_behalf_of("198.51.100.7:0".parse().unwrap(), true);
        assert_eq!((&*proxy.peer_text, &*client.peer_text), ("10.0.0.1:4711", "198.51.100.7"));
        assert_eq!(client.forwarded(None), "for=198.51.100.7;proto=https");
        assert_eq!(client.certificate(), proxy.certificate());
        client.activity.begin();
        assert!(!proxy.activity.is_between_answers());
    }
}
