//! The seven services behind the gateway: their names, reference ports and routes.
//!
//! Not the identity provider (`backend.rs` puts it beside them) and not the control API.

/// The routes every service has besides its own.
macro_rules! routes {
    ($($method:literal $path:literal),* $(,)?) => {
        &[
            $(($method, $path),)*
            ("GET", "/health"),
            ("GET", "/openapi.json"),
            ("GET", "/swagger-ui/index.html"),
        ]
    };
}

/// One of the services of FTGO.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Service {
    /// Registers consumers.
    Consumer,
    /// Takes, cancels and revises orders.
    Order,
    /// The restaurants' tickets.
    Kitchen,
    /// Restaurants and their menus.
    Restaurant,
    /// Accounts and bills.
    Accounting,
    /// The query side of orders.
    OrderHistory,
    /// Deliveries and couriers.
    Delivery,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Service; 7] = [
        Service::Consumer,
        Service::Order,
        Service::Kitchen,
        Service::Restaurant,
        Service::Accounting,
        Service::OrderHistory,
        Service::Delivery,
    ];

    /// The name in the control API and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Service::Consumer => "consumer",
            Service::Order => "order",
            Service::Kitchen => "kitchen",
            Service::Restaurant => "restaurant",
            Service::Accounting => "accounting",
            Service::OrderHistory => "order-history",
            Service::Delivery => "delivery",
        }
    }

    /// The service of that name.
    pub fn by_name(name: &str) -> Option<Service> {
        Service::ALL.into_iter().find(|service| service.name() == name)
    }

    /// The port it has in the reference set-up.
    pub fn port(self) -> u16 {
        match self {
            Service::Consumer => 8081,
            Service::Order => 8082,
            Service::Kitchen => 8083,
            Service::Restaurant => 8084,
            Service::Accounting => 8085,
            Service::OrderHistory => 8086,
            Service::Delivery => 8089,
        }
    }

    /// Every method and path template it answers.
    pub fn routes(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Service::Consumer => {
                routes!["POST" "/consumers", "GET" "/consumers", "GET" "/consumers/{id}"]
            }
            Service::Order => routes![
                "POST" "/orders",
                "GET" "/orders",
                "GET" "/orders/{id}",
                "POST" "/orders/{id}/cancel",
                "POST" "/orders/{id}/revise",
                "GET" "/restaurants/{id}",
            ],
            Service::Kitchen => routes![
                "GET" "/tickets",
                "GET" "/tickets/{id}",
                "POST" "/tickets/{id}/accept",
                "POST" "/tickets/{id}/preparing",
                "POST" "/tickets/{id}/ready",
                "POST" "/tickets/{id}/pickup",
                "GET" "/restaurants/{id}",
            ],
            Service::Restaurant => routes![
                "POST" "/restaurants",
                "GET" "/restaurants",
                "GET" "/restaurants/{id}",
                "PUT" "/restaurants/{id}/menu",
            ],
            Service::Accounting => {
                routes!["GET" "/accounts/{id}", "GET" "/bills", "GET" "/bills/{orderId}"]
            }
            Service::OrderHistory => routes!["GET" "/orders", "GET" "/orders/{id}"],
            Service::Delivery => routes![
                "GET" "/deliveries",
                "GET" "/deliveries/{id}",
                "POST" "/deliveries/{id}/dropoff",
                "POST" "/couriers/{id}/availability",
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_own_name() {
        for service in Service::ALL {
            assert_eq!(Service::by_name(service.name()), Some(service));
        }
        assert_eq!(Service::by_name("identity"), None);
    }
}
