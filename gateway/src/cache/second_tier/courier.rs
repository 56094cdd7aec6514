//! Writes into Redis what is made invalid here, and then what is kept here, one after the other, while nobody waits.
//!
//! What is made invalid is told as soon as Redis takes it, however long that is; an answer that cannot be written now is
//! dropped.
//! Not here: what others have made invalid (`log.rs`).

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use ::redis::{FromRedisValue, Pipeline, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use super::{Shared, encoding, kept, lasts, log};
use crate::cache::{entry::Entry, store::Store};

/// Answers that are written at once, and purges that are told at once.
const BATCH: usize = 8;
const PURGES: usize = 500;
/// How long Redis may take for one batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// How soon it is tried again what could not be told.
const AGAIN: Duration = Duration::from_millis(250);
/// How long it is waited until what was told here has come back by the log.
const CAUGHT_UP: Duration = Duration::from_millis(200);

/// The connection, while there is one.
#[derive(Default)]
struct Courier {
    connection: Option<MultiplexedConnection>,
    /// The last number under which something was told.
    last: u64,
}

/// Works while there is a store.
pub(super) async fn run(store: Weak<Store>, mut offered: mpsc::Receiver<Arc<Entry>>, bell: Arc<Notify>) {
    let mut courier = Courier::default();
    let (mut batch, mut untold) = (Vec::with_capacity(BATCH), false);
    loop {
        tokio::select! {
            biased;
            () = bell.notified() => {}
            () = sleep(AGAIN), if untold => {}
            count = offered.recv_many(&mut batch, BATCH) => if count == 0 { return },
        }
        let Some(store) = store.upgrade() else { return };
        let Some(shared) = store.shared() else { return };
        untold = courier.tell(shared).await.is_none();
        if !batch.is_empty() {
            let written = if untold { None } else { courier.write(&store, shared, &batch).await };
            shared.metrics.written.inc_by(written.unwrap_or_default());
            shared.metrics.dropped.inc_by(batch.len() as u64 - written.unwrap_or_default());
            let size = |entry: &Arc<Entry>| encoding::Kept::size(&entry.draft.headers, &entry.body) as u64;
            shared.waiting.fetch_sub(batch.iter().map(size).sum(), Ordering::Relaxed);
            batch.clear();
        }
    }
}

impl Courier {
    /// Tells all that is to be told. None if that cannot be done now.
    async fn tell(&mut self, shared: &Shared) -> Option<()> {
        while let Some(telling) = shared.purges.begin_to_tell(PURGES) {
            let mut commands = ::redis::pipe();
            telling.all.iter().for_each(|purged| log::add(&mut commands, shared, Some(purged)));
            let Some(ids) = self.ask::<Vec<String>>(shared, &commands).await else {
                shared.purges.not_told(telling);
                return None;
            };
            let numbers: Vec<u64> = ids.iter().map(|id| log::number(id)).collect();
            self.last = numbers.last().copied().unwrap_or_default();
            shared.purges.told(&telling, &numbers);
            shared.metrics.told.inc_by(numbers.len() as u64);
            shared.told.send_if_modified(|told| std::mem::replace(told, telling.up_to.max(*told)) < *told);
        }
        Some(())
    }

    /// Writes answers; how many of them there was something to write for.
    async fn write(&mut self, store: &Store, shared: &Shared, batch: &[Arc<Entry>]) -> Option<u64> {
        // What was asked for after a purge of one's own is good as of that purge, once it is known that nobody else's came
        // between.
        let mut seen = shared.seen.subscribe();
        let caught_up = seen.wait_for(|seen| *seen >= self.last);
        timeout(CAUGHT_UP, caught_up).await.ok()?.ok()?;
        if !shared.is_trusted() {
            return None;
        }
        let (mut commands, mut count) = (::redis::pipe(), 0);
        for entry in batch {
            // First as of when, then whether it still stands: what comes between is not missed.
            let as_of = *shared.seen.borrow();
            let Some(lasts) = lasts(entry, shared.config.max_age.0).filter(|_| store.is_kept(entry)) else {
                continue;
            };
            let (shelf, own) = shared.names_of(entry);
            if let Some(own) = &own {
                let names = encoding::names(&super::names(&entry.draft.selection));
                let most = encoding::millis(shared.config.max_age.0);
                commands.cmd("SET").arg(&shelf).arg(names).arg("PX").arg(most).ignore();
                set(&mut commands, own, entry, as_of, lasts);
            } else {
                set(&mut commands, &shelf, entry, as_of, lasts);
            }
            count += 1;
        }
        if count > 0 {
            self.ask::<()>(shared, &commands).await?;
        }
        Some(count)
    }

    /// What Redis answers, if it does. A connection that is late or broken is given up.
    async fn ask<T: FromRedisValue>(&mut self, shared: &Shared, commands: &Pipeline) -> Option<T> {
        if self.connection.is_none() {
            self.connection = shared.redis.connect_apart().await.ok();
        }
        let connection = self.connection.as_mut()?;
        let answer = timeout(PATIENCE, commands.query_async(connection)).await;
        if let Ok(Ok(answer)) = answer {
            return Some(answer);
        }
        self.connection = None;
        None
    }
}

fn set(commands: &mut Pipeline, name: &str, entry: &Entry, as_of: u64, lasts: Duration) {
    let text = kept(entry, as_of, lasts).encode();
    commands.cmd("SET").arg(name).arg(text).arg("PX").arg(encoding::millis(lasts)).ignore();
}
