//! What each route is for, takes and answers.
//!
//! A route that is not told of here is missing in the document; a test finds it.

use serde_json::{Value, json};

use super::{NOT_MODIFIED, Service};

/// One method of one path.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// Name, whether it must be there, type.
    pub(super) query: &'static [(&'static str, bool, Type)],
    pub(super) headers: &'static [&'static str],
    /// The body's schema.
    pub(super) body: Option<&'static str>,
    /// The answer's schema; `[]` after it for an array of them, empty for no body.
    pub(super) answer: &'static str,
    /// Status and reason.
    pub(super) refusals: &'static [(&'static str, &'static str)],
}

/// The type of a query parameter.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Id,
    Ids,
    Text,
    Words,
    Time,
    PageSize,
    OrderState,
}

impl Type {
    pub(super) fn schema(self) -> Value {
        match self {
            Type::Id => json!({ "type": "integer", "format": "int64" }),
            Type::Ids => json!({ "type": "array", "items": Type::Id.schema() }),
            Type::Text | Type::Time => json!({ "type": "string" }),
            Type::Words => json!({ "type": "array", "items": { "type": "string" } }),
            Type::PageSize => json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
            Type::OrderState => json!({ "$ref": "#/components/schemas/OrderState" }),
        }
    }
}

const WRONG: (&str, &str) = ("400", "An id, a parameter or a field is wrong.");
const STATE: (&str, &str) = ("409", "The record is in the wrong state.");
const REUSED: (&str, &str) = ("422", "The idempotency key came with another body before.");
const KNOWN: (&str, &str) = ("304", NOT_MODIFIED);
const PLAIN: Operation =
    Operation { id: "", summary: "", query: &[], headers: &[], body: None, answer: "", refusals: &[WRONG] };
const KEYED: Operation = Operation { headers: &["Idempotency-Key"], ..PLAIN };
const BULK: Operation = Operation { query: &[("ids", true, Type::Ids)], ..PLAIN };
const OF_ORDERS: Operation = Operation { query: &[("orderIds", true, Type::Ids)], ..PLAIN };
const ON_TICKET: Operation = Operation { answer: "Ticket", refusals: &[WRONG, STATE], ..PLAIN };
const CONDITIONAL: Operation =
    Operation { headers: &["If-None-Match", "If-Modified-Since"], refusals: &[WRONG, KNOWN], ..PLAIN };

/// What is known of a route.
pub(super) fn operation(service: Service, method: &str, path: &str) -> Option<Operation> {
    if path == "/health" {
        return Some(Operation {
            id: "health",
            summary: "Is it up?",
            answer: "Health",
            refusals: &[],
            ..PLAIN
        });
    }
    let own = match service {
        Service::Consumer => consumer(method, path),
        Service::Order => order(method, path),
        Service::Kitchen => kitchen(method, path),
        Service::Restaurant => restaurant(method, path),
        Service::Accounting => accounting(path),
        Service::OrderHistory => order_history(path),
        Service::Delivery => delivery(path),
    };
    own.filter(|operation| !operation.summary.is_empty())
}

const REPLICA: Operation = Operation {
    id: "getRestaurant",
    summary: "Whether a restaurant is known.",
    answer: "RestaurantId",
    ..PLAIN
};

fn consumer(method: &str, path: &str) -> Option<Operation> {
    Some(match (method, path) {
        ("POST", "/consumers") => Operation {
            id: "createConsumer",
            summary: "Registers a consumer.",
            body: Some("NewConsumer"),
            answer: "ConsumerId",
            ..PLAIN
        },
        (_, "/consumers") => {
            Operation { id: "getConsumers", summary: "Several consumers.", answer: "Consumer[]", ..BULK }
        }
        (_, "/consumers/{id}") => {
            Operation { id: "getConsumer", summary: "A consumer.", answer: "Consumer", ..PLAIN }
        }
        _ => return None,
    })
}

fn order(method: &str, path: &str) -> Option<Operation> {
    let refusals = &[WRONG, STATE, REUSED];
    Some(match (method, path) {
        ("POST", "/orders") => Operation {
            id: "createOrder",
            summary: "Takes an order; its saga runs afterwards.",
            body: Some("NewOrder"),
            answer: "OrderId",
            refusals: &[WRONG, REUSED],
            ..KEYED
        },
        (_, "/orders") => {
            Operation { id: "getOrders", summary: "Several orders.", answer: "Order[]", ..BULK }
        }
        (_, "/orders/{id}") => Operation { id: "getOrder", summary: "An order.", answer: "Order", ..PLAIN },
        (_, "/orders/{id}/cancel") => {
            let summary = "Cancels an order; answers it as it was.";
            Operation { id: "cancelOrder", summary, answer: "Order", refusals, ..KEYED }
        }
        (_, "/orders/{id}/revise") => {
            let summary = "Changes quantities; answers the order as it was.";
            Operation {
                id: "reviseOrder",
                summary,
                body: Some("Revision"),
                answer: "Order",
                refusals,
                ..KEYED
            }
        }
        (_, "/restaurants/{id}") => REPLICA,
        _ => return None,
    })
}

fn kitchen(_method: &str, path: &str) -> Option<Operation> {
    Some(match path {
        "/tickets" => Operation {
            id: "getTickets",
            summary: "Several orders' tickets.",
            answer: "Ticket[]",
            ..OF_ORDERS
        },
        "/tickets/{id}" => Operation { id: "getTicket", summary: "A ticket.", answer: "Ticket", ..PLAIN },
        "/tickets/{id}/accept" => Operation {
            id: "acceptTicket",
            summary: "Accepts a ticket and says when it will be ready.",
            body: Some("Acceptance"),
            ..ON_TICKET
        },
        "/tickets/{id}/preparing" => {
            Operation { id: "noteTicketPreparing", summary: "Begins to cook.", ..ON_TICKET }
        }
        "/tickets/{id}/ready" => {
            Operation { id: "noteTicketReady", summary: "Ready for pickup.", ..ON_TICKET }
        }
        "/tickets/{id}/pickup" => {
            Operation { id: "noteTicketPickedUp", summary: "The courier has it.", ..ON_TICKET }
        }
        "/restaurants/{id}" => REPLICA,
        _ => return None,
    })
}

fn restaurant(method: &str, path: &str) -> Option<Operation> {
    Some(match (method, path) {
        ("POST", "/restaurants") => Operation {
            id: "createRestaurant",
            summary: "Takes in a restaurant.",
            body: Some("NewRestaurant"),
            answer: "Id",
            ..PLAIN
        },
        (_, "/restaurants") => Operation {
            id: "findRestaurants",
            summary: "Restaurants that serve a place at an hour, in pages; or, with `ids`, an array of those.",
            query: &[
                ("ids", false, Type::Ids),
                ("zip", false, Type::Text),
                ("at", false, Type::Time),
                ("q", false, Type::Text),
                ("pageSize", false, Type::PageSize),
                ("startKey", false, Type::Text),
            ],
            answer: "RestaurantsFound",
            ..CONDITIONAL
        },
        (_, "/restaurants/{id}") => {
            Operation { id: "getRestaurant", summary: "A restaurant.", answer: "Restaurant", ..CONDITIONAL }
        }
        (_, "/restaurants/{id}/menu") => Operation {
            id: "setMenu",
            summary: "Puts a menu in place of the old one.",
            body: Some("Menu"),
            answer: "Restaurant",
            ..PLAIN
        },
        _ => return None,
    })
}

fn accounting(path: &str) -> Option<Operation> {
    Some(match path {
        "/accounts/{id}" => {
            Operation { id: "getAccount", summary: "A consumer's account.", answer: "AccountId", ..PLAIN }
        }
        "/bills" => {
            Operation { id: "getBills", summary: "Several orders' bills.", answer: "Bill[]", ..OF_ORDERS }
        }
        "/bills/{orderId}" => {
            Operation { id: "getBill", summary: "An order's bill.", answer: "Bill", ..PLAIN }
        }
        _ => return None,
    })
}

fn order_history(path: &str) -> Option<Operation> {
    Some(match path {
        "/orders" => Operation {
            id: "findOrderHistory",
            summary: "A consumer's orders, newest first.",
            query: &[
                ("consumerId", true, Type::Id),
                ("status", false, Type::OrderState),
                ("since", false, Type::Time),
                ("keywords", false, Type::Words),
                ("pageSize", false, Type::PageSize),
                ("startKey", false, Type::Text),
            ],
            answer: "OrderHistory",
            ..PLAIN
        },
        "/orders/{id}" => {
            Operation { id: "getOrderHistory", summary: "An order.", answer: "HistoryEntry", ..PLAIN }
        }
        _ => return None,
    })
}

fn delivery(path: &str) -> Option<Operation> {
    let refusals = &[WRONG, STATE];
    Some(match path {
        "/deliveries" => {
            let summary = "Several orders' deliveries.";
            Operation { id: "getDeliveries", summary, answer: "Delivery[]", ..OF_ORDERS }
        }
        "/deliveries/{id}" => {
            Operation { id: "getDelivery", summary: "A delivery.", answer: "Delivery", ..PLAIN }
        }
        "/deliveries/{id}/dropoff" => {
            let summary = "The courier is at the door.";
            Operation { id: "noteDroppedOff", summary, answer: "Delivery", refusals, ..PLAIN }
        }
        "/couriers/{id}/availability" => Operation {
            id: "setAvailability",
            summary: "A courier starts or ends work.",
            body: Some("Availability"),
            ..PLAIN
        },
        _ => return None,
    })
}
