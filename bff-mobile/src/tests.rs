//! The handler over real connections to a service that plays all services, and remembers what it was asked.
//!
//! Not here: faults and deadlines, which need the stub services.

mod costs;
mod differential;
mod sdl;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use gateway::{
    auth::Principal,
    body::{Body, Request, Response},
    deadline::Deadline,
    downstream::Downstream,
    handler::{Admitted, Services},
    identity::Caller,
    loaders::{Around, build::Reading},
    mistake::Mistakes,
    observability::{record::Note, trace::Trace},
    rate_limit::RateLimit,
    routing::{Found, Params, Router},
    upstream::{Upstream, UpstreamMetrics},
};
use serde_json::{Value, json};

type Asked = Arc<Mutex<Vec<String>>>;

fn answer(target: &str) -> Value {
    let ids = || target.split_once('=').map_or("", |(_, ids)| ids).split(',').map(|id| id.parse::<i64>());
    if target.starts_with("/orders?consumerId=") {
        let order = |n: i64| {
            json!({"orderId": n.to_string(), "status": "APPROVED", "orderTotal": "61.70",
            "restaurantId": (n % 10 + 1).to_string()})
        };
        json!({"orders": (100..150).map(order).collect::<Vec<_>>(), "startKey": null})
    } else if target.starts_with("/orders?ids=") {
        let known = ids().flatten().filter(|id| *id != 555);
        known
            .map(|id| json!({"orderId": id, "consumerId": 5, "restaurantId": 1, "state": "TELEPORTED"}))
            .collect()
    } else if target.starts_with("/bills") {
        json!({"nonsense": true})
    } else {
        let known = ids().flatten().filter(|id| *id != 10);
        known.map(|id| json!({"id": id, "name": format!("R{id}")})).collect()
    }
}

/// What the services answer to a GET, or that one hangs up.
type Script = fn(&str) -> Option<Value>;

/// The kitchen hangs up on everybody.
fn without_kitchen(target: &str) -> Option<Value> {
    (!target.starts_with("/tickets")).then(|| answer(target))
}

fn serve(mut stream: TcpStream, asked: &Asked, script: Script) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        while lines.read_line(&mut line)? > 2 {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        lines.read_exact(&mut vec![0; length])?;
        let target = first.split(' ').nth(1).unwrap();
        asked.lock().unwrap().push(target.to_owned());
        let Some(body) = script(target) else { return Ok(()) };
        let body = body.to_string();
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:";
        // In one piece: of several, the later ones would wait until the first is acknowledged.
        stream.write_all(format!("{head} {length}\r\n\r\n{body}").as_bytes())?;
    }
}

fn services() -> (Services, Asked) {
    answering(without_kitchen)
}

fn answering(script: Script) -> (Services, Asked) {
    let (listener, asked) = (TcpListener::bind("127.0.0.1:0").unwrap(), Asked::default());
    let config = json!({"url": format!("http://{}", listener.local_addr().unwrap())});
    let config = serde_json::from_value(config).unwrap();
    let remembers = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = remembers.clone();
            std::thread::spawn(move || serve(stream, &asked, script));
        }
    });
    let mut services = Services::default();
    services.graphql.limits.batch = 2;
    for name in ["consumer", "order", "kitchen", "restaurant", "accounting", "order-history", "delivery"] {
        let metrics = Arc::new(UpstreamMetrics::default());
        services
            .upstreams
            .insert(name.to_owned(), Upstream::build(name, &config, metrics, "", None).ok().unwrap());
    }
    let limit = serde_json::from_value(json!({"rate": "50/s", "by": "address"})).unwrap();
    let limit = RateLimit::build("registration", &limit, "", None, Arc::default()).unwrap();
    services.limits.insert("registration".to_owned(), limit);
    let typed =
        serde_json::from_value(json!({"get": "restaurant/restaurants?ids={keys}", "key": "id"})).unwrap();
    let reading = Reading::of("restaurants", &typed, "", &mut Mistakes::default()).unwrap();
    let (upstream, metrics) = (services.upstreams["restaurant"].clone(), Arc::default());
    let around = Around { upstream, store: None, unkeyed: Box::default(), metrics };
    services.loaders.insert("restaurants".to_owned(), reading.build("restaurants", &typed, around));
    (services, asked)
}

fn params() -> Params {
    let mut routes = Router::default();
    routes.add("/graphql", &[http::Method::POST], &(), "").unwrap();
    match routes.find(&http::Method::POST, &"/graphql".parse().unwrap()) {
        Found::Route(_, params) => params,
        _ => panic!("the route is there"),
    }
}

/// What the consumer 5 is answered, and what the services were asked for that.
async fn ask(body: Value) -> (Value, Vec<String>) {
    let (response, asked) = respond(body).await;
    let json = response.into_body().collect().await.unwrap();
    (serde_json::from_slice(&json).unwrap(), asked)
}

async fn respond(body: Value) -> (Response, Vec<String>) {
    let (services, asked) = services();
    let handler = crate::schema::closed(&services).unwrap();
    let response = handler.answer(&mut request(&body), &admitted()).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    (response, asked)
}

fn request(body: &Value) -> Request {
    let request = http::Request::post("/graphql").header("content-type", "application/json");
    request.body(Body::full(body.to_string())).unwrap()
}

/// The consumer 5.
fn admitted() -> Admitted {
    let claims =
        json!({"sub": "5", "roles": ["consumer"], "scope": "orders:read orders:write consumers:read"});
    let principal =
        Principal::from_claims(claims.as_object().unwrap().clone(), Some("a.b.c"), "roles").unwrap();
    let caller = Caller {
        request_id: http::HeaderValue::from_static("r-1"),
        principal: Some(Arc::new(principal)),
        trace: Trace::of(&http::HeaderMap::new()),
        budget: gateway::deadline::BudgetField::default(),
    };
    Admitted {
        caller,
        params: params(),
        deadline: Deadline::after(Duration::from_secs(5)),
        downstream: Arc::new(Downstream::new("127.0.0.1:1".parse().unwrap(), false)),
        bill: None,
        asked: None,
    }
}

#[tokio::test]
async fn fifty_orders_and_their_restaurants_are_two_calls() {
    let query = "{ consumer: orders(consumerId: 5) { orderId state orderTotal restaurant { name } } }";
    let (answer, asked) = ask(json!({ "query": query })).await;
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert_eq!(answer["data"]["consumer"][0]["restaurant"]["name"], "R1");
    // Restaurant 10 is unknown: that is told where it is missing, and nowhere else.
    assert_eq!(answer["data"]["consumer"][9]["restaurant"], Value::Null);
    assert_eq!(answer["errors"].as_array().unwrap().len(), 5);
    let paths: Vec<_> = answer["errors"].as_array().unwrap().iter().map(|error| &error["path"]).collect();
    assert!(paths.contains(&&json!(["consumer", 9, "restaurant"])), "{paths:?}");
    assert_eq!(answer["errors"][0]["extensions"], json!({"code": "NOT_FOUND", "requestId": "r-1"}));
}

#[tokio::test]
async fn refused_fields_are_null_and_ask_nothing() {
    let query = "{ a: order(orderId: \"abc\") { state } b: consumer(consumerId: 6) { firstName } }";
    let (answer, asked) = ask(json!({ "query": query })).await;
    assert_eq!(answer["data"], json!({"a": null, "b": null}));
    let mut codes: Vec<_> = answer["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["extensions"]["code"].as_str().unwrap())
        .collect();
    codes.sort_unstable();
    assert_eq!((codes, asked.len()), (vec!["BAD_USER_INPUT", "FORBIDDEN"], 0));
}

#[tokio::test]
async fn ids_may_be_declared_as_numbers_and_unknown_states_are_null() {
    let query =
        "query($id: Int!) { order(orderId: $id) { orderId state } other: order(orderId: 555) { state } }";
    let (answer, asked) = ask(json!({ "query": query, "variables": {"id": 1_511_300_065_921_i64} })).await;
    assert_eq!(answer["data"], json!({"order": {"orderId": "1511300065921", "state": null}, "other": null}));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND");
    assert_eq!(asked, ["/orders?ids=1511300065921,555"]);
}

#[test]
fn without_a_loader_of_restaurants_there_is_no_handler() {
    let (mut services, _) = services();
    services.loaders.clear();
    let why = crate::schema::closed(&services).err().expect("it is refused");
    assert_eq!(why.0.0[0].message, "this handler needs a loader `restaurants` under `loaders`");
}

#[test]
fn without_a_limit_on_registrations_there_is_no_handler() {
    let (mut services, _) = services();
    services.limits.clear();
    let why = crate::schema::closed(&services).err().expect("it is refused");
    assert_eq!(why.0.0[0].message, "this handler needs a limit `registration` under `limits`");
}

/// The code and message of an only error.
async fn refused(query: &str) -> (String, String) {
    let (answer, asked) = ask(json!({ "query": query, "variables": {"i": "5"} })).await;
    assert!(asked.is_empty() && answer["errors"].as_array().unwrap().len() == 1, "{query}: {answer}");
    let error = &answer["errors"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&error["extensions"]["code"]), text(&error["message"]))
}

#[tokio::test]
async fn a_variable_of_the_wrong_type_is_refused_and_ids_of_old_are_not() {
    for declared in ["String!", "ID", "Int", "[ID!]!"] {
        let (code, told) =
            refused(&format!("query($i: {declared}) {{ order(orderId: $i) {{ state }} }}")).await;
        assert_eq!(code, "GRAPHQL_VALIDATION_FAILED");
        assert_eq!(told, format!("The variable `$i` is of type `{declared}`, where `ID!` is needed."));
    }
    for declared in ["Int!", "ID!", "Int = 5", "ID = 5"] {
        let query = format!("query($i: {declared}) {{ order(orderId: $i) {{ orderId }} }}");
        let (answer, _) = ask(json!({ "query": query, "variables": {"i": 5} })).await;
        assert_eq!(answer, json!({"data": {"order": {"orderId": "5"}}}), "{query}");
    }
}

#[tokio::test]
async fn a_subscription_is_one_clear_error() {
    let (code, told) = refused("subscription { orderChanged(orderId: 1) { order { state } } }").await;
    assert_eq!(
        (code.as_str(), told.as_str()),
        ("GRAPHQL_VALIDATION_FAILED", "Subscriptions are not offered here.")
    );
}

#[tokio::test]
async fn an_object_of_which_nothing_is_asked_is_empty_and_not_null() {
    for (query, expected) in [
        ("{ order(orderId: 100) @skip(if: true) { orderId } }", json!({})),
        ("{ order(orderId: 100) { orderId @skip(if: true) } }", json!({"order": {}})),
        ("{ orders(consumerId: 5) { orderId @include(if: false) } }", json!({"orders": vec![json!({}); 50]})),
    ] {
        let (answer, _) = ask(json!({ "query": query })).await;
        assert_eq!(answer, json!({ "data": expected }), "{query}");
    }
}

#[tokio::test]
async fn the_log_is_told_once_why_each_service_failed() {
    let parts = "bill { state } ticket { state }";
    let one = json!({"query": format!("{{ a: order(orderId: 100) {{ {parts} }} b: order(orderId: 101) {{ {parts} }} }}")});
    for body in [one.clone(), json!([one, one])] {
        let (response, _) = respond(body).await;
        let Note(note) = response.extensions().get().expect("there is a note");
        assert!(note.starts_with("missing: "), "{note}");
        let malformed = "accounting: malformed: an answer makes no sense at line 1, column ";
        for fault in [malformed, "kitchen: reset: "] {
            assert_eq!(note.matches(fault).count(), 1, "{note}");
        }
    }
    let (response, _) = respond(json!({"query": "{ order(orderId: 555) { state } }"})).await;
    assert!(response.extensions().get::<Note>().is_none());
}
