//! What services answer, as far as the schema needs it. Fields that are not listed are ignored, missing ones are none.
//!
//! Not here: what clients see; each record has a type in the schema for that.

use serde::Deserialize;

use crate::{
    ids::Id,
    scalars::{LocalDateTime, Money},
};

/// A record that a bulk call answers, by the key it was asked for with.
pub(crate) trait Record: serde::de::DeserializeOwned + Send + Sync + 'static {
    fn key(&self) -> i64;
}

macro_rules! keyed {
    ($($record:ident by $($field:ident).+;)*) => {
        $(impl Record for $record { fn key(&self) -> i64 { self.$($field).+.0 } })*
    };
}

keyed! {
    OrderRecord by order_id;
    ConsumerRecord by consumer_id;
    TicketRecord by order_id;
    BillRecord by order_id;
    DeliveryRecord by delivery_info.id;
}

/// An order as the order service or the order history tells it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrderRecord {
    pub(crate) order_id: Id,
    pub(crate) consumer_id: Option<Id>,
    pub(crate) restaurant_id: Option<Id>,
    /// The history calls it `status`.
    #[serde(alias = "status")]
    pub(crate) state: Option<String>,
    pub(crate) order_total: Option<Money>,
    pub(crate) created_at: Option<LocalDateTime>,
    pub(crate) line_items: Option<Vec<LineItemRecord>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LineItemRecord {
    pub(crate) menu_item_id: String,
    pub(crate) name: Option<String>,
    pub(crate) price: Option<Money>,
    pub(crate) quantity: i32,
}

/// A page of the order history.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryPage {
    pub(crate) orders: Vec<OrderRecord>,
    pub(crate) start_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumerRecord {
    pub(crate) consumer_id: Id,
    pub(crate) name: Option<NameRecord>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NameRecord {
    pub(crate) first_name: Option<String>,
    pub(crate) last_name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RestaurantRecord {
    pub(crate) id: Id,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<AddressRecord>,
    pub(crate) menu: Option<MenuRecord>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AddressRecord {
    pub(crate) street1: String,
    pub(crate) street2: Option<String>,
    pub(crate) city: String,
    pub(crate) state: String,
    pub(crate) zip: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MenuRecord {
    pub(crate) menu_items: Vec<MenuItemRecord>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MenuItemRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) price: Money,
}

/// A page of restaurants.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RestaurantPage {
    pub(crate) restaurants: Vec<std::sync::Arc<RestaurantRecord>>,
    pub(crate) start_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TicketRecord {
    pub(crate) order_id: Id,
    pub(crate) state: Option<String>,
    pub(crate) ready_by: Option<LocalDateTime>,
    pub(crate) accept_time: Option<LocalDateTime>,
    pub(crate) ready_for_pickup_time: Option<LocalDateTime>,
    pub(crate) picked_up_time: Option<LocalDateTime>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BillRecord {
    pub(crate) order_id: Id,
    pub(crate) state: Option<String>,
    pub(crate) amount: Option<Money>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryRecord {
    pub(crate) delivery_info: DeliveryState,
    pub(crate) assigned_courier: Option<Id>,
    pub(crate) estimated_delivery_time: Option<LocalDateTime>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeliveryState {
    pub(crate) id: Id,
    pub(crate) state: Option<String>,
}
