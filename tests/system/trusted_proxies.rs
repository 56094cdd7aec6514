//! Clients behind proxies: what is counted, logged and told is theirs, not the proxy's.
//!
//! Not here: what a proxy may say and what it may not (`security/proxies.rs`).

use crate::{
    client::{connect, connect_h2},
    harness::{Gate, after_listen},
    wire::Scripted,
};

/// A gateway that trusts its own address, with a limit of two by address.
async fn gate(server: &str) -> (Scripted, Gate) {
    let service = Scripted::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let upstream = service.address;
    let yaml = after_listen(&format!(
        "server: {{ workers: 1{server} }}\nupstreams: {{ it: {{ url: \"http://{upstream}\" }} }}\n\
         limits: {{ few: {{ rate: 2/h, by: address }} }}\nroutes:\n  \
         - {{ path: /it, auth: none, limits: [few], forward: {{ to: it }} }}\n"
    ));
    (
        service,
        Gate::of(&yaml.replace("127.0.0.1:0\" }]", "127.0.0.1:0\", trusted_proxies: [\"127.0.0.1\"] }]")),
    )
}

#[tokio::test]
async fn clients_behind_one_proxy_are_counted_apart_and_cannot_leave_their_count() {
    let (_service, gate) = gate("").await;
    let ask = async |listed: &str| gate.get("/it").header("x-forwarded-for", listed).send().await.status;
    assert_eq!([ask("198.51.100.7").await, ask("6.6.6.6, 198.51.100.7").await], [200, 200]);
    assert_eq!([ask("6.6.6.7, 198.51.100.7").await, ask("198.51.100.7:99").await], [429, 429]);
    assert_eq!(ask("198.51.100.8").await, 200);
    // A /64 of IPv6 is one client there as well.
    assert_eq!(
        [ask("2001:db8::1").await, ask("2001:db8::2").await, ask("2001:db8::3").await],
        [200, 200, 429]
    );
}

#[tokio::test]
async fn a_proxy_may_have_more_connections_than_an_address() {
    let (_service, gate) = gate(", max_connections_per_address: 1").await;
    let mut kept = Vec::new();
    for client in 1..=3 {
        let mut connection = connect(gate.address()).await;
        let request = http::Request::get("/it")
            .header("host", "a")
            .header("x-forwarded-for", format!("198.51.100.{client}"))
            .body(axum::body::Body::empty());
        assert_eq!(connection.send_request(request.unwrap()).await.unwrap().status(), 200);
        kept.push(connection);
    }
}

#[tokio::test]
async fn requests_of_several_clients_on_one_connection_are_counted_apart() {
    let (_service, gate) = gate("").await;
    let mut connection = connect_h2(gate.address()).await;
    let mut statuses = Vec::new();
    for client in ["198.51.100.7", "198.51.100.8", "198.51.100.7", "198.51.100.7", "198.51.100.8"] {
        let request = http::Request::get("http://a/it")
            .header("forwarded", format!("for={client};proto=https"))
            .body(axum::body::Body::empty());
        statuses.push(connection.send_request(request.unwrap()).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 200]);
}
