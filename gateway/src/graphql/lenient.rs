//! Variables that a client's document declares `Int` and uses as an `ID`: they are made an `ID` before validation, which
//! would refuse them. Documents written for a schema whose ids were numbers go on working, with ids of any size.
//!
//! Not here: literals, which GraphQL itself takes at an ID position, and what an id looks like.

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned,
    parser::types::{
        BaseType, DocumentOperations, ExecutableDocument, FieldDefinition, InputValueDefinition,
        OperationDefinition, ServiceDocument, Type, TypeKind, TypeSystemDefinition, VariableDefinition,
    },
};

use super::variables::Uses;
use crate::mistake::nearest;

/// What arguments and input fields take.
pub(super) type Inputs = HashMap<Name, Expected>;

/// What stands at one place.
#[derive(Clone)]
pub(super) struct Expected {
    pub(super) ty: Type,
    /// Whether it has a default of its own.
    pub(super) defaulted: bool,
}

pub(super) struct FieldShape {
    /// The name behind lists and `!`.
    pub(super) ty: Name,
    pub(super) whole: Type,
    pub(super) arguments: Inputs,
}

/// What the schema says about the types of things.
#[derive(Default)]
pub(super) struct Shapes {
    fields: HashMap<Name, HashMap<Name, FieldShape>>,
    inputs: HashMap<Name, Inputs>,
    interfaces: HashSet<Name>,
}

impl Shapes {
    pub(super) fn of(schema: ServiceDocument) -> Self {
        let mut shapes = Shapes::default();
        for definition in schema.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            match ty.node.kind {
                TypeKind::Object(object) => shapes.insert(ty.node.name.node, object.fields),
                TypeKind::Interface(interface) => {
                    shapes.interfaces.insert(ty.node.name.node.clone());
                    shapes.insert(ty.node.name.node, interface.fields);
                }
                TypeKind::InputObject(input) => {
                    drop(shapes.inputs.insert(ty.node.name.node, inputs(input.fields)));
                }
                _ => {}
            }
        }
        shapes
    }

    fn insert(&mut self, ty: Name, fields: Vec<Positioned<FieldDefinition>>) {
        let shape = |field: Positioned<FieldDefinition>| {
            let FieldDefinition { name, arguments, ty, .. } = field.node;
            let (base, arguments) = (base(&ty.node).clone(), inputs(arguments));
            (name.node, FieldShape { ty: base, whole: ty.node, arguments })
        };
        self.fields.insert(ty, fields.into_iter().map(shape).collect());
    }

    pub(super) fn field(&self, ty: &str, name: &str) -> Option<&FieldShape> {
        self.fields.get(ty)?.get(name)
    }

    /// Whether there is such a type with fields.
    pub(super) fn has(&self, ty: &str) -> bool {
        self.fields.contains_key(ty)
    }

    /// What `name`, a type or one of its fields, may have been meant to be.
    pub(super) fn nearest(&self, name: &str) -> Option<String> {
        let Some((ty, field)) = name.split_once('.') else {
            return nearest(name, self.fields.keys().map(Name::as_str)).map(str::to_owned);
        };
        let Some(fields) = self.fields.get(ty) else { return Some(format!("{}.{field}", self.nearest(ty)?)) };
        Some(format!("{ty}.{}", nearest(field, fields.keys().map(Name::as_str))?))
    }

    /// Whether nothing of that type can be of another one as well.
    pub(super) fn is_object(&self, ty: &str) -> bool {
        self.has(ty) && !self.interfaces.contains(ty)
    }

    pub(super) fn input(&self, ty: &str) -> Option<&Inputs> {
        self.inputs.get(ty)
    }

    /// Makes the `Int` variables that are used as nothing but an `ID` an `ID`.
    pub(super) fn loosen(&self, document: &mut ExecutableDocument) {
        if !operations(document).any(|operation| operation.variable_definitions.iter().any(declares_int)) {
            return;
        }
        let ids = Uses::of(self, document).only_ids();
        for operation in operations_mut(document) {
            for definition in &mut operation.variable_definitions {
                let ty = base_mut(&mut definition.node.var_type.node);
                if ty.as_str() == "Int" && ids.contains(&definition.node.name.node) {
                    *ty = Name::new("ID");
                }
            }
        }
    }
}

fn inputs(fields: Vec<Positioned<InputValueDefinition>>) -> Inputs {
    let expected = |field: Positioned<InputValueDefinition>| {
        let InputValueDefinition { name, ty, default_value, .. } = field.node;
        (name.node, Expected { ty: ty.node, defaulted: default_value.is_some() })
    };
    fields.into_iter().map(expected).collect()
}

/// The name behind lists and `!`.
pub(super) fn base(ty: &Type) -> &Name {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => base(item),
    }
}

fn base_mut(ty: &mut Type) -> &mut Name {
    match &mut ty.base {
        BaseType::Named(name) => name,
        BaseType::List(item) => base_mut(item),
    }
}

fn declares_int(definition: &Positioned<VariableDefinition>) -> bool {
    base(&definition.node.var_type.node).as_str() == "Int"
}

pub(super) fn operations(document: &ExecutableDocument) -> impl Iterator<Item = &OperationDefinition> {
    document.operations.iter().map(|(_, operation)| &operation.node)
}

fn operations_mut(document: &mut ExecutableDocument) -> Vec<&mut OperationDefinition> {
    match &mut document.operations {
        DocumentOperations::Single(operation) => vec![&mut operation.node],
        DocumentOperations::Multiple(all) => all.values_mut().map(|operation| &mut operation.node).collect(),
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};

    use super::*;

    const SCHEMA: &str = "
        type Query { order(id: ID!): Order page(size: Int, ids: [ID!]): Order }
        type Mutation { cancel(input: Cancel!): Order }
        type Order { part(id: ID, count: Int): Order }
        input Cancel { id: ID! lines: [Line!] }
        input Line { item: ID! quantity: Int! }";

    /// The types of the only operation's variables.
    fn types(query: &str) -> Vec<String> {
        let mut document = parse_query(query).unwrap();
        Shapes::of(parse_schema(SCHEMA).unwrap()).loosen(&mut document);
        let operation = operations(&document).next().unwrap();
        operation
            .variable_definitions
            .iter()
            .map(|variable| variable.node.var_type.node.to_string())
            .collect()
    }

    #[test]
    fn an_int_that_is_used_as_an_id_becomes_one() {
        assert_eq!(types("query($id: Int!) { order(id: $id) { part { part } } }"), ["ID!"]);
        assert_eq!(
            types(
                "query($id: Int = 5) { order(id: 1) { ...F } } fragment F on Order { ... { part(id: $id) { part } } }"
            ),
            ["ID"]
        );
        assert_eq!(
            types("query($a: [Int!]!, $b: Int!) { page(size: $b, ids: $a) { part } }"),
            ["[ID!]!", "Int!"]
        );
        assert_eq!(
            types(
                "mutation($id: Int!, $i: Int!, $q: Int!) { cancel(input: {id: $id, lines: [{item: $i, quantity: $q}]}) { part } }"
            ),
            ["ID!", "ID!", "Int!"]
        );
    }

    #[test]
    fn whatever_is_also_used_as_a_number_stays_one() {
        assert_eq!(types("query($n: Int!) { order(id: $n) { part(count: $n) { part } } }"), ["Int!"]);
        assert_eq!(types("query($n: Int!) { unknown(id: $n) }"), ["Int!"]);
        assert_eq!(types("query($s: String!) { order(id: $s) { part } }"), ["String!"]);
    }
}
