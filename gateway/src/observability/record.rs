//! The record of one request: begun with its first line, written when its last byte has left or its client has.
//!
//! It rides on the answer's body, so that bytes really sent are counted, an aborted answer says so, and the deadline
//! holds to the last byte. Not here: where lines go (`access_log.rs`).

use std::{
    fmt::Write as _,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::{access_log::AccessLog, metrics::RouteMetrics, trace};
use crate::{
    body::{Body, BodyError, Request, Response},
    deadline::Deadline,
    downstream::Downstream,
    error::Error,
    overload::Place,
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The last byte has been handed over.
    Complete,
    /// Dropped before that: the client left.
    Client,
    /// A service stopped in mid-body.
    Upstream,
    /// The deadline passed in mid-body.
    Deadline,
}

/// What else an operator should know of a request, such as missing parts. Handlers leave it in an answer's extensions.
#[derive(Debug, Clone)]
pub struct Note(pub String);

/// What an answer that stays open comes to. Its handler leaves it in the answer's extensions, and counts in it.
#[derive(Debug, Default)]
pub struct Lasting {
    /// Events sent.
    pub events: AtomicU64,
    /// Why the gateway ended it, if it did.
    pub ended: OnceLock<&'static str>,
}

/// What a tunnel has come to so far.
#[derive(Debug, Clone, Copy)]
pub struct Tunnelled {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// Why it ended.
    pub ended: &'static str,
}

/// What is known of one request.
pub struct Record(Box<Inner>);

struct Inner {
    log: Arc<AccessLog>,
    metrics: Arc<RouteMetrics>,
    begun: Instant,
    from: Arc<Downstream>,
    method: Method,
    path: Option<PathAndQuery>,
    version: Version,
    request_id: HeaderValue,
    trace: Option<[u8; 32]>,
    route: Option<Arc<str>>,
    subject: Option<HeaderValue>,
    status: Option<StatusCode>,
    failure: Option<(&'static str, String)>,
    note: Option<String>,
    lasting: Option<Arc<Lasting>>,
    /// The tunnel that it became, and how long that took to open.
    tunnelled: Option<(Tunnelled, Duration)>,
    sent: u64,
    /// Whether the client has been given something and has not asked for more.
    given: bool,
    end: End,
    /// Counted as in flight until all this is over.
    place: Option<Place>,
}

impl Record {
    /// Begins the record of `request`, counted under `unrouted` until its route is known.
    #[must_use]
    pub fn begin(
        log: &Arc<AccessLog>,
        unrouted: &Arc<RouteMetrics>,
        request: &Request,
        from: &Arc<Downstream>,
    ) -> Self {
        from.activity.begin();
        let id = trace::hex::<32>(fastrand::u128(..));
        Record(Box::new(Inner {
            log: log.clone(),
            metrics: unrouted.clone(),
            begun: Instant::now(),
            from: from.clone(),
            method: request.method().clone(),
            path: request.uri().path_and_query().cloned(),
            version: request.version(),
            request_id: HeaderValue::from_bytes(&id).expect("hexadecimal digits"),
            trace: None,
            route: None,
            subject: None,
            status: None,
            failure: None,
            note: None,
            lasting: None,
            tunnelled: None,
            sent: 0,
            given: false,
            end: End::Client,
            place: None,
        }))
    }

    /// The record of a request that could not be read: its method and path are not known.
    #[must_use]
    pub fn unread(log: &Arc<AccessLog>, unrouted: &Arc<RouteMetrics>, from: &Arc<Downstream>) -> Self {
        let mut record = Self::begin(log, unrouted, &Request::default(), from);
        record.0.method = Method::from_bytes(b"-").expect("a token (RFC 9110 section 5.6.2)");
        record.0.path = None;
        record
    }

    /// The id that the client, the services and the log know the request by.
    #[must_use]
    pub fn request_id(&self) -> &HeaderValue {
        &self.0.request_id
    }

    /// When the request was understood.
    #[must_use]
    pub fn begun(&self) -> Instant {
        self.0.begun
    }

    /// The route was found.
    pub fn routed(&mut self, name: &Arc<str>, metrics: &Arc<RouteMetrics>) {
        self.0.route = Some(name.clone());
        self.0.metrics = metrics.clone();
    }

    /// It has a place among the requests in flight.
    pub fn holds(&mut self, place: Place) {
        self.0.place = Some(place);
    }

    /// The trace is known.
    pub fn traced(&mut self, trace: &trace::Trace) {
        self.0.trace = trace.id().as_bytes().try_into().ok();
    }

    /// The caller is known.
    pub fn called_by(&mut self, subject: &HeaderValue) {
        self.0.subject = Some(subject.clone());
    }

    /// The gateway answers with an error of its own.
    pub fn failed(&mut self, error: &Error) {
        self.0.failure = Some((error.code().name(), error.cause().to_owned()));
    }

    /// Adds what else an operator should know, such as missing parts.
    pub fn note(&mut self, note: String) {
        self.0.note = Some(note);
    }

    /// Its answer stays open: it is not in flight, as others are that end soon.
    /// Returns whether that is so.
    pub fn lasts(&mut self, response: &mut Response) -> bool {
        self.0.lasting = response.extensions_mut().remove();
        let lasts = self.0.lasting.is_some();
        if lasts {
            self.0.place = None;
        }
        lasts
    }

    /// It becomes a tunnel, or that has moved on. A tunnel is not in flight, and not complete before its end.
    pub fn tunnels(&mut self, now: Tunnelled) {
        let begun = self.0.begun;
        self.0.tunnelled.get_or_insert_with(|| (now, begun.elapsed())).0 = now;
        self.0.place = None;
        self.0.sent = now.sent;
    }

    /// Ends with `response`, written out whole for a connection that closes after it (RFC 9112 section 9.6).
    #[must_use]
    pub fn refused(mut self, response: Response) -> Vec<u8> {
        let (status, request_id) = (response.status(), self.0.request_id.clone());
        let (head, body) = response.into_parts();
        let body = if let Body::Full(body) = body { body } else { Bytes::new() };
        let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
        let mut field =
            |name: &str, value: &[u8]| out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        head.headers.iter().for_each(|(name, value)| field(name.as_str(), value.as_bytes()));
        field("x-request-id", request_id.as_bytes());
        field("content-length", body.len().to_string().as_bytes());
        field("date", httpdate::fmt_http_date(SystemTime::now()).as_bytes());
        field("connection", b"close");
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&body);
        (self.0.status, self.0.end, self.0.sent) = (Some(status), End::Complete, body.len() as u64);
        out
    }

    /// Lets the record ride on the answer to its last byte, which must leave before `deadline`.
    #[must_use]
    pub fn over(mut self, response: Response, deadline: Option<Deadline>) -> http::Response<Recorded> {
        self.0.status = Some(response.status());
        let head = self.0.method == Method::HEAD;
        response.map(|body| {
            if head || body.is_end_stream() {
                self.0.end = End::Complete;
            }
            Recorded { body, record: Some(self), deadline, alarm: None }
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.from.activity.left();
        } else if self.from.activity.is_ending() {
            self.end = End::Client;
            self.failure =
                Some(("cut_short", "the client took nothing of its answer for too long".to_owned()));
        }
        self.wanted();
        self.from.activity.end();
        let class = self.status.map_or(0, |status| usize::from(status.as_u16() / 100).min(5));
        self.metrics.answers[class].inc();
        let now = Instant::now();
        let took = now.duration_since(self.begun);
        // How long people talk is not how long they wait.
        self.metrics.duration.observe(self.tunnelled.map_or(took, |(_, opened)| opened));
        let this = &*self;
        this.log.line(now, |out| this.write(out, took.as_micros() as u64));
    }
}

impl Inner {
    /// The client asks for more, or for nothing any more.
    fn wanted(&mut self) {
        if std::mem::take(&mut self.given) {
            self.from.activity.wanted();
        }
    }

    /// What follows the time. Strings from outside are escaped; the query is left out, it may hold secrets. No formatting
    /// machinery: this runs for every request.
    fn write(&self, out: &mut Vec<u8>, micros: u64) {
        // The first ones hold nothing that would need an escape: digits, addresses, tokens.
        let trace = self.trace.as_ref().map_or(b"".as_slice(), <[u8; 32]>::as_slice);
        for part in [
            br#","requestId":""#.as_slice(),
            self.request_id.as_bytes(),
            br#"","peer":""#,
            self.from.peer_text.as_bytes(),
            br#"","protocol":""#,
            protocol(self.version),
            if trace.is_empty() { b"" } else { br#"","trace":""# },
            trace,
            br#"","method":""#,
            self.method.as_str().as_bytes(),
            br#"","path":"#,
        ] {
            out.extend_from_slice(part);
        }
        quoted(out, self.path.as_ref().map_or("", PathAndQuery::path).as_bytes());
        let mut field = |name: &str, value: Option<&[u8]>| {
            let Some(value) = value else { return };
            out.extend_from_slice(name.as_bytes());
            quoted(out, value);
        };
        field(r#","route":"#, self.route.as_ref().map(|route| route.as_bytes()));
        field(r#","user":"#, self.subject.as_ref().map(HeaderValue::as_bytes));
        field(r#","code":"#, self.failure.as_ref().map(|(code, _)| code.as_bytes()));
        field(r#","cause":"#, self.failure.as_ref().map(|(_, cause)| cause.as_bytes()));
        field(r#","note":"#, self.note.as_ref().map(|note| note.as_bytes()));
        field(r#","aborted":"#, self.aborted().map(str::as_bytes));
        let lasting = self.lasting.as_deref();
        let ended = lasting.and_then(|lasting| lasting.ended.get().copied());
        let ended = ended.or(self.tunnelled.map(|(tunnelled, _)| tunnelled.ended));
        field(r#","ended":"#, ended.map(str::as_bytes));
        let mut number = |name: &str, value: u64| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        };
        number(r#","status":"#, self.status.map_or(0, |status| status.as_u16()).into());
        if let Some(lasting) = lasting {
            number(r#","events":"#, lasting.events.load(Relaxed));
        }
        if let Some((tunnelled, _)) = self.tunnelled {
            number(r#","received":"#, tunnelled.received);
        }
        number(r#","bytes":"#, self.sent);
        number(r#","micros":"#, micros);
        out.extend_from_slice(b"}\n");
    }

    fn aborted(&self) -> Option<&'static str> {
        match self.end {
            End::Complete => None,
            End::Client => Some("client"),
            End::Upstream => Some("upstream"),
            End::Deadline => Some("deadline"),
        }
    }
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_10 => b"HTTP/1.0",
        _ => b"HTTP/1.1",
    }
}

/// A JSON string. Nearly everything needs no escape, so that is looked for first, without a way out in between: many bytes are
/// looked at in one step then.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    let odd = |byte: u8| !(0x20..=0x7e).contains(&byte) | (byte == b'"') | (byte == b'\\');
    if !text.iter().fold(false, |found, byte| found | odd(*byte)) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        serde_json::to_writer(out, &String::from_utf8_lossy(text)).expect("writing to a buffer cannot fail");
    }
}

/// An answer's body with the record of its request.
pub struct Recorded {
    body: Body,
    /// None when it rides on a tunnel instead.
    record: Option<Record>,
    deadline: Option<Deadline>,
    /// Set up only when the body keeps its reader waiting: most never do.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Recorded {
    /// The record, for what goes on when there is no body.
    pub fn leave(&mut self) -> Option<Record> {
        self.record.take()
    }

    fn note_frame(&mut self, frame: &Result<Frame<Bytes>, BodyError>) {
        let Some(Record(inner)) = &mut self.record else { return };
        match frame {
            Ok(frame) => {
                inner.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                if self.body.is_end_stream() {
                    inner.end = End::Complete;
                }
            }
            Err(error) => {
                if inner.version < Version::HTTP_11 {
                    inner.from.activity.cut();
                }
                inner.end = if matches!(error, BodyError::Deadline) { End::Deadline } else { End::Upstream };
                let mut cause = String::new();
                let _ = write!(cause, "{error}");
                inner.failure = Some(("cut_short", cause));
            }
        }
    }

    fn overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.deadline else { return false };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the deadline, and there is no future to bound"
        )]
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.at())));
        alarm.as_mut().poll(cx).is_ready()
    }
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(Record(inner)) = &mut self.record {
            inner.wanted();
        }
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(frame)) => frame,
            Poll::Ready(None) => {
                if let Some(Record(inner)) = &mut self.record {
                    inner.end = End::Complete;
                }
                return Poll::Ready(None);
            }
            Poll::Pending if self.overdue(cx) => Err(BodyError::Deadline),
            Poll::Pending => return Poll::Pending,
        };
        self.note_frame(&frame);
        if let Some(Record(inner)) = &mut self.record {
            inner.given = true;
            let bytes = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            inner.from.activity.given(bytes);
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use parking_lot::Mutex;

    use super::*;
    use crate::overload::{Overload, Shares};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn an_answer_that_stays_open_holds_no_place_and_is_told_when_it_ends() {
        let lines = Lines::default();
        let log = Arc::new(AccessLog::to(lines.clone()));
        let from = Arc::new(Downstream::new("192.0.2.7:4711".parse().unwrap(), false));
        let overload = <&Overload>::default();
        let mut record = Record::begin(&log, &Arc::default(), &Request::default(), &from);
        record.holds(overload.admit(Shares::new(10, None), &Method::GET).unwrap());
        let lasting = Arc::<Lasting>::default();
        let mut response = Response::new(Body::full("data: 1"));
        record.lasts(&mut response);
        assert_eq!(overload.in_flight(), 1, "an error is an answer like others");
        response.extensions_mut().insert(lasting.clone());
        record.lasts(&mut response);
        assert_eq!(overload.in_flight(), 0);
        let answer = record.over(response, None);
        lasting.events.fetch_add(3, Relaxed);
        lasting.ended.set("expired").unwrap();
        drop(answer);
        log.flush_all();
        let told = String::from_utf8(lines.0.lock().clone()).unwrap();
        assert!(told.contains(r#""ended":"expired","status":200,"events":3,"bytes":0"#), "{told}");
    }
}
