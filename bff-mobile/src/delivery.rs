//! How an order gets to its consumer: the delivery's word and the kitchen's, taken together.
//!
//! Only what the asked fields need is fetched.

use async_graphql::{Context, Enum, Object};
use chrono::{NaiveDateTime, Utc};
use gateway::graphql::Refusal;

use crate::{
    order::{Nullable, TicketState},
    records::{DeliveryRecord, TicketRecord},
    scalars::known,
    services::{Session, session},
};

/// How far an order has come, as its consumer sees it.
#[derive(Enum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DeliveryStatus {
    /// The kitchen has it.
    Preparing,
    /// Waits for a courier.
    ReadyForPickup,
    /// Is on its way.
    PickedUp,
    /// Is there.
    Delivered,
}

/// The delivery of an order whose parts the caller may see.
pub(crate) struct DeliveryInfo {
    pub(crate) order_id: i64,
}

/// How an order gets to its consumer.
#[Object]
impl DeliveryInfo {
    /// Null when cancelled.
    async fn status(&self, context: &Context<'_>) -> Nullable<DeliveryStatus> {
        self.status_of(session(context)).await.transpose()
    }

    /// Whole minutes from now, 0 when overdue, null when delivered or cancelled.
    async fn estimated_delivery_time(&self, context: &Context<'_>) -> Nullable<i32> {
        let delivery = session(context).deliveries.load(self.order_id).await.transpose()?;
        delivery.map(|delivery| minutes(&delivery, Utc::now().naive_utc())).transpose()
    }

    /// Null until one is assigned.
    async fn assigned_courier(&self, context: &Context<'_>) -> Nullable<String> {
        let delivery = session(context).deliveries.load(self.order_id).await.transpose()?;
        delivery.map(|delivery| delivery.assigned_courier.map(|courier| courier.0.to_string())).transpose()
    }
}

impl DeliveryInfo {
    async fn status_of(&self, session: &Session) -> Result<Option<DeliveryStatus>, Refusal> {
        let (delivery, ticket) =
            futures_util::join!(session.deliveries.load(self.order_id), session.tickets.load(self.order_id));
        let delivery = delivery?;
        // What was delivered is delivered, whatever the kitchen has to say.
        match delivery.as_deref().and_then(state) {
            Some("DELIVERED") => return Ok(Some(DeliveryStatus::Delivered)),
            Some("CANCELLED") => return Ok(None),
            _ => {}
        }
        Ok(ticket?.as_deref().and_then(of_ticket))
    }
}

fn state(delivery: &DeliveryRecord) -> Option<&str> {
    delivery.delivery_info.state.as_deref()
}

fn of_ticket(ticket: &TicketRecord) -> Option<DeliveryStatus> {
    match known::<TicketState>(ticket.state.as_deref()?)? {
        TicketState::PickedUp => Some(DeliveryStatus::PickedUp),
        TicketState::ReadyForPickup => Some(DeliveryStatus::ReadyForPickup),
        TicketState::Cancelled => None,
        _ => Some(DeliveryStatus::Preparing),
    }
}

fn minutes(delivery: &DeliveryRecord, now: NaiveDateTime) -> Option<i32> {
    if matches!(state(delivery), Some("DELIVERED" | "CANCELLED")) {
        return None;
    }
    let left = delivery.estimated_delivery_time.as_ref()?.moment()?.signed_duration_since(now);
    i32::try_from(left.num_minutes().max(0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(state: &str, estimated: &str) -> DeliveryRecord {
        let json = format!(
            r#"{{"deliveryInfo":{{"id":99,"state":"{state}"}},"estimatedDeliveryTime":"{estimated}"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn minutes_are_whole_and_end_at_zero() {
        let now = "2026-11-21T18:00:00".parse().unwrap();
        assert_eq!(minutes(&delivery("SCHEDULED", "2026-11-21T18:30:59"), now), Some(30));
        assert_eq!(minutes(&delivery("PENDING", "2026-11-21T17:00:00.5"), now), Some(0));
        assert_eq!(minutes(&delivery("DELIVERED", "2026-11-21T18:30:00"), now), None);
        assert_eq!(minutes(&delivery("CANCELLED", "2026-11-21T18:30:00"), now), None);
        assert_eq!(minutes(&delivery("SCHEDULED", "soon"), now), None);
    }

    #[test]
    fn the_kitchens_states_are_told_in_the_consumers_words() {
        let of = |state: &str| {
            of_ticket(&serde_json::from_str(&format!(r#"{{"orderId":99,"state":"{state}"}}"#)).unwrap())
        };
        assert_eq!(of("PICKED_UP"), Some(DeliveryStatus::PickedUp));
        assert_eq!(of("READY_FOR_PICKUP"), Some(DeliveryStatus::ReadyForPickup));
        for early in ["CREATE_PENDING", "AWAITING_ACCEPTANCE", "ACCEPTED", "PREPARING", "REVISION_PENDING"] {
            assert_eq!(of(early), Some(DeliveryStatus::Preparing), "{early}");
        }
        assert_eq!(of("CANCELLED"), None);
        assert_eq!(of("EATEN"), None);
    }
}
