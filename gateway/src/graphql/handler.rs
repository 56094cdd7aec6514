//! Answers the requests of a GraphQL route.
//!
//! Nothing here is cut off at the deadline: resolvers bound their own calls by it, so that what is there gets answered.
//! Not here: what the data behind resolvers is; whoever brings the schema says what each request is given.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_graphql::{
    ObjectType, Request as Execution, Response as Executed, Schema, SchemaBuilder, ServerError,
    SubscriptionType, ValidationMode,
    parser::{parse_schema, types::OperationType},
};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method};

use super::{
    Settings,
    config::Coding,
    document::{Documents, invalid},
    failure,
    faults::Faults,
    freshness::Ages,
    graphiql,
    lenient::Shapes,
    lookup::{Asker, Found, Lookup},
    metrics::{Counters, Outcome},
    persisted::Owner,
    read::{Asked, Batch, Unread, WRITES, not_allowed, read},
    render::{self, Keep, Media, To},
    trusted::Trusted,
};
use crate::{
    body::{Request, Response},
    deadline::Deadline,
    downstream::{Downstream, Network},
    error::Error,
    handler::{Admitted, Answer, Handler, Unmade},
    identity::Caller,
    mistake::Mistakes,
    observability::record::Note,
    rate_limit::Bill,
    upstream::Fault,
};

/// What resolvers may know about the request that they work for.
#[derive(Debug)]
pub struct Call {
    /// On whose behalf services are called.
    pub caller: Caller,
    /// By when the answer must be there.
    pub deadline: Deadline,
    /// Where the request came from.
    pub downstream: Arc<Downstream>,
    /// The client's `Idempotency-Key`.
    pub idempotency_key: Option<HeaderValue>,
    faults: Faults,
}

impl Call {
    /// Has the log say, in the request's line, that a service failed.
    pub fn note(&self, fault: &Fault) {
        self.faults.add(fault);
    }
}

/// Makes what resolvers share.
type Open<T> = Box<dyn Fn(&Arc<Call>) -> T + Send + Sync>;

/// Answers by executing a schema. `T` is what resolvers share, and find in their context.
pub struct GraphqlHandler<Q, M, S, T> {
    /// For documents and variables that are seen for the first time.
    strict: Schema<Q, M, S>,
    /// The same for documents that are proven: it leaves out what cannot fail any more.
    proven: Schema<Q, M, S>,
    lookup: Lookup,
    counters: Counters,
    /// The most operations in one batch.
    batch: usize,
    graphiql: bool,
    coding: Coding,
    open: Open<T>,
}

/// One operation that is ready to be executed, or why it is not.
type Ready = Result<(Asked, Found), ServerError>;

/// What the operations of one HTTP request have in common.
struct Sender {
    call: Arc<Call>,
    asker: Asker,
    /// The index of the client's name in metrics.
    client: usize,
}

impl<Q, M, S, T> GraphqlHandler<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// A handler of the schema that `build` builds, which is asked twice; `open` is asked for what resolvers share: once for each HTTP request, but in a batch that
    /// writes once for each operation, so that none sees what was read before the write.
    ///
    /// # Errors
    /// Every trusted document that the schema does not fit.
    pub fn new(
        build: impl Fn() -> SchemaBuilder<Q, M, S>,
        settings: &Settings,
        open: impl Fn(&Arc<Call>) -> T + Send + Sync + 'static,
    ) -> Result<Self, Unmade> {
        let strict = build().validation_mode(ValidationMode::Strict).finish();
        let proven = build().validation_mode(ValidationMode::Fast).finish();
        let sdl = parse_schema(strict.sdl()).expect("a schema prints itself as one");
        let (shapes, mut mistakes) = (Shapes::of(sdl), Mistakes::default());
        let ages = Ages::new(&settings.max_age, &shapes, &mut mistakes);
        let documents = Documents::new(settings.limits.clone(), shapes, ages, settings.introspection);
        let trusted = settings.trusted.as_ref();
        let trusted = trusted.map(|manifests| Trusted::new(manifests, &documents, &strict, &mut mistakes));
        if !mistakes.is_empty() {
            return Err(Unmade(mistakes));
        }
        let (persisted, metrics) = (settings.persisted.clone(), settings.metrics.clone());
        let names = trusted.as_ref().map(Trusted::names).unwrap_or_default();
        let counters = Counters::new(&metrics, names, &settings.clients);
        let lookup = Lookup { documents, persisted, trusted, metrics };
        let (batch, graphiql, coding) = (settings.limits.batch, settings.graphiql, settings.compression);
        Ok(GraphqlHandler { strict, proven, lookup, counters, batch, graphiql, coding, open: Box::new(open) })
    }

    async fn respond(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Error> {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(page) = self.graphiql(get, request) {
            return Ok(page);
        }
        let media = Media::of(request.headers())?;
        let bill = admitted.bill.as_deref();
        let sender = self.sender(request, admitted, get);
        let asked = read(request, self.batch).await;
        let to = To { media, coding: self.coding, headers: request.headers() };
        let mut response = match asked {
            Ok(Batch::One(asked)) => self.one(*asked, &sender, bill, &to).await?,
            Ok(Batch::Many(all)) => render::many(&self.many(all, &sender, bill).await?, &to),
            Err(Unread::Http(error)) => return Err(error),
            Err(Unread::Graphql(refusal)) => render::unread(refusal, &to, request_id(&sender.call)),
        };
        if let Some(faults) = sender.call.faults.note() {
            response.extensions_mut().insert(Note(faults));
        }
        Ok(response)
    }

    fn sender(&self, request: &Request, admitted: &Admitted, get: bool) -> Sender {
        let owner = if self.lookup.persisted.is_some() { owner(admitted) } else { 0 };
        let client = self.counters.client(request.headers());
        Sender { call: Arc::new(call(request, admitted)), asker: Asker { owner, get }, client }
    }

    fn graphiql(&self, get: bool, request: &Request) -> Option<Response> {
        let offered = get && self.graphiql;
        offered.then(|| graphiql::answer(request.uri(), request.headers())).flatten()
    }

    async fn one(
        &self,
        asked: Asked,
        sender: &Sender,
        bill: Option<&Bill>,
        to: &To<'_>,
    ) -> Result<Response, Error> {
        if asked.sent_text().is_none() && !(asked.reference.is_some() && self.lookup.knows_references()) {
            return Ok(render::unread(asked.without_text(), to, request_id(&sender.call)));
        }
        let ready = self.ready(asked, sender);
        if sender.asker.get && kind(&ready) == Some(OperationType::Mutation) {
            // A link must not change anything (GraphQL over HTTP, section 5.3).
            return Err(not_allowed(WRITES));
        }
        if let Some(bill) = bill {
            bill.pay(cost(&ready)).await?;
        }
        let keep = keep(&ready, sender);
        Ok(render::one(&self.execute(ready, sender, (self.open)(&sender.call)).await, to, keep))
    }

    /// Queries run side by side and share what they load; as soon as one operation writes, all run in their order.
    async fn many(
        &self,
        all: Vec<Asked>,
        sender: &Sender,
        bill: Option<&Bill>,
    ) -> Result<Vec<Executed>, Error> {
        let all: Vec<Ready> = all.into_iter().map(|asked| self.ready(asked, sender)).collect();
        if let Some(bill) = bill {
            bill.pay(all.iter().map(cost).fold(0, u32::saturating_add)).await?;
        }
        if !all.iter().any(|ready| kind(ready) == Some(OperationType::Mutation)) {
            let shared = (self.open)(&sender.call);
            let all = all.into_iter().map(|ready| self.execute(ready, sender, shared.clone()));
            return Ok(join_all(all).await);
        }
        let mut answers = Vec::with_capacity(all.len());
        for ready in all {
            answers.push(self.execute(ready, sender, (self.open)(&sender.call)).await);
        }
        Ok(answers)
    }

    fn ready(&self, asked: Asked, sender: &Sender) -> Ready {
        let found = self.lookup.find(&asked, sender.asker)?;
        if found.document.kind(asked.operation_name.as_deref()) == Some(OperationType::Subscription) {
            return Err(invalid("Subscriptions are not offered here."));
        }
        if found.untrusted {
            sender.call.faults.untrusted(&found.document.text);
        }
        Ok((asked, found))
    }

    async fn execute(&self, ready: Ready, sender: &Sender, shared: T) -> Executed {
        let id = request_id(&sender.call);
        let (asked, found) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                let mut refused = Executed::from_errors(vec![error]);
                failure::classify(&mut refused, "", id);
                self.counters.count(None, sender.client, Outcome::Refused);
                return refused;
            }
        };
        let mut variables = asked.variables;
        let proven = found.document.is_proven(asked.operation_name.as_deref(), &variables);
        let parsed = found.document.ready(asked.operation_name.as_deref(), &mut variables);
        let mut execution = Execution::new(String::new()).variables(variables);
        execution.operation_name = asked.operation_name;
        execution.data.insert(shared);
        execution.set_parsed_query(parsed);
        let plan = found.document.plan(execution.operation_name.as_deref());
        let schema = if proven { &self.proven } else { &self.strict };
        let mut executed = schema.execute(execution).await;
        plan.arrange(&mut executed.data);
        failure::classify(&mut executed, &found.document.text, id);
        let outcome = outcome(&executed);
        if outcome != Outcome::Refused {
            if !proven {
                found.document.prove();
            }
            self.lookup.register(&found, sender.asker);
        }
        self.counters.count(found.name, sender.client, outcome);
        executed
    }
}

impl<Q, M, S, T> Handler for GraphqlHandler<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    fn answer<'a>(&'a self, request: &'a mut Request, admitted: &'a Admitted) -> Answer<'a> {
        Box::pin(self.respond(request, admitted))
    }

    fn prices(&self) -> bool {
        true
    }
}

/// What cannot be executed costs as little as can be: it was read all the same.
fn cost(ready: &Ready) -> u32 {
    ready.as_ref().map_or(1, |(asked, found)| found.document.cost(asked.operation_name.as_deref()))
}

fn kind(ready: &Ready) -> Option<OperationType> {
    let (asked, found) = ready.as_ref().ok()?;
    found.document.kind(asked.operation_name.as_deref())
}

/// For how long, and by whom, what answers a GET may be kept.
fn keep(ready: &Ready, sender: &Sender) -> Option<Keep> {
    let (asked, found) = ready.as_ref().ok().filter(|_| sender.asker.get)?;
    let seconds = found.document.age(asked.operation_name.as_deref())?;
    Some(Keep { seconds, private: sender.call.caller.principal.is_some() })
}

fn outcome(executed: &Executed) -> Outcome {
    match () {
        () if executed.errors.is_empty() => Outcome::Ok,
        () if failure::before_execution(executed) => Outcome::Refused,
        () => Outcome::Partial,
    }
}

/// Who registers documents: the caller, or where nobody is known the network.
fn owner(admitted: &Admitted) -> Owner {
    let mut hasher = DefaultHasher::new();
    match &admitted.caller.principal {
        Some(principal) => principal.sub.hash(&mut hasher),
        None => Network::of(admitted.downstream.peer.ip()).hash(&mut hasher),
    }
    hasher.finish()
}

fn call(request: &Request, admitted: &Admitted) -> Call {
    const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    let idempotency_key = request.headers().get(IDEMPOTENCY_KEY).cloned();
    let (caller, downstream) = (admitted.caller.clone(), admitted.downstream.clone());
    Call { caller, deadline: admitted.deadline, downstream, idempotency_key, faults: Faults::default() }
}

fn request_id(call: &Call) -> &str {
    call.caller.request_id.to_str().unwrap_or_default()
}
