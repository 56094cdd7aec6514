//! Where a service is: which addresses it has at this moment, and who says so.
//!
//! A source runs on the control thread, as long as anybody listens, and publishes whole sets into a channel: what a set
//! lacks is gone, what it holds twice is one, and a set that says nothing new is not published. A source that fails
//! publishes nothing, so the last good set stays in use.
//!
//! Kubernetes EndpointSlices, Consul and Eureka fit in as further kinds of [`Source`]: each is an async function over the
//! same channel, whether it watches, waits in a blocking query or polls.
//!
//! Not here: choosing among the targets, connecting to them, finding out whether they work.

mod build;
pub mod config;
mod dns;
mod endpoint;
mod file;
mod follow;
mod found;
mod lookup;
#[cfg(test)]
mod testing;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::sync::watch;

pub use self::{
    build::Discovery,
    dns::{Dns, DnsSettings, Question},
    endpoint::{Endpoint, Place},
    file::File,
};

/// One address that a service has. Two targets are the same one if address and host are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the `Host` header says, with the port (RFC 9110 section 7.2): `kitchen.internal:8083`.
    pub host: Box<str>,
    /// How much it takes beside the others, 1 to 1000.
    pub weight: u32,
    /// Where it stands, for those who prefer what is near.
    pub zone: Option<Box<str>>,
    /// Whatever else the source says of it.
    pub metadata: BTreeMap<String, String>,
}

/// All targets of a service: sorted, each once.
pub type Targets = Arc<[Target]>;

/// Who says where a service is.
#[derive(Debug, Clone)]
pub enum Source {
    /// What was typed, for ever.
    Static(Targets),
    /// What DNS says of names.
    Dns(Dns),
    /// What a file says, which others write.
    File(File),
}

impl Target {
    /// A target of weight 1 that nothing else is known of.
    #[must_use]
    pub fn new(address: SocketAddr, host: &str) -> Self {
        Target { address, host: host.into(), weight: 1, zone: None, metadata: BTreeMap::new() }
    }

    /// Whether it is the same one, whatever else may be said of it now.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.address == other.address && self.host == other.host
    }
}

/// Makes a set: sorted, and of two that are the same the first.
#[must_use]
pub fn set(mut targets: Vec<Target>) -> Targets {
    targets.sort_by(|one, other| (one.address, &one.host).cmp(&(other.address, &other.host)));
    targets.dedup_by(|one, other| (one.address, &one.host) == (other.address, &other.host));
    targets.into()
}

impl Source {
    /// What is known before the source runs: everything that was typed as an address, nothing that must be asked for.
    #[must_use]
    pub fn first(&self) -> Targets {
        match self {
            Source::Static(targets) => targets.clone(),
            Source::Dns(dns) => dns.first(),
            Source::File(file) => file.first(),
        }
    }

    /// Keeps `sender` up to date for as long as somebody listens. `upstream` is what the log calls the service.
    pub async fn run(self, upstream: &str, sender: watch::Sender<Targets>) {
        let publishing = async {
            match &self {
                Source::Static(targets) => {
                    publish(upstream, &sender, targets.to_vec());
                    std::future::pending().await
                }
                Source::Dns(dns) => dns.run(upstream, &sender).await,
                Source::File(file) => file.run(upstream, &sender).await,
            }
        };
        tokio::select! {
            () = publishing => {}
            () = sender.closed() => {}
        }
    }
}

/// Publishes and logs `found` if it is another set than the one before.
fn publish(upstream: &str, sender: &watch::Sender<Targets>, found: Vec<Target>) {
    let found = set(found);
    let before = sender.borrow().clone();
    if before != found {
        let (added, removed) = (missing_in(&before, &found), missing_in(&found, &before));
        tracing::info!(upstream, ?added, ?removed, endpoints = found.len(), "endpoints changed");
        sender.send_replace(found);
    }
}

/// The addresses in `all` that `some` lacks.
fn missing_in(some: &Targets, all: &Targets) -> Vec<SocketAddr> {
    let lacks = |target: &&Target| !some.iter().any(|other| other.address == target.address);
    all.iter().filter(lacks).map(|target| target.address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str, host: &str) -> Target {
        Target::new(address.parse().unwrap(), host)
    }

    #[test]
    fn a_set_is_sorted_and_holds_each_target_once() {
        let heavy = Target { weight: 5, ..target("10.0.0.2:80", "b") };
        let made = set(vec![heavy.clone(), target("10.0.0.1:80", "a"), target("10.0.0.2:80", "b")]);
        assert_eq!(*made, [target("10.0.0.1:80", "a"), heavy]);
        assert_eq!(set(vec![target("10.0.0.1:80", "a"), target("10.0.0.1:80", "b")]).len(), 2);
    }

    #[tokio::test]
    async fn the_same_set_is_published_once() {
        let (sender, mut receiver) = watch::channel(set(Vec::new()));
        let (one, other) = (target("10.0.0.1:80", "a"), target("10.0.0.2:80", "a"));
        publish("kitchen", &sender, vec![one.clone(), other.clone()]);
        assert_eq!(receiver.borrow_and_update().len(), 2);
        publish("kitchen", &sender, vec![other, one.clone()]);
        assert!(!receiver.has_changed().unwrap(), "only the order is another");
        publish("kitchen", &sender, vec![Target { weight: 2, ..one }]);
        assert!(receiver.has_changed().unwrap());
    }

    #[tokio::test]
    async fn a_source_ends_when_nobody_listens_any_more() {
        let dns = Dns::of_names(vec![Endpoint::parse("http://kitchen.invalid").unwrap()]);
        let (sender, receiver) = watch::channel(set(Vec::new()));
        drop(receiver);
        Source::Dns(dns).run("kitchen", sender).await;
    }
}
