//! The world behind the services: one state in memory that all of them show parts of.
//!
//! Not seven databases: what one service learns the others know at once, but for what the sagas hold back on purpose.

mod delivery;
mod history;
mod idempotency;
mod model;
mod money;
mod order;
mod records;
mod saga;
mod seed;
mod state;
mod ticket;
mod time;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use axum::Router;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};

use self::saga::Saga;
pub(crate) use self::{
    delivery::Delivery,
    history::{Page, Search},
    idempotency::Outcome,
    model::{Bill, Card, Consumer, Menu, Name, Order, OrderState, Restaurant, Ticket},
    order::Revision,
    state::State,
    ticket::Action,
    time::{Hour, Time, time_or_date},
};
pub use self::{
    model::Address,
    order::{NewLineItem, NewOrder},
};
use super::{
    accounting, consumer, delivery as deliveries, kitchen, openapi, order as orders, order_history,
    problem::Refusal, restaurant, service::Service,
};

/// A handle on all that the services know; clones share it.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
}

/// What is wrong with a value that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The path of the field, such as `lineItems[0].quantity`.
    pub field: String,
    /// What was expected of it.
    pub message: String,
}

impl Invalid {
    /// Names the field and says what was expected.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Invalid {
        Invalid { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.field.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.field, self.message)
    }
}

impl std::error::Error for Invalid {}

impl World {
    /// The world as the fixtures describe it.
    pub fn seeded() -> World {
        World { state: Arc::new(Mutex::new(seed::fixtures(&State::empty()))) }
    }

    /// What this service answers, its documents and `/health` included.
    pub fn router(&self, service: Service) -> Router {
        let routes = match service {
            Service::Consumer => consumer::routes(),
            Service::Order => orders::routes(),
            Service::Kitchen => kitchen::routes(),
            Service::Restaurant => restaurant::routes(),
            Service::Accounting => accounting::routes(),
            Service::OrderHistory => order_history::routes(),
            Service::Delivery => deliveries::routes(),
        };
        routes.merge(openapi::routes(service)).with_state(self.clone())
    }

    /// Back to the fixtures. Sagas begun before end where they are, and ids go on from where they were.
    pub fn reset(&self) {
        let mut state = self.state();
        *state = seed::fixtures(&state.emptied());
    }

    /// Puts records into all services that hold them.
    ///
    /// # Errors
    /// Names the wrong field; nothing is put in then.
    pub fn seed(&self, records: &Value) -> Result<(), Invalid> {
        let mut state = self.state();
        *state = seed::applied(&state, records)?;
        Ok(())
    }

    /// The time between two steps of a saga, those under way included.
    pub fn set_saga_step(&self, step: Duration) {
        self.state().saga_step = step;
    }

    /// Takes an order and begins its saga. Wants a tokio runtime.
    ///
    /// # Errors
    /// Names the wrong field: an unknown restaurant or menu item is one.
    #[expect(clippy::needless_pass_by_value, reason = "an order is given away, not shown")]
    pub fn create_order(&self, order: NewOrder) -> Result<i64, Invalid> {
        self.take_order(&mut self.state(), &order)
    }

    /// As `create_order`, but the same key and order get the same answer again.
    ///
    /// # Errors
    /// `Refusal::Invalid` as above, and `Refusal::KeyReused` if the key came with another order before.
    pub fn create_order_once(&self, key: Option<&str>, order: &NewOrder) -> Result<i64, Refusal> {
        let asked = serde_json::to_value(order).expect("an order is JSON");
        let outcome =
            self.once("POST /orders", key, asked, |state| Ok(self.take_order(state, order)?.into()))?;
        Ok(outcome.as_i64().expect("what was kept is an id"))
    }

    fn take_order(&self, state: &mut State, order: &NewOrder) -> Result<i64, Invalid> {
        let order = state.create_order(order)?;
        self.run(Saga::Create, &order);
        Ok(order.order_id)
    }

    /// Begins to cancel an order; answers it as it was.
    pub(crate) fn cancel_order(&self, key: Option<&str>, order_id: i64) -> Outcome {
        self.once(&format!("POST /orders/{order_id}/cancel"), key, Value::Null, |state| {
            let before = state.leave_approved(order_id, OrderState::CancelPending)?;
            self.run(Saga::Cancel, state.order(order_id)?);
            Ok(json!(before))
        })
    }

    /// Begins to revise an order; answers it as it was.
    pub(crate) fn revise_order(&self, key: Option<&str>, order_id: i64, revision: &Revision) -> Outcome {
        self.once(&format!("POST /orders/{order_id}/revise"), key, json!(revision), |state| {
            let lines = state.revised_lines(order_id, revision)?;
            let before = state.leave_approved(order_id, OrderState::RevisionPending)?;
            self.run(Saga::Revise(lines), state.order(order_id)?);
            Ok(json!(before))
        })
    }

    /// The state, locked: never to be held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}
