//! For how long the answer to an operation may be kept: as long as the shortest-lived thing in it.
//!
//! What a route says nothing of may not be kept, so every field of the operation itself and every field that has fields of its
//! own needs an entry, `Type.field` or the `Type` that it leads to. Other fields live as long as what they are in, unless they
//! have an entry. Not here: what a client is told (`render.rs`).

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, Field, OperationType, Selection, SelectionSet};
use indexmap::IndexMap;

use super::lenient::{Shapes, operations};
use crate::{
    mistake::{Mistake, Mistakes, below},
    units::Span,
};

/// Seconds by `Type` and by `Type.field`.
#[derive(Default)]
pub(super) struct Ages(HashMap<String, u32>);

/// Longer than any answer has to be kept (RFC 9111, section 1.2.2).
const FOREVER: u32 = i32::MAX as u32;

impl Ages {
    /// What was typed, of which each must be in the schema.
    pub(super) fn new(typed: &IndexMap<String, Span>, shapes: &Shapes, mistakes: &mut Mistakes) -> Self {
        for name in typed.keys() {
            let known = match name.split_once('.') {
                Some((ty, field)) => shapes.field(ty, field).is_some(),
                None => shapes.has(name),
            };
            if !known {
                let at = format!("{}:", below("graphql.max_age", name));
                let mistake = Mistake::new(at, format!("the schema has no `{name}`"));
                let mistake = mistake.expected("TYPE or TYPE.FIELD, of types with fields");
                mistakes.add(match shapes.nearest(name) {
                    Some(near) => mistake.help(format!("did you mean `{near}`?")),
                    None => mistake,
                });
            }
        }
        let seconds = |age: &Span| u32::try_from(age.0.as_secs()).unwrap_or(FOREVER).min(FOREVER);
        Ages(typed.iter().map(|(name, age)| (name.clone(), seconds(age))).collect())
    }

    /// For how many seconds the answer to each operation may be kept, in their order; empty where nothing is ever kept.
    ///
    /// The document is within the limits, so its fragments spread out are not large.
    pub(super) fn of(&self, shapes: &Shapes, document: &ExecutableDocument) -> Vec<Option<u32>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let walk = Walk { ages: self, shapes, document };
        let age = |(ty, set)| match ty {
            OperationType::Query => walk.set(set, "Query", true),
            _ => None,
        };
        operations(document).map(|one| age((one.ty, &one.selection_set.node))).collect()
    }
}

struct Walk<'a> {
    ages: &'a Ages,
    shapes: &'a Shapes,
    document: &'a ExecutableDocument,
}

impl Walk<'_> {
    fn set(&self, set: &SelectionSet, ty: &str, root: bool) -> Option<u32> {
        set.items.iter().try_fold(FOREVER, |age, item| Some(age.min(self.item(&item.node, ty, root)?)))
    }

    fn item(&self, item: &Selection, ty: &str, root: bool) -> Option<u32> {
        match item {
            Selection::Field(field) => self.field(&field.node, ty, root),
            Selection::InlineFragment(inline) => {
                let on = inline.node.type_condition.as_ref().map_or(ty, |on| on.node.on.node.as_str());
                self.set(&inline.node.selection_set.node, on, root)
            }
            Selection::FragmentSpread(spread) => {
                let fragment = &self.document.fragments.get(&spread.node.fragment_name.node)?.node;
                self.set(&fragment.selection_set.node, &fragment.type_condition.node.on.node, root)
            }
        }
    }

    fn field(&self, field: &Field, ty: &str, root: bool) -> Option<u32> {
        let (name, below) = (field.name.node.as_str(), &field.selection_set.node);
        if name == "__typename" {
            return Some(FOREVER);
        }
        let to = &self.shapes.field(ty, name)?.ty;
        let own = self.ages.0.get(&format!("{ty}.{name}")).or_else(|| self.ages.0.get(to.as_str())).copied();
        match (own, below.items.is_empty()) {
            (own, true) if !root => Some(own.unwrap_or(FOREVER)),
            (own, true) => own,
            (own, false) => Some(own?.min(self.set(below, to, false)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};

    use super::*;

    const SCHEMA: &str = "
        type Query { restaurant(id: ID): Restaurant order: Order node: Node version: String }
        type Mutation { cancel: Restaurant }
        interface Node { id: ID }
        type Restaurant implements Node { id: ID name: String menu: [Item!] rating: Int }
        type Item { name: String }
        type Order implements Node { id: ID }";

    fn age(query: &str) -> Option<u32> {
        let shapes = Shapes::of(parse_schema(SCHEMA).unwrap());
        let typed =
            [("Restaurant", 60), ("Restaurant.menu", 30), ("Restaurant.rating", 5), ("Query.node", 7)];
        let typed = typed.into_iter().map(|(name, secs)| (name.to_owned(), Span::secs(secs))).collect();
        let mut mistakes = Mistakes::default();
        let ages = Ages::new(&typed, &shapes, &mut mistakes);
        assert!(mistakes.is_empty());
        ages.of(&shapes, &parse_query(query).unwrap())[0]
    }

    #[test]
    fn the_shortest_lived_field_counts() {
        assert_eq!(age("{ restaurant { name __typename } }"), Some(60));
        assert_eq!(age("{ restaurant { name menu { name } } }"), Some(30));
        assert_eq!(
            age("{ restaurant { ...F } } fragment F on Restaurant { ... { rating } menu { name } }"),
            Some(5)
        );
        assert_eq!(age("{ a: restaurant { name } b: restaurant { rating } }"), Some(5));
        assert_eq!(age("{ node { id ... on Restaurant { menu { name } } } }"), Some(7));
    }

    #[test]
    fn what_nothing_is_said_of_is_not_kept() {
        for query in [
            "{ order { id } }",
            "{ restaurant { name } order { id } }",
            "{ restaurant { name } version }",
            "{ restaurant { name } __schema { types { name } } }",
            "{ restaurant { unknown } }",
            "{ ...Unknown }",
            "mutation { cancel { name } }",
        ] {
            assert_eq!(age(query), None, "{query}");
        }
    }

    #[test]
    fn what_the_schema_does_not_have_is_a_mistake() {
        let shapes = Shapes::of(parse_schema(SCHEMA).unwrap());
        let typed =
            ["Restaurant.nome", "Restarant", "Query.restaurant"].map(|name| (name.to_owned(), Span::secs(1)));
        let mut mistakes = Mistakes::default();
        Ages::new(&typed.into_iter().collect(), &shapes, &mut mistakes);
        let told: Vec<_> = mistakes.0.iter().map(|wrong| wrong.message.as_str()).collect();
        assert_eq!(told, ["the schema has no `Restaurant.nome`", "the schema has no `Restarant`"]);
        let meant: Vec<_> = mistakes.0.iter().map(|wrong| wrong.help.as_deref().unwrap()).collect();
        assert_eq!(meant, ["did you mean `Restaurant.name`?", "did you mean `Restaurant`?"]);
    }
}
