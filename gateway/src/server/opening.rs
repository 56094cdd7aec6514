//! The first bytes of a connection: they tell HTTP/2 with prior knowledge from HTTP/1.1, and that there is a request at all.
//!
//! They are read and then read again by whoever serves the connection. Not here: how long to wait for them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client sends first (RFC 9113 section 3.4). No HTTP/1.1 request begins like it.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes have been looked at, and will be read again.
pub(super) struct Opened<I> {
    io: I,
    head: [u8; PREFACE.len()],
    /// Where in `head` the bytes begin that are still to be read again, and where they end.
    next: u8,
    end: u8,
}

impl<I> Opened<I> {
    /// What the bytes come by.
    pub(super) fn io(&self) -> &I {
        &self.io
    }
}

impl<I: AsyncRead + Unpin> Opened<I> {
    /// Waits for as many bytes as tell the protocols apart, one at least. `None` when the client leaves without a byte.
    pub(super) async fn read(mut io: I) -> io::Result<Option<Self>> {
        let mut head = [0; PREFACE.len()];
        let mut end = 0;
        while end < head.len() && PREFACE.starts_with(&head[..end]) {
            match io.read(&mut head[end..]).await? {
                0 => break,
                more => end += more,
            }
        }
        let end = u8::try_from(end).expect("the preface has 24 bytes");
        Ok((end > 0).then_some(Opened { io, head, next: 0, end }))
    }

    /// Whether the client speaks HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.head == *PREFACE
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Opened<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let again = &self.head[usize::from(self.next)..usize::from(self.end)];
        if again.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let fits = again.len().min(buf.remaining());
        buf.put_slice(&again[..fits]);
        self.next += u8::try_from(fits).expect("the preface has 24 bytes");
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Opened<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
