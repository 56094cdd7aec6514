//! Keys that are asked for while resolvers run side by side, fetched by one bulk call; each key once for each request.
//!
//! The first key opens a batch. It waits, a turn of the executor at a time, until a turn brought no new key, then takes
//! all keys. Nothing is spawned: the resolvers that wait are what drives the call, and when they are dropped it ends.
//!
//! Not here: caches that outlive a request.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    mem,
    sync::Arc,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, join_all, ready},
};
use parking_lot::Mutex;

use super::{Refusal, turn::Turn};

/// What became of each key. One that is left out is unknown to the service.
pub type Answers<K, V> = HashMap<K, Result<V, Refusal>>;

/// Where many keys can be had by one call.
pub trait Source: Send + Sync + 'static {
    /// What is asked for.
    type Key: Clone + Eq + Hash + Send + Sync + 'static;
    /// What is answered; cloned for each resolver that asked.
    type Value: Clone + Send + Sync + 'static;
    /// The most keys that go into one call.
    const MOST: usize = 100;

    /// Asks for all of `keys`, which are distinct and at most [`Source::MOST`].
    fn fetch(self: Arc<Self>, keys: Vec<Self::Key>) -> BoxFuture<'static, Answers<Self::Key, Self::Value>>;
}

type Batch<S> = Shared<BoxFuture<'static, Arc<Answers<<S as Source>::Key, <S as Source>::Value>>>>;

/// The keys of a batch; none once they are taken.
type Queue<S> = Arc<Mutex<Option<Vec<<S as Source>::Key>>>>;

/// Gathers the keys of one request.
pub struct Loader<S: Source> {
    source: Arc<S>,
    state: Mutex<State<S>>,
}

struct State<S: Source> {
    /// In which batch each key is.
    batches: HashMap<S::Key, Batch<S>>,
    open: Option<(Queue<S>, Batch<S>)>,
}

impl<S: Source> Loader<S> {
    /// A loader that has not been asked yet.
    pub fn new(source: S) -> Self {
        let state = State { batches: HashMap::new(), open: None };
        Loader { source: Arc::new(source), state: Mutex::new(state) }
    }

    /// What is known by that key; none when the service does not know it.
    ///
    /// # Errors
    /// Why the key could not be had.
    pub async fn load(&self, key: S::Key) -> Result<Option<S::Value>, Refusal> {
        let batch = self.batch(&key);
        batch.await.get(&key).cloned().transpose()
    }

    /// What is known by that key without asking.
    pub fn know(&self, key: S::Key, value: S::Value) {
        let answers = Arc::new(Answers::from([(key.clone(), Ok(value))]));
        self.state.lock().batches.insert(key, ready(answers).boxed().shared());
    }

    /// Forgets a key: it has been written to, and is asked for anew.
    pub fn forget(&self, key: &S::Key) {
        self.state.lock().batches.remove(key);
    }

    fn batch(&self, key: &S::Key) -> Batch<S> {
        let mut state = self.state.lock();
        let State { batches, open } = &mut *state;
        match batches.entry(key.clone()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(vacant) => vacant.insert(self.join(open, key)).clone(),
        }
    }

    /// Puts the key into the open batch, or opens one.
    fn join(&self, open: &mut Option<(Queue<S>, Batch<S>)>, key: &S::Key) -> Batch<S> {
        if let Some((queue, batch)) = open
            && let Some(keys) = &mut *queue.lock()
        {
            keys.push(key.clone());
            return batch.clone();
        }
        let queue = Arc::new(Mutex::new(Some(vec![key.clone()])));
        // The future holds the queue and not the loader, which holds the future: a cycle would never be freed.
        let batch = run(self.source.clone(), queue.clone()).boxed().shared();
        *open = Some((queue, batch.clone()));
        batch
    }
}

async fn run<S: Source>(source: Arc<S>, queue: Queue<S>) -> Arc<Answers<S::Key, S::Value>> {
    let mut keys = gather::<S>(&queue).await;
    if keys.len() <= S::MOST {
        return Arc::new(source.fetch(keys).await);
    }
    let mut calls = Vec::new();
    while !keys.is_empty() {
        let rest = keys.split_off(keys.len().min(S::MOST));
        calls.push(source.clone().fetch(mem::replace(&mut keys, rest)));
    }
    Arc::new(join_all(calls).await.into_iter().flatten().collect())
}

/// Waits until a turn of the executor brings no new key.
async fn gather<S: Source>(queue: &Queue<S>) -> Vec<S::Key> {
    let mut seen = 0;
    loop {
        Turn::default().await;
        let mut waiting = queue.lock();
        let count = waiting.as_ref().map_or(0, Vec::len);
        if count == seen {
            return waiting.take().unwrap_or_default();
        }
        seen = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Doubles even keys, refuses odd ones above 100, does not know 7; remembers its calls.
    struct Doubles(Arc<Mutex<Vec<usize>>>);

    impl Source for Doubles {
        type Key = u32;
        type Value = u32;
        const MOST: usize = 10;

        fn fetch(self: Arc<Self>, keys: Vec<u32>) -> BoxFuture<'static, Answers<u32, u32>> {
            self.0.lock().push(keys.len());
            let answer = |key: u32| {
                let refused = key > 100 && key % 2 == 1;
                (key, if refused { Err(Refusal::unavailable()) } else { Ok(key * 2) })
            };
            async move { keys.into_iter().filter(|key| *key != 7).map(answer).collect() }.boxed()
        }
    }

    fn doubles() -> (Loader<Doubles>, Arc<Mutex<Vec<usize>>>) {
        let calls = Arc::default();
        (Loader::new(Doubles(Arc::clone(&calls))), calls)
    }

    #[tokio::test]
    async fn keys_asked_for_side_by_side_are_one_call() {
        let (loader, calls) = doubles();
        let late = async {
            tokio::task::yield_now().await;
            loader.load(9).await
        };
        let (all, late) = futures_util::join!(join_all([1, 2, 2, 1].map(|key| loader.load(key))), late);
        assert_eq!(
            all.into_iter().map(Result::unwrap).collect::<Vec<_>>(),
            [Some(2), Some(4), Some(4), Some(2)]
        );
        assert_eq!(late, Ok(Some(18)));
        assert_eq!(*calls.lock(), [3]);
    }

    #[tokio::test]
    async fn each_key_is_asked_for_once_until_forgotten() {
        let (loader, calls) = doubles();
        for _ in 0..3 {
            assert_eq!(loader.load(1).await, Ok(Some(2)));
        }
        loader.forget(&1);
        assert_eq!(loader.load(1).await, Ok(Some(2)));
        assert_eq!(*calls.lock(), [1, 1]);
    }

    #[tokio::test]
    async fn each_key_has_its_own_outcome() {
        let (loader, calls) = doubles();
        let all = join_all([7, 8, 101].map(|key| loader.load(key))).await;
        assert_eq!(all, [Ok(None), Ok(Some(16)), Err(Refusal::unavailable())]);
        assert_eq!(*calls.lock(), [3]);
    }

    #[tokio::test]
    async fn too_many_keys_are_split() {
        let (loader, calls) = doubles();
        let all = join_all((10..35).map(|key| loader.load(key))).await;
        assert!(all.iter().all(|answer| matches!(answer, Ok(Some(_)))));
        assert_eq!(*calls.lock(), [10, 10, 5]);
    }

    #[tokio::test]
    async fn a_dropped_request_leaves_nothing_behind() {
        let calls = Arc::default();
        let loader = Loader::new(Doubles(Arc::clone(&calls)));
        assert!(loader.load(1).now_or_never().is_none());
        drop(loader);
        assert_eq!(Arc::strong_count(&calls), 1);
    }
}
