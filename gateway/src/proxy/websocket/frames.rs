//! Where frames end, of one direction of a tunnel (RFC 6455 section 5.2), and the frames that the gateway sends itself.
//!
//! Headers are counted and nothing else is looked at: what is in a frame, and whether it may be there, is for its ends to say.
//! Not here: moving the bytes (`flow.rs`).

/// The longest header: two bytes, eight of length, four of the mask.
const LONGEST: usize = 14;
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// How far one direction has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    header: [u8; LONGEST],
    /// Bytes of the header that have been seen; none when the last frame is whole.
    seen: usize,
    /// Bytes of the payload still to come, once the header is whole.
    left: Option<u64>,
    closed: bool,
}

/// Which way a frame goes. Clients mask theirs (RFC 6455 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToClient,
    ToService,
}

impl Frames {
    /// Whether the last frame is whole: another may follow.
    pub(super) fn at_boundary(&self) -> bool {
        self.seen == 0
    }

    /// Whether a close frame has been passed on whole: nothing may follow it (RFC 6455 section 5.5.1).
    pub(super) fn is_closed(&self) -> bool {
        self.closed && self.at_boundary()
    }

    /// These bytes have been passed on.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.advance(bytes)..];
        }
    }

    /// How many of `bytes` still belong to the frame that has begun.
    pub(super) fn rest(&self, bytes: &[u8]) -> usize {
        if self.at_boundary() { 0 } else { self.clone().advance(bytes) }
    }

    /// Goes to the end of a frame at most; how many bytes that took.
    fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while self.left.is_none() {
            let Some(byte) = bytes.get(taken) else { return taken };
            self.header[self.seen] = *byte;
            (self.seen, taken) = (self.seen + 1, taken + 1);
            self.left = payload(&self.header[..self.seen]);
        }
        let left = self.left.unwrap_or_default();
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - taken);
        self.left = Some(left - here as u64);
        if self.left == Some(0) {
            self.closed |= self.header[0] & OPCODE == CLOSE;
            (self.seen, self.left) = (0, None);
        }
        taken + here
    }
}

/// The length of the payload, once the header is whole.
fn payload(header: &[u8]) -> Option<u64> {
    let second = *header.get(1)?;
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    let extended = match second & !MASKED {
        126 => 2,
        127 => 8,
        length => return (header.len() == 2 + mask).then_some(u64::from(length)),
    };
    if header.len() < 2 + extended + mask {
        return None;
    }
    Some(header[2..2 + extended].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)))
}

/// A close frame that says `code` (RFC 6455 section 5.5.1).
pub(super) fn close(code: u16, way: Way) -> Vec<u8> {
    let code = code.to_be_bytes();
    match way {
        Way::ToClient => vec![FINAL | CLOSE, 2, code[0], code[1]],
        Way::ToService => {
            let mask = fastrand::u32(..).to_be_bytes();
            let masked = [code[0] ^ mask[0], code[1] ^ mask[1]];
            [&[FINAL | CLOSE, MASKED | 2], &mask[..], &masked[..]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of binary data.
    fn frame(length: usize, masked: bool) -> Vec<u8> {
        let mask_bit = if masked { MASKED } else { 0 };
        let mut frame = vec![FINAL | 2];
        match length {
            0..126 => frame.push(mask_bit | length as u8),
            126..=0xffff => {
                frame.push(mask_bit | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask_bit | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(if masked { &[1, 2, 3, 4][..] } else { &[] });
        frame.extend(vec![0x88; length]); // looks like a close frame, and is none
        frame
    }

    #[test]
    fn frames_end_where_their_lengths_say_however_they_come() {
        for masked in [false, true] {
            let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000, 0, 2];
            let all: Vec<Vec<u8>> = lengths.iter().map(|length| frame(*length, masked)).collect();
            let mut ends: Vec<usize> =
                all.iter().scan(0, |at, frame| Some(std::mem::replace(at, *at + frame.len()))).collect();
            let bytes = all.concat();
            ends.push(bytes.len());
            for step in [1, 2, 3, 7, 4096, bytes.len()] {
                let (mut frames, mut at) = (Frames::default(), 0);
                for piece in bytes.chunks(step) {
                    let next = ends.iter().find(|end| **end >= at).unwrap();
                    assert_eq!(frames.rest(&bytes[at..]), next - at, "at {at} by {step}");
                    frames.pass(piece);
                    at += piece.len();
                    assert_eq!(frames.at_boundary(), ends.contains(&at), "at {at} by {step}");
                }
                assert!(!frames.is_closed());
            }
        }
    }

    #[test]
    fn a_close_frame_is_noticed_when_it_is_whole() {
        for way in [Way::ToClient, Way::ToService] {
            let (mut frames, frame) = (Frames::default(), close(1001, way));
            frames.pass(&frame[..frame.len() - 1]);
            assert!(!frames.is_closed());
            frames.pass(&frame[frame.len() - 1..]);
            assert!(frames.is_closed());
        }
        assert_eq!(close(1001, Way::ToClient), [0x88, 2, 0x03, 0xe9]);
        let masked = close(1001, Way::ToService);
        assert_eq!(
            (masked[0], masked[1], masked[6] ^ masked[2], masked[7] ^ masked[3]),
            (0x88, 0x82, 3, 0xe9)
        );
    }
}
