//! A provider of reference tokens that is slow, fails, forgets, or is gone, and who callers are meanwhile.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::{auth::install_crypto, units::Span};

const NOW: u64 = 1_800_000_000;

/// The token `t-7` is good and of the caller `7`, unless it was revoked; no other is.
#[derive(Default)]
struct Office {
    asked: AtomicUsize,
    revoked: Mutex<HashSet<String>>,
    /// Whether it is slow, and fails one question in ten.
    moody: AtomicBool,
    gone: AtomicBool,
    /// What it says besides.
    says: Mutex<Map<String, Value>>,
}

impl Office {
    async fn open() -> (Arc<Self>, String) {
        install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let office = Arc::new(Office::default());
        let shared = office.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let office = shared.clone();
                let service = service_fn(move |request| office.clone().say(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (office, url)
    }

    async fn say(
        self: Arc<Self>,
        request: http::Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // `gate%2Fway:p%3Aw`, as RFC 6749 section 2.3.1 has it.
        assert_eq!(request.headers()["authorization"], "Basic Z2F0ZSUyRndheTpwJTNBdw==");
        let form = request.into_body().collect().await.unwrap().to_bytes();
        let form = String::from_utf8(form.to_vec()).unwrap().replace("%2D", "-");
        let token = form.strip_prefix("token=").and_then(|rest| rest.split('&').next()).unwrap().to_owned();
        let failing = self.gone.load(Ordering::SeqCst)
            || self.moody.load(Ordering::SeqCst) && {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await;
                fastrand::u8(..10) == 0
            };
        let active = token.starts_with("t-") && !self.revoked.lock().contains(&token);
        let mut claims = json!({"active": active});
        if active {
            claims["sub"] = token[2..].into();
            claims.as_object_mut().unwrap().extend(self.says.lock().clone());
        }
        let mut response = Response::new(Full::from(claims.to_string()));
        if failing {
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(response)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn config(url: &str, max_age: Duration) -> IntrospectConfig {
    let typed = json!({"url": url, "client_id": "gate/way", "client_secret": "p:w"});
    let config: IntrospectConfig = serde_json::from_value(typed).unwrap();
    IntrospectConfig { max_age: Span(max_age), timeout: Span(max_age.min(Duration::from_secs(2))), ..config }
}

/// References whose questions are answered until the sender is dropped.
fn references(config: &IntrospectConfig) -> (References, watch::Sender<()>) {
    let references = References::introspected("ftgo", config, &[], "").unwrap();
    let (alive, stays) = watch::channel(());
    tokio::spawn(references.keep_fresh(stays));
    (references, alive)
}

async fn sub(references: &References, token: &str) -> Result<String, Refusal> {
    references.whose(token, NOW).await.map(|principal| principal.sub.to_string())
}

fn is_bad(found: &Result<String, Refusal>) -> bool {
    matches!(found, Err(Refusal::Bad(_)))
}

fn is_unavailable(found: &Result<String, Refusal>) -> bool {
    matches!(found, Err(Refusal::Unavailable(_, pause)) if *pause >= Duration::from_secs(1))
}

#[tokio::test]
async fn however_many_bring_a_token_along_it_is_asked_about_once() {
    let (office, url) = Office::open().await;
    let (references, _alive) = references(&config(&url, Duration::from_secs(60)));
    let found = join_all((0..500).map(|_| sub(&references, "t-7"))).await;
    assert!(found.into_iter().all(|found| found.ok().as_deref() == Some("7")));
    assert!(sub(&references, "t-7").await.is_ok());
    assert_eq!(office.asked(), 1);
    for _ in 0..5 {
        assert!(is_bad(&sub(&references, "made-up").await));
    }
    assert_eq!(office.asked(), 2, "a refusal is remembered for a while");
    assert!(is_bad(&sub(&references, &"x".repeat(LONGEST_TOKEN + 1)).await));
}

#[tokio::test]
async fn a_revoked_token_is_refused_within_its_bound() {
    let (office, url) = Office::open().await;
    let bound = Duration::from_millis(400);
    let (references, _alive) = references(&config(&url, bound));
    assert!(sub(&references, "t-7").await.is_ok());
    office.revoked.lock().insert("t-7".to_owned());
    let revoked = std::time::Instant::now();
    while sub(&references, "t-7").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = revoked.elapsed();
    println!("a revoked token is refused after {took:?}, and {bound:?} at most");
    assert!(took < bound + Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn without_the_provider_what_is_remembered_is_good_until_its_bound_and_nobody_else_is_let_in() {
    let (office, url) = Office::open().await;
    let (references, _alive) = references(&config(&url, Duration::from_millis(500)));
    assert!(sub(&references, "t-7").await.is_ok());
    office.gone.store(true, Ordering::SeqCst);
    assert!(is_unavailable(&sub(&references, "t-8").await));
    assert!(sub(&references, "t-7").await.is_ok());
    tokio::time::sleep(Duration::from_millis(510)).await;
    assert!(is_unavailable(&sub(&references, "t-7").await));
    office.gone.store(false, Ordering::SeqCst);
    assert!(sub(&references, "t-7").await.is_ok() && sub(&references, "t-8").await.is_ok());
}

#[tokio::test]
async fn a_token_is_never_good_beyond_its_time_or_for_somebody_else() {
    let (office, url) = Office::open().await;
    let fresh = |says: Value| {
        *office.says.lock() = says.as_object().unwrap().clone();
        let config = config(&url, Duration::from_secs(60));
        let (issuer, audience) = (Some("https://id.example".to_owned()), Some("ftgo".to_owned()));
        references(&IntrospectConfig { issuer, audience, ..config })
    };
    let good = json!({"iss": "https://id.example", "aud": ["x", "ftgo"], "exp": NOW + 10});
    let (keeper, _alive) = fresh(good.clone());
    assert!(sub(&keeper, "t-7").await.is_ok());
    assert!(keeper.whose("t-7", NOW + 9).await.is_ok());
    assert!(keeper.whose("t-7", NOW + 10).await.is_err());
    for (claim, value) in [
        ("iss", json!("https://other.example")),
        ("aud", json!("other")),
        ("aud", Value::Null),
        ("exp", json!(NOW)),
        ("exp", json!("soon")),
        ("sub", json!(7)),
        ("active", json!(false)),
    ] {
        let mut says = good.clone();
        says[claim] = value;
        let (keeper, _alive) = fresh(says.clone());
        assert!(is_bad(&sub(&keeper, "t-7").await), "{says}");
    }
    let (keeper, _alive) = fresh(json!({"active": "true"}));
    assert!(is_unavailable(&sub(&keeper, "t-7").await), "an answer that says nothing");
}

/// 100,000 with `IDENTITY_REQUESTS=100000`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_taken_for_another_however_slow_the_provider_and_however_often_it_fails() {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is no configuration")]
    let requests = std::env::var("IDENTITY_REQUESTS").ok().and_then(|number| number.parse().ok());
    let requests: usize = requests.unwrap_or(20_000);
    let (office, url) = Office::open().await;
    office.moody.store(true, Ordering::SeqCst);
    let (references, _alive) = references(&config(&url, Duration::from_millis(200)));
    let references = Arc::new(references);
    let clients = (0..50).map(|_| {
        let references = references.clone();
        tokio::spawn(async move {
            let (mut right, mut wrong, mut unavailable) = (0, 0, 0);
            for _ in 0..requests / 50 {
                let caller = fastrand::u16(..1_000).to_string();
                match sub(&references, &format!("t-{caller}")).await {
                    Ok(found) if found == caller => right += 1,
                    Ok(_) | Err(Refusal::Bad(_)) => wrong += 1,
                    Err(Refusal::Unavailable(..)) => unavailable += 1,
                }
            }
            (right, wrong, unavailable)
        })
    });
    let mut sum = (0, 0, 0);
    for counts in join_all(clients).await {
        let (right, wrong, unavailable) = counts.unwrap();
        sum = (sum.0 + right, sum.1 + wrong, sum.2 + unavailable);
    }
    println!("{requests} requests, {} questions: (right, wrong, unavailable) = {sum:?}", office.asked());
    assert_eq!(sum.1, 0);
    assert!(sum.0 > requests / 2 && sum.2 > 0, "{sum:?}");
}
