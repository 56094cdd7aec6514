//! What routes take and answer, from what was typed, and the routes that tell it.
//!
//! Not here: what is checked and told (`contract/`).

use std::sync::Arc;

use super::{Config, RouteConfig, build::Builder};
use crate::{
    composition::config::{PartConfig, Tree},
    contract::{
        Contract, Schemas,
        compile::Compiler,
        document::{self, EMPTY, PROBLEM, PROBLEM_SCHEMA},
        pages::Page,
    },
    guard::Guard,
    handler::{Handler, Services},
    mistake::{Mistake, below},
    route::Route,
    routing::Router,
};

impl Builder<'_> {
    /// The schemas with names, and what is wrong with the words that only the document has.
    pub(super) fn schemas(&mut self) -> Schemas {
        for name in
            [PROBLEM, EMPTY, PROBLEM_SCHEMA].iter().filter(|name| self.config.schemas.contains_key(**name))
        {
            let at = format!("{}:", below("schemas", name));
            let mistake = Mistake::new(at, format!("`{name}` means something already"));
            self.mistakes.add(mistake.expected("another name"));
        }
        self.check_operations();
        Schemas::build(&self.config.schemas, "schemas", &mut self.mistakes)
    }

    /// What is under `schemas`, also what was left out for a mistake in it.
    fn schema_names(config: &Config) -> Vec<&str> {
        config.schemas.keys().map(String::as_str).collect()
    }

    /// What a route takes, if it says so; and what is wrong with what it says that it answers.
    pub(super) fn contract(&mut self, typed: &RouteConfig, at: &str, named: &Schemas) -> Option<Contract> {
        let names = Builder::schema_names(self.config);
        let mut compiler = Compiler { names: &names, mistakes: &mut self.mistakes };
        for (status, answer) in &typed.answers {
            let at = below(&below(at, "answers"), status);
            if !status.parse().is_ok_and(|status| (200..600).contains(&status)) {
                let mistake = Mistake::new(
                    format!("{at}:"),
                    format!("route `{}`: `{status}` is no status", typed.path),
                );
                compiler.mistakes.add(mistake.expected("200 to 599"));
            }
            if !matches!(answer, Tree::Text(name) if [PROBLEM, EMPTY].contains(&name.as_str())) {
                compiler.schema(answer, &at);
            }
        }
        let watched = typed.watch.iter().map(|watch| ("watch.parts", &watch.parts));
        let parts =
            typed.compose.iter().map(|parts| ("compose", parts)).chain(watched).chain([("ask", &typed.ask)]);
        for (key, parts) in parts {
            for (name, PartConfig { schema, .. }) in parts {
                let at = below(&below(&below(at, key), name), "schema");
                if let Some(schema) = schema {
                    compiler.schema(&Tree::Text(schema.clone()), &at);
                }
            }
        }
        let request = typed.request.as_ref()?;
        let at = below(at, "request");
        let writes = typed.compose.iter().flatten().any(|(_, part)| part.write().is_some());
        if request.body.is_some() && typed.forward.is_none() && typed.handle.is_none() && !writes {
            let mistake = Mistake::new(below(&at, "body"), format!("route `{}` reads no body", typed.path));
            self.mistakes.add(mistake.expected("only with `forward`, `handle` or a part that writes"));
        }
        Some(Contract::build(request, &self.names, &names, named, &at, &mut self.mistakes))
    }

    /// An operation has a name of its own.
    fn check_operations(&mut self) {
        for (index, route) in self.config.routes.iter().enumerate() {
            let Some(id) = &route.operation else { continue };
            let at = format!("routes[{index}].operation");
            let twin =
                self.config.routes[..index].iter().position(|other| other.operation.as_ref() == Some(id));
            if let Some(twin) = twin {
                let mistake =
                    Mistake::new(at, format!("route `{}`: another operation is called `{id}`", route.path));
                self.mistakes
                    .add(mistake.other(format!("routes[{twin}].operation")).expected("a name of its own"));
            } else if route.methods.len() > 1 {
                let message = format!(
                    "route `{}`: `{id}` would be the name of {} operations",
                    route.path,
                    route.methods.len()
                );
                self.mistakes.add(Mistake::new(at, message).expected("only with one method"));
            }
        }
    }

    /// The routes at which clients are told what there is.
    pub(super) fn add_pages(&mut self, routes: &mut Router<Arc<Route>>, services: &Services) {
        let Some(openapi) = &self.config.openapi else { return };
        let document = Page::document(document::document(openapi, self.config));
        self.add_page(routes, services, "path", &openapi.path, document);
        if let Some(path) = &openapi.reference {
            self.add_page(routes, services, "reference", path, Page::reference(&openapi.path));
        }
    }

    fn add_page(
        &mut self,
        routes: &mut Router<Arc<Route>>,
        services: &Services,
        key: &str,
        path: &str,
        page: Page,
    ) {
        if path.contains('{') {
            let mistake = Mistake::new(below("openapi", key), format!("`{path}` is no path of one thing"));
            return self.mistakes.add(mistake.expected("a path without parameters"));
        }
        // As if typed: with the limits of every route, and what browsers are told by default.
        let typed = serde_json::json!({ "path": path, "auth": "none", "timeout": "10s" });
        let typed: RouteConfig = serde_json::from_value(typed).expect("it is a route");
        let (guard, page) = (Arc::new(Guard::default()), Some(Arc::new(page) as Arc<dyn Handler>));
        let before = self.mistakes.0.len();
        self.settle(routes, &typed, "openapi", guard, page, services);
        for mistake in self.mistakes.0.iter_mut().skip(before).filter(|mistake| mistake.at == "openapi.path")
        {
            mistake.at = below("openapi", key);
        }
    }
}
