//! The limits of routes: they must be there, as must what they count by, and what a route costs must be let in at all.
//!
//! Not here: what belongs to a limit alone (`rate_limit/`).

use std::{num::NonZeroU32, sync::Arc};

use super::{RouteConfig, build::Builder};
use crate::{
    handler::{Handler, Services},
    mistake::{Mistake, below},
    rate_limit::{
        self, RateLimit, RouteLimits,
        config::{Key, LimitConfig, Unit},
    },
    route::Plans,
    routing,
};

impl Builder<'_> {
    pub(super) fn check_default_limits(&mut self, services: &Services) {
        for (index, name) in self.config.default_limits.iter().enumerate() {
            self.limit(name, "`default_limits`", &format!("default_limits[{index}]"), services);
        }
    }

    pub(super) fn limit(
        &mut self,
        name: &str,
        place: &str,
        at: &str,
        services: &Services,
    ) -> Option<Arc<RateLimit>> {
        let found = services.limits.get(name).cloned();
        if found.is_none()
            && !self.loaded.has_erased(&below("limits", name))
            && !self.config.limits.contains_key(name)
        {
            let mistake = Mistake::new(at, format!("{place}: there is no limit `{name}`"));
            self.mistakes.add(mistake.one_of("limits", self.loaded.source.keys("limits"), name));
        }
        found
    }

    /// A limit that is shared needs something to share it by.
    pub(super) fn check_shared(&mut self, name: &str, typed: &LimitConfig, at: &str) {
        if typed.shared && self.config.redis.is_none() && !self.loaded.has_erased("redis") {
            let message = format!("limit `{name}` is shared, and there is no `redis` to share it by");
            let help = "say where it is: `redis: { url: redis://HOST:PORT }`";
            self.mistakes.add(Mistake::new(below(at, "shared"), message).help(help));
        }
    }

    /// A limit by a path parameter needs it on every route that counts against it: on the others it would be another limit.
    pub(super) fn check_limits_by_path(&mut self) {
        if !self.loaded.mistakes.is_empty() {
            return; // the route that lacks it may be the one that is wrong
        }
        for (name, limit) in &self.config.limits {
            let Key::Path(parameter) = &limit.by else { continue };
            let everywhere = self.config.default_limits.contains(name);
            let counting =
                self.config.routes.iter().filter(|route| everywhere || route.limits.contains(name));
            let lacking = counting
                .map(|route| (route, routing::parameters(&route.path).unwrap_or_default()))
                .find(|(_, names)| !names.iter().any(|known| **known == **parameter));
            if let Some((route, names)) = lacking {
                let wrong = format!(
                    "limit `{name}`: route `{}` counts against it and has no path parameter `{parameter}`",
                    route.path
                );
                let mistake = Mistake::new(below(&below("limits", name), "by.path"), wrong);
                self.mistakes.add(mistake.one_of("parameters", names, parameter));
            }
        }
    }

    /// What a request of that route is charged, and what it is under each plan besides.
    pub(super) fn charges(
        &mut self,
        limits: Vec<Arc<RateLimit>>,
        typed: &RouteConfig,
        at: &str,
        handler: Option<&dyn Handler>,
        services: &Services,
    ) -> (RouteLimits, Plans) {
        let priced = handler.is_some_and(Handler::prices);
        if limits.len() > rate_limit::MOST {
            let message = format!("route `{}` counts against {} limits", typed.path, limits.len());
            let mistake = Mistake::new(below(at, "limits"), message);
            self.mistakes.add(mistake.expected(format!("{} at most", rate_limit::MOST)));
        }
        let cost = typed.cost.unwrap_or(1);
        let wrong = |what: String| Mistake::new(below(at, "cost"), format!("route `{}` {what}", typed.path));
        let plans = self.plans(&typed.path, services);
        let of_plans = plans.iter().flat_map(|(_, limits)| limits);
        let mut by_cost = limits.iter().chain(of_plans).filter(|limit| limit.config().count == Unit::Cost);
        if cost == 0 {
            self.mistakes.add(wrong("costs nothing".to_owned()).expected("at least 1"));
        } else if typed.cost.is_some() && priced {
            let what = "says what it costs, and its handler does as well".to_owned();
            self.mistakes.add(wrong(what).help("leave `cost` out"));
        } else if typed.cost.is_some() && handler.is_some() && by_cost.clone().next().is_none() {
            let what = format!("costs {cost}, and none of its limits counts by cost");
            self.mistakes
                .add(wrong(what).help("write `count: cost` in one of its limits, or leave `cost` out"));
        } else if let Some(limit) = by_cost.find(|limit| limit.burst() < cost) {
            let what =
                format!("costs {cost}, and its limit never lets more than {} in at once", limit.burst());
            self.mistakes
                .add(wrong(what).expected(format!("{} at most, or a larger `burst`", limit.burst())));
        }
        let cost = NonZeroU32::new(cost).unwrap_or(NonZeroU32::MIN);
        let charged = RouteLimits::new(limits, cost, priced);
        let plan = |(name, limits): (&str, Vec<_>)| (Box::from(name), charged.of_plan(limits, cost, priced));
        let plans = Plans(plans.into_iter().map(plan).collect());
        (charged, plans)
    }
}
