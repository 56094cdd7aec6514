//! Answers the requests of a GraphQL route.
//!
//! Nothing here is cut off at the deadline: resolvers bound their own calls by it, so that what is there gets answered.
//! Not here: what the data behind resolvers is; whoever brings the schema says what each request is given.

use std::sync::Arc;

use async_graphql::{
    ObjectType, Response as Executed, SchemaBuilder, SubscriptionType, parser::types::OperationType,
};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method};

use super::{
    Refusal, Settings,
    coding::Agreed,
    config::Coding,
    document::invalid,
    engine::{Engine, Ready, Sender, cost, kind, request_id},
    faults::Faults,
    graphiql,
    lookup::Found,
    read::{Asked, Batch, Unread, WRITES, not_allowed, read},
    render::{self, Keep, Media, To},
    subscriptions::{Execute, Feed, Form, Open, Opening, Sent, is_asked, respond},
};
use crate::{
    body::{Request, Response},
    deadline::Deadline,
    door::Door,
    downstream::Downstream,
    error::{Code, Error},
    handler::{Admitted, Answer, Handler, Unmade},
    identity::Caller,
    live::{Event, Live},
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

impl<Q, M, S, T> GraphqlHandler<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// A handler of the schema that `build` builds, which is asked for each way of validating; `open` is asked for what
    /// resolvers share: once for each HTTP request, but in a batch that writes once for each operation, so that none sees what
    /// was read before the write, and once for each event.
    ///
    /// # Errors
    /// Every trusted document that the schema does not fit.
    pub fn new(
        build: impl Fn() -> SchemaBuilder<Q, M, S>,
        settings: &Settings,
        open: impl Fn(&Arc<Call>) -> T + Send + Sync + 'static,
    ) -> Result<Self, Unmade> {
        let engine = Arc::new(Engine::new(build, settings, Box::new(open))?);
        let (batch, graphiql, codings) =
            (settings.limits.batch, settings.graphiql, settings.compression.clone());
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

/// For how long, and by whom, what answers a GET may be kept.
fn keep(ready: &Ready, sender: &Sender) -> Option<Keep> {
    let (asked, found) = ready.as_ref().ok().filter(|_| sender.asker.get)?;
    let seconds = found.document.age(asked.operation_name.as_deref())?;
    Some(Keep { seconds, private: sender.call.caller.principal.is_some() })
}

fn idempotency_key(request: &Request) -> Option<HeaderValue> {
    const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
    request.headers().get(IDEMPOTENCY_KEY).cloned()
}
