//! The services behind the schema, and how one request asks them: in bulk, within 1.5 s, never past its deadline.
//!
//! Not here: who may ask (`rules.rs`), what the answers mean.

use std::{collections::HashMap, fmt::Write, marker::PhantomData, sync::Arc, time::Duration};

use async_graphql::Context;
use futures_util::{FutureExt, future::BoxFuture};
use gateway::{
    body::Body,
    deadline::Deadline,
    graphql::{Answers, Call, Loader, Refusal, Source},
    handler::Services,
    live::{Event, Live},
    loaders::{self, State},
    rate_limit::RateLimit,
    upstream::{Fault, Fetched, Reason, Upstream},
};
use http::{HeaderValue, header::HeaderName, uri::PathAndQuery};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{
    consumer::NEWEST,
    records::{
        BillRecord, ConsumerRecord, DeliveryRecord, HistoryPage, OrderRecord, Record, RestaurantRecord,
        TicketRecord,
    },
    rules::Asker,
    subscription,
};

/// What one call to a service may take.
const CALL: Duration = Duration::from_millis(1_500);
/// Kept back from the request's deadline for making and sending the answer.
const RESERVE: Duration = Duration::from_millis(50);
/// The most that an answer may weigh: a hundred restaurants with long menus.
const MOST: u64 = 4 << 20;

/// The services, for all requests.
pub(crate) struct Backends {
    consumer: Arc<Upstream>,
    order: Arc<Upstream>,
    kitchen: Arc<Upstream>,
    restaurant: Arc<Upstream>,
    /// Restaurants are everybody's: they are kept for all callers where the configuration says so.
    restaurants: Arc<loaders::Loader>,
    accounting: Arc<Upstream>,
    order_history: Arc<Upstream>,
    delivery: Arc<Upstream>,
    registration: Arc<RateLimit>,
    /// Orders that are followed, where subscriptions are offered.
    changes: Option<Arc<Live>>,
}

impl Backends {
    /// # Errors
    /// A sentence for the operator when the configuration lacks one.
    pub(crate) fn of(services: &Services) -> Result<Self, String> {
        Ok(Backends {
            consumer: services.upstream("consumer")?,
            order: services.upstream("order")?,
            kitchen: services.upstream("kitchen")?,
            restaurant: services.upstream("restaurant")?,
            restaurants: services.loader("restaurants")?,
            accounting: services.upstream("accounting")?,
            order_history: services.upstream("order-history")?,
            delivery: services.upstream("delivery")?,
            registration: services.limit("registration")?,
            changes: services.graphql.watched(subscription::ORDER)?,
        })
    }
}

/// All that resolvers share: those of one operation, or of a batch of queries.
pub(crate) struct Session {
    call: Arc<Call>,
    backends: Arc<Backends>,
    pub(crate) consumers: Loader<Bulk<ConsumerRecord>>,
    pub(crate) orders: Loader<Bulk<OrderRecord>>,
    pub(crate) tickets: Loader<Bulk<TicketRecord>>,
    pub(crate) restaurants: Loader<Restaurants>,
    pub(crate) bills: Loader<Bulk<BillRecord>>,
    pub(crate) deliveries: Loader<Bulk<DeliveryRecord>>,
    /// The newest orders by consumer.
    pub(crate) newest: Loader<Newest>,
}

/// The session of the operation that `context` belongs to.
pub(crate) fn session<'a>(context: &Context<'a>) -> &'a Session {
    context.data_unchecked::<Arc<Session>>()
}

impl Session {
    pub(crate) fn new(call: &Arc<Call>, backends: &Arc<Backends>) -> Self {
        let to = |upstream: &Arc<Upstream>| (call.clone(), upstream.clone());
        Session {
            consumers: Bulk::loader(to(&backends.consumer), "/consumers?ids="),
            orders: Bulk::loader(to(&backends.order), "/orders?ids="),
            tickets: Bulk::loader(to(&backends.kitchen), "/tickets?orderIds="),
            restaurants: Loader::new(Restaurants {
                call: call.clone(),
                loader: backends.restaurants.clone(),
            }),
            bills: Bulk::loader(to(&backends.accounting), "/bills?orderIds="),
            deliveries: Bulk::loader(to(&backends.delivery), "/deliveries?orderIds="),
            newest: Loader::new(Newest { call: call.clone(), upstream: backends.order_history.clone() }),
            call: call.clone(),
            backends: backends.clone(),
        }
    }

    /// Who asks.
    pub(crate) fn asker(&self) -> Asker<'_> {
        Asker(self.call.caller.principal.as_deref())
    }

    /// What there is to tell now of an order that is followed.
    ///
    /// # Errors
    /// What `may` says, and why there is nothing to tell.
    pub(crate) async fn follow_order(
        &self,
        id: i64,
        after: Option<&str>,
        may: impl Fn(&Event) -> Result<(), Refusal>,
    ) -> Result<Option<Event>, Refusal> {
        let changes = self.backends.changes.as_ref().ok_or_else(Refusal::unavailable)?;
        self.call.follow(changes, &id.to_string(), after, may).await
    }

    /// What was read of an order already, and of what belongs to it as far as that is there.
    pub(crate) fn knows(
        &self,
        id: i64,
        order: Arc<OrderRecord>,
        ticket: Option<TicketRecord>,
        delivery: Option<DeliveryRecord>,
        bill: Option<BillRecord>,
    ) {
        self.orders.know(id, order);
        ticket.into_iter().for_each(|ticket| self.tickets.know(id, Arc::new(ticket)));
        delivery.into_iter().for_each(|delivery| self.deliveries.know(id, Arc::new(delivery)));
        bill.into_iter().for_each(|bill| self.bills.know(id, Arc::new(bill)));
    }

    /// Forgets what was read of an order and of what belongs to it.
    pub(crate) fn forget_order(&self, id: i64) {
        self.orders.forget(&id);
        self.tickets.forget(&id);
        self.bills.forget(&id);
        self.deliveries.forget(&id);
    }

    /// Counts a registration.
    ///
    /// # Errors
    /// `RATE_LIMITED`.
    pub(crate) async fn count_registration(&self) -> Result<(), Refusal> {
        let sub = self.call.caller.principal.as_ref().map(|principal| &*principal.sub);
        self.backends
            .registration
            .check(self.call.downstream.peer.ip(), sub)
            .await
            .map_err(|error| Refusal::from(&error))
    }

    /// A page of the order history.
    pub(crate) async fn history<T: DeserializeOwned>(&self, target: String) -> Result<T, Refusal> {
        get(&self.call, &self.backends.order_history, target).await
    }

    /// A page of restaurants.
    pub(crate) async fn restaurant_page<T: DeserializeOwned>(&self, target: String) -> Result<T, Refusal> {
        get(&self.call, &self.backends.restaurant, target).await
    }

    /// A write to the consumer service.
    pub(crate) async fn post_consumer<T: DeserializeOwned>(
        &self,
        body: &impl Serialize,
    ) -> Result<T, Refusal> {
        let write = Posting { target: "/consumers".to_owned(), body: json(body)?, key: None };
        self.post(&self.backends.consumer, write).await
    }

    /// A write to the order service.
    pub(crate) async fn post_order<T: DeserializeOwned>(
        &self,
        target: String,
        body: &impl Serialize,
        key: Option<String>,
    ) -> Result<T, Refusal> {
        let write = Posting { target, body: json(body)?, key };
        self.post(&self.backends.order, write).await
    }

    async fn post<T: DeserializeOwned>(&self, upstream: &Upstream, write: Posting) -> Result<T, Refusal> {
        let deadline = deadline(&self.call, upstream)?;
        let (target, key) = (target(write.target)?, self.idempotency_key(write.key)?);
        let ask = |json| {
            let mut request = self.call.caller.post(&target, json, deadline);
            if let Some(key) = &key {
                request.fields.push(HeaderName::from_static("idempotency-key"), key.clone());
            }
            request
        };
        let fetched = upstream.fetch(&ask, Body::full(write.body), deadline, MOST).await;
        parsed(&fetched.map_err(|fault| failed(&self.call, &fault))?.json, &self.call, upstream)
    }

    /// The mutation's own key, else the one that the client sent with the request.
    fn idempotency_key(&self, key: Option<String>) -> Result<Option<HeaderValue>, Refusal> {
        match key {
            None => Ok(self.call.idempotency_key.clone()),
            Some(key) => HeaderValue::try_from(key)
                .map(Some)
                .map_err(|_| Refusal::bad_input("This idempotency key cannot be sent on.")),
        }
    }
}

struct Posting {
    target: String,
    body: Vec<u8>,
    key: Option<String>,
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(body).map_err(|_| Refusal::bad_input("This input cannot be sent on."))
}

fn target(text: String) -> Result<PathAndQuery, Refusal> {
    PathAndQuery::try_from(text).map_err(|_| Refusal::bad_input("This input is too long."))
}

/// By when a call that begins now must have ended.
fn deadline(call: &Call, upstream: &Upstream) -> Result<Deadline, Refusal> {
    let deadline = call.deadline.keeping(RESERVE).at_most(CALL);
    if deadline.remaining().is_zero() {
        return Err(failed(call, &Fault::new(upstream.name(), Reason::Timeout, "no time was left to ask")));
    }
    Ok(deadline)
}

/// What the client is told of a fault, which the log gets whole.
fn failed(call: &Call, fault: &Fault) -> Refusal {
    call.note(fault);
    Refusal::from(fault)
}

async fn get<T: DeserializeOwned>(call: &Call, upstream: &Upstream, path: String) -> Result<T, Refusal> {
    parsed(&read(call, upstream, path).await?.json, call, upstream)
}

async fn read(call: &Call, upstream: &Upstream, path: String) -> Result<Fetched, Refusal> {
    let (deadline, target) = (deadline(call, upstream)?, target(path)?);
    let ask = |_no_body| call.caller.get(&target, deadline);
    let fetched = upstream.fetch(&ask, Body::Empty, deadline, MOST).await;
    fetched.map_err(|fault| failed(call, &fault))
}

fn parsed<'a, T: Deserialize<'a>>(json: &'a [u8], call: &Call, upstream: &Upstream) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| senseless(call, upstream, &error, "an answer"))
}

/// What is JSON, but not what was asked for. The line of the request says where; what there is instead is the warning's.
fn senseless(call: &Call, upstream: &Upstream, error: &serde_json::Error, what: &str) -> Refusal {
    let request_id = call.caller.request_id.to_str().unwrap_or_default();
    tracing::warn!(upstream = upstream.name(), request_id, %error, "{what} makes no sense");
    let place = format!("{what} makes no sense at line {}, column {}", error.line(), error.column());
    failed(call, &Fault::new(upstream.name(), Reason::Malformed, place))
}

/// Records of one kind, many by one call.
pub(crate) struct Bulk<R> {
    call: Arc<Call>,
    upstream: Arc<Upstream>,
    path: &'static str,
    record: PhantomData<fn() -> R>,
}

impl<R: Record> Bulk<R> {
    fn loader((call, upstream): (Arc<Call>, Arc<Upstream>), path: &'static str) -> Loader<Self> {
        Loader::new(Bulk { call, upstream, path, record: PhantomData })
    }

    async fn ask(&self, keys: &[i64]) -> Result<Answers<i64, Arc<R>>, Refusal> {
        let mut path = self.path.to_owned();
        for (at, key) in keys.iter().enumerate() {
            let _ = write!(path, "{}{key}", if at == 0 { "" } else { "," });
        }
        let json = read(&self.call, &self.upstream, path).await?.json;
        match serde_json::from_slice::<Vec<R>>(&json) {
            Ok(records) => {
                Ok(records.into_iter().map(|record| (record.key(), Ok(Arc::new(record)))).collect())
            }
            Err(_) => self.salvage(&json, keys),
        }
    }

    /// One record that makes no sense must not take the others along: the keys that are left could be its own.
    fn salvage(&self, json: &[u8], keys: &[i64]) -> Result<Answers<i64, Arc<R>>, Refusal> {
        let raw: Vec<&RawValue> = parsed(json, &self.call, &self.upstream)?;
        let mut answers: Answers<i64, Arc<R>> =
            keys.iter().map(|key| (*key, Err(Refusal::unavailable()))).collect();
        for record in raw {
            match serde_json::from_str::<R>(record.get()) {
                Ok(record) => drop(answers.insert(record.key(), Ok(Arc::new(record)))),
                Err(error) => drop(senseless(&self.call, &self.upstream, &error, "a record")),
            }
        }
        Ok(answers)
    }
}

impl<R: Record> Source for Bulk<R> {
    type Key = i64;
    type Value = Arc<R>;

    fn fetch(self: Arc<Self>, keys: Vec<i64>) -> BoxFuture<'static, Answers<i64, Arc<R>>> {
        async move {
            match self.ask(&keys).await {
                Ok(answers) => answers,
                Err(refusal) => {
                    keys.into_iter().map(|key| (key, Err(refusal.clone()))).collect::<HashMap<_, _>>()
                }
            }
        }
        .boxed()
    }
}

/// The newest orders of consumers. The history has no bulk call: each consumer is one of its own, once.
pub(crate) struct Newest {
    call: Arc<Call>,
    upstream: Arc<Upstream>,
}

impl Source for Newest {
    type Key = i64;
    type Value = Arc<HistoryPage>;
    const MOST: usize = 1;

    fn fetch(self: Arc<Self>, keys: Vec<i64>) -> BoxFuture<'static, Answers<i64, Arc<HistoryPage>>> {
        async move {
            let mut answers = HashMap::new();
            for key in keys {
                let path = format!("/orders?consumerId={key}&pageSize={NEWEST}");
                let page = get::<HistoryPage>(&self.call, &self.upstream, path).await;
                answers.insert(key, page.map(Arc::new));
            }
            answers
        }
        .boxed()
    }
}

/// Restaurants, by the loader of that name: of those that this request wants, the service is asked for what is not kept.
pub(crate) struct Restaurants {
    call: Arc<Call>,
    loader: Arc<loaders::Loader>,
}

impl Source for Restaurants {
    type Key = i64;
    type Value = Arc<RestaurantRecord>;
    /// The loader makes as many calls of them as it takes.
    const MOST: usize = usize::MAX;

    fn fetch(self: Arc<Self>, keys: Vec<i64>) -> BoxFuture<'static, Answers<i64, Arc<RestaurantRecord>>> {
        async move {
            let deadline = self.call.deadline.keeping(RESERVE);
            let texts: Vec<Arc<str>> = keys.iter().map(|key| Arc::from(key.to_string())).collect();
            let mut loaded = self.loader.load(&texts, &self.call.caller, deadline).await;
            let each = keys.iter().zip(&texts).filter_map(|(key, text)| {
                let record = self.record(loaded.remove(text)?).transpose()?;
                Some((*key, record))
            });
            each.collect()
        }
        .boxed()
    }
}

impl Restaurants {
    fn record(
        &self,
        loaded: Result<Option<loaders::Record>, Fault>,
    ) -> Result<Option<Arc<RestaurantRecord>>, Refusal> {
        let Some(record) = loaded.map_err(|fault| failed(&self.call, &fault))? else { return Ok(None) };
        if let State::StandsIn(fault) = &record.state {
            self.call.note(fault);
        }
        match serde_json::from_slice(&record.json) {
            Ok(restaurant) => Ok(Some(Arc::new(restaurant))),
            Err(error) => Err(senseless(&self.call, self.loader.upstream(), &error, "a record")),
        }
    }
}
