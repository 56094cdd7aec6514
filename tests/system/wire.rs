//! Bytes as they are: services scripted byte by byte, and a client that sends what no HTTP library would.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// A service that answers every connection's requests with the same bytes and keeps what it was asked.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Answers `answer` and closes the connection.
    pub(crate) async fn start(answer: &'static str) -> Scripted {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = heads.clone();
        let address = service(move |mut stream| {
            let kept = kept.clone();
            async move {
                let head = read_head(&mut stream).await;
                kept.lock().push(head);
                stream.write_all(answer.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        })
        .await;
        Scripted { address, heads }
    }

    /// The heads of the requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// The configuration of an upstream `it` and a route `/it` (with everything below) to this service.
    pub(crate) fn yaml(&self, more: &str) -> String {
        yaml(self.address, more)
    }
}

/// An upstream `it` at `address` and a route of any method to it; `more` is the rest of the route.
pub(crate) fn yaml(address: SocketAddr, more: &str) -> String {
    format!(
        "upstreams:\n  it: {{ url: \"http://{address}\" }}\nroutes:\n  - path: /it\n    methods: [GET, POST]\n    \
         auth: none\n    forward: {{ to: it }}\n{more}"
    )
}

/// A service whose connections are handled by `serve`.
pub(crate) async fn service<F, A>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads up to the empty line, in lower case.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Sends these bytes and reads until the gateway closes the connection.
pub(crate) async fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    read.expect("the connection is closed in time").unwrap();
    String::from_utf8(answer).unwrap()
}

/// The value of a field in a head, empty if it is not there.
pub(crate) fn field<'a>(head: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}: ");
    head.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default()
}
