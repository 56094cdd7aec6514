//! The same answers over every way in: HTTP/1.1 and HTTP/2, in plain text and over TLS.

use std::{net::SocketAddr, sync::Arc};

use axum::body::Body;
use http::{Request, Version};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::{connect_h2, over_h1, over_h2, whole},
    harness::{Ftgo, Gate, JOHN, TempFile, stubs, until, web_yaml},
    wire::Scripted,
};

/// A certificate for `ftgo.example`, and who trusts it.
struct Certified {
    cert: TempFile,
    key: TempFile,
    roots: RootCertStore,
}

fn certified() -> Certified {
    gateway::auth::install_crypto();
    let signed = rcgen::generate_simple_self_signed(vec!["ftgo.example".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    let cert = TempFile::new("cert.pem", &signed.cert.pem());
    let key = TempFile::new("key.pem", &signed.signing_key.serialize_pem());
    Certified { cert, key, roots }
}

impl Certified {
    /// A listener with TLS, in the place of `address: 127.0.0.1:0`.
    fn listener(&self) -> String {
        format!(
            "address: \"127.0.0.1:0\"\n    tls: {{ cert: \"{}\", key: \"{}\" }}",
            self.cert.name(),
            self.key.name()
        )
    }

    /// Connects and offers these protocols.
    async fn connect(&self, to: SocketAddr, offered: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let builder = ClientConfig::builder().with_root_certificates(self.roots.clone());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(to).await?;
        let name = ServerName::try_from("ftgo.example").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn chosen(stream: &TlsStream<TcpStream>) -> Option<String> {
    let name = stream.get_ref().1.alpn_protocol()?;
    Some(String::from_utf8(name.to_vec()).unwrap())
}

fn order(uri: &str, token: &str) -> Request<Body> {
    let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn over_tls_the_client_chooses_between_http2_and_http1() {
    let (certified, stubs) = (certified(), stubs());
    let yaml = web_yaml(&stubs).replacen("address: 127.0.0.1:0", &certified.listener(), 1);
    let gate = Gate::of(&yaml);
    until("the gateway has keys", || gate.ready()).await;
    let token = stubs.token(JOHN, &["consumer"], "orders:read");

    let stream = certified.connect(gate.address(), &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(chosen(&stream).as_deref(), Some("h2"));
    let answer =
        over_h2(stream).await.send_request(order("https://ftgo.example/orders/99", &token)).await.unwrap();
    assert_eq!(answer.version(), Version::HTTP_2);
    let over_http2 = whole(answer).await.expect(200);

    for offered in [&["http/1.1"][..], &[]] {
        let stream = certified.connect(gate.address(), offered).await.unwrap();
        assert_eq!(chosen(&stream).as_deref(), offered.first().copied());
        let mut request = order("/orders/99", &token);
        request.headers_mut().insert("host", "ftgo.example".parse().unwrap());
        let answer = over_h1(stream).await.send_request(request).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_11);
        assert_eq!(whole(answer).await.expect(200).bytes(), over_http2.bytes());
    }
}

#[tokio::test]
async fn a_client_that_offers_only_what_is_not_spoken_here_gets_no_connection() {
    let certified = certified();
    let gate = secured(&certified, "routes: []\n");
    assert!(certified.connect(gate.address(), &["spdy/3"]).await.is_err());
    certified.connect(gate.address(), &["h2"]).await.unwrap();
}

fn secured(certified: &Certified, rest: &str) -> Gate {
    Gate::of(&format!(
        "listen:\n  - {}\nadmin: {{ address: \"127.0.0.1:0\" }}\naccess_log: off\n{rest}",
        certified.listener()
    ))
}

#[tokio::test]
async fn a_service_is_told_that_the_client_came_by_tls() {
    let certified = certified();
    let service = Scripted::start("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let gate = secured(&certified, &service.yaml(""));
    let stream = certified.connect(gate.address(), &["h2"]).await.unwrap();
    let request = order("https://ftgo.example/it", "none");
    whole(over_h2(stream).await.send_request(request).await.unwrap()).await.expect(200);
    let asked = &service.heads()[0];
    assert!(asked.contains("forwarded: for=127.0.0.1;proto=https;host=\"ftgo.example\"\r\n"), "{asked}");
    assert!(asked.contains("x-forwarded-proto: https\r\n"), "{asked}");
}

#[tokio::test]
async fn http2_with_prior_knowledge_goes_through_the_whole_gateway() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let over_http1 = ftgo.get("/orders/99").token(&token).send().await.expect(200);
    let over_http2 = ftgo.get("/orders/99").token(&token).send_h2().await.expect(200);
    assert_eq!(over_http1.bytes(), over_http2.bytes());
    assert!(over_http2.header("composition-status").starts_with("orderInfo;s=ok;t="));
}

#[tokio::test]
async fn many_requests_share_one_http2_connection() {
    let ftgo = Ftgo::start().await;
    let token = ftgo.consumer(JOHN);
    let sender = connect_h2(ftgo.gate.address()).await;
    let ask = || {
        let mut sender = sender.clone();
        let request = order("http://ftgo.example/orders/99", &token);
        async move { whole(sender.send_request(request).await.unwrap()).await }
    };
    let answers = futures_util::future::join_all((0..80).map(|_| ask())).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    let metrics = ftgo.gate.admin("/metrics").send().await.expect(200);
    assert!(String::from_utf8_lossy(metrics.bytes()).contains("gateway_connections_total 1\n"));
}
