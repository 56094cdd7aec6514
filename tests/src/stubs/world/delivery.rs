//! Deliveries and the couriers they are given to.
//!
//! Not a planner: couriers take turns, wherever they are.

use std::collections::{BTreeMap, HashMap};

use serde::{Serialize, Serializer};
use serde_json::json;

use super::{
    model::{DeliveryState, Order},
    time::Time,
};
use crate::stubs::problem::Refusal;

/// How long a courier takes from the kitchen to the door, in minutes.
const RIDE: i64 = 30;

/// A delivery; its id is the order's.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    pub(crate) state: DeliveryState,
    pub(crate) courier: Option<i64>,
    pub(crate) picked_up: bool,
    pub(crate) estimated: Option<Time>,
    pub(crate) delivered_at: Option<Time>,
}

impl Delivery {
    /// A delivery nobody has been found for yet, promised for when the consumer wants it.
    pub(crate) fn pending(order: &Order) -> Delivery {
        Delivery {
            id: order.order_id,
            state: DeliveryState::Pending,
            courier: None,
            picked_up: false,
            estimated: Some(order.delivery_time),
            delivered_at: None,
        }
    }

    /// It ends, one way or the other: nothing is estimated any more.
    pub(crate) fn end(&mut self, state: DeliveryState, delivered_at: Option<Time>) {
        *self = Delivery { state, delivered_at, estimated: None, ..*self };
    }

    /// What its courier has still to do.
    fn actions(&self) -> &'static [&'static str] {
        match self.state {
            DeliveryState::Scheduled if self.picked_up => &["DROPOFF"],
            DeliveryState::Scheduled => &["PICKUP", "DROPOFF"],
            _ => &[],
        }
    }
}

impl Serialize for Delivery {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let actions: Vec<_> = self.actions().iter().map(|action| json!({ "type": action })).collect();
        let view = json!({
            "deliveryInfo": { "id": self.id, "state": self.state },
            "assignedCourier": self.courier,
            "courierActions": actions,
            "estimatedDeliveryTime": self.estimated,
            "deliveredAt": self.delivered_at,
        });
        view.serialize(serializer)
    }
}

/// All deliveries, and whose turn it is.
#[derive(Clone)]
pub(crate) struct Deliveries {
    deliveries: HashMap<i64, Delivery>,
    /// Accepted by the kitchen and waiting for a courier: when the food is ready, by delivery.
    waiting: BTreeMap<i64, Time>,
    couriers: BTreeMap<i64, bool>,
    last: i64,
}

impl Default for Deliveries {
    fn default() -> Deliveries {
        let couriers = (1..=5).map(|courier| (courier, true)).collect();
        Deliveries { deliveries: HashMap::new(), waiting: BTreeMap::new(), couriers, last: 0 }
    }
}

impl Deliveries {
    /// All of them, by id.
    pub(crate) fn all(&self) -> &HashMap<i64, Delivery> {
        &self.deliveries
    }

    /// The delivery of that order.
    pub(crate) fn get_mut(&mut self, id: i64) -> Option<&mut Delivery> {
        self.deliveries.get_mut(&id)
    }

    /// Takes the delivery in, in place of one it knew.
    pub(crate) fn put(&mut self, delivery: Delivery) {
        self.waiting.remove(&delivery.id);
        self.deliveries.insert(delivery.id, delivery);
    }

    /// Makes it the first courier's turn.
    pub(crate) fn begin_turns(&mut self) {
        self.last = 0;
    }

    /// The order is off, and with it the delivery.
    pub(crate) fn cancel(&mut self, id: i64) {
        self.waiting.remove(&id);
        if let Some(delivery) = self.get_mut(id) {
            delivery.end(DeliveryState::Cancelled, None);
        }
    }

    /// The courier has the food.
    pub(crate) fn note_picked_up(&mut self, id: i64) {
        if let Some(delivery) = self.get_mut(id) {
            delivery.picked_up = true;
        }
    }

    /// The courier is at the door.
    pub(crate) fn drop_off(&mut self, id: i64) -> Result<Delivery, Refusal> {
        let delivery = self.get_mut(id).ok_or(Refusal::NotFound)?;
        if delivery.state != DeliveryState::Scheduled || !delivery.picked_up {
            return Err(Refusal::Conflict("the delivery is not on its way".to_owned()));
        }
        delivery.end(DeliveryState::Delivered, Some(Time::now()));
        Ok(delivery.clone())
    }

    /// Forgets a delivery.
    pub(crate) fn remove(&mut self, id: i64) {
        self.waiting.remove(&id);
        self.deliveries.remove(&id);
    }

    /// The kitchen accepted: the next courier is given the delivery, or it waits for one.
    pub(crate) fn schedule(&mut self, id: i64, ready_by: Time) {
        let Some(courier) = self.next_courier() else {
            self.waiting.insert(id, ready_by);
            return;
        };
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        self.last = courier;
        delivery.courier = Some(courier);
        delivery.state = DeliveryState::Scheduled;
        delivery.estimated = ready_by.plus_minutes(RIDE);
    }

    /// A courier starts or ends work; those who start take what waits. An unknown courier is a new one.
    pub(crate) fn set_available(&mut self, courier: i64, available: bool) {
        self.couriers.insert(courier, available);
        if available {
            for (id, ready_by) in std::mem::take(&mut self.waiting) {
                self.schedule(id, ready_by);
            }
        }
    }

    fn next_courier(&self) -> Option<i64> {
        let after = self.couriers.range(self.last.saturating_add(1)..);
        let around = after.chain(self.couriers.range(..=self.last));
        around.filter(|(_, available)| **available).map(|(courier, _)| *courier).next()
    }
}
