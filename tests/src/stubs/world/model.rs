//! What the services hold, each record as its service's GET shows it.
//!
//! No rules here: what may happen to a record is said where it happens.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::{
    money::Money,
    time::{Hour, Time},
};

/// Reads an id: a number, or the same number as a string.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "an id is a whole number of 64 bits")]
    enum Written {
        Number(i64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(id) => Ok(id),
        Written::Text(text) => {
            text.parse().map_err(|_| D::Error::custom("an id is a whole number of 64 bits"))
        }
    }
}

/// Writes an id as a string, as order-history does.
pub(crate) fn id_as_text<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A street address.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Address {
    /// House and street.
    pub street1: String,
    /// What else is needed to find the door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub street2: Option<String>,
    /// City.
    pub city: String,
    /// State, two letters.
    pub state: String,
    /// Postal code.
    pub zip: String,
}

/// A consumer's name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Name {
    pub(crate) first_name: String,
    pub(crate) last_name: String,
}

/// Whether accounting can charge a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Card {
    #[default]
    Valid,
    Expired,
}

/// A consumer; the account of the same id goes with it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Consumer {
    pub(crate) consumer_id: i64,
    pub(crate) name: Name,
    #[serde(skip)]
    pub(crate) card: Card,
}

/// A dish and its price.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MenuItem {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) price: Money,
}

/// What a restaurant offers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Menu {
    pub(crate) menu_items: Vec<MenuItem>,
}

impl Menu {
    /// The dish of that id.
    pub(crate) fn item(&self, id: &str) -> Option<&MenuItem> {
        self.menu_items.iter().find(|item| item.id == id)
    }
}

/// A restaurant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restaurant {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) address: Option<Address>,
    pub(crate) menu: Menu,
    /// The postal codes it delivers to; none means all.
    pub(crate) zips: Vec<String>,
    pub(crate) opens: Option<Hour>,
    pub(crate) closes: Option<Hour>,
    /// When it last changed, in seconds since 1970; no two versions share one.
    #[serde(skip)]
    pub(crate) modified: u64,
}

/// Some of one dish, at the price it had when ordered.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LineItem {
    pub(crate) menu_item_id: String,
    pub(crate) name: String,
    pub(crate) price: Money,
    pub(crate) quantity: u32,
}

/// Where an order stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderState {
    ApprovalPending,
    Approved,
    Rejected,
    CancelPending,
    Cancelled,
    RevisionPending,
}

/// An order, as the order service knows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    pub(crate) order_id: i64,
    pub(crate) state: OrderState,
    pub(crate) order_total: Money,
    pub(crate) consumer_id: i64,
    pub(crate) restaurant_id: i64,
    pub(crate) created_at: Time,
    pub(crate) delivery_time: Time,
    pub(crate) line_items: Vec<LineItem>,
    #[serde(skip)]
    pub(crate) version: Version,
}

/// Tells one record of an order from another of the same id, and its earlier states from later ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Version {
    /// Which record: seeds and resets put new ones in its place.
    pub(crate) record: u64,
    /// How often this record changed.
    pub(crate) change: u64,
}

/// Where a ticket stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum TicketState {
    CreatePending,
    AwaitingAcceptance,
    Accepted,
    Preparing,
    ReadyForPickup,
    PickedUp,
    CancelPending,
    Cancelled,
    RevisionPending,
}

/// Some of one dish to cook.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketLineItem {
    pub(crate) menu_item_id: String,
    pub(crate) name: String,
    pub(crate) quantity: u32,
}

/// What the kitchen works by.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ticket {
    pub(crate) id: i64,
    pub(crate) order_id: i64,
    pub(crate) state: TicketState,
    pub(crate) restaurant_id: i64,
    pub(crate) line_items: Vec<TicketLineItem>,
    pub(crate) ready_by: Option<Time>,
    pub(crate) accept_time: Option<Time>,
    pub(crate) preparing_time: Option<Time>,
    pub(crate) ready_for_pickup_time: Option<Time>,
    pub(crate) picked_up_time: Option<Time>,
    /// The state to return to when a revision is over.
    #[serde(skip)]
    pub(crate) before: TicketState,
}

/// Where a bill stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum BillState {
    Authorized,
    Reversed,
    Revised,
    Failed,
}

/// What an order costs its consumer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bill {
    pub(crate) order_id: i64,
    pub(crate) consumer_id: i64,
    pub(crate) state: BillState,
    pub(crate) amount: Money,
}

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum DeliveryState {
    Pending,
    Scheduled,
    Cancelled,
    Delivered,
}
