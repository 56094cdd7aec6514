//! How much of what an HTTP/2 client sends is only about the connection: `PING`, `SETTINGS`, priorities, `DATA` with nothing in
//! it. Each costs the gateway work and often an answer, and none is bounded by a window (CVE-2019-9512, -9515, -9518).
//!
//! Only the heads of frames are looked at, nine bytes each. Not here: what a frame means, which is the codec's business.

use crate::worker;

/// Such frames in one tick, a tenth of a second. A client that measures its line sends a few.
const MOST: u32 = 200;
const HEAD: usize = 9;
const PREFACE: usize = 24;
const DATA: u8 = 0;
const PRIORITY: u8 = 2;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// What has been seen of a connection's frames.
pub(super) struct Chatter {
    head: [u8; HEAD],
    /// How much of `head` is there.
    have: usize,
    /// How much of the frame is still to come: not looked at. The preface stands before the first one.
    skip: usize,
    tick: u32,
    count: u32,
}

impl Chatter {
    pub(super) fn new() -> Self {
        Chatter { head: [0; HEAD], have: 0, skip: PREFACE, tick: 0, count: 0 }
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
            PRIORITY | SETTINGS | PING => true,
            DATA => self.skip == 0 && self.head[4] & 1 == 0, // the end of a body often comes empty
            _ => false,
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
}
