//! Routes of several versions: the same by another path, told to be deprecated or answered in another shape.
//!
//! A version of a forwarded route that shapes its answer composes it of one part, `answer`, which is what is forwarded to.
//! Not here: what clients are told of old ones (`lifecycle.rs`).

use std::sync::Arc;

use indexmap::IndexMap;
use serde::Deserialize;

use super::{RouteConfig, build::Builder};
use crate::{
    auth::Provider,
    composition::config::{PartConfig, RespondConfig},
    handler::Services,
    lifecycle::{DeprecatedConfig, Lifecycle},
    mistake::{Mistake, below},
    route::Route,
    routing::Router,
};

/// One version of a route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionConfig {
    /// Its path, with the parameters of the route's own.
    pub path: String,
    /// Whether it is deprecated, and what clients are told of that.
    #[serde(default)]
    pub deprecated: Option<DeprecatedConfig>,
    /// How it is answered; as the route unless given.
    #[serde(default)]
    pub respond: Option<RespondConfig>,
}

/// The part that a forwarded answer is, where a version shapes it.
const ANSWER: &str = "answer";

impl Builder<'_> {
    /// All versions of the route at `at`.
    pub(super) fn add_versions(
        &mut self,
        routes: &mut Router<Arc<Route>>,
        typed: &RouteConfig,
        at: &str,
        providers: &IndexMap<String, Arc<Provider>>,
        services: &Services,
    ) {
        for (name, version) in &typed.versions {
            let said = self.mistakes.0.len();
            self.add_route(routes, &typed.version(name, version), at, providers, services);
            let wrong = self.mistakes.0.split_off(said);
            self.mistakes.0.extend(wrong.into_iter().map(|wrong| of_version(wrong, at, name, version)));
        }
    }

    pub(super) fn lifecycle(&mut self, typed: &RouteConfig, at: &str, name: &str) -> Option<Lifecycle> {
        let deprecated = typed.deprecated.as_ref()?;
        let (whose, calls) = (format!("route `{}`", typed.path), self.ground.metrics.deprecated(name));
        let at = below(at, "deprecated");
        Lifecycle::build(deprecated, &self.names, &whose, &at, calls, &mut self.mistakes)
    }
}

impl RouteConfig {
    /// The route itself and each of its versions.
    pub(crate) fn with_versions(&self) -> impl Iterator<Item = RouteConfig> {
        let versions = self.versions.iter().map(|(name, version)| self.version(name, version));
        std::iter::once(self.clone()).chain(versions)
    }

    /// The route as its version called `name` is typed.
    fn version(&self, name: &str, version: &VersionConfig) -> RouteConfig {
        let mut route = RouteConfig { versions: IndexMap::new(), ..self.clone() };
        route.operation = self.operation.as_ref().map(|operation| format!("{operation}_{name}"));
        route.path.clone_from(&version.path);
        route.deprecated = version.deprecated.clone().map(|deprecated| self.succeeded(deprecated));
        if version.respond.is_some() {
            route.respond.clone_from(&version.respond);
        }
        let Some(forward) = route.forward.as_mut().filter(|forward| forward.grpc.is_none()) else {
            return route;
        };
        // The service knows one version only, that of the route's own path.
        let path = forward.path.get_or_insert_with(|| self.path.replace("{*", "{")).clone();
        let plain = !forward.token && forward.fallback.is_none() && forward.websocket.is_none();
        let reads = self.methods == ["GET"] && plain;
        if let (true, true, Some(to)) = (version.respond.is_some(), reads, &forward.to) {
            let mark = if path.contains('?') { '&' } else { '?' };
            let part = PartConfig::reading(format!("{to}{path}{mark}{{query}}"));
            route.compose = Some(IndexMap::from([(ANSWER.to_owned(), part)]));
            (route.forward, route.cache) = (None, None);
        }
        route
    }

    /// With the last version that is not deprecated as its successor, unless another one is named.
    fn succeeded(&self, mut deprecated: DeprecatedConfig) -> DeprecatedConfig {
        let last = self.versions.values().rev().find(|version| version.deprecated.is_none());
        let path = last.map_or(&self.path, |version| &version.path);
        if deprecated.successor.is_none() && (last.is_some() || self.deprecated.is_none()) {
            deprecated.successor = Some(path.replace("{*", "{"));
        }
        deprecated
    }
}

/// A mistake in what was made of the route at `at` for the version so called, where that was typed.
fn of_version(mistake: Mistake, at: &str, name: &str, version: &VersionConfig) -> Mistake {
    let here = below(&below(at, "versions"), name);
    let typed = |key: &str| match key.split(['.', ':', '[']).next() {
        Some("path" | "deprecated") => true,
        Some("respond") => version.respond.is_some(),
        _ => false,
    };
    let key = mistake.at.strip_prefix(at).and_then(|rest| rest.strip_prefix('.'));
    match key.filter(|key| typed(key)).map(|key| below(&here, key)) {
        Some(at) => Mistake { at, ..mistake },
        None => mistake,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{logged::logged_by, wrong_meanings::route};

    #[test]
    fn a_version_that_goes_on_after_its_sunset_is_warned_of_once() {
        let versions = |deprecated: &str| {
            let keys = format!("v1: {{ path: /v1, deprecated: {{ since: 2020-01-01, {deprecated} }} }}");
            logged_by(&route(&format!(
                "path: /it\nauth: none\nforward: {{ to: order }}\nversions:\n  {keys}\n  v2: {{ path: /v2 }}\n"
            )))
        };
        let told = versions("sunset: 2020-02-01");
        assert_eq!(told.matches("WARN").count(), 1, "{told}");
        assert!(told.contains("goes on although its sunset was on 2020-02-01"), "{told}");
        assert_eq!(versions("sunset: 2999-01-01"), "", "it is not over");
        assert_eq!(versions("sunset: 2020-02-01, after_sunset: gone"), "", "nothing goes on");
        assert_eq!(versions("link: \"https://example.com/a\""), "", "it does not end");
    }
}
