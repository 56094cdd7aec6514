//! The two thread models side by side, on the same code: a proxy over the gateway's own upstream pool.
//!
//! `bench-threads local|stealing PORT ORIGIN WORKERS`. `local`: a single-threaded runtime per worker, each with its own
//! listening socket (SO_REUSEPORT). `stealing`: one work-stealing runtime. A path that begins with `/spin` burns 2 ms of
//! CPU before it is passed on: uneven load. The figures are in `docs/decisions/0001-thread-model.md`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use gateway::{
    body::{Body, Request, Response},
    deadline::Deadline,
    upstream::{Outgoing, Upstream, UpstreamMetrics, config::UpstreamConfig},
    worker,
};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, port, origin, workers] = arguments.as_slice() else {
        panic!("local|stealing PORT ORIGIN WORKERS")
    };
    let config: UpstreamConfig =
        serde_json::from_value(serde_json::json!({ "url": format!("http://{origin}") })).expect("an address");
    let upstream = Upstream::build("origin", &config, Arc::new(UpstreamMetrics::default()), "", None)
        .expect("an address of a service");
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
    let workers = workers.parse().expect("a number of workers");
    if mode == "local" { local(address, &upstream, workers) } else { stealing(address, upstream, workers) }
}

fn local(address: SocketAddr, upstream: &Arc<Upstream>, workers: usize) {
    let threads: Vec<_> = (0..workers)
        .map(|index| {
            let upstream = upstream.clone();
            std::thread::spawn(move || {
                worker::name_this_thread(index);
                let runtime =
                    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async move { serve(listen(address), upstream).await });
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a worker does not end");
    }
}

fn stealing(address: SocketAddr, upstream: Arc<Upstream>, workers: usize) {
    let started = std::sync::atomic::AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .on_thread_start(move || {
            worker::name_this_thread(started.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        })
        .enable_all()
        .build()
        .expect("a runtime");
    let serving = runtime.spawn(async move { serve(listen(address), upstream).await });
    runtime.block_on(serving).expect("serving does not end");
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseport(true).expect("SO_REUSEPORT");
    socket.bind(address).expect("a free address");
    socket.listen(1024).expect("a listener")
}

async fn serve(listener: TcpListener, upstream: Arc<Upstream>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(stream, upstream.clone()));
    }
}

async fn connection(stream: TcpStream, upstream: Arc<Upstream>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: http::Request<Incoming>| {
        let upstream = upstream.clone();
        async move { Ok::<Response, Infallible>(pass(&upstream, request.map(Body::client)).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn pass(upstream: &Upstream, request: Request) -> Response {
    if request.uri().path().starts_with("/spin") {
        let until = std::time::Instant::now() + Duration::from_millis(2);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
    }
    let (client, body) = request.into_parts();
    let ask = |body| {
        let target = client.uri.path_and_query().cloned().expect("a request of HTTP/1.1 has a path");
        let mut request = Outgoing::get(target, client.headers.len());
        (request.method, request.body) = (client.method.clone(), body);
        client.headers.iter().for_each(|(name, value)| request.fields.push(name.clone(), value.clone()));
        request
    };
    upstream.call(&ask, body, Deadline::after(Duration::from_secs(5))).await.expect("the origin answers")
}
