//! Fields of one response key must ask for the same thing (GraphQL, section 5.3.2): async-graphql looks at each selection set by
//! itself, and would answer two different things under one key where fragments or equal fields bring them together. It also
//! tells of every pair, of which a short document can have a hundred thousand; here the first one ends it.
//!
//! Fields are walked as execution merges them, each once for each place where it is spread: the limits bound that.
//! Not here: fields that the schema lacks, which are told of later.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, ServerError,
    indexmap::IndexMap,
    parser::types::{BaseType, ExecutableDocument, Field, Selection, SelectionSet, Type},
};

use super::{document::invalid, lenient::Shapes, variables::root};

/// A field, and the type that it is asked of; none is known where the schema has none.
type Asked<'a> = (Option<&'a str>, &'a Positioned<Field>);
/// A selection set, and the type that it is asked of.
type Set<'a> = (Option<&'a str>, &'a SelectionSet);
/// Fields by their response keys.
type Keys<'a> = IndexMap<&'a Name, Vec<Asked<'a>>>;

/// Whether all fields that are answered under one key ask for the same thing.
pub(super) fn check(shapes: &Shapes, document: &ExecutableDocument) -> Result<(), ServerError> {
    let walk = Walk { shapes, document };
    document.operations.iter().try_for_each(|(_, operation)| {
        let set = (Some(root(operation.node.ty)), &operation.node.selection_set.node);
        walk.merged(&[set])
    })
}

struct Walk<'a> {
    shapes: &'a Shapes,
    document: &'a ExecutableDocument,
}

impl<'a> Walk<'a> {
    fn merged(&self, sets: &[Set<'a>]) -> Result<(), ServerError> {
        let mut keys = Keys::new();
        sets.iter().for_each(|(ty, set)| self.collect(*ty, set, &mut keys));
        keys.iter().try_for_each(|(key, fields)| self.same(key, fields))
    }

    fn collect(&self, ty: Option<&'a str>, set: &'a SelectionSet, keys: &mut Keys<'a>) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => {
                    keys.entry(&field.node.response_key().node).or_default().push((ty, field));
                }
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    self.collect(on.or(ty), &inline.node.selection_set.node, keys);
                }
                Selection::FragmentSpread(spread) => {
                    let fragment = self.document.fragments.get(&spread.node.fragment_name.node);
                    if let Some(fragment) = fragment.map(|fragment| &fragment.node) {
                        let on = fragment.type_condition.node.on.node.as_str();
                        self.collect(Some(on), &fragment.selection_set.node, keys);
                    }
                }
            }
        }
    }

    /// Fields of two object types are never both answered, so those may differ, if not in what kind of value they have.
    fn same(&self, key: &Name, fields: &[Asked<'a>]) -> Result<(), ServerError> {
        let objects = fields.iter().all(|(ty, _)| ty.is_some_and(|ty| self.shapes.is_object(ty)));
        let mut by_type: HashMap<Option<&str>, Vec<Asked<'a>>> = HashMap::new();
        for field in fields {
            let group = by_type.entry(field.0.filter(|_| objects)).or_default();
            if let Some(wrong) = group.first().filter(|first| !equal(&first.1.node, &field.1.node)) {
                return Err(differ(key, wrong.1, field.1));
            }
            group.push(*field);
        }
        let mut types = fields.iter().filter_map(|field| Some((self.ty(field)?, field.1)));
        if let Some((first, at)) = types.next()
            && let Some((_, wrong)) = types.find(|(ty, _)| !self.alike(first, ty))
        {
            return Err(differ(key, at, wrong));
        }
        by_type.values().try_for_each(|group| self.below(group))
    }

    fn below(&self, group: &[Asked<'a>]) -> Result<(), ServerError> {
        let set = |field: &Asked<'a>| (self.returned(field), &field.1.node.selection_set.node);
        let sets: Vec<Set<'a>> = group.iter().map(set).filter(|(_, set)| !set.items.is_empty()).collect();
        if sets.is_empty() { Ok(()) } else { self.merged(&sets) }
    }

    fn ty(&self, (parent, field): &Asked<'a>) -> Option<&'a Type> {
        Some(&self.shapes.field((*parent)?, &field.node.name.node)?.whole)
    }

    fn returned(&self, (parent, field): &Asked<'a>) -> Option<&'a str> {
        Some(&self.shapes.field((*parent)?, &field.node.name.node)?.ty)
    }

    /// Whether a client can read both by the same code (`SameResponseShape`).
    fn alike(&self, one: &Type, other: &Type) -> bool {
        one.nullable == other.nullable
            && match (&one.base, &other.base) {
                (BaseType::List(one), BaseType::List(other)) => self.alike(one, other),
                (BaseType::Named(one), BaseType::Named(other)) => {
                    one == other || self.shapes.has(one) && self.shapes.has(other)
                }
                _ => false,
            }
    }
}

fn equal(one: &Field, other: &Field) -> bool {
    one.name.node == other.name.node
        && one.arguments.len() == other.arguments.len()
        && one
            .arguments
            .iter()
            .all(|(name, value)| other.get_argument(&name.node).is_some_and(|other| other.node == value.node))
}

fn differ(key: &Name, one: &Positioned<Field>, other: &Positioned<Field>) -> ServerError {
    let mut error = invalid(format!("Two fields that are answered as `{key}` ask for different things."));
    error.locations = vec![one.pos, other.pos];
    error
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};

    use super::*;

    const SCHEMA: &str = "interface Node { id: ID! } \
        type Query { node(id: ID!): Node dog(id: ID): Dog } \
        type Dog implements Node { id: ID! name: String age: Int owner: Cat } \
        type Cat implements Node { id: ID! name: String lives: Int! color: String owner(id: Int): Dog }";

    fn verdict(query: &str) -> Result<(), String> {
        let shapes = Shapes::of(parse_schema(SCHEMA).unwrap());
        check(&shapes, &parse_query(query).unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn the_same_thing_may_be_asked_for_twice() {
        for fine in [
            "{ dog { name name } dog { name age } }",
            "{ a: dog(id: 1) { name } ...F } fragment F on Query { a: dog(id: 1) { age } }",
            "query($i: ID) { dog(id: $i) { name } dog(id: $i) { age } }",
            "{ node(id: 1) { ... on Dog { x: name } ... on Cat { x: color } } }",
            "{ node(id: 1) { ... on Dog { owner { name } } ... on Cat { owner(id: 1) { name } } } }",
            "{ unknown { a } unknown { a } ...Nothing }",
        ] {
            assert_eq!(verdict(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn different_things_under_one_key_are_refused() {
        for wrong in [
            "{ dog { x: name x: age } }",
            "{ dog(id: 1) { name } dog(id: 2) { name } }",
            "{ dog(id: 1) { name } dog { name } }",
            "{ dog { name } ...F } fragment F on Query { dog(id: 1) { name } }",
            "{ dog { x: name } dog { x: age } }",
            "{ dog { owner { x: name } } ...F } fragment F on Query { dog { owner { ... { x: color } } } }",
            "{ node(id: 1) { x: id ... on Dog { x: name } } }",
            "{ node(id: 1) { ... on Dog { x: age } ... on Cat { x: lives } } }",
            "{ node(id: 1) { ... on Dog { x: age } ... on Cat { x: name } } }",
            "{ node(id: 1) { ... on Dog { x: name } ... on Cat { x: owner { name } } } }",
        ] {
            let told = verdict(wrong).expect_err(wrong);
            assert!(told.ends_with("ask for different things."), "{told}");
        }
    }
}
