//! A service that talks over WebSockets, and clients of it through the gateway.
//!
//! Not here: what is asserted of them (`mod.rs`).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::{
            derive_accept_key,
            server::{ErrorResponse, Request, Response},
        },
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::harness::Gate;

pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) type Socket = WebSocketStream<TcpStream>;

/// A service that says everything back, and does what the last segment of a path says.
#[derive(Clone, Default)]
pub(super) struct Chat(pub(super) Arc<Seen>);

#[derive(Default)]
pub(super) struct Seen {
    /// Requests that came, as they came.
    pub(super) requests: Mutex<Vec<Request>>,
    pub(super) open: AtomicUsize,
    /// How those that are over were closed.
    pub(super) closes: Mutex<Vec<Option<u16>>>,
}

impl Chat {
    pub(super) async fn start() -> (Chat, SocketAddr) {
        let (listener, chat) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Chat::default());
        let (address, serving) = (listener.local_addr().unwrap(), chat.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        (chat, address)
    }

    pub(super) async fn serve<I: AsyncRead + AsyncWrite + Unpin + Send>(self, stream: I) {
        #[allow(clippy::result_large_err, reason = "the signature is the library's")]
        let choose = |request: &Request, mut response: Response| {
            self.0.requests.lock().push(request.clone());
            let refusal = |status: u16| {
                let mut refusal = ErrorResponse::new(Some("not for you".to_owned()));
                *refusal.status_mut() = status.try_into().unwrap();
                refusal.headers_mut().insert("content-length", 11.into());
                refusal
            };
            match kind(request) {
                "refuses" => return Err(refusal(401)),
                "fails" => return Err(refusal(500)),
                "answers" => return Err(refusal(200)),
                "lies" => {
                    response
                        .headers_mut()
                        .insert("sec-websocket-accept", derive_accept_key(b"lie").parse().unwrap());
                }
                _ => {}
            }
            if let Some(offered) = request.headers().get("sec-websocket-protocol") {
                let first = offered.to_str().unwrap().split(',').next().unwrap().trim().to_owned();
                response.headers_mut().insert("sec-websocket-protocol", first.parse().unwrap());
            }
            Ok(response)
        };
        let Ok(socket) = accept_hdr_async(stream, choose).await else { return };
        let last = self.0.requests.lock().last().map(|request| kind(request).to_owned()).unwrap();
        self.0.open.fetch_add(1, Relaxed);
        self.talk(socket, &last).await;
        self.0.open.fetch_sub(1, Relaxed);
    }

    async fn talk<I: AsyncRead + AsyncWrite + Unpin>(&self, mut socket: WebSocketStream<I>, kind: &str) {
        while let Some(message) = socket.next().await {
            match message {
                Ok(Message::Close(frame)) => {
                    self.0.closes.lock().push(frame.map(|frame| frame.code.into()));
                }
                Ok(_) if kind == "dies" => return,
                Ok(_) if kind == "closes" => socket.close(Some(close(4000))).await.unwrap(),
                Ok(message) if message.is_text() || message.is_binary() => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    pub(super) fn open(&self) -> usize {
        self.0.open.load(Relaxed)
    }

    pub(super) fn asked(&self) -> usize {
        self.0.requests.lock().len()
    }
}

pub(super) fn close(code: u16) -> CloseFrame {
    CloseFrame { code: CloseCode::from(code), reason: "".into() }
}

fn kind(request: &Request) -> &str {
    request.uri().path().rsplit('/').next().unwrap()
}

/// A gateway with a route to `address` whose `websocket:` is `bounds`; the admin listener tells metrics.
pub(super) fn gate(address: SocketAddr, bounds: &str) -> Gate {
    Gate::start(&yaml(address, bounds))
}

pub(super) fn yaml(address: SocketAddr, bounds: &str) -> String {
    format!(
        "cors:\n  app: {{ origins: [\"https://app.ftgo.example\"], methods: [GET], credentials: true }}\n\
         upstreams:\n  chat: {{ url: \"http://{address}\" }}\nroutes:\n  - path: /ws/{{kind}}\n    auth: none\n    \
         timeout: 2s\n    cors: app\n    forward: {{ to: chat, websocket: {{ {bounds} }} }}\n  - path: /plain\n    \
         auth: none\n    forward: {{ to: chat }}\n"
    )
}

/// Asks for a WebSocket with these header fields as well.
pub(super) async fn open_with(
    to: SocketAddr,
    path: &str,
    fields: &[(&'static str, &str)],
) -> Result<(Socket, http::Response<Option<Vec<u8>>>), Error> {
    let stream = TcpStream::connect(to).await.unwrap();
    let mut request = format!("ws://ftgo.example{path}").into_client_request().unwrap();
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, stream).await
}

pub(super) async fn open(gate: &Gate, path: &str) -> Socket {
    open_with(gate.address(), path, &[]).await.unwrap().0
}

/// The status and the body of a refusal.
pub(super) async fn refused(to: SocketAddr, path: &str, fields: &[(&'static str, &str)]) -> (u16, String) {
    match open_with(to, path, fields).await {
        Err(Error::Http(answer)) => {
            let body = answer.body().clone().unwrap_or_default();
            (answer.status().as_u16(), String::from_utf8(body).unwrap())
        }
        other => panic!("it was not refused: {:?}", other.map(|(_, answer)| answer)),
    }
}

pub(super) async fn next(socket: &mut Socket) -> Option<Result<Message, Error>> {
    timeout(PATIENCE, socket.next()).await.expect("something comes")
}

pub(super) async fn echoes(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(next(socket).await.unwrap().unwrap(), message);
}

/// The code of the close frame that comes next; none when the connection breaks.
pub(super) async fn closed(socket: &mut Socket) -> Option<u16> {
    match next(socket).await {
        Some(Ok(Message::Close(frame))) => Some(frame.map_or(1005, |frame| frame.code.into())),
        Some(Err(_)) | None => None,
        other => panic!("{other:?}"),
    }
}

async fn metric(gate: &Gate, line: &str) -> bool {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    String::from_utf8_lossy(metrics.bytes()).lines().any(|told| told == line)
}

pub(super) async fn until_metric(gate: &Gate, line: &str) {
    let begun = Instant::now();
    while !metric(gate, line).await {
        assert!(begun.elapsed() < PATIENCE, "it never was told: {line}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(super) async fn until_ended(gate: &Gate, reason: &str, count: usize) {
    let route = "route=\"GET /ws/{kind}\"";
    until_metric(gate, &format!("gateway_websockets_ended_total{{{route},reason=\"{reason}\"}} {count}"))
        .await;
    until_metric(gate, &format!("gateway_websockets{{{route}}} 0")).await;
}
