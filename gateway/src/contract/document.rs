//! The OpenAPI 3.1 document of a configuration: what is offered, to whom, and what comes back.
//!
//! It is made of what was typed, once for each configuration. It names paths, schemas, scopes, providers (as security schemes)
//! and parts (which `Composition-Status` tells anyway), and nothing else that is inside.
//! Not here: what compositions answer (`composed.rs`), serving it (`pages.rs`).

use std::collections::BTreeSet;

use http::StatusCode;
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{composed, config::OpenapiConfig};
use crate::{
    auth::config::{AuthConfig, ProviderConfig},
    composition::{
        config::{Idempotency, PartConfig, Tree},
        write::{IDEMPOTENCY_KEY, LONGEST_KEY},
    },
    config::{Config, RouteConfig},
    routing,
};

/// What stands for a schema in `answers`: the gateway's or a service's problem document, and no body.
pub const PROBLEM: &str = "problem";
/// The same: nothing is promised of the body.
pub const EMPTY: &str = "empty";
/// The schema of problem documents, among those of the configuration.
pub const PROBLEM_SCHEMA: &str = "Problem";

pub(super) fn text(text: &str) -> Tree {
    Tree::Text(text.to_owned())
}

pub(super) fn list(items: Vec<Tree>) -> Tree {
    Tree::List(items)
}

pub(super) fn object(members: Vec<(&str, Tree)>) -> Tree {
    Tree::Object(members.into_iter().map(|(name, member)| (name.to_owned(), member)).collect())
}

pub(super) fn member<'t>(tree: &'t Tree, name: &str) -> Option<&'t Tree> {
    if let Tree::Object(members) = tree { members.get(name) } else { None }
}

fn tree(value: Value) -> Tree {
    Tree::Other(value)
}

/// The document, as JSON.
#[must_use]
pub fn document(openapi: &OpenapiConfig, config: &Config) -> String {
    let mut info = vec![("title", text(&openapi.title)), ("version", text(&openapi.version))];
    info.extend(openapi.description.as_deref().map(|words| ("description", text(words))));
    let mut document = vec![("openapi", text("3.1.1")), ("info", object(info))];
    let groups = config.routes.iter().filter_map(|route| route.group.as_deref());
    let groups: indexmap::IndexSet<&str> = groups.collect();
    if !groups.is_empty() {
        let named = groups.iter().map(|group| object(vec![("name", text(group))]));
        document.push(("tags", list(named.collect())));
    }
    document.push(("paths", paths(config)));
    document.push(("components", components(config)));
    object(document).json()
}

fn components(config: &Config) -> Tree {
    let mut schemas: IndexMap<String, Tree> =
        config.schemas.iter().map(|(name, typed)| (name.clone(), composed::normalized(typed))).collect();
    schemas.insert(PROBLEM_SCHEMA.to_owned(), problem_schema());
    let providers = config.providers.iter().map(|(name, typed)| (name.clone(), scheme(typed)));
    object(vec![
        ("schemas", Tree::Object(schemas)),
        ("headers", tree(headers())),
        ("securitySchemes", Tree::Object(providers.collect())),
    ])
}

/// RFC 9457, with the members that are the gateway's own. Services may leave those out and add others.
fn problem_schema() -> Tree {
    tree(json!({
        "type": "object",
        "description": "A problem document (RFC 9457). `code` is stable.",
        "required": ["status", "title", "type"],
        "properties": {
            "type": { "type": "string" },
            "status": { "type": "integer" },
            "title": { "type": "string" },
            "detail": { "type": "string" },
            "code": { "type": "string" },
            "requestId": { "type": "string" },
            "errors": {
                "type": "array",
                "description": "What does not fit, and where: a JSON Pointer (RFC 6901) into `in`.",
                "items": {
                    "type": "object",
                    "required": ["in", "at", "message"],
                    "properties": {
                        "in": { "enum": ["path", "query", "header", "body"] },
                        "at": { "type": "string" },
                        "message": { "type": "string" },
                    },
                },
            },
        },
    }))
}

fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "X-Request-Id": {
            "description": "What to ask about this request by.",
            "required": true,
            "schema": { "type": "string" },
        },
        "Retry-After": { "description": "Seconds until another try may help.", "schema": { "type": "integer" } },
        "WWW-Authenticate": text("Which credential is needed (RFC 9110 section 11.6.1)."),
        "Deprecation": text("Since when this is deprecated: `@` and Unix seconds (RFC 9745)."),
        "Sunset": text("When this ends (RFC 8594)."),
        "Link": text("What comes after it, and where that is told (RFC 8288)."),
        "Idempotency-Key": text("Where nobody knows whether a write was done: the key that it may be repeated by."),
        "Composition-Status": text(
            "What became of each part: a structured-field list (RFC 9651), `ticketInfo;s=missing;reason=timeout;t=1000`.",
        ),
    })
}

fn scheme(typed: &ProviderConfig) -> Tree {
    if let Some(keys) = &typed.keys {
        return tree(json!({ "type": "apiKey", "in": "header", "name": keys.header }));
    }
    tree(match (&typed.certificate, &typed.jwt) {
        (Some(_), _) => json!({ "type": "mutualTLS" }),
        (None, Some(_)) => json!({ "type": "http", "scheme": "bearer", "bearerFormat": "JWT" }),
        (None, None) => json!({ "type": "http", "scheme": "bearer" }),
    })
}

/// Each path once, however its parameters are called by its routes: as the first calls them.
fn paths(config: &Config) -> Tree {
    let mut known: IndexMap<String, (String, IndexMap<String, Tree>)> = IndexMap::new();
    let routes = config.routes.iter().filter(|route| !opens_websockets(route));
    for route in &routes.flat_map(RouteConfig::with_versions).collect::<Vec<_>>() {
        let Ok((canonical, _)) = routing::canonical(&route.path) else { continue };
        let (path, methods) =
            known.entry(canonical).or_insert_with(|| (route.path.replace("{*", "{"), IndexMap::new()));
        let path = path.clone();
        for method in route.methods.iter().filter(|method| *method != "OPTIONS") {
            methods.insert(method.to_lowercase(), Operation { route, config, path: &path, method }.told());
        }
    }
    Tree::Object(known.into_values().map(|(path, methods)| (path, Tree::Object(methods))).collect())
}

/// Whether a route is no operation, one request and its answer: OpenAPI has no words for what comes after a 101.
fn opens_websockets(route: &RouteConfig) -> bool {
    route.forward.as_ref().is_some_and(|forward| forward.websocket.is_some())
}

/// One method of one route.
struct Operation<'a> {
    route: &'a RouteConfig,
    config: &'a Config,
    /// As the document has it.
    path: &'a str,
    method: &'a str,
}

impl Operation<'_> {
    fn told(&self) -> Tree {
        let mut told = Vec::new();
        told.extend(self.route.group.as_deref().map(|group| ("tags", list(vec![text(group)]))));
        told.extend(self.route.summary.as_deref().map(|summary| ("summary", text(summary))));
        told.extend(self.route.operation.as_deref().map(|id| ("operationId", text(id))));
        if self.route.deprecated.is_some() {
            told.push(("deprecated", tree(true.into())));
        }
        told.push(("security", self.security()));
        let parameters = self.parameters();
        if !parameters.is_empty() {
            told.push(("parameters", list(parameters)));
        }
        if let Some(body) = self.route.request.as_ref().and_then(|request| request.body.as_ref()) {
            let content = content("application/json", composed::normalized(body));
            told.push(("requestBody", object(vec![("required", tree(true.into())), ("content", content)])));
        }
        told.push(("responses", self.responses()));
        object(told)
    }

    fn security(&self) -> Tree {
        let AuthConfig::By(rule) = &self.route.auth else { return list(Vec::new()) };
        let scopes = tree(rule.scopes.clone().into());
        let names = rule.provider.iter().chain(&rule.providers);
        let mut ways: Vec<Tree> = names.map(|name| object(vec![(name, scopes.clone())])).collect();
        if rule.optional {
            ways.push(object(Vec::new()));
        }
        list(ways)
    }

    fn parameters(&self) -> Vec<Tree> {
        let own = routing::parameters(&self.route.path).unwrap_or_default();
        let told = routing::parameters(&self.path.replace("{*", "{")).unwrap_or_default();
        let request = self.route.request.as_ref();
        let mut all = Vec::new();
        for (own, name) in own.iter().zip(&told) {
            let schema = request.and_then(|request| request.path.get(&**own));
            all.push(self.parameter(
                "path",
                name,
                schema.unwrap_or(&tree(json!({ "type": "string" }))),
                true,
            ));
        }
        let typed = request.is_some_and(|request| {
            request.headers.keys().any(|name| name.eq_ignore_ascii_case(IDEMPOTENCY_KEY.as_str()))
        });
        if let Some(write) = self.write().filter(|_| !typed) {
            let key = tree(json!({ "type": "string", "minLength": 1, "maxLength": LONGEST_KEY }));
            let required = write.idempotency == Some(Idempotency::Required);
            all.push(self.parameter("header", "Idempotency-Key", &key, required));
        }
        let Some(request) = request else { return all };
        let needed = |name: &String| request.required.contains(name);
        for (name, schema) in request.query.iter().flatten() {
            all.push(self.parameter("query", name, schema, needed(name)));
        }
        for (name, schema) in &request.headers {
            all.push(self.parameter("header", name, schema, needed(name)));
        }
        all
    }

    fn parameter(&self, place: &str, name: &str, schema: &Tree, required: bool) -> Tree {
        let mut told = vec![("name", text(name)), ("in", text(place))];
        if required {
            told.push(("required", tree(true.into())));
        }
        if place == "query" {
            // Lists are one text with commas (section 4.8.12.4), as in paths and header fields anyway.
            told.push(("explode", tree(false.into())));
        }
        told.push(("schema", composed::normalized(schema)));
        object(told)
    }

    fn responses(&self) -> Tree {
        let answers = &self.route.answers;
        let mut told: IndexMap<String, Tree> = IndexMap::new();
        if !answers.keys().any(|status| status.starts_with('2')) {
            let (status, response) = self.success();
            told.insert(status, response);
        }
        for (status, typed) in answers {
            told.insert(status.clone(), self.answer(status, typed));
        }
        for status in self.problems() {
            told.entry(status.to_string()).or_insert_with_key(|status| self.answer(status, &text(PROBLEM)));
        }
        told.sort_keys();
        Tree::Object(told)
    }

    /// What is answered if nothing was typed.
    fn success(&self) -> (String, Tree) {
        let status = self.route.respond.as_ref().map_or(200, |respond| respond.status).to_string();
        let content = match composed::answer(self.route, self.config) {
            Some(schema) => Some(content("application/json", composed::normalized(&schema))),
            None if self.route.watch.is_some() => Some(content("text/event-stream", object(Vec::new()))),
            None => None,
        };
        let response = self.response(&status, content);
        (status, response)
    }

    fn answer(&self, status: &str, typed: &Tree) -> Tree {
        let content = match typed {
            Tree::Text(name) if name == EMPTY => None,
            Tree::Text(name) if name == PROBLEM => {
                Some(content("application/problem+json", composed::normalized(&text(PROBLEM_SCHEMA))))
            }
            typed => Some(content("application/json", composed::normalized(typed))),
        };
        self.response(status, content)
    }

    fn response(&self, status: &str, content: Option<Tree>) -> Tree {
        let code = status.parse().unwrap_or(0);
        let reason = StatusCode::from_u16(code).ok().and_then(|status| status.canonical_reason());
        let mut names = vec!["X-Request-Id"];
        if let Some(deprecated) = &self.route.deprecated {
            names.extend(["Deprecation", "Link"]);
            names.extend(deprecated.sunset.is_some().then_some("Sunset"));
        }
        match code {
            200..300 if self.route.compose.is_some() => names.push("Composition-Status"),
            401 => names.push("WWW-Authenticate"),
            429 | 503 => names.push("Retry-After"),
            _ => {}
        }
        if self.write().is_some() && [502, 504].contains(&code) {
            names.extend(["Composition-Status", "Idempotency-Key"]);
        }
        let reference = |name: &str| json!({ "$ref": format!("#/components/headers/{name}") });
        let headers: Value = names.iter().map(|name| ((*name).to_owned(), reference(name))).collect();
        let mut told = vec![("description", text(reason.unwrap_or("An answer"))), ("headers", tree(headers))];
        told.extend(content.map(|content| ("content", content)));
        object(told)
    }

    /// The part that changes something, if one does.
    fn write(&self) -> Option<&PartConfig> {
        self.route.compose.as_ref()?.values().find(|part| part.write().is_some())
    }

    /// The statuses of problem documents that the gateway itself may answer here. What may be answered anywhere, such as to a
    /// path that is too long, is not told of each route.
    fn problems(&self) -> BTreeSet<u16> {
        let route = self.route;
        let mut all = BTreeSet::from([400]);
        if route.auth != AuthConfig::None {
            all.extend([401, 403, 503]); // 503: whoever knows tokens may be away
        }
        if route.csrf {
            all.insert(403);
        }
        if !route.limits.is_empty() || !self.config.default_limits.is_empty() || !self.config.plans.is_empty()
        {
            all.insert(429);
        }
        if !["GET", "HEAD", "DELETE"].contains(&self.method) {
            all.extend([408, 413]);
        }
        if route.request.as_ref().is_some_and(|request| request.body.is_some()) {
            all.insert(415);
        }
        if let Some(write) = self.write() {
            // What services refuse with stays so, and the client's body is read whole by whatever method.
            all.extend([408, 409, 410, 413, 422]);
            let json = [&write.body, &write.message].into_iter().flatten().any(reads_body);
            all.extend(json.then_some(415));
        }
        if route.compose.is_some()
            || route.watch.is_some()
            || !route.ask.is_empty()
            || route.path.contains('{')
        {
            all.insert(404);
        }
        if self.config.server.max_in_flight.is_some() {
            all.insert(503);
        }
        all.extend([504]);
        if route.handle.is_none() {
            all.extend([502, 503]);
        }
        all
    }
}

/// Whether something is written from the client's body.
fn reads_body(tree: &Tree) -> bool {
    match tree {
        Tree::Text(text) => text.contains("{body."),
        Tree::Object(members) => members.values().any(reads_body),
        Tree::List(items) => items.iter().any(reads_body),
        Tree::Other(_) => false,
    }
}

fn content(kind: &str, schema: Tree) -> Tree {
    object(vec![(kind, object(vec![("schema", schema)]))])
}
