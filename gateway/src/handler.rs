//! What answers a request once it has been let in.
//!
//! Only the pipeline makes an [`Admitted`], so no handler can be called around it.

use std::{future::Future, pin::Pin, sync::Arc};

use indexmap::IndexMap;
use serde_json::Value;

use crate::{
    auth::policy::Facts,
    body::{Request, Response},
    deadline::Deadline,
    downstream::Downstream,
    error::{Code, Error},
    graphql::Settings,
    identity::Caller,
    loaders::Loader,
    mistake::{Mistake, Mistakes},
    rate_limit::{Bill, RateLimit},
    routing::{Params, path},
    upstream::Upstream,
};

/// A future on the heap: handlers differ in size, and the pipeline's own future stays small.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

/// Answers requests of one route.
pub trait Handler: Send + Sync {
    /// The answer, before `admitted.deadline`. Dropped, it must stop all that it has begun. Both stay where they are, in
    /// the pipeline, since moving them costs as much as a look at the route; whoever reads the body takes it.
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a>;

    /// Whether only it can say what a request costs. Then it pays `admitted.bill`, if there is one, before it answers.
    fn prices(&self) -> bool {
        false
    }

    /// Whether it reads what its route says under `graphql`.
    fn reads_graphql(&self) -> bool {
        false
    }
}

/// A handler that a binary brings along, held to the deadline. The gateway's own need no second timer: all that they wait
/// for are calls, and each of those is bound by the same deadline.
pub(crate) struct InTime(pub(crate) Arc<dyn Handler>);

impl Handler for InTime {
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        let deadline = admitted.deadline;
        let mut answer = self.0.answer(request, admitted);
        Box::pin(async move { deadline.bound(answer.as_mut()).await.unwrap_or_else(|_elapsed| Err(late())) })
    }

    fn prices(&self) -> bool {
        self.0.prices()
    }

    fn reads_graphql(&self) -> bool {
        self.0.reads_graphql()
    }
}

/// What stands in the place of a handler that could not be built; such a configuration never runs.
pub(crate) struct Nothing;

impl Handler for Nothing {
    fn answer<'a>(&'a self, _request: &'a mut Request, _admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(async { Err(Error::new(Code::NotFound, "a route without a handler")) })
    }
}

/// Looks at what a request is known by: for rules, and for what is written from the same. `part` is one that was read, by its
/// name.
pub(crate) fn with_facts<R>(
    caller: &Caller,
    params: &Params,
    body: Option<&Value>,
    part: Option<(&str, &Value)>,
    look: impl FnOnce(&Facts<'_>) -> R,
) -> R {
    let part = |name: &str| part.filter(|(known, _)| *known == name).map(|(_, value)| value);
    with_parts(caller, params, body, &part, look)
}

/// The same where several parts may have been read.
pub(crate) fn with_parts<'v, R>(
    caller: &Caller,
    params: &Params,
    body: Option<&Value>,
    part: &dyn Fn(&str) -> Option<&'v Value>,
    look: impl FnOnce(&Facts<'_>) -> R,
) -> R {
    look(&Facts {
        claims: caller.principal.as_deref().map(|principal| &principal.claims),
        path: &|name| params.get(name).and_then(path::decode),
        query: params.query(),
        body,
        part: &|name| part(name),
    })
}

/// What is said when the deadline passes and no service is to blame.
pub(crate) fn late() -> Error {
    Error::new(Code::UpstreamTimeout, "the route's deadline passed")
}

/// What a handler of one's own may be built from: what the configuration names.
#[derive(Default, Clone)]
pub struct Services {
    /// The upstreams by name.
    pub upstreams: IndexMap<String, Arc<Upstream>>,
    /// The rate limits by name.
    pub limits: IndexMap<String, Arc<RateLimit>>,
    /// The loaders by name.
    pub loaders: IndexMap<String, Arc<Loader>>,
    /// What its route says under `graphql`.
    pub graphql: Settings,
}

/// Why a handler of one's own was not built.
#[derive(Debug)]
pub struct Unmade(pub Mistakes);

/// A sentence for the operator, told where the handler is named.
impl From<String> for Unmade {
    fn from(why: String) -> Self {
        Unmade(Mistakes(vec![Mistake::new("handle", why)]))
    }
}

impl Services {
    /// The upstream so named.
    ///
    /// # Errors
    /// A sentence for the operator when the configuration has none.
    pub fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String> {
        self.upstreams.get(name).cloned().ok_or_else(|| format!("this handler needs an upstream `{name}`"))
    }

    /// The loader so named.
    ///
    /// # Errors
    /// A sentence for the operator when the configuration has none.
    pub fn loader(&self, name: &str) -> Result<Arc<Loader>, String> {
        let found = self.loaders.get(name).cloned();
        found.ok_or_else(|| format!("this handler needs a loader `{name}` under `loaders`"))
    }

    /// The limit so named. A handler that counts against one does not run without it: that would be no limit at all.
    ///
    /// # Errors
    /// A sentence for the operator when the configuration has none.
    pub fn limit(&self, name: &str) -> Result<Arc<RateLimit>, String> {
        self.limits
            .get(name)
            .cloned()
            .ok_or_else(|| format!("this handler needs a limit `{name}` under `limits`"))
    }
}

/// Builds a handler of one's own, again for every configuration that is loaded.
///
/// # Errors
/// Mistakes whose paths begin below the route.
pub type Make = fn(&Services) -> Result<Arc<dyn Handler>, Unmade>;

/// The handlers that a binary brings along, by the name that `handle:` knows them by.
#[derive(Clone, Default)]
pub struct Handlers(pub IndexMap<&'static str, Make>);

impl Handlers {
    /// These and one more.
    #[must_use]
    pub fn with(mut self, name: &'static str, make: Make) -> Self {
        self.0.insert(name, make);
        self
    }
}

/// A request that was let in: who asks, for what, until when.
pub struct Admitted {
    /// On whose behalf services are called.
    pub caller: Caller,
    /// The path parameters.
    pub params: Params,
    /// By when the answer must be there.
    pub deadline: Deadline,
    /// Where the request came from.
    pub downstream: Arc<Downstream>,
    /// What the handler has to charge, if it is the one who knows what a request costs.
    pub bill: Option<Arc<Bill>>,
    /// What the guard has read of the part that it asked for, if that is needed after the decision.
    pub asked: Option<Box<Value>>,
}

impl Admitted {
    /// The same once more, for what is asked after it was answered.
    pub(crate) fn again(&self, deadline: Deadline) -> Self {
        let Admitted { caller, params, downstream, .. } = self;
        let (caller, params, downstream) = (caller.clone(), params.clone(), downstream.clone());
        Admitted { caller, params, deadline, downstream, bill: None, asked: None }
    }
}
