//! What arrived at each backend, as `GET /requests` tells it.
//!
//! A request counts from its arrival, whatever becomes of it. It ends with its answer's last byte, by a fault,
//! or when the client leaves, which shows in the `Call` being dropped before its end. Not a log.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Error;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::backend::Backend;
use super::server::Link;

/// How many requests are kept whole.
const KEPT: usize = 100;

/// The counters of all backends.
pub struct Recorder {
    books: [Mutex<Book>; Backend::COUNT],
    templates: [matchit::Router<&'static str>; Backend::COUNT],
    changed: watch::Sender<()>,
}

/// The counters of one backend, as the control API writes them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All that arrived.
    pub total: u64,
    /// The same by method and path template, such as `GET /orders/{id}`.
    pub by_route: BTreeMap<String, u64>,
    /// Those whose client left before the answer ended.
    pub cancelled: u64,
    /// Those that have not ended.
    pub in_flight: u64,
    /// The most there were at once.
    pub max_in_flight: u64,
    /// The last hundred, newest first.
    pub last: Vec<Seen>,
}

/// One request that arrived.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// All headers, in order.
    pub headers: Vec<(String, String)>,
    /// When it arrived, RFC 3339.
    pub at: String,
    /// Milliseconds to its end, or until now if it has not ended.
    pub took_ms: u64,
    /// The answer's status, null if there was none (yet).
    pub status: Option<u16>,
    /// Whether the client left before the answer ended.
    pub cancelled: bool,
}

/// What the recorder notes of a request at its arrival.
pub(super) struct Arrival {
    /// The method, or `gRPC`, of the route's name.
    pub(super) label: Method,
    pub(super) template: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
}

#[derive(Default)]
struct Book {
    /// How often the counters were cleared: what began before does not count into them later.
    era: u64,
    total: u64,
    by_route: HashMap<(Method, &'static str), u64>,
    cancelled: u64,
    in_flight: u64,
    max_in_flight: u64,
    last: VecDeque<Entry>,
}

struct Entry {
    /// The how manieth it was, from 1.
    number: u64,
    arrival: Arrival,
    at: DateTime<Utc>,
    began: Instant,
    took_ms: Option<u64>,
    status: Option<u16>,
    cancelled: bool,
}

impl Recorder {
    /// All counters at zero.
    pub(super) fn new() -> Recorder {
        let mut templates = std::array::from_fn(|_| matchit::Router::new());
        for backend in Backend::all() {
            for template in backend.templates() {
                let inserted = templates[backend.index()].insert(template, template);
                inserted.expect("the templates of a service do not clash");
            }
        }
        Recorder {
            books: std::array::from_fn(|_| Mutex::default()),
            templates,
            changed: watch::channel(()).0,
        }
    }

    /// The counters of one backend.
    pub fn counts(&self, backend: impl Into<Backend>) -> Counts {
        self.books[backend.into().index()].lock().counts()
    }

    /// Waits until the counters of one backend are `so`.
    pub async fn until(&self, backend: impl Into<Backend>, so: impl Fn(&Counts) -> bool) {
        let (backend, mut changed) = (backend.into(), self.changed.subscribe());
        while !so(&self.counts(backend)) {
            changed.changed().await.expect("the recorder lives as long as it is borrowed");
        }
    }

    /// Sets all counters to zero, but for what is in flight.
    pub fn clear(&self) {
        for book in &self.books {
            book.lock().clear();
        }
    }

    /// The template of a path, `(unknown)` if there is none.
    pub(super) fn template(&self, backend: Backend, path: &str) -> &'static str {
        self.templates[backend.index()].at(path).map_or("(unknown)", |found| *found.value)
    }

    /// Counts a request that came over `link`.
    pub(super) fn arrive(self: &Arc<Self>, backend: Backend, arrival: Arrival, link: Arc<Link>) -> Call {
        let mut book = self.books[backend.index()].lock();
        let number = book.arrive(arrival);
        let era = book.era;
        drop(book);
        self.changed.send_replace(());
        Call { recorder: Arc::clone(self), backend, era, number, link, ended: false }
    }
}

impl Book {
    fn arrive(&mut self, arrival: Arrival) -> u64 {
        self.total += 1;
        self.in_flight += 1;
        self.max_in_flight = self.max_in_flight.max(self.in_flight);
        *self.by_route.entry((arrival.label.clone(), arrival.template)).or_default() += 1;
        self.last.truncate(KEPT - 1);
        self.last.push_front(Entry {
            number: self.total,
            arrival,
            at: Utc::now(),
            began: Instant::now(),
            took_ms: None,
            status: None,
            cancelled: false,
        });
        self.total
    }

    /// The entry of that number, if it is of this era and still kept.
    fn entry(&mut self, era: u64, number: u64) -> Option<&mut Entry> {
        if era != self.era {
            return None;
        }
        let place = self.total.checked_sub(number)?;
        self.last.get_mut(usize::try_from(place).ok()?).filter(|entry| entry.number == number)
    }

    fn end(&mut self, era: u64, number: u64, cancelled: bool) {
        self.in_flight -= 1;
        self.cancelled += u64::from(cancelled && era == self.era);
        if let Some(entry) = self.entry(era, number) {
            entry.took_ms = Some(entry.elapsed_ms());
            entry.cancelled = cancelled;
        }
    }

    fn clear(&mut self) {
        *self = Book {
            era: self.era + 1,
            in_flight: self.in_flight,
            max_in_flight: self.in_flight,
            ..Book::default()
        };
    }

    fn counts(&self) -> Counts {
        let named =
            |((label, template), count): (&(Method, &str), &u64)| (format!("{label} {template}"), *count);
        Counts {
            total: self.total,
            by_route: self.by_route.iter().map(named).collect(),
            cancelled: self.cancelled,
            in_flight: self.in_flight,
            max_in_flight: self.max_in_flight,
            last: self.last.iter().map(Entry::seen).collect(),
        }
    }
}

impl Entry {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn seen(&self) -> Seen {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = self.arrival.headers.iter();
        Seen {
            method: self.arrival.method.to_string(),
            path: self.arrival.path.clone(),
            headers: headers.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
            at: self.at.to_rfc3339_opts(SecondsFormat::Millis, true),
            took_ms: self.took_ms.unwrap_or_else(|| self.elapsed_ms()),
            status: self.status,
            cancelled: self.cancelled,
        }
    }
}

/// A request between its arrival and its end.
pub(super) struct Call {
    recorder: Arc<Recorder>,
    backend: Backend,
    era: u64,
    number: u64,
    link: Arc<Link>,
    ended: bool,
}

impl Call {
    /// Notes the status and follows the answer to its end.
    pub(super) fn follow(mut self, response: Response<Body>, to_head: bool) -> Response<Body> {
        let status = response.status();
        if let Some(entry) = self.recorder.books[self.backend.index()].lock().entry(self.era, self.number) {
            entry.status = Some(status.as_u16());
        }
        if to_head || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&status) {
            // hyper sends no body then, and never asks for it.
            self.end(false);
        }
        let length = response.headers().get(header::CONTENT_LENGTH);
        let left = length.and_then(|value| value.to_str().ok()?.parse().ok());
        response.map(|inner| Body::new(Counted { inner, left, call: self }))
    }

    fn end(&mut self, cancelled: bool) {
        if !self.ended {
            self.ended = true;
            self.recorder.books[self.backend.index()].lock().end(self.era, self.number, cancelled);
            self.recorder.changed.send_replace(());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let cancelled = !self.link.severed();
        self.end(cancelled);
    }
}

/// A body that tells its call when it ends.
struct Counted {
    inner: Body,
    /// The bytes to come, if the answer says how many: hyper does not ask for an end after them.
    left: Option<u64>,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.left = self.left.map(|left| left.saturating_sub(bytes));
        }
        let is_last = !matches!(frame, Some(Ok(_))) || self.left == Some(0) || self.inner.is_end_stream();
        if is_last {
            self.call.end(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.inner.is_end_stream() {
            self.call.end(false);
        }
    }
}
