//! HTTP/1.1 with a service: one connection, one exchange at a time, driven by whoever waits for the answer (RFC 9112).
//!
//! The request's head and a small body leave in one write. What comes first is read into a buffer that stays with the
//! connection; an answer that is there whole is copied out of it once, and the connection is free again before anybody has
//! read the answer. Bodies that are not there yet, in either direction, stream.
//! Why not hyper's client: decision 0013. Not here: which connections there are (`pool.rs`), what is sent again
//! (`endpoint.rs`).

mod answer;
mod chunked;
mod head;
#[cfg(test)]
mod tests;
mod upload;

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, response::Parts};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

pub(super) use self::answer::Coming;
use self::{
    head::{Asked, Framing, Head},
    upload::Upload,
};
use super::metrics::Open;
use super::outgoing::Outgoing;
use crate::body::BodyError;

/// What is read at once of a head; it grows up to the largest head that is taken.
const READ: usize = 8 << 10;
/// A body of up to so many bytes leaves with the head, in one write.
const SMALL: usize = 8 << 10;

/// The socket.
pub(super) enum Io {
    /// Plaintext.
    Plain(TcpStream),
    /// On the heap: most are not.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection to a service.
pub(super) struct Connection {
    io: Io,
    /// What has been read and not taken: `read[..filled]`.
    read: Vec<u8>,
    filled: usize,
    /// What is to be written and what of it has been: `write[written..]`.
    write: Vec<u8>,
    written: usize,
    /// Whether any byte of this request has been written.
    begun: bool,
    /// What of the request's body is not in `write` yet.
    upload: Option<Box<Upload>>,
    max_head: usize,
    /// Counts it as open.
    _open: Open,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The service closed the connection before an answer.
    #[error("the connection was closed before an answer came")]
    Closed,
    /// The connection failed.
    #[error("{0}")]
    Io(io::Error),
    /// What came is no HTTP/1.1, or can be read in two ways.
    #[error("{0}")]
    Malformed(&'static str),
    /// The answer's head is larger than it may be.
    #[error("the header section is too large")]
    TooLarge,
    /// The request's own body failed.
    #[error("{0}")]
    Request(BodyError),
}

/// An exchange without an answer.
pub(super) struct Failed {
    pub(super) broken: Broken,
    /// The request, if nothing of it was written.
    pub(super) unsent: Option<Box<Outgoing>>,
}

/// An answer, as far as it is there.
pub(super) struct Answer {
    pub(super) head: Parts,
    pub(super) body: Body,
}

/// The body of an answer.
pub(super) enum Body {
    /// All of it, and the connection if another request may follow.
    Whole(Bytes, Option<Box<Connection>>),
    /// Still to come.
    Coming(Coming),
}

impl Connection {
    pub(super) fn new(io: Io, max_head: usize, open: Open) -> Box<Self> {
        let read = vec![0; READ.min(max_head)];
        Box::new(Connection {
            io,
            read,
            filled: 0,
            write: Vec::new(),
            written: 0,
            begun: false,
            upload: None,
            max_head,
            _open: open,
        })
    }

    /// Whether the service has closed it, or said something that nobody asked for: either way nothing more can be asked here.
    /// No system call unless something has happened to the socket: tokio knows whether anything has. What TLS has deciphered
    /// and nobody has taken yet counts too: it would pass for the next answer.
    pub(super) fn is_stale(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut byte = [0];
        Pin::new(&mut self.io).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_ready()
    }

    /// The same, asked of the kernel: tokio hears of nothing while its thread is busy, and many services close what has been
    /// idle for a while just when somebody comes back. What TLS has not deciphered yet says nothing: it may be a session ticket.
    pub(super) fn has_gone_stale(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match SockRef::from(self.io.socket()).peek(&mut byte) {
            Ok(0) => true,
            Ok(_) if matches!(self.io, Io::Plain(_)) => true,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => true,
            Ok(_) | Err(_) => self.is_stale(),
        }
    }

    /// Sends `request`, called `host` here, and waits for the head of the answer. Dropped, it closes the connection.
    ///
    /// # Errors
    /// [`Failed`], and the connection is closed.
    pub(super) async fn exchange(
        mut self: Box<Self>,
        mut request: Box<Outgoing>,
        host: &HeaderValue,
    ) -> Result<Answer, Failed> {
        (self.written, self.begun) = (0, false);
        self.write.clear();
        self.upload = head::write(&mut request, host, &mut self.write);
        let asked = Asked { head: request.method == Method::HEAD, upgrade: request.upgrade };
        match poll_fn(|cx| self.poll_answer(cx, asked)).await {
            Ok(head) => Ok(self.answered(head)),
            Err(broken) => {
                // Its body cannot have been asked for: the head goes first.
                let unsent = if self.begun { None } else { Some(self.take_back(request)) };
                Err(Failed { broken, unsent })
            }
        }
    }

    fn take_back(&mut self, mut request: Box<Outgoing>) -> Box<Outgoing> {
        if let Some(upload) = self.upload.take() {
            request.body = upload.body;
        }
        request
    }

    /// Writes what there is to write, and reads until the head of an answer is there.
    fn poll_answer(&mut self, cx: &mut Context<'_>, asked: Asked) -> Poll<Result<Head, Broken>> {
        let mut failed = None;
        if self.is_sending() {
            match self.poll_send(cx) {
                Poll::Ready(Err(Broken::Io(error))) => {
                    // A service may answer and close while it is still being told: its answer is worth a look.
                    if !self.begun {
                        return Poll::Ready(Err(Broken::Io(error)));
                    }
                    failed = Some(error);
                }
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            if self.filled == self.read.len() && !self.grow() {
                return Poll::Ready(Err(Broken::TooLarge));
            }
            let mut buf = ReadBuf::new(&mut self.read[self.filled..]);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => {
                    return failed.map_or(Poll::Pending, |error| Poll::Ready(Err(Broken::Io(error))));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Io(failed.unwrap_or(error)))),
                Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                    return Poll::Ready(Err(failed.map_or(Broken::Closed, Broken::Io)));
                }
                Poll::Ready(Ok(())) => self.filled += buf.filled().len(),
            }
            if let Some(head) = self.parse(asked)? {
                return Poll::Ready(Ok(head));
            }
        }
    }

    /// The head of the answer, once it is there. Interim answers (RFC 9110 section 15.2) are skipped.
    fn parse(&mut self, asked: Asked) -> Result<Option<Head>, Broken> {
        loop {
            let Some(head) = head::parse(&self.read[..self.filled], asked, self.max_head)? else {
                return Ok(None);
            };
            if head.is_final() {
                return Ok(Some(head));
            }
            self.read.copy_within(head.size..self.filled, 0);
            self.filled -= head.size;
            if self.filled == 0 {
                return Ok(None);
            }
        }
    }

    /// More room for the head.
    fn grow(&mut self) -> bool {
        let larger = (self.read.len() * 2).min(self.max_head);
        let grows = larger > self.read.len();
        if grows {
            self.read.resize(larger, 0);
        }
        grows
    }

    fn answered(mut self: Box<Self>, head: Head) -> Answer {
        let rest = self.filled - head.size;
        let whole = match head.framing {
            Framing::Length(length) if length <= rest as u64 => Some(length as usize),
            _ => None,
        };
        self.filled = 0; // the rest goes along with the answer
        let Some(length) = whole else {
            let rest = BytesMut::from(&self.read[head.size..head.size + rest]);
            let coming = Coming::new(self, head.framing, rest, head.keeps_alive);
            return Answer { head: head.parts, body: Body::Coming(coming) };
        };
        // More than the answer is an answer to nothing: whose would the next one be?
        let free = head.keeps_alive && rest == length && !self.is_sending();
        let body = head.text.slice(head.size..head.size + length);
        Answer { head: head.parts, body: Body::Whole(body, free.then_some(self)) }
    }

    /// The socket, when nothing of HTTP follows on it. It counts as open for as long.
    pub(super) fn socket(&mut self) -> &mut Io {
        &mut self.io
    }

    /// Nothing of HTTP follows.
    fn switch(&mut self) {
        (self.read, self.write) = (Vec::new(), Vec::new());
    }

    /// What is left of the request is not sent any more. Nothing else may be either, then.
    fn stop_sending(&mut self) {
        self.upload = None;
        self.written = self.write.len();
    }

    fn is_sending(&self) -> bool {
        self.upload.is_some() || self.written < self.write.len()
    }

    /// Writes the request as far as it is there.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            while self.written < self.write.len() {
                let rest = &self.write[self.written..];
                match ready!(Pin::new(&mut self.io).poll_write(cx, rest)).map_err(Broken::Io)? {
                    0 => return Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into()))),
                    count => (self.written, self.begun) = (self.written + count, true),
                }
            }
            let Some(upload) = &mut self.upload else { break };
            while !upload.data.is_empty() {
                match ready!(Pin::new(&mut self.io).poll_write(cx, &upload.data)).map_err(Broken::Io)? {
                    0 => return Poll::Ready(Err(Broken::Io(io::ErrorKind::WriteZero.into()))),
                    count => drop(upload.data.split_to(count)),
                }
            }
            self.write.clear();
            let more = upload.poll_more(cx, &mut self.write);
            self.written = 0;
            match more {
                Poll::Pending if !self.write.is_empty() => {} // the end of a chunk, which does not wait for the next one
                Poll::Pending => {
                    _ = Pin::new(&mut self.io).poll_flush(cx); // what has been written does not wait for the rest
                    return Poll::Pending;
                }
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => self.upload = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Request(error))),
            }
        }
        Pin::new(&mut self.io).poll_flush(cx).map_err(Broken::Io)
    }
}

impl Io {
    fn socket(&self) -> &TcpStream {
        match self {
            Io::Plain(stream) => stream,
            Io::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Io::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
