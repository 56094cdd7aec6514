//! What `GET /metrics` says: each metric's name, help, labels and where its number is read.
//!
//! Not here: who counts (`metrics.rs` and the folders), endpoints (`endpoints.rs`).

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use super::{super::endpoints, Metrics};
use crate::{
    cache,
    composition::write,
    graphql, live, loaders,
    overload::Priority,
    proxy::websocket,
    upstream::{Outcome, UpstreamMetrics},
};

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
