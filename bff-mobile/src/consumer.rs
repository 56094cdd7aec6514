//! A consumer, and the orders it made.
//!
//! Not here: cards and bills.

use std::sync::Arc;

use async_graphql::{Context, ID, Object};
use gateway::graphql::{Refusal, Source, list_size, loads};

use crate::{
    ids::{Id, NodeId},
    order::{Nullable, Order},
    records::{NameRecord, OrderRecord},
    scalars::semantic_non_null,
    services::{Newest, Session, session},
};

/// How many of the newest orders are shown.
pub(crate) const NEWEST: i32 = 50;

/// A consumer that the caller may see.
pub(crate) struct Consumer {
    pub(crate) id: i64,
    pub(crate) name: NameRecord,
    /// Just registered: its caller has no token yet, and there are no orders to see.
    pub(crate) new: bool,
}

impl Consumer {
    /// The consumer of that id; whether it may be seen is decided before.
    pub(crate) async fn find(session: &Session, id: i64) -> Result<Consumer, Refusal> {
        let record = session.consumers.load(id).await?.ok_or_else(Refusal::not_found)?;
        Ok(Consumer { id, name: record.name.clone().unwrap_or_default(), new: false })
    }

    async fn own_orders(&self, session: &Session) -> Result<Vec<Option<Order>>, Refusal> {
        if self.new {
            return Ok(Vec::new());
        }
        newest_orders(session, self.id).await
    }
}

/// The newest orders of a consumer, if the caller may list them.
pub(crate) async fn newest_orders(session: &Session, id: i64) -> Result<Vec<Option<Order>>, Refusal> {
    session.asker().lists_orders_of(id)?;
    let Some(page) = session.newest.load(id).await? else { return Ok(Vec::new()) };
    Ok(page.orders.iter().map(|order| Some(listed(order.clone(), id))).collect())
}

/// An order of the history, which does not repeat whose it is.
pub(crate) fn listed(record: OrderRecord, consumer: i64) -> Order {
    Order::partly(Arc::new(OrderRecord { consumer_id: Some(Id(consumer)), ..record }))
}

/// Who orders.
#[Object]
impl Consumer {
    /// Globally unique and opaque.
    pub(crate) async fn node_id(&self) -> ID {
        NodeId::Consumer(self.id).encode()
    }

    /// A 64-bit number.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn id(&self) -> Option<ID> {
        Some(ID(self.id.to_string()))
    }

    /// The given name.
    async fn first_name(&self) -> Option<&str> {
        self.name.first_name.as_deref()
    }

    /// The family name.
    async fn last_name(&self) -> Option<&str> {
        self.name.last_name.as_deref()
    }

    /// The newest 50.
    #[graphql(
        directive = semantic_non_null::apply(vec![0, 1]),
        directive = list_size::apply(Some(NEWEST), None, None),
        directive = loads::apply(Newest::MOST as i32)
    )]
    async fn orders(&self, context: &Context<'_>) -> Nullable<Vec<Option<Order>>> {
        Some(self.own_orders(session(context)).await)
    }
}
