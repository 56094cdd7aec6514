//! What is asked over a connection that stays open, let in by its route as a request of its own would be: limits, who asks,
//! and whether that one may.
//!
//! Not here: the request that opened the connection (`pipeline.rs`).

use std::sync::{Arc, OnceLock, Weak};

use http::HeaderMap;

use crate::{
    auth::Principal,
    body::{Body, Request},
    deadline::Deadline,
    error::{Code, Error},
    handler::Admitted,
    observability::trace::Trace,
    rate_limit::{Asker, Tally},
    route::Route,
};

/// Leads a handler to its own route, which is there once the configuration is built.
#[derive(Debug, Default)]
pub(crate) struct Door(OnceLock<Weak<Route>>);

impl Door {
    /// Says which route it is. There is one for each door.
    pub(crate) fn lead_to(&self, route: &Arc<Route>) {
        _ = self.0.set(Arc::downgrade(route));
    }

    /// The route, for as long as this is held.
    ///
    /// # Errors
    /// When there is none, which no configuration that runs comes to.
    pub(crate) fn route(&self) -> Result<Arc<Route>, Error> {
        let route = self.0.get().and_then(Weak::upgrade);
        route.ok_or_else(|| Error::new(Code::Internal, "a handler without a route"))
    }
}

/// Lets in whoever `credentials` are of, in the place of the caller of `first`.
///
/// # Errors
/// As for a request: 401, 403, 429, 503.
pub(crate) async fn identify(
    route: &Route,
    credentials: &HeaderMap,
    first: &Admitted,
) -> Result<Option<Arc<Principal>>, Error> {
    let asker = asker(credentials, first, None);
    route.limits.check_early(&asker, &mut Tally::default()).await?; // guessing tokens costs
    let principal = route.guard.authenticate(credentials, &first.downstream).await?;
    if let Some(principal) = &principal {
        route.plans.of(principal)?;
    }
    let mut now = first.again(Deadline::after(route.timeout));
    now.caller.principal.clone_from(&principal);
    let mut request = Request::new(Body::Empty);
    *request.uri_mut() = first.params.target().clone().into();
    route.guard.authorize(&mut request, &now).await?;
    Ok(principal)
}

/// Counts one more that the caller of `first` asks for, with the header section that the connection began with.
///
/// # Errors
/// 403 by the caller's plan, 429.
pub(crate) async fn again(route: &Route, headers: &HeaderMap, first: &Admitted) -> Result<Admitted, Error> {
    let (principal, mut tally) = (first.caller.principal.as_deref(), Tally::default());
    let plan = match principal {
        Some(principal) => route.plans.of(principal)?,
        None => None,
    };
    route.limits.check_early(&asker(headers, first, None), &mut tally).await?;
    let known = asker(headers, first, principal.map(|principal| &*principal.sub));
    let bill = route.limits.check_late(&known, &mut tally, plan).await?;
    let mut now = first.again(Deadline::after(route.timeout));
    now.caller.trace = Trace::of(&HeaderMap::new()); // that of the connection would never end
    Ok(Admitted { bill, ..now })
}

fn asker<'a>(headers: &'a HeaderMap, first: &'a Admitted, sub: Option<&'a str>) -> Asker<'a> {
    Asker { address: first.downstream.peer.ip(), sub, headers, params: Some(&first.params) }
}
