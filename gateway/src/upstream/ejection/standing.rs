//! How one endpoint has done so far: what is counted, and for how long it is out.
//!
//! Not here: whether that is too bad (`mod.rs`).

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::EjectionConfig;
use crate::units::Span;

/// How one endpoint has done. It lives as long as the endpoint, also when others come and go.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Standing {
    /// Failures in a row.
    row: AtomicU32,
    /// Of this interval.
    succeeded: AtomicU32,
    failed: AtomicU32,
    /// The millisecond at which it is back.
    until: AtomicU64,
    /// How often it was ejected, less what is forgotten.
    times: AtomicU32,
    /// Whether it was ejected, and nobody has been told that it is back.
    out: AtomicBool,
}

impl Standing {
    /// Whether it is out.
    #[must_use]
    pub fn is_ejected(&self, now_ms: u64) -> bool {
        now_ms < self.until.load(Relaxed)
    }

    /// The millisecond at which it is back, or was. Its slow start begins there: `Load::warm_up`.
    #[must_use]
    pub fn back_at(&self) -> u64 {
        self.until.load(Relaxed)
    }

    /// Whether it is back from having been ejected. Only whoever asks first is told so, so that it is logged once.
    #[must_use]
    pub fn has_returned(&self, now_ms: u64) -> bool {
        self.out.load(Relaxed) && !self.is_ejected(now_ms) && self.out.swap(false, Relaxed)
    }

    /// One more call. Gives back how many have failed in a row.
    pub(super) fn note(&self, succeeded: bool) -> u32 {
        if !succeeded {
            self.failed.fetch_add(1, Relaxed);
            return self.row.fetch_add(1, Relaxed).saturating_add(1);
        }
        self.succeeded.fetch_add(1, Relaxed);
        // Mostly it is 0, and reading does not take the cache line from other workers.
        if self.row.load(Relaxed) != 0 {
            self.row.store(0, Relaxed);
        }
        0
    }

    pub(super) fn calls(&self) -> u32 {
        self.succeeded.load(Relaxed) + self.failed.load(Relaxed)
    }

    pub(super) fn success_rate(&self) -> f64 {
        f64::from(self.succeeded.load(Relaxed)) / f64::from(self.calls().max(1))
    }

    pub(super) fn begin_interval(&self) {
        self.succeeded.store(0, Relaxed);
        self.failed.store(0, Relaxed);
    }

    /// Out for `base_time` as often as it was ejected. Each `base_time` in good standing lets one time be forgotten, and
    /// none is remembered beyond those that reach `max_time`.
    pub(super) fn eject(&self, config: &EjectionConfig, now_ms: u64) {
        let base = millis(config.base_time).max(1);
        let forgotten = now_ms.saturating_sub(self.until.load(Relaxed)) / base;
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        let most = millis(config.max_time);
        let times = self.times.load(Relaxed).saturating_sub(forgotten).saturating_add(1);
        let times = u64::from(times).min(most.div_ceil(base));
        let lasts = (base * times).min(most);
        self.times.store(u32::try_from(times).unwrap_or(u32::MAX), Relaxed);
        self.row.store(0, Relaxed);
        self.until.store(now_ms.saturating_add(lasts), Relaxed);
        self.out.store(true, Relaxed);
    }
}

pub(super) fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}
