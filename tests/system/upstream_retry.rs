//! What is sent again, what never is, and that all of it together is little.

use std::time::{Duration, Instant};

use crate::{
    harness::Gate,
    open_load::offer,
    replicas::{Load, Replica, Then, endpoints, failed, replicas, seconds, yaml},
};

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn retries_do_not_become_a_storm() {
    const A_SECOND: u32 = 1_000;
    let lasting = seconds(2);
    let all: [Replica; 2] = replicas(5 * MS).await;
    all.iter().for_each(|replica| replica.does(Then::Answer(503), 5 * MS));
    let upstream = "retry: { attempts: 3 }, circuit_breaker: { min_calls: 10000, failure_rate: 100 }";
    let gate = Gate::start(&yaml(&format!("{}, {upstream}", endpoints(&all))));
    let begun = Instant::now();
    let answers = offer(gate.address(), A_SECOND, lasting).await;
    let secs = begun.elapsed().as_secs_f64();
    let (offered, calls) = (answers.len(), all.iter().map(Replica::seen).sum::<usize>());
    let bound = 1.2 * offered as f64 + 10.0 * secs;
    eprintln!("retry storm: {offered} offered in {secs:.2} s, {calls} calls, at most {bound:.0}");
    assert!(answers.iter().all(|answer| answer.sample.status == 503));
    assert!((calls as f64) <= bound.ceil(), "{calls} > {bound}");
    assert!(calls > offered * 11 / 10, "the budget is used: {calls}");
}

/// In front of a replica that answers, with retries saved for later.
async fn with_retries() -> (Replica, Gate) {
    let replica = Replica::start(Duration::ZERO).await;
    let gate = Gate::start(&yaml(&format!("url: \"http://{}\"", replica.address)));
    assert_eq!(failed(&Load::new(gate.address(), 1).times(20).await), 0);
    (replica, gate)
}

#[tokio::test]
async fn after_a_reset_a_get_is_sent_again_and_a_post_is_not() {
    let (replica, gate) = with_retries().await;
    let before = replica.seen();
    replica.once([Then::Reset]);
    gate.get("/it").send().await.expect(200);
    assert_eq!(replica.seen() - before, 2);
    replica.once([Then::Reset]);
    let answer = gate.ask("POST", "/it").send().await.expect(502);
    assert_eq!(answer.code(), "upstream_failed");
    assert_eq!(replica.seen() - before, 3);
    eprintln!("reset: GET sent twice, POST once");
}

#[tokio::test]
async fn a_clients_body_is_never_sent_twice() {
    let (replica, gate) = with_retries().await;
    for method in ["POST", "PUT"] {
        let before = replica.bodies().len();
        replica.once([Then::Reset]);
        gate.ask(method, "/it").body("once and only once").send().await.expect(502);
        gate.ask(method, "/it").body("again").send().await.expect(200);
        let bodies = &replica.bodies()[before..];
        assert_eq!(bodies, [b"once and only once".to_vec(), b"again".to_vec()], "{method}");
    }
}

#[tokio::test]
async fn what_one_replica_refuses_to_connect_for_another_gets_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let replica = Replica::start(Duration::ZERO).await;
    let upstream = format!(
        "endpoints: [\"http://{nobody}\", \"http://{}\"], retry: {{ budget: {{ percent: 100 }} }}, \
         ejection: {{ consecutive_failures: 0, least_calls: 0 }}",
        replica.address
    );
    let gate = Gate::start(&yaml(&upstream));
    let mut sent = Vec::new();
    for number in 0..60 {
        let body = format!("order {number}");
        gate.ask("POST", "/it").body(body.clone()).send().await.expect(200);
        sent.push(body.into_bytes());
    }
    eprintln!("refused: 60 POSTs with a body, all 200, each seen once");
    assert_eq!(replica.bodies(), sent);
}
