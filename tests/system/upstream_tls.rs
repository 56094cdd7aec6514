//! TLS to services: who is trusted, by which name, and that nobody else is sent a byte of a request.

use std::fs;

use http::Version;

use crate::{
    dns_server::DnsServer,
    harness::{Gate, after_listen, until},
    origins::{Authority, Certified, Manner, Origin, acceptor},
    replicas::yaml,
};

const NAME: &str = "it.example";
const BOTH: [&str; 2] = ["h2", "http/1.1"];

/// An upstream at `origin`, called by its address, with these keys of `tls`.
fn upstream(origin: &Origin, tls: &str) -> String {
    format!("endpoints: [\"https://{}\"], tls: {{ {tls} }}", origin.address)
}

/// Trusts `authority` and expects `NAME`.
fn trusting(authority: &Authority) -> String {
    format!("ca: \"{}\", server_name: {NAME}", authority.file.name())
}

/// With this certificate of our own.
fn showing(own: &Certified) -> String {
    format!(", cert: \"{}\", key: \"{}\"", own.cert.name(), own.key.name())
}

async fn secured(own: &Certified, protocols: &[&str], clients: Option<&Authority>) -> Origin {
    let tls = Some(acceptor(own, protocols, clients));
    Origin::start(Manner { tls, ..Manner::default() }).await
}

#[tokio::test]
async fn the_handshake_chooses_http2_where_both_speak_it_and_http1_otherwise() {
    let authority = Authority::new();
    let own = authority.certify(NAME);
    for (offered, protocol, spoken) in [
        (&BOTH[..], "auto", Version::HTTP_2),
        (&["http/1.1"], "auto", Version::HTTP_11),
        (&[], "auto", Version::HTTP_11),
        (&BOTH, "http1", Version::HTTP_11),
        (&BOTH, "http2", Version::HTTP_2),
    ] {
        let origin = secured(&own, offered, None).await;
        let upstream = upstream(&origin, &trusting(&authority));
        let gate = Gate::start(&yaml(&format!("{upstream}, protocol: {protocol}")));
        let answer = gate.get("/it?a=b").send().await.expect(200);
        assert_eq!(answer.bytes(), "ok");
        let heads = origin.heads();
        assert_eq!((heads.len(), heads[0].version()), (1, spoken), "{offered:?} and {protocol}");
        let named = match spoken {
            Version::HTTP_2 => heads[0].uri().to_string(),
            _ => format!("https://{}{}", heads[0].headers()["host"].to_str().unwrap(), heads[0].uri()),
        };
        assert_eq!(named, format!("https://{}/it?a=b", origin.address));
        assert_eq!(heads[0].headers().contains_key("host"), spoken != Version::HTTP_2);
        assert_eq!(origin.names(), [Some(NAME.to_owned())]);
    }
}

#[tokio::test]
async fn the_name_that_dns_was_asked_for_is_the_one_that_the_certificate_must_be_for() {
    let authority = Authority::new();
    let origin = secured(&authority.certify(NAME), &BOTH, None).await;
    let dns = DnsServer::start().await;
    dns.has(NAME, 60, &["127.0.0.1"]);
    let place = format!(
        "dns: {{ name: {NAME}, port: {}, server: \"{}\" }}, tls: {{ ca: \"{}\" }}",
        origin.address.port(),
        dns.address,
        authority.file.name()
    );
    let gate = Gate::start(&yaml(&place));
    gate.get("/it").send().await.expect(200);
    assert_eq!(origin.names(), [Some(NAME.to_owned())]);
}

#[tokio::test]
async fn a_service_that_is_not_who_it_should_be_is_sent_no_request() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let by_stranger = stranger.certify(NAME);
    let of_another = authority.certify("other.example");
    let right = authority.certify(NAME);
    for (own, offered, protocol) in [
        (&by_stranger, &BOTH[..], "auto"),
        (&of_another, &BOTH[..], "auto"),
        (&of_another, &["http/1.1"], "http1"),
        (&right, &["http/1.1"], "http2"),
        (&right, &[], "http2"),
    ] {
        let origin = secured(own, offered, None).await;
        let upstream = format!("{}, protocol: {protocol}", upstream(&origin, &trusting(&authority)));
        let gate = Gate::start(&yaml(&upstream));
        let answer = gate.get("/it").send().await.expect(502);
        assert_eq!(answer.code(), "upstream_failed");
        assert!(!String::from_utf8_lossy(answer.bytes()).contains("TLS"), "{answer:?}");
        assert!(origin.accepted() > 0 && origin.requests() == 0);
        let metrics = gate.admin("/metrics").send().await.expect(200);
        let refused = r#"gateway_upstream_calls_total{upstream="it",outcome="refused"} 1"#;
        assert!(String::from_utf8_lossy(metrics.bytes()).contains(refused));
    }
}

#[tokio::test]
async fn a_service_in_plaintext_is_sent_no_request_where_tls_was_asked_for() {
    let authority = Authority::new();
    let origin = Origin::start(Manner { http2: false, ..Manner::default() }).await;
    let gate = Gate::start(&yaml(&upstream(&origin, &trusting(&authority))));
    gate.get("/it").send().await.expect(502);
    assert!(origin.accepted() > 0 && origin.requests() == 0);
}

#[tokio::test]
async fn a_service_that_asks_who_we_are_is_shown_our_certificate() {
    let authority = Authority::new();
    let (own, ours) = (authority.certify(NAME), authority.certify("gateway.example"));
    for offered in BOTH {
        let origin = secured(&own, &[offered], Some(&authority)).await;
        let gate = Gate::start(&yaml(&upstream(&origin, &(trusting(&authority) + &showing(&ours)))));
        gate.get("/it").send().await.expect(200);

        let nobody = Gate::start(&yaml(&upstream(&origin, &trusting(&authority))));
        nobody.get("/it").send().await.expect(502);
        let unknown = Authority::new().certify("gateway.example");
        let unknown = Gate::start(&yaml(&upstream(&origin, &(trusting(&authority) + &showing(&unknown)))));
        unknown.get("/it").send().await.expect(502);
        assert_eq!(origin.requests(), 1);
    }
}

#[tokio::test]
async fn health_checks_speak_as_calls_do() {
    let authority = Authority::new();
    for offered in BOTH {
        let origin = secured(&authority.certify(NAME), &[offered], None).await;
        let upstream = upstream(&origin, &trusting(&authority));
        let _gate = Gate::start(&yaml(&format!("{upstream}, health: {{ path: /health, interval: 100ms }}")));
        until("it is checked", || origin.requests() >= 2).await;
        assert!(origin.heads().iter().all(|head| head.uri().path() == "/health"));
    }
}

#[tokio::test]
async fn a_file_of_endpoints_may_be_one_of_tls() {
    let authority = Authority::new();
    let origin = secured(&authority.certify(NAME), &BOTH, None).await;
    let text = format!("endpoints: [\"https://{}\"]\n", origin.address);
    let file = crate::harness::TempFile::new("it.yaml", &text);
    let place = format!("file: \"{}\", tls: {{ {} }}", file.name(), trusting(&authority));
    let gate = Gate::start(&yaml(&place));
    gate.get("/it").send().await.expect(200);
    assert_eq!(origin.names(), [Some(NAME.to_owned())]);
}

#[tokio::test]
async fn changed_certificates_are_taken_up_when_the_configuration_is() {
    let (old, new) = (Authority::new(), Authority::new());
    let origin = secured(&new.certify(NAME), &BOTH, None).await;
    let rest = yaml(&upstream(&origin, &trusting(&old)));
    let gate = Gate::start(&rest);
    gate.get("/it").send().await.expect(502);
    fs::copy(new.file.name(), old.file.name()).unwrap();
    // Only a comment is another one: the upstream is as it was but for what the file holds.
    gate.rewrite(&after_listen(&format!("{rest}# changed\n")));
    let asked = || async { gate.get("/it").send().await.status };
    let waiting = async { while asked().await != 200 {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it is trusted");
}
