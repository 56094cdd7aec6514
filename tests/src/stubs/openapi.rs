//! Each service's OpenAPI document and the page that shows it, both made from its routes.
//!
//! No Swagger UI: the page stands on its own, without scripts from elsewhere.

mod operations;

use std::fmt::Write;

use axum::{Json, Router, response::Html, routing::get};
use serde_json::{Map, Value, json};

use self::operations::{Operation, Type, operation};
use super::{service::Service, world::World};

/// `/health`, the document and the page.
pub(super) fn routes(service: Service) -> Router<World> {
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "UP" })) }))
        .route("/openapi.json", get(move || async move { Json(document(service)) }))
        .route("/swagger-ui/index.html", get(move || async move { Html(page(service)) }))
}

/// The service's own routes and `/health`, with what is known of each.
fn operations(service: Service) -> impl Iterator<Item = (&'static str, &'static str, Operation)> {
    let told = service
        .routes()
        .iter()
        .filter(|(_, path)| !matches!(*path, "/openapi.json" | "/swagger-ui/index.html"));
    told.filter_map(move |(method, path)| Some((*method, *path, operation(service, method, path)?)))
}

fn document(service: Service) -> Value {
    let mut paths = Map::new();
    for (method, path, operation) in operations(service) {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method.to_lowercase()] = described(path, &operation);
    }
    let schemas: Value =
        serde_json::from_str(include_str!("openapi/schemas.json")).expect("the schemas are JSON");
    json!({
        "openapi": "3.0.3",
        "info": { "title": format!("FTGO {}", service.name()), "version": "1.0.0" },
        "servers": [{ "url": format!("http://127.0.0.1:{}", service.port()) }],
        "paths": paths,
        "components": { "schemas": schemas },
    })
}

fn described(path: &str, operation: &Operation) -> Value {
    let path_parameters = path_parameters(path);
    let mut responses = Map::new();
    responses.insert("200".to_owned(), answer(operation.answer));
    if !path_parameters.is_empty() {
        responses.insert("404".to_owned(), json!({ "description": "There is no such record." }));
    }
    for (status, why) in operation.refusals {
        responses.insert((*status).to_owned(), refusal(why));
    }
    let query = operation.query.iter().map(|(name, required, kind)| query_parameter(name, *required, *kind));
    let header = operation
        .headers
        .iter()
        .map(|name| json!({ "name": name, "in": "header", "schema": { "type": "string" } }));
    let parameters: Vec<Value> = path_parameters.into_iter().chain(query).chain(header).collect();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(schema) = operation.body {
        described["requestBody"] =
            json!({ "required": true, "content": content("application/json", &reference(schema)) });
    }
    described
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let id = json!({ "type": "integer", "format": "int64" });
    names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": id })).collect()
}

fn query_parameter(name: &str, required: bool, kind: Type) -> Value {
    let mut parameter = json!({ "name": name, "in": "query", "required": required, "schema": kind.schema() });
    if matches!(kind, Type::Ids | Type::Words) {
        parameter["explode"] = false.into();
    }
    parameter
}

fn answer(schema: &str) -> Value {
    match schema.strip_suffix("[]") {
        _ if schema.is_empty() => json!({ "description": "Done." }),
        Some(item) => answered(&json!({ "type": "array", "items": reference(item) })),
        None => answered(&reference(schema)),
    }
}

fn answered(schema: &Value) -> Value {
    json!({ "description": "The answer.", "content": content("application/json", schema) })
}

fn refusal(why: &str) -> Value {
    if why == NOT_MODIFIED {
        return json!({ "description": why });
    }
    json!({ "description": why, "content": content("application/problem+json", &reference("Problem")) })
}

const NOT_MODIFIED: &str = "What the client has is still good.";

fn content(kind: &str, schema: &Value) -> Value {
    json!({ kind: { "schema": schema } })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn page(service: Service) -> String {
    let name = service.name();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>FTGO {name}</title></head>\
         <body><h1>FTGO {name}</h1><p><a href=\"/openapi.json\">OpenAPI document</a></p><ul>"
    );
    for (method, path, operation) in operations(service) {
        let summary = operation.summary;
        write!(page, "<li><code>{method} {path}</code> {summary}</li>").expect("a string takes all");
    }
    page + "</ul></body></html>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_in_the_document() {
        for service in Service::ALL {
            let document = document(service);
            for (method, path) in service.routes().iter().filter(|(_, path)| !path.contains('.')) {
                let described = &document["paths"][*path][method.to_lowercase()];
                assert!(described["responses"]["200"].is_object(), "{service:?} {method} {path}");
            }
        }
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        for service in Service::ALL {
            let document = document(service);
            let text = document.to_string();
            for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next())
            {
                assert!(document["components"]["schemas"][name].is_object(), "{name}");
            }
        }
    }

    #[test]
    fn no_operation_has_the_id_of_another() {
        for service in Service::ALL {
            let mut ids: Vec<_> = operations(service).map(|(_, _, operation)| operation.id).collect();
            let all = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), all, "{service:?}");
        }
    }
}
