//! A service behind the gateway, and the one way to call it.
//!
//! `deadline -> pool -> connect -> send`: the deadline is outermost because everything spends it. A connection that the
//! service had closed while it waited is replaced without anyone noticing, as long as nothing was written to it.
//!
//! Not here: what goes into a request (`proxy/`, `composition/`, `graphql/`), what an answer means there.

pub mod balance;
pub mod circuit_breaker;
pub mod config;
pub mod discovery;
pub mod ejection;
pub mod fault;
pub mod health;
pub mod hedge;
pub mod in_flight;
mod json;
pub mod load;
mod metrics;
mod pool;
pub mod retry;
mod tokens;

use std::{pin::pin, sync::Arc, time::Instant};

use http::{HeaderValue, Uri, header};

use self::{
    config::UpstreamConfig,
    pool::{Pool, Pooled},
};
pub use self::{
    fault::{Fault, Reason},
    json::Fetched,
    metrics::{Outcome, UpstreamMetrics},
};
use crate::{
    body::{Body, Request, Response},
    deadline::Deadline,
    error::Code,
    mistake::{Mistake, below},
};

/// A service behind the gateway.
pub struct Upstream {
    name: Box<str>,
    config: UpstreamConfig,
    host: HeaderValue,
    pool: Arc<Pool>,
    metrics: Arc<UpstreamMetrics>,
}

impl Upstream {
    /// The upstream called `name`, typed at the key path `at`.
    ///
    /// # Errors
    /// When its address is none.
    pub fn build(
        name: &str,
        config: &UpstreamConfig,
        metrics: Arc<UpstreamMetrics>,
        at: &str,
    ) -> Result<Arc<Self>, Mistake> {
        let authority = authority(&config.url).map_err(|wrong| {
            Mistake::new(below(at, "url"), format!("upstream `{name}`: {wrong}"))
                .expected("`http://host:port`")
        })?;
        let host = HeaderValue::from_str(&authority).expect("an authority is made of header characters");
        let pool = Arc::new(Pool::new(&authority, config));
        Ok(Arc::new(Upstream { name: name.into(), config: config.clone(), host, pool, metrics }))
    }

    /// As it is called in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As typed, so that a reload can tell whether anything changed.
    #[must_use]
    pub fn config(&self) -> &UpstreamConfig {
        &self.config
    }

    /// Sends `request`, whose URI is a path with an optional query, and gives back the head of the answer with its body
    /// still to come. Dropping either cancels the call: its connection is closed.
    ///
    /// # Errors
    /// A [`Fault`] when there is no answer. An answer of any status is an answer.
    pub async fn call(&self, mut request: Request, deadline: Deadline) -> Result<Response, Fault> {
        request.headers_mut().insert(header::HOST, self.host.clone());
        let upload = request.body().upload();
        let flight = self.metrics.begin();
        let outcome =
            match deadline.bound(pin!(self.send(request))).await {
                Ok(outcome) => outcome,
                Err(_elapsed) if upload.is_some_and(|upload| upload.waits()) => Err(self
                    .fault(Reason::Request(Code::RequestTimeout), "the client's body did not come in time")),
                Err(_elapsed) => Err(self.fault(Reason::Timeout, "no answer before the deadline")),
            };
        flight.end(&outcome);
        outcome
    }

    async fn send(&self, mut request: Request) -> Result<Response, Fault> {
        loop {
            let idle = self.pool.take();
            let reused = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match connection.try_send_request(request).await {
                Ok(response) => return Ok(self.pooled(response, connection)),
                Err(mut failed) => match failed.take_message() {
                    // The service had closed it before anything was written: not its fault, and not the client's.
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(Fault::of_send(&self.name, failed.error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<pool::Connection, Fault> {
        let begun = Instant::now();
        match tokio::time::timeout(self.config.connect_timeout.0, self.pool.connect()).await {
            Ok(connected) => connected.map_err(|error| fault::of_connect(&self.name, &error)),
            Err(_elapsed) => Err(Fault::new(
                &self.name,
                Reason::Timeout,
                format!("no connection within {:?}", begun.elapsed()),
            )),
        }
    }

    fn pooled(
        &self,
        response: http::Response<hyper::body::Incoming>,
        connection: pool::Connection,
    ) -> Response {
        let (head, body) = response.into_parts();
        let pooled = Pooled::new(body, connection, self.pool.clone());
        let empty = http_body::Body::is_end_stream(&pooled);
        http::Response::from_parts(head, if empty { Body::Empty } else { Body::stream(pooled) })
    }

    /// Closes this worker's connections that nobody has used for long.
    pub fn sweep(&self) {
        self.pool.sweep();
    }
}

/// `http://host:port` into `host:port`.
fn authority(url: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("`{url}` is no address of a service: {why}"));
    let Ok(uri) = url.parse::<Uri>() else { return wrong("it is no URL") };
    if uri.scheme_str() != Some("http") {
        return wrong("it must begin with http://");
    }
    if uri.path() != "/" || uri.query().is_some() || url.ends_with('/') {
        return wrong("it must end after the port");
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
        return wrong("it must name a host and nothing secret");
    };
    // What stands behind the last colon and is no port would otherwise pass for a part of the host.
    if authority.port().is_none() && authority.as_str() != authority.host() {
        return wrong("its port is none");
    }
    Ok(if authority.port().is_some() { authority.to_string() } else { format!("{authority}:80") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_http_address_is_taken() {
        assert_eq!(authority("http://127.0.0.1:8082"), Ok("127.0.0.1:8082".to_owned()));
        assert_eq!(authority("http://order"), Ok("order:80".to_owned()));
        for wrong in [
            "order:80",
            "https://order:80",
            "http://order:80/",
            "http://order:80/v1",
            "http://a:b@order:80",
            "http://order?x",
            "http://order:99999",
            "http://order:",
        ] {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }
}
