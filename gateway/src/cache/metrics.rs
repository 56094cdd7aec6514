//! What is counted of the cache: per route how requests were answered, and of the store how full it is.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
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

use crate::redis::RedisMetrics;

/// The counters of one route that keeps answers.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    /// Answered from the cache by what was good.
    pub hits: Counter,
    /// Asked of the service since nothing was there.
    pub misses: Counter,
    /// Answered by what was no longer good, while it was asked for anew or since it could not be.
    pub stale: Counter,
    /// Answered by what another request had asked for.
    pub coalesced: Counter,
    /// Answered by what the service has said is still good.
    pub revalidated: Counter,
    /// Passed on, since the cache was not to be used.
    pub bypassed: Counter,
}

impl CacheMetrics {
    /// Each with its label.
    #[must_use]
    pub fn all(&self) -> [(&'static str, u64); 6] {
        [
            ("hit", self.hits.get()),
            ("miss", self.misses.get()),
            ("stale", self.stale.get()),
            ("coalesced", self.coalesced.get()),
            ("revalidated", self.revalidated.get()),
            ("bypass", self.bypassed.get()),
        ]
    }
}

/// The counters of one route whose writes make answers invalid.
#[derive(Debug, Default)]
pub struct InvalidationMetrics {
    /// Tags that were purged.
    pub purged: Counter,
    /// Tags that could not be written, since what they are written from was not there.
    pub unresolved: Counter,
}

/// All counters of what is kept, by route, by route and part, and by route.
#[derive(Debug, Default)]
pub struct AllCaches {
    /// Of routes that keep answers.
    pub routes: HashMap<String, Arc<CacheMetrics>>,
    /// Of parts that do.
    pub parts: HashMap<(String, String), Arc<CacheMetrics>>,
    /// Of routes whose writes make answers invalid.
    pub invalidations: HashMap<String, Arc<InvalidationMetrics>>,
}

/// The counters of the store.
#[derive(Debug, Default)]
pub struct StoreMetrics {
    /// Answers that had to go for others.
    pub evictions: Counter,
    /// Bytes, as of the last look.
    bytes: AtomicU64,
    /// Of the second tier, if there is one.
    pub shared: OnceLock<Arc<SharedMetrics>>,
}

/// The counters of the second tier.
#[derive(Debug, Default)]
pub struct SharedMetrics {
    /// What was found there and may be believed.
    pub hits: Counter,
    /// What was not.
    pub misses: Counter,
    /// Nobody answered in time, or nobody was asked since Redis is away.
    pub late: Counter,
    /// What stood there could not be read.
    pub unreadable: Counter,
    /// Answers that were written.
    pub written: Counter,
    /// Answers that were not, since there was too much to do or Redis away.
    pub dropped: Counter,
    /// What was made invalid here and told to others.
    pub told: Counter,
    /// What others have made invalid.
    pub heard: Counter,
    pub(super) redis: Arc<RedisMetrics>,
    reading: AtomicBool,
}

impl SharedMetrics {
    pub(super) fn tell_reading(&self, reading: bool) {
        self.reading.store(reading, Relaxed);
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let rows: [(_, _, &[(&str, &Counter)]); 3] = [
            (
                "gateway_cache_shared_lookups",
                "Looks into the second tier, by what came of them",
                &[
                    ("hit", &self.hits),
                    ("miss", &self.misses),
                    ("away", &self.late),
                    ("unreadable", &self.unreadable),
                ],
            ),
            (
                "gateway_cache_shared_writes",
                "Answers for the second tier",
                &[("written", &self.written), ("dropped", &self.dropped)],
            ),
            (
                "gateway_cache_shared_purges",
                "What was made invalid, here and by others",
                &[("told", &self.told), ("heard", &self.heard)],
            ),
        ];
        for (name, help, outcomes) in rows {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (outcome, count) in outcomes {
                let counter = ConstCounter::new(count.get());
                counter.encode(family.encode_family(&[("outcome", *outcome)])?)?;
            }
        }
        let help = "Whether the second tier answers, and purges of others are heard of";
        let gauge = encoder.encode_descriptor("gateway_cache_shared_up", help, None, MetricType::Gauge)?;
        let up = self.redis.up() && self.reading.load(Relaxed);
        ConstGauge::new(i64::from(up)).encode(gauge)
    }
}

impl StoreMetrics {
    /// What all that is kept takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(super) fn grow(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn shrink(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// Writes all of it as OpenMetrics text.
///
/// # Errors
/// When it cannot be written.
pub fn encode(
    all: &AllCaches,
    store: Option<Arc<StoreMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let help = "Requests of routes that keep answers, by what the cache did";
    let mut family = encoder.encode_descriptor("gateway_cache_requests", help, None, MetricType::Counter)?;
    for (name, route) in &all.routes {
        for (outcome, count) in route.all() {
            let labels = [("route", name.as_str()), ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    if !all.parts.is_empty() {
        let help = "Requests for parts whose answers are kept, by what the cache did";
        let name = "gateway_cache_part_requests";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ((route, part), counted) in &all.parts {
            for (outcome, count) in counted.all() {
                let labels = [("route", route.as_str()), ("part", part.as_str()), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    if !all.invalidations.is_empty() {
        let help = "Tags that writes have made invalid, and that could not be written";
        let name = "gateway_cache_invalidations";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (route, counted) in &all.invalidations {
            let counts = [("purged", counted.purged.get()), ("unresolved", counted.unresolved.get())];
            for (outcome, count) in counts {
                let labels = [("route", route.as_str()), ("outcome", outcome)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    let Some(store) = store else { return Ok(()) };
    let help = "Answers that had to go for others";
    let counter = encoder.encode_descriptor("gateway_cache_evictions", help, None, MetricType::Counter)?;
    ConstCounter::new(store.evictions.get()).encode(counter)?;
    let help = "Bytes of all answers that are kept";
    let gauge = encoder.encode_descriptor("gateway_cache_bytes", help, None, MetricType::Gauge)?;
    ConstGauge::new(store.bytes() as i64).encode(gauge)?;
    store.shared.get().map_or(Ok(()), |shared| shared.encode(encoder))
}
