//! The handler of every backend: counts a request, lets it meet a fault, else asks the router.
//!
//! Not the rules themselves (`rule.rs`). `refuse` happens to the listener (`server.rs`), so it never gets here.

use std::future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Collected};
use hyper::body::Incoming;
use tower::ServiceExt;

use super::backend::Backend;
use super::broken;
use super::faults::Faults;
use super::grpc;
use super::recorder::{Arrival, Call, Recorder};
use super::rule::{Fault, Script};
use super::server::{Handler, Link};

/// A backend behind one listener.
#[derive(Clone)]
pub(super) struct Stub(Arc<Parts>);

struct Parts {
    backend: Backend,
    dialect: Dialect,
    router: Router,
    faults: Arc<Faults>,
    recorder: Arc<Recorder>,
}

/// What a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Rest,
    /// Requests meet faults as `POST /orders`, and scripted statuses become gRPC codes.
    Grpc,
}

impl Stub {
    /// Answers for `backend` by `router`, under its faults.
    pub(super) fn new(
        backend: Backend,
        dialect: Dialect,
        router: Router,
        faults: &Arc<Faults>,
        recorder: &Arc<Recorder>,
    ) -> Stub {
        let (faults, recorder) = (Arc::clone(faults), Arc::clone(recorder));
        Stub(Arc::new(Parts { backend, dialect, router, faults, recorder }))
    }
}

impl Handler for Stub {
    async fn call(self, request: Request<Incoming>, link: Arc<Link>) -> Response<Body> {
        let call = self.0.arrive(&request, &link);
        let to_head = request.method() == Method::HEAD;
        let response = Box::pin(self.0.respond(request, &link)).await;
        match call {
            Some(call) => call.follow(response, to_head),
            None => response,
        }
    }
}

impl Parts {
    /// Counts the request, unless it is a health check.
    fn arrive(&self, request: &Request<Incoming>, link: &Arc<Link>) -> Option<Call> {
        let uri = request.uri();
        if uri.path() == "/health" {
            return None;
        }
        let (label, template) = match self.dialect {
            Dialect::Rest => (request.method().clone(), self.recorder.template(self.backend, uri.path())),
            Dialect::Grpc => (grpc::label(), grpc::template(uri.path())),
        };
        let arrival = Arrival {
            label,
            template,
            method: request.method().clone(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            headers: request.headers().clone(),
        };
        Some(self.recorder.arrive(self.backend, arrival, Arc::clone(link)))
    }

    async fn respond(&self, request: Request<Incoming>, link: &Link) -> Response<Body> {
        let hit = match self.dialect {
            Dialect::Rest => self.faults.pick(self.backend, request.method(), request.uri().path()),
            Dialect::Grpc => self.faults.pick(self.backend, &Method::POST, "/orders"),
        };
        let Some(hit) = hit else { return self.ask(request).await };
        if hit.wait > Duration::ZERO {
            tokio::time::sleep(hit.wait).await;
        }
        match hit.fault {
            None => self.ask(request).await,
            Some(Fault::Hang | Fault::Refuse) => future::pending().await,
            Some(Fault::Reset) => {
                link.reset();
                future::pending().await
            }
            Some(Fault::Truncate(bytes)) => self.truncated(request, bytes).await,
            Some(Fault::Trickle(every)) => self.trickled(request, every).await,
            Some(Fault::Scripted(script)) => {
                read(request).await;
                self.scripted(script)
            }
            Some(Fault::Malformed) => {
                read(request).await;
                self.labelled(broken::malformed(self.dialect))
            }
            Some(Fault::Huge) => {
                read(request).await;
                self.labelled(broken::huge(self.dialect))
            }
            Some(Fault::WrongType) => {
                read(request).await;
                broken::wrong_type()
            }
        }
    }

    /// The real answer.
    async fn ask(&self, request: Request<Incoming>) -> Response<Body> {
        let Ok(response) = self.router.clone().oneshot(request).await;
        response
    }

    /// The real answer, whole.
    async fn ask_whole(&self, request: Request<Incoming>) -> (Response<()>, Collected<Bytes>) {
        let (head, body) = self.ask(request).await.into_parts();
        let body = body.collect().await.expect("a stub's body is in memory");
        (Response::from_parts(head, ()), body)
    }

    async fn truncated(&self, request: Request<Incoming>, bytes: usize) -> Response<Body> {
        let (head, body) = self.ask_whole(request).await;
        let whole = body.to_bytes();
        // Less than everything in any case, else nobody could see the cut.
        let kept = whole.slice(..bytes.min(whole.len().saturating_sub(1)));
        match whole.len() {
            0 => head.map(|()| Body::empty()),
            length => self.sized(head.map(|()| broken::cut(kept)), length),
        }
    }

    async fn trickled(&self, request: Request<Incoming>, every: Duration) -> Response<Body> {
        let (head, body) = self.ask_whole(request).await;
        let trailers = body.trailers().cloned();
        let whole = body.to_bytes();
        let length = whole.len();
        self.sized(head.map(|()| broken::trickle(whole, trailers, every)), length)
    }

    fn scripted(&self, script: Script) -> Response<Body> {
        if self.dialect == Dialect::Grpc {
            return grpc::scripted(&script);
        }
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&script.status);
        let mut response = Response::new(if bodiless { Body::empty() } else { Body::from(script.body) });
        *response.status_mut() = script.status;
        *response.headers_mut() = script.headers;
        response
    }

    /// With the content type a client expects.
    fn labelled(&self, body: Body) -> Response<Body> {
        let label = match self.dialect {
            Dialect::Rest => "application/json",
            Dialect::Grpc => "application/grpc",
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(label));
        response
    }

    /// With the length the body would have: gRPC announces none.
    fn sized(&self, mut response: Response<Body>, length: usize) -> Response<Body> {
        if self.dialect == Dialect::Rest {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    }
}

/// Reads the request to its end, as a service would: else the client's sending fails before the answer comes.
async fn read(request: Request<Incoming>) {
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
}
