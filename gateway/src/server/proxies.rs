//! The proxies before a listener that are believed: where they are, as networks (`10.0.0.0/8`, RFC 4632 section 3.1).
//!
//! Not here: what they say of a client (`forwarded.rs`, `proxy_protocol.rs`).

use std::{net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A network as typed: `10.0.0.0/8`, `2001:db8::/32`, or one address. Never everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    /// How many leading bits all its addresses share.
    shared: u32,
}

/// Whom a listener believes.
#[derive(Debug)]
pub(super) struct Proxies {
    trusted: Box<[Cidr]>,
    /// Whether they say who the client is before the first byte of its own, and nobody else may connect.
    pub(super) announce: bool,
}

impl Proxies {
    pub(super) fn new(trusted: &[Cidr], announce: bool) -> Self {
        Proxies { trusted: trusted.into(), announce }
    }

    pub(super) fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted.iter().any(|network| network.holds(address))
    }
}

impl Cidr {
    fn holds(self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & !after(self.shared) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & !after128(self.shared) == 0
            }
            _ => false,
        }
    }
}

/// The bits of an address after the first ones.
fn after(shared: u32) -> u32 {
    u32::MAX.checked_shr(shared).unwrap_or(0)
}

fn after128(shared: u32) -> u128 {
    u128::MAX.checked_shr(shared).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no network: write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1");
        let (address, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        if address.to_canonical() != address {
            return Err(format!("`{text}` is IPv4 written as IPv6: write {}", address.to_canonical()));
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = |bits: &&str| bits.bytes().all(|digit| digit.is_ascii_digit());
        let shared = match bits {
            None => most,
            Some(bits) => Some(bits).filter(digits).and_then(|bits| bits.parse().ok()).ok_or_else(wrong)?,
        };
        if shared > most {
            return Err(wrong());
        }
        if shared == 0 {
            return Err(format!("`{text}` is everybody, and anybody could then say to be anybody"));
        }
        let first: IpAddr = match address {
            IpAddr::V4(address) => IpAddr::V4((address.to_bits() & !after(shared)).into()),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !after128(shared)).into()),
        };
        if first == address {
            Ok(Cidr { first, shared })
        } else {
            Err(format!("`{text}` does not begin its network: write {first}/{shared}, or the address alone"))
        }
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_as_it_does() {
        let trusted = |networks: &[&str], address: &str| {
            let networks: Vec<Cidr> = networks.iter().map(|text| text.parse().unwrap()).collect();
            Proxies::new(&networks, false).trust(address.parse().unwrap())
        };
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.8/31", "192.0.2.9", "192.0.2.10"),
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("128.0.0.0/1", "255.255.255.255", "127.255.255.255"),
            ("2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"),
            ("::1", "::1", "0.0.0.1"),
            ("8000::/1", "ffff::", "::ffff:128.0.0.0"),
        ] {
            assert!(trusted(&[network], inside), "{inside} is in {network}");
            assert!(!trusted(&[network], outside), "{outside} is not in {network}");
        }
        assert!(!trusted(&[], "127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.1/8",
            "10.0.0/8",
            "::/129",
            "0.0.0.0/0",
            "::/0",
            "::ffff:10.0.0.0/104",
            "localhost",
            "fe80::1%eth0",
        ] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
        assert_eq!(
            "10.1.2.3/8".parse::<Cidr>().unwrap_err(),
            "`10.1.2.3/8` does not begin its network: write 10.0.0.0/8, or the address alone"
        );
    }
}
