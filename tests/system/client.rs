//! A plain HTTP client: one connection a request, HTTP/1.1 or HTTP/2, and a body that may turn out to be cut.
//!
//! Not here: bytes that no client would send (`wire.rs`).

use std::{net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};

/// Longer than any answer may take, so that a test ends when one never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that is being put together.
pub(crate) struct Ask {
    to: SocketAddr,
    request: Request<Body>,
}

/// An answer as a client sees it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// An error if it was cut.
    pub(crate) body: Result<Bytes, hyper::Error>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request to `to`, with no body yet.
pub(crate) fn ask(to: SocketAddr, method: &str, path: &str) -> Ask {
    let request = Request::builder().method(method).uri(path).header(header::HOST, "ftgo.example");
    Ask { to, request: request.body(Body::empty()).unwrap() }
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Ask {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        self.request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// By another name than usual.
    pub(crate) fn host(mut self, host: &str) -> Ask {
        self.request.headers_mut().insert(header::HOST, HeaderValue::from_str(host).unwrap());
        self
    }

    pub(crate) fn token(self, token: &str) -> Ask {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, body: impl Into<Body>) -> Ask {
        *self.request.body_mut() = body.into();
        self
    }

    pub(crate) fn json(self, json: &Value) -> Ask {
        self.header("content-type", "application/json").body(json.to_string())
    }

    /// The answer, whole, over HTTP/1.1.
    pub(crate) async fn send(self) -> Answer {
        whole(self.begin().await).await
    }

    /// The answer's head over HTTP/1.1; its body is still to come.
    pub(crate) async fn begin(self) -> Response<Incoming> {
        let mut sender = connect(self.to).await;
        timeout(PATIENCE, sender.send_request(self.request)).await.expect("an answer in time").unwrap()
    }

    /// The answer, whole, over HTTP/2 with prior knowledge.
    pub(crate) async fn send_h2(self) -> Answer {
        self.try_send_h2().await.unwrap()
    }

    /// The same, or that the stream was reset: a reset that comes soon after a head overtakes it in the client.
    pub(crate) async fn try_send_h2(mut self) -> hyper::Result<Answer> {
        let mut sender = connect_h2(self.to).await;
        let path = self.request.uri().to_string();
        *self.request.uri_mut() = format!("http://ftgo.example{path}").parse().unwrap();
        self.request.headers_mut().remove(header::HOST);
        let answer = timeout(PATIENCE, sender.send_request(self.request)).await;
        Ok(whole(answer.expect("an answer in time")?).await)
    }
}

impl Answer {
    pub(crate) fn bytes(&self) -> &Bytes {
        self.body.as_ref().expect("the body is whole")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(self.bytes()).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// A header field's value, empty if it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code of a problem document of the gateway's own.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["requestId"], self.header("x-request-id"));
        problem["code"].as_str().expect("a problem has a code").to_owned()
    }

    /// The answer, which must be this one.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// Reads an answer to its end, or to where it was cut.
pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (head, body) = response.into_parts();
    let collected = timeout(PATIENCE, body.collect()).await.expect("a body in time");
    let (body, trailers) = match collected {
        Ok(collected) => (Ok(()), Some(collected)),
        Err(error) => (Err(error), None),
    };
    let fields = trailers.as_ref().and_then(|collected| collected.trailers().cloned());
    let bytes = trailers.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.map(|()| bytes),
        trailers: fields,
    }
}

/// A connection of HTTP/1.1 that stays open between requests.
pub(crate) async fn connect(to: SocketAddr) -> http1::SendRequest<Body> {
    over_h1(TcpStream::connect(to).await.unwrap()).await
}

pub(crate) async fn connect_h2(to: SocketAddr) -> http2::SendRequest<Body> {
    over_h2(TcpStream::connect(to).await.unwrap()).await
}

pub(crate) async fn over_h1<I>(io: I) -> http1::SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) async fn over_h2<I>(io: I) -> http2::SendRequest<Body>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}
