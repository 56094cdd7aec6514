//! Which fields of a schema ask a service once for each item of a list, whatever document it is: those whose `@loads` says
//! that a call is for one key, where a list is above them. The number is that of the loader, [`Source::MOST`](super::Source::MOST).
//!
//! Not here: what an operation costs (`price.rs`).

#![allow(missing_docs, reason = "the macro leaves the type that it makes without any")]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use async_graphql::{
    Name, TypeDirective,
    parser::{
        parse_schema,
        types::{OperationType, ServiceDocument, TypeKind, TypeSystemDefinition},
    },
};

use super::{lists::Lists, variables::root};

/// That a field asks a service, and for so many keys by one call at most.
#[TypeDirective(name = "loads", location = "FieldDefinition")]
pub fn loads(keys: i32) {}

/// A line for each field that asks once for each item, of a schema that is written down as `sdl`.
///
/// # Errors
/// Why it cannot be read, and where.
pub fn one_by_one(sdl: &str) -> Result<Vec<String>, String> {
    let schema = parse_schema(sdl).map_err(|wrong| format!("the schema cannot be read: {wrong}"))?;
    let (lists, members) = (Lists::of(&schema), members(&schema));
    let mut found = BTreeMap::new();
    let mut seen = HashSet::new();
    let roots = [OperationType::Query, OperationType::Mutation, OperationType::Subscription];
    // The shortest way comes first: each type once without a list above it, and once with one, which is told.
    let mut next: VecDeque<(Name, Option<String>)> =
        roots.into_iter().map(|kind| (Name::new(root(kind)), None)).collect();
    while let Some((ty, above)) = next.pop_front() {
        if !seen.insert((ty.clone(), above.is_some())) {
            continue;
        }
        for (field, rule) in lists.fields(&ty) {
            let here = format!("{ty}.{field}");
            if let Some(list) = above.as_ref().filter(|_| rule.keys == Some(1)) {
                let line = format!("{here} asks a service once for each item of {list}");
                found.entry(here.clone()).or_insert(line);
            }
            let above = above.clone().or_else(|| (rule.levels > 0).then_some(here));
            let objects = members.get(&rule.ty).into_iter().flatten();
            next.extend(std::iter::once(&rule.ty).chain(objects).map(|ty| (ty.clone(), above.clone())));
        }
    }
    Ok(found.into_values().collect())
}

/// The objects behind each interface and union.
fn members(schema: &ServiceDocument) -> HashMap<Name, Vec<Name>> {
    let mut members = HashMap::<Name, Vec<Name>>::new();
    for definition in &schema.definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let name = &ty.node.name.node;
        match &ty.node.kind {
            TypeKind::Object(object) => {
                for interface in &object.implements {
                    members.entry(interface.node.clone()).or_default().push(name.clone());
                }
            }
            TypeKind::Union(union) => {
                members.insert(name.clone(), union.members.iter().map(|one| one.node.clone()).collect());
            }
            _ => {}
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_loads_by_one_key_is_told_once_where_a_list_is_above_it() {
        let sdl = "
            type Query { one: Thing many: [Thing] page: Page node: Node any: Any }
            type Page { edges: [Edge] }
            type Edge { item: Item }
            interface Node { id: ID }
            union Any = Box | Thing
            type Box implements Node { id: ID @loads(keys: 1) inside: [Node] }
            type Thing { single: Item @loads(keys: 1) bulk: Item @loads(keys: 100) plain: Item }
            type Item { deep: String @loads(keys: 1) }";
        assert_eq!(
            one_by_one(sdl).unwrap(),
            [
                "Box.id asks a service once for each item of Box.inside",
                "Item.deep asks a service once for each item of Query.many",
                "Thing.single asks a service once for each item of Query.many",
            ]
        );
        assert!(
            one_by_one("type Query { one: Thing } type Thing { x: Int @loads(keys: 1) }").unwrap().is_empty()
        );
        assert!(one_by_one("type {").is_err());
    }
}
