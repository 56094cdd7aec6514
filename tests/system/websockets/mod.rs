//! WebSockets through the gateway: what is opened, what is refused, what goes through, and how each end comes about.
//!
//! Not here: where frames end, byte by byte (`gateway/src/proxy/websocket/frames.rs`).

mod chat;

use std::{
    fs,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, future::join_all};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::tungstenite::{
    Message,
    handshake::derive_accept_key,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use self::chat::{
    Chat, PATIENCE, close, closed, echoes, gate, next, open, open_with, refused, until_ended, until_metric,
    yaml,
};
use crate::{
    client::ask,
    harness::{Gate, JOHN, MARY, stubs, until},
    origins::{Authority, acceptor},
    wire,
};

#[tokio::test]
async fn messages_of_any_kind_and_size_go_both_ways() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let (mut socket, answer) =
        open_with(gate.address(), "/ws/echo?room=1", &[("sec-websocket-protocol", "mqtt, chat")])
            .await
            .unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
    echoes(&mut socket, Message::text("hello")).await;
    echoes(&mut socket, Message::binary(vec![])).await;
    echoes(&mut socket, Message::binary((0..5_000_000).map(|n| n as u8).collect::<Vec<_>>())).await;
    for (opcode, last) in [(Data::Text, false), (Data::Continue, false), (Data::Continue, true)] {
        let frame = Frame::message("ab", OpCode::Data(opcode), last);
        socket.send(Message::Frame(frame)).await.unwrap();
    }
    assert_eq!(next(&mut socket).await.unwrap().unwrap(), Message::text("ababab"));
    socket.send(Message::Ping("are you there?".into())).await.unwrap();
    assert_eq!(next(&mut socket).await.unwrap().unwrap(), Message::Pong("are you there?".into()));
    socket.close(Some(close(1000))).await.unwrap();
    assert_eq!(closed(&mut socket).await, Some(1000));
    until_ended(&gate, "client", 1).await;
    assert_eq!(*chat.0.closes.lock(), [Some(1000)]);
    let asked = chat.0.requests.lock()[0].clone();
    assert_eq!(asked.uri(), "/ws/echo?room=1");
    assert_eq!(asked.headers()["sec-websocket-protocol"], "mqtt, chat");
    assert!(asked.headers().contains_key("x-request-id") && asked.headers().contains_key("via"));
}

#[tokio::test]
async fn what_is_no_opening_handshake_is_told_what_would_be() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let plain = gate.get("/ws/echo").send().await.expect(426);
    assert_eq!((plain.code().as_str(), plain.header("upgrade")), ("upgrade_required", "websocket"));
    let (old, _) = refused(gate.address(), "/ws/echo", &[("sec-websocket-version", "8")]).await;
    let (short, _) = refused(gate.address(), "/ws/echo", &[("sec-websocket-key", "c2hvcnQ=")]).await;
    assert_eq!((old, short), (426, 400));
    gate.get("/ws/echo").send_h2().await.expect(426);
    assert_eq!(chat.asked(), 0);
    let head = wire::exchange(
        gate.address(),
        "GET /ws/echo HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
         sec-websocket-version: 8\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(wire::field(&head.to_ascii_lowercase(), "sec-websocket-version"), "13", "{head}");
}

#[tokio::test]
async fn a_route_that_does_not_say_so_opens_nothing() {
    let service = wire::Scripted::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let gate = gate(service.address, "");
    let (status, body) = refused(gate.address(), "/plain", &[]).await;
    assert_eq!((status, body.as_str()), (200, "hi"));
    let head = service.heads().join("");
    assert!(!head.contains("upgrade: ") && !head.contains("connection: "), "{head}");
}

#[tokio::test]
async fn what_a_service_refuses_is_passed_on_and_what_it_makes_up_is_not() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let refuses = refused(gate.address(), "/ws/refuses", &[]).await;
    assert_eq!((refuses.0, refuses.1.as_str()), (401, "not for you"));
    assert_eq!(refused(gate.address(), "/ws/fails", &[]).await.0, 500);
    for path in ["/ws/answers", "/ws/lies"] {
        let (status, body) = refused(gate.address(), path, &[]).await;
        assert!(status == 502 && body.contains("upstream_failed"), "{path}: {status} {body}");
    }
    assert_eq!(chat.asked(), 4);
    let nobody = gate_of_nobody();
    assert_eq!(refused(nobody.address(), "/ws/echo", &[]).await.0, 502);
}

fn gate_of_nobody() -> Gate {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    gate(unused.local_addr().unwrap(), "")
}

#[tokio::test]
async fn pages_of_other_sites_open_nothing_and_the_service_never_knows() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "");
    for fields in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "https://app.ftgo.example.evil.example")],
        &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")],
    ] {
        let (status, body) = refused(gate.address(), "/ws/echo", fields).await;
        assert!(status == 403 && body.contains("cross_site"), "{fields:?}: {status} {body}");
    }
    assert_eq!(chat.asked(), 0);
    for origin in ["https://app.ftgo.example", "https://ftgo.example"] {
        let (mut socket, _) = open_with(gate.address(), "/ws/echo", &[("origin", origin)]).await.unwrap();
        echoes(&mut socket, Message::text(origin)).await;
    }
}

#[tokio::test]
async fn a_service_that_dies_and_one_that_closes_end_it() {
    let (_chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let mut socket = open(&gate, "/ws/dies").await;
    socket.send(Message::text("die")).await.unwrap();
    assert_eq!(closed(&mut socket).await, None);
    drop(socket);
    until_ended(&gate, "service_lost", 1).await;
    let mut socket = open(&gate, "/ws/closes").await;
    socket.send(Message::text("close")).await.unwrap();
    assert_eq!(closed(&mut socket).await, Some(4000));
    while next(&mut socket).await.is_some_and(|message| message.is_ok()) {}
    until_ended(&gate, "service", 1).await;
}

#[tokio::test]
async fn a_client_that_vanishes_ends_it_for_its_service() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let mut socket = open(&gate, "/ws/echo").await;
    echoes(&mut socket, Message::text("here")).await;
    drop(socket);
    until("the service knows", || chat.open() == 0).await;
    until_ended(&gate, "client_lost", 1).await;
}

#[tokio::test]
async fn a_client_that_only_stops_sending_gets_what_is_still_to_come() {
    let service = wire::service(async |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let accept = derive_accept_key(wire::field(&head, "sec-websocket-key").as_bytes());
        // The first frame comes with the head.
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        stream.write_all(&[head.as_bytes(), b"\x81\x02hi"].concat()).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        stream.write_all(b"\x81\x03bye").await.unwrap();
    })
    .await;
    let gate = gate(service, "");
    let mut stream = TcpStream::connect(gate.address()).await.unwrap();
    let handshake = "GET /ws/raw HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    while !all.ends_with(b"hi") {
        all.push(stream.read_u8().await.unwrap());
    }
    stream.shutdown().await.unwrap();
    timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap().unwrap();
    assert!(all.ends_with(b"\r\n\r\n\x81\x02hi\x81\x03bye"), "{}", String::from_utf8_lossy(&all));
}

#[tokio::test]
async fn silence_ends_it_and_words_do_not() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "idle_timeout: 1s");
    let (mut silent, mut talks) = (open(&gate, "/ws/echo").await, open(&gate, "/ws/echo").await);
    let begun = Instant::now();
    let talking = async {
        while begun.elapsed() < Duration::from_millis(2_500) {
            echoes(&mut talks, Message::text("word")).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let silence = async {
        assert_eq!(closed(&mut silent).await, Some(1001));
        let after = begun.elapsed();
        assert!(after >= Duration::from_millis(900) && after < Duration::from_secs(2), "{after:?}");
    };
    tokio::join!(talking, silence);
    assert_eq!(*chat.0.closes.lock(), [Some(1001)]);
    talks.close(None).await.unwrap();
    drop((silent, talks));
    until_ended(&gate, "idle", 1).await;
}

#[tokio::test]
async fn it_lasts_no_longer_than_it_may_whatever_is_said() {
    let (chat, address) = Chat::start().await;
    let gate = gate(address, "max_age: 1s");
    let mut socket = open(&gate, "/ws/echo").await;
    let begun = Instant::now();
    let code = loop {
        socket.send(Message::text("word")).await.ok();
        match next(&mut socket).await {
            Some(Ok(Message::Text(_))) => tokio::time::sleep(Duration::from_millis(10)).await,
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(1001));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    until("the service is told", || *chat.0.closes.lock() == [Some(1001)]).await;
    drop(socket);
    until_ended(&gate, "max_age", 1).await;
}

#[tokio::test]
async fn there_are_no_more_than_may_be() {
    let (chat, address) = Chat::start().await;
    let one_client = gate(address, "max_per_client: 2");
    let all = gate(address, "max_clients: 2");
    for (gate, status, code) in [(one_client, 429, "rate_limited"), (all, 503, "overloaded")] {
        let sockets = [open(&gate, "/ws/echo").await, open(&gate, "/ws/echo").await];
        let before = chat.asked();
        let (refused, body) = refused(gate.address(), "/ws/echo", &[]).await;
        assert!(refused == status && body.contains(code), "{refused} {body}");
        assert_eq!(chat.asked(), before);
        drop(sockets);
        until_ended(&gate, "client_lost", 2).await;
        echoes(&mut open(&gate, "/ws/echo").await, Message::text("again")).await;
    }
}

#[tokio::test]
async fn a_drain_says_so_where_a_frame_may_begin() {
    let (chat, address) = Chat::start().await;
    let mut gate = gate(address, "");
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = open(&gate, "/ws/echo").await;
        // So much that a frame is under way when the drain begins; whoever reads it gets it whole.
        socket.send(Message::binary(vec![7; 1 << 20])).await.unwrap();
        sockets.push(socket);
    }
    let begun = Instant::now();
    let reading = sockets.iter_mut().map(async |socket| {
        let mut codes = Vec::new();
        while let Some(message) = next(socket).await {
            match message {
                Ok(Message::Close(frame)) => codes.push(frame.map(|frame| u16::from(frame.code))),
                Ok(message) => assert_eq!(message.into_data().len(), 1 << 20),
                Err(error) => panic!("a frame in half, or no close frame: {error}"),
            }
        }
        codes
    });
    let (codes, ()) = tokio::join!(join_all(reading), gate.drain());
    assert!(codes.iter().all(|codes| *codes == [Some(1001)]), "{codes:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    until("the service knows", || chat.open() == 0).await;
}

#[tokio::test]
async fn a_reload_that_changes_who_may_ends_those_that_are_open_and_another_does_not() {
    let (_chat, address) = Chat::start().await;
    let gate = gate(address, "");
    let mut socket = open(&gate, "/ws/echo").await;
    let text =
        |bounds: &str, more: &str| crate::harness::after_listen(&format!("{}{more}", yaml(address, bounds)));
    gate.rewrite(&text("", "  - { path: /more, auth: none, forward: { to: chat } }\n"));
    until_found(&gate, "/more").await;
    echoes(&mut socket, Message::text("still here")).await;
    gate.rewrite(&text("max_clients: 5", ""));
    assert_eq!(closed(&mut socket).await, Some(1001));
}

async fn until_found(gate: &Gate, path: &str) {
    let begun = Instant::now();
    while gate.get(path).begin().await.status() == 404 {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn who_has_no_token_opens_nothing_and_whose_token_ends_is_told() {
    let (chat, address) = Chat::start().await;
    let stubs = stubs();
    let identity = stubs.identity();
    let gate = Gate::start(&format!(
        "providers:\n  ftgo:\n    jwt: {{ issuer: \"http://{identity}\", audience: ftgo, jwks: \"http://{identity}/jwks\" }}\n\
         upstreams:\n  chat: {{ url: \"http://{address}\" }}\nroutes:\n  - path: /ws/{{kind}}\n    auth: {{ provider: ftgo, \
         allow: \"claims.sub == '{JOHN}'\" }}\n    forward: {{ to: chat, websocket: {{ max_per_client: 1 }} }}\n"
    ));
    until("the gateway has keys", || gate.ready()).await;
    let grant = json!({"sub": JOHN, "roles": ["consumer"], "scope": "orders:read", "expiresIn": "3s"});
    let given = ask(stubs.control(), "POST", "/tokens").json(&grant).send().await.expect(200).json();
    let short = given["access_token"].as_str().or(given["token"].as_str()).unwrap().to_owned();
    let bearer = |token: &str| format!("Bearer {token}");
    let marys = bearer(&stubs.token(MARY, &["consumer"], "orders:read"));
    assert_eq!(refused(gate.address(), "/ws/echo", &[]).await.0, 401);
    assert_eq!(refused(gate.address(), "/ws/echo", &[("authorization", &marys)]).await.0, 403);
    assert_eq!(chat.asked(), 0);
    let johns = bearer(&short);
    let (mut socket, _) = open_with(gate.address(), "/ws/echo", &[("authorization", &johns)]).await.unwrap();
    echoes(&mut socket, Message::text("me")).await;
    let asked = chat.0.requests.lock()[0].clone();
    assert_eq!(asked.headers()["x-user-id"], JOHN);
    assert!(!asked.headers().contains_key("authorization"));
    assert_eq!(refused(gate.address(), "/ws/echo", &[("authorization", &johns)]).await.0, 429);
    assert_eq!(closed(&mut socket).await, Some(1008));
    drop(socket);
    until_ended(&gate, "expired", 1).await;
}

#[tokio::test]
async fn two_hundred_are_open_while_requests_go_on_and_everything_is_given_back() {
    let (chat, address) = Chat::start().await;
    let stubs = stubs();
    let consumer = stubs.address(ftgo::stubs::service::Service::Consumer);
    let gate = Gate::start(&format!(
        "server: {{ max_in_flight: 20 }}\nupstreams:\n  chat: {{ url: \"http://{address}\", in_flight: {{ limit: 20 }} }}\n  \
         consumer: {{ url: \"http://{consumer}\" }}\nroutes:\n  - path: /ws/{{kind}}\n    auth: none\n    \
         forward: {{ to: chat, websocket: {{ max_per_client: 500 }} }}\n  - path: /consumers/{{id}}\n    auth: none\n    \
         forward: {{ to: consumer }}\n"
    ));
    let path = format!("/consumers/{JOHN}");
    gate.get(&path).send().await.expect(200);
    let before = descriptors();
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.extend(join_all((0..10).map(|_| open(&gate, "/ws/echo"))).await);
    }
    let route = "route=\"GET /ws/{kind}\"";
    until_metric(&gate, &format!("gateway_websockets{{{route}}} 200")).await;
    let talking = sockets.iter_mut().map(async |socket| {
        for _ in 0..5 {
            echoes(socket, Message::binary(vec![1; 10_000])).await;
        }
    });
    let asking = async {
        for _ in 0..100 {
            gate.get(&path).send().await.expect(200);
        }
    };
    tokio::join!(join_all(talking), asking);
    until_metric(&gate, &format!("gateway_websocket_bytes_total{{{route},direction=\"sent\"}} 10004000"))
        .await;
    drop(sockets);
    until("the service knows", || chat.open() == 0).await;
    until_ended(&gate, "client_lost", 200).await;
    until("descriptors are given back", || descriptors() <= before + 2).await;
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test]
async fn a_service_is_asked_over_tls_by_http_1_though_it_would_rather_speak_http_2() {
    let (chat, authority) = (Chat::default(), Authority::new());
    let tls = acceptor(&authority.certify("chat.internal"), &["h2", "http/1.1"], None);
    let (listener, serving) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), chat.clone());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serving.clone().serve(tls.accept(stream).await.unwrap()).await;
        }
    });
    let gate = Gate::start(&format!(
        "upstreams:\n  chat: {{ url: \"https://{address}\", tls: {{ ca: {}, server_name: chat.internal }} }}\nroutes:\n  \
         - path: /ws/{{kind}}\n    auth: none\n    forward: {{ to: chat, websocket: {{}} }}\n",
        authority.file.name()
    ));
    let mut socket = open(&gate, "/ws/echo").await;
    echoes(&mut socket, Message::binary(vec![3; 300_000])).await;
    drop(socket);
    until_ended(&gate, "client_lost", 1).await;
}
