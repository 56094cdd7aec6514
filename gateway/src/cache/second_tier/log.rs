//! The log of what was made invalid: a stream in Redis that every instance writes and reads.
//!
//! It is cut to its newest records. Who finds that what it read last is not in it any more, since it was away for too long or
//! Redis has lost the log, has missed something and cannot know what: everything that it keeps is then invalid. Who merely lost
//! its connection reads on where it was.
//! Not here: which answers that makes invalid (`purges.rs`).

use std::{
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use ::redis::{Pipeline, aio::MultiplexedConnection};
use tokio::time::{sleep, timeout};

use super::{Purged, Shared, What, encoding::millis};
use crate::cache::store::{Purge, Store};

/// Records that are kept, or somewhat more: about 15 MB in Redis, if there ever are so many.
const LONGEST: usize = 100_000;
/// Records that are read at once.
const BATCH: usize = 1_000;
/// How long Redis holds the question for what is new.
const WAIT: Duration = Duration::from_secs(1);
/// How long it may take beyond that.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_millis(250);
/// Where a log begins.
const BEGIN: &str = "0-0";

/// A record's number in the log, and its fields.
type Record = (String, Vec<Vec<u8>>);

/// What reading the log has brought.
struct Batch {
    records: Vec<Record>,
    oldest: Option<String>,
    newest: Option<String>,
}

/// How far the log was read.
struct Reader {
    last: String,
}

/// `MILLISECONDS-NUMBER` as one number of the same order, as long as there are not 65,536 in a millisecond.
pub(super) fn number(id: &str) -> u64 {
    let (millis, number) = id.split_once('-').unwrap_or((id, "0"));
    let [millis, number] = [millis, number].map(|part| part.parse::<u64>().unwrap_or_default());
    millis << 16 | number.min(0xffff)
}

/// Appends what was made invalid; nothing, so that there is a log.
pub(super) fn add(commands: &mut Pipeline, shared: &Shared, purged: Option<&Purged>) {
    let add = commands.cmd("XADD").arg(shared.log()).arg("MAXLEN").arg("~").arg(LONGEST).arg("*");
    add.arg("from").arg(&shared.name);
    let Some(Purged { what, how }) = purged else {
        add.arg("begin").arg("");
        return;
    };
    add.arg("how").arg(if *how == Purge::Hard { "hard" } else { "soft" });
    match what {
        What::Url { host, target } => add.arg("host").arg(&**host).arg("url").arg(&**target),
        What::Tag(tag) => add.arg("tag").arg(&**tag),
        What::All => add.arg("all").arg(""),
    };
}

/// What a record says, and by whom. What is not understood may be anything.
fn read(fields: &[Vec<u8>]) -> (String, Option<Purged>) {
    let field = |name: &str| {
        fields.chunks_exact(2).find(|pair| pair[0] == name.as_bytes()).map(|pair| pair[1].as_slice())
    };
    let text = |name: &str| field(name).and_then(|value| std::str::from_utf8(value).ok());
    let from = text("from").unwrap_or_default().to_owned();
    if field("begin").is_some() {
        return (from, None);
    }
    let what = match (field("host"), text("url"), text("tag")) {
        (Some(host), Some(target), _) => What::Url { host: host.into(), target: target.into() },
        (None, _, Some(tag)) => What::Tag(tag.into()),
        _ => What::All,
    };
    let how = if text("how") == Some("soft") { Purge::Soft } else { Purge::Hard };
    (from, Some(Purged { what, how }))
}

/// Reads the log and does what it says, while there is a store.
pub(super) async fn follow(store: Weak<Store>) {
    let mut reader = Reader { last: BEGIN.to_owned() };
    let mut up = None;
    loop {
        let Some(alive) = store.upgrade() else { return };
        let Some(shared) = alive.shared().cloned() else { return };
        drop(alive);
        let why = match shared.redis.connect_apart().await {
            Ok(connection) => match reader.follow(&store, &shared, connection, &mut up).await {
                Some(why) => why,
                None => return,
            },
            Err(why) => why,
        };
        shared.metrics.tell_reading(false);
        if up != Some(false) {
            tracing::warn!(why, "the shared cache is away: purges of other instances are not heard of");
            up = Some(false);
        }
        drop(shared);
        sleep(PAUSE).await;
    }
}

impl Reader {
    /// Reads until that fails, and says why; or until there is no store any more.
    async fn follow(
        &mut self,
        store: &Weak<Store>,
        shared: &Shared,
        mut connection: MultiplexedConnection,
        up: &mut Option<bool>,
    ) -> Option<String> {
        let mut wait = false; // what has come since must be known first
        loop {
            let asked = self.ask(shared, &mut connection, wait);
            let batch = match timeout(WAIT + PATIENCE, asked).await {
                Ok(Ok(batch)) => batch,
                Ok(Err(error)) => return Some(error.to_string()),
                Err(_elapsed) => return Some("its answers are late".to_owned()),
            };
            wait = self.take(&*store.upgrade()?, shared, &batch);
            if wait && *up != Some(true) {
                tracing::info!("the shared cache answers: purges of other instances are heard of");
                *up = Some(true);
            }
            shared.metrics.tell_reading(wait);
        }
    }

    async fn ask(
        &self,
        shared: &Shared,
        connection: &mut MultiplexedConnection,
        wait: bool,
    ) -> ::redis::RedisResult<Batch> {
        type Streams = Option<Vec<(String, Vec<Record>)>>;
        let (log, mut commands) = (shared.log(), ::redis::pipe());
        let read = commands.cmd("XREAD").arg("COUNT").arg(BATCH);
        if wait {
            read.arg("BLOCK").arg(millis(WAIT));
        }
        read.arg("STREAMS").arg(&log).arg(&self.last);
        commands.cmd("XRANGE").arg(&log).arg("-").arg("+").arg("COUNT").arg(1);
        commands.cmd("XREVRANGE").arg(&log).arg("+").arg("-").arg("COUNT").arg(1);
        let (streams, oldest, newest): (Streams, Vec<Record>, Vec<Record>) =
            commands.query_async(connection).await?;
        let first = |records: Vec<Record>| records.into_iter().next().map(|(id, _)| id);
        let (oldest, newest) = (first(oldest), first(newest));
        if newest.is_none() {
            let mut begin = ::redis::pipe();
            add(&mut begin, shared, None);
            begin.ignore().query_async::<()>(connection).await?;
        }
        let records = streams.into_iter().flatten().flat_map(|(_, records)| records).collect();
        Ok(Batch { records, oldest, newest })
    }

    /// Does what the log says. Whether that is all that there is.
    fn take(&mut self, store: &Store, shared: &Shared, batch: &Batch) -> bool {
        let at = |id: &Option<String>| id.as_deref().map(number);
        let (oldest, newest, last) = (at(&batch.oldest), at(&batch.newest), number(&self.last));
        let begins = self.last == BEGIN;
        if !begins && (oldest.is_none_or(|oldest| oldest > last) || newest.is_none_or(|newest| newest < last))
        {
            tracing::warn!("purges may have been missed: nothing that is kept here is answered any more");
            shared.read.store(0, Ordering::Release);
            shared.purges.know_since(None);
            store.apply(&Purged { what: What::All, how: Purge::Hard });
            self.last = BEGIN.to_owned();
            return false;
        }
        if begins {
            shared.purges.know_since(oldest);
        }
        for (id, fields) in &batch.records {
            let (from, purged) = read(fields);
            if let Some(purged) = purged {
                shared.purges.note(&purged.what, number(id));
                if from != shared.name {
                    store.apply(&purged); // what stands in Redis first, then what was just taken from there
                    shared.metrics.heard.inc();
                }
            }
            self.last.clone_from(id);
        }
        let caught_up = batch.records.len() < BATCH && self.last != BEGIN;
        if caught_up {
            shared.seen.send_if_modified(|seen| std::mem::replace(seen, number(&self.last)) != *seen);
            let now = millis(shared.begun.elapsed()).max(1);
            shared.read.store(now, Ordering::Release);
        }
        caught_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_order_of_the_log() {
        let ids = ["0-0", "0-1", "1700000000000-0", "1700000000000-7", "1700000000001-0"];
        assert!(ids.windows(2).all(|two| number(two[0]) < number(two[1])));
    }

    #[test]
    fn what_is_not_understood_is_everything() {
        let fields = |all: &[&str]| all.iter().map(|field| field.as_bytes().to_vec()).collect::<Vec<_>>();
        let what = |all: &[&str]| read(&fields(all)).1.map(|purged| purged.what);
        let url = What::Url { host: b"h".as_slice().into(), target: "/a".into() };
        assert_eq!(what(&["from", "x", "how", "hard", "host", "h", "url", "/a"]), Some(url));
        assert_eq!(what(&["from", "x", "how", "soft", "tag", "t"]), Some(What::Tag("t".into())));
        assert_eq!(what(&["from", "x", "begin", ""]), None);
        for other in [&["url", "/a"][..], &[], &["from"], &["host", "h"], &["color", "red"]] {
            assert_eq!(what(other), Some(What::All), "{other:?}");
        }
    }
}
