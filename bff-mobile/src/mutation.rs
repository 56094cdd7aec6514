//! What can be changed.
//!
//! No workflow: each mutation is one write to one service, after a look at whose order it is.

use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object};
use gateway::graphql::Refusal;
use serde::{Deserialize, Serialize};

use crate::{
    consumer::Consumer,
    ids::{self, Id},
    order::{Nullable, Order, owners},
    records::{NameRecord, OrderRecord},
    scalars::{LocalDateTime, semantic_non_null},
    services::{Session, session},
};

/// Who registers.
#[derive(InputObject)]
pub(crate) struct ConsumerInfo {
    /// The given name; it must be given.
    first_name: Option<String>,
    /// The family name; it must be given.
    last_name: Option<String>,
}

/// An order to be placed.
#[derive(InputObject)]
pub(crate) struct CreateOrderInput {
    /// Who orders: the caller.
    consumer_id: ID,
    /// Who cooks.
    restaurant_id: ID,
    /// When it is wanted, in UTC.
    delivery_time: LocalDateTime,
    /// Where it is wanted.
    delivery_address: AddressInput,
    /// Which dishes, and how many of each.
    line_items: Vec<LineItemInput>,
    /// The same key with the same order is written once; without one, the request's `Idempotency-Key` counts.
    idempotency_key: Option<String>,
}

/// New quantities; what is not named stays.
#[derive(InputObject)]
pub(crate) struct ReviseOrderInput {
    /// Which order, of the caller's own.
    order_id: ID,
    /// Which dishes, and how many of each.
    line_items: Vec<LineItemInput>,
    /// The same key with the same order is written once; without one, the request's `Idempotency-Key` counts.
    idempotency_key: Option<String>,
}

/// An order to be cancelled.
#[derive(InputObject)]
pub(crate) struct CancelOrderInput {
    /// Which order, of the caller's own.
    order_id: ID,
    /// The same key with the same order is written once; without one, the request's `Idempotency-Key` counts.
    idempotency_key: Option<String>,
}

/// Some of one dish.
#[derive(InputObject)]
pub(crate) struct LineItemInput {
    /// Which dish, of the restaurant's menu.
    menu_item_id: ID,
    /// How many.
    quantity: i32,
}

/// Where to deliver.
#[derive(InputObject, Serialize)]
pub(crate) struct AddressInput {
    /// Street and number.
    street1: String,
    /// Apartment or floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    street2: Option<String>,
    /// The city.
    city: String,
    /// The state, in two letters.
    state: String,
    /// The ZIP code.
    zip: String,
}

/// The mutations.
pub(crate) struct Mutation;

/// What can be changed.
#[Object]
impl Mutation {
    /// Registers a consumer; nobody has to be known for that.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn create_consumer(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Who registers.")] c: Option<ConsumerInfo>,
    ) -> Nullable<Consumer> {
        Some(create_consumer(session(context), c).await)
    }

    /// Places an order.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn create_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What to write.")] input: CreateOrderInput,
    ) -> Nullable<Order> {
        Some(create_order(session(context), input).await)
    }

    /// Changes how many of each dish are wanted. Answers the order as it was before.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn revise_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What to write.")] input: ReviseOrderInput,
    ) -> Nullable<Order> {
        Some(revise_order(session(context), input).await)
    }

    /// Cancels an order. Answers it as it was before.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn cancel_order(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What to write.")] input: CancelOrderInput,
    ) -> Nullable<Order> {
        Some(cancel_order(session(context), input).await)
    }
}

#[derive(Serialize)]
struct NewConsumer<'a> {
    name: NewName<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewName<'a> {
    first_name: &'a str,
    last_name: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    consumer_id: Id,
}

async fn create_consumer(session: &Session, info: Option<ConsumerInfo>) -> Result<Consumer, Refusal> {
    session.count_registration().await?;
    let (first, last) = info.and_then(|info| info.first_name.zip(info.last_name)).ok_or_else(nameless)?;
    let body = NewConsumer { name: NewName { first_name: &first, last_name: &last } };
    let Registered { consumer_id } = session.post_consumer(&body).await?;
    let name = NameRecord { first_name: Some(first), last_name: Some(last) };
    Ok(Consumer { id: consumer_id.0, name, new: true })
}

fn nameless() -> Refusal {
    Refusal::bad_input("A consumer has a `firstName` and a `lastName`.")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewOrder<'a> {
    consumer_id: i64,
    restaurant_id: i64,
    delivery_time: &'a str,
    delivery_address: &'a AddressInput,
    line_items: Vec<NewLine<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewLine<'a> {
    menu_item_id: &'a str,
    quantity: i32,
}

fn lines(items: &[LineItemInput]) -> Vec<NewLine<'_>> {
    items.iter().map(|item| NewLine { menu_item_id: &item.menu_item_id, quantity: item.quantity }).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placed {
    order_id: Id,
}

async fn create_order(session: &Session, input: CreateOrderInput) -> Result<Order, Refusal> {
    session.asker().writes_orders()?;
    let consumer = ids::parse(&input.consumer_id)?;
    session.asker().orders_for(consumer)?;
    let restaurant = ids::parse(&input.restaurant_id)?;
    let body = NewOrder {
        consumer_id: consumer,
        restaurant_id: restaurant,
        delivery_time: &input.delivery_time.0,
        delivery_address: &input.delivery_address,
        line_items: lines(&input.line_items),
    };
    let placed: Placed = session.post_order("/orders".to_owned(), &body, input.idempotency_key).await?;
    Ok(Order::partly(Arc::new(OrderRecord {
        order_id: placed.order_id,
        consumer_id: Some(Id(consumer)),
        restaurant_id: Some(Id(restaurant)),
        state: None,
        order_total: None,
        created_at: None,
        line_items: None,
    })))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Revision<'a> {
    revised_order_line_items: Vec<NewLine<'a>>,
}

/// A body for those writes that say everything in their path.
#[derive(Serialize)]
struct Nothing {}

async fn revise_order(session: &Session, input: ReviseOrderInput) -> Result<Order, Refusal> {
    let body = Revision { revised_order_line_items: lines(&input.line_items) };
    write(session, &input.order_id, "revise", &body, input.idempotency_key).await
}

async fn cancel_order(session: &Session, input: CancelOrderInput) -> Result<Order, Refusal> {
    write(session, &input.order_id, "cancel", &Nothing {}, input.idempotency_key).await
}

/// Changes an order once it is known to be the caller's own.
async fn write(
    session: &Session,
    id: &ID,
    action: &str,
    body: &(impl Serialize + Sync),
    key: Option<String>,
) -> Result<Order, Refusal> {
    session.asker().writes_orders()?;
    let id = ids::parse(id)?;
    let before = session.orders.load(id).await?.ok_or_else(Refusal::not_found)?;
    session.asker().writes_order(owners(&before))?;
    let written = session.post_order(format!("/orders/{id}/{action}"), body, key).await;
    // Whatever became of it: what was read before may be true no more.
    session.forget_order(id);
    let answer: OrderRecord = written?;
    Ok(Order::partly(Arc::new(OrderRecord {
        consumer_id: answer.consumer_id.or(before.consumer_id),
        restaurant_id: answer.restaurant_id.or(before.restaurant_id),
        ..answer
    })))
}
