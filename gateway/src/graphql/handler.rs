//! Answers the requests of a GraphQL route.
//!
//! Nothing here is cut off at the deadline: resolvers bound their own calls by it, so that what is there gets answered.
//! Not here: what the data behind resolvers is; whoever brings the schema says what each request is given.

use std::sync::Arc;

use async_graphql::{
    ObjectType, Request as Execution, Response as Executed, Schema, ServerError, SubscriptionType,
    parser::{parse_schema, types::OperationType},
};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method};

use super::{
    Limits, Refusal,
    document::{Document, Documents, invalid},
    failure,
    faults::Faults,
    graphiql,
    lenient::Shapes,
    read::{Asked, Batch, Unread, WRITES, not_allowed, read},
    render::{self, Media},
};
use crate::{
    body::{Request, Response},
    deadline::Deadline,
    downstream::Downstream,
    error::Error,
    handler::{Admitted, Answer, Handler},
    identity::Caller,
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

/// What a GraphQL route offers.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What one request may ask for.
    pub limits: Limits,
    /// Whether the schema may be asked for.
    pub introspection: bool,
    /// Whether browsers get GraphiQL, at the address of the route.
    pub graphiql: bool,
}

/// Makes what resolvers share.
type Open<T> = Box<dyn Fn(&Arc<Call>) -> T + Send + Sync>;

/// Answers by executing a schema. `T` is what resolvers share, and find in their context.
pub struct GraphqlHandler<Q, M, S, T> {
    schema: Schema<Q, M, S>,
    documents: Documents,
    settings: Settings,
    open: Open<T>,
}

/// One operation that is ready to be executed, or why it is not.
type Ready = Result<(Asked, Arc<Document>), ServerError>;

impl<Q, M, S, T> GraphqlHandler<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// A handler of that schema; `open` is asked for what resolvers share: once for each HTTP request, but in a batch that
    /// writes once for each operation, so that none sees what was read before the write.
    pub fn new(
        schema: Schema<Q, M, S>,
        settings: Settings,
        open: impl Fn(&Arc<Call>) -> T + Send + Sync + 'static,
    ) -> Self {
        let sdl = parse_schema(schema.sdl()).expect("a schema prints itself as one");
        let documents = Documents::new(settings.limits.clone(), Shapes::of(sdl), settings.introspection);
        GraphqlHandler { schema, documents, settings, open: Box::new(open) }
    }

    async fn respond(&self, request: &mut Request, admitted: &Admitted) -> Result<Response, Error> {
        let get = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(page) = self.graphiql(get, request) {
            return Ok(page);
        }
        let media = Media::of(request.headers());
        let bill = admitted.bill.as_deref();
        let call = Arc::new(call(request, admitted));
        let mut response = match read(request, self.settings.limits.batch).await {
            Ok(Batch::One(asked)) => self.one(*asked, get, &call, bill, media).await?,
            Ok(Batch::Many(all)) => render::many(&self.many(all, &call, bill).await?, media),
            Err(Unread::Http(error)) => return Err(error),
            Err(Unread::Graphql(refusal)) => render::unread(refusal, media, request_id(&call)),
        };
        if let Some(faults) = call.faults.note() {
            response.extensions_mut().insert(Note(faults));
        }
        Ok(response)
    }

    fn graphiql(&self, get: bool, request: &Request) -> Option<Response> {
        let offered = get && self.settings.graphiql;
        offered.then(|| graphiql::answer(request.uri(), request.headers())).flatten()
    }

    async fn one(
        &self,
        asked: Asked,
        get: bool,
        call: &Arc<Call>,
        bill: Option<&Bill>,
        media: Media,
    ) -> Result<Response, Error> {
        if let Err(refusal) = asked.text() {
            return Ok(render::unread(refusal, media, request_id(call)));
        }
        let ready = self.ready(asked);
        if get && kind(&ready) == Some(OperationType::Mutation) {
            // A link must not change anything (GraphQL over HTTP, section 5.3).
            return Err(not_allowed(WRITES));
        }
        if let Some(bill) = bill {
            bill.pay(cost(&ready)).await?;
        }
        Ok(render::one(&self.execute(ready, call, (self.open)(call)).await, media))
    }

    /// Queries run side by side and share what they load; as soon as one operation writes, all run in their order.
    async fn many(
        &self,
        all: Vec<Asked>,
        call: &Arc<Call>,
        bill: Option<&Bill>,
    ) -> Result<Vec<Executed>, Error> {
        let all: Vec<Ready> = all.into_iter().map(|asked| self.ready(asked)).collect();
        if let Some(bill) = bill {
            bill.pay(all.iter().map(cost).fold(0, u32::saturating_add)).await?;
        }
        if !all.iter().any(|ready| kind(ready) == Some(OperationType::Mutation)) {
            let shared = (self.open)(call);
            let all = all.into_iter().map(|ready| self.execute(ready, call, shared.clone()));
            return Ok(join_all(all).await);
        }
        let mut answers = Vec::with_capacity(all.len());
        for ready in all {
            answers.push(self.execute(ready, call, (self.open)(call)).await);
        }
        Ok(answers)
    }

    fn ready(&self, asked: Asked) -> Ready {
        let document = self.documents.get(asked.text().map_err(Refusal::into_server_error)?)?;
        if document.kind(asked.operation_name.as_deref()) == Some(OperationType::Subscription) {
            return Err(invalid("Subscriptions are not offered here."));
        }
        Ok((asked, document))
    }

    async fn execute(&self, ready: Ready, call: &Arc<Call>, shared: T) -> Executed {
        let (mut executed, query) = match ready {
            Err(error) => (Executed::from_errors(vec![error]), String::new()),
            Ok((asked, document)) => {
                let query = asked.query.unwrap_or_default();
                let mut variables = asked.variables;
                let parsed = document.ready(asked.operation_name.as_deref(), &mut variables);
                let mut execution = Execution::new(String::new()).variables(variables);
                execution.operation_name = asked.operation_name;
                execution.data.insert(shared);
                execution.set_parsed_query(parsed);
                let plan = document.plan(execution.operation_name.as_deref());
                let mut executed = self.schema.execute(execution).await;
                plan.arrange(&mut executed.data);
                (executed, query)
            }
        };
        failure::classify(&mut executed, &query, request_id(call));
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
    ready.as_ref().map_or(1, |(asked, document)| document.cost(asked.operation_name.as_deref()))
}

fn kind(ready: &Ready) -> Option<OperationType> {
    let (asked, document) = ready.as_ref().ok()?;
    document.kind(asked.operation_name.as_deref())
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
