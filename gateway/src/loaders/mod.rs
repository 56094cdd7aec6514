//! Values of one kind, many by one call, kept for all callers: only what is not there is asked for, by all together once.
//!
//! For what is everybody's. With `cache`, the service is not told who asks, so that it cannot answer by it; what it marks as
//! somebody's own is not kept nor given to others. Keys that it does not know are not kept: what was just made is there.
//! Not here: gathering the keys of one request (`graphql/loader.rs`), the store and its rules (`cache/`).

mod asking;
pub mod build;
pub mod config;
mod flight;
mod kept;
pub mod metrics;
mod records;
mod refresh;
mod target;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::watch;

pub(crate) use self::records::KeyPath;
use self::{asking::Asking, kept::Kept, target::Target};
pub use self::{build::Around, config::LoaderConfig, metrics::LoaderMetrics};
use crate::{
    deadline::Deadline,
    identity::Caller,
    upstream::{Fault, Upstream},
};

/// What became of each key: what is known by it, that nothing is, or why it could not be had.
pub type Loaded = HashMap<Arc<str>, Result<Option<Record>, Fault>>;

/// What is known by a key.
#[derive(Debug, Clone)]
pub struct Record {
    /// The JSON text, as the service wrote it.
    pub json: Bytes,
    /// How good it is.
    pub state: State,
}

/// How good a value is.
#[derive(Debug, Clone)]
pub enum State {
    /// It is good.
    Good,
    /// It was, and is being asked for anew.
    Worn,
    /// It was, and stands in since asking failed.
    StandsIn(Fault),
}

/// Loads values of one kind.
pub struct Loader {
    inner: Arc<Inner>,
    /// Dropped, it stops what is done in the background.
    _running: watch::Sender<()>,
}

/// What calls in the background need as well.
struct Inner {
    name: Box<str>,
    config: LoaderConfig,
    upstream: Arc<Upstream>,
    target: Target,
    key: KeyPath,
    /// Where values are kept, if they are.
    kept: Option<Kept>,
    metrics: Arc<LoaderMetrics>,
    running: watch::Receiver<()>,
}

impl Loader {
    /// What is known by each of `keys`, before `deadline`. Dropped, it stops asking; who waits for the same then asks.
    pub async fn load(&self, keys: &[Arc<str>], caller: &Caller, deadline: Deadline) -> Loaded {
        let mut seen = HashSet::with_capacity(keys.len());
        let distinct = keys.iter().filter(|key| seen.insert(&***key));
        let (asked, nobodys): (Vec<_>, Vec<_>) = distinct.cloned().partition(|key| target::is_key(key));
        let unnamed = self.inner.kept.is_some().then(|| caller.unnamed());
        let asking = Asking { inner: &self.inner, caller: unnamed.as_ref().unwrap_or(caller), deadline };
        let mut loaded = asking.load(asked).await;
        loaded.extend(nobodys.into_iter().map(|key| (key, Ok(None))));
        loaded
    }

    /// How many calls so many keys take.
    #[must_use]
    pub(crate) fn calls(&self, keys: usize) -> usize {
        keys.div_ceil(self.inner.config.max_keys)
    }

    /// The upstream that is asked.
    #[must_use]
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.inner.upstream
    }
}
