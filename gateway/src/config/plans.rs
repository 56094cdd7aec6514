//! What is typed under `plans:`, resolved for each route: who may use it under which plan, and how often.
//!
//! Not here: who has which plan (`auth/`), how requests are counted (`rate_limit/`).

use std::{collections::HashMap, sync::Arc};

use super::build::Builder;
use crate::{
    handler::Services,
    mistake::{Mistake, below},
    rate_limit::{RateLimit, config::Key},
    route::Plans,
};

impl Builder<'_> {
    /// A plan counts callers apart, by limits that there are, on routes that there are.
    pub(super) fn check_plans(&mut self, services: &Services) {
        for (name, plan) in &self.config.plans {
            let at = below("plans", name);
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
    pub(super) fn plans(&self, path: &str, services: &Services) -> Plans {
        let offering = self.config.plans.iter().filter(|(_, plan)| {
            plan.routes.as_ref().is_none_or(|paths| paths.iter().any(|offered| offered == path))
        });
        let limits = |names: &[String]| -> Vec<Arc<RateLimit>> {
            names.iter().filter_map(|name| services.limits.get(name).cloned()).collect()
        };
        let offers: HashMap<_, _> =
            offering.map(|(name, plan)| (Box::from(name.as_str()), limits(&plan.limits))).collect();
        Plans(offers)
    }
}
