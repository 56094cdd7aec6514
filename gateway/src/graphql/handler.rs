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
    SubscriptionType, ValidationMode, Variables,
    parser::{parse_schema, types::OperationType},
};
use futures_util::{StreamExt, future::join_all};
use http::{HeaderName, HeaderValue, Method};

use super::{
    Refusal, Settings,
    coding::Agreed,
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
    subscriptions::{Execute, Feed, Form, Open, Opening, Sent, is_asked, respond},
    trusted::Trusted,
};
use crate::{
    body::{Request, Response},
    deadline::Deadline,
    door::Door,
    downstream::{Downstream, Network},
    error::{Code, Error},
    handler::{Admitted, Answer, Handler, Unmade},
    identity::Caller,
    live::{Event, Live},
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
    pub(super) faults: Faults,
    /// What a subscription is told of.
    pub(super) feed: Option<Arc<Feed>>,
}

impl Call {
    /// What a subscription is to tell now of the thing `key` that is watched by the name `watched`; nothing where the client
    /// knows what there is already, by the cursor `after`. `may` decides for each event whether it is for this caller.
    ///
    /// # Errors
    /// Why there is nothing to tell, which ends the subscription.
    pub async fn follow(
        &self,
        watched: &Arc<Live>,
        key: &str,
        after: Option<&str>,
        may: impl Fn(&Event) -> Result<(), Refusal>,
    ) -> Result<Option<Event>, Refusal> {
        let feed = self.feed.as_ref().ok_or_else(Refusal::unavailable)?;
        feed.event(watched, key, after, self, may).await
    }

    /// Has the log say, in the request's line, that a service failed.
    pub fn note(&self, fault: &Fault) {
        self.faults.add(fault);
    }
}

/// Makes what resolvers share.
type MakeShared<T> = Box<dyn Fn(&Arc<Call>) -> T + Send + Sync>;

/// Answers by executing a schema. `T` is what resolvers share, and find in their context.
pub struct GraphqlHandler<Q, M, S, T> {
    engine: Arc<Engine<Q, M, S, T>>,
    /// The most operations in one batch.
    batch: usize,
    graphiql: bool,
    codings: Vec<Coding>,
    open: Option<Arc<Open<Q, M, S, T>>>,
    door: Arc<Door>,
}

/// A schema, and all that it takes to execute operations.
pub(super) struct Engine<Q, M, S, T> {
    /// For documents and variables that are seen for the first time.
    strict: Schema<Q, M, S>,
    /// The same for documents that are proven: it leaves out what cannot fail any more.
    proven: Schema<Q, M, S>,
    lookup: Lookup,
    counters: Counters,
    names: Vec<String>,
    open: MakeShared<T>,
}

/// One operation that is ready to be executed, or why it is not.
pub(super) type Ready = Result<(Asked, Found), ServerError>;

/// What the operations of one HTTP request have in common.
pub(super) struct Sender {
    pub(super) call: Arc<Call>,
    pub(super) asker: Asker,
    /// The index of the client's name in metrics.
    pub(super) client: usize,
}

impl Sender {
    pub(super) fn request_id(&self) -> &str {
        request_id(&self.call)
    }
}

impl<Q, M, S, T> GraphqlHandler<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// A handler of the schema that `build` builds, which is asked twice; `open` is asked for what resolvers share: once for
    /// each HTTP request, but in a batch that writes once for each operation, so that none sees what was read before the
    /// write, and once for each event.
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
        let names = trusted.as_ref().map(Trusted::names).unwrap_or_default().to_vec();
        let counters = Counters::new(&metrics, &names, &settings.clients);
        let lookup = Lookup { documents, persisted, trusted, metrics };
        let (batch, graphiql, codings) =
            (settings.limits.batch, settings.graphiql, settings.compression.clone());
        let engine = Arc::new(Engine { strict, proven, lookup, counters, names, open: Box::new(open) });
        let shared = settings.subscriptions.clone();
        let open = shared.map(|shared| Arc::new(Open { engine: engine.clone(), shared }));
        let door = settings.door.clone();
        Ok(GraphqlHandler { engine, batch, graphiql, codings, open, door })
    }

    async fn respond(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Error> {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(open) = self.open.as_ref().filter(|_| is_asked(request)) {
            return self.socket(open, request, admitted);
        }
        if let Some(page) = self.graphiql(get, request) {
            return Ok(page);
        }
        let form = self.open.as_ref().and_then(|_| render::open_form(request.headers()));
        let media = match (Media::of(request.headers()), form) {
            (Ok(media), _) => Some(media),
            (Err(_), Some(_)) => None,
            (Err(error), None) => return Err(error),
        };
        let coding = Agreed::on(&self.codings, request.headers())?;
        let bill = admitted.bill.as_deref();
        let client = self.engine.counters.client(request.headers());
        let call = Call::over(admitted, idempotency_key(request), None);
        let sender = self.engine.sender(call, admitted, client, get);
        let asked = read(request, self.batch).await;
        let to = To { media: media.unwrap_or(Media::Json), coding, headers: request.headers() };
        let mut response = match asked {
            Ok(Batch::One(asked)) => match (form, &self.open) {
                (Some(form), Some(open)) if media.is_none() || self.subscribes(&asked, &sender) => {
                    let sent = self.sent(*asked, request, admitted, client, form)?;
                    self.stream(open, sent, form, get, &sender, admitted).await?
                }
                _ => self.one(*asked, &sender, bill, &to).await?,
            },
            Ok(Batch::Many(_)) if media.is_none() => {
                return Err(Error::new(Code::NotAcceptable, "a batch, and Accept takes no JSON"));
            }
            Ok(Batch::Many(all)) => render::many(&self.many(all, &sender, bill).await?, &to).await,
            Err(Unread::Http(error)) => return Err(error),
            Err(Unread::Graphql(refusal)) => render::unread(refusal, &to, request_id(&sender.call)).await,
        };
        if let Some(faults) = sender.call.faults.note() {
            response.extensions_mut().insert(Note(faults));
        }
        Ok(response)
    }

    fn graphiql(&self, get: bool, request: &Request) -> Option<Response> {
        let offered = get && self.graphiql;
        offered.then(|| graphiql::answer(request.uri(), request.headers())).flatten()
    }

    fn socket(
        &self,
        open: &Arc<Open<Q, M, S, T>>,
        request: &mut Request,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        let client = self.engine.counters.client(request.headers());
        let (executor, shared) = (open.clone(), open.shared.clone());
        Opening { executor, shared, route: self.door.route()?, client }.open(request, admitted)
    }

    fn subscribes(&self, asked: &Asked, sender: &Sender) -> bool {
        let found = self.engine.lookup.find(asked, sender.asker);
        let kind = |found: Found| found.document.kind(asked.operation_name.as_deref());
        found.ok().and_then(kind) == Some(OperationType::Subscription)
    }

    fn sent(
        &self,
        asked: Asked,
        request: &Request,
        admitted: &Admitted,
        client: usize,
        form: Form,
    ) -> Result<Sent, Error> {
        let bill = admitted.bill.clone();
        let admitted = Admitted { bill, ..admitted.again(admitted.deadline) };
        let (idempotency_key, transport) = (idempotency_key(request), form.transport());
        Ok(Sent { asked, admitted, client, idempotency_key, transport })
    }

    async fn stream(
        &self,
        open: &Arc<Open<Q, M, S, T>>,
        sent: Sent,
        form: Form,
        get: bool,
        sender: &Sender,
        admitted: &Admitted,
    ) -> Result<Response, Error> {
        if get {
            let found = self.engine.lookup.find(&sent.asked, sender.asker).ok();
            let name = sent.asked.operation_name.as_deref();
            if found.and_then(|found| found.document.kind(name)) == Some(OperationType::Mutation) {
                return Err(not_allowed(WRITES));
            }
        }
        let outs = open.clone().run(sent).await?;
        Ok(respond(outs, form, &open.shared, admitted))
    }

    async fn one(
        &self,
        asked: Asked,
        sender: &Sender,
        bill: Option<&Bill>,
        to: &To<'_>,
    ) -> Result<Response, Error> {
        let engine = &self.engine;
        if asked.sent_text().is_none() && !(asked.reference.is_some() && engine.lookup.knows_references()) {
            return Ok(render::unread(asked.without_text(), to, request_id(&sender.call)).await);
        }
        let ready = self.ended(engine.ready(asked, sender));
        if sender.asker.get && kind(&ready) == Some(OperationType::Mutation) {
            // A link must not change anything (GraphQL over HTTP, section 5.3).
            return Err(not_allowed(WRITES));
        }
        if let Some(bill) = bill {
            bill.pay(cost(&ready)).await?;
        }
        let keep = keep(&ready, sender);
        Ok(render::one(&engine.execute(ready, sender, engine.shared(sender)).await, to, keep).await)
    }

    /// Queries run side by side and share what they load; as soon as one operation writes, all run in their order.
    async fn many(
        &self,
        all: Vec<Asked>,
        sender: &Sender,
        bill: Option<&Bill>,
    ) -> Result<Vec<Executed>, Error> {
        let engine = &self.engine;
        let all: Vec<Ready> = all.into_iter().map(|asked| self.ended(engine.ready(asked, sender))).collect();
        if let Some(bill) = bill {
            bill.pay(all.iter().map(cost).fold(0, u32::saturating_add)).await?;
        }
        if !all.iter().any(|ready| kind(ready) == Some(OperationType::Mutation)) {
            let shared = engine.shared(sender);
            let all = all.into_iter().map(|ready| engine.execute(ready, sender, shared.clone()));
            return Ok(join_all(all).await);
        }
        let mut answers = Vec::with_capacity(all.len());
        for ready in all {
            answers.push(engine.execute(ready, sender, engine.shared(sender)).await);
        }
        Ok(answers)
    }

    /// What is told in one answer that ends has one result: a subscription needs another transport.
    fn ended(&self, ready: Ready) -> Ready {
        match kind(&ready) {
            Some(OperationType::Subscription) if self.open.is_none() => {
                Err(invalid("Subscriptions are not offered here."))
            }
            Some(OperationType::Subscription) => Err(invalid(
                "A subscription needs an answer that stays open: accept `text/event-stream` or \
                 `multipart/mixed`, or open a WebSocket.",
            )),
            _ => ready,
        }
    }
}

impl<Q, M, S, T> Engine<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn sender(&self, call: Call, admitted: &Admitted, client: usize, get: bool) -> Sender {
        let owner = if self.lookup.persisted.is_some() { owner(admitted) } else { 0 };
        Sender { call: Arc::new(call), asker: Asker { owner, get }, client }
    }

    /// What resolvers share.
    pub(super) fn shared(&self, sender: &Sender) -> T {
        (self.open)(&sender.call)
    }

    /// The name of a trusted operation.
    pub(super) fn operation(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    pub(super) fn ready(&self, asked: Asked, sender: &Sender) -> Ready {
        let found = self.lookup.find(&asked, sender.asker)?;
        found.document.check_root(asked.operation_name.as_deref())?;
        found.document.check_sent(asked.operation_name.as_deref(), &asked.variables)?;
        if found.untrusted {
            sender.call.faults.untrusted(&found.document.text);
        }
        Ok((asked, found))
    }

    pub(super) async fn execute(&self, ready: Ready, sender: &Sender, shared: T) -> Executed {
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
        let Asked { variables, operation_name, .. } = asked;
        let proven = found.document.is_proven(operation_name.as_deref(), &variables);
        let execution = execution(variables, operation_name.clone(), &found, shared);
        let mut executed = self.schema(proven).execute(execution).await;
        self.finish(&mut executed, operation_name.as_deref(), &found, sender, proven);
        executed
    }

    /// A subscription's selection for one event; nothing where there is none.
    pub(super) async fn tell(&self, asked: &Asked, found: &Found, sender: &Sender) -> Option<Executed> {
        let name = asked.operation_name.clone();
        let proven = found.document.is_proven(name.as_deref(), &asked.variables);
        let execution = execution(asked.variables.clone(), name, found, self.shared(sender));
        let mut executed = self.schema(proven).execute_stream(execution).next().await?;
        self.finish(&mut executed, asked.operation_name.as_deref(), found, sender, proven);
        Some(executed)
    }

    fn schema(&self, proven: bool) -> &Schema<Q, M, S> {
        if proven { &self.proven } else { &self.strict }
    }

    fn finish(
        &self,
        executed: &mut Executed,
        name: Option<&str>,
        found: &Found,
        sender: &Sender,
        proven: bool,
    ) {
        found.document.plan(name).arrange(&mut executed.data);
        failure::classify(executed, &found.document.text, request_id(&sender.call));
        let outcome = outcome(executed);
        if outcome != Outcome::Refused {
            if !proven {
                found.document.prove();
            }
            self.lookup.register(found, sender.asker);
        }
        self.counters.count(found.name, sender.client, outcome);
    }
}

fn execution<T: Send + Sync + 'static>(
    mut variables: Variables,
    name: Option<String>,
    found: &Found,
    shared: T,
) -> Execution {
    let parsed = found.document.ready(name.as_deref(), &mut variables);
    let mut execution = Execution::new(String::new()).variables(variables);
    execution.operation_name = name;
    execution.data.insert(shared);
    execution.set_parsed_query(parsed);
    execution
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

    fn reads_graphql(&self) -> bool {
        true
    }
}

/// What cannot be executed costs as little as can be: it was read all the same.
pub(super) fn cost(ready: &Ready) -> u32 {
    ready.as_ref().map_or(1, |(asked, found)| found.document.cost(asked.operation_name.as_deref()))
}

pub(super) fn kind(ready: &Ready) -> Option<OperationType> {
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

fn idempotency_key(request: &Request) -> Option<HeaderValue> {
    const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    request.headers().get(IDEMPOTENCY_KEY).cloned()
}

fn request_id(call: &Call) -> &str {
    call.caller.request_id.to_str().unwrap_or_default()
}
