//! Streams large bodies through the `gateway` binary, down and up, and says what memory it took.
//!
//! `bench-bodies [REQUESTS] [CONNECTIONS]`: so many requests in each direction with 10 MiB each (10,000 over 50 unless
//! given). Every byte is counted at both ends. The gateway is the binary that lies beside this one.

use std::{
    convert::Infallible,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Empty, Full, StreamBody};
use hyper::{
    body::Incoming, client::conn::http1 as client, server::conn::http1 as server, service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const CHUNK: usize = 64 << 10;
const CHUNKS: usize = 160;
const BODY: u64 = (CHUNK * CHUNKS) as u64;

/// Ten mebibytes that are made as they are read.
fn large() -> StreamBody<stream::Iter<impl Iterator<Item = Result<Frame<Bytes>, Infallible>>>> {
    static ZEROS: [u8; CHUNK] = [0; CHUNK];
    StreamBody::new(stream::iter((0..CHUNKS).map(|_| Ok(Frame::data(Bytes::from_static(&ZEROS))))))
}

async fn count(mut body: Incoming) -> u64 {
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        seen += frame.expect("the body goes on to its end").data_ref().map_or(0, |data| data.len() as u64);
    }
    seen
}

/// GET answers a large body; POST counts what it is sent and says so.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let answer = |request: Request<Incoming>| async move {
        Ok::<_, Infallible>(if request.method() == Method::GET {
            Response::new(Either::Left(large()))
        } else {
            Response::new(Either::Right(Full::new(Bytes::from(count(request.into_body()).await.to_string()))))
        })
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(server::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)));
        }
    });
    address
}

/// The gateway's process and its address.
fn gateway(origin: SocketAddr) -> (Child, SocketAddr) {
    let file = std::env::temp_dir().join(format!("bench-bodies-{}.yaml", std::process::id()));
    let yaml = format!(
        "listen: [{{ address: \"127.0.0.1:0\" }}]\nadmin: {{ address: \"127.0.0.1:0\" }}\naccess_log: off\n\
         server: {{ max_body: 16MiB }}\nupstreams: {{ it: {{ url: \"http://{origin}\" }} }}\n\
         routes: [{{ path: /it, methods: [GET, POST], auth: none, timeout: 5m, forward: {{ to: it }} }}]\n"
    );
    std::fs::write(&file, yaml).expect("the temporary folder can be written to");
    let here: PathBuf = std::env::current_exe().expect("this binary has a path");
    let mut command = Command::new(here.with_file_name("gateway"));
    let mut child =
        command.arg("--config").arg(&file).stderr(Stdio::piped()).spawn().expect("build it first");
    let stderr = child.stderr.take().expect("it is piped");
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| line.split_once("listening on ")?.1.trim().parse().ok())
        .expect("it says where it listens");
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

/// One client: asks until `left` is used up.
async fn drive(to: SocketAddr, method: Method, left: Arc<AtomicU64>) {
    let stream = TcpStream::connect(to).await.expect("the gateway listens");
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let body = if method == Method::POST { Either::Left(large()) } else { Either::Right(Empty::new()) };
        let request = Request::builder().method(&method).uri("/it").header("host", "a").body(body);
        let request = request.expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        if method == Method::GET {
            assert_eq!(count(response.into_body()).await, BODY);
        } else {
            let told = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(told, BODY.to_string());
        }
    }
}

/// The most memory that the process has held, in kibibytes, as the system counts it.
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("the system says it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).map(|number| number.parse().expect("a number"));
    let (requests, connections) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(50));
    let (mut child, address) = gateway(origin().await);
    for method in [Method::GET, Method::POST] {
        let (begun, left) = (Instant::now(), Arc::new(AtomicU64::new(requests)));
        let mut clients = JoinSet::new();
        for _ in 0..connections {
            clients.spawn(drive(address, method.clone(), left.clone()));
        }
        clients.join_all().await;
        println!(
            "{method}: {requests} bodies of 10 MiB over {connections} connections in {:.1} s; the gateway held {:.1} MiB at most",
            begun.elapsed().as_secs_f64(),
            peak(child.id()) as f64 / 1024.0
        );
    }
    child.kill().expect("it runs");
}
