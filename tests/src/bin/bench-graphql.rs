//! One order from five services by GraphQL: what the comparison asks of every GraphQL gateway, with the gateway's own
//! handler and typed resolvers. `bench-graphql --config tests/bench/graphql.yaml`.

use std::{process::ExitCode, sync::Arc, time::Duration};

use async_graphql::{Context, EmptyMutation, EmptySubscription, Object, Schema, SimpleObject};
use gateway::{
    body::Body,
    cli::{self, Program},
    graphql::{Call, GraphqlHandler},
    handler::{Handler, Handlers, Services, Unmade},
    upstream::Upstream,
};
use serde::{Deserialize, de::DeserializeOwned};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The origin, and the request that asks it.
#[derive(Clone)]
struct Origin {
    upstream: Arc<Upstream>,
    call: Arc<Call>,
}

impl Origin {
    async fn read<T: DeserializeOwned>(&self, path: String) -> async_graphql::Result<T> {
        let deadline = self.call.deadline.at_most(Duration::from_millis(1_500));
        let target = path.try_into()?;
        let ask = |_no_body| self.call.caller.get(&target, deadline);
        let fetched = self.upstream.fetch(&ask, Body::Empty, deadline, 1 << 20).await?;
        Ok(serde_json::from_slice(&fetched.json)?)
    }
}

struct Query;

#[Object]
impl Query {
    async fn order(&self, context: &Context<'_>, id: i32) -> async_graphql::Result<Order> {
        context.data_unchecked::<Origin>().read(format!("/orders/{id}")).await
    }
}

#[derive(SimpleObject, Deserialize)]
#[graphql(complex)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: i32,
    state: Option<String>,
    order_total: Option<String>,
    restaurant_id: i32,
    consumer_id: Option<i32>,
    line_items: Option<Vec<LineItem>>,
}

#[async_graphql::ComplexObject]
impl Order {
    async fn restaurant(&self, context: &Context<'_>) -> async_graphql::Result<Option<Restaurant>> {
        context.data_unchecked::<Origin>().read(format!("/restaurants/{}", self.restaurant_id)).await
    }
    async fn ticket(&self, context: &Context<'_>) -> async_graphql::Result<Option<Ticket>> {
        context.data_unchecked::<Origin>().read(format!("/tickets?orderId={}", self.order_id)).await
    }
    async fn delivery(&self, context: &Context<'_>) -> async_graphql::Result<Option<Delivery>> {
        context.data_unchecked::<Origin>().read(format!("/deliveries/{}", self.order_id)).await
    }
    async fn bill(&self, context: &Context<'_>) -> async_graphql::Result<Option<Bill>> {
        context.data_unchecked::<Origin>().read(format!("/bills?orderId={}", self.order_id)).await
    }
}

#[derive(SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LineItem {
    menu_item_id: Option<String>,
    name: Option<String>,
    price: Option<String>,
    quantity: Option<i32>,
}

#[derive(SimpleObject, Deserialize)]
struct Restaurant {
    id: Option<i32>,
    name: Option<String>,
}

#[derive(SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ticket {
    ticket_id: Option<i32>,
    state: Option<String>,
    ready_by: Option<String>,
}

#[derive(SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Delivery {
    delivery_id: Option<i32>,
    state: Option<String>,
    assigned_courier: Option<String>,
    estimated_delivery_time: Option<String>,
}

#[derive(SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bill_id: Option<i32>,
    status: Option<String>,
    amount: Option<String>,
}

fn handler(services: &Services) -> Result<Arc<dyn Handler>, Unmade> {
    let upstream = services.upstream("origin")?;
    let build = || Schema::build(Query, EmptyMutation, EmptySubscription);
    let open = move |call: &Arc<Call>| Origin { upstream: upstream.clone(), call: call.clone() };
    Ok(Arc::new(GraphqlHandler::new(build, &services.graphql, open)?))
}

fn main() -> ExitCode {
    cli::main(Program {
        name: "bench-graphql",
        about: "One order from five services by GraphQL",
        config: None,
        handlers: Handlers::default().with("graphql", handler),
        schema: None,
    })
}
