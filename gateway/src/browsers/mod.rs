//! What browsers are told with the answers of a route, so that they protect their users as the operator means them to.
//!
//! Not here: who may use a route (`guard.rs`). A client that is no browser heeds nothing of this.

pub mod config;
pub mod cors;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

pub use self::cors::{Cors, Preflight};

/// What the browsers that use a route are told.
#[derive(Default)]
pub struct Browsers {
    /// Which other origins may read its answers.
    pub cors: Option<Arc<Cors>>,
}

impl Browsers {
    /// This, unless it says nothing: then nothing is looked at for a request.
    #[must_use]
    pub fn or_none(self) -> Option<Arc<Self>> {
        self.cors.is_some().then(|| Arc::new(self))
    }

    /// What of a request must be known when its answer is there: its `Origin`.
    #[must_use]
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        self.cors.as_ref().and_then(|_| cors::origin(headers)).cloned()
    }

    /// Sets what an answer to a page of `origin` carries. What a service said itself gives way.
    pub fn tell(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        if let Some(cors) = &self.cors {
            cors.tell(headers, origin);
        }
    }
}
