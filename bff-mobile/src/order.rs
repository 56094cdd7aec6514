//! An order, with what belongs to it: ticket, delivery, bill.
//!
//! What is known of an order when it is made here (a history entry, the answer to a write) is answered without asking;
//! the order service is asked, in bulk, only for a field that is not known.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object, SimpleObject};
use gateway::graphql::Refusal;

use crate::{
    consumer::Consumer,
    delivery::DeliveryInfo,
    ids::NodeId,
    records::{BillRecord, LineItemRecord, OrderRecord, TicketRecord},
    restaurant::Restaurant,
    rules::Owners,
    scalars::{LocalDateTime, Money, known, semantic_non_null},
    services::{Session, session},
};

/// A nullable field. Not a `Result` around an `Option`: async-graphql would leave a failed field out instead of
/// answering null.
pub(crate) type Nullable<T> = Option<Result<T, Refusal>>;

/// Where an order stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OrderState {
    /// Waits for the kitchen and the payment.
    ApprovalPending,
    /// Will be cooked.
    Approved,
    /// Will not be cooked.
    Rejected,
    /// Is being cancelled.
    CancelPending,
    /// Was cancelled.
    Cancelled,
    /// Is being changed.
    RevisionPending,
}

/// Where the kitchen's work on an order stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TicketState {
    /// Waits for the payment.
    CreatePending,
    /// Waits for the kitchen.
    AwaitingAcceptance,
    /// The kitchen will cook it.
    Accepted,
    /// Is being cooked.
    Preparing,
    /// Waits for a courier.
    ReadyForPickup,
    /// Is on its way.
    PickedUp,
    /// Is being cancelled.
    CancelPending,
    /// Was cancelled.
    Cancelled,
    /// Is being changed.
    RevisionPending,
}

/// Where the payment of an order stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BillState {
    /// The money is set aside.
    Authorized,
    /// The money was given back.
    Reversed,
    /// Another amount is set aside.
    Revised,
    /// There is no money.
    Failed,
}

/// An order that the caller may see.
pub(crate) struct Order {
    id: i64,
    known: Arc<OrderRecord>,
    /// Whether the order service has nothing to add.
    whole: bool,
}

impl Order {
    /// All that the order service says.
    pub(crate) fn whole(record: Arc<OrderRecord>) -> Self {
        Order { id: record.order_id.0, known: record, whole: true }
    }

    /// Some of it.
    pub(crate) fn partly(record: Arc<OrderRecord>) -> Self {
        Order { id: record.order_id.0, known: record, whole: false }
    }

    /// Its id.
    pub(crate) fn id(&self) -> i64 {
        self.id
    }

    /// The order of that id, if the caller may see it.
    pub(crate) async fn find(session: &Session, id: i64) -> Result<Order, Refusal> {
        let record = session.orders.load(id).await?.ok_or_else(Refusal::not_found)?;
        session.asker().reads_order(owners(&record))?;
        Ok(Order::whole(record))
    }

    /// A field of it, asked for only when it is not known.
    async fn get<T: Clone>(
        &self,
        session: &Session,
        field: impl Fn(&OrderRecord) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        if let Some(known) = field(&self.known) {
            return Ok(Some(known));
        }
        if self.whole {
            return Ok(None);
        }
        session.asker().reads_orders()?;
        let record = session.orders.load(self.id).await?.ok_or_else(Refusal::not_found)?;
        Ok(field(&record))
    }

    /// Whether what belongs to the order may be read: an order that a write answered was not read yet.
    async fn readable(&self, session: &Session) -> Result<(), Refusal> {
        session.asker().reads_orders()?;
        let consumer = self.get(session, |order| order.consumer_id.map(|id| id.0)).await?;
        let restaurant = self.get(session, |order| order.restaurant_id.map(|id| id.0)).await?;
        session.asker().reads_order(Owners { consumer, restaurant })
    }

    async fn ticket_record(&self, session: &Session) -> Result<Option<Arc<TicketRecord>>, Refusal> {
        self.readable(session).await?;
        session.tickets.load(self.id).await
    }

    async fn bill_record(&self, session: &Session) -> Result<Option<Arc<BillRecord>>, Refusal> {
        self.readable(session).await?;
        session.bills.load(self.id).await
    }

    async fn consumer_of(&self, session: &Session) -> Result<Option<Consumer>, Refusal> {
        session.asker().reads_consumers()?;
        let Some(id) = self.get(session, |order| order.consumer_id).await? else { return Ok(None) };
        session.asker().reads_consumer(id.0)?;
        Consumer::find(session, id.0).await.map(Some)
    }

    async fn restaurant_of(&self, session: &Session) -> Result<Option<Restaurant>, Refusal> {
        let Some(id) = self.get(session, |order| order.restaurant_id).await? else { return Ok(None) };
        Restaurant::find(session, id.0).await.map(Some)
    }
}

/// Whose an order is.
pub(crate) fn owners(record: &OrderRecord) -> Owners {
    Owners { consumer: record.consumer_id.map(|id| id.0), restaurant: record.restaurant_id.map(|id| id.0) }
}

/// An order of a consumer at a restaurant.
#[Object]
impl Order {
    /// Globally unique and opaque.
    pub(crate) async fn node_id(&self) -> ID {
        NodeId::Order(self.id).encode()
    }

    /// A 64-bit number.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn order_id(&self) -> Option<ID> {
        Some(ID(self.id.to_string()))
    }

    /// Whose it is.
    async fn consumer_id(&self, context: &Context<'_>) -> Nullable<ID> {
        let id = self.get(session(context), |order| order.consumer_id).await.transpose()?;
        Some(id.map(|id| ID(id.0.to_string())))
    }

    /// Null where this version knows no word for it: states may be added.
    async fn state(&self, context: &Context<'_>) -> Nullable<OrderState> {
        match self.get(session(context), |order| order.state.clone()).await.transpose()? {
            Ok(state) => known(&state).map(Ok),
            Err(refusal) => Some(Err(refusal)),
        }
    }

    /// What all of it costs.
    async fn order_total(&self, context: &Context<'_>) -> Nullable<Money> {
        self.get(session(context), |order| order.order_total.clone()).await.transpose()
    }

    /// When it was placed, in UTC.
    async fn created_at(&self, context: &Context<'_>) -> Nullable<LocalDateTime> {
        self.get(session(context), |order| order.created_at.clone()).await.transpose()
    }

    /// What was ordered.
    async fn line_items(&self, context: &Context<'_>) -> Nullable<Vec<LineItem>> {
        let items = self.get(session(context), |order| order.line_items.clone()).await.transpose()?;
        Some(items.map(|items| items.into_iter().map(LineItem::from).collect()))
    }

    /// Who ordered.
    async fn consumer(&self, context: &Context<'_>) -> Nullable<Consumer> {
        self.consumer_of(session(context)).await.transpose()
    }

    /// Who cooks.
    async fn restaurant(&self, context: &Context<'_>) -> Nullable<Restaurant> {
        self.restaurant_of(session(context)).await.transpose()
    }

    /// What the kitchen does for it.
    async fn ticket(&self, context: &Context<'_>) -> Nullable<Ticket> {
        let record = self.ticket_record(session(context)).await.transpose()?;
        Some(record.map(|record| Ticket::from(&*record)))
    }

    /// How it gets to its consumer.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn delivery_info(&self, context: &Context<'_>) -> Nullable<DeliveryInfo> {
        Some(self.readable(session(context)).await.map(|()| DeliveryInfo { order_id: self.id }))
    }

    /// What it costs its consumer.
    async fn bill(&self, context: &Context<'_>) -> Nullable<Bill> {
        let record = self.bill_record(session(context)).await.transpose()?;
        Some(record.map(|record| Bill::from(&*record)))
    }
}

/// Some of one dish.
#[derive(SimpleObject)]
struct LineItem {
    /// Which dish, of the restaurant's menu.
    menu_item_id: ID,
    /// The dish, as it was called when it was ordered.
    name: Option<String>,
    /// What one costs.
    price: Option<Money>,
    /// How many.
    quantity: i32,
}

impl From<LineItemRecord> for LineItem {
    fn from(record: LineItemRecord) -> Self {
        let LineItemRecord { menu_item_id, name, price, quantity } = record;
        LineItem { menu_item_id: ID(menu_item_id), name, price, quantity }
    }
}

/// What the kitchen does for an order.
#[derive(SimpleObject)]
struct Ticket {
    /// How far the work has come.
    state: Option<TicketState>,
    /// When it will be ready, as the kitchen said when it accepted.
    ready_by: Option<LocalDateTime>,
    /// When the kitchen accepted.
    accept_time: Option<LocalDateTime>,
    /// When it was ready.
    ready_for_pickup_time: Option<LocalDateTime>,
    /// When a courier took it.
    picked_up_time: Option<LocalDateTime>,
}

impl From<&TicketRecord> for Ticket {
    fn from(record: &TicketRecord) -> Self {
        Ticket {
            state: record.state.as_deref().and_then(known),
            ready_by: record.ready_by.clone(),
            accept_time: record.accept_time.clone(),
            ready_for_pickup_time: record.ready_for_pickup_time.clone(),
            picked_up_time: record.picked_up_time.clone(),
        }
    }
}

/// What an order costs its consumer.
#[derive(SimpleObject)]
struct Bill {
    /// Where the payment stands.
    state: Option<BillState>,
    /// How much.
    amount: Option<Money>,
}

impl From<&BillRecord> for Bill {
    fn from(record: &BillRecord) -> Self {
        Bill { state: record.state.as_deref().and_then(known), amount: record.amount.clone() }
    }
}
