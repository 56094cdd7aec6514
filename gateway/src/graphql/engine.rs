//! Looks documents up and executes operations, of however many requests, in whatever form they came.
//!
//! Not here: the requests themselves (`handler.rs`), what stays open (`subscriptions/`).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_graphql::{
    ObjectType, Request as Execution, Response as Executed, Schema, SchemaBuilder, ServerError,
    SubscriptionType, ValidationMode, Variables,
    parser::{parse_schema, types::OperationType},
};
use futures_util::StreamExt;

use super::{
    Settings,
    document::Documents,
    failure,
    freshness::Ages,
    handler::Call,
    lenient::Shapes,
    lists::Lists,
    lookup::{Asker, Found, Lookup},
    metrics::{Counters, Outcome},
    persisted::Owner,
    read::Asked,
    trusted::Trusted,
};
use crate::{
    downstream::Network,
    handler::{Admitted, Unmade},
    mistake::Mistakes,
};

/// Makes what resolvers share.
type MakeShared<T> = Box<dyn Fn(&Arc<Call>) -> T + Send + Sync>;

/// A schema, and all that it takes to execute operations.
pub(super) struct Engine<Q, M, S, T> {
    /// For documents and variables that are seen for the first time.
    strict: Schema<Q, M, S>,
    /// The same for those who may ask for the schema: it proposes what a wrong name may have meant.
    helping: Option<Schema<Q, M, S>>,
    /// The same for documents that are proven: it leaves out what cannot fail any more.
    proven: Schema<Q, M, S>,
    pub(super) lookup: Lookup,
    pub(super) counters: Counters,
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

impl<Q, M, S, T> Engine<Q, M, S, T>
where
    Q: ObjectType + 'static,
    M: ObjectType + 'static,
    S: SubscriptionType + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// # Errors
    /// Every trusted document that the schema does not fit.
    pub(super) fn new(
        build: impl Fn() -> SchemaBuilder<Q, M, S>,
        settings: &Settings,
        open: MakeShared<T>,
    ) -> Result<Self, Unmade> {
        let strict = build().validation_mode(ValidationMode::Strict).disable_suggestions().finish();
        // Who may not ask for the schema must not be told of it by and by.
        let helping =
            settings.introspection.then(|| build().validation_mode(ValidationMode::Strict).finish());
        let proven = build().validation_mode(ValidationMode::Fast).finish();
        let sdl = parse_schema(strict.sdl()).expect("a schema prints itself as one");
        let (lists, mut mistakes) = (Lists::of(&sdl), Mistakes::default());
        let shapes = Shapes::of(sdl);
        let ages = Ages::new(&settings.max_age, &shapes, &mut mistakes);
        let documents = Documents::new(settings.limits.clone(), shapes, lists, ages, settings.introspection);
        let trusted = settings.trusted.as_ref();
        let trusted = trusted.map(|manifests| Trusted::new(manifests, &documents, &strict, &mut mistakes));
        if !mistakes.is_empty() {
            return Err(Unmade(mistakes));
        }
        let (persisted, metrics) = (settings.persisted.clone(), settings.metrics.clone());
        let names = trusted.as_ref().map(Trusted::names).unwrap_or_default().to_vec();
        let counters = Counters::new(&metrics, &names, &settings.clients);
        let lookup = Lookup { documents, persisted, trusted, metrics };
        Ok(Engine { strict, helping, proven, lookup, counters, names, open })
    }

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
        let mut found = self.lookup.find(&asked, sender.asker)?;
        found.document.check_root(asked.operation_name.as_deref())?;
        found.document.check_sent(asked.operation_name.as_deref(), &asked.variables)?;
        found.cost = found.document.cost(asked.operation_name.as_deref(), &asked.variables)?;
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
        let mut executed = self.schema(&found, proven).execute(execution).await;
        self.finish(&mut executed, operation_name.as_deref(), &found, sender, proven);
        executed
    }

    /// A subscription's selection for one event; nothing where there is none.
    pub(super) async fn tell(&self, asked: &Asked, found: &Found, sender: &Sender) -> Option<Executed> {
        let name = asked.operation_name.clone();
        let proven = found.document.is_proven(name.as_deref(), &asked.variables);
        let execution = execution(asked.variables.clone(), name, found, self.shared(sender));
        let mut executed = self.schema(found, proven).execute_stream(execution).next().await?;
        self.finish(&mut executed, asked.operation_name.as_deref(), found, sender, proven);
        Some(executed)
    }

    fn schema(&self, found: &Found, proven: bool) -> &Schema<Q, M, S> {
        /// Each wrong name is compared with all that are right: more than somebody writes by hand could cost much.
        const BY_HAND: usize = 2 << 10;
        match &self.helping {
            _ if proven => &self.proven,
            Some(helping) if found.document.text.len() <= BY_HAND => helping,
            _ => &self.strict,
        }
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

/// What cannot be executed costs as little as can be: it was read all the same.
pub(super) fn cost(ready: &Ready) -> u32 {
    ready.as_ref().map_or(1, |(_, found)| found.cost)
}

pub(super) fn kind(ready: &Ready) -> Option<OperationType> {
    let (asked, found) = ready.as_ref().ok()?;
    found.document.kind(asked.operation_name.as_deref())
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

pub(super) fn request_id(call: &Call) -> &str {
    call.caller.request_id.to_str().unwrap_or_default()
}
