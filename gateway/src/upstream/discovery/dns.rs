//! What DNS says of a service: the addresses of names (A and AAAA), or the hosts, ports and weights of SRV records.
//!
//! An answer is good for its TTL, within bounds; nothing else is remembered. A name that cannot be asked for, that is
//! gone, or that has no address any more keeps the addresses it had: a service is seldom gone, and DNS often is. The
//! same holds for one family of addresses when only that cannot be asked for.
//!
//! Not here: one question (`lookup.rs`), when to ask again (`follow.rs`).

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::proto::rr::{Name, rdata::SRV};
use tokio::sync::watch;

use super::{
    Endpoint, Target, Targets, config,
    endpoint::Place,
    follow::follow,
    found::Found,
    lookup::{Lookups, NotThere},
    publish, set,
};

/// Names asked for at the same time.
const AT_ONCE: usize = 16;

/// The most that a target may weigh. SRV records go to 65535, and are scaled down together.
const HEAVIEST: u32 = 1000;

/// Whom to ask, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DnsSettings {
    /// The system's unless given.
    pub server: Option<SocketAddr>,
    /// How long a question may take.
    pub timeout: Duration,
    /// The least that an answer is good for.
    pub min_ttl: Duration,
    /// The most that an answer is good for.
    pub max_ttl: Duration,
}

impl Default for DnsSettings {
    fn default() -> Self {
        DnsSettings {
            server: None,
            timeout: config::timeout().0,
            min_ttl: config::min_ttl().0,
            max_ttl: config::max_ttl().0,
        }
    }
}

/// What to ask, and how.
#[derive(Debug, Clone)]
pub struct Dns {
    /// What to ask for.
    pub question: Question,
    /// Whom, and how often.
    pub settings: DnsSettings,
}

/// What to ask for.
#[derive(Debug, Clone)]
pub enum Question {
    /// The addresses of endpoints, some of which may be addresses already.
    Names(Vec<Endpoint>),
    /// The records of a service (RFC 2782): `_http._tcp.kitchen.internal`.
    Srv(Name),
}

impl Dns {
    /// The addresses of `endpoints`, by the system's settings.
    #[must_use]
    pub fn of_names(endpoints: Vec<Endpoint>) -> Self {
        Dns { question: Question::Names(endpoints), settings: DnsSettings::default() }
    }

    pub(super) fn first(&self) -> Targets {
        match &self.question {
            Question::Names(endpoints) => set(endpoints.iter().filter_map(Endpoint::fixed).collect()),
            Question::Srv(_) => Targets::default(),
        }
    }

    /// Asks and publishes for ever.
    pub(super) async fn run(&self, upstream: &str, sender: &watch::Sender<Targets>) {
        if let Question::Names(endpoints) = &self.question
            && let Some(fixed) = endpoints.iter().map(Endpoint::fixed).collect()
        {
            publish(upstream, sender, fixed);
            return std::future::pending().await;
        }
        follow(upstream, self.ttl(), sender, |known| self.ask(known)).await;
    }

    fn ttl(&self) -> RangeInclusive<Duration> {
        self.settings.min_ttl..=self.settings.max_ttl
    }

    async fn ask(&self, known: Targets) -> Found<Target> {
        let lookups = Lookups::new(&self.settings);
        match &self.question {
            Question::Names(endpoints) => names(&lookups, endpoints, &known).await,
            Question::Srv(name) => services(&lookups, name, &known).await,
        }
    }
}

async fn names(lookups: &Lookups, endpoints: &[Endpoint], known: &Targets) -> Found<Target> {
    let asking: Vec<_> = endpoints.iter().map(|endpoint| targets(lookups, endpoint, known)).collect();
    Found::together(stream::iter(asking).buffered(AT_ONCE).collect().await)
}

async fn targets(lookups: &Lookups, endpoint: &Endpoint, known: &Targets) -> Found<Target> {
    let (name, port) = match &endpoint.place {
        Place::At(address) => return Found::for_ever(vec![endpoint.target(*address)]),
        Place::Named(name, port) => (name, *port),
    };
    let its = known.iter().filter(|target| target.host == endpoint.host);
    let had: Vec<_> = its.map(|target| target.address.ip()).collect();
    let addresses = lookups.addresses(name, &had).await;
    addresses.map(|address| endpoint.target(SocketAddr::new(address, port)))
}

/// The targets of the lowest priority that has any (RFC 2782).
async fn services(lookups: &Lookups, name: &Name, known: &Targets) -> Found<Target> {
    let services = match lookups.services(name).await {
        Ok(services) => services,
        Err(NotThere::Gone) => return Found::nothing(format!("{name} has no SRV record")),
        Err(NotThere::Unknown(why)) => return Found::nothing(why),
    };
    let mut found = Found { ttl: services.ttl, ..Found::for_ever(Vec::new()) };
    for group in services.all.chunk_by(|one, other| one.priority == other.priority) {
        found = Found::together(vec![found, names(lookups, &endpoints(group), known).await]);
        if !found.all.is_empty() {
            return found;
        }
    }
    found.or_failed(|| format!("{name} has no target"))
}

/// The endpoints of records of the same priority, with weights of 1 to 1000 in the same proportion. A target with
/// several addresses has its weight at each of them.
fn endpoints(group: &[SRV]) -> Vec<Endpoint> {
    let heaviest = group.iter().map(|service| u32::from(service.weight)).max().unwrap_or(0).max(HEAVIEST);
    let endpoint = |service: &SRV| {
        let weight = u32::from(service.weight) * HEAVIEST / heaviest;
        let endpoint = Endpoint::new(false, &service.target.to_ascii(), service.port).ok()?;
        Some(Endpoint { weight: weight.max(1), ..endpoint })
    };
    group.iter().filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::upstream::discovery::{
        Source,
        testing::{A, AAAA, CNAME, Data, DnsServer, NXDOMAIN, Reply, SERVFAIL, SRV as SERVICE},
    };

    fn asking(server: &DnsServer, question: Question) -> Dns {
        let (server, timeout) = (Some(server.address), Duration::from_millis(250));
        Dns { question, settings: DnsSettings { server, timeout, ..DnsSettings::default() } }
    }

    /// What a source publishes that asks `server`.
    fn following(server: &DnsServer, question: Question) -> watch::Receiver<Targets> {
        let source = Source::Dns(asking(server, question));
        let (sender, receiver) = watch::channel(Targets::default());
        tokio::spawn(async move { source.run("kitchen", sender).await });
        receiver
    }

    fn names(urls: &[&str]) -> Question {
        Question::Names(urls.iter().map(|url| Endpoint::parse(url).unwrap()).collect())
    }

    fn srv() -> Question {
        Question::Srv(Name::from_ascii("_http._tcp.kitchen.test").unwrap())
    }

    /// The next set, as text.
    async fn next(receiver: &mut watch::Receiver<Targets>) -> Vec<String> {
        timeout(Duration::from_secs(5), receiver.changed()).await.expect("a change is due").unwrap();
        let shown = |target: &Target| format!("{} {} x{}", target.address, target.host, target.weight);
        receiver.borrow_and_update().iter().map(shown).collect()
    }

    #[tokio::test]
    async fn both_families_of_a_name_are_used_and_a_change_is_in_use_within_its_ttl_and_a_second() {
        let server = DnsServer::start().await;
        server.has("kitchen.test", 1, &["10.0.0.2", "10.0.0.1"]);
        server.says("kitchen.test", AAAA, Reply::Records(9, vec![Data::Aaaa("fd00::1".parse().unwrap())]));
        let mut receiver = following(&server, names(&["http://kitchen.test:8083"]));
        let expected = ["10.0.0.1:8083", "10.0.0.2:8083", "[fd00::1]:8083"];
        assert_eq!(next(&mut receiver).await, expected.map(|at| format!("{at} kitchen.test:8083 x1")));
        server.has("kitchen.test", 1, &["10.0.0.3", "10.0.0.1"]);
        server.says("kitchen.test", AAAA, Reply::Records(9, vec![]));
        let changed = Instant::now();
        let expected = ["10.0.0.1:8083", "10.0.0.3:8083"];
        assert_eq!(next(&mut receiver).await, expected.map(|at| format!("{at} kitchen.test:8083 x1")));
        assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    }

    #[tokio::test]
    async fn whatever_fails_the_last_addresses_stay() {
        let server = DnsServer::start().await;
        server.has("kitchen.test", 60, &["10.0.0.1"]);
        let dns = asking(&server, names(&["http://kitchen.test:8083"]));
        let known = dns.ask(Targets::default()).await;
        assert_eq!((known.all.len(), known.ttl, known.failed), (1, Duration::from_secs(60), None));
        for failure in [NXDOMAIN, SERVFAIL, Reply::Records(1, vec![]), Reply::Silence] {
            server.says("kitchen.test", A, failure.clone());
            let answer = dns.ask(set(known.all.clone())).await;
            assert_eq!(answer.all, known.all, "{failure:?}");
            assert!(answer.failed.is_some(), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn the_next_good_answer_after_a_failure_is_taken() {
        let server = DnsServer::start().await;
        let mut receiver = following(&server, names(&["http://kitchen.test:8083"]));
        server.until_asked(2).await;
        server.has("kitchen.test", 1, &["10.0.0.2"]);
        assert_eq!(next(&mut receiver).await, ["10.0.0.2:8083 kitchen.test:8083 x1"]);
    }

    #[tokio::test]
    async fn a_family_that_cannot_be_asked_for_keeps_its_addresses() {
        let server = DnsServer::start().await;
        server.has("kitchen.test", 1, &["10.0.0.1"]);
        server.says("kitchen.test", AAAA, Reply::Records(1, vec![Data::Aaaa("fd00::1".parse().unwrap())]));
        let mut receiver = following(&server, names(&["http://kitchen.test:8083"]));
        assert_eq!(next(&mut receiver).await.len(), 2);
        server.says("kitchen.test", AAAA, SERVFAIL);
        server.has("kitchen.test", 1, &["10.0.0.2"]);
        let expected = ["10.0.0.2:8083", "[fd00::1]:8083"];
        assert_eq!(next(&mut receiver).await, expected.map(|at| format!("{at} kitchen.test:8083 x1")));
    }

    #[tokio::test]
    async fn an_alias_is_followed() {
        let server = DnsServer::start().await;
        server.says("kitchen.test", CNAME, Reply::Records(1, vec![Data::Cname("k1.test".into())]));
        server.has("k1.test", 60, &["10.0.0.1"]);
        let mut receiver = following(&server, names(&["http://kitchen.test:8083"]));
        assert_eq!(next(&mut receiver).await, ["10.0.0.1:8083 kitchen.test:8083 x1"]);
        server.has("k1.test", 60, &["10.0.0.2"]);
        assert_eq!(
            next(&mut receiver).await,
            ["10.0.0.2:8083 kitchen.test:8083 x1"],
            "the alias expires first"
        );
    }

    #[tokio::test]
    async fn addresses_beside_names_are_used_while_the_names_are_unknown() {
        let server = DnsServer::start().await;
        let mut receiver = following(&server, names(&["http://10.0.0.1:8083", "http://kitchen.test:8083"]));
        assert_eq!(next(&mut receiver).await, ["10.0.0.1:8083 10.0.0.1:8083 x1"]);
        server.has("kitchen.test", 60, &["10.0.0.2"]);
        assert_eq!(next(&mut receiver).await.len(), 2);
    }

    #[tokio::test]
    async fn of_services_only_the_most_wanted_that_are_there_are_used_by_their_weights() {
        let server = DnsServer::start().await;
        let record =
            |priority, weight, port, target: &str| Data::Srv(priority, weight, port, target.to_owned());
        let all = vec![
            record(20, 1, 9001, "backup.test"),
            record(10, 5, 9002, "a.test"),
            record(10, 0, 9003, "b.test"),
            record(5, 1, 9004, "nowhere.test"),
        ];
        server.says("_http._tcp.kitchen.test", SERVICE, Reply::Records(1, all.clone()));
        server.has("backup.test", 60, &["10.0.0.9"]);
        server.has("a.test", 60, &["10.0.0.1"]);
        server.has("b.test", 60, &["10.0.0.2"]);
        let mut receiver = following(&server, srv());
        assert_eq!(
            next(&mut receiver).await,
            ["10.0.0.1:9002 a.test:9002 x5", "10.0.0.2:9003 b.test:9003 x1"]
        );
        server.says("_http._tcp.kitchen.test", SERVICE, Reply::Records(1, all[..1].to_vec()));
        assert_eq!(next(&mut receiver).await, ["10.0.0.9:9001 backup.test:9001 x1"]);
    }

    #[tokio::test]
    async fn a_service_that_is_declared_not_to_exist_changes_nothing() {
        let server = DnsServer::start().await;
        let record = |target: &str| Reply::Records(1, vec![Data::Srv(0, 1, 9001, target.to_owned())]);
        server.says("_http._tcp.kitchen.test", SERVICE, record("a.test"));
        server.has("a.test", 60, &["10.0.0.1"]);
        let mut receiver = following(&server, srv());
        assert_eq!(next(&mut receiver).await, ["10.0.0.1:9001 a.test:9001 x1"]);
        server.says("_http._tcp.kitchen.test", SERVICE, record("."));
        server.until_asked(2).await;
        assert!(!receiver.has_changed().unwrap());
    }

    #[test]
    fn weights_beyond_the_heaviest_keep_their_proportion() {
        let service = |weight| SRV::new(0, weight, 80, Name::from_ascii("a.test.").unwrap());
        let group = [service(50_000), service(25_000), service(1)];
        let weights = endpoints(&group).iter().map(|made| made.weight).collect::<Vec<_>>();
        assert_eq!(weights, [1000, 500, 1]);
    }

    #[tokio::test]
    async fn localhost_is_found_without_any_server() {
        let dns = Dns::of_names(vec![Endpoint::parse("http://localhost:8083").unwrap()]);
        let answer = dns.ask(Targets::default()).await;
        assert!(answer.all.iter().any(|target| target.address.ip().is_loopback()), "{answer:?}");
    }
}
