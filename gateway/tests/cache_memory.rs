//! A million different answers through a cache of a few MiB: what it holds, and what the process takes for it.
//!
//! In a process of its own, so that nothing else is counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, sync::Arc, time::SystemTime};

use bytes::Bytes;
use gateway::{
    cache::{
        CacheConfig, Draft, Entry, Found, Key, Store, StoreMetrics,
        control::{Asked, Rules},
        entry::Arrival,
    },
    units::Size,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

const URLS: usize = 1_000_000;
const CAP: u64 = 64 << 20;

/// What the process holds in memory, in bytes.
fn resident() -> u64 {
    let pages: u64 =
        fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn key(target: &str) -> Key<'_> {
    Key { host: b"ftgo.example", target, tls: false, whose: None, tags: "", route: 1 }
}

#[tokio::test]
#[ignore = "takes a minute; `./tests/run` runs it"]
async fn a_million_urls_take_no_more_than_they_may() {
    let metrics = Arc::new(StoreMetrics::default());
    let config = CacheConfig { max_size: Size(CAP), ..CacheConfig::default() };
    let store = Store::new(&config, metrics.clone());
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CACHE_CONTROL, "max-age=60"),
        (header::CONTENT_TYPE, "application/json"),
        (header::ETAG, "\"0123456789abcdef\""),
        (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let asked = Asked { method: &Method::GET, headers: &HeaderMap::new(), authorized: false, unkeyed: &[] };
    let arrival =
        Arrival { asked: tokio::time::Instant::now(), received: SystemTime::UNIX_EPOCH, framed: true };
    let rules = Rules::default();
    let (before, mut most) = (resident(), 0);
    for number in 0..URLS {
        let target = format!("/restaurants/{number}?lang=en");
        let key = key(&target);
        let marks = store.marks(store.before(key.host, key.target), std::iter::empty()).unwrap();
        let draft =
            Draft::of(key.owned(), &asked, StatusCode::OK, &headers, &arrival, &rules, marks).unwrap();
        let body = Bytes::from(vec![b'x'; 200 + number % 800]);
        store.put(store.hash(&key), Entry { draft, body });
        if number % 10_000 == 0 {
            most = most.max(resident() - before);
        }
    }
    let kept = (0..URLS).rev().take(1_000).filter(|number| {
        let target = format!("/restaurants/{number}?lang=en");
        let key = key(&target);
        matches!(store.find(store.hash(&key), &key, &HeaderMap::new()), Found::Entry { .. })
    });
    let kept = kept.count();
    store.settle();
    println!("cap {CAP}, weighed {}, counted {}, most resident {most}", store.weight(), metrics.bytes());
    assert!(
        store.weight() <= CAP && metrics.bytes() <= CAP + CAP / 5,
        "{} {}",
        store.weight(),
        metrics.bytes()
    );
    assert!(most <= CAP + CAP / 5, "{most} of {CAP}");
    assert!(metrics.evictions.get() > 0 || kept < 1_000, "they cannot all be there");
}
