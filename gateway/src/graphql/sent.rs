//! What is asked as JSON says it: which members mean something, and how much of it is taken at all.
//!
//! Not here: how it comes (`read.rs`), what names a document (`lookup.rs`).

use std::{borrow::Cow, fmt};

use async_graphql::Variables;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Refusal,
    read::{Asked, Reference},
};

/// The most JSON values of one operation's variables, objects and lists counted with what is in them. Each takes two bytes of a
/// body at least and some hundred here.
pub(super) const MOST_VALUES: usize = 1_000;

/// The same as it was sent: nothing is built of what is not asked for, nor of what has not been measured.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent<'a> {
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default, borrow)]
    variables: Option<&'a RawValue>,
    #[serde(default)]
    extensions: Option<SentExtensions>,
    #[serde(default)]
    document_id: Option<Id>,
    #[serde(default)]
    id: Option<Id>,
}

/// An id if it is a text; whatever else clients send under that name means nothing here.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Other(IgnoredAny),
}

impl Id {
    fn text(self) -> Option<String> {
        match self {
            Id::Text(text) => Some(text).filter(|text| !text.is_empty()),
            Id::Other(_) => None,
        }
    }
}

/// The one extension that says anything here, if it is there.
pub(super) struct SentExtensions(Option<PersistedQuery>);

/// Apollo's protocol of automatic persisted queries.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PersistedQuery {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    sha256_hash: Option<String>,
}

impl PersistedQuery {
    fn reference(self) -> Reference {
        Reference::Hash(self.sha256_hash.filter(|_| self.version == 1))
    }
}

impl SentExtensions {
    pub(super) fn reference(self) -> Option<Reference> {
        self.0.map(PersistedQuery::reference)
    }
}

impl<'de> Deserialize<'de> for SentExtensions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = SentExtensions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SentExtensions, A::Error> {
                let mut persisted = None;
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if key == "persistedQuery" {
                        persisted = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(SentExtensions(persisted))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Counts JSON values down, and fails where there are more.
struct Count<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        *self.0 = self.0.checked_sub(1).ok_or_else(|| de::Error::custom("too many values"))?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Count(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Count(self.0))?;
        }
        Ok(())
    }
}

/// Reads so many requests; none where there are more, of which nothing is kept.
pub(super) struct AtMost(pub(super) usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Option<Vec<Sent<'de>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Option<Vec<Sent<'de>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while all.len() < self.0 {
            match seq.next_element()? {
                Some(sent) => all.push(sent),
                None => return Ok(Some(all)),
            }
        }
        let over = seq.next_element::<IgnoredAny>()?.is_some();
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((!over).then_some(all))
    }
}

impl Sent<'_> {
    pub(super) fn asked(self, wrong: &'static str) -> Result<Asked, Refusal> {
        let variables =
            self.variables.map_or_else(|| Ok(Variables::default()), |sent| variables(sent, wrong))?;
        let hash = self.extensions.and_then(SentExtensions::reference);
        let id = || self.document_id.and_then(Id::text).or_else(|| self.id.and_then(Id::text));
        let reference = hash.or_else(|| id().map(Reference::Id));
        Ok(Asked { query: self.query, operation_name: self.operation_name, variables, reference })
    }
}

/// Variables of a bounded number of values.
pub(super) fn variables(sent: &RawValue, wrong: &'static str) -> Result<Variables, Refusal> {
    let mut left = MOST_VALUES;
    let counted = Count(&mut left).deserialize(&mut serde_json::Deserializer::from_str(sent.get()));
    if counted.is_err() && left == 0 {
        return Err(Refusal::bad_input(format!("The variables hold more than {MOST_VALUES} values.")));
    }
    serde_json::from_str(sent.get()).map_err(|_| Refusal::bad_input(wrong))
}
