//! How much of what an HTTP/2 client sends is only about the connection: `PING`, `SETTINGS`, priorities, `DATA` with nothing in
//! it, windows that grow without need, resets of what is over, frames that nobody knows. Each costs the gateway work and often
//! an answer, and none is bounded by a window (CVE-2019-9512, -9515, -9518).
//!
//! Only the heads of frames are looked at, nine bytes each. Not here: what a frame means, which is the codec's business.

use crate::worker;

/// Such frames in one tick, a tenth of a second. A client that measures its line sends a few.
const MOST: u32 = 200;
const HEAD: usize = 9;
const PREFACE: usize = 24;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// A window need not grow for less that was sent: clients let it for every 4 KiB or more, of the stream and of the connection.
const WORTH: usize = 1 << 10;
/// So much of what was sent is remembered.
const MOST_SENT: usize = 16 << 20;

/// What has been seen of a connection's frames.
pub(super) struct Chatter {
    head: [u8; HEAD],
    /// How much of `head` is there.
    have: usize,
    /// How much of the frame is still to come: not looked at. The preface stands before the first one.
    skip: usize,
    tick: u32,
    count: u32,
    /// Bytes that were sent to the client and have made no window grow.
    sent: usize,
    /// Header sections that have come, for each of which one stream may be reset.
    opened: u32,
}

impl Chatter {
    pub(super) fn new() -> Self {
        Chatter { head: [0; HEAD], have: 0, skip: PREFACE, tick: 0, count: 0, sent: 0, opened: 0 }
    }

    /// So many bytes were sent to the client.
    pub(super) fn sent(&mut self, count: usize) {
        self.sent = self.sent.saturating_add(count).min(MOST_SENT);
    }

    /// Looks at what has been read next. False once it is too much.
    pub(super) fn bears(&mut self, mut read: &[u8]) -> bool {
        loop {
            let skipped = self.skip.min(read.len());
            self.skip -= skipped;
            read = &read[skipped..];
            if read.is_empty() {
                return self.count <= MOST;
            }
            let taken = (HEAD - self.have).min(read.len());
            self.head[self.have..self.have + taken].copy_from_slice(&read[..taken]);
            self.have += taken;
            read = &read[taken..];
            if self.have == HEAD {
                self.have = 0;
                self.skip = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
                self.note();
            }
        }
    }

    fn note(&mut self) {
        let idle = match self.head[3] {
            DATA => self.skip == 0 && self.head[4] & 1 == 0, // the end of a body often comes empty
            HEADERS => {
                self.opened = self.opened.saturating_add(1);
                self.sent(WORTH); // some clients give each stream another window at once
                false
            }
            CONTINUATION => false, // the codec counts them
            RST_STREAM => !less(&mut self.opened, 1),
            WINDOW_UPDATE => !less(&mut self.sent, WORTH),
            _ => true,
        };
        if !idle {
            return;
        }
        let now = worker::ticks();
        if self.tick != now {
            (self.tick, self.count) = (now, 0);
        }
        self.count += 1;
    }
}

/// Takes `some` of what is `left`, if there is so much.
fn less<N: Copy + PartialOrd + std::ops::SubAssign>(left: &mut N, some: N) -> bool {
    let enough = *left >= some;
    if enough {
        *left -= some;
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = payload.len() as u8;
        [&[0, 0, length, kind, flags, 0, 0, 0, 0][..], payload].concat()
    }

    #[test]
    fn a_flood_is_told_from_requests_however_the_bytes_come() {
        let request = [frame(1, 5, b"fields"), frame(0, 0, b"body"), frame(0, 1, b"")].concat();
        let pings = frame(6, 0, &[0; 8]).repeat(MOST as usize);
        for piece in [1, 7, 9, 1_000] {
            let mut chatter = Chatter::new();
            let fine = [&[0; PREFACE][..], &request.repeat(500), &pings].concat();
            assert!(fine.chunks(piece).all(|part| chatter.bears(part)), "{piece}");
            assert!(!frame(0, 0, b"").chunks(piece).all(|part| chatter.bears(part)), "{piece}");
        }
    }
    /// Whether so many frames of this kind are borne.
    fn bears(chatter: &mut Chatter, kind: u8, many: usize) -> bool {
        chatter.bears(&frame(kind, 0, &[0; 4]).repeat(many))
    }

    #[test]
    fn windows_may_grow_by_what_was_sent_and_streams_be_reset_that_were_opened() {
        const MANY: usize = MOST as usize + 1;
        for kind in [WINDOW_UPDATE, RST_STREAM, 4, 7, 11, 255] {
            let mut chatter = Chatter::new();
            chatter.skip = 0;
            assert!(bears(&mut chatter, kind, MANY - 1) && !bears(&mut chatter, kind, 1), "{kind}");
        }
        let mut chatter = Chatter::new();
        chatter.skip = 0;
        chatter.sent(10 << 20);
        assert!(bears(&mut chatter, WINDOW_UPDATE, 10 << 10));
        assert!(bears(&mut chatter, HEADERS, 5 * MANY) && bears(&mut chatter, RST_STREAM, 5 * MANY));
        assert!(bears(&mut chatter, WINDOW_UPDATE, 5 * MANY), "one for each stream");
        assert!(bears(&mut chatter, WINDOW_UPDATE, MANY - 1) && !bears(&mut chatter, WINDOW_UPDATE, 1));
    }
}
