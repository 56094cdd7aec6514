//! `bff-mobile` as shipped in front of the stubs, and GraphQL answers as a client reads them.

use std::fs;

use ftgo::stubs::{Stubs, recorder::Counts, service::Service};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::{
    client::Ask,
    harness::{Gate, JOHN, config_folder, stubs, until},
};

/// `bff-mobile` in front of all stubs.
pub(crate) struct Mobile {
    pub(crate) stubs: Stubs,
    pub(crate) gate: Gate,
}

impl Mobile {
    /// The configuration that ships, with the addresses of fresh stubs.
    pub(crate) async fn start() -> Mobile {
        Mobile::edited(&str::to_owned).await
    }

    /// The same, after an edit.
    pub(crate) async fn edited(edit: &dyn Fn(&str) -> String) -> Mobile {
        let stubs = stubs();
        let gate = Gate::with(&edit(&yaml(&stubs)), bff_mobile::handlers());
        let mobile = Mobile { stubs, gate };
        until("the gateway has keys", || mobile.gate.ready()).await;
        mobile
    }

    /// The configuration that ships, with this under `graphql:` of its route.
    pub(crate) async fn offering(graphql: &str) -> Mobile {
        Mobile::edited(&|yaml| offering(yaml, graphql)).await
    }

    /// A consumer's token with all that a consumer may do.
    pub(crate) fn consumer(&self, sub: &str) -> String {
        self.stubs.token(sub, &["consumer"], "consumers:read orders:read orders:write")
    }

    pub(crate) fn john(&self) -> String {
        self.consumer(JOHN)
    }

    /// A POST of any JSON; no token is sent where it is empty.
    pub(crate) fn post(&self, token: &str, body: &Value) -> Ask {
        with_token(self.gate.ask("POST", "/graphql").json(body), token)
    }

    /// The same operation by GET.
    pub(crate) fn get(&self, token: &str, query: &str, variables: &Value) -> Ask {
        with_token(self.gate.get(&target(query, variables)), token)
    }

    /// The same operation by HEAD.
    pub(crate) fn head(&self, token: &str, query: &str) -> Ask {
        with_token(self.gate.ask("HEAD", &target(query, &json!({}))), token)
    }

    /// What a query is answered.
    pub(crate) async fn ask(&self, token: &str, query: &str) -> Value {
        self.ask_with(token, query, json!({})).await
    }

    /// What an operation with variables is answered.
    pub(crate) async fn ask_with(&self, token: &str, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables});
        self.post(token, &body).send().await.expect(200).json()
    }

    /// Breaks a service.
    pub(crate) async fn fault(&self, service: Service, rule: Value) {
        self.stubs.faults().set(service, rule).await.unwrap();
    }

    /// Makes a service answer this JSON to every GET.
    pub(crate) async fn script(&self, service: Service, body: &Value) {
        let headers = json!({"content-type": "application/json"});
        let fault = json!({"status": 200, "headers": headers, "body": body.to_string()});
        self.fault(service, json!({"method": "GET", "fault": fault})).await;
    }

    pub(crate) fn seed(&self, records: &Value) {
        self.stubs.world().seed(records).unwrap();
    }

    /// What a service was asked.
    pub(crate) fn counts(&self, service: Service) -> Counts {
        self.stubs.recorder().counts(service)
    }

    /// How many requests reached any service.
    pub(crate) fn asked(&self) -> u64 {
        Service::ALL.into_iter().map(|service| self.counts(service).total).sum()
    }

    /// How many writes reached any service.
    pub(crate) fn writes(&self) -> usize {
        let all = Service::ALL.into_iter().flat_map(|service| self.counts(service).last);
        all.filter(|seen| seen.method != "GET").count()
    }
}

fn target(query: &str, variables: &Value) -> String {
    let coded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!("/graphql?query={}&variables={}", coded(query), coded(&variables.to_string()))
}

fn with_token(ask: Ask, token: &str) -> Ask {
    if token.is_empty() { ask } else { ask.token(token) }
}

/// The configuration with this under `graphql:` of its route, in the place of what is there.
pub(crate) fn offering(yaml: &str, graphql: &str) -> String {
    let (before, of_route) = yaml.split_once("    graphql:\n").unwrap();
    let after = of_route.find("\naccess_log").unwrap();
    format!("{before}    graphql: {graphql}\n{}", &of_route[after..])
}

/// `config/bff-mobile.yaml` with the stubs' addresses in the place of the reference ones.
pub(crate) fn yaml(stubs: &Stubs) -> String {
    let mut yaml = fs::read_to_string(config_folder().join("bff-mobile.yaml")).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert!(yaml.contains(from), "bff-mobile.yaml has no {from}");
        yaml = yaml.replace(from, to);
    };
    for service in Service::ALL {
        let reference = format!("127.0.0.1:{} }}", service.port());
        replace(&reference, &format!("{} }}", stubs.address(service)));
    }
    replace("127.0.0.1:8090", &stubs.identity().to_string());
    replace("${MOBILE_ADDRESS:-127.0.0.1:8088}", "127.0.0.1:0");
    replace("127.0.0.1:9088", "127.0.0.1:0");
    format!("{yaml}\naccess_log: off\n")
}

/// The errors of an answer as `path CODE`, sorted: `order.ticket UPSTREAM_TIMEOUT`.
pub(crate) fn errors(answer: &Value) -> Vec<String> {
    let errors = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told: Vec<String> = errors.iter().map(error).collect();
    told.sort();
    told
}

fn error(error: &Value) -> String {
    assert!(error["extensions"]["requestId"].is_string(), "an error tells the request: {error}");
    let path = error["path"].as_array().map(Vec::as_slice).unwrap_or_default();
    let path: Vec<_> =
        path.iter().map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_owned)).collect();
    format!("{} {}", path.join("."), error["extensions"]["code"].as_str().expect("an error has a code"))
}

/// The data of an answer without errors.
#[track_caller]
pub(crate) fn data(answer: &Value) -> &Value {
    assert!(answer.get("errors").is_none(), "{answer}");
    &answer["data"]
}
