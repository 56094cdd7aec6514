//! One route, resolved: its policies and its handler. Everything that can be looked up or computed once is here already.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::HeaderName;

use crate::{
    auth::Principal,
    browsers::Browsers,
    deadline::Budget,
    error::{Code, Error},
    guard::Guard,
    handler::Handler,
    lifecycle::Lifecycle,
    observability::metrics::RouteMetrics,
    overload::Shares,
    rate_limit::RouteLimits,
};

/// One route of a configuration.
pub struct Route {
    /// For logs and metrics: methods and path template.
    pub name: Arc<str>,
    /// Who may use it.
    pub guard: Arc<Guard>,
    /// By when its answers must have been sent.
    pub timeout: Duration,
    /// Whether a client may want it sooner, and how services are told.
    pub budget: Budget,
    /// The most bytes of a request's body.
    pub max_body: u64,
    /// How long a client may send nothing of it.
    pub body_timeout: Duration,
    /// How often it may be asked.
    pub limits: RouteLimits,
    /// What callers under a plan may.
    pub plans: Plans,
    /// The header fields that hold credentials, which go no further.
    pub credentials: Arc<[HeaderName]>,
    /// What browsers are told; nothing when `None`.
    pub browsers: Option<Arc<Browsers>>,
    /// How much of what may be in flight its requests get; all they want when `None`.
    pub shares: Option<Shares>,
    /// Whether answers of it may stay open: the deadline of those is only that of their beginning.
    pub lasts: bool,
    /// What clients are told of its end; nothing when `None`.
    pub lifecycle: Option<Lifecycle>,
    /// What answers.
    pub handler: Arc<dyn Handler>,
    /// What is counted.
    pub metrics: Arc<RouteMetrics>,
}

/// The plans that offer a route, by name, with the limits of each.
pub struct Plans(pub HashMap<Box<str>, RouteLimits>);

impl Plans {
    /// The limits of a caller's plan, beside those of the route. Callers without a plan are not held to any.
    ///
    /// # Errors
    /// [`Code::Forbidden`] where the plan does not offer the route.
    pub fn of(&self, principal: &Principal) -> Result<Option<&RouteLimits>, Error> {
        let Some(plan) = &principal.plan else { return Ok(None) };
        self.0.get(plan).map(Some).ok_or_else(|| {
            let error = Error::new(Code::Forbidden, format!("the plan `{plan}` does not offer this route"));
            error.detail("Your plan does not include this.")
        })
    }
}
