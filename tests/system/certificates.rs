//! Certificates of a listener: by name, and replaced while clients are connected.
//!
//! Not here: those of clients (`client_certificates.rs`), those of services (`upstream_tls.rs`).

use std::{fs, net::SocketAddr, sync::Arc};

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Gate, TempFile, until},
    wire::Scripted,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority, and two certificates by it with their keys in files.
struct Ground {
    authority: Authority,
    key: KeyPair,
    cert_file: TempFile,
    key_file: TempFile,
    shop: (TempFile, TempFile),
}

impl Ground {
    fn new() -> Ground {
        gateway::auth::install_crypto();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (key, shop) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = |name: &str, key: &KeyPair| signed(&authority, name, key).pem();
        Ground {
            cert_file: TempFile::new("cert.pem", &pem("localhost", &key)),
            key_file: TempFile::new("key.pem", &key.serialize_pem()),
            shop: (
                TempFile::new("shop.pem", &pem("*.shop.example", &shop)),
                TempFile::new("shop-key.pem", &shop.serialize_pem()),
            ),
            key,
            authority,
        }
    }

    fn gate(&self, service: &Scripted, listener: &str) -> Gate {
        let (cert, key) = (self.cert_file.name(), self.key_file.name());
        let shop = format!("{{ cert: \"{}\", key: \"{}\" }}", self.shop.0.name(), self.shop.1.name());
        Gate::of(&format!(
            "listen:\n  - address: 127.0.0.1:0\n    tls: {{ cert: \"{cert}\", key: \"{key}\", sni: [{shop}] }}\n{listener}\
             admin: {{ address: \"127.0.0.1:0\" }}\naccess_log: off\n{}",
            service.yaml("")
        ))
    }

    /// Another certificate of the same key; a new one each time, by its serial number.
    fn renew(&self) {
        fs::write(self.cert_file.name(), signed(&self.authority, "localhost", &self.key).pem()).unwrap();
    }

    async fn connect(&self, to: SocketAddr, name: &str, before: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(before).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    /// The certificate that a client is shown now.
    async fn shown(&self, gate: &Gate, name: &str) -> CertificateDer<'static> {
        let stream = self.connect(gate.address(), name, b"").await;
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn signed(by: &Authority, name: &str, key: &KeyPair) -> rcgen::Certificate {
    CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(key, by).unwrap()
}

/// One request whose connection stays open.
async fn asked(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET /it HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "closed without an answer");
    }
    String::from_utf8(answer).unwrap()
}

async fn counted(gate: &Gate, name: &str) -> u64 {
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let text = String::from_utf8_lossy(metrics.bytes()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.expect("it is counted").parse().unwrap()
}

async fn until_counted(gate: &Gate, name: &str, at_least: u64) {
    let begun = std::time::Instant::now();
    while counted(gate, name).await < at_least {
        assert!(begun.elapsed().as_secs() < 10, "{name} never came to {at_least}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let (ground, service) = (Ground::new(), Scripted::start(OK).await);
    let gate = ground.gate(&service, "");
    // The client checks the name itself: it would not connect to another one.
    let (own, shop) = (ground.shown(&gate, "localhost").await, ground.shown(&gate, "a.shop.example").await);
    assert_ne!(own, shop);
}

#[tokio::test]
async fn new_certificates_are_taken_up_broken_ones_are_not_and_connections_live_on() {
    let (ground, service) = (Ground::new(), Scripted::start(OK).await);
    let gate = ground.gate(&service, "");
    let first = ground.shown(&gate, "localhost").await;
    let mut kept = ground.connect(gate.address(), "localhost", b"").await;
    assert!(asked(&mut kept).await.starts_with("HTTP/1.1 200 "));

    ground.renew();
    until_counted(&gate, "gateway_config_reloads_total", 1).await;
    let second = ground.shown(&gate, "localhost").await;
    assert_ne!(first, second);
    assert!(asked(&mut kept).await.starts_with("HTTP/1.1 200 "));

    fs::write(ground.cert_file.name(), "no certificate").unwrap();
    until_counted(&gate, "gateway_config_refused_total", 1).await;
    assert_eq!(ground.shown(&gate, "localhost").await, second);

    fs::write(ground.cert_file.name(), signed(&ground.authority, "localhost", &ground.key).pem()).unwrap();
    until_counted(&gate, "gateway_config_reloads_total", 2).await;
    assert_ne!(ground.shown(&gate, "localhost").await, second);
    assert!(asked(&mut kept).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(counted(&gate, "gateway_config_refused_total").await, 1, "it is told once");
}

#[tokio::test]
async fn a_proxy_announces_its_client_before_the_handshake() {
    let (ground, service) = (Ground::new(), Scripted::start(OK).await);
    let listener = "    trusted_proxies: [127.0.0.1]\n    proxy_protocol: true\n";
    let gate = ground.gate(&service, listener);
    let line = b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n";
    let mut stream = ground.connect(gate.address(), "localhost", line).await;
    assert!(asked(&mut stream).await.starts_with("HTTP/1.1 200 "));
    let head = service.heads().pop().unwrap();
    assert!(head.contains("\r\nx-forwarded-for: 2001:db8::7\r\n"), "{head}");
    assert!(head.contains("\r\nforwarded: for=\"[2001:db8::7]\";proto=https;host=\"a\"\r\n"), "{head}");

    let mut plain = TcpStream::connect(gate.address()).await.unwrap();
    plain.write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03a TLS handshake").await.unwrap();
    _ = plain.read(&mut [0; 1]).await; // the end, or a reset
    let metrics = gate.admin("/metrics").send().await.expect(200);
    let counted = "gateway_connections_refused_total{reason=\"proxy_protocol\"} 1";
    assert!(String::from_utf8_lossy(metrics.bytes()).contains(counted));
    until("the service was asked once", || service.heads().len() == 1).await;
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_reason_and_it_is_told_when_certificates_expire() {
    let (ground, service) = (Ground::new(), Scripted::start(OK).await);
    let gate = ground.gate(&service, "");
    for name in ["localhost", "*.shop.example"] {
        let series =
            format!("gateway_certificate_expires_seconds{{listener=\"127.0.0.1:0\",name=\"{name}\"}}");
        // What rcgen makes unless told otherwise is good until the year 4096.
        assert_eq!(counted(&gate, &series).await, 67_090_118_400);
    }
    let mut plain = TcpStream::connect(gate.address()).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until_counted(&gate, "gateway_tls_handshakes_failed_total{reason=\"no_tls\"}", 1).await;

    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let stream = TcpStream::connect(gate.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap_err();
    until_counted(&gate, "gateway_tls_handshakes_failed_total{reason=\"alert\"}", 1).await;
}
