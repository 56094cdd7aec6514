//! What is counted of WebSockets.
//!
//! Not here: the request that each of them began as (`observability/`).

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        gauge::ConstGauge,
    },
};

use super::tunnel::Ended;

/// The counters of one route.
#[derive(Debug, Default)]
pub struct TunnelMetrics {
    /// Those that are open.
    pub(super) open: AtomicI64,
    /// Those that have ended, by why.
    pub(super) ended: [Counter; Ended::ALL.len()],
    /// Bytes from clients.
    pub(super) received: Counter,
    /// Bytes to clients.
    pub(super) sent: Counter,
    /// Handshakes refused since there are too many.
    pub(super) refused: Counter,
}

/// Writes all of it as OpenMetrics text.
///
/// # Errors
/// When it cannot be written.
pub fn encode(
    all: &HashMap<String, Arc<TunnelMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (name, help) = ("gateway_websockets", "WebSockets that are open");
    let mut open = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (route, metrics) in all {
        let labels = [("route", route.as_str())];
        ConstGauge::new(metrics.open.load(Relaxed)).encode(open.encode_family(&labels)?)?;
    }
    family(all, encoder, ("gateway_websockets_ended", "WebSockets that have ended", "reason"), |metrics| {
        Ended::ALL.iter().map(|why| why.name()).zip(&metrics.ended).collect()
    })?;
    family(all, encoder, ("gateway_websocket_bytes", "Bytes of WebSockets", "direction"), |metrics| {
        vec![("received", &metrics.received), ("sent", &metrics.sent)]
    })?;
    family(
        all,
        encoder,
        ("gateway_websockets_refused", "WebSockets that are too many", "outcome"),
        |metrics| vec![("limit", &metrics.refused)],
    )
}

fn family<'a>(
    all: &'a HashMap<String, Arc<TunnelMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, label): (&str, &str, &str),
    counters: impl Fn(&'a TunnelMetrics) -> Vec<(&'static str, &'a Counter)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, metrics) in all {
        for (value, counter) in counters(metrics) {
            let labels = [("route", route.as_str()), (label, value)];
            ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
