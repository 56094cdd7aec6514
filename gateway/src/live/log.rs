//! The last states of one thing, in the order that they were seen in, for those who lost their connection meanwhile.
//!
//! All clients read from the same log, each from where it stands: nothing is queued for anybody, however slow.
//! Not here: seeing them (`watcher.rs`).

use std::collections::VecDeque;

use bytes::Bytes;

use super::event;

/// What the events before the last one may take, for each thing watched: memory is bounded by `max_keys` times this.
const MOST_BYTES: usize = 256 << 10;

/// The log of one watcher.
pub(super) struct Log {
    /// Another for each watcher, so that nobody resumes where somebody else stopped.
    epoch: u64,
    keep: usize,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// One state.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) seq: u64,
    /// As it is sent.
    pub(super) event: Bytes,
    /// The JSON of the part that the route's rule speaks of.
    pub(super) decides: Option<Bytes>,
}

impl Log {
    pub(super) fn new(keep: u32) -> Self {
        let keep = keep.max(1) as usize;
        Log { epoch: fastrand::u64(..), keep, entries: VecDeque::new(), bytes: 0 }
    }

    /// What it is now.
    pub(super) fn push(&mut self, json: &[u8], decides: Option<Bytes>) {
        let seq = self.entries.back().map_or(1, |last| last.seq + 1);
        let event = event::state(self.epoch, seq, json);
        self.bytes += event.len();
        self.entries.push_back(Entry { seq, event, decides });
        while self.entries.len() > self.keep || self.entries.len() > 1 && self.bytes > MOST_BYTES {
            self.bytes -= self.entries.pop_front().map_or(0, |entry| entry.event.len());
        }
    }

    /// The state as it is now.
    pub(super) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// The entry after the one that a client has, or the last one if that is no longer kept: it tells the state, too.
    pub(super) fn after(&self, seen: u64) -> Option<&Entry> {
        let last = self.entries.back().filter(|last| last.seq > seen)?;
        let back = usize::try_from(last.seq - seen).ok()?;
        Some(self.entries.len().checked_sub(back).and_then(|index| self.entries.get(index)).unwrap_or(last))
    }

    /// Where a client stands that has the event of this id: nowhere if that is none of this log's, or no longer kept.
    pub(super) fn resume(&self, id: &str) -> Option<u64> {
        let (epoch, seq) = event::read_id(id)?;
        let (first, last) = (self.entries.front()?.seq, self.entries.back()?.seq);
        (epoch == self.epoch && seq.saturating_add(1) >= first && seq <= last).then_some(seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(keep: u32, states: u64) -> Log {
        let mut log = Log::new(keep);
        (1..=states).for_each(|state| log.push(state.to_string().as_bytes(), None));
        log
    }

    fn after(log: &Log, seen: u64) -> Option<u64> {
        log.after(seen).map(|entry| entry.seq)
    }

    #[test]
    fn who_is_within_what_is_kept_gets_all_of_it_and_who_is_not_gets_the_last() {
        let log = log(3, 10);
        assert_eq!([7, 8, 9].map(|seen| after(&log, seen)), [Some(8), Some(9), Some(10)]);
        assert_eq!([0, 1, 6].map(|seen| after(&log, seen)), [Some(10); 3]);
        assert_eq!([10, 11, u64::MAX].map(|seen| after(&log, seen)), [None; 3]);
    }

    #[test]
    fn an_id_of_another_log_or_of_the_future_or_of_long_ago_resumes_nothing() {
        let log = log(3, 10);
        let id = |seq: u64| format!("{:016x}-{seq}", log.epoch);
        assert_eq!([7, 10].map(|seq| log.resume(&id(seq))), [Some(7), Some(10)]);
        assert_eq!([0, 6, 11].map(|seq| log.resume(&id(seq))), [None; 3]);
        assert_eq!(log.resume(&format!("{:016x}-8", log.epoch.wrapping_add(1))), None);
        assert_eq!(Log::new(3).resume(&id(1)), None);
        assert_eq!(log.resume(&id(u64::MAX - 1)), None);
    }

    #[test]
    fn large_states_are_kept_as_long_as_all_of_them_are_not_too_much() {
        let mut log = Log::new(100);
        let large = vec![b' '; MOST_BYTES / 2];
        (0..5).for_each(|_| log.push(&large, None));
        assert_eq!(log.entries.len(), 1);
        log.push(b"{}", None);
        assert_eq!(log.entries.len(), 2);
        log.push(&vec![b' '; 2 * MOST_BYTES], None);
        assert_eq!((log.entries.len(), log.bytes), (1, log.entries[0].event.len()));
    }
}
