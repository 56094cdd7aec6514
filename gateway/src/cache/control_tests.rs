//! The rules of RFC 9111 as tables.

use super::*;

const NOW: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const IN_A_MINUTE: &str = "Sun, 06 Nov 1994 08:50:37 GMT";
const A_MINUTE_AGO: &str = "Sun, 06 Nov 1994 08:48:37 GMT";
const TEN_MINUTES_AGO: &str = "Sun, 06 Nov 1994 08:39:37 GMT";

type Lines = [(&'static str, &'static str)];

fn headers(lines: &Lines) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers
}

fn now() -> SystemTime {
    httpdate::parse_http_date(NOW).unwrap()
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn lasts(status: u16, answer: &Lines, rules: &Rules) -> (u64, Source) {
    let (headers, status) = (headers(answer), StatusCode::from_u16(status).unwrap());
    let told = Directives::of_answer(&headers);
    let freshness = freshness(status, &headers, &told, now(), rules);
    (freshness.lifetime.as_secs(), freshness.source)
}

#[test]
fn how_long_an_answer_is_good_is_what_the_service_says_in_its_order() {
    let plain = Rules::default();
    let (date, expires) = (("date", NOW), ("expires", IN_A_MINUTE));
    for (answer, seconds) in [
        (&[("cache-control", "max-age=5, s-maxage=7"), date, expires][..], 7),
        (&[("cache-control", "max-age=5"), date, expires], 5),
        (&[("cache-control", "max-age=0"), date, expires], 0),
        (&[("cache-control", "max-age=5"), ("expires", "0")], 5),
        (&[date, expires], 60),
        (&[expires], 60),
        (&[("date", "foo"), expires], 60),
        (&[("date", IN_A_MINUTE), ("expires", NOW)], 0),
        (&[date, ("expires", "0")], 0),
        (&[date, expires, expires], 0),
        (&[("cdn-cache-control", "max-age=9"), ("cache-control", "s-maxage=7"), expires], 9),
    ] {
        assert_eq!(lasts(200, answer, &plain), (seconds, Source::Told), "{answer:?}");
    }
    for answer in [&[][..], &[date], &[("cdn-cache-control", "public"), date, expires]] {
        assert_eq!(lasts(200, answer, &plain), (0, Source::None), "{answer:?}");
    }
}

#[test]
fn without_a_word_of_the_service_there_is_the_routes_time_or_a_guess_and_only_if_asked_for() {
    let answer = &[("date", NOW), ("last-modified", TEN_MINUTES_AGO)];
    assert_eq!(lasts(200, answer, &Rules::default()), (0, Source::None));
    let (ttl, guess) =
        (Rules { ttl: Some(secs(30)), ..Rules::default() }, Rules { heuristic: true, ..Rules::default() });
    for (status, by_ttl, by_guess) in [
        (200, (30, Source::Route), (60, Source::Guess)),
        (404, (30, Source::Route), (60, Source::Guess)),
        (501, (60, Source::Guess), (60, Source::Guess)),
        (201, (0, Source::None), (0, Source::None)),
        (302, (0, Source::None), (0, Source::None)),
        (403, (0, Source::None), (0, Source::None)),
        (500, (0, Source::None), (0, Source::None)),
        (503, (0, Source::None), (0, Source::None)),
    ] {
        if status != 501 {
            assert_eq!(lasts(status, answer, &ttl), by_ttl, "{status}");
        }
        assert_eq!(lasts(status, answer, &guess), by_guess, "{status}");
    }
    let public = &[("date", NOW), ("last-modified", TEN_MINUTES_AGO), ("cache-control", "public")];
    assert_eq!(lasts(599, public, &guess), (60, Source::Guess));
    assert_eq!(lasts(200, &[("last-modified", "Wed, 06 Nov 1974 08:49:37 GMT")], &guess).0, 24 * 3600);
    assert_eq!(lasts(200, &[("last-modified", IN_A_MINUTE)], &guess), (0, Source::None));
}

#[test]
fn an_answer_is_as_old_as_it_says_or_as_its_date_says_whichever_is_more() {
    for (answer, seconds) in [
        (&[("date", NOW)][..], 2),
        (&[], 2),
        (&[("date", A_MINUTE_AGO)], 60),
        (&[("date", A_MINUTE_AGO), ("age", "100")], 102),
        (&[("date", IN_A_MINUTE), ("age", "1")], 3),
        (&[("age", "0, 7200")], 2),
        (&[("age", "7200,0")], 7202),
        (&[("age", "7200"), ("age", "0")], 7202),
        (&[("age", "abc")], 2),
        (&[("age", "-7200")], 2),
        (&[("age", "7200.0")], 2),
        (&[("age", "99999999999999999999999")], (1 << 31) + 2),
    ] {
        assert_eq!(initial_age(&headers(answer), now(), secs(2)), secs(seconds), "{answer:?}");
    }
}

fn kept(
    method: &Method,
    authorized: bool,
    asked: &Lines,
    status: u16,
    answer: &Lines,
    rules: &Rules,
) -> Result<(), Refused> {
    let (asked, answer) = (headers(asked), headers(answer));
    let status = StatusCode::from_u16(status).unwrap();
    let told = Directives::of_answer(&answer);
    let freshness = freshness(status, &answer, &told, now(), rules);
    let asked =
        Asked { method, headers: &asked, authorized, unkeyed: &[HeaderName::from_static("x-user-id")] };
    storable(&asked, status, &answer, &told, freshness)
}

fn get(status: u16, answer: &Lines) -> Result<(), Refused> {
    kept(&Method::GET, false, &[], status, answer, &Rules::default())
}

#[test]
fn what_is_kept_and_what_is_not() {
    const GOOD: (&str, &str) = ("cache-control", "max-age=60");
    for (status, answer, expected) in [
        (200, &[GOOD][..], Ok(())),
        (404, &[GOOD], Ok(())),
        (302, &[GOOD], Ok(())),
        (599, &[GOOD], Ok(())),
        (206, &[GOOD], Err(Refused::Status)),
        (304, &[GOOD], Err(Refused::Status)),
        (200, &[], Err(Refused::NoLifetime)),
        (200, &[("etag", "\"a\"")], Err(Refused::NoLifetime)),
        (200, &[("cache-control", "public")], Err(Refused::NoLifetime)),
        (200, &[("cache-control", "max-age=0")], Err(Refused::NoLifetime)),
        (200, &[("cache-control", "max-age=0"), ("etag", "\"a\"")], Ok(())),
        (200, &[("cache-control", "no-cache")], Err(Refused::NoLifetime)),
        (200, &[("cache-control", "no-cache, max-age=60")], Err(Refused::NoLifetime)),
        (200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(())),
        (200, &[("cache-control", "no-cache=a, max-age=60")], Ok(())),
        (200, &[GOOD, ("cache-control", "no-store")], Err(Refused::NoStore)),
        (200, &[GOOD, ("cache-control", "private")], Err(Refused::Private)),
        (200, &[GOOD, ("cache-control", "private=x")], Ok(())),
        (200, &[GOOD, ("vary", "*")], Err(Refused::VaryStar)),
        (200, &[GOOD, ("vary", "Accept, X-User-Id")], Err(Refused::VaryStar)),
        (200, &[GOOD, ("vary", "Accept, X-User")], Ok(())),
        (200, &[GOOD, ("cache-control", "no-store, must-understand")], Ok(())),
        (599, &[GOOD, ("cache-control", "must-understand")], Err(Refused::NotUnderstood)),
        (200, &[GOOD, ("set-cookie", "a=b")], Err(Refused::SetCookie)),
        (200, &[GOOD, ("cache-control", "public"), ("set-cookie", "a=b")], Ok(())),
        (200, &[("cache-control", "s-maxage=5"), ("set-cookie", "a=b")], Ok(())),
        (200, &[("cdn-cache-control", "max-age=5"), ("set-cookie", "a=b")], Ok(())),
    ] {
        assert_eq!(get(status, answer), expected, "{status} {answer:?}");
    }
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let kept = kept(&method, false, &[], 200, &[GOOD], &Rules::default());
        assert_eq!(kept, Err(Refused::Method), "{method}");
    }
    let no_store =
        kept(&Method::GET, false, &[("cache-control", "no-store")], 200, &[GOOD], &Rules::default());
    assert_eq!(no_store, Err(Refused::NoStore));
}

#[test]
fn what_somebody_asked_for_is_for_others_only_if_that_is_said() {
    for (control, expected) in [
        ("max-age=60", Err(Refused::Authorization)),
        ("max-age=60, public", Ok(())),
        ("max-age=60, must-revalidate", Ok(())),
        ("s-maxage=60", Ok(())),
        ("max-age=60, proxy-revalidate", Err(Refused::Authorization)),
    ] {
        let answer = &[("cache-control", control)];
        let kept = kept(&Method::GET, true, &[], 200, answer, &Rules::default());
        assert_eq!(kept, expected, "{control}");
    }
}

#[test]
fn what_only_the_route_makes_cacheable_is_not_kept_for_those_with_a_cookie() {
    let rules = Rules { ttl: Some(secs(30)), ..Rules::default() };
    let cookie: &Lines = &[("cookie", "a=b")];
    assert_eq!(kept(&Method::GET, false, &[], 200, &[], &rules), Ok(()));
    assert_eq!(kept(&Method::GET, false, cookie, 200, &[], &rules), Err(Refused::Cookie));
    assert_eq!(
        kept(&Method::GET, false, &[], 200, &[("set-cookie", "a=b")], &rules),
        Err(Refused::SetCookie)
    );
    let told: &Lines = &[("cache-control", "max-age=5")];
    assert_eq!(kept(&Method::GET, false, cookie, 200, told, &rules), Ok(()));
    assert_eq!(kept(&Method::GET, false, &[], 500, &[], &rules), Err(Refused::NoLifetime));
}

fn terms(control: &'static str, rules: &Rules) -> Terms {
    let headers = headers(&[("cache-control", control)]);
    let told = Directives::of(&headers);
    let freshness = freshness(StatusCode::OK, &headers, &told, now(), rules);
    Terms::of(&told, freshness, rules)
}

#[test]
fn a_stored_answer_is_given_out_while_it_is_good_and_then_only_where_that_is_allowed() {
    let plain = Rules::default();
    for (control, age, expected) in [
        ("max-age=10", 9, Reuse::Fresh),
        ("max-age=10", 10, Reuse::Validate),
        ("max-age=10, no-cache", 0, Reuse::Validate),
        ("max-age=10, no-cache=a", 0, Reuse::Fresh),
        ("max-age=10, must-revalidate", 9, Reuse::Fresh),
        ("max-age=10, stale-while-revalidate=5", 10, Reuse::WhileRevalidating),
        ("max-age=10, stale-while-revalidate=5", 15, Reuse::WhileRevalidating),
        ("max-age=10, stale-while-revalidate=5", 16, Reuse::Validate),
        ("max-age=10, stale-while-revalidate=5, must-revalidate", 11, Reuse::Validate),
        ("max-age=10, stale-while-revalidate=5, proxy-revalidate", 11, Reuse::Validate),
        ("s-maxage=10, stale-while-revalidate=5", 11, Reuse::Validate),
    ] {
        assert_eq!(reuse(&terms(control, &plain), secs(age), false, None), expected, "{control} at {age}");
    }
    let swr = terms("max-age=10, stale-while-revalidate=5", &plain);
    assert_eq!(reuse(&swr, secs(1), true, None), Reuse::WhileRevalidating, "marked as stale");
    assert_eq!(reuse(&terms("max-age=10", &plain), secs(1), true, None), Reuse::Validate);
    let route = Rules { stale_while_revalidate: Some(secs(5)), ..Rules::default() };
    assert_eq!(reuse(&terms("max-age=10", &route), secs(12), false, None), Reuse::WhileRevalidating);
}

#[test]
fn a_client_may_ask_for_less_and_for_more() {
    let plain = Rules::default();
    for (control, age, asked, expected) in [
        ("max-age=10", 1, "no-cache", Reuse::Validate),
        ("max-age=10", 1, "max-age=0", Reuse::Validate),
        ("max-age=10", 5, "max-age=5", Reuse::Fresh),
        ("max-age=10", 5, "min-fresh=4", Reuse::Fresh),
        ("max-age=10", 5, "min-fresh=5", Reuse::Validate),
        ("max-age=10", 12, "max-stale", Reuse::Fresh),
        ("max-age=10", 12, "max-stale=2", Reuse::Fresh),
        ("max-age=10", 13, "max-stale=2", Reuse::Validate),
        ("max-age=10, must-revalidate", 12, "max-stale", Reuse::Validate),
        ("max-age=10, no-cache", 1, "max-stale", Reuse::Validate),
    ] {
        let asked_for = Directives::of(&headers(&[("cache-control", asked)]));
        let reuse = reuse(&terms(control, &plain), secs(age), false, Some(&asked_for));
        assert_eq!(reuse, expected, "{control} at {age}, {asked}");
    }
}

#[test]
fn what_is_no_longer_good_stands_in_for_an_error_where_that_is_allowed() {
    let route = Rules { stale_if_error: Some(secs(60)), ..Rules::default() };
    for (control, rules, age, expected) in [
        ("max-age=2, stale-if-error=60", &Rules::default(), 62, true),
        ("max-age=2, stale-if-error=60", &Rules::default(), 63, false),
        ("max-age=2", &Rules::default(), 3, false),
        ("max-age=2", &route, 62, true),
        ("max-age=2, must-revalidate", &route, 3, false),
        ("max-age=2, proxy-revalidate", &route, 3, false),
        ("max-age=2, no-cache", &route, 1, false),
        ("max-age=2, s-maxage=2", &route, 3, false),
    ] {
        assert_eq!(may_stand_in(&terms(control, rules), secs(age)), expected, "{control} at {age}");
    }
    let errors: Vec<u16> =
        (500..=599).filter(|code| is_error(StatusCode::from_u16(*code).unwrap())).collect();
    assert_eq!(errors, [500, 502, 503, 504]);
}

#[test]
fn a_304_says_anew_what_is_not_about_the_body() {
    let mut stored =
        headers(&[("etag", "\"a\""), ("content-length", "5"), ("a", "1"), ("b", "1"), ("b", "2")]);
    let told = [
        ("etag", "\"x\""),
        ("content-length", "0"),
        ("b", "3"),
        ("c", "4"),
        ("c", "5"),
        ("content-encoding", "br"),
    ];
    update(&mut stored, &headers(&told));
    let expected =
        [("etag", "\"a\""), ("content-length", "5"), ("a", "1"), ("b", "3"), ("c", "4"), ("c", "5")];
    assert_eq!(stored, headers(&expected));
}

#[test]
fn what_is_asked_for_anew_is_asked_by_all_that_it_has() {
    let stored = headers(&[("etag", "\"a\""), ("last-modified", NOW)]);
    let names: Vec<_> = conditions(&stored).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE]);
    assert!(conditions(&headers(&[("date", NOW)])).is_empty());
}

#[test]
fn fields_that_are_not_to_be_kept_are_not() {
    let mut answer = headers(&[
        ("cache-control", "max-age=5, no-cache=\"a\", private=\"b\""),
        ("a", "1"),
        ("b", "2"),
        ("c", "3"),
        ("age", "7"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authentication-info", "x"),
    ]);
    let told = Directives::of_answer(&answer);
    remove_unstored(&mut answer, &told);
    let mut left: Vec<_> = answer.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["c", "cache-control"]);
}

#[test]
fn a_write_that_succeeded_makes_invalid_what_it_names_on_its_own_host() {
    for (method, status, expected) in [
        ("POST", 200, true),
        ("PUT", 204, true),
        ("DELETE", 303, true),
        ("M-SEARCH", 200, true),
        ("POST", 400, false),
        ("POST", 500, false),
        ("GET", 200, false),
        ("HEAD", 200, false),
        ("OPTIONS", 200, false),
    ] {
        let (method, status) = (method.parse().unwrap(), StatusCode::from_u16(status).unwrap());
        assert_eq!(invalidates(&method, status), expected, "{method} {status}");
    }
    for (reference, expected) in [
        ("/a?b#c", Some("/a?b")),
        ("http://ftgo.example/x", Some("/x")),
        ("https://FTGO.example", Some("/")),
        ("//ftgo.example/y?z", Some("/y?z")),
        ("7", Some("/orders/7")),
        ("http://other.example/x", None),
        ("//other.example/x", None),
        ("http://FTGO.example:80/x", Some("/x")),
        ("HTTPS://ftgo.example:443/x#y", Some("/x")),
        ("../x", Some("/x")),
        ("../../../x?y=../z", Some("/x?y=../z")),
        ("./7/../8", Some("/orders/8")),
        ("/a/./b/../c/..", Some("/a/")),
        ("http://ftgo.example/a/../b", Some("/b")),
        ("?page=2", Some("/orders/new?page=2")),
        ("http://ftgo.example:81/x", None),
        ("http:x", None),
        ("mailto:7", None),
        ("", None),
    ] {
        let location = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(reference))]);
        let found = also_invalid(&location, "ftgo.example", "/orders/new?x=/y").next();
        assert_eq!(found.as_deref(), expected, "{reference}");
    }
}
