//! The access log: JSON lines, gathered per worker and written by one thread of its own.
//!
//! A request never waits for the disk: when the writer falls behind, lines are dropped and counted. So are those that
//! cannot be written, and standard error says so when that begins and when it ends.
//! Not here: what a line says (`record.rs`).

use std::{
    io::Write,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use crate::worker;

/// A worker's lines are handed over when they are this many bytes, or at its next tick. Each time wakes the writer, which takes a
/// busy worker's processor for a moment.
const BATCH: usize = 128 * 1024;
/// What a batch may be larger by: its last line.
const LINE: usize = 1024;
/// Batches that may wait for the writer.
const WAITING: usize = 64;
/// Written batches that are kept to be filled again.
const SPARE: usize = 4;

/// The way to the writing thread, and the thread.
type Writer = (SyncSender<Vec<u8>>, JoinHandle<()>);

/// Where finished lines go.
pub struct AccessLog {
    buffers: Box<[Mutex<Buffer>]>,
    /// What has been written and can be filled again: new memory would be cold.
    empty: Arc<Mutex<Vec<Vec<u8>>>>,
    writer: Mutex<Option<Writer>>,
    sender: Option<SyncSender<Vec<u8>>>,
    /// Batches lost because the writer fell behind, or could not write.
    pub lost: Counter,
}

/// One worker's lines, with the second of the last one as text: a date costs more than the rest of a line.
#[derive(Default)]
struct Buffer {
    lines: Vec<u8>,
    /// The time of day at a moment since the last tick: a line's own is found from it without asking the clock again.
    anchor: Option<(Instant, SystemTime)>,
    second: u64,
    date: String,
}

impl Buffer {
    fn time_of(&mut self, moment: Instant) -> SystemTime {
        let (then, time) = *self.anchor.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
        match moment.checked_duration_since(then) {
            Some(since) => time + since,
            None => time - then.duration_since(moment),
        }
    }

    /// `2026-11-21T07:30:00.123Z` (RFC 3339).
    fn stamp(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second || self.date.is_empty() {
            let second = UNIX_EPOCH + Duration::from_secs(since.as_secs());
            self.date = humantime::format_rfc3339_seconds(second).to_string();
            self.second = since.as_secs();
        }
        let millis = since.subsec_millis();
        let digits = [b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z'];
        self.lines.extend_from_slice(self.date.trim_end_matches('Z').as_bytes());
        self.lines.extend_from_slice(&digits);
    }
}

fn digit(number: u32) -> u8 {
    b'0' + (number % 10) as u8
}

impl AccessLog {
    /// A log that writes to `out` from a thread of its own.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        let (sender, batches) = sync_channel(WAITING);
        let log = Self::nowhere();
        let (lost, empty) = (log.lost.clone(), log.empty.clone());
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        let thread = thread.spawn(move || write(out, &batches, &empty, &lost));
        let thread = thread.expect("a thread can be started at start-up");
        AccessLog { writer: Mutex::new(Some((sender.clone(), thread))), sender: Some(sender), ..log }
    }

    /// A log that keeps nothing.
    #[must_use]
    pub fn nowhere() -> Self {
        let buffers = (0..worker::MOST).map(|_| Mutex::default()).collect();
        let empty = Arc::default();
        AccessLog { buffers, empty, writer: Mutex::new(None), sender: None, lost: Counter::default() }
    }

    /// Appends one line: a JSON object that begins with the time of day at `moment`, and goes on as `write` says.
    pub(super) fn line(&self, moment: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        if self.sender.is_none() {
            return;
        }
        let mut buffer = self.buffers[worker::index()].lock();
        buffer.lines.extend_from_slice(br#"{"at":""#);
        let time = buffer.time_of(moment);
        buffer.stamp(time);
        buffer.lines.push(b'"');
        write(&mut buffer.lines);
        if buffer.lines.len() >= BATCH {
            self.hand_over(&mut buffer.lines);
        }
    }

    /// Hands over what this worker has gathered.
    pub fn flush(&self) {
        let mut buffer = self.buffers[worker::index()].lock();
        buffer.anchor = None;
        self.hand_over(&mut buffer.lines);
    }

    fn hand_over(&self, buffer: &mut Vec<u8>) {
        let Some(sender) = self.sender.as_ref().filter(|_| !buffer.is_empty()) else { return };
        let next = self.empty.lock().pop().unwrap_or_else(|| Vec::with_capacity(BATCH + LINE));
        if sender.try_send(std::mem::replace(buffer, next)).is_err() {
            self.lost.inc();
        }
    }

    /// Hands over what all workers have gathered; for the end, when they have stopped.
    pub fn flush_all(&self) {
        for buffer in &self.buffers {
            self.hand_over(&mut buffer.lock().lines);
        }
        if let Some((sender, _)) = &*self.writer.lock() {
            let _ = sender.send(Vec::new()); // an empty batch: nothing comes after it
        }
        if let Some((_, thread)) = self.writer.lock().take() {
            let _ = thread.join();
        }
    }
}

fn write(mut out: impl Write, batches: &Receiver<Vec<u8>>, empty: &Mutex<Vec<Vec<u8>>>, lost: &Counter) {
    let mut works = true;
    while let Ok(mut batch) = batches.recv() {
        if batch.is_empty() {
            break;
        }
        // A log that cannot be written must not stop the gateway.
        let written = out.write_all(&batch).and_then(|()| out.flush());
        if written.is_err() {
            lost.inc();
        }
        match &written {
            Err(error) if works => {
                tracing::error!(%error, "the access log cannot be written, lines are lost")
            }
            Ok(()) if !works => tracing::info!("the access log can be written again"),
            _ => {}
        }
        works = written.is_ok();
        let mut empty = empty.lock();
        // A burst is not kept for ever, nor is a line beyond measure.
        if empty.len() < SPARE && batch.capacity() <= 2 * BATCH {
            batch.clear();
            empty.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Writes nothing, as a full disk does.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_as_lost() {
        let log = AccessLog::to(Full);
        for _ in 0..3 {
            log.line(Instant::now(), |line| line.extend_from_slice(b"}\n"));
            log.flush();
        }
        log.flush_all();
        assert_eq!(log.lost.get(), 3);
    }

    #[test]
    fn every_line_tells_its_own_millisecond() {
        let mut buffer = Buffer::default();
        for millis in [0, 7, 1_042, 61_999, 0] {
            buffer.stamp(UNIX_EPOCH + Duration::from_millis(millis));
            buffer.lines.push(b' ');
        }
        let expected = "1970-01-01T00:00:00.000Z 1970-01-01T00:00:00.007Z 1970-01-01T00:00:01.042Z \
                        1970-01-01T00:01:01.999Z 1970-01-01T00:00:00.000Z ";
        assert_eq!(String::from_utf8(buffer.lines).unwrap(), expected);
    }
}
