//! A restaurant and its menu, which anyone may see.
//!
//! Not here: opening hours; those choose restaurants and are not shown.

use std::sync::Arc;

use async_graphql::{ID, Object, SimpleObject};
use gateway::graphql::Refusal;

use crate::{
    ids::NodeId,
    records::{AddressRecord, MenuItemRecord, RestaurantRecord},
    scalars::{Money, semantic_non_null},
    services::Session,
};

/// A restaurant.
pub(crate) struct Restaurant(pub(crate) Arc<RestaurantRecord>);

impl Restaurant {
    /// The restaurant of that id.
    pub(crate) async fn find(session: &Session, id: i64) -> Result<Restaurant, Refusal> {
        session.restaurants.load(id).await?.map(Restaurant).ok_or_else(Refusal::not_found)
    }
}

/// Who cooks.
#[Object]
impl Restaurant {
    /// Globally unique and opaque.
    pub(crate) async fn node_id(&self) -> ID {
        NodeId::Restaurant(self.0.id.0).encode()
    }

    /// A 64-bit number.
    #[graphql(directive = semantic_non_null::apply(vec![0]))]
    async fn id(&self) -> Option<ID> {
        Some(ID(self.0.id.0.to_string()))
    }

    /// What it is called.
    async fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Where it is.
    async fn address(&self) -> Option<Address> {
        self.0.address.clone().map(Address::from)
    }

    /// What it cooks.
    async fn menu(&self) -> Option<Vec<MenuItem>> {
        Some(self.0.menu.as_ref()?.menu_items.iter().map(MenuItem::from).collect())
    }
}

/// A dish and its price.
#[derive(SimpleObject)]
struct MenuItem {
    /// Which of the menu.
    id: ID,
    /// What it is called.
    name: String,
    /// What one costs.
    price: Money,
}

impl From<&MenuItemRecord> for MenuItem {
    fn from(record: &MenuItemRecord) -> Self {
        let MenuItemRecord { id, name, price } = record.clone();
        MenuItem { id: ID(id), name, price }
    }
}

/// A street address.
#[derive(SimpleObject)]
struct Address {
    /// Street and number.
    street1: String,
    /// Apartment or floor.
    street2: Option<String>,
    /// The city.
    city: String,
    /// The state, in two letters.
    state: String,
    /// The ZIP code.
    zip: String,
}

impl From<AddressRecord> for Address {
    fn from(record: AddressRecord) -> Self {
        let AddressRecord { street1, street2, city, state, zip } = record;
        Address { street1, street2, city, state, zip }
    }
}
