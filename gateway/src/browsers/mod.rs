//! What browsers are told with the answers of a route, so that they protect their users as the operator means them to.
//!
//! Not here: who may use a route (`guard.rs`). A client that is no browser heeds nothing of this.

pub mod config;
pub mod cors;
mod csrf;
mod security_headers;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};

pub use self::{
    cors::{Cors, Preflight},
    security_headers::SecurityHeaders,
};
use crate::{body::Request, error::Error};

/// What the browsers that use a route are told.
#[derive(Default)]
pub struct Browsers {
    /// Which other origins may read its answers.
    pub cors: Option<Arc<Cors>>,
    /// Whether what changes something is refused when a page of another site has sent it.
    pub csrf: bool,
    /// Whether every request is, whatever its method: what it opens is read by the page that sent it, whatever CORS says.
    pub websocket: bool,
    /// Whether the same holds for requests that ask for a WebSocket, beside others.
    pub may_open: bool,
    /// How strict browsers are to be with its answers.
    pub security_headers: Option<Arc<SecurityHeaders>>,
}

impl Browsers {
    /// This, unless it says nothing: then nothing is looked at for a request.
    #[must_use]
    pub fn or_none(self) -> Option<Arc<Self>> {
        let told = self.cors.is_some() || self.security_headers.is_some();
        (told || self.csrf || self.websocket || self.may_open).then(|| Arc::new(self))
    }

    /// Lets a request in that its sender may have meant.
    ///
    /// # Errors
    /// [`Code::CrossSite`](crate::error::Code::CrossSite) unless it may.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        let opens = self.may_open && request.headers().contains_key(header::UPGRADE);
        let checked = self.websocket || opens || self.csrf && !request.method().is_safe();
        if checked { csrf::check(request, self.cors.as_deref()) } else { Ok(()) }
    }

    /// What of a request must be known when its answer is there: its `Origin`.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.cors.as_ref().and_then(|_| cors::origin(headers)).cloned()
    }

    /// Sets what an answer to a page of `origin` carries; `tls` when the client came by it. What a service said itself gives
    /// way.
    pub fn tell(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>, tls: bool) {
        if let Some(strict) = &self.security_headers {
            strict.tell(headers, tls);
        }
        if let Some(cors) = &self.cors {
            cors.tell(headers, origin);
        }
    }
}
