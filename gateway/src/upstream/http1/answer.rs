//! An answer's body that was not all there with its head.
//!
//! Not here: how chunks are read (`chunked.rs`), giving the connection back (`pool.rs`).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use tokio_util::io::poll_read_buf;

use super::{Broken, Connection, Framing};
use crate::body::BodyError;

/// What is read at once, at first and at most: it grows while the service keeps up.
const LEAST: usize = 8 << 10;
const MOST: usize = 128 << 10;

/// A body still to come, with the connection that it comes by.
pub(in crate::upstream) struct Coming {
    /// None once it is over, well or not.
    connection: Option<Box<Connection>>,
    framing: Framing,
    buf: BytesMut,
    next_read: usize,
    /// Whether another request may follow when it has ended well.
    reusable: bool,
    /// The connection, when another request may follow.
    free: Option<Box<Connection>>,
}

impl Coming {
    pub(super) fn new(connection: Box<Connection>, framing: Framing, buf: BytesMut, reusable: bool) -> Self {
        Coming { connection: Some(connection), framing, buf, next_read: LEAST, reusable, free: None }
    }

    /// The connection, once the body is over, if another request may follow.
    pub(in crate::upstream) fn take_connection(&mut self) -> Option<Box<Connection>> {
        self.free.take()
    }

    /// The connection with what has been read beyond the head, when that has switched protocols.
    pub(in crate::upstream) fn switched(mut self) -> Option<(Box<Connection>, BytesMut)> {
        let mut connection = self.connection.take()?;
        connection.switch();
        Some((connection, self.buf))
    }

    /// Whether all of it has been read.
    pub(in crate::upstream) fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    pub(in crate::upstream) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    /// The next frame.
    pub(in crate::upstream) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.connection = None; // closed: nobody knows what comes next
        }
        polled
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            if connection.is_sending()
                && let Poll::Ready(Err(broken)) = connection.poll_send(cx)
            {
                // The service answers without having read all. Its answer counts, and is the last one here.
                connection.stop_sending();
                self.reusable = false;
                if let Broken::Request(error) = broken {
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if let Some(frame) = self.next()? {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.connection.is_none() {
                return Poll::Ready(None);
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    /// The next frame of what has been read; the end is noted.
    fn next(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let frame = match &mut self.framing {
            Framing::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buf.len());
                *left -= here as u64;
                let data = self.buf.split_to(here).freeze();
                if *left == 0 {
                    self.end();
                }
                (!data.is_empty()).then(|| Frame::data(data))
            }
            Framing::Chunked(chunked) => {
                let frame = chunked.next(&mut self.buf).map_err(BodyError::Misframed)?;
                // The end comes with the last data if it is there, so that nobody waits for it.
                if chunked.is_over() {
                    self.end();
                }
                frame
            }
            Framing::Close => (!self.buf.is_empty()).then(|| Frame::data(self.buf.split().freeze())),
        };
        Ok(frame)
    }

    fn end(&mut self) {
        let connection = self.connection.take();
        // More than the answer is an answer to nothing: whose would the next one be?
        let free = self.reusable && self.buf.is_empty();
        self.free = connection.filter(|connection| free && !connection.is_sending());
    }

    /// Reads more.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        let wanted = match self.framing {
            Framing::Length(left) => usize::try_from(left).unwrap_or(usize::MAX).min(self.next_read),
            _ => self.next_read,
        };
        self.buf.reserve(wanted);
        let read = poll_read_buf(Pin::new(&mut connection.io), cx, &mut self.buf);
        let count = ready!(read).map_err(BodyError::Lost)?;
        if count >= wanted {
            self.next_read = (self.next_read * 2).min(MOST);
        }
        if count > 0 {
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.framing, Framing::Close) {
            return Poll::Ready(Err(BodyError::Misframed("the connection ended in mid-body")));
        }
        self.connection = None;
        Poll::Ready(Ok(()))
    }
}
