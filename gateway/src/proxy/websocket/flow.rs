//! One direction of a tunnel: bytes from one side to the other, as fast as that takes them, and its end.
//!
//! No more is read than fits into one buffer, and nothing while that is not empty: backpressure goes through.
//! Not here: when a tunnel ends (`tunnel.rs`).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, Way, close};

/// What is held of one direction. Two of them are what an open tunnel takes, besides its sockets.
const ROOM: usize = 8 << 10;
/// How often that is filled in one turn. A side that never stops sending leaves time for the other direction, and for the clocks
/// that end a tunnel: the runtime lets none of them move once a task has read and written too often.
const TURN: usize = 16;

/// One direction.
pub(super) struct Flow {
    /// What has been read and not written: `held[start..end]`.
    held: Vec<u8>,
    start: usize,
    end: usize,
    way: Way,
    frames: Frames,
    /// Whether something that was written may still wait for a flush.
    unflushed: bool,
    /// Whether nothing more will be read.
    over: bool,
    /// Whether the other side knows that.
    shut: bool,
    /// Whether the gateway's own last frame is in `held`, or will not be.
    ended: bool,
    /// Bytes written.
    pub(super) passed: u64,
}

/// Which side of a flow has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Source,
    Sink,
}

impl Flow {
    /// A direction in which `first` has been read already.
    pub(super) fn new(way: Way, first: &[u8]) -> Self {
        let mut held = vec![0; ROOM.max(first.len())];
        held[..first.len()].copy_from_slice(first);
        let (frames, end) = (Frames::default(), first.len());
        Flow {
            held,
            start: 0,
            end,
            way,
            frames,
            unflushed: false,
            over: false,
            shut: false,
            ended: false,
            passed: 0,
        }
    }

    /// Whether the source has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether a close frame went this way.
    pub(super) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    /// Passes on what there is, as far as one turn goes. Ready when the source has ended and the sink knows.
    pub(super) fn poll_pass<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Lost>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            let held = self.end - self.start;
            ready!(self.poll_write(cx, sink, held)).map_err(|_| Lost::Sink)?;
            if self.over {
                return self.poll_shut(cx, sink).map_err(|_| Lost::Sink);
            }
            match self.poll_read(cx, source) {
                Poll::Ready(read) => read.map_err(|_| Lost::Source)?,
                Poll::Pending => {
                    if self.unflushed {
                        self.unflushed = Pin::new(sink).poll_flush(cx).map_err(|_| Lost::Sink)?.is_pending();
                    }
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Passes the rest of the frame on that has begun, and then a close frame of the gateway's own that says `code`. What comes
    /// after that frame is not passed on. Ready when the sink has it and knows that nothing follows.
    pub(super) fn poll_end<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        code: u16,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.shut {
            return Poll::Ready(Ok(()));
        }
        while !self.ended {
            let rest = self.frames.rest(&self.held[self.start..self.end]);
            ready!(self.poll_write(cx, sink, rest))?;
            if self.frames.at_boundary() {
                let last = if self.is_closed() { Vec::new() } else { close(code, self.way) };
                self.held[..last.len()].copy_from_slice(&last);
                (self.start, self.end, self.ended) = (0, last.len(), true);
            } else if self.over {
                (self.start, self.end, self.ended) = (0, 0, true); // a frame in half: no other can follow
            } else if self.start == self.end {
                ready!(self.poll_read(cx, source))?;
            }
        }
        let held = self.end - self.start;
        ready!(self.poll_write(cx, sink, held))?;
        self.poll_shut(cx, sink)
    }

    /// Reads and forgets what the source still sends. Ready when it has ended.
    pub(super) fn poll_forget<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
    ) -> Poll<()> {
        while !self.over {
            if !matches!(ready!(self.poll_read(cx, source)), Ok(())) {
                return Poll::Ready(());
            }
        }
        Poll::Ready(())
    }

    /// Writes the first `count` bytes of what is held.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
        mut count: usize,
    ) -> Poll<io::Result<()>> {
        while count > 0 {
            let bytes = &self.held[self.start..self.start + count];
            let written = ready!(Pin::new(&mut *sink).poll_write(cx, bytes))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.frames.pass(&bytes[..written]);
            (self.start, count, self.unflushed) = (self.start + written, count - written, true);
            self.passed += written as u64;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what comes next, in the place of what has been written.
    fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
    ) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(&mut self.held);
        ready!(Pin::new(source).poll_read(cx, &mut room))?;
        (self.start, self.end) = (0, room.filled().len());
        self.over = self.end == 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shut<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut *sink).poll_flush(cx))?;
            ready!(Pin::new(sink).poll_shutdown(cx))?;
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A source and a sink that take so many bytes before somebody reads them, and their other ends.
    fn ends(room: usize) -> (DuplexStream, DuplexStream, DuplexStream, DuplexStream) {
        let ((source, writer), (sink, reader)) = (duplex(1 << 20), duplex(room));
        (source, sink, writer, reader)
    }

    #[tokio::test]
    async fn what_is_read_is_no_more_than_the_sink_takes_and_one_buffer() {
        let (mut source, mut sink, mut writer, mut reader) = ends(100);
        let all: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        writer.write_all(&all).await.unwrap();
        let mut flow = Flow::new(Way::ToClient, b"first");
        let passed = poll_fn(|cx| Poll::Ready(flow.poll_pass(cx, &mut source, &mut sink))).await;
        assert!(passed.is_pending() && flow.passed == 100);
        drop(writer);
        let mut got = Vec::new();
        let (passed, read) = tokio::join!(
            poll_fn(|cx| flow.poll_pass(cx, &mut source, &mut sink)),
            reader.read_to_end(&mut got)
        );
        assert!(passed.is_ok() && read.is_ok() && flow.is_over());
        assert_eq!(got, [b"first", &all[..]].concat());
    }

    #[tokio::test]
    async fn two_sides_that_never_stop_leave_time_for_the_clocks() {
        let (mut up, mut down) = (Flow::new(Way::ToService, b""), Flow::new(Way::ToClient, b""));
        let (mut source, mut sink) = (tokio::io::repeat(0), tokio::io::sink());
        let left = poll_fn(|cx| {
            for flow in [&mut up, &mut down] {
                assert!(flow.poll_pass(cx, &mut source, &mut sink).is_pending());
            }
            Poll::Ready(tokio::task::coop::has_budget_remaining())
        });
        assert!(left.await, "a clock could not move on");
        assert_eq!((up.passed, down.passed), (((TURN - 1) * ROOM) as u64, ((TURN - 1) * ROOM) as u64));
    }

    #[tokio::test]
    async fn a_frame_that_has_begun_is_passed_on_whole_and_the_last_word_follows_it() {
        let (mut source, mut sink, mut writer, mut reader) = ends(1 << 20);
        let mut flow = Flow::new(Way::ToClient, b"\x82\x05he");
        assert!(poll_fn(|cx| Poll::Ready(flow.poll_pass(cx, &mut source, &mut sink))).await.is_pending());
        assert!(
            poll_fn(|cx| Poll::Ready(flow.poll_end(cx, &mut source, &mut sink, 1001))).await.is_pending()
        );
        writer.write_all(b"llo\x82\x05not this").await.unwrap();
        poll_fn(|cx| flow.poll_end(cx, &mut source, &mut sink, 1001)).await.unwrap();
        drop(sink);
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"\x82\x05hello\x88\x02\x03\xe9");
    }

    #[tokio::test]
    async fn after_half_a_frame_or_a_close_frame_there_is_no_last_word() {
        for (sent, ends_there) in [(&b"\x82\x05he"[..], true), (b"\x88\x00", false)] {
            let (mut source, mut sink, writer, mut reader) = ends(1 << 20);
            let mut flow = Flow::new(Way::ToClient, sent);
            assert!(poll_fn(|cx| Poll::Ready(flow.poll_pass(cx, &mut source, &mut sink))).await.is_pending());
            let writer = (!ends_there).then_some(writer);
            poll_fn(|cx| flow.poll_end(cx, &mut source, &mut sink, 1001)).await.unwrap();
            drop((sink, writer));
            let mut got = Vec::new();
            reader.read_to_end(&mut got).await.unwrap();
            assert_eq!(got, sent);
        }
    }
}
