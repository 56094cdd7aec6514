//! Loaders: what is kept of bulk answers, who asks for what is not, and who is told that it is no longer good.
//!
//! Not here: how an answer is taken apart (`gateway/src/loaders/records.rs`), gathering keys of one request (`mobile_bulk.rs`).

mod herds;
mod mobile;
mod stale;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::body::Body;
use gateway::{
    body,
    handler::{Admitted, Answer, Handler, Handlers},
    loaders::{Loader, State},
};
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use crate::{
    cached::{
        metric,
        service::{Service, ok},
    },
    harness::{Gate, after_listen},
};

/// Answers `/load?a,b` with what the loader `things` says of these keys.
struct Load(Arc<Loader>);

impl Handler for Load {
    fn answer<'a>(&'a self, _request: &'a mut body::Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(async move {
            let keys: Vec<Arc<str>> = admitted.params.query().split(',').map(Arc::from).collect();
            let loaded = self.0.load(&keys, &admitted.caller, admitted.deadline).await;
            let told: Map<String, Value> = loaded
                .into_iter()
                .map(|(key, outcome)| {
                    let told = match outcome {
                        Ok(None) => Value::Null,
                        Ok(Some(record)) => {
                            let state = match &record.state {
                                State::Good => json!("good"),
                                State::Worn => json!("worn"),
                                State::StandsIn(fault) => json!(fault.reason.name()),
                            };
                            json!({"state": state, "is": serde_json::from_slice::<Value>(&record.json).unwrap()})
                        }
                        Err(fault) => json!({"fault": fault.reason.name()}),
                    };
                    (key.to_string(), told)
                })
                .collect();
            let mut response = body::Response::new(body::Body::full(Value::Object(told).to_string()));
            let typed = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, typed);
            Ok(response)
        })
    }
}

fn handlers() -> Handlers {
    Handlers::default().with("load", |services| Ok(Arc::new(Load(services.loader("things")?))))
}

fn yaml(service: SocketAddr, keys: &str) -> String {
    after_listen(&format!(
        "server: {{ max_in_flight: 50000 }}\nupstreams:\n  \
         it: {{ url: \"http://{service}\", in_flight: {{ limit: 5000 }}, retry: {{ attempts: 1 }}, circuit_breaker: {{ min_calls: 10000 }} }}\n\
         loaders:\n  things: {{ get: \"it/things?ids={{keys}}\", key: id, {keys} }}\n\
         routes:\n  - {{ path: /load, auth: none, timeout: 30s, handle: load }}\n"
    ))
}

/// A gateway whose loader has these keys.
fn loading(service: SocketAddr, keys: &str) -> Gate {
    Gate::with(&yaml(service, keys), handlers())
}

async fn load(gate: &Gate, keys: &str) -> Value {
    gate.get(&format!("/load?{keys}")).send().await.expect(200).json()
}

/// What the number-th answer says of a key.
fn good(key: &str, number: usize) -> Value {
    json!({"state": "good", "is": {"id": key, "n": number}})
}

async fn counted(gate: &Gate, outcome: &str) -> u64 {
    metric(gate, &format!(r#"gateway_loader_keys_total{{loader="things",outcome="{outcome}"}}"#)).await
}

/// The keys that a request asks for, in their order.
fn asked_for(request: &Request<Incoming>) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    query.strip_prefix("ids=").unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// The records of these keys, in the number-th answer.
fn records(fields: &[(&str, &str)], keys: &[String], number: usize) -> Response<Body> {
    let records: Vec<Value> = keys.iter().map(|key| json!({"id": key, "n": number})).collect();
    let typed = [("content-type", "application/json")];
    ok(&[&typed, fields].concat(), Value::from(records).to_string())
}

/// What a service was asked, as `keys` or `keys if TAG`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, request: &Request<Incoming>) {
        let mut line = asked_for(request).join(",");
        if let Some(tag) = request.headers().get("if-none-match") {
            line += &format!(" if {}", tag.to_str().unwrap());
        }
        self.0.lock().unwrap().push(line);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A service that knows all keys and sends these fields.
async fn knowing(fields: &'static [(&'static str, &'static str)]) -> (Service, Log) {
    let log = Log::default();
    let noted = log.clone();
    let service = Service::start(move |request, number| {
        noted.add(request);
        records(fields, &asked_for(request), number)
    })
    .await;
    (service, log)
}

const KEPT: &str = r#"cache: { tags: ["thing:{key}"] }"#;

async fn purge(gate: &Gate, query: &str) {
    gate.admin_ask("DELETE", &format!("/cache?{query}")).send().await.expect(200);
}

#[tokio::test]
async fn only_what_is_missing_is_asked_for_and_by_one_call() {
    let (service, log) = knowing(&[("cache-control", "max-age=60")]).await;
    let gate = loading(service.address, KEPT);
    let ten = "1,2,3,4,5,6,7,8,9,10";
    let first = load(&gate, ten).await;
    assert_eq!((first["7"].clone(), first.as_object().unwrap().len()), (good("7", 1), 10));
    assert_eq!((load(&gate, ten).await, service.seen()), (first.clone(), 1));
    purge(&gate, "tag=thing:3&tag=thing:5&tag=thing:10").await;
    let again = load(&gate, ten).await;
    for key in first.as_object().unwrap().keys() {
        let number = if ["3", "5", "10"].contains(&key.as_str()) { 2 } else { 1 };
        assert_eq!(again[key], good(key, number));
    }
    assert_eq!(log.all(), [ten, "3,5,10"]);
    assert_eq!((load(&gate, "10,11").await["11"].clone(), log.all()[2].as_str()), (good("11", 3), "11"));
    assert_eq!((counted(&gate, "hit").await, counted(&gate, "miss").await), (10 + 7 + 1, 10 + 3 + 1));
    purge(&gate, "all").await;
    assert_eq!(load(&gate, "1").await["1"], good("1", 4));
    assert!(metric(&gate, "gateway_cache_bytes").await > 1_000);
}

#[tokio::test]
async fn without_a_cache_nothing_is_kept_and_more_keys_than_fit_are_more_calls() {
    let (service, log) = knowing(&[("cache-control", "max-age=60")]).await;
    let gate = loading(service.address, "max_keys: 2");
    for _ in 0..2 {
        assert_eq!(load(&gate, "1,2,3,1,4,5").await.as_object().unwrap().len(), 5);
    }
    let mut asked = log.all();
    asked.sort();
    assert_eq!(asked, ["1,2", "1,2", "3,4", "3,4", "5", "5"]);
    assert_eq!(load(&gate, "").await, json!({"": null}), "nothing is asked for nothing");
    assert_eq!(service.seen(), 6);
}

#[tokio::test]
async fn a_key_is_one_key_whatever_it_holds_and_an_unknown_one_is_asked_for_each_time() {
    let service = Service::start(|request, number| {
        let known: Vec<_> = asked_for(request).into_iter().filter(|key| key != "404").collect();
        records(&[("cache-control", "max-age=60")], &known, number)
    })
    .await;
    let gate = loading(service.address, KEPT);
    assert_eq!(load(&gate, "1,404").await, json!({"1": good("1", 1), "404": null}));
    assert_eq!(load(&gate, "1,404").await["404"], Value::Null);
    assert_eq!(service.seen(), 2);
    // The service knows the key as it was written: `%26` is nobody's own.
    assert_eq!(load(&gate, "a&ids=1").await, json!({"a&ids=1": null}));
}

#[tokio::test]
async fn what_is_not_for_everybody_is_not_kept() {
    for fields in [
        &[("cache-control", "private, max-age=60")][..],
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=60"), ("vary", "x-user-id")],
        &[("cache-control", "max-age=60"), ("vary", "traceparent")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        &[("cache-control", "max-age=0")],
    ] {
        let (service, _) = knowing(fields).await;
        let gate = loading(service.address, "cache: { ttl: 60s }");
        for number in 1..=2 {
            assert_eq!(load(&gate, "1").await["1"], good("1", number), "{fields:?}");
        }
    }
    let (service, _) = knowing(&[("vary", "accept, origin")]).await;
    let gate = loading(service.address, "cache: { ttl: 60s }");
    assert_eq!(
        (load(&gate, "1").await, load(&gate, "1").await, service.seen()),
        (json!({"1": good("1", 1)}), json!({"1": good("1", 1)}), 1)
    );
}

#[tokio::test]
async fn what_is_kept_outlives_a_reload_that_is_about_something_else() {
    let (service, log) = knowing(&[("cache-control", "max-age=60")]).await;
    let gate = loading(service.address, KEPT);
    load(&gate, "1,2").await;
    let reloads = async || metric(&gate, "gateway_config_reloads_total").await;
    let until = async |count: u64| {
        let waiting = async { while reloads().await < count {} };
        tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it is taken up");
    };
    gate.rewrite(&yaml(service.address, KEPT).replace("timeout: 30s", "timeout: 20s"));
    until(1).await;
    assert_eq!((load(&gate, "1,2").await["2"].clone(), service.seen()), (good("2", 1), 1));
    gate.rewrite(&yaml(service.address, &format!("{KEPT}, max_keys: 7")));
    until(2).await;
    assert_eq!(load(&gate, "1,2").await["2"], good("2", 2));
    assert_eq!(log.all(), ["1,2", "1,2"], "another loader, another answer");
}
