//! How strict browsers are told to be, over TLS and without it, and what they no longer hear of services.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    client::{Answer, over_h1, whole},
    harness::{Gate, after_listen},
    origins::Authority,
    wire::Scripted,
};

/// A service that tells all and has an opinion.
const PAGE: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nserver: nginx/1.2.3\r\nx-powered-by: PHP/5\r\n\
                    x-frame-options: ALLOWALL\r\ncontent-length: 2\r\n\r\nok";

fn yaml(service: &Scripted) -> String {
    format!(
        "security_headers:\n  pages: {{}}\n  strict: {{ content_security_policy: \"default-src 'self'\", remove: [] }}\n\
         default_security_headers: pages\n\
         upstreams:\n  it: {{ url: \"http://{}\" }}\nroutes:\n  \
         - {{ path: /page, auth: none, forward: {{ to: it }} }}\n  \
         - {{ path: /strict, auth: none, security_headers: strict, forward: {{ to: it }} }}\n  \
         - {{ path: /own, auth: none, security_headers: none, forward: {{ to: it }} }}\n",
        service.address
    )
}

/// The fields that matter here, empty where they are not there.
fn fields(answer: &Answer) -> [&str; 6] {
    [
        "x-content-type-options",
        "x-frame-options",
        "referrer-policy",
        "content-security-policy",
        "server",
        "x-powered-by",
    ]
    .map(|name| answer.header(name))
}

#[tokio::test]
async fn each_route_is_as_strict_as_it_says() {
    let service = Scripted::start(PAGE).await;
    let gate = Gate::start(&yaml(&service));
    for (path, expected) in [
        ("/page", ["nosniff", "DENY", "no-referrer", "", "", ""]),
        ("/strict", ["nosniff", "DENY", "no-referrer", "default-src 'self'", "nginx/1.2.3", "PHP/5"]),
        ("/own", ["", "ALLOWALL", "", "", "nginx/1.2.3", "PHP/5"]),
    ] {
        for answer in [gate.get(path).send().await, gate.get(path).send_h2().await] {
            let answer = answer.expect(200);
            assert_eq!(fields(&answer), expected, "{path}");
            assert_eq!(
                answer.headers.get_all("x-frame-options").iter().count(),
                usize::from(!expected[1].is_empty())
            );
            assert_eq!(answer.header("strict-transport-security"), "");
        }
    }
    let nothing = gate.get("/nothing").send().await.expect(404);
    assert_eq!(fields(&nothing)[..3], ["nosniff", "DENY", "no-referrer"]);
}

#[tokio::test]
async fn a_problem_document_is_never_taken_for_a_page() {
    let gate = Gate::start("routes: []\n");
    let answer = gate.get("/nothing").send().await.expect(404);
    assert_eq!(fields(&answer), ["nosniff", "", "", "", "", ""]);
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_tls_over_tls_only() {
    let service = Scripted::start(PAGE).await;
    let authority = Authority::new();
    let own = authority.certify("localhost");
    let tls = format!("tls: {{ cert: {}, key: {} }}", own.cert.name(), own.key.name());
    let set = "strict_transport_security: { max_age: 8760h, include_subdomains: true }";
    for (secure, expected) in [(true, "max-age=31536000; includeSubDomains"), (false, "")] {
        let plain = "{ address: \"127.0.0.1:0\" }";
        let secured = format!("{{ address: \"127.0.0.1:0\", {tls} }}");
        let listen = if secure { format!("[{secured}, {plain}]") } else { format!("[{plain}, {secured}]") };
        let yaml = after_listen(&yaml(&service)).replace("pages: {}", &format!("pages: {{ {set} }}"));
        let gate = Gate::of(&yaml.replace(&format!("listen: [{plain}]"), &format!("listen: {listen}")));
        let answer = if secure {
            over_tls(&gate, authority.file.name()).await
        } else {
            gate.get("/page").send().await
        };
        assert_eq!(answer.expect(200).header("strict-transport-security"), expected);
    }
}

async fn over_tls(gate: &Gate, ca: &str) -> Answer {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(gate.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let request = http::Request::get("/page").header("host", "localhost").body(axum::body::Body::empty());
    whole(over_h1(stream).await.send_request(request.unwrap()).await.unwrap()).await
}
