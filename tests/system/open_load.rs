//! A load that does not wait for answers: each request is due at a moment that was fixed before.
//!
//! Not here: clients that ask again once they have been answered (`replicas.rs`).

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use http::{Request, header};
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use tokio::{sync::Semaphore, task::JoinSet, time::interval};

use crate::{
    client::{connect, whole},
    replicas::Sample,
};

/// What came of one request, timed from when it was due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) sample: Sample,
    /// Whether the answer says when to come back.
    pub(crate) retry_after: bool,
}

/// The most connections at a time: who finds none waits for one, and that counts. Enough for what is quick; no machine that
/// is held up runs out of descriptors.
const CONNECTIONS: usize = 200;

/// `GET /it`, `rate` times a second for `lasting`. No request waits for another's answer, so that what is slow is not asked
/// less; what the sender itself is late by counts.
pub(crate) async fn offer(to: SocketAddr, rate: u32, lasting: Duration) -> Vec<Due> {
    let idle = Arc::new(Idle { all: Mutex::default(), room: Semaphore::new(CONNECTIONS) });
    let (begun, mut asking) = (Instant::now(), JoinSet::new());
    let mut clock = interval(Duration::from_millis(1));
    let total = (lasting.as_secs_f64() * f64::from(rate)) as u32;
    let mut sent = 0;
    while sent < total {
        clock.tick().await;
        let elapsed = begun.elapsed();
        while sent < total {
            let due = Duration::from_secs_f64(f64::from(sent) / f64::from(rate));
            if due > elapsed {
                break;
            }
            asking.spawn(ask(to, idle.clone(), begun, due));
            sent += 1;
        }
    }
    asking.join_all().await
}

/// Connections that wait for their next request.
struct Idle {
    all: Mutex<Vec<SendRequest<Body>>>,
    room: Semaphore,
}

async fn ask(to: SocketAddr, idle: Arc<Idle>, begun: Instant, due: Duration) -> Due {
    let _room = idle.room.acquire().await.expect("it is never closed");
    let kept = idle.all.lock().pop();
    let mut connection = match kept {
        Some(connection) if connection.is_ready() => connection,
        _ => connect(to).await,
    };
    let request = Request::get("/it").header(header::HOST, "ftgo.example").body(Body::empty()).unwrap();
    let answer = match connection.send_request(request).await {
        Ok(response) => Some(whole(response).await).filter(|answer| answer.body.is_ok()),
        Err(_) => None,
    };
    let at = begun.elapsed();
    idle.all.lock().push(connection);
    let status = answer.as_ref().map_or(0, |answer| answer.status);
    let retry_after = answer.is_some_and(|answer| !answer.header("retry-after").is_empty());
    Due { sample: Sample { at, took: at.saturating_sub(due), status }, retry_after }
}
