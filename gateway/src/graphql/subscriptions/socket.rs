//! One WebSocket in which `graphql-transport-ws` is spoken (GraphQL over WebSocket).
//!
//! It runs in the task of its client's connection. Nothing is read and no event is asked for while something is being written:
//! who is slow holds up nobody and has nothing queued. Who takes nothing for as long as a heartbeat is ended.
//! Not here: what messages look like (`message.rs`), what operations come to (`operation.rs`).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{self, AbortHandle, BoxStream, SelectAll, abortable},
};
use http::{HeaderMap, HeaderValue, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::watch::Receiver,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    Execute, Out, Sent, Subscriptions,
    message::{self, Message},
    metrics::{SubscriptionMetrics, Transport},
    operation::errors,
};
use crate::{
    body::{Request, Response},
    door,
    error::{Code, Error},
    graphql::{Refusal, read},
    handler::Admitted,
    live::stream::until,
    observability::record::{Record, Tunnelled},
    proxy::websocket::handshake,
    route::Route,
    seats::Seat,
    switch,
};

/// The one protocol that is spoken.
const PROTOCOL: &str = "graphql-transport-ws";
/// How long the last word may take, and how long is listened after it.
const LAST_WORD: Duration = Duration::from_secs(1);
/// What is read at once.
const READ: usize = 4 << 10;

/// One that is about to be opened.
pub(in crate::graphql) struct Opening {
    pub(in crate::graphql) executor: Arc<dyn Execute>,
    pub(in crate::graphql) shared: Arc<Subscriptions>,
    pub(in crate::graphql) route: Arc<Route>,
    /// The index of the client's name in metrics.
    pub(in crate::graphql) client: usize,
}

/// Why one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// As in the log and in metrics.
    name: &'static str,
    /// What the client is told: the code of RFC 6455 section 7.4 or of the protocol, and a word.
    told: Option<(u16, &'static str)>,
}

impl End {
    const fn of(name: &'static str, code: u16, word: &'static str) -> Self {
        End { name, told: Some((code, word)) }
    }
}

const DRAINED: End = End::of("drained", 1001, "Come back");
const IDLE: End = End::of("idle", 1001, "Nobody is there");
const MAX_AGE: End = End::of("max_age", 1001, "Come back");
const NOT_INITIALISED: End = End::of("init_timeout", 4408, "Connection initialisation timeout");
const EXPIRED: End = End::of("expired", 4403, "Forbidden");
const FORBIDDEN: End = End::of("forbidden", 4403, "Forbidden");
const UNAUTHORIZED: End = End::of("unauthorized", 4401, "Unauthorized");
const TOO_MANY_INITS: End = End::of("invalid", 4429, "Too many initialisation requests");
const BINARY: End = End::of("invalid", 4400, "Messages are text");
const TOO_LARGE: End = End::of("too_large", 1009, "The message is too large");
const BROKEN: End = End::of("invalid", 1002, "This is no WebSocket");
const BUSY: End = End::of("overloaded", 1013, "Try again later");
const CLIENT: End = End { name: "client", told: None };
const LOST: End = End { name: "client_lost", told: None };
const SLOW: End = End { name: "slow", told: None };

/// What an operation comes to, with its id and its place among all.
struct Told {
    id: Arc<str>,
    place: u64,
    out: Option<Out>,
}

/// One that is open.
struct Session {
    opening: Opening,
    socket: WebSocketStream<TokioIo<Upgraded>>,
    /// The request that opened it; its caller is the one of the session.
    first: Admitted,
    headers: HeaderMap,
    initialised: bool,
    /// When it ends, and how then.
    until: (Instant, End),
    ending: Receiver<bool>,
    operations: SelectAll<BoxStream<'static, Told>>,
    ids: HashMap<Arc<str>, (u64, AbortHandle)>,
    places: u64,
    /// When the client was last heard.
    heard: Instant,
    ledger: Ledger,
    _seat: Seat,
}

/// What is written down when this is dropped.
struct Ledger {
    record: Record,
    metrics: Arc<SubscriptionMetrics>,
    ended: &'static str,
    received: u64,
    sent: u64,
}

/// Whether a request asks for one.
pub(in crate::graphql) fn is_asked(request: &Request) -> bool {
    handshake::is_asked(request.headers())
}

impl Opening {
    /// The answer that opens it.
    ///
    /// # Errors
    /// 400 and 426 when it is asked for wrongly, 429 and 503 when there are too many.
    pub(in crate::graphql) fn open(
        self,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        let accept = handshake::accept(request)?;
        if !handshake::offers(request.headers(), PROTOCOL) {
            let error = Error::new(Code::BadRequest, "another subprotocol than graphql-transport-ws");
            return Err(error.detail("The WebSocket must offer the subprotocol `graphql-transport-ws`."));
        }
        let seat = self.shared.socket(admitted)?;
        let mut response = handshake::open(accept, HeaderValue::from_static(PROTOCOL));
        let (client, first) = (hyper::upgrade::on(&mut *request), admitted.again(admitted.deadline));
        let headers = request.headers().clone();
        switch::ride(response.extensions_mut(), move |record| {
            let ledger = Ledger::open(record, &self.shared.metrics);
            Box::pin(self.run(client, first, headers, seat, ledger))
        });
        Ok(response)
    }

    async fn run(self, client: OnUpgrade, first: Admitted, headers: HeaderMap, seat: Seat, ledger: Ledger) {
        let Ok(client) = client.await else { return };
        let most = usize::try_from(self.route.max_body).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ)
            .write_buffer_size(0)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, Some(config)).await;
        let now = Instant::now();
        let (until, ending) = ((now + self.shared.init_timeout, NOT_INITIALISED), self.shared.ending());
        let mut session = Session {
            opening: self,
            socket,
            first,
            headers,
            initialised: false,
            until,
            ending,
            operations: SelectAll::new(),
            ids: HashMap::new(),
            places: 0,
            heard: now,
            ledger,
            _seat: seat,
        };
        session.ledger.ended = "cut"; // unless it ends otherwise
        let end = session.talk().await;
        session.close(end).await;
    }
}

impl Session {
    async fn talk(&mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    async fn turn(&mut self) -> Result<(), End> {
        let (heartbeat, (at, then)) = (self.opening.shared.heartbeat, self.until);
        tokio::select! {
            () = super::ends(&mut self.ending) => Err(DRAINED),
            () = sleep(at.saturating_duration_since(Instant::now())) => Err(then),
            message = self.socket.next() => self.hear(message).await,
            Some(told) = self.operations.next(), if !self.operations.is_empty() => self.tell(told).await,
            () = sleep(heartbeat) => {
                if self.heard.elapsed() > 2 * heartbeat {
                    return Err(IDLE);
                }
                if self.initialised { self.say(message::PING.to_owned()).await } else { Ok(()) }
            }
        }
    }

    async fn hear(
        &mut self,
        message: Option<Result<tungstenite::Message, tungstenite::Error>>,
    ) -> Result<(), End> {
        self.heard = Instant::now();
        match message {
            Some(Ok(tungstenite::Message::Text(text))) => {
                self.ledger.received += text.len() as u64;
                let message = Message::read(&text).map_err(|why| End::of("invalid", 4400, why))?;
                self.heed(message).await
            }
            Some(Ok(tungstenite::Message::Binary(_))) => Err(BINARY),
            Some(Ok(tungstenite::Message::Close(_))) => Err(CLIENT),
            // Its pong waits to be written. More of them would be queued without bound for who sends and does not read.
            Some(Ok(tungstenite::Message::Ping(_))) => self.write(None).await,
            Some(Ok(_)) => Ok(()),
            Some(Err(tungstenite::Error::Capacity(_))) => Err(TOO_LARGE),
            Some(Err(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_))) => Err(BROKEN),
            Some(Err(_)) | None => Err(LOST),
        }
    }

    async fn heed(&mut self, message: Message<'_>) -> Result<(), End> {
        match message {
            Message::Init(_) if self.initialised => Err(TOO_MANY_INITS),
            Message::Init(credential) => self.initialise(credential).await,
            Message::Ping => self.say(message::PONG.to_owned()).await,
            Message::Pong => Ok(()),
            _ if !self.initialised => Err(UNAUTHORIZED),
            Message::Subscribe(id, payload) => self.subscribe(id.as_ref().into(), payload.get()).await,
            Message::Complete(id) => {
                if let Some((_, operation)) = self.ids.remove(&*id) {
                    operation.abort();
                }
                Ok(())
            }
        }
    }

    /// Who it is, if that is said here and not in the handshake's header section.
    async fn initialise(&mut self, credential: Option<HeaderValue>) -> Result<(), End> {
        if let Some(credential) = credential {
            let mut headers = self.headers.clone();
            headers.insert(header::AUTHORIZATION, credential);
            let principal = tokio::select! {
                identified = Box::pin(door::identify(&self.opening.route, &headers, &self.first)) => identified.map_err(|error| match error.code() {
                    Code::Overloaded | Code::RateLimited => BUSY,
                    _ if error.status().is_server_error() => BUSY,
                    _ => FORBIDDEN,
                })?,
                () = sleep(self.until.0.saturating_duration_since(Instant::now())) => return Err(self.until.1),
            };
            if let Some(principal) = &principal {
                self.ledger.record.called_by(&principal.user_id);
            }
            self.first.caller.principal = principal;
        }
        let (at, why) = until(self.opening.shared.max_age, &self.first);
        self.until = (at, if why == "expired" { EXPIRED } else { MAX_AGE });
        self.initialised = true;
        self.say(message::ACK.to_owned()).await
    }

    /// What is asked for is read when it is let in: what cannot be read counts, too.
    async fn subscribe(&mut self, id: Arc<str>, payload: &str) -> Result<(), End> {
        if self.ids.contains_key(&id) {
            return Err(End::of("invalid", 4409, "Subscriber for this id already exists"));
        }
        if self.operations.len() >= self.opening.shared.max_per_connection {
            let request_id = self.first.caller.request_id.to_str().unwrap_or_default();
            let text = message::payload("error", &id, &errors(Refusal::rate_limited(), request_id));
            return self.say(text).await;
        }
        self.places += 1;
        let place = self.places;
        let outs = self.opening.begin(payload.into(), &self.first, &self.headers);
        let told = outs.map(Some).chain(stream::iter([None]));
        let (told, handle) = abortable(told);
        self.ids.insert(id.clone(), (place, handle));
        self.operations.push(told.map(move |out| Told { id: id.clone(), place, out }).boxed());
        Ok(())
    }

    async fn tell(&mut self, told: Told) -> Result<(), End> {
        let Told { id, place, out } = told;
        if self.ids.get(&id).is_none_or(|(known, _)| *known != place) {
            return Ok(()); // the client has ended it meanwhile
        }
        let text = match out {
            Some(Out::Next(json)) => message::payload("next", &id, &json),
            Some(Out::Refused(errors) | Out::Away(errors)) => {
                self.forget(&id);
                message::payload("error", &id, &errors)
            }
            None => {
                self.forget(&id);
                message::complete(&id)
            }
        };
        self.say(text).await
    }

    fn forget(&mut self, id: &str) {
        if let Some((_, operation)) = self.ids.remove(id) {
            operation.abort();
        }
    }

    /// Says something, and waits until the client has taken it.
    async fn say(&mut self, text: String) -> Result<(), End> {
        let length = text.len() as u64;
        self.write(Some(tungstenite::Message::text(text))).await?;
        self.ledger.sent += length;
        Ok(())
    }

    /// Writes a message, or else what is due to a ping, and waits until the client has taken it.
    async fn write(&mut self, message: Option<tungstenite::Message>) -> Result<(), End> {
        let (patience, socket) = (self.opening.shared.heartbeat, &mut self.socket);
        let writing = async {
            match message {
                Some(message) => socket.send(message).await,
                None => socket.flush().await,
            }
        };
        let written = tokio::select! {
            written = timeout(patience, writing) => written,
            () = super::ends(&mut self.ending) => return Err(DRAINED),
        };
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LOST),
            Err(_slow) => Err(SLOW),
        }
    }

    /// The last word, and a moment for the client to read it.
    async fn close(mut self, end: End) {
        self.ledger.ended = end.name;
        self.operations.clear();
        if end == CLIENT {
            _ = timeout(LAST_WORD, self.socket.close(None)).await;
        }
        let Some((code, word)) = end.told else { return };
        let frame = CloseFrame { code: CloseCode::from(code), reason: word.into() };
        if timeout(LAST_WORD, self.socket.close(Some(frame))).await.is_ok() {
            let listening = async { while let Some(Ok(_)) = self.socket.next().await {} };
            _ = timeout(LAST_WORD, listening).await;
        }
    }
}

impl Opening {
    /// What an operation comes to, once it is let in.
    fn begin(&self, payload: Box<str>, first: &Admitted, headers: &HeaderMap) -> BoxStream<'static, Out> {
        let (executor, route, client) = (self.executor.clone(), self.route.clone(), self.client);
        let (first, headers) = (first.again(first.deadline), headers.clone());
        let running = async move {
            let request_id = first.caller.request_id.clone();
            let refused = |refusal| {
                let json = errors(refusal, request_id.to_str().unwrap_or_default());
                stream::iter([Out::Refused(json)]).boxed()
            };
            let run = async {
                let admitted = door::again(&route, &headers, &first).await?;
                let asked = match read::of_payload(payload.as_bytes()) {
                    Ok(asked) => asked,
                    Err(refusal) => return Ok(refused(refusal)),
                };
                let transport = Transport::WebSocket;
                executor.run(Sent { asked, admitted, client, idempotency_key: None, transport }).await
            };
            run.await.unwrap_or_else(|error: Error| refused(Refusal::from(&error)))
        };
        stream::once(running).flatten().boxed()
    }
}

impl Ledger {
    fn open(mut record: Record, metrics: &Arc<SubscriptionMetrics>) -> Self {
        metrics.sockets.fetch_add(1, Relaxed);
        let ended = "client_lost"; // it left before it was told
        record.tunnels(Tunnelled { received: 0, sent: 0, ended });
        Ledger { record, metrics: metrics.clone(), ended, received: 0, sent: 0 }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.metrics.sockets.fetch_sub(1, Relaxed);
        self.metrics.closed(self.ended);
        let Ledger { received, sent, ended, .. } = *self;
        self.record.tunnels(Tunnelled { received, sent, ended });
    }
}
