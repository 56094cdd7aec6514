//! A Redis of a test's own: a child process on a port that was free, which can be killed, stopped and started again.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use crate::harness::Gate;

/// A Redis that goes with the test.
pub(crate) struct Redis {
    port: u16,
    child: Option<Child>,
}

impl Redis {
    pub(crate) async fn start() -> Redis {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Redis { port, child: None };
        redis.start_again().await;
        redis
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Starts it on its port, with nothing remembered.
    pub(crate) async fn start_again(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed: see tests/run"));
        let address = self.address();
        while TcpStream::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Runs a command, and says what is answered without the first byte: a number, a line, or a whole text.
    pub(crate) async fn run(&self, command: &[&str]) -> String {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        let mut sent = format!("*{}\r\n", command.len());
        for word in command {
            sent.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(sent.as_bytes()).await.unwrap();
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let read = stream.read(&mut chunk).await.unwrap();
            assert!(read > 0, "Redis closed the connection");
            answer.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&answer).into_owned();
            let Some((first, rest)) = text.split_once("\r\n") else { continue };
            let (kind, line) = first.split_at(1);
            match kind {
                "$" if line == "-1" => return String::new(),
                "$" if rest.len() < line.parse::<usize>().unwrap() + 2 => {}
                "$" => return rest.trim_end().to_owned(),
                "-" => panic!("{line}"),
                _ => return line.to_owned(),
            }
        }
    }

    /// How often this command was run.
    pub(crate) async fn calls(&self, command: &str) -> u64 {
        let told = self.run(&["INFO", "commandstats"]).await;
        let line = told.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Lets it hang: it keeps its connections and says nothing.
    pub(crate) fn hang(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Waits until every worker of a gateway is connected to it, or none is waited for.
pub(crate) async fn until_up(gate: &Gate, up: bool) {
    let line = format!("gateway_redis_up {}\n", u8::from(up));
    loop {
        let metrics = gate.admin("/metrics").send().await.expect(200);
        if String::from_utf8_lossy(metrics.bytes()).contains(&line) {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
}
