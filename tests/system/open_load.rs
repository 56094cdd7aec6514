//! A load that does not wait for answers: each request is due at a moment that was fixed before.
//!
//! Not here: clients that ask again once they have been answered (`replicas.rs`).

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::future::join_all;
use http::Request;
use hyper::client::conn::http2::SendRequest;
use tokio::{task::JoinSet, time::interval};

use crate::{
    client::{connect_h2, whole},
    replicas::Sample,
};

/// What came of one request, timed from when it was due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) sample: Sample,
    /// Whether the answer says when to come back.
    pub(crate) retry_after: bool,
}

/// Over so many connections of HTTP/2, so that however many answers are due, descriptors are few.
const CONNECTIONS: usize = 8;

/// `GET /it`, `rate` times a second for `lasting`. A request waits for nobody, so that what is slow is not asked less; what
/// the sender itself is late by counts.
pub(crate) async fn offer(to: SocketAddr, rate: u32, lasting: Duration) -> Vec<Due> {
    let connections = join_all((0..CONNECTIONS).map(|_| connect_h2(to))).await;
    let (begun, mut asking) = (Instant::now(), JoinSet::new());
    let mut clock = interval(Duration::from_millis(1));
    let total = (lasting.as_secs_f64() * f64::from(rate)) as usize;
    let due = |number: usize| Duration::from_secs_f64(number as f64 / f64::from(rate));
    let mut sent = 0;
    while sent < total {
        clock.tick().await;
        let elapsed = begun.elapsed();
        while sent < total && due(sent) <= elapsed {
            asking.spawn(ask(connections[sent % CONNECTIONS].clone(), begun, due(sent)));
            sent += 1;
        }
    }
    asking.join_all().await
}

async fn ask(mut connection: SendRequest<Body>, begun: Instant, due: Duration) -> Due {
    let request = Request::get("http://ftgo.example/it").body(Body::empty()).unwrap();
    let answer = match connection.send_request(request).await {
        Ok(response) => Some(whole(response).await).filter(|answer| answer.body.is_ok()),
        Err(_) => None,
    };
    let at = begun.elapsed();
    let status = answer.as_ref().map_or(0, |answer| answer.status);
    let retry_after = answer.is_some_and(|answer| !answer.header("retry-after").is_empty());
    Due { sample: Sample { at, took: at.saturating_sub(due), status }, retry_after }
}
