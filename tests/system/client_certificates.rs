//! Callers by client certificate, over real handshakes.

use std::sync::Arc;

use ftgo::stubs::service::Service;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair, SanType};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::harness::{Gate, TempFile, stubs};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of these names, and its key.
fn signed(by: &Authority, dns: &[&str], uri: Option<&str>) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = dns.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate, key)
}

/// What a client with this certificate is answered; nothing when the handshake fails.
async fn asked(
    gate: &Gate,
    server: &Authority,
    client: Option<&(rcgen::Certificate, KeyPair)>,
    path: &str,
) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap(),
    };
    let stream = TcpStream::connect(gate.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, stream).await else {
        return String::new();
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-user-id: root\r\nconnection: close\r\n\r\n");
    let mut answer = Vec::new();
    // Over TLS 1.3 a refused certificate is noticed by the client when it reads.
    _ = stream.write_all(request.as_bytes()).await;
    _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_certificate_says_who_the_caller_is() {
    gateway::auth::install_crypto();
    let (server, partners, stubs) = (authority(), authority(), stubs());
    let (certificate, key) = signed(&server, &["localhost"], None);
    let cert = TempFile::new("cert.pem", &certificate.pem());
    let key = TempFile::new("key.pem", &key.serialize_pem());
    let ca = TempFile::new("ca.pem", &partners.pem());
    let gate = Gate::of(&format!(
        r#"
listen:
  - address: 127.0.0.1:0
    tls: {{ cert: "{}", key: "{}", clients: {{ ca: "{}" }} }}
admin: {{ address: "127.0.0.1:0" }}
access_log: off
providers:
  partners:
    certificate:
      callers:
        - {{ name: "dns:partner.example", id: acme, scopes: [read], roles: [partner] }}
        - {{ name: "uri:spiffe://example/other", id: globex }}
upstreams: {{ restaurant: {{ url: "http://{}" }} }}
routes:
  - path: /restaurants
    auth: {{ provider: partners, scopes: [read] }}
    forward: {{ to: restaurant }}
  - path: /restaurants/1
    auth: none
    forward: {{ to: restaurant }}
"#,
        cert.name(),
        key.name(),
        ca.name(),
        stubs.address(Service::Restaurant)
    ));
    let status = |answer: String| answer.get(9..12).unwrap_or("none").to_owned();
    let known = signed(&partners, &["partner.example"], None);
    assert_eq!(status(asked(&gate, &server, Some(&known), "/restaurants").await), "200");
    let seen = stubs.recorder().counts(Service::Restaurant).last.remove(0);
    let told: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "x-user-id").collect();
    assert_eq!(told, [&("x-user-id".to_owned(), "acme".to_owned())]);

    let other = signed(&partners, &[], Some("spiffe://example/other"));
    assert_eq!(status(asked(&gate, &server, Some(&other), "/restaurants").await), "403");
    let unknown = signed(&partners, &["stranger.example"], None);
    assert_eq!(status(asked(&gate, &server, Some(&unknown), "/restaurants").await), "401");
    let both = signed(&partners, &["partner.example"], Some("spiffe://example/other"));
    assert_eq!(status(asked(&gate, &server, Some(&both), "/restaurants").await), "401");
    assert_eq!(status(asked(&gate, &server, None, "/restaurants").await), "401");
    assert_eq!(status(asked(&gate, &server, None, "/restaurants/1").await), "200");
    let forged = signed(&authority(), &["partner.example"], None);
    assert_eq!(status(asked(&gate, &server, Some(&forged), "/restaurants/1").await), "none");
}
