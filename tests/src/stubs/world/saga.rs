//! Sagas: what becomes of an order after it was asked for, a step at a time.
//!
//! No coordinator with a log: a saga lives as long as its task, and ends when its order is another record.

use tokio::time::sleep;

use super::{
    State, World,
    delivery::Delivery,
    history::Entry,
    model::{Bill, BillState, Card, LineItem, Order, OrderState, Ticket, TicketState},
    order::total,
};

/// What is to be done to an order.
#[derive(Clone, Debug)]
pub(crate) enum Saga {
    Create,
    Cancel,
    Revise(Vec<LineItem>),
}

#[derive(PartialEq)]
enum Step {
    Done,
    Last,
}

impl World {
    /// Runs a saga on the order, beginning a step from now.
    pub(crate) fn run(&self, saga: Saga, order: &Order) {
        let world = self.clone();
        let (order_id, record) = (order.order_id, order.version.record);
        tokio::spawn(async move {
            let mut behind = None;
            for step in 1.. {
                sleep(world.saga_step()).await;
                match world.state().step(&saga, step, order_id, record, behind.take()) {
                    Some(entry) => behind = Some(entry),
                    None => break,
                }
            }
        });
    }

    fn saga_step(&self) -> std::time::Duration {
        self.state().saga_step
    }
}

impl State {
    /// One step; the entry is what the history learns a step later.
    fn step(
        &mut self,
        saga: &Saga,
        step: u32,
        id: i64,
        record: u64,
        behind: Option<Behind>,
    ) -> Option<Behind> {
        let order = self.orders.get(&id).filter(|order| order.version.record == record)?.clone();
        let over = behind.is_some_and(|behind| {
            self.history.put(behind.entry);
            behind.over
        });
        if over {
            return None;
        }
        // What the request itself changed is a step old by now.
        if step == 1 {
            self.history.put(self.entry(&order));
        }
        let over = self.advance(saga, step, &order) == Step::Last;
        Some(Behind { entry: self.entry(&self.orders[&id]), over })
    }

    fn advance(&mut self, saga: &Saga, step: u32, order: &Order) -> Step {
        match saga {
            Saga::Create => self.advance_create(step, order),
            Saga::Cancel => self.advance_cancel(step, order),
            Saga::Revise(lines) => self.advance_revise(step, order, lines),
        }
    }

    fn advance_create(&mut self, step: u32, order: &Order) -> Step {
        match step {
            1 if !self.consumers.contains_key(&order.consumer_id) => {
                self.settle(order, OrderState::Rejected);
                return Step::Last;
            }
            1 => {}
            2 => drop(self.tickets.insert(order.order_id, Ticket::of(order, TicketState::CreatePending))),
            3 => drop(self.bills.insert(order.order_id, self.authorized(order))),
            _ => {
                self.approve_or_reject(order);
                return Step::Last;
            }
        }
        Step::Done
    }

    fn authorized(&self, order: &Order) -> Bill {
        let state = if self.chargeable(order) { BillState::Authorized } else { BillState::Failed };
        Bill { order_id: order.order_id, consumer_id: order.consumer_id, state, amount: order.order_total }
    }

    fn chargeable(&self, order: &Order) -> bool {
        self.consumers.get(&order.consumer_id).is_none_or(|consumer| consumer.card == Card::Valid)
    }

    fn approve_or_reject(&mut self, order: &Order) {
        let id = order.order_id;
        if self.bills.get(&id).is_some_and(|bill| bill.state == BillState::Failed) {
            self.set_ticket_state(id, TicketState::Cancelled);
            return self.settle(order, OrderState::Rejected);
        }
        self.set_ticket_state(id, TicketState::AwaitingAcceptance);
        self.deliveries.put(Delivery::pending(order));
        self.settle(order, OrderState::Approved);
    }

    fn advance_cancel(&mut self, step: u32, order: &Order) -> Step {
        let id = order.order_id;
        match step {
            1 if self.hold_ticket(id, TicketState::CancelPending) => return Step::Done,
            1 => self.settle(order, OrderState::Approved),
            2 => {
                self.set_bill(id, BillState::Reversed, None);
                return Step::Done;
            }
            _ => {
                self.set_ticket_state(id, TicketState::Cancelled);
                self.deliveries.cancel(id);
                self.settle(order, OrderState::Cancelled);
            }
        }
        Step::Last
    }

    fn advance_revise(&mut self, step: u32, order: &Order, lines: &[LineItem]) -> Step {
        let id = order.order_id;
        match step {
            1 if self.hold_ticket(id, TicketState::RevisionPending) => return Step::Done,
            1 => self.settle(order, OrderState::Approved),
            2 if self.chargeable(order) => {
                self.set_bill(id, BillState::Revised, Some(lines));
                return Step::Done;
            }
            2 => {
                self.release_ticket(id);
                self.settle(order, OrderState::Approved);
            }
            _ => self.confirm_revision(order, lines),
        }
        Step::Last
    }

    fn confirm_revision(&mut self, order: &Order, lines: &[LineItem]) {
        self.release_ticket(order.order_id);
        if let Some(ticket) = self.tickets.get_mut(&order.order_id) {
            ticket.set_lines(lines);
        }
        if let Some(order) = self.orders.get_mut(&order.order_id) {
            order.order_total = total(lines).unwrap_or(order.order_total);
            order.line_items = lines.to_vec();
        }
        self.settle(order, OrderState::Approved);
    }

    fn set_bill(&mut self, id: i64, state: BillState, lines: Option<&[LineItem]>) {
        if let Some(bill) = self.bills.get_mut(&id) {
            bill.state = state;
            bill.amount = lines.and_then(|lines| total(lines).ok()).unwrap_or(bill.amount);
        }
    }

    fn settle(&mut self, order: &Order, state: OrderState) {
        self.set_order_state(order.order_id, state);
    }
}

/// What the history is to learn with the next step.
struct Behind {
    entry: Entry,
    over: bool,
}
