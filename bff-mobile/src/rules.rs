//! Who may see and do what: the one place where roles, scopes and `sub` are looked at.
//!
//! Role or scope missing is FORBIDDEN before anything is asked; whose order it is can only be told once it is there, and
//! a foreign one looks like one that does not exist.

use gateway::{auth::Principal, graphql::Refusal};

/// Whoever asks; nobody without a token.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a>(pub(crate) Option<&'a Principal>);

/// Whose an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owners {
    /// None when the service did not say: then it is nobody's but support's.
    pub(crate) consumer: Option<i64>,
    pub(crate) restaurant: Option<i64>,
}

type Verdict = Result<(), Refusal>;

fn allowed(yes: bool, otherwise: fn() -> Refusal) -> Verdict {
    if yes { Ok(()) } else { Err(otherwise()) }
}

fn is_consumer(who: &Principal, id: i64) -> bool {
    who.has_role("consumer") && *who.sub == *id.to_string()
}

fn is_restaurant(who: &Principal, id: i64) -> bool {
    who.has_role("restaurant") && who.sub.strip_prefix("restaurant-") == Some(&*id.to_string())
}

impl<'a> Asker<'a> {
    fn with_scope(self, scope: &str) -> Result<&'a Principal, Refusal> {
        let who = self.0.ok_or_else(Refusal::unauthenticated)?;
        allowed(who.has_scope(scope), Refusal::forbidden)?;
        Ok(who)
    }

    fn with(self, scope: &str, roles: &[&str]) -> Result<&'a Principal, Refusal> {
        let who = self.with_scope(scope)?;
        allowed(roles.iter().any(|role| who.has_role(role)), Refusal::forbidden)?;
        Ok(who)
    }

    /// May read orders at all: asked before any order is.
    pub(crate) fn reads_orders(self) -> Verdict {
        self.with("orders:read", &["consumer", "restaurant", "support"]).map(drop)
    }

    /// May read this order.
    pub(crate) fn reads_order(self, owners: Owners) -> Verdict {
        let who = self.with("orders:read", &["consumer", "restaurant", "support"])?;
        let own = who.has_role("support")
            || owners.consumer.is_some_and(|id| is_consumer(who, id))
            || owners.restaurant.is_some_and(|id| is_restaurant(who, id));
        allowed(own, Refusal::not_found)
    }

    /// May list orders of some consumer: asked before the id is looked at.
    pub(crate) fn lists_orders(self) -> Verdict {
        self.with("orders:read", &["consumer", "support"]).map(drop)
    }

    /// May list this consumer's orders.
    pub(crate) fn lists_orders_of(self, consumer: i64) -> Verdict {
        self.owns("orders:read", consumer)
    }

    /// May read some consumer.
    pub(crate) fn reads_consumers(self) -> Verdict {
        self.with("consumers:read", &["consumer", "support"]).map(drop)
    }

    /// May read this consumer.
    pub(crate) fn reads_consumer(self, consumer: i64) -> Verdict {
        self.owns("consumers:read", consumer)
    }

    fn owns(self, scope: &str, consumer: i64) -> Verdict {
        let who = self.with(scope, &["consumer", "support"])?;
        allowed(who.has_role("support") || is_consumer(who, consumer), Refusal::forbidden)
    }

    /// May place, revise and cancel orders of its own.
    pub(crate) fn writes_orders(self) -> Verdict {
        self.with("orders:write", &["consumer"]).map(drop)
    }

    /// May place an order for this consumer.
    pub(crate) fn orders_for(self, consumer: i64) -> Verdict {
        let who = self.with("orders:write", &["consumer"])?;
        allowed(is_consumer(who, consumer), Refusal::forbidden)
    }

    /// May revise or cancel this order.
    pub(crate) fn writes_order(self, owners: Owners) -> Verdict {
        let who = self.with("orders:write", &["consumer"])?;
        allowed(owners.consumer.is_some_and(|id| is_consumer(who, id)), Refusal::not_found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ORDER: Owners = Owners { consumer: Some(5), restaurant: Some(1) };

    fn who(sub: &str, role: &str, scope: &str) -> Principal {
        let claims = json!({"sub": sub, "roles": [role], "scope": scope});
        Principal::from_claims(claims.as_object().unwrap().clone(), Some("a.b.c"), "roles").unwrap()
    }

    fn code(verdict: Verdict) -> &'static str {
        verdict.err().map_or("ok", |refusal| refusal.code)
    }

    #[test]
    fn an_order_is_its_consumers_its_restaurants_and_supports() {
        let reads = |sub, role, scope| code(Asker(Some(&who(sub, role, scope))).reads_order(ORDER));
        assert_eq!(reads("5", "consumer", "orders:read"), "ok");
        assert_eq!(reads("restaurant-1", "restaurant", "orders:read"), "ok");
        assert_eq!(reads("anyone", "support", "orders:read"), "ok");
        for (sub, role) in [("6", "consumer"), ("restaurant-2", "restaurant"), ("1", "restaurant")] {
            assert_eq!(reads(sub, role, "orders:read"), "NOT_FOUND", "{sub}");
        }
        assert_eq!(reads("5", "restaurant", "orders:read"), "NOT_FOUND", "a sub without its role");
        assert_eq!(reads("5", "courier", "orders:read"), "FORBIDDEN");
        assert_eq!(reads("5", "consumer", "consumers:read orders:write"), "FORBIDDEN");
        assert_eq!(code(Asker(None).reads_order(ORDER)), "UNAUTHENTICATED");
        let nobodys = Owners { consumer: None, restaurant: None };
        assert_eq!(code(Asker(Some(&who("5", "consumer", "orders:read"))).reads_order(nobodys)), "NOT_FOUND");
    }

    #[test]
    fn a_consumer_and_its_list_are_its_own_and_supports() {
        let both = |sub, role, scope| {
            let who = who(sub, role, scope);
            (code(Asker(Some(&who)).reads_consumer(5)), code(Asker(Some(&who)).lists_orders_of(5)))
        };
        let all = "consumers:read orders:read";
        assert_eq!(both("5", "consumer", all), ("ok", "ok"));
        assert_eq!(both("x", "support", all), ("ok", "ok"));
        assert_eq!(both("6", "consumer", all), ("FORBIDDEN", "FORBIDDEN"));
        assert_eq!(both("restaurant-5", "restaurant", all), ("FORBIDDEN", "FORBIDDEN"));
        assert_eq!(both("5", "consumer", "orders:read"), ("FORBIDDEN", "ok"));
        assert_eq!(both("5", "consumer", "consumers:read"), ("ok", "FORBIDDEN"));
        assert_eq!(code(Asker(None).reads_consumer(5)), "UNAUTHENTICATED");
        assert_eq!(code(Asker(None).lists_orders()), "UNAUTHENTICATED");
    }

    #[test]
    fn only_a_consumer_writes_and_only_its_own() {
        let both = |sub, role, scope| {
            let who = who(sub, role, scope);
            (code(Asker(Some(&who)).orders_for(5)), code(Asker(Some(&who)).writes_order(ORDER)))
        };
        assert_eq!(both("5", "consumer", "orders:write"), ("ok", "ok"));
        assert_eq!(both("6", "consumer", "orders:write"), ("FORBIDDEN", "NOT_FOUND"));
        assert_eq!(both("5", "consumer", "orders:read"), ("FORBIDDEN", "FORBIDDEN"));
        assert_eq!(both("x", "support", "orders:write"), ("FORBIDDEN", "FORBIDDEN"));
        assert_eq!(code(Asker(None).writes_orders()), "UNAUTHENTICATED");
    }
}
