//! How many connections there may be, in all and from one address. What is above that is closed before a byte of it is read: an
//! answer would cost a handshake, and whoever opens too many waits for none.
//!
//! Looked at once for each connection, never for a request. Not here: how long a connection may take (`connection.rs`).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::config::ServerConfig;
use crate::{downstream::Network, observability::metrics::ProcessMetrics};

/// How often it is logged that connections are refused, however many are.
const TOLD: Duration = Duration::from_secs(1);

/// The caps and what is open, for all workers.
pub(super) struct Caps {
    most: usize,
    most_each: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    /// Only addresses that have a connection: as bounded as these are.
    each: HashMap<Network, usize>,
    told: Option<Instant>,
}

/// A connection that is counted until this is dropped.
pub(super) struct Place {
    caps: Arc<Caps>,
    /// None for a proxy.
    network: Option<Network>,
}

impl Caps {
    pub(super) fn new(settings: &ServerConfig) -> Arc<Self> {
        let (most, most_each) = (settings.max_connections, settings.max_connections_per_address);
        Arc::new(Caps { most, most_each, held: Mutex::default() })
    }

    /// A place for a connection from there; `None` when there is none. A trusted proxy has as many clients as there are: it
    /// is held to the cap of all.
    pub(super) fn admit(
        self: &Arc<Self>,
        from: IpAddr,
        is_proxy: bool,
        metrics: &ProcessMetrics,
    ) -> Option<Place> {
        let network = (!is_proxy).then(|| Network::of(from));
        let mut held = self.held.lock();
        let each = network.and_then(|network| held.each.get(&network).copied()).unwrap_or_default();
        let why = if held.all >= self.most {
            metrics.refused_in_all.inc();
            "max_connections"
        } else if each >= self.most_each {
            metrics.refused_of_address.inc();
            "max_connections_per_address"
        } else {
            held.all += 1;
            held.each.extend(network.map(|network| (network, each + 1)));
            return Some(Place { caps: self.clone(), network });
        };
        if held.may_tell() {
            tracing::warn!(%from, open = held.all, reached = why, "connections are closed at once");
        }
        None
    }

    /// A connection was closed since nobody whom a listener believes said whose it is.
    pub(super) fn unannounced(&self, from: IpAddr, why: &str, metrics: &ProcessMetrics) {
        metrics.refused_unannounced.inc();
        if self.held.lock().may_tell() {
            tracing::warn!(%from, why, "connections without a header of the PROXY protocol are closed");
        }
    }
}

impl Held {
    fn may_tell(&mut self) -> bool {
        let may = self.told.is_none_or(|told| told.elapsed() >= TOLD);
        if may {
            self.told = Some(Instant::now());
        }
        may
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.caps.held.lock();
        held.all -= 1;
        let Some(network) = self.network else { return };
        let left = held.each.get(&network).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            held.each.remove(&network);
        } else {
            held.each.insert(network, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(most: usize, each: usize) -> (Arc<Caps>, ProcessMetrics) {
        let settings = ServerConfig {
            max_connections: most,
            max_connections_per_address: each,
            ..ServerConfig::default()
        };
        (Caps::new(&settings), ProcessMetrics::default())
    }

    #[test]
    fn an_address_has_its_own_cap_and_a_place_that_is_left_is_free() {
        let (caps, metrics) = caps(3, 2);
        let ask = |from: &str| caps.admit(from.parse().unwrap(), false, &metrics);
        let (first, second) = (ask("192.0.2.1"), ask("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(ask("192.0.2.1").is_none());
        let other = ask("192.0.2.2");
        assert!(other.is_some() && ask("192.0.2.3").is_none());
        assert_eq!((metrics.refused_of_address.get(), metrics.refused_in_all.get()), (1, 1));
        drop(first);
        assert!(ask("192.0.2.3").is_some());
        drop((second, other));
        assert!(caps.held.lock().each.is_empty());
    }

    #[test]
    fn a_trusted_proxy_is_held_to_the_cap_of_all_only() {
        let (caps, metrics) = caps(3, 1);
        let proxy = || caps.admit("10.0.0.1".parse().unwrap(), true, &metrics);
        let places = [proxy(), proxy(), proxy()];
        assert!(places.iter().all(Option::is_some) && proxy().is_none());
        drop(places);
        assert!(proxy().is_some() && caps.held.lock().each.is_empty());
    }

    #[test]
    fn all_addresses_of_one_network_of_ipv6_count_as_one() {
        let (caps, metrics) = caps(9, 1);
        let ask = |from: &str| caps.admit(from.parse().unwrap(), false, &metrics);
        let _first = ask("2001:db8:0:1::1");
        assert!(ask("2001:db8:0:1:ffff::2").is_none());
        assert!(ask("2001:db8:0:2::1").is_some());
    }
}
