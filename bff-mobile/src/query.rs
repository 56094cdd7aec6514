//! What can be asked for.
//!
//! Each field decides by `rules.rs` first, reads its ids next, and only then asks a service.

use async_graphql::{Context, ID, InputObject, Interface, Object};
use gateway::graphql::{Refusal, list_size};

use crate::{
    connections::{OrderConnection, RestaurantConnection},
    consumer::{Consumer, NEWEST, listed, newest_orders},
    ids::{self, NodeId},
    order::{Nullable, Order, OrderState},
    paging::{Wanted, push},
    records::{HistoryPage, RestaurantPage},
    restaurant::Restaurant,
    scalars::{LocalDateTime, semantic_non_null, word},
    services::{Session, session},
};

/// Whatever has an id of its own.
#[derive(Interface)]
#[graphql(field(name = "node_id", ty = "ID", desc = "Globally unique and opaque."))]
pub(crate) enum Node {
    /// An order.
    Order(Order),
    /// A consumer.
    Consumer(Consumer),
    /// A restaurant.
    Restaurant(Restaurant),
}

/// Which orders of a history.
#[derive(InputObject, Default)]
pub(crate) struct OrderHistoryFilter {
    /// In this state only.
    state: Option<OrderState>,
    /// Placed since, in UTC.
    since: Option<LocalDateTime>,
    /// With any of these words in the name of the restaurant or of a dish.
    keywords: Option<Vec<String>>,
}

/// The queries.
pub(crate) struct Query;

/// What can be asked for.
#[Object]
impl Query {
    /// A consumer: the caller itself, or any for support.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn consumer(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "A 64-bit number.")] consumer_id: ID,
    ) -> Nullable<Consumer> {
        Some(consumer(session(context), &consumer_id).await)
    }

    /// An order that is the caller's to see.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "A 64-bit number.")] order_id: ID,
    ) -> Nullable<Order> {
        Some(order(session(context), &order_id).await)
    }

    /// The newest 50 of a consumer.
    #[graphql(
        directive = semantic_non_null::apply(vec![0, 1]),
        directive = list_size::apply(Some(NEWEST), None, None)
    )]
    async fn orders(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Whose.")] consumer_id: ID,
    ) -> Nullable<Vec<Option<Order>>> {
        Some(orders(session(context), &consumer_id).await)
    }

    /// All orders of a consumer in pages, newest first.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn order_history(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Whose.")] consumer_id: ID,
        #[graphql(desc = "Which of them; all unless given.")] filter: Option<OrderHistoryFilter>,
        #[graphql(default = 20, desc = "How many: 1 to 200.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
    ) -> Nullable<OrderConnection> {
        let wanted = || Wanted::of(first, after.as_deref());
        Some(history(session(context), &consumer_id, filter.unwrap_or_default(), wanted).await)
    }

    /// A restaurant.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn restaurant(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "A 64-bit number.")] restaurant_id: ID,
    ) -> Nullable<Restaurant> {
        Some(restaurant(session(context), &restaurant_id).await)
    }

    /// The restaurants that deliver to an address, in pages.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn available_restaurants(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The ZIP code of the address.")] zip: String,
        #[graphql(desc = "Open then, in UTC.")] at: Option<LocalDateTime>,
        #[graphql(desc = "With this in its name or that of a dish.")] search: Option<String>,
        #[graphql(default = 20, desc = "How many: 1 to 200.")] first: Option<i32>,
        #[graphql(desc = "Behind this cursor.")] after: Option<String>,
    ) -> Nullable<RestaurantConnection> {
        let filters = [("zip", Some(zip)), ("at", at.map(|at| at.0)), ("q", search)];
        Some(available(session(context), &filters, Wanted::of(first, after.as_deref())).await)
    }

    /// Anything that has an id of its own, if it is the caller's to see.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn node(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "From the field `nodeId`.")] node_id: ID,
    ) -> Nullable<Node> {
        Some(node(session(context), &node_id).await)
    }
}

async fn consumer(session: &Session, id: &ID) -> Result<Consumer, Refusal> {
    session.asker().reads_consumers()?;
    let id = ids::parse(id)?;
    session.asker().reads_consumer(id)?;
    Consumer::find(session, id).await
}

async fn order(session: &Session, id: &ID) -> Result<Order, Refusal> {
    session.asker().reads_orders()?;
    Order::find(session, ids::parse(id)?).await
}

async fn orders(session: &Session, consumer: &ID) -> Result<Vec<Option<Order>>, Refusal> {
    session.asker().lists_orders()?;
    newest_orders(session, ids::parse(consumer)?).await
}

async fn restaurant(session: &Session, id: &ID) -> Result<Restaurant, Refusal> {
    Restaurant::find(session, ids::parse(id)?).await
}

async fn node(session: &Session, id: &ID) -> Result<Node, Refusal> {
    match NodeId::decode(id)? {
        NodeId::Order(id) => {
            session.asker().reads_orders()?;
            Order::find(session, id).await.map(Node::Order)
        }
        NodeId::Consumer(id) => {
            session.asker().reads_consumer(id)?;
            Consumer::find(session, id).await.map(Node::Consumer)
        }
        NodeId::Restaurant(id) => Restaurant::find(session, id).await.map(Node::Restaurant),
    }
}

async fn history(
    session: &Session,
    consumer: &ID,
    filter: OrderHistoryFilter,
    wanted: impl FnOnce() -> Result<Wanted, Refusal>,
) -> Result<OrderConnection, Refusal> {
    session.asker().lists_orders()?;
    let consumer = ids::parse(consumer)?;
    session.asker().lists_orders_of(consumer)?;
    let wanted = wanted()?;
    let mut target = format!("/orders?consumerId={consumer}&{}", wanted.query());
    if let Some(state) = filter.state {
        push(&mut target, "status", word(state));
    }
    if let Some(since) = filter.since {
        push(&mut target, "since", &since.0);
    }
    if let Some(keywords) = filter.keywords.filter(|keywords| !keywords.is_empty()) {
        push(&mut target, "keywords", &keywords.join(","));
    }
    let page: HistoryPage = session.history(target).await?;
    let orders = page.orders.into_iter().map(|order| listed(order, consumer)).collect();
    Ok(OrderConnection(wanted.page(orders, page.start_key.as_deref(), |order: &Order| order.id())))
}

async fn available(
    session: &Session,
    filters: &[(&str, Option<String>)],
    wanted: Result<Wanted, Refusal>,
) -> Result<RestaurantConnection, Refusal> {
    let wanted = wanted?;
    let mut target = format!("/restaurants?{}", wanted.query());
    for (name, value) in filters {
        if let Some(value) = value {
            push(&mut target, name, value);
        }
    }
    let page: RestaurantPage = session.restaurant_page(target).await?;
    let restaurants = page.restaurants.into_iter().map(Restaurant).collect();
    Ok(RestaurantConnection(
        wanted.page(restaurants, page.start_key.as_deref(), |found: &Restaurant| found.0.id.0),
    ))
}
