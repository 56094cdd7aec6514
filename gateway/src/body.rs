//! Bodies.
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll},
};
/// An answer.
pub type Response = http::Response<Body>;
/// The body of an answer.
pub struct Body(Option<Bytes>);
impl Body {
    /// A body that is there already.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Body(Some(bytes.into()))
    }
}
impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|b| Ok(http_body::Frame::data(b))))
    }
}
