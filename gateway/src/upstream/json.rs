//! An answer that is read whole because its JSON is needed: by a composition, a rule or a resolver.
//!
//! Not here: forwarded answers, which are never read.

use std::{pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{Ask, Fault, Reason, Upstream};
use crate::{
    body::{self, Body, Response},
    deadline::Deadline,
};

/// A whole answer of status 2xx whose body is JSON of the right media type. That it parses is checked by whoever parses it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// 2xx.
    pub status: StatusCode,
    /// As sent.
    pub headers: HeaderMap,
    /// The JSON text.
    pub json: Bytes,
}

/// What is there instead of what was asked for by its validators.
#[derive(Debug, Clone)]
pub enum Anew {
    /// It has not changed (304); what is said of it now.
    NotModified(HeaderMap),
    /// This.
    Changed(Fetched),
}

impl Upstream {
    /// Calls as [`Upstream::call`] does and reads the JSON answer, all before `deadline`, of at most `max_size` bytes.
    ///
    /// # Errors
    /// A [`Fault`] for whatever is not a whole 2xx JSON answer: any other status, another media type, too many bytes, a
    /// body that ends early, no answer in time.
    pub fn fetch<'a>(
        &'a self,
        ask: &'a Ask<'_>,
        body: Body,
        deadline: Deadline,
        max_size: u64,
    ) -> impl Future<Output = Result<Fetched, Fault>> + Send + 'a {
        self.fetch_by(None, ask, body, deadline, max_size)
    }

    /// The same, kept together with the calls of the same `key` ([`Upstream::path_key`]).
    ///
    /// # Errors
    /// As [`Upstream::fetch`].
    pub async fn fetch_by(
        &self,
        key: Option<u64>,
        ask: &Ask<'_>,
        body: Body,
        deadline: Deadline,
        max_size: u64,
    ) -> Result<Fetched, Fault> {
        let response = pin!(self.call_by(key, ask, body, deadline)).await?;
        self.read(response, deadline, max_size).await
    }

    /// The same for a GET with conditions, which 304 answers as well.
    ///
    /// # Errors
    /// As [`Upstream::fetch`].
    pub async fn fetch_anew(&self, ask: &Ask<'_>, deadline: Deadline, max_size: u64) -> Result<Anew, Fault> {
        let response = pin!(self.call(ask, Body::Empty, deadline)).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Anew::NotModified(response.into_parts().0.headers));
        }
        self.read(response, deadline, max_size).await.map(Anew::Changed)
    }

    /// Reads an answer of this service as [`Upstream::fetch`] does.
    ///
    /// # Errors
    /// As [`Upstream::fetch`].
    pub async fn read(
        &self,
        response: Response,
        deadline: Deadline,
        max_size: u64,
    ) -> Result<Fetched, Fault> {
        self.check(&response, max_size)?;
        let (head, body) = response.into_parts();
        let json = match deadline.bound(pin!(self.collect(body, max_size))).await {
            Ok(json) => json?,
            Err(_elapsed) => {
                return Err(self.fault(Reason::Timeout, "the answer's body did not end before the deadline"));
            }
        };
        Ok(Fetched { status: head.status, headers: head.headers, json })
    }

    fn check(&self, response: &Response, max_size: u64) -> Result<(), Fault> {
        let status = response.status();
        if !status.is_success() {
            let fault = self.fault(Reason::Status(status), format!("status {}", status.as_u16()));
            return Err(Fault { retry_after: retry_after(response.headers()), ..fault });
        }
        if !is_json(response.headers()) {
            let typed = response.headers().get(header::CONTENT_TYPE);
            return Err(self.fault(Reason::WrongType, format!("content type {typed:?}")));
        }
        if body::is_encoded(response.headers()) {
            let coded = response.headers().get(header::CONTENT_ENCODING);
            return Err(
                self.fault(Reason::WrongType, format!("content encoding {coded:?}: nothing is decoded here"))
            );
        }
        if response.body().size_hint().lower() > max_size {
            return Err(self.fault(Reason::TooLarge, format!("more than {max_size} bytes declared")));
        }
        Ok(())
    }

    async fn collect(&self, mut body: Body, max_size: u64) -> Result<Bytes, Fault> {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::of_body(self.name(), &error))?;
            let Ok(data) = frame.into_data() else { continue };
            if (all.len() + data.len()) as u64 > max_size {
                return Err(self.fault(Reason::TooLarge, format!("more than {max_size} bytes")));
            }
            if all.is_empty() && body.is_end_stream() {
                return Ok(data); // the usual case: one frame, not copied
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }

    pub(super) fn fault(&self, reason: Reason, cause: impl Into<String>) -> Fault {
        Fault::new(self.name(), reason, cause)
    }
}

/// `application/json`, or any `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(typed) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = typed.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
}

/// `Retry-After` in seconds; the date form is as good as none to a client that asks again anyway.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}
