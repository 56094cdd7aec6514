//! What is told while it changes.
//!
//! Each event is told with resolvers of its own, which find in its session what the watcher has seen: nobody is asked again.
//! Not here: watching, and how events get to clients (`gateway::graphql`).

use std::sync::Arc;

use async_graphql::{Context, ID, SimpleObject, Subscription};
use futures_util::stream::{self, Iter};
use gateway::{graphql::Refusal, live::Event};
use serde::Deserialize;

use crate::{
    ids,
    order::{Nullable, Order, owners},
    records::{BillRecord, DeliveryRecord, OrderRecord, TicketRecord},
    services::{Session, session},
};

/// The name that the configuration knows orders by that are followed.
pub(crate) const ORDER: &str = "order";

/// The subscriptions.
pub(crate) struct Subscriptions;

/// An order as it was at one time.
#[derive(SimpleObject)]
pub(crate) struct OrderChange {
    /// Who comes back with it as `after` is told what came after it.
    cursor: String,
    /// The order.
    order: Order,
}

/// What can be followed.
#[Subscription(name = "Subscription")]
impl Subscriptions {
    /// First the order as it is now, or what came after the cursor `after`; then each change. Ends when the order is over.
    async fn order_changed(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Whose changes.")] order_id: ID,
        #[graphql(desc = "The cursor of the last change that was seen.")] after: Option<String>,
    ) -> Iter<std::option::IntoIter<Nullable<OrderChange>>> {
        let change = change(session(context), &order_id, after.as_deref()).await.transpose();
        stream::iter(change.map(Some))
    }
}

/// What the watcher has seen. What else is in it is nobody's business here.
#[derive(Deserialize)]
struct Seen {
    order: OrderRecord,
    ticket: Option<TicketRecord>,
    delivery: Option<DeliveryRecord>,
    bill: Option<BillRecord>,
}

async fn change(
    session: &Session,
    order_id: &ID,
    after: Option<&str>,
) -> Result<Option<OrderChange>, Refusal> {
    session.asker().reads_orders()?;
    let id = ids::parse(order_id)?;
    // Decided for each client and each event, as the query `order` does.
    let may = |event: &Event| seen(event).and_then(|seen| session.asker().reads_order(owners(&seen.order)));
    let Some(event) = session.follow_order(id, after, may).await? else { return Ok(None) };
    let Seen { order, ticket, delivery, bill } = seen(&event)?;
    let order = Arc::new(order);
    session.knows(id, order.clone(), ticket, delivery, bill);
    Ok(Some(OrderChange { cursor: event.cursor.into(), order: Order::whole(order) }))
}

fn seen(event: &Event) -> Result<Seen, Refusal> {
    serde_json::from_slice(&event.json).map_err(|error| {
        tracing::warn!(%error, "a state of an order makes no sense");
        Refusal::unavailable()
    })
}
