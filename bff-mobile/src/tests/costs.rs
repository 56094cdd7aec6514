//! What the screens of an app cost, by the default limit: what is promised passes, and what would ask for it all again does not.
//!
//! Not here: how costs are worked out, and what refused ones are told (`gateway::graphql`).

use async_graphql::Variables;
use gateway::graphql::{Limits, price};
use serde_json::json;

/// An order in every detail, but for its consumer's orders.
const EVERYTHING: &str = "nodeId orderId consumerId state orderTotal createdAt \
    lineItems { menuItemId name price quantity } consumer { nodeId id firstName lastName } \
    restaurant { nodeId id name address { street1 street2 city state zip } menu { id name price } } \
    ticket { state readyBy acceptTime readyForPickupTime pickedUpTime } \
    deliveryInfo { status estimatedDeliveryTime assignedCourier } bill { state amount }";

fn cost(query: &str, variables: serde_json::Value) -> u32 {
    price(&crate::sdl(), query, &Variables::from_json(variables)).expect("it can be read")
}

#[test]
fn fifty_orders_in_every_detail_pass_and_those_of_each_ones_consumer_again_do_not() {
    let most = Limits::default().cost;
    let order = cost(&format!("{{ order(orderId: 1) {{ {EVERYTHING} }} }}"), json!({})) - 1;
    let fifty = cost(&format!("{{ orders(consumerId: 5) {{ {EVERYTHING} }} }}"), json!({}));
    assert_eq!((order, fifty), (106, 1 + 50 * 106));
    let again = format!("{{ orders(consumerId: 5) {{ consumer {{ orders {{ {EVERYTHING} }} }} }} }}");
    let again = cost(&again, json!({}));
    assert_eq!(again, 1 + 50 * (1 + 1 + 50 * 106));
    assert!(fifty <= most && most < again);
}

#[test]
fn pages_cost_what_is_asked_for_and_twenty_where_nothing_is() {
    let query = "query($first: Int) { orderHistory(consumerId: 5, first: $first) { \
        edges { cursor node { orderId } } nodes { orderId } pageInfo { hasNextPage } } }";
    let page = |size: u32| 1 + (1 + size * 3) + (1 + size) + 2;
    for (sent, size) in [
        (json!({}), 20),
        (json!({"first": null}), 20),
        (json!({"first": -5}), 20),
        (json!({"first": 1}), 1),
        (json!({"first": 200}), 200),
    ] {
        assert_eq!(cost(query, sent.clone()), page(size), "{sent}");
    }
    assert_eq!(cost(query, json!({"first": u64::MAX})), u32::MAX);
}
