//! HTTP/2 frame by frame, right or wrong: what no library would send (RFC 9113 section 4, RFC 7541).

/// `HEADERS` and what else may begin a frame.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags: `END_STREAM` (or `ACK`), `END_HEADERS`, `PADDED`, `PRIORITY`.
pub(crate) const END: u8 = 1;
pub(crate) const WHOLE: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WEIGHED: u8 = 0x20;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields, each a literal that is not indexed (RFC 7541 section 6.2.2), so that any byte may stand in them.
pub(crate) fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(*text);
        }
    }
    block
}

/// RFC 7541 section 5.1, with a prefix of seven bits.
fn integer(out: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return out.push(number as u8);
    }
    out.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// What came back, as far as it decides a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// An answer's status, on this stream.
    Status(u32, u16),
    /// `RST_STREAM` with this code.
    Reset(u32, u32),
    /// `GOAWAY` with this code.
    GoAway(u32),
    /// The answer to our own `PING`.
    Pong,
}

/// The replies in these bytes, as far as they are whole, and how many bytes they take.
pub(crate) fn replies(bytes: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = bytes.get(at + 9..at + 9 + length) else { break };
        let stream = word(&head[5..9]);
        match head[3] {
            HEADERS => replies.push(Reply::Status(stream, status(payload))),
            RST_STREAM => replies.push(Reply::Reset(stream, word(payload))),
            GOAWAY => replies.push(Reply::GoAway(word(&payload[4..8]))),
            PING if head[4] & END != 0 => replies.push(Reply::Pong),
            _ => {}
        }
        at += 9 + length;
    }
    replies
}

fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

/// `:status`, which stands first: from the static table, or a literal with an indexed name.
fn status(block: &[u8]) -> u16 {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block[0] {
        index @ 0x88..=0x8e => INDEXED[usize::from(index - 0x88)],
        0x48 | 0x08 if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        0x48 | 0x08 => huffman(&block[2..2 + usize::from(block[1] & 0x7f)]),
        other => panic!("no :status begins with {other:#x}"),
    }
}

/// Three digits (RFC 7541 appendix B): `0`, `1` and `2` have five bits, the others six, from 0x19 on.
fn huffman(bytes: &[u8]) -> u16 {
    let bits = bytes.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = bytes.len() as u32 * 8;
    let mut status = 0;
    for _ in 0..3 {
        let take = |count: u32| bits >> (left - count) & ((1 << count) - 1);
        let (digit, length) = if take(5) < 3 { (take(5), 5) } else { (take(6) - 0x19 + 3, 6) };
        status = status * 10 + digit as u16;
        left -= length;
    }
    status
}

#[test]
fn a_status_is_read_however_it_is_written() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x48, 0x03, b'4', b'0', b'5']), 405);
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302); // RFC 7541 appendix C.6.1
}
