//! Counting in Redis, for all instances together: one script, one key, one round trip.
//!
//! Redis's clock counts, so instances need not agree on the time; keys expire when their bucket is full, or their period over.
//! A key is
//! `PREFIX:limit:{NAME:HASH}`: its braces put it on one node of a cluster, and a hash neither tells who somebody is nor
//! lets anybody share another's bucket.
//!
//! Not here: what is done while Redis is away (`mod.rs`), and noticing that (`redis/`).

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use aws_lc_rs::digest::{Context, SHA256};
use governor::Quota;

use super::key::Subject;
use crate::redis::{Away, Redis, Script};

/// Where one limit is counted.
pub(super) struct RedisCounter {
    redis: Arc<Redis>,
    script: Script,
    /// What all keys of the limit begin with.
    key: String,
    /// What one is worth, and what a whole bucket is, in microseconds, as text.
    step: String,
    full: String,
    /// How long time stands still for a quota, likewise.
    period: String,
}

/// What Redis says.
pub(super) struct Told {
    pub(super) let_in: bool,
    /// How long the bucket will take to be full.
    pub(super) ahead: Duration,
    /// What is left of the period of a quota.
    pub(super) left: Duration,
}

/// 128 bits of the hash, as hexadecimal digits.
const DIGITS: usize = 32;

impl RedisCounter {
    pub(super) fn new(name: &str, quota: &Quota, period: Duration, redis: &Arc<Redis>) -> Self {
        let step = quota.replenish_interval().as_nanos() as u64;
        let full = step * u64::from(quota.burst_size().get());
        let micros = |nanos: u64| format!("{}.{:03}", nanos / 1_000, nanos % 1_000);
        RedisCounter {
            redis: redis.clone(),
            script: Script::new(include_str!("gcra.lua")),
            key: format!("{}:limit:{{{}:", redis.config().prefix, name.replace(['{', '}'], "_")),
            step: micros(step),
            full: micros(full),
            period: period.as_micros().to_string(),
        }
    }

    /// Whether it is counted in that Redis.
    pub(super) fn is_in(&self, redis: &Arc<Redis>) -> bool {
        Arc::ptr_eq(&self.redis, redis)
    }

    /// Counts `cost`, if it is let in.
    pub(super) async fn take(&self, subject: &Subject<'_>, cost: NonZeroU32) -> Result<Told, Away> {
        self.run(subject, i64::from(cost.get())).await
    }

    /// Gives back what was counted for nothing. Should Redis be away just now, it stays counted.
    pub(super) async fn give_back(&self, subject: &Subject<'_>, cost: NonZeroU32) {
        _ = self.run(subject, -i64::from(cost.get())).await;
    }

    async fn run(&self, subject: &Subject<'_>, cost: i64) -> Result<Told, Away> {
        let (key, mut digits) = (self.key_of(subject), itoa::Buffer::new());
        let arguments = [self.step.as_str(), &self.full, digits.format(cost), &self.period];
        let (let_in, ahead, left): (bool, u64, u64) = self.redis.run(&self.script, &key, &arguments).await?;
        let [ahead, left] = [ahead, left].map(Duration::from_micros);
        Ok(Told { let_in, ahead, left })
    }

    fn key_of(&self, subject: &Subject<'_>) -> String {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let hash = subject.with_bytes(|kind, bytes| {
            let mut hash = Context::new(&SHA256);
            hash.update(&[kind]);
            hash.update(bytes);
            hash.finish()
        });
        let mut key = String::with_capacity(self.key.len() + DIGITS + 1);
        key.push_str(&self.key);
        for byte in &hash.as_ref()[..DIGITS / 2] {
            key.push(char::from(HEX[usize::from(byte >> 4)]));
            key.push(char::from(HEX[usize::from(byte & 15)]));
        }
        key.push('}');
        key
    }
}
