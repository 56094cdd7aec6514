//! An open WebSocket: bytes in both directions until one side ends it, or its time is over.
//!
//! It runs in the task of its client's connection, which is counted and waited for as any other. What the gateway ends gets a
//! close frame where a frame may begin, in both directions (RFC 6455 section 7.1.2), and does not wait long for the answer.
//! Not here: which may be opened (`mod.rs`), where frames end (`frames.rs`).

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Tunnels,
    flow::{Flow, Lost},
    frames::Way,
    metrics::TunnelMetrics,
};
use crate::{
    handler::Admitted,
    observability::record::{Record, Tunnelled},
    seats::Seat,
    switch,
    upstream::Switched,
};

/// How long a frame that has begun may take to end, when the gateway wants to say the last word.
const LAST_FRAME: Duration = Duration::from_secs(5);
/// How long is listened after the last word: a side that is still sending would otherwise lose what it was told.
const LAST_WORD: Duration = Duration::from_secs(1);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal $code:expr;)*) => {
        /// Why one has ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Ended { $($(#[$doc])* $name,)* }
        impl Ended {
            pub(super) const ALL: &'static [Ended] = &[$(Ended::$name),*];
            /// As in the log and in metrics.
            pub(super) fn name(self) -> &'static str { match self { $(Ended::$name => $text,)* } }
            /// What both sides are told (RFC 6455 section 7.4.1), where it is the gateway that ends it.
            fn code(self) -> Option<u16> { match self { $(Ended::$name => $code,)* } }
        }
    };
}

reasons! {
    /// The client has closed it.
    Client = "client" None;
    /// The service has.
    Service = "service" None;
    /// The client's connection ended without a close frame.
    ClientLost = "client_lost" None;
    /// The service's did.
    ServiceLost = "service_lost" None;
    /// Nothing went either way for too long.
    Idle = "idle" Some(1001);
    /// It has lasted for as long as it may.
    MaxAge = "max_age" Some(1001);
    /// The caller's credential is over.
    Expired = "expired" Some(1008);
    /// The gateway drains, or the route is another one now.
    Drained = "drained" Some(1001);
    /// The time to drain was over.
    Cut = "cut" None;
}

/// One that is about to be opened, or open.
pub(super) struct Tunnel {
    client: OnUpgrade,
    service: Switched,
    tunnels: Arc<Tunnels>,
    /// When it ends, and why then.
    until: (Instant, Ended),
    _seat: Seat,
}

/// What is written down of it when this is dropped.
struct Ledger {
    record: Record,
    metrics: Arc<TunnelMetrics>,
    ended: Ended,
    received: u64,
    sent: u64,
}

/// Both of its sides.
struct Sides {
    client: TokioIo<Upgraded>,
    service: Switched,
    /// To the service.
    up: Flow,
    /// To the client.
    down: Flow,
    /// Who ended it first, as far as that is known.
    first: Option<Ended>,
}

impl Tunnel {
    /// Between a client that is told so and a service that has agreed.
    pub(super) fn new(
        client: OnUpgrade,
        service: Switched,
        tunnels: &Arc<Tunnels>,
        admitted: &Admitted,
        seat: Seat,
    ) -> Self {
        let until = until(tunnels.max_age, admitted);
        Tunnel { client, service, tunnels: tunnels.clone(), until, _seat: seat }
    }

    /// Lets it ride on an answer.
    pub(super) fn ride(self, extensions: &mut Extensions) {
        switch::ride(extensions, move |record| {
            let ledger = Ledger::open(record, &self.tunnels.metrics);
            Box::pin(self.run(ledger))
        });
    }

    /// Passes everything on until it has ended.
    async fn run(self, mut ledger: Ledger) {
        let Tunnel { client, service, tunnels, until, _seat } = self;
        let Ok(client) = client.await else { return };
        ledger.ended = Ended::Cut; // unless it ends otherwise
        let up = Flow::new(Way::ToService, &[]);
        let down = Flow::new(Way::ToClient, &service.first);
        let mut sides = Sides { client: TokioIo::new(client), service, up, down, first: None };
        let ended = sides.pass(&tunnels, until, &mut ledger).await;
        ledger.ended = ended;
        if let Some(code) = ended.code() {
            _ = timeout(LAST_FRAME, poll_fn(|cx| sides.poll_end(cx, code))).await;
            ledger.note(&sides);
            _ = timeout(LAST_WORD, poll_fn(|cx| sides.poll_forget(cx))).await;
        }
    }
}

impl Sides {
    async fn pass(&mut self, tunnels: &Tunnels, until: (Instant, Ended), ledger: &mut Ledger) -> Ended {
        let mut ending = tunnels.ending.subscribe();
        let mut ending = pin!(ending.wait_for(|ending| *ending));
        let idle = tunnels.idle_timeout;
        let mut moved = Instant::now();
        let mut alarm = pin!(sleep(idle.min(until.0.saturating_duration_since(moved))));
        poll_fn(|cx| {
            let passed = self.poll_pass(cx);
            if ledger.note(self) {
                moved = Instant::now();
            }
            if let Poll::Ready(ended) = passed {
                return Poll::Ready(ended);
            }
            if ending.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ended::Drained);
            }
            while alarm.as_mut().poll(cx).is_ready() {
                let now = Instant::now();
                if now >= until.0 {
                    return Poll::Ready(until.1);
                }
                if now >= moved + idle {
                    return Poll::Ready(Ended::Idle);
                }
                alarm.as_mut().reset(until.0.min(moved + idle));
            }
            Poll::Pending
        })
        .await
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let up = self.up.poll_pass(cx, &mut self.client, &mut self.service);
        let down = self.down.poll_pass(cx, &mut self.service, &mut self.client);
        if self.first.is_none() {
            self.first = match (&self.up, &self.down) {
                (up, _) if up.is_closed() => Some(Ended::Client),
                (_, down) if down.is_closed() => Some(Ended::Service),
                (up, _) if up.is_over() => Some(Ended::ClientLost),
                (_, down) if down.is_over() => Some(Ended::ServiceLost),
                _ => None,
            };
        }
        // Both have said that they are done, and one has left: nothing that the other could still say would be read (RFC 6455
        // section 7.1.1).
        let parted = self.up.is_closed() && self.down.is_closed() && (up.is_ready() || down.is_ready());
        let lost = match (up, down) {
            (Poll::Ready(Err(Lost::Source)), _) | (_, Poll::Ready(Err(Lost::Sink))) => Ended::ClientLost,
            (Poll::Ready(Err(Lost::Sink)), _) | (_, Poll::Ready(Err(Lost::Source))) => Ended::ServiceLost,
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Ended::ClientLost, // `first` knows better
            _ if parted => Ended::ClientLost,
            _ => return Poll::Pending,
        };
        Poll::Ready(self.first.unwrap_or(lost))
    }

    /// A close frame in both directions. One that fails is of no use to the other.
    fn poll_end(&mut self, cx: &mut Context<'_>, code: u16) -> Poll<()> {
        let down = self.down.poll_end(cx, &mut self.service, &mut self.client, code).is_ready();
        let up = self.up.poll_end(cx, &mut self.client, &mut self.service, code).is_ready();
        if down && up { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_forget(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (up, down) = (
            self.up.poll_forget(cx, &mut self.client).is_ready(),
            self.down.poll_forget(cx, &mut self.service).is_ready(),
        );
        if up && down { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Ledger {
    fn open(mut record: Record, metrics: &Arc<TunnelMetrics>) -> Self {
        metrics.open.fetch_add(1, Relaxed);
        let ended = Ended::ClientLost; // it left before it was told
        record.tunnels(Tunnelled { received: 0, sent: 0, ended: ended.name() });
        Ledger { record, metrics: metrics.clone(), ended, received: 0, sent: 0 }
    }

    /// Whether anything has moved on.
    fn note(&mut self, sides: &Sides) -> bool {
        let (received, sent) = (sides.up.passed, sides.down.passed);
        let (more_received, more_sent) = (received - self.received, sent - self.sent);
        (self.received, self.sent) = (received, sent);
        self.metrics.received.inc_by(more_received);
        self.metrics.sent.inc_by(more_sent);
        more_received + more_sent > 0
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.metrics.open.fetch_sub(1, Relaxed);
        self.metrics.ended[self.ended as usize].inc();
        let (received, sent, ended) = (self.received, self.sent, self.ended.name());
        self.record.tunnels(Tunnelled { received, sent, ended });
    }
}

/// When one ends: with its caller's credential, and not later than it may last.
fn until(max_age: Duration, admitted: &Admitted) -> (Instant, Ended) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = admitted.caller.principal.as_ref().and_then(|principal| principal.expires);
    let left = expires.map(|at| Duration::from_secs(at).saturating_sub(now));
    match left.filter(|left| *left < max_age) {
        Some(left) => (Instant::now() + left, Ended::Expired),
        None => (Instant::now() + max_age, Ended::MaxAge),
    }
}
