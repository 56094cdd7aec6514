//! One route, resolved: its policies and its handler. Everything that can be looked up or computed once is here already.

use std::{sync::Arc, time::Duration};

use crate::{
    deadline::Budget, guard::Guard, handler::Handler, observability::metrics::RouteMetrics,
    rate_limit::RateLimit,
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
    /// Limits that are checked before a token is looked at, so that guessing costs.
    pub limits_by_address: Vec<Arc<RateLimit>>,
    /// Limits that are checked once the caller is known.
    pub limits_by_principal: Vec<Arc<RateLimit>>,
    /// What answers.
    pub handler: Arc<dyn Handler>,
    /// What is counted.
    pub metrics: Arc<RouteMetrics>,
}
