//! Operations over transports that stay open: server-sent events, multipart, and `graphql-transport-ws` over WebSocket.
//!
//! What is told is watched by `live/`, once for all who want to know. The source stream of a subscription (GraphQL section
//! 6.2.3) is a `feed`; for each of its events the selection is executed anew, with resolvers that share nothing with the event
//! before (`operation.rs`). A client is given what comes next when it has taken what came before, so nothing is queued.
//!
//! Not here: what a schema tells, and who may see it; that is the business of whoever brings it.

mod feed;
mod message;
pub(super) mod metrics;
mod operation;
mod socket;
mod stream;

use std::{sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use http::HeaderValue;
use indexmap::IndexMap;
use tokio::sync::watch::{Receiver, Sender};

pub(crate) use self::feed::KEY;
use self::metrics::{SubscriptionMetrics, Transport};
pub(super) use self::{
    feed::Feed,
    operation::Open,
    socket::{Opening, is_asked},
    stream::{Form, respond},
};
use super::{config::SubscriptionsConfig, read::Asked};
use crate::{
    error::{Code, Error},
    handler::Admitted,
    live::Live,
    seats::{Full, Seat, Seats},
};

/// When to come back where there are too many: they last.
const LATER: Duration = Duration::from_secs(5);

/// What a route has open.
pub struct Subscriptions {
    /// What may be followed, by the names that the binary knows it by.
    watches: IndexMap<String, Arc<Live>>,
    init_timeout: Duration,
    heartbeat: Duration,
    max_age: Duration,
    max_per_connection: usize,
    seats: Arc<Seats>,
    sockets: Arc<Seats>,
    /// Set when all are to end.
    ending: Sender<bool>,
    metrics: Arc<SubscriptionMetrics>,
}

impl std::fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscriptions")
    }
}

/// Waits until all are to end.
async fn ends(ending: &mut Receiver<bool>) {
    _ = ending.wait_for(|ending| *ending).await;
}

/// What an operation comes to, one after the other. It is complete when nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Out {
    /// A result, as JSON.
    Next(Vec<u8>),
    /// Errors, as a JSON list, before anything was executed; nothing more comes.
    Refused(Vec<u8>),
    /// It has not ended, and goes on elsewhere: clients come back. With the same as `Refused`.
    Away(Vec<u8>),
}

/// What an operation comes to.
pub(super) type Outs = BoxStream<'static, Out>;

/// An operation as it was sent, and what it was sent by.
pub(super) struct Sent {
    pub(super) asked: Asked,
    pub(super) admitted: Admitted,
    /// The index of the client's name in metrics.
    pub(super) client: usize,
    pub(super) idempotency_key: Option<HeaderValue>,
    pub(super) transport: Transport,
}

/// Executes operations, whatever their schema.
pub(super) trait Execute: Send + Sync {
    /// What it comes to.
    ///
    /// # Errors
    /// 429 and 503 where it is too much.
    fn run(self: Arc<Self>, sent: Sent) -> BoxFuture<'static, Result<Outs, Error>>;
}

impl Subscriptions {
    /// As `config` says, of what `watches` tell.
    pub(crate) fn new(
        config: &SubscriptionsConfig,
        watches: IndexMap<String, Arc<Live>>,
        metrics: Arc<SubscriptionMetrics>,
    ) -> Arc<Self> {
        Arc::new(Subscriptions {
            watches,
            init_timeout: config.init_timeout.0,
            heartbeat: config.heartbeat.0,
            max_age: config.max_age.0,
            max_per_connection: config.max_per_connection as usize,
            seats: Seats::new(config.max_clients, config.max_per_client),
            sockets: Seats::new(config.max_connections, config.max_connections_per_client),
            ending: Sender::new(false),
            metrics,
        })
    }

    /// Ends all, those that are about to begin too. Clients come back, to whoever answers then.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// What may be followed by that name.
    pub(super) fn watched(&self, name: &str) -> Option<&Arc<Live>> {
        self.watches.get(name)
    }

    /// Set once all are to end.
    fn ending(&self) -> Receiver<bool> {
        self.ending.subscribe()
    }

    /// A place for one more subscription.
    fn seat(&self, admitted: &Admitted) -> Result<Seat, Error> {
        self.take(&self.seats, admitted, "subscriptions")
    }

    /// A place for one more WebSocket.
    fn socket(&self, admitted: &Admitted) -> Result<Seat, Error> {
        self.take(&self.sockets, admitted, "connections")
    }

    /// 429 when the caller has as many as it may, 503 when all together have.
    fn take(&self, seats: &Arc<Seats>, admitted: &Admitted, what: &str) -> Result<Seat, Error> {
        seats.take(admitted).map_err(|full| {
            self.metrics.refused.inc();
            let (code, whose) = match full {
                Full::Caller => (Code::RateLimited, "one client"),
                Full::All => (Code::Overloaded, "all clients"),
            };
            Error::new(code, format!("as many {what} as {whose} may have")).retry_after(LATER)
        })
    }
}
