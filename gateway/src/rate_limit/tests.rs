//! What limits let in. Not here: several instances over one Redis (`tests/system/`).

use futures_util::FutureExt;

use super::{config::Unit, *};

fn config(rate: &str, burst: Option<u32>, by: Key) -> LimitConfig {
    let rate = Some(rate.parse::<Rate>().unwrap());
    LimitConfig { rate, quota: None, burst, by, count: Unit::Requests, shared: false, headers: true }
}

/// Of this principal, at one address.
fn asker<'a>(headers: &'a HeaderMap) -> Asker<'a> {
    Asker { address: IpAddr::from([10, 0, 0, 1]), sub: Some("ann"), headers, params: None }
}

fn now<T>(decided: impl Future<Output = T>) -> T {
    decided.now_or_never().expect("nobody is waited for")
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
    for (wrong, at) in [
        (serde_json::json!({ "by": "address" }), "limits.x"),
        (serde_json::json!({ "by": "address", "rate": "5/s", "quota": "5/day" }), "limits.x"),
        (serde_json::json!({ "by": "address", "quota": "5/day", "burst": 5 }), "limits.x.burst"),
    ] {
        let config: LimitConfig = serde_json::from_value(wrong).unwrap();
        let mistake = RateLimit::build("x", &config, "limits.x", None, Arc::default()).err().unwrap();
        assert_eq!(mistake.at, at);
    }
}

#[test]
fn a_quota_is_all_there_at_once_and_comes_back_when_the_period_is_over() {
    let typed = serde_json::json!({ "quota": "3/day", "by": "address" });
    let config: LimitConfig = serde_json::from_value(typed).unwrap();
    let limit = RateLimit::build("daily", &config, "limits.daily", None, Arc::default()).unwrap();
    let midnight = || limit.pace.left().unwrap();
    let before = midnight();
    assert_eq!(let_in(&limit, "10.0.0.1", None), 3);
    let pause = checked(&limit, "10.0.0.1", None).unwrap_err().pause().unwrap();
    assert!(pause <= before && pause >= midnight(), "{pause:?}: until midnight, not a third of a day");
    assert_eq!(let_in(&limit, "10.0.0.2", None), 3);
}

#[test]
fn what_a_plan_refuses_counts_nowhere_and_what_the_handler_refuses_counts_at_no_plan() {
    let cost = Unit::Cost;
    let of = |name: &str, rate: &str, count| {
        let config = LimitConfig { count, ..config(rate, None, Key::Principal) };
        RateLimit::build(name, &config, "", None, Arc::default()).unwrap()
    };
    let (mine, plans) = (of("mine", "9/h", Unit::Requests), of("plan", "2/h", Unit::Requests));
    let (priced, both) = (of("priced", "5/h", cost), of("both", "7/h", Unit::Requests));
    let one = NonZeroU32::MIN;
    let route = RouteLimits::new(vec![mine.clone(), both.clone()], one, true);
    let plan = route.of_plan(vec![plans.clone(), both.clone(), priced.clone()], one, true);
    let headers = HeaderMap::new();
    let left = |limit: &RateLimit| {
        let bucket = limit.counter.bucket(limit.keys.of(&limit.by.subject(&asker(&headers))));
        limit.counter.left(limit.counter.ahead(bucket, limit.counter.now()))
    };
    let check = |tally: &mut Tally| now(route.check_late(&asker(&headers), tally, Some(&plan)));

    let mut tally = Tally::default();
    let bill = check(&mut tally).unwrap().expect("the plan has a limit by cost");
    assert!(now(bill.pay(6)).is_ok(), "what costs more than all costs all");
    assert_eq!([&mine, &both, &plans, &priced].map(|limit| left(limit)), [8, 6, 1, 0]);
    let bill = check(&mut Tally::default()).unwrap().unwrap();
    assert!(now(bill.pay(1)).is_err());
    assert_eq!([&mine, &both, &plans].map(|limit| left(limit)), [8, 6, 1], "given back to the plan as well");
    assert!(check(&mut Tally::default()).is_ok());
    assert!(check(&mut Tally::default()).is_err(), "the plan is used up");
    assert_eq!([&mine, &both, &plans].map(|limit| left(limit)), [7, 5, 0], "given back to the route");

    let mut told = HeaderMap::new();
    tally.tell(&mut told);
    let policy = r#""mine";q=9;w=3600, "both";q=7;w=3600, "plan";q=2;w=3600, "priced";q=5;w=3600"#;
    assert_eq!(told["ratelimit-policy"], policy);
    let standing = told["ratelimit"].to_str().unwrap();
    assert!(standing.starts_with(r#""mine";r=8"#) && standing.contains(r#""plan";r=1;t=1800"#), "{standing}");
    // Whoever has no plan is told of none, and counted by none.
    let mut tally = Tally::default();
    now(route.check_early(&asker(&headers), &mut tally)).unwrap();
    assert!(now(route.check_late(&asker(&headers), &mut tally, None)).unwrap().is_none());
}
