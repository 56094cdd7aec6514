//! WebSockets through the gateway (RFC 6455): a route opens them to a service, and everything that holds for requests holds
//! for the request that opens one.
//!
//! Bytes go on as they come: messages, compression and subprotocols are between the client and its service. Pages of other sites
//! are refused before anything else is looked at (`browsers/`), since browsers send cookies along and CORS does not hold for
//! what they open. What is open holds no place among the requests in flight and no slot of its upstream: it has limits of its
//! own. Not here: moving the bytes (`tunnel.rs`), limits on how often one may be opened (`rate_limit/`).

pub mod config;
mod flow;
mod frames;
pub(crate) mod handshake;
pub mod metrics;
mod tunnel;

use std::{pin::pin, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::sync::watch::Sender;

pub use self::{config::WebSocketConfig, metrics::TunnelMetrics};
use self::{handshake::Offer, tunnel::Tunnel};
use super::{Head, Origin};
use crate::{
    body::{Body, Request, Response},
    error::{Code, Error},
    handler::{Admitted, Answer, Handler},
    seats::{Full, Seat, Seats},
    upstream::{Fault, Reason, Switching},
};

/// When to come back where there are too many: they last.
const LATER: Duration = Duration::from_secs(5);

/// Opens WebSockets of one route.
pub struct WebSocket {
    origin: Arc<Origin>,
    tunnels: Arc<Tunnels>,
}

/// How long those of one route may be open, and how many.
pub struct Tunnels {
    idle_timeout: Duration,
    max_age: Duration,
    seats: Arc<Seats>,
    /// Set when all are to end.
    ending: Sender<bool>,
    metrics: Arc<TunnelMetrics>,
}

impl Tunnels {
    /// As `config` says.
    #[must_use]
    pub fn new(config: &WebSocketConfig, metrics: Arc<TunnelMetrics>) -> Arc<Self> {
        Arc::new(Tunnels {
            idle_timeout: config.idle_timeout.0,
            max_age: config.max_age.0,
            seats: Seats::new(config.max_clients, config.max_per_client),
            ending: Sender::new(false),
            metrics,
        })
    }

    /// Ends all, those that are about to be opened too. Clients come back, to whoever answers then.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// A place for one more: 429 when the caller has as many as it may, 503 when all together have.
    fn seat(&self, admitted: &Admitted) -> Result<Seat, Error> {
        self.seats.take(admitted).map_err(|full| {
            self.metrics.refused.inc();
            let (code, why) = match full {
                Full::Caller => {
                    (Code::RateLimited, "max_per_client: as many WebSockets as one client may have")
                }
                Full::All => (Code::Overloaded, "max_clients: as many WebSockets as there may be"),
            };
            Error::new(code, why).retry_after(LATER)
        })
    }
}

impl WebSocket {
    /// Opens those of `tunnels` to `origin`.
    #[must_use]
    pub fn new(origin: Arc<Origin>, tunnels: Arc<Tunnels>) -> Self {
        WebSocket { origin, tunnels }
    }

    async fn open(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Error> {
        let accept = handshake::accept(request)?; // 426, 400
        let seat = self.tunnels.seat(admitted)?; // 429, 503
        let mut response = pin!(self.ask(Head::of(request), admitted)).await.map_err(Fault::into_error)?;
        let Some(service) = Switching::take(&mut response) else { return Ok(response) };
        if !handshake::answer(&mut response, accept) {
            return Err(self
                .malformed("a transfer coding in an answer that switches protocols")
                .into_error());
        }
        let client = hyper::upgrade::on(request);
        let tunnel = Tunnel::new(client, service, &self.tunnels, admitted, seat);
        tunnel.ride(response.extensions_mut());
        Ok(response)
    }

    /// The service's answer, which has been checked if it agrees. What else it says is passed on, but for a 2xx: a client would
    /// not know what to make of that.
    async fn ask(&self, client: Head<'_>, admitted: &Admitted) -> Result<Response, Fault> {
        let (origin, offer) = (&self.origin, Offer::new(client.headers));
        let key = origin.upstream.path_key(&admitted.params);
        let ask = |body| {
            let mut request = origin.outgoing(&client, body, admitted);
            offer.ask(&mut request);
            request
        };
        let call = origin.upstream.call_by(key, &ask, Body::Empty, admitted.deadline);
        let mut response = pin!(call).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => {
                offer.check(response.headers()).map_err(|why| self.malformed(why))?;
            }
            status if status.is_success() => {
                return Err(self.malformed("an answer to an opening handshake that does not open anything"));
            }
            _ => origin.take_over(&mut response)?,
        }
        Ok(response)
    }

    fn malformed(&self, why: &str) -> Fault {
        Fault::new(self.origin.upstream.name(), Reason::Malformed, why)
    }
}

impl Handler for WebSocket {
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(self.open(request, admitted))
    }
}
