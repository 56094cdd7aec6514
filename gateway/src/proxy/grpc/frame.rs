//! How messages are framed in a body: a byte that says whether it is compressed, four with its length, and the message
//! (gRPC over HTTP2, "Length-Prefixed-Message"). A call here has one each way.
//!
//! Not here: what is in them (`json.rs`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The length of what stands before a message.
pub(super) const PREFIX: usize = 5;

/// Why a body is not the one message that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misframed {
    #[error("there is no message")]
    None,
    #[error("the message is compressed, which was not agreed on")]
    Compressed,
    #[error("the message ends before its end")]
    Short,
    #[error("there is more than one message")]
    More,
    #[error("the message begins with what is no flag")]
    Flag,
}

/// A message that `write` appends, framed. None if it is longer than can be said.
pub(super) fn frame(write: impl FnOnce(&mut BytesMut), length: usize) -> Option<Bytes> {
    let announced = u32::try_from(length).ok()?;
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(announced);
    write(&mut framed);
    debug_assert_eq!(framed.len(), PREFIX + length, "a message is as long as it says");
    Some(framed.freeze())
}

/// The only message in `body`.
pub(super) fn unframe(mut body: Bytes) -> Result<Bytes, Misframed> {
    match body.first() {
        None => return Err(Misframed::None),
        Some(0) => {}
        Some(1) => return Err(Misframed::Compressed),
        Some(_) => return Err(Misframed::Flag),
    }
    if body.len() < PREFIX {
        return Err(Misframed::Short);
    }
    let mut prefix = body.split_to(PREFIX);
    prefix.advance(1);
    let announced = prefix.get_u32() as usize;
    match body.len() {
        there if there < announced => Err(Misframed::Short),
        there if there > announced => Err(Misframed::More),
        _ => Ok(body),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Bytes {
        frame(|out| out.extend_from_slice(message), message.len()).unwrap()
    }

    #[test]
    fn a_message_is_framed_by_its_length() {
        assert_eq!(framed(b"abc"), &b"\0\0\0\0\x03abc"[..]);
        assert_eq!(framed(b""), &b"\0\0\0\0\0"[..]);
    }

    #[test]
    fn a_body_that_is_not_one_plain_message_is_refused() {
        for (body, wrong) in [
            (&b""[..], Misframed::None),
            (b"\0", Misframed::Short),
            (b"\0\0\0\0", Misframed::Short),
            (b"\0\0\0\0\x03ab", Misframed::Short),
            (b"\0\xff\xff\xff\xffab", Misframed::Short),
            (b"\x01\0\0\0\x01a", Misframed::Compressed),
            (b"\x02\0\0\0\x01a", Misframed::Flag),
            (b"{\"orderId\": 1}", Misframed::Flag),
            (b"\0\0\0\0\x01ab", Misframed::More),
            (b"\0\0\0\0\x01a\0\0\0\0\x01b", Misframed::More),
        ] {
            assert_eq!(unframe(Bytes::from_static(body)), Err(wrong), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_framed_is_read_as_it_was(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(unframe(framed(&message)), Ok(Bytes::from(message)));
        }

        #[test]
        fn no_bytes_can_do_harm(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = unframe(body.into());
        }
    }
}
