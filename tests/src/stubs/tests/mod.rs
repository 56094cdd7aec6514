//! The stubs over real sockets. Here: the client the tests share; a file for each side of the stubs.

mod connections;
mod control;
mod faults;
mod grpc;
mod identity;
mod requests;

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{Ports, Stubs, recorder::Counts, service::Service};

fn stubs() -> Stubs {
    Stubs::start(Ports::free()).unwrap()
}

/// An answer as a client sees it.
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    /// An error if the body was cut.
    body: hyper::Result<Bytes>,
}

impl Seen {
    fn bytes(self) -> Bytes {
        self.body.unwrap()
    }

    fn json(self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }
}

/// Sends a request over a connection of its own.
async fn send(to: SocketAddr, request: Request<Body>) -> hyper::Result<Seen> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    connection.abort();
    Ok(Seen { status: head.status, headers: head.headers, body })
}

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(path).header(header::HOST, "stub").body(body.into()).unwrap()
}

async fn get(to: SocketAddr, path: &str) -> Seen {
    send(to, request(Method::GET, path, Body::empty())).await.unwrap()
}

async fn call(to: SocketAddr, method: Method, path: &str, body: Value) -> Seen {
    send(to, request(method, path, body.to_string())).await.unwrap()
}

async fn form(to: SocketAddr, path: &str, body: &str) -> Seen {
    let mut request = request(Method::POST, path, body.to_owned());
    let kind = axum::http::HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    send(to, request).await.unwrap()
}

/// Waits until a service's counters are `so`, for as long as a busy machine may need.
async fn until(stubs: &Stubs, service: Service, so: impl Fn(&Counts) -> bool) {
    let waiting = stubs.recorder().until(service, so);
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it never came to be so");
}
