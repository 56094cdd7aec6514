//! Tickets: the kitchen's work on an order, from its acceptance to the courier's hands.
//!
//! Which restaurant may work on which ticket is not asked here: that is the gateway's to know.

use super::{
    State,
    model::{LineItem, Order, Ticket, TicketLineItem, TicketState},
    time::Time,
};
use crate::stubs::problem::Refusal;

/// What the kitchen or a courier does with a ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Says when it will be ready.
    Accept(Time),
    /// Begins to cook.
    Preparing,
    /// Has it on the counter.
    Ready,
    /// The courier takes it.
    Pickup,
}

impl Action {
    /// The state it needs, and the one it leads to.
    fn states(self) -> (TicketState, TicketState) {
        match self {
            Action::Accept(_) => (TicketState::AwaitingAcceptance, TicketState::Accepted),
            Action::Preparing => (TicketState::Accepted, TicketState::Preparing),
            Action::Ready => (TicketState::Preparing, TicketState::ReadyForPickup),
            Action::Pickup => (TicketState::ReadyForPickup, TicketState::PickedUp),
        }
    }
}

impl Ticket {
    /// The ticket of an order.
    pub(crate) fn of(order: &Order, state: TicketState) -> Ticket {
        let mut ticket = Ticket {
            id: order.order_id,
            order_id: order.order_id,
            state,
            restaurant_id: order.restaurant_id,
            line_items: Vec::new(),
            ready_by: None,
            accept_time: None,
            preparing_time: None,
            ready_for_pickup_time: None,
            picked_up_time: None,
            before: TicketState::AwaitingAcceptance,
        };
        ticket.set_lines(&order.line_items);
        ticket
    }

    /// Cooks these from now on.
    pub(crate) fn set_lines(&mut self, lines: &[LineItem]) {
        let line = |line: &LineItem| TicketLineItem {
            menu_item_id: line.menu_item_id.clone(),
            name: line.name.clone(),
            quantity: line.quantity,
        };
        self.line_items = lines.iter().map(line).collect();
    }

    fn act(&mut self, action: Action) -> Result<(), Refusal> {
        let (from, to) = action.states();
        if self.state != from {
            let (is, needed) = (serde_json::json!(self.state), serde_json::json!(from));
            return Err(Refusal::Conflict(format!("the ticket is {is}, not {needed}")));
        }
        self.state = to;
        self.note(action);
        Ok(())
    }

    fn note(&mut self, action: Action) {
        let now = Some(Time::now());
        match action {
            Action::Accept(ready_by) => (self.accept_time, self.ready_by) = (now, Some(ready_by)),
            Action::Preparing => self.preparing_time = now,
            Action::Ready => self.ready_for_pickup_time = now,
            Action::Pickup => self.picked_up_time = now,
        }
    }
}

impl State {
    /// Acts on a ticket; its delivery follows.
    pub(crate) fn act_on_ticket(&mut self, id: i64, action: Action) -> Result<Ticket, Refusal> {
        let ticket = self.tickets.get_mut(&id).ok_or(Refusal::NotFound)?;
        ticket.act(action)?;
        match action {
            Action::Accept(ready_by) => self.deliveries.schedule(id, ready_by),
            Action::Pickup => self.deliveries.note_picked_up(id),
            Action::Preparing | Action::Ready => {}
        }
        Ok(self.tickets[&id].clone())
    }

    /// Sets a ticket's state, if it is there.
    pub(crate) fn set_ticket_state(&mut self, id: i64, state: TicketState) {
        if let Some(ticket) = self.tickets.get_mut(&id) {
            ticket.state = state;
        }
    }

    /// Stops a ticket that nobody cooks yet; says whether that could be done.
    pub(crate) fn hold_ticket(&mut self, id: i64, state: TicketState) -> bool {
        let early = [TicketState::AwaitingAcceptance, TicketState::Accepted];
        let Some(ticket) = self.tickets.get_mut(&id).filter(|ticket| early.contains(&ticket.state)) else {
            return false;
        };
        ticket.before = std::mem::replace(&mut ticket.state, state);
        true
    }

    /// Puts a held ticket back where it was.
    pub(crate) fn release_ticket(&mut self, id: i64) {
        if let Some(ticket) = self.tickets.get_mut(&id) {
            ticket.state = ticket.before;
        }
    }
}
