//! The bytes of an HTTP/1.1 connection on their way out: whether the client takes them, and whose they are.
//!
//! What hyper cannot read it answers by itself, with a bare status. That is recognized here by its place, since it is all
//! that is ever written between two answers, and replaced by a whole answer of the gateway's own.
//! Not here: what that answer says ([`Serve::refuse`]).

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::StatusCode;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{Serve, connection::Peer, opening::Opened};
use crate::gathered::Gathered;

/// What can be ended in a way that no client takes for the end of an answer.
pub(super) trait Reset {
    /// From now on, closing it resets it.
    fn reset(&self);
}

impl Reset for TcpStream {
    fn reset(&self) {
        // Failing, it is closed in the usual way.
        _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl Reset for TlsStream<TcpStream> {
    /// TLS has an end of its own, `close_notify`, which is not sent then.
    fn reset(&self) {
        self.get_ref().0.reset();
    }
}

impl<I: Reset> Reset for Gathered<I> {
    fn reset(&self) {
        self.0.reset();
    }
}

impl<I: Reset> Reset for Opened<I> {
    fn reset(&self) {
        self.io().reset();
    }
}

/// A connection whose writes are watched.
pub(super) struct Watched<I: Reset, S> {
    io: I,
    peer: Arc<Peer<S>>,
    /// The least of an answer that counts as taking something of it.
    least: usize,
    /// Our own answer instead of hyper's, as far as it is not written yet.
    refusal: Vec<u8>,
}

impl<I: Reset, S> Drop for Watched<I, S> {
    fn drop(&mut self) {
        if self.peer.downstream.activity.is_cut() {
            self.io.reset();
        }
    }
}

impl<I: AsyncWrite + Reset + Unpin, S: Serve> Watched<I, S> {
    pub(super) fn new(io: I, peer: Arc<Peer<S>>, least: usize) -> Self {
        Watched { io, peer, least, refusal: Vec::new() }
    }

    /// Takes hyper's refusal away, if that is what `first` begins.
    fn refused(&mut self, first: &[u8]) -> bool {
        if !self.peer.downstream.activity.is_between_answers() {
            return false;
        }
        let Some(status) = status(first) else { return false };
        self.refusal = self.peer.gateway.refuse(status, &self.peer.downstream);
        true
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.peer.downstream.activity.blocked(),
            Poll::Ready(count) => {
                self.peer.downstream.activity.took(*count.as_ref().unwrap_or(&0), self.least);
            }
        }
        written
    }

    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.refusal);
            let count = ready!(self.noted(written))?;
            self.refusal.drain(..count);
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an error that begins here.
fn status(head: &[u8]) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    status.is_client_error().then_some(status)
}

impl<I: AsyncRead + Reset + Unpin, S: Serve> AsyncRead for Watched<I, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Reset + Unpin, S: Serve> AsyncWrite for Watched<I, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.refused(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if parts.first().is_some_and(|first| self.refused(first)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.peer.downstream.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(cx))?;
        if self.peer.downstream.activity.is_cut() {
            return Poll::Ready(Ok(())); // the reset comes when this is dropped
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
