//! Variables that a client's document declares `Int` and uses as an `ID`: they are made an `ID` before validation, which
//! would refuse them. Documents written for a schema whose ids were numbers go on working, with ids of any size.
//!
//! Not here: literals, which GraphQL itself takes at an ID position, and what an id looks like.

use std::{collections::HashMap, convert::Infallible};

use async_graphql::{
    Name, Value,
    parser::types::{
        BaseType, DocumentOperations, ExecutableDocument, InputValueDefinition, OperationDefinition,
        OperationType, Selection, SelectionSet, ServiceDocument, Type, TypeKind, TypeSystemDefinition,
    },
};
use async_graphql::{Positioned, parser::types::FieldDefinition};

/// The names of the types behind arguments and input fields, lists and `!` left out.
type Inputs = HashMap<Name, Name>;

struct FieldShape {
    ty: Name,
    arguments: Inputs,
}

/// What the schema says about the types of things.
#[derive(Default)]
pub(super) struct Shapes {
    fields: HashMap<Name, HashMap<Name, FieldShape>>,
    inputs: HashMap<Name, Inputs>,
}

impl Shapes {
    pub(super) fn of(schema: ServiceDocument) -> Self {
        let mut shapes = Shapes::default();
        for definition in schema.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            match ty.node.kind {
                TypeKind::Object(object) => shapes.insert(ty.node.name.node, object.fields),
                TypeKind::Interface(interface) => shapes.insert(ty.node.name.node, interface.fields),
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
            (name.node, FieldShape { ty: base(&ty.node).clone(), arguments: inputs(arguments) })
        };
        self.fields.insert(ty, fields.into_iter().map(shape).collect());
    }

    /// Makes the `Int` variables that are used as nothing but an `ID` an `ID`.
    pub(super) fn loosen(&self, document: &mut ExecutableDocument) {
        if !operations(document).any(|operation| operation.variable_definitions.iter().any(declares_int)) {
            return;
        }
        let mut uses = Uses { shapes: self, only_id: HashMap::new() };
        uses.document(document);
        let only_id = uses.only_id;
        for operation in operations_mut(document) {
            for definition in &mut operation.variable_definitions {
                let id = only_id.get(definition.node.name.node.as_str()).copied().unwrap_or(false);
                let ty = base_mut(&mut definition.node.var_type.node);
                if id && ty.as_str() == "Int" {
                    *ty = Name::new("ID");
                }
            }
        }
    }
}

fn inputs(fields: Vec<Positioned<InputValueDefinition>>) -> Inputs {
    fields.into_iter().map(|field| (field.node.name.node, base(&field.node.ty.node).clone())).collect()
}

fn base(ty: &Type) -> &Name {
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

fn declares_int(definition: &Positioned<async_graphql::parser::types::VariableDefinition>) -> bool {
    base(&definition.node.var_type.node).as_str() == "Int"
}

fn operations(document: &ExecutableDocument) -> impl Iterator<Item = &OperationDefinition> {
    document.operations.iter().map(|(_, operation)| &operation.node)
}

fn operations_mut(document: &mut ExecutableDocument) -> Vec<&mut OperationDefinition> {
    match &mut document.operations {
        DocumentOperations::Single(operation) => vec![&mut operation.node],
        DocumentOperations::Multiple(all) => all.values_mut().map(|operation| &mut operation.node).collect(),
    }
}

/// Which variables are used as ids only, over all operations of a document.
struct Uses<'a> {
    shapes: &'a Shapes,
    only_id: HashMap<String, bool>,
}

impl Uses<'_> {
    fn document(&mut self, document: &ExecutableDocument) {
        for operation in operations(document) {
            let root = match operation.ty {
                OperationType::Query => "Query",
                OperationType::Mutation => "Mutation",
                OperationType::Subscription => "Subscription",
            };
            self.set(&operation.selection_set.node, root);
        }
        for fragment in document.fragments.values() {
            let on = &fragment.node.type_condition.node.on.node;
            self.set(&fragment.node.selection_set.node, on);
        }
    }

    fn set(&mut self, set: &SelectionSet, ty: &str) {
        for item in &set.items {
            match &item.node {
                Selection::Field(field) => self.field(&field.node, ty),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    self.set(&inline.node.selection_set.node, on.unwrap_or(ty));
                }
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn field(&mut self, field: &async_graphql::parser::types::Field, ty: &str) {
        let shapes = self.shapes;
        let Some(shape) = shapes.fields.get(ty).and_then(|fields| fields.get(&*field.name.node)) else {
            return;
        };
        for (name, value) in &field.arguments {
            let Some(expected) = shape.arguments.get(&*name.node) else { continue };
            let marked = value.node.clone().into_const_with(|name| Ok::<_, Infallible>(marker(&name)));
            let Ok(marked) = marked;
            self.value(&marked, expected);
        }
        self.set(&field.selection_set.node, &shape.ty);
    }

    fn value(&mut self, value: &Value, expected: &str) {
        match value {
            Value::Enum(name) => {
                let Some(variable) = name.strip_prefix('$') else { return };
                let id = expected == "ID";
                self.only_id.entry(variable.to_owned()).and_modify(|only| *only &= id).or_insert(id);
            }
            Value::List(items) => items.iter().for_each(|item| self.value(item, expected)),
            Value::Object(fields) => {
                let Some(inputs) = self.shapes.inputs.get(expected) else { return };
                for (name, value) in fields {
                    if let Some(expected) = inputs.get(name) {
                        self.value(value, expected);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A variable as a value of its own: no enum value begins with `$`.
fn marker(variable: &Name) -> Value {
    Value::Enum(Name::new(format!("${variable}")))
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
