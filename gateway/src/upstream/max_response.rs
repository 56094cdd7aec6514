//! The most bytes that an answer may have. Where it declares more, nothing of it is delivered; where it turns out to have
//! more, it is cut off, so that nobody takes what there is for the whole.
//!
//! Not here: parts of a composition, which are read whole and have a limit of their own (`json.rs`).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::{Fault, Reason, UpstreamMetrics};
use crate::body::{Body, BodyError, Response};

/// The answer, bound to `limit` bytes.
///
/// # Errors
/// When it declares more.
pub(super) fn bound(
    response: Response,
    limit: u64,
    upstream: &str,
    metrics: &Arc<UpstreamMetrics>,
) -> Result<Response, Fault> {
    let size = response.body().size_hint();
    if size.lower() > limit {
        metrics.too_large.inc();
        let why = format!("an answer of {} bytes, over the limit of {limit}", size.lower());
        return Err(Fault::new(upstream, Reason::TooLarge, why));
    }
    if size.exact().is_some() {
        return Ok(response); // it cannot become more: hyper holds it to its length
    }
    let bounded = |body| Body::stream(Bounded { body, limit, seen: 0, metrics: metrics.clone() });
    Ok(response.map(bounded))
}

/// A body that is cut off beyond its limit.
struct Bounded {
    body: Body,
    limit: u64,
    seen: u64,
    metrics: Arc<UpstreamMetrics>,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        if self.seen <= self.limit {
            return Poll::Ready(frame);
        }
        self.metrics.too_large.inc();
        self.body = Body::Empty; // closes the connection, so that the service stops
        Poll::Ready(Some(Err(BodyError::AnswerTooLarge(self.limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.seen <= self.limit && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn streamed(frames: &'static [&'static str]) -> Response {
        let frames = frames.iter().map(|frame| Ok(Frame::data(Bytes::from_static(frame.as_bytes()))));
        Response::new(Body::stream(StreamBody::new(futures_util::stream::iter(frames))))
    }

    #[tokio::test]
    async fn an_answer_of_exactly_the_limit_passes_and_one_byte_more_is_cut_off_and_counted() {
        let metrics = Arc::<UpstreamMetrics>::default();
        let whole = bound(streamed(&["1234", "56"]), 6, "it", &metrics).unwrap();
        assert_eq!(whole.into_body().collect().await.unwrap(), "123456");
        let mut cut = bound(streamed(&["1234", "567", "8"]), 6, "it", &metrics).unwrap().into_body();
        assert_eq!(cut.frame().await.unwrap().unwrap().into_data().unwrap(), "1234");
        let error = cut.frame().await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the upstream's answer is over the limit of 6 bytes");
        assert!(!cut.is_end_stream() && metrics.too_large.get() == 1);
    }

    #[test]
    fn an_answer_that_declares_more_is_a_fault_before_its_first_byte() {
        let metrics = Arc::<UpstreamMetrics>::default();
        let fault = bound(Response::new(Body::full("1234567")), 6, "it", &metrics).err();
        let reason = fault.map(|fault| fault.reason);
        assert_eq!((reason, metrics.too_large.get()), (Some(Reason::TooLarge), 1));
        assert!(bound(Response::new(Body::full("123456")), 6, "it", &metrics).is_ok());
    }
}
