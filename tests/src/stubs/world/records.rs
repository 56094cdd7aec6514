//! The records of a seed as they are written: the fields of the services' GETs, most of them optional.
//!
//! A field that no GET has is a mistake, or it would silently do nothing.

use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{
    model::{Address, BillState, Card, DeliveryState, Menu, Name, OrderState, TicketState, id},
    money::Money,
    time::{Hour, Time},
};

/// Everything that can be put in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub(crate) struct Seeds {
    pub(crate) consumers: Vec<ConsumerSeed>,
    pub(crate) restaurants: Vec<RestaurantSeed>,
    pub(crate) orders: Vec<OrderSeed>,
    pub(crate) tickets: Vec<TicketSeed>,
    pub(crate) bills: Vec<BillSeed>,
    pub(crate) deliveries: Vec<DeliverySeed>,
    pub(crate) couriers: Vec<CourierSeed>,
}

/// A consumer, and whether its card can be charged.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ConsumerSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) consumer_id: i64,
    #[serde(default = "john_doe")]
    pub(crate) name: Name,
    #[serde(default)]
    pub(crate) card: Card,
}

/// A restaurant; without a menu it has nothing to sell.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestaurantSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) address: Option<Address>,
    #[serde(default)]
    pub(crate) menu: Menu,
    #[serde(default)]
    pub(crate) zips: Vec<String>,
    pub(crate) opens: Option<Hour>,
    pub(crate) closes: Option<Hour>,
}

/// An order; John Doe's, approved, at the first restaurant and made now unless said otherwise.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrderSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) order_id: i64,
    #[serde(default = "approved")]
    pub(crate) state: OrderState,
    #[serde(default = "john_does_id", deserialize_with = "id")]
    pub(crate) consumer_id: i64,
    #[serde(default = "first", deserialize_with = "id")]
    pub(crate) restaurant_id: i64,
    pub(crate) created_at: Option<Time>,
    pub(crate) delivery_time: Option<Time>,
    pub(crate) order_total: Option<Money>,
    pub(crate) line_items: Option<Vec<LineSeed>>,
    /// Taken as in a new order; no GET shows it.
    #[serde(rename = "deliveryAddress")]
    _delivery_address: Option<Address>,
}

/// A line of an order; name and price are the menu's unless given.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct LineSeed {
    pub(crate) menu_item_id: String,
    pub(crate) name: Option<String>,
    pub(crate) price: Option<Money>,
    #[serde(default = "one")]
    pub(crate) quantity: u32,
}

/// A ticket, in place of the one its order brought.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TicketSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) id: i64,
    pub(crate) state: TicketState,
    pub(crate) ready_by: Option<Time>,
    pub(crate) accept_time: Option<Time>,
    pub(crate) preparing_time: Option<Time>,
    pub(crate) ready_for_pickup_time: Option<Time>,
    pub(crate) picked_up_time: Option<Time>,
    /// These three are the order's.
    #[serde(rename = "orderId")]
    _order_id: Option<IgnoredAny>,
    #[serde(rename = "restaurantId")]
    _restaurant_id: Option<IgnoredAny>,
    #[serde(rename = "lineItems")]
    _line_items: Option<IgnoredAny>,
}

/// A bill, in place of the one its order brought.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BillSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) order_id: i64,
    #[serde(default, deserialize_with = "optional_id")]
    pub(crate) consumer_id: Option<i64>,
    pub(crate) state: BillState,
    pub(crate) amount: Option<Money>,
}

/// A delivery, in place of the one its order brought.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct DeliverySeed {
    pub(crate) delivery_info: DeliveryInfo,
    #[serde(default, deserialize_with = "optional_id")]
    pub(crate) assigned_courier: Option<i64>,
    pub(crate) estimated_delivery_time: Option<Time>,
    pub(crate) delivered_at: Option<Time>,
    /// These follow from the state.
    #[serde(rename = "courierActions")]
    _courier_actions: Option<IgnoredAny>,
}

/// Which delivery, and where it stands.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryInfo {
    #[serde(deserialize_with = "id")]
    pub(crate) id: i64,
    pub(crate) state: DeliveryState,
}

/// A courier at work or not.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CourierSeed {
    #[serde(deserialize_with = "id")]
    pub(crate) id: i64,
    pub(crate) available: bool,
}

fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    #[derive(Deserialize)]
    struct Id(#[serde(deserialize_with = "id")] i64);
    Ok(Option::<Id>::deserialize(deserializer)?.map(|id| id.0))
}

fn john_doe() -> Name {
    Name { first_name: "John".to_owned(), last_name: "Doe".to_owned() }
}

fn john_does_id() -> i64 {
    1_511_300_065_921
}

fn first() -> i64 {
    1
}

fn approved() -> OrderState {
    OrderState::Approved
}

fn one() -> u32 {
    1
}
