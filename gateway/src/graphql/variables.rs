//! Where a document uses its variables, and whether each is of a type that its places take (GraphQL, section 5.8.5):
//! async-graphql has that rule and does not apply it.
//!
//! Not here: what is sent for a variable.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
};

use async_graphql::{
    Name, Positioned, ServerError, Value,
    parser::types::{
        BaseType, Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection,
        SelectionSet, Type, VariableDefinition,
    },
};

use super::{
    document::invalid,
    lenient::{Expected, Shapes, base, operations},
};

/// Where variables are used: what is expected there, by variable.
pub(super) struct Uses<'a> {
    shapes: &'a Shapes,
    document: &'a ExecutableDocument,
    found: HashMap<Name, Vec<Expected>>,
    seen: HashSet<&'a Name>,
}

/// Whether all variables may stand where they do.
pub(super) fn check(shapes: &Shapes, document: &ExecutableDocument) -> Result<(), ServerError> {
    operations(document).try_for_each(|operation| {
        let mut uses = Uses::none(shapes, document);
        uses.operation(operation);
        operation.variable_definitions.iter().try_for_each(|definition| uses.check(definition))
    })
}

/// The type that an operation asks.
pub(super) fn root(ty: OperationType) -> &'static str {
    match ty {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

impl<'a> Uses<'a> {
    fn none(shapes: &'a Shapes, document: &'a ExecutableDocument) -> Self {
        Uses { shapes, document, found: HashMap::new(), seen: HashSet::new() }
    }

    /// Over all operations of a document.
    pub(super) fn of(shapes: &'a Shapes, document: &'a ExecutableDocument) -> Self {
        let mut uses = Uses::none(shapes, document);
        operations(document).for_each(|operation| uses.operation(operation));
        uses
    }

    /// The variables that are used as an `ID` and as nothing else.
    pub(super) fn only_ids(self) -> HashSet<Name> {
        let only_id = |all: &[Expected]| all.iter().all(|expected| base(&expected.ty) == "ID");
        self.found.into_iter().filter(|(_, all)| only_id(all)).map(|(name, _)| name).collect()
    }

    fn check(&self, definition: &Positioned<VariableDefinition>) -> Result<(), ServerError> {
        let VariableDefinition { name, var_type, .. } = &definition.node;
        let mut places = self.found.get(&name.node).into_iter().flatten();
        let Some(wrong) = places.find(|expected| !expected.takes(&definition.node)) else { return Ok(()) };
        let (name, declared, needed) = (&name.node, &var_type.node, &wrong.ty);
        let mut error =
            invalid(format!("The variable `${name}` is of type `{declared}`, where `{needed}` is needed."));
        error.locations = vec![definition.pos];
        Err(error)
    }

    fn operation(&mut self, operation: &'a OperationDefinition) {
        self.set(&operation.selection_set.node, root(operation.ty));
    }

    fn set(&mut self, set: &'a SelectionSet, ty: &str) {
        for item in &set.items {
            item.node.directives().iter().for_each(|directive| self.directive(&directive.node));
            match &item.node {
                Selection::Field(field) => self.field(&field.node, ty),
                Selection::InlineFragment(inline) => {
                    let on = inline.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                    self.set(&inline.node.selection_set.node, on.unwrap_or(ty));
                }
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
            }
        }
    }

    fn fragment(&mut self, name: &'a Name) {
        let Some(fragment) = self.document.fragments.get(name) else { return };
        if self.seen.insert(name) {
            self.set(&fragment.node.selection_set.node, &fragment.node.type_condition.node.on.node);
        }
    }

    fn directive(&mut self, directive: &Directive) {
        if !matches!(directive.name.node.as_str(), "skip" | "include") {
            return;
        }
        if let Some(condition) = directive.get_argument("if") {
            let Ok(marked) = condition.node.clone().into_const_with(|name| marker(&name));
            self.value(&marked, &Expected::condition());
        }
    }

    fn field(&mut self, field: &'a Field, ty: &str) {
        let Some(shape) = self.shapes.field(ty, &field.name.node) else { return };
        for (name, value) in &field.arguments {
            let Some(expected) = shape.arguments.get(&*name.node) else { continue };
            let Ok(marked) = value.node.clone().into_const_with(|name| marker(&name));
            self.value(&marked, expected);
        }
        self.set(&field.selection_set.node, &shape.ty);
    }

    fn value(&mut self, value: &Value, expected: &Expected) {
        match value {
            Value::Enum(name) => {
                let Some(variable) = name.strip_prefix('$') else { return };
                self.found.entry(Name::new(variable)).or_default().push(expected.clone());
            }
            Value::List(items) => {
                let item = expected.item();
                items.iter().for_each(|value| self.value(value, &item));
            }
            Value::Object(fields) => {
                let Some(inputs) = self.shapes.input(base(&expected.ty)) else { return };
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

impl Expected {
    fn condition() -> Self {
        let ty = Type { base: BaseType::Named(Name::new("Boolean")), nullable: false };
        Expected { ty, defaulted: false }
    }

    /// What an item must be, if this is a list.
    fn item(&self) -> Expected {
        let ty = match &self.ty.base {
            BaseType::List(item) => (**item).clone(),
            BaseType::Named(_) => self.ty.clone(),
        };
        Expected { ty, defaulted: false }
    }

    fn takes(&self, variable: &VariableDefinition) -> bool {
        let declared = &variable.var_type.node;
        let default = variable.default_value.as_ref().is_some_and(|value| value.node != Value::Null);
        let null = declared.nullable && !self.ty.nullable;
        (!null || default || self.defaulted) && compatible(&declared.base, &self.ty.base)
    }
}

fn compatible(declared: &BaseType, needed: &BaseType) -> bool {
    match (declared, needed) {
        // Documents of old have ids that are numbers.
        (BaseType::Named(declared), BaseType::Named(needed)) => {
            declared == needed || declared == "Int" && needed == "ID"
        }
        (BaseType::List(declared), BaseType::List(needed)) => {
            (!declared.nullable || needed.nullable) && compatible(&declared.base, &needed.base)
        }
        _ => false,
    }
}

/// A variable as a value of its own: no enum value begins with `$`.
fn marker(variable: &Name) -> Result<Value, Infallible> {
    Ok(Value::Enum(Name::new(format!("${variable}"))))
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, parse_schema};

    use super::*;

    const SCHEMA: &str = "
        type Query { order(id: ID!): Order page(size: Int! = 5, ids: [ID!], zip: String): Order }
        type Mutation { cancel(input: Cancel!): Order }
        type Order { part(id: ID, count: Int): Order }
        input Cancel { id: ID! lines: [Line!] }
        input Line { item: ID! quantity: Int! }";

    fn verdict(query: &str) -> Result<(), String> {
        let shapes = Shapes::of(parse_schema(SCHEMA).unwrap());
        check(&shapes, &parse_query(query).unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn a_variable_stands_where_its_type_is_taken() {
        for fine in [
            "query($i: ID!) { order(id: $i) { part } }",
            "query($i: Int!) { order(id: $i) { part(count: $i) { part } } }",
            "query($i: ID = 5) { order(id: $i) { part } }",
            "query($i: Int = 5) { order(id: $i) { part } }",
            "query($n: Int) { page(size: $n) { part } }",
            "query($i: [Int!]!) { page(ids: $i) { part } }",
            "query($b: Boolean = true) { page @include(if: $b) { part } }",
            "mutation($i: ID!, $q: Int!) { cancel(input: {id: $i, lines: [{item: $i, quantity: $q}]}) { part } }",
            "mutation($c: Cancel!) { cancel(input: $c) { part } }",
        ] {
            assert_eq!(verdict(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn elsewhere_it_is_refused() {
        for wrong in [
            "query($i: String!) { order(id: $i) { part } }",
            "query($i: ID) { order(id: $i) { part } }",
            "query($i: Int = null) { order(id: $i) { part } }",
            "query($i: [ID!]!) { order(id: $i) { part } }",
            "query($i: ID!) { page(ids: $i) { part } }",
            "query($i: [ID]) { page(ids: $i) { part } }",
            "query($i: ID) { page(ids: [$i]) { part } }",
            "query($z: Int) { page(zip: $z) { part } }",
            "query($b: Boolean) { page @include(if: $b) { part } }",
            "query($b: String!) { ...F @skip(if: $b) } fragment F on Query { page { part } }",
            "query($i: String!) { ...F } fragment F on Query { ...G } fragment G on Query { order(id: $i) { part } }",
            "query A { page { part } } query B($i: ID) { ... { order(id: $i) { part } } }",
            "mutation($i: String!) { cancel(input: {id: $i}) { part } }",
            "mutation($q: Int) { cancel(input: {id: 1, lines: {item: 1, quantity: $q}}) { part } }",
            "mutation($c: Line!) { cancel(input: $c) { part } }",
        ] {
            assert!(verdict(wrong).is_err(), "{wrong}");
        }
        let told = verdict("query($i: String!) { order(id: $i) { part } }").unwrap_err();
        assert_eq!(told, "The variable `$i` is of type `String!`, where `ID!` is needed.");
    }
}
