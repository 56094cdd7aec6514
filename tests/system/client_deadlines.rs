//! How long a client will wait: it can only shorten a route's time, services are told what is left, and what is no time is
//! refused before anybody is asked.

use std::time::{Duration, Instant};

use crate::{
    harness::{Gate, after_listen},
    replicas::{Replica, Then},
    wire::{Scripted, field},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

fn gate(deadline: &str, service: &Scripted) -> Gate {
    Gate::start(&format!("{deadline}{}", service.yaml("    timeout: 2s\n")))
}

/// In front of a replica that hangs, on a route of this timeout.
async fn in_front_of_a_hang(timeout: &str) -> (Replica, Gate) {
    let replica = Replica::start(Duration::ZERO).await;
    replica.does(Then::Hang, Duration::ZERO);
    let gate = Gate::start(&format!(
        "deadline: {{ read: grpc-timeout }}\nupstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
         - {{ path: /it, auth: none, timeout: {timeout}, forward: {{ to: it }} }}\n",
        replica.address
    ));
    (replica, gate)
}

#[tokio::test]
async fn a_client_that_waits_for_less_is_told_sooner() {
    let (_replica, gate) = in_front_of_a_hang("10s").await;
    let begun = Instant::now();
    let answer = gate.get("/it").header("grpc-timeout", "100m").send().await.expect(504);
    let took = begun.elapsed();
    assert_eq!(answer.code(), "upstream_timeout");
    assert!((Duration::from_millis(100)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

#[tokio::test]
async fn a_client_that_waits_for_longer_is_told_when_the_routes_time_is_over() {
    let (_replica, gate) = in_front_of_a_hang("200ms").await;
    let begun = Instant::now();
    gate.get("/it").header("grpc-timeout", "1H").send().await.expect(504);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_time_holds_to_the_last_byte_of_the_answer() {
    let (replica, gate) = in_front_of_a_hang("10s").await;
    replica.does(Then::Answer(200), Duration::from_millis(150));
    gate.get("/it").header("grpc-timeout", "50m").send().await.expect(504);
    gate.get("/it").header("grpc-timeout", "9S").send().await.expect(200);
}

#[tokio::test]
async fn what_a_client_says_is_nothing_unless_it_is_configured() {
    let service = Scripted::start(OK).await;
    let gate = gate("", &service);
    gate.get("/it").header("x-request-timeout-ms", "0").header("grpc-timeout", "0n").send().await.expect(200);
    let head = service.heads().remove(0);
    let told: u64 = field(&head, "x-request-timeout-ms").parse().unwrap();
    assert!((1_000..=2_000).contains(&told), "{told}");
}

#[tokio::test]
async fn what_is_no_time_is_a_400_and_no_time_at_all_a_504_and_no_service_hears_of_either() {
    let service = Scripted::start(OK).await;
    let gate = gate("deadline: { read: X-Wait }\n", &service);
    for wrong in ["soon", "-5", "1.5", "", "5ms"] {
        let answer = gate.get("/it").header("x-wait", wrong).send().await.expect(400);
        assert_eq!(answer.code(), "bad_request");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("`x-wait`") && detail.contains("milliseconds"), "{detail}");
    }
    gate.get("/it").header("x-wait", "5").header("x-wait", "500").send().await.expect(400);
    let answer = gate.get("/it").header("x-wait", "0").send().await.expect(504);
    assert_eq!(answer.code(), "upstream_timeout");
    assert!(service.heads().is_empty(), "{:?}", service.heads());
}

#[tokio::test]
async fn services_are_told_what_is_left_of_the_clients_time_in_the_configured_field_only() {
    let service = Scripted::start(OK).await;
    let gate = gate("deadline: { read: x-wait, send: grpc-timeout }\n", &service);
    let ask = || gate.get("/it").header("x-wait", "900").header("x_wait", "7").header("grpc-timeout", "8S");
    ask().header("x-request-timeout-ms", "9").send().await.expect(200);
    let head = service.heads().remove(0);
    let told = field(&head, "grpc-timeout").strip_suffix('m').expect("milliseconds");
    assert!((1..=900).contains(&told.parse::<u64>().unwrap()), "{head}");
    let fields: Vec<_> =
        head.lines().filter(|line| line.contains("wait") || line.contains("timeout")).collect();
    assert_eq!(fields.len(), 1, "{head}");
}

#[tokio::test]
async fn one_field_may_be_read_and_sent() {
    let service = Scripted::start(OK).await;
    let gate = gate("deadline: { read: x-request-timeout-ms }\n", &service);
    gate.get("/it").header("X-Request-Timeout-Ms", "700").send().await.expect(200);
    let head = service.heads().remove(0);
    let told: u64 = field(&head, "x-request-timeout-ms").parse().unwrap();
    assert!((1..=700).contains(&told), "{told}");
    assert_eq!(head.matches("x-request-timeout-ms").count(), 1, "{head}");
}

#[tokio::test]
async fn a_composition_answers_without_its_slow_part_within_the_clients_time() {
    let (quick, slow) = (Scripted::start(OK).await, Replica::start(Duration::ZERO).await);
    slow.does(Then::Hang, Duration::ZERO);
    let gate = Gate::start(&format!(
        "deadline: {{ read: x-wait }}\nupstreams:\n  quick: {{ url: \"http://{}\" }}\n  slow: {{ url: \"http://{}\" }}\n\
         routes:\n  - path: /both\n    auth: none\n    timeout: 10s\n    compose:\n      a: {{ get: quick/a }}\n      \
         b: {{ get: slow/b, optional: true }}\n",
        quick.address, slow.address
    ));
    let answer = gate.get("/both").header("x-wait", "400").send().await.expect(200);
    assert_eq!(answer.bytes(), r#"{"a":{}}"#);
    assert!(answer.header("composition-status").contains("b;s=missing;reason=timeout;t="), "{answer:?}");
}

#[tokio::test]
async fn clients_in_a_hurry_spoil_nothing_for_the_others() {
    let replica = Replica::start(Duration::from_millis(100)).await;
    let gate = Gate::start(&format!(
        "deadline: {{ read: x-wait }}\nupstreams:\n  it: {{ url: \"http://{}\", circuit_breaker: {{ min_calls: 5 }} }}\n\
         routes:\n  - {{ path: /it, auth: none, timeout: 5s, forward: {{ to: it }} }}\n  \
         - {{ path: /short, auth: none, timeout: 20ms, forward: {{ to: it }} }}\n",
        replica.address
    ));
    for _ in 0..20 {
        gate.get("/it").header("x-wait", "20").send().await.expect(504);
    }
    gate.get("/it").send().await.expect(200);
    for _ in 0..20 {
        gate.get("/short").send().await;
    }
    gate.get("/it").send().await.expect(503); // what a route gives a service is another matter
}

#[tokio::test]
async fn another_field_is_read_after_a_reload() {
    let service = Scripted::start(OK).await;
    let gate = gate("deadline: { read: x-wait }\n", &service);
    gate.get("/it").header("x-other", "0").send().await.expect(200);
    gate.rewrite(&after_listen(&format!(
        "deadline: {{ read: x-other }}\n{}",
        service.yaml("    timeout: 2s\n")
    )));
    let reloaded = async { while gate.get("/it").header("x-other", "0").send().await.status != 504 {} };
    tokio::time::timeout(Duration::from_secs(10), reloaded).await.expect("it is taken up");
    gate.get("/it").header("x-wait", "0").send().await.expect(200);
}
