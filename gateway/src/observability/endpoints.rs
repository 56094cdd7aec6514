//! What `GET /metrics` tells of each endpoint of an upstream.
//!
//! Not here: counting it (`upstream/metrics.rs`), every other metric (`metrics.rs`).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::upstream::{EndpointMetrics, Spoken, UpstreamMetrics};

/// A row's way from what is counted to a number.
type Reading<N> = fn(&EndpointMetrics) -> N;

/// Tells of all endpoints that live.
pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    upstreams: &HashMap<String, Arc<UpstreamMetrics>>,
) -> Result<(), fmt::Error> {
    let all: Vec<_> = upstreams
        .iter()
        .flat_map(|(name, upstream)| {
            let endpoints = upstream.endpoints().into_iter();
            endpoints.map(move |(address, metrics)| (name.as_str(), address.to_string(), metrics))
        })
        .collect();
    let counters: [(_, _, Reading<u64>); 3] = [
        ("gateway_endpoint_attempts", "Attempts at the endpoint", |endpoint| endpoint.picks.get()),
        ("gateway_endpoint_ejections", "How often it was ejected", |endpoint| endpoint.ejections.get()),
        ("gateway_endpoint_breaker_opened", "How often its circuit breaker opened", |endpoint| {
            endpoint.opened.get()
        }),
    ];
    for (name, help, reading) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (upstream, address, metrics) in &all {
            let labels = [("upstream", *upstream), ("endpoint", address.as_str())];
            ConstCounter::new(reading(metrics)).encode(family.encode_family(&labels)?)?;
        }
    }
    let gauges: [(_, _, Reading<i64>); 3] = [
        (
            "gateway_endpoint_breaker_state",
            "Its circuit breaker: 0 closed, 1 half-open, 2 open",
            |endpoint| endpoint.breaker.load(Relaxed),
        ),
        ("gateway_endpoint_healthy", "1 unless its checks say otherwise", |endpoint| {
            (!endpoint.unhealthy.load(Relaxed)).into()
        }),
        ("gateway_endpoint_ejected", "1 while it is ejected", |endpoint| endpoint.is_ejected().into()),
    ];
    for (name, help, reading) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (upstream, address, metrics) in &all {
            let labels = [("upstream", *upstream), ("endpoint", address.as_str())];
            ConstGauge::new(reading(metrics)).encode(family.encode_family(&labels)?)?;
        }
    }
    encode_connections(encoder, &all)
}

/// The connections to each endpoint, by what is spoken over them.
fn encode_connections(
    encoder: &mut DescriptorEncoder<'_>,
    all: &[(&str, String, Arc<EndpointMetrics>)],
) -> Result<(), fmt::Error> {
    let each = || {
        all.iter().flat_map(|(upstream, address, metrics)| {
            Spoken::ALL.map(|spoken| {
                let labels = [("upstream", *upstream), ("endpoint", address), ("protocol", spoken.name())];
                (labels, &metrics.connections[spoken as usize])
            })
        })
    };
    let name = "gateway_endpoint_connections_opened";
    let mut family =
        encoder.encode_descriptor(name, "Connections that were opened", None, MetricType::Counter)?;
    for (labels, connections) in each() {
        ConstCounter::new(connections.opened.get()).encode(family.encode_family(&labels)?)?;
    }
    let name = "gateway_endpoint_connections_open";
    let mut family = encoder.encode_descriptor(name, "Connections that are open", None, MetricType::Gauge)?;
    for (labels, connections) in each() {
        let open = connections.open.load(Relaxed);
        ConstGauge::new(open).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
