//! Every metric there is, by name, for `GET /metrics` (OpenMetrics text).
//!
//! Handles are looked up when a configuration is built, never per request; label values come from configuration only.
//! Names seen once live on across reloads: a counter never goes back.

use std::{collections::HashMap, fmt, sync::Arc};

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

use crate::{
    histogram::Histogram,
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
    routes: Mutex<HashMap<String, Arc<RouteMetrics>>>,
    upstreams: Mutex<HashMap<String, Arc<UpstreamMetrics>>>,
    lost_log_batches: Mutex<Counter>,
}

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

    /// The counters of the process.
    #[must_use]
    pub fn process(&self) -> &ProcessMetrics {
        &self.0.process
    }

    /// Takes over the access log's counter of lost batches.
    pub fn watch_log(&self, lost: &Counter) {
        *self.0.lost_log_batches.lock() = lost.clone();
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
        self.encode_routes(&mut encoder)?;
        self.encode_upstreams(&mut encoder)
    }
}

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
        let open = process.open.load(std::sync::atomic::Ordering::Relaxed);
        let gauge = encoder.encode_descriptor(
            "gateway_connections_open",
            "Connections that are open",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(open).encode(gauge)
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
}
