//! Every metric there is, by name, for `GET /metrics` (OpenMetrics text).
//!
//! Handles are looked up when a configuration is built, never per request; label values come from configuration and from
//! discovery only. Names seen once live on across reloads: a counter never goes back. Endpoints are forgotten when they
//! are gone, since their addresses would add up.

mod exposition;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use prometheus_client::{encoding::text, metrics::counter::Counter, registry::Registry};

use super::handshakes::Handshakes;
use crate::{
    cache::{CacheMetrics, InvalidationMetrics, StoreMetrics, metrics::AllCaches},
    composition::write::WriteMetrics,
    graphql::GraphqlMetrics,
    histogram::Histogram,
    live::LiveMetrics,
    loaders::LoaderMetrics,
    overload::Overload,
    proxy::websocket::TunnelMetrics,
    rate_limit::LimitMetrics,
    redis::RedisMetrics,
    upstream::UpstreamMetrics,
};

/// The counters of one route.
#[derive(Debug, Default)]
pub struct RouteMetrics {
    /// Answers by the first digit of their status; 0 counts requests that were never answered.
    pub answers: [Counter; 6],
    /// From the first line of the request to the last byte of the answer.
    pub duration: Histogram,
}

/// Counters of the process.
#[derive(Debug, Default)]
pub struct ProcessMetrics {
    /// Connections accepted.
    pub connections: Counter,
    /// Connections that are open.
    pub open: std::sync::atomic::AtomicI64,
    /// Connections that ended in an error before any request was understood.
    pub broken: Counter,
    /// Connections closed at once because there were too many.
    pub refused_in_all: Counter,
    /// Connections closed at once because there were too many of their address.
    pub refused_of_address: Counter,
    /// Connections closed since no trusted proxy said whose they are, where one must.
    pub refused_unannounced: Counter,
    /// Handshakes of TLS that failed.
    pub handshakes: Handshakes,
    /// Configurations that were taken into use after the first.
    pub reloads: Counter,
    /// Configurations that were refused.
    pub refused_reloads: Counter,
}

/// All metrics of a gateway.
#[derive(Clone, Default)]
pub struct Metrics(Arc<All>);

#[derive(Default)]
struct All {
    process: ProcessMetrics,
    overload: &'static Overload,
    routes: Mutex<HashMap<String, Arc<RouteMetrics>>>,
    upstreams: Mutex<HashMap<String, Arc<UpstreamMetrics>>>,
    limits: Mutex<HashMap<String, Arc<LimitMetrics>>>,
    caches: Mutex<AllCaches>,
    store: Mutex<Weak<StoreMetrics>>,
    loaders: Mutex<HashMap<String, Arc<LoaderMetrics>>>,
    live: Mutex<HashMap<String, Arc<LiveMetrics>>>,
    tunnels: Mutex<HashMap<String, Arc<TunnelMetrics>>>,
    writes: Mutex<HashMap<String, Arc<WriteMetrics>>>,
    deprecated: Mutex<HashMap<String, Counter>>,
    graphql: Mutex<HashMap<String, Arc<GraphqlMetrics>>>,
    /// Told while there is one.
    redis: Mutex<Weak<RedisMetrics>>,
    lost_log_batches: Mutex<Counter>,
    certificates: Mutex<Vec<Expiry>>,
}

/// A listener, the name in one of its certificates, and the second at which that expires (Unix time).
pub type Expiry = (SocketAddr, Box<str>, i64);

impl Metrics {
    /// The counters of the route so named.
    #[must_use]
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        self.0.routes.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the upstream so named.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Arc<UpstreamMetrics> {
        self.0.upstreams.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the limit so named.
    #[must_use]
    pub fn limit(&self, name: &str) -> Arc<LimitMetrics> {
        self.0.limits.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the route so named that keeps answers.
    #[must_use]
    pub fn cache(&self, name: &str) -> Arc<CacheMetrics> {
        self.0.caches.lock().routes.entry(name.to_owned()).or_default().clone()
    }

    /// The counters of this part of the route so named, which keeps its answers.
    #[must_use]
    pub fn cached_part(&self, route: &str, part: &str) -> Arc<CacheMetrics> {
        self.0.caches.lock().parts.entry((route.to_owned(), part.to_owned())).or_default().clone()
    }

    /// The counters of the route so named, whose writes make answers invalid.
    #[must_use]
    pub fn invalidations(&self, name: &str) -> Arc<InvalidationMetrics> {
        self.0.caches.lock().invalidations.entry(name.to_owned()).or_default().clone()
    }

    /// The counters of a store that takes the place of the one before.
    #[must_use]
    pub fn cache_store(&self) -> Arc<StoreMetrics> {
        let new = Arc::default();
        *self.0.store.lock() = Arc::downgrade(&new);
        new
    }

    /// The counters of the loader so named.
    #[must_use]
    pub fn loader(&self, name: &str) -> Arc<LoaderMetrics> {
        self.0.loaders.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the route so named, which opens WebSockets.
    #[must_use]
    pub fn websocket(&self, name: &str) -> Arc<TunnelMetrics> {
        self.0.tunnels.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the route so named, whose answers stay open.
    #[must_use]
    pub fn live(&self, name: &str) -> Arc<LiveMetrics> {
        self.0.live.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the route so named, whose composition has a write.
    #[must_use]
    pub fn writes(&self, name: &str) -> Arc<WriteMetrics> {
        self.0.writes.lock().entry(name.to_owned()).or_default().clone()
    }

    /// How often the route so named was called, which is deprecated.
    #[must_use]
    pub fn deprecated(&self, name: &str) -> Counter {
        self.0.deprecated.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The counters of the route of GraphQL that has this path.
    #[must_use]
    pub fn graphql(&self, path: &str) -> Arc<GraphqlMetrics> {
        self.0.graphql.lock().entry(path.to_owned()).or_default().clone()
    }

    /// How Redis is.
    #[must_use]
    pub fn redis(&self) -> Arc<RedisMetrics> {
        let mut known = self.0.redis.lock();
        known.upgrade().unwrap_or_else(|| {
            let new = Arc::default();
            *known = Arc::downgrade(&new);
            new
        })
    }

    /// The counters of the process.
    #[must_use]
    pub fn process(&self) -> &ProcessMetrics {
        &self.0.process
    }

    /// The requests that are in flight.
    #[must_use]
    pub fn overload(&self) -> &'static Overload {
        self.0.overload
    }

    /// Takes over the access log's counter of lost batches.
    pub fn watch_log(&self, lost: &Counter) {
        *self.0.lost_log_batches.lock() = lost.clone();
    }

    /// From now on listeners have these certificates.
    pub fn tell_certificates(&self, certificates: Vec<Expiry>) {
        *self.0.certificates.lock() = certificates;
    }

    /// All of it as OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("writing to a string cannot fail");
        out
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::upstream::Upstream;

    #[test]
    fn endpoints_and_what_policies_did_are_told_and_forgotten_with_the_upstream() {
        let metrics = Metrics::default();
        let of_kitchen = metrics.upstream("kitchen");
        let typed = serde_json::json!({
            "endpoints": ["http://10.0.0.1:80", "http://10.0.0.2:80"], "in_flight": { "limit": 7 },
        });
        let config = serde_json::from_value(typed).unwrap();
        let upstream = Upstream::build("kitchen", &config, of_kitchen.clone(), "", None).unwrap();
        of_kitchen.retries.inc();
        for (_, second) in of_kitchen.endpoints().iter().skip(1) {
            second.unhealthy.store(true, Relaxed);
            second.ejected_until.store(u64::MAX, Relaxed);
            second.picks.inc_by(3);
            second.opened.inc();
            second.breaker.store(2, Relaxed);
        }
        let text = metrics.text();
        for line in [
            r#"gateway_upstream_retries_total{upstream="kitchen"} 1"#,
            r#"gateway_upstream_hedges_total{upstream="kitchen"} 0"#,
            r#"gateway_upstream_answers_too_large_total{upstream="kitchen"} 0"#,
            r#"gateway_upstream_endpoints{upstream="kitchen"} 2"#,
            r#"gateway_upstream_slots_taken{upstream="kitchen"} 0"#,
            r#"gateway_upstream_slots_limit{upstream="kitchen"} 7"#,
            r#"gateway_endpoint_attempts_total{upstream="kitchen",endpoint="10.0.0.2:80"} 3"#,
            r#"gateway_endpoint_ejections_total{upstream="kitchen",endpoint="10.0.0.1:80"} 0"#,
            r#"gateway_endpoint_breaker_opened_total{upstream="kitchen",endpoint="10.0.0.2:80"} 1"#,
            r#"gateway_endpoint_breaker_state{upstream="kitchen",endpoint="10.0.0.2:80"} 2"#,
            r#"gateway_endpoint_breaker_state{upstream="kitchen",endpoint="10.0.0.1:80"} 0"#,
            r#"gateway_endpoint_healthy{upstream="kitchen",endpoint="10.0.0.1:80"} 1"#,
            r#"gateway_endpoint_healthy{upstream="kitchen",endpoint="10.0.0.2:80"} 0"#,
            r#"gateway_endpoint_ejected{upstream="kitchen",endpoint="10.0.0.1:80"} 0"#,
            r#"gateway_endpoint_ejected{upstream="kitchen",endpoint="10.0.0.2:80"} 1"#,
        ] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        drop(upstream);
        let text = metrics.text();
        assert!(!text.contains("10.0.0.") && !text.contains("slots_limit{"), "{text}");
        assert!(text.contains(r#"gateway_upstream_retries_total{upstream="kitchen"} 1"#), "{text}");
    }

    #[test]
    fn a_configuration_that_is_refused_takes_nothing_of_the_one_in_use_away() {
        let metrics = Metrics::default();
        let of_kitchen = metrics.upstream("kitchen");
        let build = |url: &str, limit: u32| {
            let typed = serde_json::json!({ "url": url, "in_flight": { "limit": limit } });
            let config = serde_json::from_value(typed).unwrap();
            Upstream::build("kitchen", &config, of_kitchen.clone(), "", None).unwrap()
        };
        let _in_use = build("http://10.0.0.1:80", 7);
        drop(build("http://10.0.0.2:80", 8));
        let text = metrics.text();
        assert!(text.contains(r#"gateway_upstream_slots_limit{upstream="kitchen"} 7"#), "{text}");
        assert!(text.contains(r#"endpoint="10.0.0.1:80""#) && !text.contains("10.0.0.2"), "{text}");
    }
}
