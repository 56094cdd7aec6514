//! What is counted of loaders: key by key where values came from, and what became of values that were asked for anew.
//!
//! Not here: how much is kept in all (`cache/metrics.rs`).

use std::{collections::HashMap, fmt, sync::Arc};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
    },
};

/// The counters of one loader.
#[derive(Debug, Default)]
pub struct LoaderMetrics {
    /// Keys of which a good value was kept.
    pub hits: Counter,
    /// Keys that the service was asked for.
    pub misses: Counter,
    /// Keys whose value was no longer good and stood in, while it was asked for anew or since it could not be had.
    pub stale: Counter,
    /// Keys that another request was asking for.
    pub coalesced: Counter,
    /// Calls in the background that were answered by what has not changed.
    pub renewed: Counter,
    /// Those that were answered by something new.
    pub replaced: Counter,
    /// Those that failed.
    pub failed: Counter,
}

/// A family's name, what it tells, and a loader's counters in it by their outcome.
type Family<const N: usize> =
    (&'static str, &'static str, fn(&LoaderMetrics) -> [(&'static str, &Counter); N]);

const KEYS: Family<4> = ("gateway_loader_keys", "Keys by where their values came from", |loader| {
    [
        ("hit", &loader.hits),
        ("miss", &loader.misses),
        ("stale", &loader.stale),
        ("coalesced", &loader.coalesced),
    ]
});

const REFRESHES: Family<3> =
    ("gateway_loader_refreshes", "Calls in the background for values that are no longer good", |loader| {
        [("renewed", &loader.renewed), ("replaced", &loader.replaced), ("failed", &loader.failed)]
    });

/// Writes all of it as OpenMetrics text.
///
/// # Errors
/// When it cannot be written.
pub fn encode(
    loaders: &HashMap<String, Arc<LoaderMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    family(&KEYS, loaders, encoder)?;
    family(&REFRESHES, loaders, encoder)
}

fn family<const N: usize>(
    (name, help, counters): &Family<N>,
    loaders: &HashMap<String, Arc<LoaderMetrics>>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (name, loader) in loaders {
        for (outcome, counter) in counters(loader) {
            let labels = [("loader", name.as_str()), ("outcome", outcome)];
            ConstCounter::new(counter.get()).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
