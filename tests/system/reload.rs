//! A configuration that changes while clients ask: nobody notices but by what it says.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use ftgo::stubs::{Stubs, service::Service};

use crate::{
    client::{ask, connect},
    harness::{Gate, after_listen, stubs, until},
};

/// Routes of these paths to the restaurant service.
fn yaml(stubs: &Stubs, paths: &[&str]) -> String {
    let restaurant = stubs.address(Service::Restaurant);
    let route = |path: &&str| {
        format!("  - path: {path}\n    auth: none\n    forward: {{ to: restaurant, path: /restaurants/1 }}\n")
    };
    let routes: String = paths.iter().map(route).collect();
    after_listen(&format!("upstreams:\n  restaurant: {{ url: \"http://{restaurant}\" }}\nroutes:\n{routes}"))
}

/// Clients that ask without a pause, half of them on a connection that stays.
struct Clients {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<usize>>,
}

impl Clients {
    fn start(gate: &Gate, many: usize) -> Clients {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = gate.address();
        let client = |number: usize| {
            let (stop, asked) = (stop.clone(), asked.clone());
            tokio::spawn(async move {
                let mut failed = 0;
                let mut kept = connect(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let status = if number.is_multiple_of(2) {
                        let request =
                            http::Request::get("/old").header("host", "a").body(axum::body::Body::empty());
                        crate::client::whole(kept.send_request(request.unwrap()).await.unwrap()).await.status
                    } else {
                        ask(address, "GET", "/old").send().await.status
                    };
                    failed += usize::from(status != 200);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                failed
            })
        };
        let tasks = (0..many).map(client).collect();
        Clients { stop, asked, tasks }
    }

    /// Waits until they have asked `more` times more.
    async fn go_on(&self, more: usize) {
        let begun = self.asked.load(Ordering::Relaxed);
        until("clients go on", || self.asked.load(Ordering::Relaxed) >= begun + more).await;
    }

    /// How many requests failed.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = 0;
        for task in self.tasks {
            failed += task.await.unwrap();
        }
        failed
    }
}

async fn counts(gate: &Gate, line: &str) -> bool {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    String::from_utf8_lossy(metrics.bytes()).contains(line)
}

#[tokio::test]
async fn a_route_that_is_added_answers_within_a_second_and_no_request_fails() {
    let stubs = stubs();
    let gate = Gate::of(&yaml(&stubs, &["/old"]));
    let clients = Clients::start(&gate, 8);
    clients.go_on(50).await;
    gate.get("/new").send().await.expect(404);
    gate.rewrite(&yaml(&stubs, &["/old", "/new"]));
    let edited = Instant::now();
    while gate.get("/new").send().await.status != 200 {
        assert!(edited.elapsed() < Duration::from_secs(1), "the route is not there yet");
    }
    clients.go_on(50).await;
    assert_eq!(clients.stop().await, 0);
}

#[tokio::test]
async fn a_route_that_is_removed_is_gone() {
    let stubs = stubs();
    let gate = Gate::of(&yaml(&stubs, &["/old", "/new"]));
    gate.get("/new").send().await.expect(200);
    gate.rewrite(&yaml(&stubs, &["/old"]));
    let edited = Instant::now();
    while gate.get("/new").send().await.status != 404 {
        assert!(edited.elapsed() < Duration::from_secs(5), "the route is still there");
    }
    gate.get("/old").send().await.expect(200);
}

#[tokio::test]
async fn a_broken_edit_changes_nothing() {
    let stubs = stubs();
    let gate = Gate::of(&yaml(&stubs, &["/old"]));
    let clients = Clients::start(&gate, 8);
    let broken = yaml(&stubs, &["/new"]).replace("to: restaurant", "to: restaurnt");
    for (number, text) in [broken.as_str(), "", "no: [yaml"].into_iter().enumerate() {
        gate.rewrite(text);
        let refused = format!("gateway_config_refused_total {}", number + 1);
        let edited = Instant::now();
        while !counts(&gate, &refused).await {
            assert!(edited.elapsed() < Duration::from_secs(5), "it was not looked at: {text}");
        }
        gate.get("/old").send().await.expect(200);
        gate.get("/new").send().await.expect(404);
    }
    clients.go_on(50).await;
    assert_eq!(clients.stop().await, 0);
    assert!(counts(&gate, "gateway_config_reloads_total 0").await);
}

#[tokio::test]
async fn a_file_that_goes_away_is_counted_once_and_taken_up_when_it_is_back() {
    let stubs = stubs();
    let gate = Gate::of(&yaml(&stubs, &["/old"]));
    gate.remove_file();
    let removed = Instant::now();
    while !counts(&gate, "gateway_config_refused_total 1").await {
        assert!(removed.elapsed() < Duration::from_secs(10), "nobody noticed");
        gate.get("/old").send().await.expect(200);
    }
    gate.rewrite(&yaml(&stubs, &["/old", "/new"]));
    let back = Instant::now();
    while gate.get("/new").send().await.status != 200 {
        assert!(back.elapsed() < Duration::from_secs(5), "it is back and nobody noticed");
    }
    assert!(counts(&gate, "gateway_config_refused_total 1\n").await);
    assert!(counts(&gate, "gateway_config_reloads_total 1\n").await);
}
