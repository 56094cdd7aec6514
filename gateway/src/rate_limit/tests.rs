//! What limits let in. Not here: several instances over one Redis (`tests/system/`).

use futures_util::FutureExt;

use super::{config::Unit, *};
use crate::units::Rate;

fn config(rate: &str, burst: Option<u32>, by: Key) -> LimitConfig {
    let rate = rate.parse::<Rate>().unwrap();
    LimitConfig { rate, burst, by, count: Unit::Requests, shared: false, headers: true }
}

fn limit(rate: &str, burst: Option<u32>, by: Key) -> Arc<RateLimit> {
    RateLimit::build("browse", &config(rate, burst, by), "limits.browse", None, Arc::default()).unwrap()
}

/// A limit that is not shared decides at once.
fn checked(limit: &RateLimit, address: &str, sub: Option<&str>) -> Result<(), Error> {
    limit.check(address.parse().unwrap(), sub).now_or_never().expect("nobody is waited for")
}

/// How many of 20 requests are let in.
fn let_in(limit: &RateLimit, address: &str, sub: Option<&str>) -> usize {
    (0..20).filter(|_| checked(limit, address, sub).is_ok()).count()
}

#[test]
fn a_burst_is_a_periods_worth_unless_given() {
    assert_eq!(let_in(&limit("5/h", None, Key::Address), "10.0.0.1", None), 5);
    assert_eq!(let_in(&limit("5/h", Some(7), Key::Address), "10.0.0.1", None), 7);
}

#[test]
fn addresses_are_counted_apart_and_ipv6_by_network() {
    let limit = limit("5/h", None, Key::Address);
    assert_eq!(let_in(&limit, "10.0.0.1", None), 5);
    assert_eq!(let_in(&limit, "10.0.0.2", None), 5);
    assert_eq!(let_in(&limit, "::ffff:10.0.0.1", None), 0, "an IPv4 address in IPv6 clothes");
    assert_eq!(let_in(&limit, "2001:db8:0:1::1", None), 5);
    assert_eq!(let_in(&limit, "2001:db8:0:1:ffff::2", None), 0);
    assert_eq!(let_in(&limit, "2001:db8:0:2::1", None), 5);
}

#[test]
fn a_principal_is_counted_wherever_it_comes_from_and_nobody_by_address() {
    let limit = limit("5/h", None, Key::Principal);
    assert_eq!(let_in(&limit, "10.0.0.1", Some("ann")), 5);
    assert_eq!(let_in(&limit, "10.0.0.2", Some("ann")), 0);
    assert_eq!(let_in(&limit, "10.0.0.1", Some("bob")), 5);
    assert_eq!(let_in(&limit, "10.0.0.1", None), 5);
    assert_eq!(let_in(&limit, "10.0.0.1", None), 0);
    assert_eq!(let_in(&limit, "10.0.0.1", Some("10.0.0.1")), 5, "a sub cannot pose as an address");
}

#[test]
fn a_refused_client_is_told_when_to_come_back() {
    let limit = limit("1/m", None, Key::Address);
    let address = "10.0.0.1";
    assert!(checked(&limit, address, None).is_ok());
    let error = checked(&limit, address, None).unwrap_err();
    assert_eq!(error.code(), Code::RateLimited);
    assert!(
        error.pause().unwrap() > Duration::from_secs(58) && error.pause().unwrap() <= Duration::from_secs(60)
    );
    assert_eq!(error.into_response("r").headers()["retry-after"], "60");
}

#[test]
fn a_limit_that_cannot_be_is_a_mistake() {
    let build = |rate, burst| {
        RateLimit::build("x", &config(rate, burst, Key::Address), "limits.x", None, Arc::default())
            .err()
            .unwrap()
    };
    assert_eq!(build("5/s", Some(0)).at, "limits.x.burst");
    assert_eq!(build("4000000000/s", None).at, "limits.x.rate");
    assert_eq!(build("1/day", Some(u32::MAX)).at, "limits.x.burst");
}
