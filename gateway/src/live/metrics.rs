//! What is counted of answers that stay open.
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

/// The counters of one route.
#[derive(Debug, Default)]
pub struct LiveMetrics {
    /// Streams that are open.
    pub streams: AtomicI64,
    /// Things that are watched.
    pub watchers: AtomicI64,
    /// States sent.
    pub events: Counter,
    /// Clients that came back and went on where they had stopped.
    pub resumed: Counter,
    /// Clients that came back and began anew, since what they had was not known or no longer kept.
    pub restarted: Counter,
    /// Clients too slow for what is kept, which were sent the state as it was then.
    pub skipped: Counter,
    /// Rounds of asking after which something was new.
    pub changed: Counter,
    /// Rounds after which nothing was.
    pub unchanged: Counter,
    /// Rounds in which a part could not be had.
    pub failed: Counter,
    /// Streams that were refused since there are as many as may be.
    pub refused: Counter,
}

/// One that is counted in a gauge until it is dropped.
pub(super) struct Counted(Arc<LiveMetrics>, fn(&LiveMetrics) -> &AtomicI64);

impl Counted {
    pub(super) fn new(metrics: &Arc<LiveMetrics>, gauge: fn(&LiveMetrics) -> &AtomicI64) -> Self {
        gauge(metrics).fetch_add(1, Relaxed);
        Counted(metrics.clone(), gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Relaxed);
    }
}

/// Writes all of it as OpenMetrics text.
///
/// # Errors
/// When it cannot be written.
pub fn encode(
    all: &HashMap<String, Arc<LiveMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    type Gauge = (&'static str, &'static str, fn(&LiveMetrics) -> &AtomicI64);
    let gauges: [Gauge; 2] = [
        ("gateway_live_streams", "Streams of events that are open", |live| &live.streams),
        ("gateway_live_watchers", "Things that are watched for them", |live| &live.watchers),
    ];
    for (name, help, gauge) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (route, live) in all {
            let labels = [("route", route.as_str())];
            ConstGauge::new(gauge(live).load(Relaxed)).encode(family.encode_family(&labels)?)?;
        }
    }
    family(all, encoder, ("gateway_live_events", "States sent"), |live| vec![("state", &live.events)])?;
    family(all, encoder, ("gateway_live_resumes", "Clients that came back"), |live| {
        vec![("resumed", &live.resumed), ("restarted", &live.restarted), ("skipped", &live.skipped)]
    })?;
    family(all, encoder, ("gateway_live_polls", "Rounds of asking for what is watched"), |live| {
        vec![("changed", &live.changed), ("unchanged", &live.unchanged), ("failed", &live.failed)]
    })?;
    family(all, encoder, ("gateway_live_refused", "Streams refused since there are too many"), |live| {
        vec![("limit", &live.refused)]
    })
}

fn family(
    all: &HashMap<String, Arc<LiveMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    counters: impl Fn(&LiveMetrics) -> Vec<(&'static str, &Counter)>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (route, live) in all {
        for (outcome, counter) in counters(live) {
            let labels = [("route", route.as_str()), ("outcome", outcome)];
            ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
