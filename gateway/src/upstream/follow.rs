//! What goes on beside requests, on the control thread: following where endpoints are, and checking them.
//!
//! Not here: how it is found out (`discovery/`), what a check decides (`health.rs`).

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Instant,
};

use http::{HeaderValue, StatusCode, header, uri::PathAndQuery};
use tokio::{sync::watch, task::JoinSet};

use super::{
    Outgoing, Upstream,
    endpoint::{Endpoint, millis},
    health,
};

impl Upstream {
    /// Follows where the endpoints are and how they are, until the upstream is dropped.
    pub fn follow(self: &Arc<Self>) {
        let (source, name) = (self.source.clone(), self.name.to_string());
        let (sender, targets) = watch::channel(source.first());
        tokio::spawn(async move { source.run(&name, sender).await });
        tokio::spawn(follow(Arc::downgrade(self), self.found.subscribe(), targets));
    }
}

async fn follow(
    upstream: Weak<Upstream>,
    mut dropped: watch::Receiver<bool>,
    mut targets: watch::Receiver<super::discovery::Targets>,
) {
    let mut checks = JoinSet::new();
    loop {
        let Some(alive) = upstream.upgrade() else { return };
        checks.shutdown().await;
        check_all(&alive, &mut checks);
        drop(alive);
        tokio::select! {
            changed = targets.changed() => if changed.is_err() { return },
            () = ended(&mut dropped) => return,
        }
        let Some(alive) = upstream.upgrade() else { return };
        let now = targets.borrow_and_update().clone();
        alive.take_up(&now);
    }
}

/// Returns once the upstream is gone.
async fn ended(dropped: &mut watch::Receiver<bool>) {
    while dropped.changed().await.is_ok() {}
}

fn check_all(upstream: &Upstream, checks: &mut JoinSet<()>) {
    let Some(config) = &upstream.config.health else { return };
    for endpoint in &upstream.endpoints.load().all {
        let (endpoint, config) = (endpoint.clone(), config.clone());
        checks.spawn(async move {
            let name = endpoint.target.address.to_string();
            let probe = || probe(&endpoint, &config.path);
            let changed = |healthy: bool| {
                endpoint.metrics.unhealthy.store(!healthy, Relaxed);
                if healthy {
                    endpoint.load.warm_up(millis(Instant::now()));
                }
            };
            match health::run(endpoint.upstream(), &name, &config, &endpoint.health, probe, changed).await {}
        });
    }
}

/// Asks once, over a connection of its own: those of the workers live on their threads.
async fn probe(endpoint: &Endpoint, path: &str) -> Result<StatusCode, String> {
    let connection = endpoint.pool.open().await.map_err(|error| error.to_string())?;
    let target = PathAndQuery::try_from(path).map_err(|error| error.to_string())?;
    let mut request = Outgoing::get(target, 1);
    request.fields.push(header::USER_AGENT, HeaderValue::from_static("gateway-health-check"));
    let answered = endpoint.pool.exchange(connection, Box::new(request)).await;
    Ok(answered.map_err(|failed| failed.fault(endpoint.upstream()).cause.into_string())?.head.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::discovery::{Target, set};

    #[test]
    fn an_upstream_whose_endpoints_are_gone_is_not_there_until_one_comes_back() {
        let config = serde_json::from_value(serde_json::json!({ "url": "http://10.0.0.1:80" })).unwrap();
        let upstream = Upstream::build("kitchen", &config, Arc::default(), "", None).unwrap();
        let target = Target::new("10.0.0.2:80".parse().unwrap(), "kitchen");
        assert!(upstream.is_found());
        upstream.take_up(&set(Vec::new()));
        assert!(!upstream.is_found());
        upstream.take_up(&set(vec![target]));
        assert!(upstream.is_found());
    }
}
