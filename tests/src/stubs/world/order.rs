//! Orders: what is asked for, checked against the restaurant's menu, and counted.
//!
//! Not what becomes of an order afterwards: that is the sagas'.

use serde::{Deserialize, Serialize};

use super::{
    Invalid,
    model::{Address, LineItem, Menu, Order, OrderState, Version, id},
    money::Money,
    time::Time,
};

/// What a consumer asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewOrder {
    /// Who orders.
    #[serde(deserialize_with = "id")]
    pub consumer_id: i64,
    /// Where.
    #[serde(deserialize_with = "id")]
    pub restaurant_id: i64,
    /// When it should arrive: ISO 8601, UTC.
    pub delivery_time: String,
    /// Where to.
    pub delivery_address: Address,
    /// What; at least one dish.
    pub line_items: Vec<NewLineItem>,
}

/// Some of one dish.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewLineItem {
    /// The dish, an id of the restaurant's menu.
    pub menu_item_id: String,
    /// How many; at least one.
    pub quantity: i64,
}

/// A consumer's change of mind: the lines named get these quantities, the others stay.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Revision {
    pub(crate) revised_order_line_items: Vec<NewLineItem>,
}

impl NewOrder {
    /// The order of that id, pending, at the prices of `menu`.
    pub(crate) fn priced(&self, order_id: i64, version: Version, menu: &Menu) -> Result<Order, Invalid> {
        let delivery_time =
            self.delivery_time.parse().map_err(|wrong: &str| Invalid::new("deliveryTime", wrong))?;
        let line_items = self.priced_lines(menu)?;
        Ok(Order {
            order_id,
            state: OrderState::ApprovalPending,
            order_total: total(&line_items)?,
            consumer_id: self.consumer_id,
            restaurant_id: self.restaurant_id,
            created_at: Time::now(),
            delivery_time,
            line_items,
            version,
        })
    }

    fn priced_lines(&self, menu: &Menu) -> Result<Vec<LineItem>, Invalid> {
        if self.line_items.is_empty() {
            return Err(Invalid::new("lineItems", "an order has at least one line"));
        }
        let lines = self.line_items.iter().enumerate();
        lines.map(|(index, line)| line.priced(menu, &format!("lineItems[{index}]"))).collect()
    }
}

impl NewLineItem {
    fn priced(&self, menu: &Menu, at: &str) -> Result<LineItem, Invalid> {
        let unknown = || Invalid::new(format!("{at}.menuItemId"), "the restaurant's menu has no such item");
        let item = menu.item(&self.menu_item_id).ok_or_else(unknown)?;
        Ok(LineItem {
            menu_item_id: item.id.clone(),
            name: item.name.clone(),
            price: item.price,
            quantity: self.counted(at)?,
        })
    }

    fn counted(&self, at: &str) -> Result<u32, Invalid> {
        let quantity = u32::try_from(self.quantity).ok().filter(|quantity| *quantity > 0);
        quantity.ok_or_else(|| Invalid::new(format!("{at}.quantity"), "at least one"))
    }
}

impl Revision {
    /// The order's lines as they would be.
    pub(crate) fn applied_to(&self, order: &Order) -> Result<Vec<LineItem>, Invalid> {
        let mut lines = order.line_items.clone();
        for (index, revised) in self.revised_order_line_items.iter().enumerate() {
            let at = format!("revisedOrderLineItems[{index}]");
            let quantity = revised.counted(&at)?;
            let named = lines.iter_mut().filter(|line| line.menu_item_id == revised.menu_item_id);
            if named.map(|line| line.quantity = quantity).count() == 0 {
                return Err(Invalid::new(format!("{at}.menuItemId"), "the order has no such line"));
            }
        }
        total(&lines).map(|_| lines)
    }
}

/// What the lines come to.
pub(crate) fn total(lines: &[LineItem]) -> Result<Money, Invalid> {
    let sum = lines.iter().try_fold(Money::default(), |sum, line| sum.plus(line.price.times(line.quantity)?));
    sum.ok_or_else(|| Invalid::new("lineItems", "more money than can be counted"))
}
