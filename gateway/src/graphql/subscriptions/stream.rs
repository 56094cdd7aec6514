//! Results as the body of one HTTP answer: server-sent events in the mode of distinct connections (GraphQL over SSE), or parts
//! of `multipart/mixed` (Apollo's subscriptions over HTTP, version 1.0).
//!
//! Not here: what results are (`operation.rs`); ending clients that take nothing at all (`server/`).

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep},
};

use super::{Out, Outs, Subscriptions, metrics::Transport};
use crate::{
    body::{Body, Response},
    handler::Admitted,
    live::stream::until,
    observability::record::Lasting,
};

/// How results are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::graphql) enum Form {
    /// `text/event-stream`.
    Events,
    /// `multipart/mixed;subscriptionSpec=1.0`.
    Multipart,
}

impl Form {
    pub(in crate::graphql) fn transport(self) -> Transport {
        match self {
            Form::Events => Transport::Sse,
            Form::Multipart => Transport::Multipart,
        }
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Form::Events => "text/event-stream",
            Form::Multipart => "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0",
        })
    }

    /// The first bytes, by which clients know that the stream is open.
    fn opening(self) -> Bytes {
        match self {
            Form::Events => Bytes::from_static(b":\n\n"),
            Form::Multipart => Bytes::from_static(b"\r\n--graphql"),
        }
    }

    fn heartbeat(self) -> Bytes {
        match self {
            Form::Events => Bytes::from_static(b":\n\n"),
            Form::Multipart => part(b"{}"),
        }
    }

    fn result(self, json: &[u8]) -> Bytes {
        match self {
            Form::Events => [b"event: next\ndata: ", json, b"\n\n"].concat().into(),
            Form::Multipart => part(&[b"{\"payload\":", json, b"}"].concat()),
        }
    }

    /// Errors after which nothing more comes.
    fn refusal(self, errors: &[u8]) -> Bytes {
        match self {
            Form::Events => [b"event: next\ndata: {\"errors\":", errors, b"}\n\n"].concat().into(),
            Form::Multipart => part(&[b"{\"payload\":{\"errors\":", errors, b"}}"].concat()),
        }
    }

    /// What says that it is to be asked for again: the end without the word for the end, and where that would be taken for an
    /// end, an error of the transport.
    fn moved(self, errors: &[u8]) -> Bytes {
        match self {
            Form::Events => Bytes::from_static(b":\n\n"),
            Form::Multipart => {
                [&part(&[b"{\"payload\":null,\"errors\":", errors, b"}"].concat())[..], b"--\r\n"]
                    .concat()
                    .into()
            }
        }
    }

    fn complete(self) -> Bytes {
        match self {
            // Without data browsers would not tell it (WHATWG HTML section 9.2.6).
            Form::Events => Bytes::from_static(b"event: complete\ndata:\n\n"),
            Form::Multipart => Bytes::from_static(b"--\r\n"),
        }
    }
}

/// A part and the boundary after it: clients read a part when they see the next boundary.
fn part(json: &[u8]) -> Bytes {
    [b"\r\nContent-Type: application/json\r\n\r\n", json, b"\r\n--graphql"].concat().into()
}

/// One stream.
struct Stream {
    outs: Outs,
    form: Form,
    heartbeat: Duration,
    ending: Receiver<bool>,
    /// When it ends, and why then.
    until: (Instant, &'static str),
    request_id: Box<str>,
    lasting: Arc<Lasting>,
    begun: bool,
    over: bool,
}

/// The answer that `outs` are told by.
pub(in crate::graphql) fn respond(
    outs: Outs,
    form: Form,
    shared: &Subscriptions,
    admitted: &Admitted,
) -> Response {
    let lasting = Arc::<Lasting>::default();
    let stream = Stream {
        outs,
        form,
        heartbeat: shared.heartbeat,
        ending: shared.ending(),
        until: until(shared.max_age, admitted),
        request_id: admitted.caller.request_id.to_str().unwrap_or_default().into(),
        lasting: lasting.clone(),
        begun: false,
        over: false,
    };
    let frames = stream::unfold(stream, |mut stream| async {
        let bytes = stream.next().await?;
        Some((Ok(Frame::data(bytes)), stream))
    });
    let mut response = Response::new(Body::stream(StreamBody::new(frames)));
    describe(response.headers_mut(), form);
    response.extensions_mut().insert(lasting);
    response
}

fn describe(headers: &mut HeaderMap, form: Form) {
    headers.insert(header::CONTENT_TYPE, form.media_type());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers before they pass them on would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        if !std::mem::replace(&mut self.begun, true) {
            return Some(self.form.opening());
        }
        if *self.ending.borrow() {
            return Some(self.moved("drained"));
        }
        let (at, why) = self.until;
        tokio::select! {
            biased;
            () = super::ends(&mut self.ending) => Some(self.moved("drained")),
            () = sleep(at.saturating_duration_since(Instant::now())) => Some(self.moved(why)),
            out = self.outs.next() => Some(self.tell(out)),
            () = sleep(self.heartbeat) => Some(self.form.heartbeat()),
        }
    }

    fn tell(&mut self, out: Option<Out>) -> Bytes {
        match out {
            Some(Out::Next(json)) => {
                self.lasting.events.fetch_add(1, Relaxed);
                self.form.result(&json)
            }
            Some(Out::Refused(errors)) => {
                let last = [self.form.refusal(&errors), self.form.complete()].concat();
                self.end("refused", last.into())
            }
            Some(Out::Away(errors)) => self.end("lost", self.form.moved(&errors)),
            None => self.end("done", self.form.complete()),
        }
    }

    fn moved(&mut self, why: &'static str) -> Bytes {
        let errors = super::operation::away(&self.request_id);
        self.end(why, self.form.moved(&errors))
    }

    fn end(&mut self, why: &'static str, last: Bytes) -> Bytes {
        self.over = true;
        _ = self.lasting.ended.set(why); // there is one end
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_when_the_next_boundary_is_there() {
        let form = Form::Multipart;
        let all = [form.opening(), form.heartbeat(), form.result(b"{\"data\":{}}"), form.complete()].concat();
        let all = String::from_utf8(all).unwrap();
        let parts: Vec<&str> = all.split("\r\n--graphql").collect();
        let bodies: Vec<_> = parts.iter().filter_map(|part| part.split_once("\r\n\r\n")).collect();
        assert_eq!((parts[0], parts[3]), ("", "--\r\n"));
        assert_eq!([bodies[0].1, bodies[1].1], ["{}", "{\"payload\":{\"data\":{}}}"]);
    }

    #[test]
    fn what_is_moved_is_not_complete() {
        assert!(!Form::Events.moved(b"[]").windows(8).any(|word| word == b"complete"));
        let last = Form::Multipart.moved(b"[]");
        assert!(String::from_utf8_lossy(&last).contains("{\"payload\":null,\"errors\":[]}"));
    }
}
