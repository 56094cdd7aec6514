//! The bodies of broken answers: cut, slow, malformed, huge, of the wrong type.
//!
//! Streams where it matters: nothing here holds 100 MiB.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;

use super::answer::Dialect;

/// The size of the `huge` answer: 100 MiB.
const HUGE: usize = 100 << 20;
/// A gRPC message's frame: a flag and the length.
const GRPC_PREFIX: usize = 5;
/// The server's time to send what it has before the body breaks off: hyper drops what it has not sent by then.
const SENDING: Duration = Duration::from_millis(5);

/// These bytes, then the end of the connection (of the stream, in HTTP/2).
pub(super) fn cut(kept: Bytes) -> Body {
    let end = stream::once(async {
        tokio::time::sleep(SENDING).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter([Ok(kept)]).chain(end))
}

/// A byte at a time with a pause after each, then the trailers.
pub(super) fn trickle(whole: Bytes, trailers: Option<HeaderMap>, every: Duration) -> Body {
    let bytes = (0..whole.len()).map(move |at| Frame::data(whole.slice(at..=at)));
    let slowly = stream::iter(bytes).enumerate().then(move |(at, frame)| async move {
        if at > 0 {
            tokio::time::sleep(every).await;
        }
        frame
    });
    let trailers = stream::iter(trailers.map(Frame::trailers));
    Body::new(StreamBody::new(slowly.chain(trailers).map(Ok::<_, io::Error>)))
}

/// JSON that ends too early; in gRPC, a message that is none.
pub(super) fn malformed(dialect: Dialect) -> Body {
    match dialect {
        Dialect::Rest => Body::from(r#"{"orderId": 99, "state": "APPR"#),
        Dialect::Grpc => Body::from(Bytes::from_static(&[0, 0, 0, 0, 3, 0xff, 0xff, 0xff])),
    }
}

/// 100 MiB of valid JSON without a `Content-Length`; in gRPC, a message of that size.
pub(super) fn huge(dialect: Dialect) -> Body {
    let (open, close) = match dialect {
        Dialect::Rest => (Bytes::from_static(b"{\"huge\":\""), Bytes::from_static(b"\"}")),
        Dialect::Grpc => (grpc_prefix(HUGE - GRPC_PREFIX), Bytes::new()),
    };
    let filler = Bytes::from_static(&[b'x'; 64 << 10]);
    let fill = HUGE - open.len() - close.len();
    let chunks = (0..fill.div_ceil(filler.len()))
        .map(move |i| filler.slice(..filler.len().min(fill - i * filler.len())));
    let all = std::iter::once(open).chain(chunks).chain([close]);
    Body::from_stream(stream::iter(all.map(Ok::<_, io::Error>)))
}

fn grpc_prefix(length: usize) -> Bytes {
    let length = u32::try_from(length).expect("100 MiB fit");
    [&[0], &length.to_be_bytes()[..]].concat().into()
}

/// A web page where data was asked for.
pub(super) fn wrong_type() -> Response<Body> {
    let mut response = Response::new(Body::from("<!doctype html><title>Please log in</title>"));
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_huge_body_is_valid_json_of_a_hundred_mebibytes() {
        let body = huge(Dialect::Rest).collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), HUGE);
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(value["huge"].is_string());
    }

    #[tokio::test]
    async fn the_malformed_body_is_not_json() {
        let body = malformed(Dialect::Rest).collect().await.unwrap().to_bytes();
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_err());
    }
}
