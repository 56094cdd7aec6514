//! A service that DNS finds: a changed answer is soon followed, and no answer changes nothing.

use std::time::{Duration, Instant};

use crate::{
    dns_server::{A, AAAA, DnsServer, Reply},
    harness::{Gate, after_listen},
    replicas::{Load, Replica, failed, yaml},
};

const NAME: &str = "it.example";

#[tokio::test]
async fn a_changed_answer_is_followed_within_its_life_and_silence_changes_nothing() {
    let old = Replica::start(Duration::from_millis(2)).await;
    let port = old.address.port();
    let new = Replica::at(([127, 0, 0, 2], port).into(), Duration::from_millis(2)).await;
    let dns = DnsServer::start().await;
    dns.has(NAME, 1, &["127.0.0.1"]);
    let asking =
        format!("name: {NAME}, port: {port}, server: \"{}\", min_ttl: 1s, timeout: 500ms", dns.address);
    let gate = Gate::start(&yaml(&format!("dns: {{ {asking} }}")));
    let load = Load::new(gate.address(), 4);
    let mut samples = load.lasting(Duration::from_millis(300)).await;
    assert!(old.seen() > 0);
    dns.has(NAME, 1, &["127.0.0.2"]);
    let changed = Instant::now();
    while new.seen() == 0 {
        samples.extend(load.times(20).await);
        assert!(changed.elapsed() < Duration::from_secs(5), "the new one is never used");
    }
    let followed = changed.elapsed();
    let (last, begun) = (old.seen(), Instant::now());
    dns.says(NAME, A, Reply::Silence);
    dns.says(NAME, AAAA, Reply::Silence);
    let asked = dns.until_asked(4);
    let (silent, ()) = tokio::join!(load.lasting(Duration::from_secs(3)), asked);
    let silence = begun.elapsed();
    samples.extend(silent);
    eprintln!(
        "dns: the new address is used after {followed:?}; {} asked, {} failed, silence of {silence:?}; {} at the old one",
        samples.len(),
        failed(&samples),
        old.seen() - last
    );
    assert!(followed < Duration::from_secs(2), "{followed:?}");
    assert_eq!(failed(&samples), 0);
    assert!(old.seen() - last <= 4, "calls that were under way, and no more");
}

#[tokio::test]
async fn an_edited_upstream_whose_name_must_be_looked_up_again_fails_nobody() {
    let replica = Replica::start(Duration::from_millis(2)).await;
    let dns = DnsServer::start().await;
    dns.has(NAME, 60, &["127.0.0.1"]);
    let upstream = |more: &str| {
        let port = replica.address.port();
        yaml(&format!("dns: {{ name: {NAME}, port: {port}, server: \"{}\" }}{more}", dns.address))
    };
    let gate = Gate::start(&upstream(""));
    let load = Load::new(gate.address(), 4);
    let mut samples = load.lasting(Duration::from_millis(200)).await;
    for attempts in [3, 4, 5] {
        gate.rewrite(&after_listen(&upstream(&format!(", retry: {{ attempts: {attempts} }}"))));
        let asked = dns.until_asked(1);
        let (edited, ()) = tokio::join!(load.lasting(Duration::from_millis(1_000)), asked);
        samples.extend(edited);
    }
    eprintln!("dns: edited three times under load, {} asked, {} failed", samples.len(), failed(&samples));
    assert_eq!(failed(&samples), 0);
}
