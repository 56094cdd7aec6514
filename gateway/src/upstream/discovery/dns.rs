//! What DNS says of a service: the addresses of names (A and AAAA), or the hosts, ports and weights of SRV records.
//!
//! An answer is good for its TTL, within bounds; nothing else is remembered. A name that cannot be asked for, that is
//! gone, or that has no address any more keeps the addresses it had: a service is seldom gone, and DNS often is. The
//! same holds for one family of addresses when only that cannot be asked for.
//!
//! Not here: when to ask again (`follow.rs`), speaking DNS (hickory).

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::{
    Hosts, TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    lookup::Lookup,
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::Query,
        rr::{Name, RData, Record, RecordType, rdata::SRV},
    },
};
use tokio::sync::watch;

use super::{
    Endpoint, Target, Targets, config,
    endpoint::Place,
    follow::{Answer, follow},
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

    async fn ask(&self, known: Targets) -> Answer {
        let asking = Asking::new(&self.settings);
        match &self.question {
            Question::Names(endpoints) => whole(asking.names(endpoints, &known).await),
            Question::Srv(name) => asking.srv(name, &known).await,
        }
    }
}

/// What is known of one endpoint.
struct Found {
    targets: Vec<Target>,
    ttl: Duration,
    failed: Option<String>,
}

fn whole(found: Vec<Found>) -> Answer {
    let ttl = found.iter().map(|found| found.ttl).min().unwrap_or(Duration::MAX);
    let failed = found.iter().find_map(|found| found.failed.clone());
    Answer { targets: found.into_iter().flat_map(|found| found.targets).collect(), ttl, failed }
}

/// One round of questions. Made anew for each, since the system's settings may change while we run.
struct Asking {
    /// Or why nobody can be asked. What the hosts file says is known all the same.
    resolver: Result<TokioResolver, String>,
    /// The system's, unless a server was named: then that one is believed and nobody else.
    hosts: Hosts,
}

impl Asking {
    fn new(settings: &DnsSettings) -> Self {
        let hosts = match settings.server {
            Some(_) => Hosts::default(),
            None => Hosts::from_system().unwrap_or_default(),
        };
        Asking { resolver: resolver(settings), hosts }
    }

    async fn names(&self, endpoints: &[Endpoint], known: &Targets) -> Vec<Found> {
        let asking: Vec<_> = endpoints.iter().map(|endpoint| self.endpoint(endpoint, known)).collect();
        stream::iter(asking).buffered(AT_ONCE).collect().await
    }

    async fn endpoint(&self, endpoint: &Endpoint, known: &Targets) -> Found {
        let (name, port) = match &endpoint.place {
            Place::At(address) => return found(vec![endpoint.target(*address)], Duration::MAX, None),
            Place::Named(name, port) => (name, *port),
        };
        let had: Vec<IpAddr> = known
            .iter()
            .filter(|target| target.host == endpoint.host)
            .map(|target| target.address.ip())
            .collect();
        let (addresses, ttl, failed) = self.addresses(name, &had).await;
        let target = |address| endpoint.target(SocketAddr::new(address, port));
        found(addresses.into_iter().map(target).collect(), ttl, failed)
    }

    /// The addresses of `name`, which `had` some before.
    async fn addresses(&self, name: &Name, had: &[IpAddr]) -> Addresses {
        let in_file = self.in_hosts_file(name);
        if !in_file.is_empty() {
            return (in_file, Duration::MAX, None);
        }
        let four = self.records(name, RecordType::A).await;
        // The name that had one kind of address among those the system searches is asked for the other kind, no other.
        let full = four.as_ref().ok().and_then(|lookup| lookup.message().queries.first()).map(Query::name);
        let six = self.records(full.unwrap_or(name), RecordType::AAAA).await;
        match (four, six) {
            (Err(NotThere::Gone), Err(NotThere::Gone)) => {
                (had.to_vec(), Duration::MAX, Some(format!("{name} has no address")))
            }
            (four, six) => together(family(four, had, IpAddr::is_ipv4), family(six, had, IpAddr::is_ipv6)),
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let both = [of(RecordType::A), of(RecordType::AAAA)];
        both.iter().flatten().flat_map(ips).collect()
    }

    async fn srv(&self, name: &Name, known: &Targets) -> Answer {
        let lookup = match self.records(name, RecordType::SRV).await {
            Ok(lookup) => lookup,
            Err(not_there) => {
                let failed = Some(not_there.said_of(name));
                return Answer { targets: Vec::new(), ttl: Duration::MAX, failed };
            }
        };
        let (records, mut ttl) = (services(&lookup), ttl(&lookup));
        let mut failed = None;
        for group in records.chunk_by(|one, other| one.priority == other.priority) {
            let answer = whole(self.names(&endpoints(group), known).await);
            ttl = ttl.min(answer.ttl);
            failed = failed.or(answer.failed);
            if !answer.targets.is_empty() {
                return Answer { targets: answer.targets, ttl, failed };
            }
        }
        let failed = failed.or_else(|| Some(format!("{name} has no target")));
        Answer { targets: Vec::new(), ttl, failed }
    }

    async fn records(&self, name: &Name, kind: RecordType) -> Result<Lookup, NotThere> {
        let resolver = self.resolver.as_ref().map_err(|why| NotThere::Unknown(why.clone()))?;
        resolver.lookup(name.clone(), kind).await.map_err(|error| match error {
            error if error.is_no_records_found() => NotThere::Gone,
            error => NotThere::Unknown(format!("{kind} of {name}: {error}")),
        })
    }
}

fn resolver(settings: &DnsSettings) -> Result<TokioResolver, String> {
    let mut builder = match settings.server {
        Some(server) => {
            let config = ResolverConfig::from_name_servers(vec![at(server)]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => {
            TokioResolver::builder_tokio().map_err(|why| format!("the system's settings of DNS: {why}"))?
        }
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = 0; // lost packets are sent again within the time-out
    options.cache_size = 0; // what expires is asked for again, here and nowhere else
    options.use_hosts_file = ResolveHosts::Never; // that is `Asking::hosts`
    builder.build().map_err(|error| error.to_string())
}

/// Why there are no records.
enum NotThere {
    /// There are none (NXDOMAIN, or no data: RFC 2308 section 2).
    Gone,
    /// Nobody said.
    Unknown(String),
}

impl NotThere {
    fn said_of(self, name: &Name) -> String {
        match self {
            NotThere::Gone => format!("{name} is unknown"),
            NotThere::Unknown(why) => why,
        }
    }
}

/// Addresses, for how long they are good, and what failed.
type Addresses = (Vec<IpAddr>, Duration, Option<String>);

/// What is known of one family of addresses: what was answered, or else what it had.
fn family(answered: Result<Lookup, NotThere>, had: &[IpAddr], of: fn(&IpAddr) -> bool) -> Addresses {
    match answered {
        Ok(lookup) => (ips(&lookup).collect(), ttl(&lookup), None),
        Err(NotThere::Gone) => (Vec::new(), Duration::MAX, None),
        Err(NotThere::Unknown(why)) => (had.iter().copied().filter(of).collect(), Duration::MAX, Some(why)),
    }
}

fn together(four: Addresses, six: Addresses) -> Addresses {
    ([four.0, six.0].concat(), four.1.min(six.1), four.2.or(six.2))
}

fn found(targets: Vec<Target>, ttl: Duration, failed: Option<String>) -> Found {
    Found { targets, ttl, failed }
}

fn at(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

fn ips(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

/// The shortest of all, with those of the aliases on the way.
fn ttl(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    shortest.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into()))
}

fn service(record: &Record) -> Option<&SRV> {
    match &record.data {
        RData::SRV(service) if !service.target.is_root() => Some(service),
        _ => None,
    }
}

/// By priority, the most wanted first. A target of `.` says that there is no such service (RFC 2782).
fn services(lookup: &Lookup) -> Vec<&SRV> {
    let mut services: Vec<&SRV> = lookup.answers().iter().filter_map(service).collect();
    services.sort_by_key(|service| service.priority);
    services
}

/// The endpoints of records of the same priority, with weights of 1 to 1000 in the same proportion.
fn endpoints(group: &[&SRV]) -> Vec<Endpoint> {
    let heaviest = group.iter().map(|service| u32::from(service.weight)).max().unwrap_or(0).max(HEAVIEST);
    let endpoint = |service: &&SRV| {
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
        assert_eq!((known.targets.len(), known.ttl, known.failed), (1, Duration::from_secs(60), None));
        for failure in [NXDOMAIN, SERVFAIL, Reply::Records(1, vec![]), Reply::Silence] {
            server.says("kitchen.test", A, failure.clone());
            let answer = dns.ask(set(known.targets.clone())).await;
            assert_eq!(answer.targets, known.targets, "{failure:?}");
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
        let weights =
            endpoints(&group.iter().collect::<Vec<_>>()).iter().map(|made| made.weight).collect::<Vec<_>>();
        assert_eq!(weights, [1000, 500, 1]);
    }

    #[tokio::test]
    async fn what_the_hosts_file_says_is_known_though_nobody_can_be_asked() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"10.0.0.1 kitchen.test k\nfd00::1 kitchen.test\n"[..]).unwrap();
        let asking = Asking { resolver: Err("no settings".to_owned()), hosts };
        let known = asking.addresses(&Name::from_ascii("kitchen.test").unwrap(), &[]).await;
        assert_eq!(known.0.len(), 2);
        let unknown = asking.addresses(&Name::from_ascii("order.test").unwrap(), &[]).await;
        assert_eq!(unknown, (vec![], Duration::MAX, Some("no settings".to_owned())));
    }

    #[tokio::test]
    async fn localhost_is_found_without_any_server() {
        let dns = Dns::of_names(vec![Endpoint::parse("http://localhost:8083").unwrap()]);
        let answer = dns.ask(Targets::default()).await;
        assert!(answer.targets.iter().any(|target| target.address.ip().is_loopback()), "{answer:?}");
    }
}
