//! The listener for operators: is it alive, is it ready, how is it doing.
//!
//! It is served by the control thread, not by the workers: it answers also when they are busy, and while they drain.
//! The one thing that it changes is what is kept of answers (`purge.rs`).
//! Not here: any authentication. The address is not for clients; `names.rs` keeps pages away that operators look at.

mod names;
mod purge;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};

pub use self::{names::Names, purge::Purging};
use crate::pipeline::Gateway;

/// Connections at a time: some operators and what watches over the gateway. Others wait.
const MOST_CONNECTIONS: usize = 64;
/// How long a client may take to ask, and a connection may stay unused.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long who purges waits until other instances have been told.
const TELLING: Duration = Duration::from_secs(1);
/// After an error in accepting, such as no file descriptor being left.
const PAUSE: Duration = Duration::from_millis(50);

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// As Prometheus asks for it.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What operators ask about: the gateway, and in tests something simpler.
pub trait Status: Send + Sync + 'static {
    /// Why requests cannot all be taken yet: providers without keys, whose tokens cannot be checked, and upstreams of
    /// which no endpoint has been found.
    fn waiting_for(&self) -> Vec<String>;
    /// Whether the end has begun, or is near.
    fn draining(&self) -> bool;
    /// All metrics as OpenMetrics text.
    fn metrics(&self) -> String;
    /// Makes invalid what is kept of answers; whether any are.
    fn purge(&self, purging: &Purging) -> bool;
    /// Whether all other instances know of all purges, as far as they are to.
    fn purge_is_shared(&self) -> impl Future<Output = Option<bool>> + Send;
}

impl Status for Gateway {
    fn waiting_for(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        let providers = snapshot.providers.iter().filter(|(_, provider)| !provider.ready());
        let upstreams = snapshot.services.upstreams.iter().filter(|(_, upstream)| !upstream.is_found());
        let providers = providers.map(|(name, _)| format!("provider `{name}` has no keys yet"));
        providers.chain(upstreams.map(|(name, _)| format!("upstream `{name}`: no endpoint found"))).collect()
    }

    fn draining(&self) -> bool {
        self.ends()
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }

    fn purge(&self, purging: &Purging) -> bool {
        let snapshot = self.snapshot();
        snapshot.cache.as_ref().map(|store| purging.apply(store)).is_some()
    }

    async fn purge_is_shared(&self) -> Option<bool> {
        let store = self.snapshot().cache.clone()?;
        store.is_told(TELLING).await
    }
}

/// Binds the address of the operators' listener.
///
/// # Errors
/// When it is in use or may not be used; the message names it.
pub fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let refused = |why: io::Error| {
        io::Error::new(why.kind(), format!("cannot listen on {address} for operators: {why}"))
    };
    let listener = StdListener::bind(address).map_err(refused)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers operators, who call it by `names`, until it is dropped.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn serve<S: Status>(listener: StdListener, names: Names, status: Arc<S>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(listener)?;
    let (names, room) = (Arc::new(names), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, names.clone(), status.clone());
                tokio::spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections of operators");
                sleep(PAUSE).await;
            }
        }
    }
}

fn connection<S: Status>(
    stream: TcpStream,
    names: Arc<Names>,
    status: Arc<S>,
) -> impl Future<Output = ()> + Send {
    let service = service_fn(move |request: Request<Incoming>| {
        let (status, ours) = (status.clone(), names.fit(request.headers()));
        async move {
            let (method, uri) = (request.method(), request.uri());
            Ok::<_, Infallible>(if ours { answer(method, uri, &*status).await } else { misdirected() })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection of an operator ended early");
        }
    }
}

async fn answer<S: Status>(method: &Method, target: &Uri, status: &S) -> Response<Full<Bytes>> {
    let offered: fn(&S) -> Response<Full<Bytes>> = match target.path() {
        "/cache" => return purged(method, target.query().unwrap_or_default(), status).await,
        "/healthz" => |_| json(StatusCode::OK, r#"{"status":"alive"}"#),
        "/readyz" => readiness,
        "/metrics" => |status| response(StatusCode::OK, OPEN_METRICS, status.metrics()),
        _ => return json(StatusCode::NOT_FOUND, r#"{"offered":["/healthz","/readyz","/metrics","/cache"]}"#),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return offered(status);
    }
    refused(r#"{"offered":["GET","HEAD"]}"#, HeaderValue::from_static("GET, HEAD"))
}

/// RFC 9110 section 15.5.20.
fn misdirected() -> Response<Full<Bytes>> {
    json(
        StatusCode::MISDIRECTED_REQUEST,
        r#"{"reasons":["operators ask by an address, a name without dots, or one of `admin.hosts`"]}"#,
    )
}

async fn purged<S: Status>(method: &Method, query: &str, status: &S) -> Response<Full<Bytes>> {
    if *method != Method::DELETE {
        return refused(r#"{"offered":["DELETE"]}"#, HeaderValue::from_static("DELETE"));
    }
    match purge::purge(query, |purging| status.purge(purging)) {
        Ok(()) => json(StatusCode::OK, purge::done(status.purge_is_shared().await)),
        Err((code, body)) => json(code, body),
    }
}

fn refused(offered: &'static str, allow: HeaderValue) -> Response<Full<Bytes>> {
    let mut refused = json(StatusCode::METHOD_NOT_ALLOWED, offered);
    refused.headers_mut().insert(header::ALLOW, allow);
    refused
}

/// All reasons are told: an instance that is draining may never have had keys.
fn readiness<S: Status>(status: &S) -> Response<Full<Bytes>> {
    let (draining, mut reasons) = (status.draining(), status.waiting_for());
    if draining {
        reasons.insert(0, "this instance is draining".to_owned());
    }
    let (code, state) = match (draining, reasons.is_empty()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (false, true) => return json(StatusCode::OK, r#"{"status":"ready"}"#),
    };
    json(code, serde_json::json!({ "status": state, "reasons": reasons }).to_string())
}

fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, JSON, body)
}

fn response(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    // What is true now is of no use later.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Told {
        waiting: &'static [&'static str],
        draining: bool,
    }

    impl Status for Told {
        fn waiting_for(&self) -> Vec<String> {
            self.waiting.iter().map(|name| (*name).to_owned()).collect()
        }
        fn draining(&self) -> bool {
            self.draining
        }
        fn metrics(&self) -> String {
            "# EOF\n".to_owned()
        }
        fn purge(&self, _purging: &Purging) -> bool {
            self.waiting.is_empty()
        }

        async fn purge_is_shared(&self) -> Option<bool> {
            None
        }
    }

    async fn asked(request: &str, waiting: &'static [&'static str], draining: bool) -> String {
        asked_at("127.0.0.1:9087", request, waiting, draining).await
    }

    async fn asked_at(host: &str, request: &str, waiting: &'static [&'static str], draining: bool) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(serve(listener, Names::default(), Arc::new(Told { waiting, draining })));
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn it_is_alive_whatever_else() {
        assert!(asked("GET /healthz", &["no keys"], true).await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn readiness_says_why_not() {
        assert!(asked("GET /readyz", &[], false).await.starts_with("HTTP/1.1 200 "));
        for (waiting, draining, body) in [
            (
                &["no keys", "no endpoint"][..],
                false,
                r#"{"reasons":["no keys","no endpoint"],"status":"starting"}"#,
            ),
            (&[], true, r#"{"reasons":["this instance is draining"],"status":"draining"}"#),
            (
                &["no keys"],
                true,
                r#"{"reasons":["this instance is draining","no keys"],"status":"draining"}"#,
            ),
        ] {
            let answer = asked("GET /readyz", waiting, draining).await;
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with(body), "{answer}");
        }
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let metrics = asked("GET /metrics", &[], false).await;
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
        assert!(metrics.contains(kind) && metrics.ends_with("# EOF\n"), "{metrics}");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        assert!(asked("GET /admin", &[], false).await.starts_with("HTTP/1.1 404 "));
        let post = asked("POST /readyz", &[], false).await;
        assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD\r\n"), "{post}");
    }

    #[tokio::test]
    async fn a_page_whose_own_name_leads_here_learns_and_purges_nothing() {
        for request in ["GET /metrics", "GET /readyz", "DELETE /cache?all"] {
            let answer = asked_at("evil.example:9087", request, &[], false).await;
            assert!(answer.starts_with("HTTP/1.1 421 "), "{request}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_can_be_purged_by_name() {
        for (request, status) in [
            ("DELETE /cache?tag=menu", "200"),
            ("DELETE /cache?url=http://x/y&soft", "200"),
            ("DELETE /cache", "400"),
            ("DELETE /cache?tags=menu", "400"),
            ("GET /cache?all", "405"),
            ("POST /cache?all", "405"),
        ] {
            let answer = asked(request, &[], false).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        }
        assert!(asked("DELETE /cache?all", &["nothing is kept"], false).await.starts_with("HTTP/1.1 404 "));
    }
}
