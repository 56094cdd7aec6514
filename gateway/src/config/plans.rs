//! What is typed under `plans:`, resolved for each route: who may use it under which plan, and how often.
//!
//! Not here: who has which plan (`auth/`), how requests are counted (`rate_limit/`).

use std::sync::Arc;

use super::build::Builder;
use crate::{
    handler::Services,
    mistake::{Mistake, below},
    rate_limit::{self, RateLimit, config::Key},
};

impl<'a> Builder<'a> {
    /// A plan counts callers apart, by limits that there are, on routes that there are.
    pub(super) fn check_plans(&mut self, services: &Services) {
        for (name, plan) in &self.config.plans {
            let at = below("plans", name);
            if plan.limits.len() > rate_limit::MOST {
                let message = format!("plan `{name}` counts against {} limits", plan.limits.len());
                let mistake = Mistake::new(below(&at, "limits"), message);
                self.mistakes.add(mistake.expected(format!("{} at most", rate_limit::MOST)));
            }
            for (index, limit) in plan.limits.iter().enumerate() {
                let at = format!("{at}.limits[{index}]");
                let found = self.limit(limit, &format!("plan `{name}`"), &at, services);
                if found.is_some_and(|found| found.config().by != Key::Principal) {
                    let message = format!("plan `{name}`: the limit `{limit}` does not count callers apart");
                    self.mistakes.add(Mistake::new(at, message).expected("a limit that is `by: principal`"));
                }
            }
            let paths: Vec<&str> = self.config.routes.iter().map(|route| route.path.as_str()).collect();
            for (index, path) in plan.routes.iter().flatten().enumerate() {
                if !paths.contains(&path.as_str()) && !self.loaded.has_erased("routes") {
                    let message = format!("plan `{name}`: no route has the path `{path}`");
                    let mistake = Mistake::new(format!("{at}.routes[{index}]"), message);
                    self.mistakes.add(mistake.one_of("paths", &paths, path));
                }
            }
        }
    }

    /// The plans that offer the routes of this `path`, each with its limits.
    pub(super) fn plans(&self, path: &str, services: &Services) -> Vec<(&'a str, Vec<Arc<RateLimit>>)> {
        let offering = self.config.plans.iter().filter(|(_, plan)| {
            plan.routes.as_ref().is_none_or(|paths| paths.iter().any(|offered| offered == path))
        });
        let limits = |names: &[String]| {
            let mut limits: Vec<Arc<RateLimit>> = Vec::new();
            for limit in names.iter().filter_map(|name| services.limits.get(name)) {
                // Named twice, a limit still counts a request once.
                if !limits.iter().any(|known| Arc::ptr_eq(known, limit)) {
                    limits.push(limit.clone());
                }
            }
            limits
        };
        offering.map(|(name, plan)| (name.as_str(), limits(&plan.limits))).collect()
    }
}
