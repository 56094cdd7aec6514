//! The keys of a provider at this moment, and when to ask for them again.
//!
//! Keys are fetched at the first need, when a token names a key that is not held, and from time to time. However many
//! ask, one fetch is in flight, and after it none begins for the length of the cool-down: made-up key names cannot be
//! turned into load on the provider. Keys stay while the provider is down, and die with the first set without them.
//!
//! Not here: reading a set (`jwks.rs`), what is done with a key (`jwt.rs`).

use std::{sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{jwks::KeySet, source::Source};

/// The keys of one provider.
pub(super) struct Keyring {
    provider: String,
    /// None: the keys were given, and stay as they are.
    source: Option<Source>,
    cooldown: Duration,
    keys: ArcSwap<KeySet>,
    /// Whether keys have been fetched at all, for those who wait for that.
    first: watch::Sender<bool>,
    fetches: Mutex<Fetches>,
}

#[derive(Default)]
struct Fetches {
    /// Closed once the fetch is over, however it ended.
    flight: Option<watch::Receiver<()>>,
    last: Option<Instant>,
}

impl Keyring {
    pub(super) fn new(provider: &str, source: Source, cooldown: Duration) -> Self {
        Keyring {
            provider: provider.to_owned(),
            source: Some(source),
            cooldown,
            keys: ArcSwap::default(),
            first: watch::Sender::default(),
            fetches: Mutex::default(),
        }
    }

    /// A ring of keys that were given: nothing is fetched, ever.
    pub(super) fn given(provider: &str, keys: KeySet) -> Self {
        Keyring {
            provider: provider.to_owned(),
            source: None,
            cooldown: Duration::ZERO,
            keys: ArcSwap::from_pointee(keys),
            first: watch::Sender::new(true),
            fetches: Mutex::default(),
        }
    }

    /// The set to check with; keep it while checking, so that key and epoch go together.
    pub(super) fn current(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// The set at a glance. Not to be held over an await.
    pub(super) fn glance(&self) -> Guard<Arc<KeySet>> {
        self.keys.load()
    }

    /// Whether keys have been fetched at all.
    pub(super) fn ready(&self) -> bool {
        self.glance().epoch > 0
    }

    /// Waits for the first keys, and fetches nothing.
    pub(super) async fn until_ready(&self) {
        // An error is impossible: this keyring is the sender.
        _ = self.first.subscribe().wait_for(|there| *there).await;
    }

    /// How long until a fetch may begin.
    pub(super) fn pause(&self) -> Duration {
        self.fetches.lock().pause(self.cooldown)
    }

    /// Returns when a fetch is over: the one in flight, or a new one. At once while cooling down.
    pub(super) async fn fetch(self: &Arc<Self>) {
        if let Some(mut flight) = self.board() {
            // An error, always: nothing is ever sent, the other end is dropped.
            _ = flight.changed().await;
        }
    }

    /// The flight to wait for. It runs in a task of its own: a client that leaves does not take the others' keys along.
    fn board(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        self.source.as_ref()?;
        let mut fetches = self.fetches.lock();
        if let Some(flight) = fetches.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        if !fetches.pause(self.cooldown).is_zero() {
            return None;
        }
        let (landing, flight) = watch::channel(());
        fetches.flight = Some(flight.clone());
        fetches.last = Some(Instant::now());
        tokio::spawn(Arc::clone(self).fly(landing));
        Some(flight)
    }

    async fn fly(self: Arc<Self>, landing: watch::Sender<()>) {
        let Some(source) = &self.source else { return };
        match source.read().await.and_then(|json| self.take(&json)) {
            Ok(()) => {}
            Err(why) => tracing::warn!(provider = self.provider, why, "keys could not be fetched"),
        }
        self.fetches.lock().last = Some(Instant::now());
        drop(landing);
    }

    /// Takes a fetched set over; one that says nothing new leaves the old, and with it all tokens checked so far.
    fn take(&self, json: &[u8]) -> Result<(), String> {
        let held = self.current();
        let (set, left_out) = KeySet::parse(json, held.epoch + 1)?;
        for why in left_out {
            tracing::warn!(provider = self.provider, why, "a published key is not used");
        }
        if held.epoch == 0 || !set.same_keys(&held) {
            tracing::info!(provider = self.provider, epoch = set.epoch, "new keys");
            self.keys.store(Arc::new(set));
            self.first.send_replace(true);
        }
        Ok(())
    }
}

impl Fetches {
    fn pause(&self, cooldown: Duration) -> Duration {
        self.last.map_or(Duration::ZERO, |last| (last + cooldown).saturating_duration_since(Instant::now()))
    }
}
