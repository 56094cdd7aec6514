//! One question to DNS, or to the system's hosts file.
//!
//! Not here: what becomes of the answers (`dns.rs`), speaking DNS (hickory).

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

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

use super::{dns::DnsSettings, found::Found};

/// Whoever is asked. Made anew for each round of questions: the system's settings may change while we run.
pub(super) struct Lookups {
    /// Or why nobody can be asked. What the hosts file says is known all the same.
    resolver: Result<TokioResolver, String>,
    /// The system's, unless a server was named: then that one is believed and nobody else.
    hosts: Hosts,
}

/// Why there are no records.
pub(super) enum NotThere {
    /// There are none (NXDOMAIN, or no data: RFC 2308 section 2).
    Gone,
    /// Nobody said.
    Unknown(String),
}

impl Lookups {
    pub(super) fn new(settings: &DnsSettings) -> Self {
        let hosts = match settings.server {
            Some(_) => Hosts::default(),
            None => Hosts::from_system().unwrap_or_default(),
        };
        Lookups { resolver: resolver(settings), hosts }
    }

    /// The addresses of `name`, which `had` some before.
    pub(super) async fn addresses(&self, name: &Name, had: &[IpAddr]) -> Found<IpAddr> {
        let in_file = self.in_hosts_file(name);
        if !in_file.is_empty() {
            return Found::for_ever(in_file);
        }
        let four = self.records(name, RecordType::A).await;
        // The name that had one kind of address among those the system searches is asked for the other kind, no other.
        let full = four.as_ref().ok().and_then(|lookup| lookup.message().queries.first()).map(Query::name);
        let six = self.records(full.unwrap_or(name), RecordType::AAAA).await;
        let both = vec![family(&four, had, IpAddr::is_ipv4), family(&six, had, IpAddr::is_ipv6)];
        let found = Found::together(both);
        if found.all.is_empty() {
            return Found { all: had.to_vec(), ..found.or_failed(|| format!("{name} has no address")) };
        }
        found
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        let of = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let both = [of(RecordType::A), of(RecordType::AAAA)];
        both.iter().flatten().flat_map(ips).collect()
    }

    /// The SRV records of `name`, the lowest priority first. A target of `.` says that there is no such service (RFC
    /// 2782), so it is left out.
    pub(super) async fn services(&self, name: &Name) -> Result<Found<SRV>, NotThere> {
        let lookup = self.records(name, RecordType::SRV).await?;
        let mut all: Vec<SRV> = lookup.answers().iter().filter_map(service).collect();
        all.sort_by_key(|service| service.priority);
        Ok(Found { all, ttl: ttl(&lookup), failed: None })
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
    options.cache_size = 0; // what expires is asked for again, and nothing else is
    options.use_hosts_file = ResolveHosts::Never; // that is `Lookups::hosts`
    builder.build().map_err(|error| error.to_string())
}

fn at(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, connections.into())
}

/// What is known of one family of addresses: what was answered, or else what it had.
fn family(answered: &Result<Lookup, NotThere>, had: &[IpAddr], of: fn(&IpAddr) -> bool) -> Found<IpAddr> {
    match answered {
        Ok(lookup) => Found { all: ips(lookup).collect(), ttl: ttl(lookup), failed: None },
        Err(NotThere::Gone) => Found::for_ever(Vec::new()),
        Err(NotThere::Unknown(why)) => {
            Found { all: had.iter().copied().filter(of).collect(), ..Found::nothing(why.clone()) }
        }
    }
}

fn ips(lookup: &Lookup) -> impl Iterator<Item = IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr())
}

fn service(record: &Record) -> Option<SRV> {
    match &record.data {
        RData::SRV(service) if !service.target.is_root() => Some(service.clone()),
        _ => None,
    }
}

/// The shortest of all, with those of the aliases on the way.
fn ttl(lookup: &Lookup) -> Duration {
    let shortest = lookup.answers().iter().map(|record| record.ttl).min();
    shortest.map_or(Duration::MAX, |seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_hosts_file_says_is_known_though_nobody_can_be_asked() {
        let mut hosts = Hosts::default();
        hosts.read_hosts_conf(&b"10.0.0.1 kitchen.test k\nfd00::1 kitchen.test\n"[..]).unwrap();
        let lookups = Lookups { resolver: Err("no settings".to_owned()), hosts };
        let known = lookups.addresses(&Name::from_ascii("kitchen.test").unwrap(), &[]).await;
        assert_eq!(known.all.len(), 2);
        let unknown = lookups.addresses(&Name::from_ascii("order.test").unwrap(), &[]).await;
        assert_eq!(unknown, Found::nothing("no settings".to_owned()));
    }
}
