//! SIGTERM at a gateway in a process of its own, with a thousand requests in flight over fifty connections.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, ErrorKind},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http2, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const CONNECTIONS: usize = 50;
const STREAMS: usize = 20;
/// For as long as a busy machine may need.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service that counts who asks and answers all of them at once, when it is told to.
struct Held {
    address: SocketAddr,
    asked: Arc<watch::Sender<usize>>,
    released: watch::Sender<bool>,
}

impl Held {
    async fn start() -> Held {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (asked, released) = (Arc::new(watch::channel(0).0), watch::channel(false).0);
        let held = Held { address: listener.local_addr().unwrap(), asked, released };
        let (asked, released) = (held.asked.clone(), held.released.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, released) = (asked.clone(), released.clone());
                let answer = service_fn(move |_request: Request<Incoming>| {
                    let (asked, mut released) = (asked.clone(), released.clone());
                    async move {
                        asked.send_modify(|asked| *asked += 1);
                        released.wait_for(|released| *released).await.unwrap();
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"done"))))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
            }
        });
        held
    }
}

/// A gateway process, killed if the test ends before it does.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
    }
}

/// Starts the binary and reads the address from what it prints.
fn gateway(service: SocketAddr) -> (Process, SocketAddr) {
    let file = std::env::temp_dir().join(format!("gateway-drain-{}.yaml", std::process::id()));
    let yaml = format!(
        "listen: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\naccess_log: off\n\
         upstreams: {{ it: {{ url: \"http://{service}\" }} }}\n\
         routes: [{{ path: /it, methods: [GET], auth: none, forward: {{ to: it }} }}]\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    let mut child = command.arg("--config").arg(&file).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.find_map(|line| listening(&line)).expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop)); // it must not block on a full pipe
    std::fs::remove_file(file).unwrap();
    (Process(child), address)
}

fn listening(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("listening")?;
    let begin = after.find("127.0.0.1:")?;
    after[begin..].split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':')).next()?.parse().ok()
}

/// Connects until that is refused: a client has no other way to learn that nobody takes connections any more. Before that, one
/// that comes while a listener closes may be reset.
async fn until_refused(address: SocketAddr) {
    let connecting = async {
        let refused = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        while !TcpStream::connect(address).await.as_ref().is_err_and(refused) {}
    };
    tokio::time::timeout(PATIENCE, connecting).await.expect("the listener is closed");
}

#[tokio::test]
async fn a_thousand_requests_in_flight_over_fifty_connections_survive_sigterm() {
    let service = Held::start().await;
    let (mut process, address) = gateway(service.address);
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..STREAMS {
            let mut client = client.clone();
            asking.spawn(async move {
                let request = Request::get("http://ftgo.example/it").body(Empty::<Bytes>::new()).unwrap();
                let response = client.send_request(request).await.expect("an answer");
                (response.status().as_u16(), response.into_body().collect().await.unwrap().to_bytes())
            });
        }
    }
    let mut asked = service.asked.subscribe();
    let all_asked = asked.wait_for(|asked| *asked == CONNECTIONS * STREAMS);
    drop(tokio::time::timeout(PATIENCE, all_asked).await.expect("all are in flight").unwrap());
    let sent = Command::new("kill").args(["-TERM", &process.0.id().to_string()]).status();
    assert!(sent.unwrap().success());
    until_refused(address).await;
    service.released.send_replace(true);
    let answers = asking.join_all().await;
    assert_eq!(answers.len(), CONNECTIONS * STREAMS);
    assert!(answers.iter().all(|answer| *answer == (200, Bytes::from_static(b"done"))));
    let ended = tokio::task::spawn_blocking(move || process.0.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}
