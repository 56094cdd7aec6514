//! A request's body on its way to a service, while its answer may come already.
//!
//! Not here: writing to the socket (`mod.rs`).

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body as _;

use super::SMALL;
use crate::body::{Body, BodyError};

/// What is still to be sent.
pub(super) struct Upload {
    pub(super) body: Body,
    /// What goes out next, after what has been put into the buffer.
    pub(super) data: Bytes,
    /// How many bytes are left of those that the head has declared; none where the body goes in chunks.
    left: Option<u64>,
    /// Whether a chunk is open whose last line is still to be written.
    open: bool,
}

impl Upload {
    /// `length` is what the head has declared.
    pub(super) fn new(body: Body, length: Option<u64>) -> Box<Self> {
        Box::new(Upload { body, data: Bytes::new(), left: length, open: false })
    }

    /// Ends the chunk that is open, and puts the next piece into `out`, or into `data` if it is large. `false` once there is
    /// no more.
    pub(super) fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<bool, BodyError>> {
        if std::mem::take(&mut self.open) {
            out.extend_from_slice(b"\r\n");
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let Some(frame) = frame else {
            if self.left.is_none() {
                out.extend_from_slice(b"0\r\n\r\n");
            }
            // What is missing is for the service to miss: the connection ends without it.
            let short = self.left.is_some_and(|left| left > 0);
            return Poll::Ready(if short { Err(BodyError::WrongLength) } else { Ok(false) });
        };
        // Trailers go no further (`body.rs`).
        let Ok(data) = frame.into_data() else { return Poll::Ready(Ok(true)) };
        if data.is_empty() {
            return Poll::Ready(Ok(true));
        }
        match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(BodyError::WrongLength)?;
            }
            None => {
                _ = write!(out, "{:x}\r\n", data.len()); // a vector takes everything
                self.open = true;
            }
        }
        if data.len() <= SMALL {
            out.extend_from_slice(&data)
        } else {
            self.data = data
        }
        Poll::Ready(Ok(self.left != Some(0) || !self.data.is_empty()))
    }
}
