//! A histogram of durations, sharded over the workers: recording is two relaxed additions that no other thread contends.
//!
//! Not here: which histograms there are (`observability/metrics.rs`, `upstream/metrics.rs`).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::worker;

/// Upper bounds in microseconds: from a cache hit to a request that has lost its client.
const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

/// One worker's share, on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

/// A histogram of durations. Clones share their counts.
#[derive(Clone)]
pub struct Histogram(Arc<[Shard]>);

impl Default for Histogram {
    fn default() -> Self {
        Histogram((0..worker::MOST.min(shards())).map(|_| Shard::default()).collect())
    }
}

/// More shards than threads that run at once would only cost memory.
fn shards() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let shard = &self.0[worker::index() % self.0.len()];
        shard.buckets[BOUNDS.partition_point(|bound| *bound < micros)].fetch_add(1, Relaxed);
        shard.micros.fetch_add(micros, Relaxed);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().flat_map(|shard| &shard.buckets).map(|bucket| bucket.load(Relaxed)).sum()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Histogram({})", self.count())
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let mut buckets = [(0.0, 0_u64); BUCKETS];
        for (at, bucket) in buckets.iter_mut().enumerate() {
            // Only infinity is written as `+Inf`, without which nobody can compute a quantile.
            let bound = BOUNDS.get(at).map_or(f64::INFINITY, |micros| *micros as f64 / 1e6);
            *bucket = (bound, self.0.iter().map(|shard| shard.buckets[at].load(Relaxed)).sum());
        }
        let sum = self.0.iter().map(|shard| shard.micros.load(Relaxed)).sum::<u64>() as f64 / 1e6;
        let count = buckets.iter().map(|(_, n)| n).sum();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn every_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001, u64::MAX] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = (0..BUCKETS)
            .map(|at| histogram.0.iter().map(|shard| shard.buckets[at].load(Relaxed)).sum())
            .collect();
        assert_eq!((counts[0], counts[1], counts[BUCKETS - 2], counts[BUCKETS - 1]), (2, 1, 1, 2));
    }

    #[test]
    fn the_last_bucket_is_told_as_infinity_and_holds_all() {
        let (histogram, mut registry) = (Histogram::default(), Registry::default());
        for micros in [100, 20_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        registry.register("took", "Time", histogram);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [r#"took_bucket{le="10.0"} 1"#, r#"took_bucket{le="+Inf"} 2"#, "took_count 2"] {
            assert!(text.lines().any(|told| told == line), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches("took_bucket{").count(), BUCKETS, "{text}");
    }
}
