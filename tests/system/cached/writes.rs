//! Writes end what is kept of what they name, however they end themselves.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::body::Body;
use http::{Method, Response};

use super::{
    Service, cached,
    herds::{all_answered, herd, in_flight},
    metric, ok,
    parts::{composed, status},
};
use crate::harness::{Gate, until, until_answer};

const JSON: (&str, &str) = ("content-type", "application/json");

/// An order that counts its changes, in a composition and in a list, and the write that changes it.
const ROUTES: &str = "  - path: /list\n    auth: none\n    cache: { ttl: 60s, tags: [\"history:{query.consumerId}\"] }\n    \
     forward: { to: it }\n  \
   - path: /{id}/cancel\n    methods: [POST]\n    auth: none\n    timeout: 1s\n    \
     ask: { order: { get: \"it/orders/{id}\" } }\n    \
     invalidates: [\"order:{id}\", \"history:{order.consumerId}\", \"history:{query.other}\"]\n    forward: { to: it }\n";
const PART: &str = "      order: { get: \"it/kept/{id}\", cache: { ttl: 60s, tags: [\"order:{id}\"] } }\n";

struct World {
    service: Service,
    gate: Gate,
    write: Arc<AtomicUsize>,
}

impl World {
    async fn start() -> World {
        let (changes, write) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let told = write.clone();
        let service = Service::start(move |request, _| {
            if request.method() != Method::POST {
                let changes = changes.load(Ordering::SeqCst);
                return ok(&[JSON], format!("{{\"consumerId\":5,\"changes\":{changes}}}"));
            }
            let status = told.load(Ordering::SeqCst);
            changes.fetch_add(usize::from(status != 409), Ordering::SeqCst);
            Response::builder().status(status as u16).body(Body::empty()).unwrap()
        })
        .await;
        let gate = composed(service.address, PART, ROUTES);
        World { service, gate, write }
    }

    /// How often it has changed, says the part, and says the list.
    async fn changes(&self) -> (u64, u64) {
        let (order, list) = (self.gate.get("/7").send(), self.gate.get("/list?consumerId=5").send());
        let (order, list) = (order.await.expect(200).json(), list.await.expect(200).json());
        (order["order"]["changes"].as_u64().unwrap(), list["changes"].as_u64().unwrap())
    }

    /// A write that the service answers with this status; only for 409 it has changed nothing.
    async fn cancel(&self, status: u16) {
        self.write.store(status.into(), Ordering::SeqCst);
        self.gate.ask("POST", "/7/cancel").send().await.expect(status);
    }

    async fn counted(&self, outcome: &str) -> u64 {
        let labels = format!(r#"route="POST /{{id}}/cancel",outcome="{outcome}""#);
        metric(&self.gate, &format!("gateway_cache_invalidations_total{{{labels}}}")).await
    }
}

#[tokio::test]
async fn a_write_ends_what_it_names_and_nothing_else() {
    let world = World::start().await;
    assert_eq!(world.changes().await, (0, 0));
    assert_eq!(world.gate.get("/8").send().await.expect(200).json()["order"]["changes"], 0);
    world.cancel(200).await;
    assert_eq!(world.changes().await, (1, 1));
    assert_eq!(world.changes().await, (1, 1));
    let other = world.gate.get("/8").send().await.expect(200);
    assert_eq!(
        (other.json()["order"]["changes"].as_u64(), status(&other)),
        (Some(0), vec!["order;s=hit".to_owned()])
    );
    // `{query.other}` is not there: it is counted, and the others are purged all the same.
    assert_eq!((world.counted("purged").await, world.counted("unresolved").await), (2, 1));
    let before = world.service.seen();
    world.cancel(409).await;
    world.changes().await;
    assert_eq!(
        world.service.seen(),
        before + 2,
        "a refused write, and what it needs to be named, is all that was asked"
    );
}

#[tokio::test]
async fn a_write_that_may_have_happened_ends_what_it_names() {
    let world = World::start().await;
    assert_eq!(world.changes().await, (0, 0));
    world.cancel(500).await;
    assert_eq!(world.changes().await, (1, 1));
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_ends_what_it_names() {
    // The service has done it, and its answer never comes: too late, or the client left.
    let done = Arc::new(AtomicUsize::new(0));
    let counted = done.clone();
    let service = Service::start(move |request, _| {
        if request.method() == Method::POST {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        ok(&[JSON], format!("{{\"consumerId\":5,\"changes\":{}}}", counted.load(Ordering::SeqCst)))
    })
    .await;
    // Before it stands one that takes requests and gives no answer to writes.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, to) = (listener.local_addr().unwrap(), service.address);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(silent_to_writes(client, to));
        }
    });
    let gate = composed(address, PART, ROUTES);
    let changes =
        async || gate.get("/7").send().await.expect(200).json()["order"]["changes"].as_u64().unwrap();
    assert_eq!(changes().await, 0);
    gate.ask("POST", "/7/cancel").send().await.expect(504);
    assert_eq!(changes().await, 1);
    let leaving = tokio::spawn(gate.ask("POST", "/7/cancel").send());
    until("the write is done", || done.load(Ordering::SeqCst) == 2).await;
    leaving.abort();
    until_answer(|| gate.get("/7"), |answer| answer["order"]["changes"] == 2).await;
}

/// Passes everything on but the answers to POST.
async fn silent_to_writes(mut client: tokio::net::TcpStream, to: std::net::SocketAddr) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut asked, mut answered, mut silent) = ([0; 4096], [0; 4096], false);
    loop {
        tokio::select! {
            read = client.read(&mut asked) => match read {
                Ok(count) if count > 0 => {
                    silent |= asked.starts_with(b"POST");
                    server.write_all(&asked[..count]).await.unwrap();
                }
                _ => return,
            },
            read = server.read(&mut answered) => match read {
                Ok(count) if count > 0 => {
                    if !silent && client.write_all(&answered[..count]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

#[tokio::test]
async fn what_was_asked_for_during_a_write_is_not_kept() {
    let service = Service::holding(|request, number| match *request.method() {
        Method::POST => ok(&[], ""),
        _ => ok(&[JSON], format!("{{\"consumerId\":5,\"number\":{number}}}")),
    })
    .await;
    let gate = composed(service.address, PART, ROUTES);
    let write = tokio::spawn(gate.ask("POST", "/7/cancel").send());
    service.sees(1).await; // what it makes invalid is read first
    service.answer(1);
    service.sees(2).await;
    let order = tokio::spawn(gate.get("/7").send());
    service.sees(3).await;
    let list = tokio::spawn(gate.get("/list?consumerId=5").send());
    service.sees(4).await;
    service.answer(2);
    write.await.unwrap().expect(200);
    service.answer(usize::MAX); // from before the write was over, and nobody knows from which side of it
    assert_eq!(order.await.unwrap().expect(200).json()["order"]["number"], 3);
    assert_eq!(list.await.unwrap().expect(200).json()["number"], 4);
    for _ in 0..2 {
        assert_eq!(gate.get("/7").send().await.expect(200).json()["order"]["number"], 5);
    }
    for _ in 0..2 {
        assert_eq!(gate.get("/list?consumerId=5").send().await.expect(200).json()["number"], 6);
    }
}

#[tokio::test]
async fn a_write_ends_what_is_kept_of_its_url_however_it_is_written() {
    let service =
        Service::start(|_, number| ok(&[("cache-control", "max-age=60")], format!("{number}"))).await;
    let gate = cached(service.address, "{}");
    assert_eq!(gate.get("/orders/9").send().await.expect(200).bytes(), "1");
    gate.ask("POST", "/orders/%39").send().await.expect(200);
    assert_eq!(gate.get("/orders/9").send().await.expect(200).bytes(), "3");
    gate.admin_ask("DELETE", "/cache?url=https://FTGO.example:443/%6frders/9").send().await.expect(200);
    assert_eq!(gate.get("/orders/9").send().await.expect(200).bytes(), "4");
}

#[tokio::test]
async fn purges_of_other_tags_leave_what_is_on_its_way_alone_and_those_of_its_own_only_end_that_one() {
    let service = Service::holding(|request, number| {
        let tag = request.uri().path().trim_start_matches('/').to_owned();
        ok(&[("cache-control", "max-age=60"), ("cache-tag", &tag)], format!("{number}"))
    })
    .await;
    let gate = cached(service.address, "{}");
    let asking = herd(gate.address(), "/a", 2).await;
    in_flight(&gate, 2).await;
    service.sees(1).await;
    gate.admin_ask("DELETE", "/cache?tag=other").send().await.expect(200);
    service.answer(1);
    all_answered(asking, 2, "1").await;
    assert_eq!(gate.get("/a").send().await.expect(200).bytes(), "1", "it is kept");

    let asking = herd(gate.address(), "/b", 3).await;
    in_flight(&gate, 3).await;
    service.sees(2).await;
    gate.admin_ask("DELETE", "/cache?tag=b").send().await.expect(200);
    service.answer(3);
    let mut bodies: Vec<_> = asking.join_all().await.into_iter().map(|(_, body)| body.unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["2", "3", "3"], "one asked anew for all");
    assert_eq!(gate.get("/b").send().await.expect(200).bytes(), "3", "that one is kept");
}
