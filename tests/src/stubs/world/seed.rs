//! Seeds: records put into all services that hold them, all or none; the fixtures are one.
//!
//! No saga runs for a seed: what goes with an order is put beside it as its state would have left it.

use serde_json::Value;

use super::{
    Invalid, State,
    delivery::Delivery,
    model::{
        Bill, BillState, Consumer, DeliveryState, LineItem, Order, OrderState, Restaurant, Ticket,
        TicketState,
    },
    order::total,
    records::{
        BillSeed, ConsumerSeed, CourierSeed, DeliverySeed, LineSeed, OrderSeed, RestaurantSeed, Seeds,
        TicketSeed,
    },
    time::Time,
};
use crate::stubs::request;

/// How many minutes after an order was made a seeded ticket is accepted, cooked, ready and picked up.
const PACE: [i64; 4] = [2, 5, 20, 25];

/// Fills an empty state with the fixtures.
pub(crate) fn fixtures(empty: &State) -> State {
    let fixtures = serde_json::from_str(include_str!("fixtures.json")).expect("the fixtures are JSON");
    let mut state = applied(empty, &fixtures).expect("the fixtures are valid");
    state.deliveries.begin_turns();
    state
}

/// The state with these records in it.
pub(crate) fn applied(state: &State, records: &Value) -> Result<State, Invalid> {
    let seeds: Seeds = request::decoded(records)?;
    let mut state = state.clone();
    seeds.consumers.into_iter().for_each(|consumer| state.put_consumer(consumer));
    seeds.restaurants.into_iter().for_each(|restaurant| state.put_restaurant(restaurant.into()));
    each("orders", seeds.orders, |order| state.put_order(&order))?;
    each("tickets", seeds.tickets, |ticket| state.put_ticket(&ticket))?;
    each("bills", seeds.bills, |bill| state.put_bill(&bill))?;
    each("deliveries", seeds.deliveries, |delivery| state.put_delivery(&delivery))?;
    for CourierSeed { id, available } in seeds.couriers {
        state.deliveries.set_available(id, available);
    }
    Ok(state)
}

fn each<T>(kind: &str, seeds: Vec<T>, mut put: impl FnMut(T) -> Result<(), Invalid>) -> Result<(), Invalid> {
    for (index, seed) in seeds.into_iter().enumerate() {
        put(seed).map_err(|wrong| Invalid::new(format!("{kind}[{index}].{}", wrong.field), wrong.message))?;
    }
    Ok(())
}

impl From<RestaurantSeed> for Restaurant {
    fn from(seed: RestaurantSeed) -> Restaurant {
        let RestaurantSeed { id, name, address, menu, zips, opens, closes } = seed;
        Restaurant { id, name, address, menu, zips, opens, closes, modified: 0 }
    }
}

impl State {
    fn put_consumer(&mut self, ConsumerSeed { consumer_id, name, card }: ConsumerSeed) {
        self.consumers.insert(consumer_id, Consumer { consumer_id, name, card });
    }

    fn put_order(&mut self, seed: &OrderSeed) -> Result<(), Invalid> {
        let line_items = self.seeded_lines(seed)?;
        let created_at = seed.created_at.unwrap_or_else(Time::now);
        let order = Order {
            order_id: seed.order_id,
            state: seed.state,
            order_total: seed.order_total.map_or_else(|| total(&line_items), Ok)?,
            consumer_id: seed.consumer_id,
            restaurant_id: seed.restaurant_id,
            created_at,
            delivery_time: seed.delivery_time.or(created_at.plus_minutes(60)).unwrap_or(created_at),
            line_items,
            version: self.new_record(),
        };
        self.put_beside(&order);
        self.history.put(self.entry(&order));
        self.orders.insert(order.order_id, order);
        Ok(())
    }

    /// The lines given, or one of the restaurant's first dish.
    fn seeded_lines(&self, seed: &OrderSeed) -> Result<Vec<LineItem>, Invalid> {
        if let Some(lines) = &seed.line_items {
            let lines = lines.iter().enumerate();
            return lines.map(|(index, line)| self.seeded_line(seed.restaurant_id, line, index)).collect();
        }
        let restaurant = self.restaurants.get(&seed.restaurant_id);
        let first = restaurant.and_then(|restaurant| restaurant.menu.menu_items.first());
        let line = |item: &super::model::MenuItem| LineItem {
            menu_item_id: item.id.clone(),
            name: item.name.clone(),
            price: item.price,
            quantity: 1,
        };
        Ok(first.map(line).into_iter().collect())
    }

    fn seeded_line(&self, restaurant_id: i64, line: &LineSeed, index: usize) -> Result<LineItem, Invalid> {
        let restaurant = self.restaurants.get(&restaurant_id);
        let item = restaurant.and_then(|restaurant| restaurant.menu.item(&line.menu_item_id));
        let price = line.price.or(item.map(|item| item.price));
        let unknown = "not on the restaurant's menu, and no price is given";
        Ok(LineItem {
            menu_item_id: line.menu_item_id.clone(),
            name: line.name.clone().or(item.map(|item| item.name.clone())).unwrap_or_default(),
            price: price.ok_or_else(|| Invalid::new(format!("lineItems[{index}].menuItemId"), unknown))?,
            quantity: line.quantity,
        })
    }

    /// Ticket, bill and delivery, as an order in this state has them.
    fn put_beside(&mut self, order: &Order) {
        let id = order.order_id;
        let (ticket, bill, delivery) = beside(order.state);
        self.tickets.insert(id, Ticket::of(order, ticket));
        self.bills.remove(&id);
        if let Some(state) = bill {
            let (consumer_id, amount) = (order.consumer_id, order.order_total);
            self.bills.insert(id, Bill { order_id: id, consumer_id, state, amount });
        }
        self.deliveries.remove(id);
        if let Some(state) = delivery {
            self.deliveries.put(Delivery::pending(order));
            self.deliver(order, state, None);
        }
    }

    fn put_ticket(&mut self, seed: &TicketSeed) -> Result<(), Invalid> {
        let order = self.seeded_order(seed.id, "id")?;
        let mut ticket = Ticket::of(&order, seed.state);
        let reached = reached(seed.state);
        let given = [seed.accept_time, seed.preparing_time, seed.ready_for_pickup_time, seed.picked_up_time];
        let at = |step: usize| {
            given[step].or_else(|| order.created_at.plus_minutes(PACE[step])).filter(|_| step < reached)
        };
        (ticket.accept_time, ticket.preparing_time) = (at(0), at(1));
        (ticket.ready_for_pickup_time, ticket.picked_up_time) = (at(2), at(3));
        let usual = order.created_at.plus_minutes(PACE[2]).filter(|_| reached > 0);
        ticket.ready_by = seed.ready_by.or(usual);
        self.tickets.insert(seed.id, ticket);
        if reached > 0
            && self.deliveries.all().get(&seed.id).is_some_and(|delivery| delivery.courier.is_none())
        {
            self.deliver(&order, DeliveryState::Scheduled, None);
        }
        if reached == PACE.len() {
            self.deliveries.note_picked_up(seed.id);
        }
        Ok(())
    }

    fn put_bill(&mut self, seed: &BillSeed) -> Result<(), Invalid> {
        let order = self.seeded_order(seed.order_id, "orderId")?;
        let bill = Bill {
            order_id: seed.order_id,
            consumer_id: seed.consumer_id.unwrap_or(order.consumer_id),
            state: seed.state,
            amount: seed.amount.unwrap_or(order.order_total),
        };
        self.bills.insert(seed.order_id, bill);
        Ok(())
    }

    fn put_delivery(&mut self, seed: &DeliverySeed) -> Result<(), Invalid> {
        let id = seed.delivery_info.id;
        let order = self.seeded_order(id, "deliveryInfo.id")?;
        self.deliveries.put(Delivery::pending(&order));
        self.deliver(&order, seed.delivery_info.state, seed.assigned_courier);
        let picked_up = self.tickets.get(&id).is_some_and(|ticket| ticket.state == TicketState::PickedUp);
        if let Some(delivery) = self.deliveries.get_mut(id) {
            delivery.picked_up = picked_up;
            delivery.estimated = seed.estimated_delivery_time.or(delivery.estimated);
            delivery.delivered_at = seed.delivered_at.or(delivery.delivered_at);
        }
        Ok(())
    }

    /// Brings a pending delivery into a state.
    fn deliver(&mut self, order: &Order, state: DeliveryState, courier: Option<i64>) {
        let id = order.order_id;
        if matches!(state, DeliveryState::Scheduled | DeliveryState::Delivered) {
            let ready_by = self.tickets.get(&id).and_then(|ticket| ticket.ready_by);
            self.deliveries.schedule(id, ready_by.unwrap_or(order.created_at));
        }
        let Some(delivery) = self.deliveries.get_mut(id) else { return };
        delivery.courier = courier.or(delivery.courier);
        match state {
            DeliveryState::Pending => {}
            DeliveryState::Scheduled if delivery.courier.is_none() => {}
            DeliveryState::Scheduled => delivery.state = state,
            DeliveryState::Cancelled => delivery.end(state, None),
            DeliveryState::Delivered => delivery.end(state, Some(order.delivery_time)),
        }
    }

    fn seeded_order(&self, id: i64, field: &str) -> Result<Order, Invalid> {
        self.orders.get(&id).cloned().ok_or_else(|| Invalid::new(field, "no such order"))
    }
}

/// What an order in this state has beside it.
fn beside(state: OrderState) -> (TicketState, Option<BillState>, Option<DeliveryState>) {
    use DeliveryState::Pending;
    match state {
        OrderState::ApprovalPending => (TicketState::CreatePending, None, None),
        OrderState::Approved => (TicketState::AwaitingAcceptance, Some(BillState::Authorized), Some(Pending)),
        OrderState::Rejected => (TicketState::Cancelled, Some(BillState::Failed), None),
        OrderState::CancelPending => (TicketState::CancelPending, Some(BillState::Authorized), Some(Pending)),
        OrderState::Cancelled => {
            (TicketState::Cancelled, Some(BillState::Reversed), Some(DeliveryState::Cancelled))
        }
        OrderState::RevisionPending => {
            (TicketState::RevisionPending, Some(BillState::Authorized), Some(Pending))
        }
    }
}

/// How many of the kitchen's steps a ticket in this state has behind it.
fn reached(state: TicketState) -> usize {
    match state {
        TicketState::Accepted => 1,
        TicketState::Preparing => 2,
        TicketState::ReadyForPickup => 3,
        TicketState::PickedUp => 4,
        _ => 0,
    }
}
