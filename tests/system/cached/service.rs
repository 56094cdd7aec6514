//! A service whose answers are scripted, which holds requests until it is told to answer them.
//!
//! Not here: bodies that break at any byte (`replicas.rs`).

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch};

/// What a request is answered, by its number.
pub(crate) type Script = Arc<dyn Fn(&Request<Incoming>, usize) -> Response<Body> + Send + Sync>;

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    asked: Arc<watch::Sender<usize>>,
    /// Requests up to this number are answered.
    answered: watch::Sender<usize>,
}

impl Service {
    /// Answers at once.
    pub(crate) async fn start(
        script: impl Fn(&Request<Incoming>, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Service {
        let service = Service::holding(script).await;
        service.answer(usize::MAX);
        service
    }

    /// Answers nobody yet.
    pub(crate) async fn holding(
        script: impl Fn(&Request<Incoming>, usize) -> Response<Body> + Send + Sync + 'static,
    ) -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answered) = (Arc::new(watch::channel(0).0), watch::channel(0).0);
        let (script, counted, told): (Script, _, _) = (Arc::new(script), asked.clone(), answered.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, counted, told) = (script.clone(), counted.clone(), told.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (script, mut told) = (script.clone(), told.clone());
                    let mut number = 0;
                    counted.send_modify(|asked| {
                        *asked += 1;
                        number = *asked;
                    });
                    async move {
                        told.wait_for(|answered| *answered >= number).await.expect("the service lives");
                        Ok::<_, Infallible>(script(&request, number))
                    }
                });
                let io = TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, answer));
            }
        });
        Service { address, asked, answered }
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits for so many requests.
    pub(crate) async fn sees(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let waiting = asked.wait_for(|asked| *asked >= count);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        drop(waited.unwrap_or_else(|_| panic!("{} and not {count} requests came", self.seen())).unwrap());
    }

    /// Answers the first so many requests.
    pub(crate) fn answer(&self, up_to: usize) {
        self.answered.send_replace(up_to);
    }
}

/// A 200 with these header fields.
pub(crate) fn ok(fields: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let builder =
        fields.iter().fold(Response::builder(), |builder, (name, value)| builder.header(*name, *value));
    builder.body(body.into()).unwrap()
}
