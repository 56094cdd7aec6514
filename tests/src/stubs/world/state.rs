//! The state all services share, and the rules for changing orders in it.
//!
//! Not what changes by itself: see the sagas.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Invalid,
    delivery::Deliveries,
    history::{Entry, History},
    idempotency::Answers,
    model::{Bill, Consumer, LineItem, Order, OrderState, Restaurant, Ticket, Version},
    order::{NewOrder, Revision},
};
use crate::stubs::problem::Refusal;

/// How long a step of a saga takes at the start.
const SAGA_STEP: Duration = Duration::from_millis(100);

/// Everything the services know.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) consumers: HashMap<i64, Consumer>,
    pub(crate) restaurants: BTreeMap<i64, Restaurant>,
    pub(crate) orders: HashMap<i64, Order>,
    pub(crate) tickets: HashMap<i64, Ticket>,
    pub(crate) bills: HashMap<i64, Bill>,
    pub(crate) deliveries: Deliveries,
    pub(crate) history: History,
    pub(crate) answers: Answers,
    pub(crate) saga_step: Duration,
    /// When the restaurants last changed, in seconds since 1970.
    pub(crate) restaurants_modified: u64,
    pub(crate) given: Given,
}

/// Numbers given so far; resets do not take them back.
#[derive(Clone)]
pub(crate) struct Given {
    consumer: i64,
    restaurant: i64,
    order: i64,
    record: u64,
}

/// The ids from which new ones grow, above all fixtures.
const NOTHING_GIVEN: Given = Given { consumer: 1_511_300_066_000, restaurant: 100, order: 1_000, record: 0 };

impl State {
    /// A world without anything in it.
    pub(crate) fn empty() -> State {
        // An hour ago, so that the first changes are not dated into the future.
        State::after(NOTHING_GIVEN, now() - 3_600)
    }

    /// A world without anything in it, to come after this one.
    pub(crate) fn emptied(&self) -> State {
        State::after(self.given.clone(), self.next_modified())
    }

    fn after(given: Given, restaurants_modified: u64) -> State {
        State {
            consumers: HashMap::new(),
            restaurants: BTreeMap::new(),
            orders: HashMap::new(),
            tickets: HashMap::new(),
            bills: HashMap::new(),
            deliveries: Deliveries::default(),
            history: History::default(),
            answers: Answers::default(),
            saga_step: SAGA_STEP,
            restaurants_modified,
            given,
        }
    }

    /// An id no consumer has or had.
    pub(crate) fn new_consumer_id(&mut self) -> i64 {
        next(&mut self.given.consumer, |id| self.consumers.contains_key(&id))
    }

    /// An id no restaurant has or had.
    pub(crate) fn new_restaurant_id(&mut self) -> i64 {
        next(&mut self.given.restaurant, |id| self.restaurants.contains_key(&id))
    }

    /// The version of a record that is new in its place.
    pub(crate) fn new_record(&mut self) -> Version {
        self.given.record += 1;
        Version { record: self.given.record, change: 0 }
    }

    /// The order of that id.
    pub(crate) fn order(&self, order_id: i64) -> Result<&Order, Refusal> {
        self.orders.get(&order_id).ok_or(Refusal::NotFound)
    }

    /// Takes in an order, pending.
    pub(crate) fn create_order(&mut self, asked: &NewOrder) -> Result<Order, Invalid> {
        let version = self.new_record();
        let restaurant = self.restaurants.get(&asked.restaurant_id);
        let restaurant = restaurant.ok_or_else(|| Invalid::new("restaurantId", "no such restaurant"))?;
        let mut order = asked.priced(0, version, &restaurant.menu)?;
        order.order_id = next(&mut self.given.order, |id| self.orders.contains_key(&id));
        self.orders.insert(order.order_id, order.clone());
        Ok(order)
    }

    /// Sets an approved order to another state, and answers it as it was.
    pub(crate) fn leave_approved(&mut self, order_id: i64, state: OrderState) -> Result<Order, Refusal> {
        let before = self.approved(order_id)?.clone();
        self.set_order_state(order_id, state);
        Ok(before)
    }

    /// An approved order's lines as they would be after a revision.
    pub(crate) fn revised_lines(&self, order_id: i64, revision: &Revision) -> Result<Vec<LineItem>, Refusal> {
        Ok(revision.applied_to(self.approved(order_id)?)?)
    }

    fn approved(&self, order_id: i64) -> Result<&Order, Refusal> {
        let order = self.order(order_id)?;
        let state = serde_json::json!(order.state);
        let refusal = || Refusal::Conflict(format!("the order is {state}, not \"APPROVED\""));
        (order.state == OrderState::Approved).then_some(order).ok_or_else(refusal)
    }

    /// Sets an order's state, if it is there.
    pub(crate) fn set_order_state(&mut self, order_id: i64, state: OrderState) {
        if let Some(order) = self.orders.get_mut(&order_id) {
            order.state = state;
            order.version.change += 1;
        }
    }

    /// What the history would say of an order now.
    pub(crate) fn entry(&self, order: &Order) -> Entry {
        let restaurant = self.restaurants.get(&order.restaurant_id);
        Entry::of(order, restaurant.map_or("", |restaurant| &restaurant.name))
    }

    /// Takes in a restaurant, in place of one it knew, and dates the change.
    pub(crate) fn put_restaurant(&mut self, mut restaurant: Restaurant) {
        self.restaurants_modified = self.next_modified();
        restaurant.modified = self.restaurants_modified;
        self.restaurants.insert(restaurant.id, restaurant);
    }

    /// Later than the last change by a second at least: HTTP dates cannot tell less apart.
    fn next_modified(&self) -> u64 {
        now().max(self.restaurants_modified + 1)
    }
}

fn next(given: &mut i64, taken: impl Fn(i64) -> bool) -> i64 {
    *given += 1;
    while taken(*given) {
        *given += 1;
    }
    *given
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the clock is past 1970").as_secs()
}
