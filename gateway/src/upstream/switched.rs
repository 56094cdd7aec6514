//! A connection on which a service speaks another protocol than HTTP from now on (RFC 9110 section 15.2.2).
//!
//! It counts as open, and as load of its endpoint, until it is dropped: of two endpoints the one with fewer is chosen. Not here:
//! what is spoken (`proxy/websocket/`).

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::BytesMut;
use http::Extensions;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    http1::{Coming, Connection},
    load::Ticket,
};
use crate::body::{Body, Response};

/// The connection.
pub struct Switched {
    connection: Box<Connection>,
    /// What the service has sent already.
    pub first: BytesMut,
    _ticket: Ticket,
}

/// It rides on the answer that says so.
#[derive(Clone)]
pub struct Switching(Arc<Mutex<Option<Switched>>>);

impl Switching {
    /// Lets the connection of `coming` ride on the answer with these extensions, which has no body then. The call is over, and
    /// its slot free; the balance knows of what stays open.
    pub(super) fn ride(coming: Coming, ticket: Ticket, extensions: &mut Extensions) -> Body {
        if let Some((connection, first)) = coming.switched() {
            let switched = Switched { connection, first, _ticket: ticket };
            extensions.insert(Switching(Arc::new(Mutex::new(Some(switched)))));
        }
        Body::Empty
    }

    /// Takes it off `response`, if that has switched.
    pub fn take(response: &mut Response) -> Option<Switched> {
        response.extensions_mut().remove::<Switching>()?.0.lock().take()
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(self.connection.socket()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.connection.socket()).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.connection.socket()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.connection.socket()).poll_shutdown(cx)
    }
}
