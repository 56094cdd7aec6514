//! Documents by the thousand, made up from the schema: what the handler answers, to a text that is new, to one that is known, and to a
//! hash, is what async-graphql answers by itself over the same services, and has no more fields than the document costs.
//!
//! Not here: where the handler means to differ: `Int` ids, objects of no fields, defaults of conditions.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex},
};

use async_graphql::{
    Request as Execution, Variables,
    parser::{
        parse_schema,
        types::{BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition},
    },
};
use aws_lc_rs::digest::{SHA256, digest};
use gateway::{
    graphql::{Call, GraphqlHandler, Limits, Persisted, price},
    handler::Handler,
};
use serde_json::{Map, Value, json};

use super::{admitted, answering, request};
use crate::{
    ids::NodeId,
    schema::{self, Mobile},
    services::{Backends, Session},
};

/// Services that have all there is to an order, but for a few that are unknown.
fn services(target: &str) -> Option<Value> {
    let (path, query) = target.split_once('?')?;
    let pairs: HashMap<&str, &str> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    let ids = pairs.get("ids").or_else(|| pairs.get("orderIds"));
    let Some(ids) = ids else { return Some(page(path, pairs.get("pageSize"))) };
    let ids = ids.split(',').filter_map(|id| id.parse().ok()).filter(|id| ![10, 555].contains(id));
    Some(ids.map(|id| record(path, id)).collect())
}

fn page(path: &str, size: Option<&&str>) -> Value {
    let size = size.and_then(|size| size.parse().ok()).unwrap_or(3).min(3);
    let kind = path.trim_start_matches('/');
    let records: Vec<Value> = (100..100 + size).map(|id| record(path, id)).collect();
    json!({ kind: records, "startKey": null })
}

fn record(path: &str, id: i64) -> Value {
    let address = json!({"street1": "9 Amazing View", "city": "Oakland", "state": "CA", "zip": "94612"});
    let line = json!({"menuItemId": "1", "name": "Soup", "price": "4.50", "quantity": id % 5});
    match path {
        "/orders" => json!({"orderId": id, "consumerId": 5 + id / 102, "restaurantId": id % 3 + 9,
            "state": if id % 2 == 0 { "APPROVED" } else { "TELEPORTED" }, "orderTotal": "61.70",
            "createdAt": "2026-11-21T18:30:00", "lineItems": [line, line]}),
        "/consumers" => json!({"consumerId": id, "name": {"firstName": "Ada", "lastName": null}}),
        "/tickets" => json!({"orderId": id, "state": "ACCEPTED", "readyBy": "2026-11-21T18:30:00"}),
        "/bills" => json!({"orderId": id, "state": "AUTHORIZED", "amount": "61.70"}),
        "/deliveries" => json!({"deliveryInfo": {"id": id, "state": "SCHEDULED"}, "assignedCourier": 7,
            "estimatedDeliveryTime": "2000-01-01T00:00:00"}),
        _ => json!({"id": id, "name": format!("R{id}"), "address": address,
            "menu": {"menuItems": [{"id": "1", "name": "Soup", "price": "4.50"}]}}),
    }
}

/// xorshift64*: the same documents each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.roll(all.len())]
    }
}

/// The schema's types with fields, and which implement which interface.
#[derive(Default)]
struct Types {
    fields: HashMap<String, Vec<FieldDefinition>>,
    implement: HashMap<String, Vec<String>>,
}

impl Types {
    fn of(sdl: &str) -> Types {
        let mut types = Types::default();
        for definition in parse_schema(sdl).unwrap().definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node.to_string();
            let fields = match ty.node.kind {
                TypeKind::Object(object) => {
                    for interface in object.implements {
                        types.implement.entry(interface.node.to_string()).or_default().push(name.clone());
                    }
                    object.fields
                }
                TypeKind::Interface(interface) => interface.fields,
                _ => continue,
            };
            types.fields.insert(name, fields.into_iter().map(|field| field.node).collect());
        }
        types
    }
}

fn base(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => base(item),
    }
}

/// One document as it grows.
struct Maker<'a> {
    types: &'a Types,
    dice: Dice,
    aliases: usize,
    fields: usize,
    declared: Vec<String>,
    sent: Map<String, Value>,
    fragments: Vec<String>,
}

impl<'a> Maker<'a> {
    fn make(types: &'a Types, seed: u64) -> (String, Value) {
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (declared, fragments) = (Vec::new(), Vec::new());
        let mut maker = Maker { types, dice, aliases: 0, fields: 0, declared, sent: Map::new(), fragments };
        let set = maker.set("Query", 0);
        let declared = match maker.declared.as_slice() {
            [] => String::new(),
            all => format!("({})", all.join(", ")),
        };
        let name = if declared.is_empty() && maker.dice.one_in(2) { "" } else { "query Made" };
        (format!("{name}{declared} {set} {}", maker.fragments.join(" ")), Value::Object(maker.sent))
    }

    /// `__typename` stands in each, so that nothing is ever left empty.
    fn set(&mut self, ty: &str, depth: usize) -> String {
        let mut set = "{ __typename".to_owned();
        for _ in 0..1 + self.dice.roll(4) {
            let item = self.item(ty, depth);
            write!(set, " {item}").unwrap();
        }
        set + " }"
    }

    fn item(&mut self, ty: &str, depth: usize) -> String {
        match self.dice.roll(if depth < 5 { 10 } else { 1 }) {
            0 if depth < 5 => {
                let on = self.narrowed(ty);
                let (condition, set) = (self.condition(), self.set(&on, depth + 1));
                let on = if on == ty && self.dice.one_in(2) { String::new() } else { format!(" on {on}") };
                format!("...{on}{condition} {set}")
            }
            1 => {
                let on = self.narrowed(ty);
                let set = self.set(&on, depth + 1);
                let name = format!("F{}", self.fragments.len());
                let condition = self.condition();
                self.fragments.push(format!("fragment {name} on {on} {set}"));
                let again = if self.dice.one_in(3) { format!(" ...{name}") } else { String::new() };
                format!("...{name}{condition}{again}")
            }
            _ => self.field(ty, depth),
        }
    }

    fn narrowed(&mut self, ty: &str) -> String {
        match self.types.implement.get(ty) {
            Some(all) if !self.dice.one_in(4) => self.dice.pick(all).clone(),
            _ => ty.to_owned(),
        }
    }

    fn field(&mut self, ty: &str, depth: usize) -> String {
        let types = self.types;
        let field = self.dice.pick(&types.fields[ty]);
        let below = base(&field.ty.node);
        let composite = types.fields.contains_key(below);
        self.fields += 1;
        if composite && (depth > 5 || self.fields > 60) || self.aliases > 25 && !field.arguments.is_empty() {
            return "__typename".to_owned();
        }
        let mut text = String::new();
        if !field.arguments.is_empty() || self.aliases < 20 && self.dice.one_in(6) {
            self.aliases += 1;
            write!(text, "a{}: ", self.aliases).unwrap();
        }
        text.push_str(&field.name.node);
        let arguments: Vec<String> =
            field.arguments.iter().filter_map(|argument| self.argument(&argument.node)).collect();
        if !arguments.is_empty() {
            write!(text, "({})", arguments.join(", ")).unwrap();
        }
        let condition = self.condition();
        text.push_str(&condition);
        if composite {
            let set = self.set(below, depth + 1);
            write!(text, " {set}").unwrap();
        }
        text
    }

    fn condition(&mut self) -> String {
        if !self.dice.one_in(8) {
            return String::new();
        }
        let (directive, value) = (*self.dice.pick(&["skip", "include"]), self.dice.one_in(2));
        let said =
            if self.dice.one_in(2) { value.to_string() } else { self.variable("Boolean!", value.into()) };
        format!(" @{directive}(if: {said})")
    }

    fn variable(&mut self, ty: &str, value: Value) -> String {
        let name = format!("v{}", self.declared.len());
        self.declared.push(format!("${name}: {ty}"));
        self.sent.insert(name.clone(), value);
        format!("${name}")
    }

    fn argument(&mut self, argument: &InputValueDefinition) -> Option<String> {
        let (name, ty) = (argument.name.node.as_str(), &argument.ty.node);
        if ty.nullable && self.dice.one_in(2) {
            return None;
        }
        let (literal, value) = self.value(name)?;
        let said = match self.dice.roll(4) {
            0 => literal,
            1 => {
                let given = self.variable(&ty.to_string(), value);
                if self.dice.one_in(2) {
                    // A default that is overridden, or not.
                    let last = self.declared.last_mut().expect("it was declared");
                    write!(last, " = {literal}").unwrap();
                    self.sent.remove(&given[1..]);
                }
                given
            }
            2 if name == "filter" => {
                let state = self.variable("OrderState", json!("APPROVED"));
                format!("{{state: {state}, keywords: [\"soup\"]}}")
            }
            _ => self.variable(&ty.to_string(), value),
        };
        Some(format!("{name}: {said}"))
    }

    fn word(&mut self, all: &[&str]) -> (String, Value) {
        let word = all[self.dice.roll(all.len())];
        (format!("\"{word}\""), json!(word))
    }

    /// As a literal and as JSON.
    fn value(&mut self, argument: &str) -> Option<(String, Value)> {
        let text = |text: &str| (format!("\"{text}\""), json!(text));
        let number = |number: i32| (number.to_string(), json!(number));
        let nodes = [NodeId::Order(100), NodeId::Consumer(5), NodeId::Restaurant(1), NodeId::Restaurant(10)];
        Some(match argument {
            "consumerId" => self.word(&["5", "5", "5", "5", "6", "abc"]),
            "orderId" => self.word(&["100", "101", "102", "103", "555", "1.5"]),
            "restaurantId" if self.dice.one_in(3) => number(7),
            "restaurantId" => self.word(&["1", "2", "10", ""]),
            "nodeId" => text(&self.dice.pick(&nodes).encode()),
            "zip" | "search" => text("94612"),
            "at" => self.word(&["2026-11-21T18:30:00", "2026-11-21T18:30:00", "soon"]),
            "first" => number(*self.dice.pick(&[1, 2, 3, 20, -1])),
            "filter" => self
                .dice
                .pick(&[
                    ("{state: APPROVED}".to_owned(), json!({"state": "APPROVED"})),
                    ("{keywords: [\"a\", \"b\"]}".to_owned(), json!({"keywords": ["a", "b"]})),
                    ("{keywords: \"a\"}".to_owned(), json!({"keywords": "a"})),
                    ("{state: EATEN}".to_owned(), json!({"state": "EATEN"})),
                    ("{other: 1}".to_owned(), json!({"other": 1})),
                ])
                .clone(),
            _ => return None,
        })
    }
}

/// The handler, what is behind it, and the call that it made last.
struct Both {
    handler: Arc<dyn Handler>,
    plain: Mobile,
    backends: Arc<Backends>,
    last: Arc<Mutex<Option<Arc<Call>>>>,
}

impl Both {
    fn start() -> Both {
        let (services, _) = answering(services);
        let backends = Arc::new(Backends::of(&services).unwrap());
        let persisted = Some(Arc::new(Persisted::new(64 << 20, None)));
        let mut settings = services.graphql;
        // Only what the schema itself refuses is refused here.
        (settings.persisted, settings.limits) = (persisted, Limits::none());
        let last: Arc<Mutex<Option<Arc<Call>>>> = Arc::default();
        let (behind, calls) = (backends.clone(), last.clone());
        let open = move |call: &Arc<Call>| {
            *calls.lock().unwrap() = Some(call.clone());
            Arc::new(Session::new(call, &behind))
        };
        let handler = GraphqlHandler::new(schema::built, &settings, open).ok().unwrap();
        Both { handler: Arc::new(handler), plain: schema::schema(), backends, last }
    }

    async fn ours(&self, body: Value) -> Value {
        let response = self.handler.answer(&mut request(&body), &admitted()).await.unwrap();
        serde_json::from_slice(&response.into_body().collect().await.unwrap()).unwrap()
    }

    async fn theirs(&self, query: &str, variables: &Value) -> Value {
        let call = self.last.lock().unwrap().clone().expect("the handler was asked before");
        let session = Arc::new(Session::new(&call, &self.backends));
        let request = Execution::new(query).variables(Variables::from_json(variables.clone())).data(session);
        serde_json::to_value(self.plain.execute(request).await).unwrap()
    }
}

/// What both must agree on. Of what is not executed the words may differ, and how many there are.
fn told(answer: &Value) -> (Value, Vec<String>) {
    let errors = answer["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    if answer["data"].is_null() {
        assert!(!errors.is_empty(), "{answer}");
        return (Value::Null, Vec::new());
    }
    let mut errors: Vec<_> =
        errors.iter().map(|error| format!("{} {}", error["path"], error["message"])).collect();
    errors.sort();
    (answer["data"].clone(), errors)
}

/// How many fields there are in an answer.
fn fields(answer: &Value) -> usize {
    match answer {
        Value::Array(items) => items.iter().map(fields).sum(),
        Value::Object(members) => members.values().map(|value| 1 + fields(value)).sum(),
        _ => 0,
    }
}

async fn compare(documents: u64) {
    let (sdl, both) = (crate::sdl(), Both::start());
    let types = Types::of(&sdl);
    let (mut executed, mut partial) = (0, 0);
    for seed in 1..=documents {
        let (query, variables) = Maker::make(&types, seed);
        let text = json!({"query": query, "variables": variables});
        let hash = digest(&SHA256, query.as_bytes())
            .as_ref()
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let by_hash = json!({"persistedQuery": {"version": 1, "sha256Hash": hash}});
        let registers = json!({"query": query, "variables": variables, "extensions": by_hash});
        let named = json!({"variables": variables, "extensions": by_hash});
        let answer = both.ours(text.clone()).await;
        let first = told(&answer);
        let expected = told(&both.theirs(&query, &variables).await);
        assert_eq!(first, expected, "{seed}: {query}\n{variables}\n{answer}");
        let most = price(&sdl, &query, &Variables::from_json(variables.clone())).unwrap();
        let fields = fields(&first.0);
        assert!(most as usize >= fields, "{seed}: {fields} fields for {most}: {query}\n{variables}");
        for (how, body) in [("known", text), ("registered", registers), ("named", named)] {
            let again = told(&both.ours(body).await);
            assert_eq!(again, first, "{seed}, {how}: {query}\n{variables}");
        }
        executed += u64::from(!first.0.is_null());
        partial += u64::from(!first.1.is_empty());
    }
    println!("{executed} of {documents} were executed, {partial} with errors");
    assert!(
        executed > documents * 7 / 10 && partial > documents / 10,
        "{executed} were executed, {partial} with errors"
    );
}

#[tokio::test]
async fn what_is_answered_is_what_plain_execution_answers() {
    compare(150).await;
}

#[tokio::test]
#[ignore = "takes half a minute"]
async fn what_is_answered_to_a_thousand_documents_is_what_plain_execution_answers() {
    compare(1_000).await;
}
