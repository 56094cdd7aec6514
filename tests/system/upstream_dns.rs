//! A service that DNS finds: a changed answer is soon followed, and no answer changes nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::{
    dns_server::{A, AAAA, DnsServer, NXDOMAIN, Reply, SERVFAIL},
    harness::{Gate, after_listen},
    replicas::{Load, Replica, failed, seconds, yaml},
};

const NAME: &str = "it.example";

/// A service that DNS finds at one address, and that could as well be at another.
struct Moving {
    old: Replica,
    new: Replica,
    dns: DnsServer,
    gate: Gate,
}

async fn moving() -> Moving {
    let old = Replica::start(Duration::from_millis(2)).await;
    let port = old.address.port();
    let new = Replica::at(([127, 0, 0, 2], port).into(), Duration::from_millis(2)).await;
    let dns = DnsServer::start().await;
    dns.has(NAME, 1, &["127.0.0.1"]);
    let asking =
        format!("name: {NAME}, port: {port}, server: \"{}\", min_ttl: 1s, timeout: 500ms", dns.address);
    let gate = Gate::start(&yaml(&format!("dns: {{ {asking} }}")));
    Moving { old, new, dns, gate }
}

#[tokio::test]
async fn a_changed_answer_is_followed_within_its_life_and_silence_changes_nothing() {
    let Moving { old, new, dns, gate } = moving().await;
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
    let (silent, ()) = tokio::join!(load.lasting(seconds(3)), asked);
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

/// A name that has gone, or has no address, is as little reason to stop as a server that fails.
#[tokio::test]
async fn an_answer_without_an_address_changes_nothing_and_the_next_good_one_is_followed() {
    let empty = Reply::Records(1, vec![]);
    let all =
        [("SERVFAIL", SERVFAIL), ("NXDOMAIN", NXDOMAIN), ("no record", empty), ("silence", Reply::Silence)];
    join_all(all.map(|(name, bad)| without_an_address(name, bad))).await;
}

async fn without_an_address(what: &str, bad: Reply) {
    let Moving { old, new, dns, gate } = moving().await;
    let load = Load::new(gate.address(), 2);
    let mut samples = load.times(20).await;
    dns.says(NAME, A, bad.clone());
    dns.says(NAME, AAAA, bad);
    let asked = dns.until_asked(4);
    let (meanwhile, ()) = tokio::join!(load.lasting(seconds(3)), asked);
    samples.extend(meanwhile);
    let (before, total) = (old.seen(), samples.len());
    assert_eq!((before, new.seen()), (total, 0), "{what}: all went to the one that is known");

    dns.has(NAME, 1, &["127.0.0.2"]);
    let back = Instant::now();
    while new.seen() == 0 {
        samples.extend(load.times(20).await);
        // Asked for in vain, it is asked for less and less often: half a minute is the most.
        assert!(back.elapsed() < Duration::from_secs(35), "{what}: the good answer is never used");
    }
    eprintln!(
        "dns: {what}: {total} asked meanwhile, {} failed; the next good answer is used after {:?}",
        failed(&samples),
        back.elapsed()
    );
    assert_eq!(failed(&samples), 0, "{what}");
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
