//! Events as they are written: server-sent events (WHATWG HTML section 9.2).
//!
//! Not here: which are sent, and when (`stream.rs`).

use std::time::Duration;

use bytes::Bytes;

use crate::body::Body;

/// The id of the last event there will ever be. Who comes back with it is told not to come back.
pub(super) const LAST: &str = "end";

/// Something that means nothing: a comment, so that whoever stands in between sees that the stream lives.
pub(super) const HEARTBEAT: Bytes = Bytes::from_static(b":\n\n");
/// What is watched cannot be asked for at the moment; what was told last may no longer be so.
pub(super) const STALE: Bytes = Bytes::from_static(b"event: stale\ndata: {}\n\n");
/// It can be asked for again.
pub(super) const FRESH: Bytes = Bytes::from_static(b"event: fresh\ndata: {}\n\n");
/// It is no longer there, or no longer for this client to see.
pub(super) const GONE: Bytes = Bytes::from_static(b"id: end\nevent: gone\ndata: {}\n\n");
/// It will not change any more.
pub(super) const END: Bytes = Bytes::from_static(b"id: end\nevent: end\ndata: {}\n\n");

/// Clients whose streams end at the same time come back spread over these milliseconds.
const BACK: std::ops::Range<u128> = 1_000..4_000;

/// A state. JSON has line ends only between its words, where a blank does as well: nothing that a service sends begins a line.
pub(super) fn state(epoch: u64, seq: u64, json: &[u8]) -> Bytes {
    let mut event = format!("id: {epoch:016x}-{seq}\nevent: state\ndata: ").into_bytes();
    event.extend(json.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// The id of a state as it was written, and its JSON.
pub(super) fn read(event: &Bytes) -> (&str, Bytes) {
    const BEFORE: usize = "id: ".len();
    const BETWEEN: usize = "\nevent: state\ndata: ".len();
    let id = event[BEFORE..].split(|byte| *byte == b'\n').next().unwrap_or_default();
    let json = event.slice(BEFORE + id.len() + BETWEEN..event.len() - 2);
    (std::str::from_utf8(id).unwrap_or_default(), json)
}

/// When to come back, and a word to people who look at the stream.
pub(super) fn retry(comment: &str) -> Bytes {
    let millis = fastrand::u128(BACK);
    format!("retry: {}\n: {comment}\n\n", Duration::from_millis(millis as u64).as_millis()).into()
}

/// All of a stream that ends before it has begun. A browser that is told anything but 200 does not come back.
pub(super) fn ended() -> Body {
    Body::Full(retry("drained"))
}

/// Which event an id stands for: the time of which watcher, and its place in it.
pub(super) fn read_id(id: &str) -> Option<(u64, u64)> {
    let (epoch, seq) = id.split_once('-')?;
    let digits = |text: &str, radix: u32| {
        let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit()) && !text.is_empty();
        plain.then(|| u64::from_str_radix(text, radix).ok()).flatten()
    };
    Some((digits(epoch, 16)?, digits(seq, 10)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_service_sends_is_one_line_of_data() {
        let event = state(0xab, 7, b"{\r\n\"a\":\n\"\\nevent: gone\"\r}");
        assert_eq!(event, "id: 00000000000000ab-7\nevent: state\ndata: {  \"a\": \"\\nevent: gone\" }\n\n");
        let json = Bytes::from_static(b"{  \"a\": \"\\nevent: gone\" }");
        assert_eq!(read(&event), ("00000000000000ab-7", json));
    }

    #[test]
    fn an_id_is_read_as_it_was_written_and_nothing_else_is_one() {
        assert_eq!(read_id("00000000000000ab-7"), Some((0xab, 7)));
        for id in ["", "-", "ab", "ab-", "-7", "ab-+7", "+ab-7", "ab-7a", "xy-7", "1ffffffffffffffff-7"] {
            assert_eq!(read_id(id), None, "{id}");
        }
    }
}
