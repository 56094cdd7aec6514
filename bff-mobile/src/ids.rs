//! Ids: 64-bit numbers inside, strings outside, and opaque node ids that also say of what they are.
//!
//! Not here: whether anything has such an id.

use std::fmt;

use async_graphql::ID;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gateway::graphql::Refusal;
use serde::{Deserialize, Deserializer, de};

/// The id in an argument.
///
/// # Errors
/// `BAD_USER_INPUT` for what is no whole number of 64 bits.
pub(crate) fn parse(id: &ID) -> Result<i64, Refusal> {
    let plain = !id.starts_with('+') && !id.starts_with('-');
    let number = if plain { id.parse().ok() } else { None };
    number.ok_or_else(|| Refusal::bad_input("An id is a whole number."))
}

/// An id inside an answer: a number, or as order-history writes it, a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) i64);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl de::Visitor<'_> for Written {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id")
    }

    fn visit_i64<E: de::Error>(self, id: i64) -> Result<Id, E> {
        Ok(Id(id))
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Id, E> {
        i64::try_from(id).map(Id).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, id: &str) -> Result<Id, E> {
        id.parse().map(Id).map_err(E::custom)
    }
}

/// What a node id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeId {
    Order(i64),
    Consumer(i64),
    Restaurant(i64),
}

impl NodeId {
    /// As a client gets it.
    pub(crate) fn encode(self) -> ID {
        let text = match self {
            NodeId::Order(id) => format!("Order:{id}"),
            NodeId::Consumer(id) => format!("Consumer:{id}"),
            NodeId::Restaurant(id) => format!("Restaurant:{id}"),
        };
        ID(URL_SAFE_NO_PAD.encode(text))
    }

    /// # Errors
    /// `BAD_USER_INPUT` for what was never given out.
    pub(crate) fn decode(id: &ID) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(id.trim_end_matches('=')).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let node = text.as_deref().and_then(|text| {
            let (ty, id) = text.split_once(':')?;
            let id = parse(&ID(id.to_owned())).ok()?;
            match ty {
                "Order" => Some(NodeId::Order(id)),
                "Consumer" => Some(NodeId::Consumer(id)),
                "Restaurant" => Some(NodeId::Restaurant(id)),
                _ => None,
            }
        });
        node.ok_or_else(|| Refusal::bad_input("This is no node id."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_whole_numbers_of_64_bits() {
        assert_eq!(parse(&ID("1511300065921".to_owned())), Ok(1_511_300_065_921));
        for wrong in ["abc", "", "1.5", " 1", "+1", "-1", "9223372036854775808", "1,2"] {
            assert_eq!(parse(&ID(wrong.to_owned())).unwrap_err().code, "BAD_USER_INPUT", "{wrong}");
        }
        let both: [Id; 2] = serde_json::from_str(r#"[9007199254740993, "9007199254740993"]"#).unwrap();
        assert_eq!(both, [Id(9_007_199_254_740_993); 2]);
    }

    #[test]
    fn a_node_id_says_of_what_it_is() {
        for node in [NodeId::Order(99), NodeId::Consumer(1_511_300_065_921), NodeId::Restaurant(1)] {
            assert_eq!(NodeId::decode(&node.encode()), Ok(node));
        }
        for wrong in ["", "abc", "99", "T3JkZXI6", "Q291cmllcjo3"] {
            assert!(NodeId::decode(&ID(wrong.to_owned())).is_err(), "{wrong}");
        }
    }
}
