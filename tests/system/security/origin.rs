//! A service that keeps every byte it gets and reads requests as strictly as the next reader would: what it takes for a
//! request is what the gateway has let through.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wire::service;

/// Such a service.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What has come to it.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// The requests that came whole, each byte for byte.
    pub(super) whole: Vec<String>,
    /// Requests that have begun and are neither whole nor broken off.
    open: usize,
    /// How many broke off.
    pub(super) broken: usize,
}

impl Origin {
    pub(super) async fn start() -> Origin {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let kept = seen.clone();
        let address = service(move |stream| serve(stream, kept.clone())).await;
        Origin { address, seen }
    }

    /// What has come since it was asked last, once nothing is on its way any more.
    pub(super) async fn take(&self) -> Seen {
        for _ in 0..2_000 {
            if self.seen.lock().open == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut seen = self.seen.lock();
        let taken = seen.clone();
        *seen = Seen { open: seen.open, ..Seen::default() };
        taken
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut read = Vec::new();
    loop {
        match length(&read) {
            Some(length) if read.len() >= length => {
                let request: Vec<u8> = read.drain(..length).collect();
                let answer = answer(&request);
                {
                    let mut seen = seen.lock();
                    seen.whole.push(request.iter().map(|byte| char::from(*byte)).collect());
                    seen.open = seen.open - 1 + usize::from(!read.is_empty());
                }
                if stream.write_all(answer).await.is_err() {
                    break;
                }
                continue;
            }
            _ => {}
        }
        let begins = read.is_empty();
        match stream.read_buf(&mut read).await {
            Ok(more) if more > 0 => seen.lock().open += usize::from(begins),
            _ => break,
        }
    }
    if !read.is_empty() {
        let mut seen = seen.lock();
        seen.open -= 1;
        seen.broken += 1;
    }
}

fn answer(request: &[u8]) -> &'static [u8] {
    if request.starts_with(b"HEAD ") {
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"
    } else {
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    }
}

/// How long the request is that begins here (RFC 9112 section 6.3); `None` while that cannot be said.
fn length(read: &[u8]) -> Option<usize> {
    let head = find(read, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&read[..head]).to_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        return chunks(&read[head..]).map(|length| head + length);
    }
    let declared = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    Some(head + declared.map_or(0, |length| length.parse().expect("a length")))
}

fn chunks(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = find(&body[at..], b"\r\n")?;
        let size = std::str::from_utf8(&body[at..at + line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size, and nothing beside it");
        at += line + 2;
        if size == 0 {
            return body[at..].starts_with(b"\r\n").then_some(at + 2);
        }
        at += size + 2;
        if body.len() < at {
            return None;
        }
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
