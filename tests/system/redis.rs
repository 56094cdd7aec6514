//! A Redis of a test's own: a child process on a port that was free, which can be killed, stopped and started again.

use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};

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
