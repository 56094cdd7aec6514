//! Every metric there is, by name, for `GET /metrics` (OpenMetrics text).
//!
//! Handles are looked up when a configuration is built, never per request; label values come from configuration and from
//! discovery only. Names seen once live on across reloads: a counter never goes back. Endpoints are forgotten when they
//! are gone, since their addresses would add up.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
    registry::Registry,
};

use super::{endpoints, handshakes::Handshakes};
use crate::{
    cache::{self, CacheMetrics, InvalidationMetrics, StoreMetrics, metrics::AllCaches},
    composition::write::{self, WriteMetrics},
    graphql::{self, GraphqlMetrics},
    histogram::Histogram,
    live::{self, LiveMetrics},
    loaders::{self, LoaderMetrics},
    overload::{Overload, Priority},
    proxy::websocket::{self, TunnelMetrics},
    rate_limit::LimitMetrics,
    redis::RedisMetrics,
    upstream::{Outcome, UpstreamMetrics},
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

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_process(&mut encoder)?;
        self.encode_tls(&mut encoder)?;
        self.encode_overload(&mut encoder)?;
        self.encode_routes(&mut encoder)?;
        self.encode_limits(&mut encoder)?;
        cache::metrics::encode(&self.0.caches.lock(), self.0.store.lock().upgrade(), &mut encoder)?;
        loaders::metrics::encode(&self.0.loaders.lock(), &mut encoder)?;
        live::metrics::encode(&self.0.live.lock(), &mut encoder)?;
        websocket::metrics::encode(&self.0.tunnels.lock(), &mut encoder)?;
        write::encode(&self.0.writes.lock(), &mut encoder)?;
        graphql::metrics::encode(&self.0.graphql.lock(), &mut encoder)?;
        self.encode_upstreams(&mut encoder)?;
        self.encode_policies(&mut encoder)?;
        endpoints::encode(&mut encoder, &self.0.upstreams.lock())
    }
}

/// A row's way from what is counted to a number.
type Reading<T, N = u64> = fn(&T) -> N;

impl Metrics {
    fn encode_process(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let process = &self.0.process;
        let counters = [
            ("gateway_connections", "Connections accepted", &process.connections),
            ("gateway_connections_broken", "Connections that ended in an error", &process.broken),
            ("gateway_config_reloads", "Configurations taken into use after the first", &process.reloads),
            ("gateway_config_refused", "Configurations refused", &process.refused_reloads),
            (
                "gateway_access_log_batches_lost",
                "Batches of log lines that could not be written",
                &self.0.lost_log_batches.lock(),
            ),
        ];
        for (name, help, counter) in counters {
            ConstCounter::new(counter.get()).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let mut family = encoder.encode_descriptor(
            "gateway_connections_refused",
            "Connections closed at once",
            None,
            MetricType::Counter,
        )?;
        for (reason, counter) in [
            ("all", &process.refused_in_all),
            ("address", &process.refused_of_address),
            ("proxy_protocol", &process.refused_unannounced),
        ] {
            ConstCounter::new(counter.get()).encode(family.encode_family(&[("reason", reason)])?)?;
        }
        let open = process.open.load(std::sync::atomic::Ordering::Relaxed);
        let gauge = encoder.encode_descriptor(
            "gateway_connections_open",
            "Connections that are open",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(open).encode(gauge)
    }

    fn encode_tls(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("gateway_tls_handshakes_failed", "Handshakes with clients that failed");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in self.0.process.handshakes.counts() {
            ConstCounter::new(count).encode(family.encode_family(&[("reason", reason)])?)?;
        }
        let (name, help) =
            ("gateway_certificate_expires_seconds", "When a listener's certificate expires, Unix time");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (listener, name, at) in &*self.0.certificates.lock() {
            let labels = [("listener", listener.to_string()), ("name", name.to_string())];
            ConstGauge::new(*at).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn encode_overload(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("gateway_requests_in_flight", "Requests that count against server.max_in_flight");
        let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(self.0.overload.in_flight()).encode(gauge)?;
        let (name, help) = ("gateway_requests_shed", "Requests turned away by server.max_in_flight");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for priority in Priority::ALL {
            let counter = ConstCounter::new(self.0.overload.shed(priority));
            counter.encode(family.encode_family(&[("priority", priority.name())])?)?;
        }
        Ok(())
    }

    fn encode_routes(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        const CLASSES: [&str; 6] = ["unanswered", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let routes = self.0.routes.lock();
        let mut family = encoder.encode_descriptor(
            "gateway_requests",
            "Requests by route and answer",
            None,
            MetricType::Counter,
        )?;
        for (name, route) in &*routes {
            for (class, counter) in
                CLASSES.iter().zip(&route.answers).filter(|(_, counter)| counter.get() > 0)
            {
                let labels = [("route", name.as_str()), ("status", *class)];
                ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = ("gateway_deprecated_requests", "Requests of routes that are deprecated");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, calls) in &*self.0.deprecated.lock() {
            ConstCounter::new(calls.get()).encode(family.encode_family(&[("route", name.as_str())])?)?;
        }
        let help = "From the request's first line to the answer's last byte";
        let mut family = encoder.encode_descriptor(
            "gateway_request_duration_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        for (name, route) in &*routes {
            route.duration.encode(family.encode_family(&[("route", name.as_str())])?)?;
        }
        Ok(())
    }

    fn encode_limits(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (name, help) = ("gateway_limit_decisions", "Decisions of limits, and where they were made");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (name, limit) in &*self.0.limits.lock() {
            for (outcome, store, count) in limit.all().filter(|(_, _, count)| *count > 0) {
                let labels = [("limit", name.as_str()), ("outcome", outcome), ("store", store)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let Some(redis) = self.0.redis.lock().upgrade() else { return Ok(()) };
        let help = "Whether Redis answers";
        let gauge = encoder.encode_descriptor("gateway_redis_up", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::from(redis.up())).encode(gauge)
    }

    fn encode_upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let upstreams = self.0.upstreams.lock();
        let mut family = encoder.encode_descriptor(
            "gateway_upstream_calls",
            "Calls by upstream and outcome",
            None,
            MetricType::Counter,
        )?;
        for (name, upstream) in &*upstreams {
            for outcome in Outcome::ALL {
                let labels = [("upstream", name.as_str()), ("outcome", outcome.name())];
                let counter = ConstCounter::new(upstream.outcomes[outcome as usize].get());
                counter.encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Calls that have no head of an answer yet";
        let mut family =
            encoder.encode_descriptor("gateway_upstream_in_flight", help, None, MetricType::Gauge)?;
        for (name, upstream) in &*upstreams {
            let gauge = ConstGauge::new(upstream.in_flight.load(std::sync::atomic::Ordering::Relaxed));
            gauge.encode(family.encode_family(&[("upstream", name.as_str())])?)?;
        }
        let help = "Time to the head of the answer";
        let mut family = encoder.encode_descriptor(
            "gateway_upstream_latency_seconds",
            help,
            None,
            MetricType::Histogram,
        )?;
        for (name, upstream) in &*upstreams {
            upstream.latency.encode(family.encode_family(&[("upstream", name.as_str())])?)?;
        }
        Ok(())
    }

    /// What the policies of each upstream did, and what they have to work with.
    fn encode_policies(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let upstreams = self.0.upstreams.lock();
        let counters: [(_, _, Reading<UpstreamMetrics>); 4] = [
            ("gateway_upstream_retries", "Attempts after the first", |upstream| upstream.retries.get()),
            ("gateway_upstream_hedges", "Attempts beside a slow first one", |upstream| upstream.hedges.get()),
            ("gateway_upstream_fallbacks", "Fallbacks in the place of its answers", |upstream| {
                upstream.fallbacks.get()
            }),
            ("gateway_upstream_answers_too_large", "Answers over max_response", |upstream| {
                upstream.too_large.get()
            }),
        ];
        for (name, help, reading) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (upstream, metrics) in &*upstreams {
                let labels = [("upstream", upstream.as_str())];
                ConstCounter::new(reading(metrics)).encode(family.encode_family(&labels)?)?;
            }
        }
        let gauges: [(_, _, Reading<UpstreamMetrics, Option<u64>>); 3] = [
            ("gateway_upstream_endpoints", "Endpoints that are known", |upstream| {
                Some(upstream.endpoints().len() as u64)
            }),
            ("gateway_upstream_slots_taken", "Calls under way, to the end of their answers", |upstream| {
                Some(upstream.slots()?.taken.into())
            }),
            ("gateway_upstream_slots_limit", "Calls that may be under way", |upstream| {
                Some(upstream.slots()?.limit.into())
            }),
        ];
        for (name, help, reading) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (upstream, metrics) in &*upstreams {
                let Some(value) = reading(metrics) else { continue };
                ConstGauge::new(value).encode(family.encode_family(&[("upstream", upstream.as_str())])?)?;
            }
        }
        Ok(())
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
