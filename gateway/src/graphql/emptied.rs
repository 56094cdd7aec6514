//! Selections of which `@skip` and `@include` leave nothing: an object of no fields is still an object (GraphQL, section
//! 6.3), but async-graphql answers null for it. What is left empty is given a field that asks nothing of anybody, which
//! `arrange.rs` takes out again.
//!
//! Not here: the leaving out itself, and fragments that do not apply, which are async-graphql's.

use std::collections::HashSet;

use async_graphql::{
    Name, Pos, Positioned, Value, Variables,
    parser::types::{Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet},
};

use super::document::operation_mut;

/// The response key of the field that is added: no name of a client's can be this.
pub(super) const KEPT: &str = "-";

/// Whether anything in the document is left out by condition.
pub(super) fn conditional(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    operations.chain(fragments).any(has_condition)
}

fn has_condition(set: &SelectionSet) -> bool {
    set.items.iter().any(|item| {
        let below = match &item.node {
            Selection::Field(field) => has_condition(&field.node.selection_set.node),
            Selection::InlineFragment(inline) => has_condition(&inline.node.selection_set.node),
            Selection::FragmentSpread(_) => false,
        };
        below || item.node.directives().iter().any(|directive| skips_if(&directive.node).is_some())
    })
}

/// Keeps the objects of the operation that is executed. The defaults of its conditions are put among `variables`, since
/// async-graphql leaves out by those alone.
pub(super) fn keep(document: &mut ExecutableDocument, name: Option<&str>, variables: &mut Variables) {
    let Some(operation) = operation_mut(&mut document.operations, name) else { return };
    default_conditions(operation, variables);
    let mut left = Left { variables, fragments: HashSet::new() };
    let fragments = &document.fragments;
    while fragments.iter().any(|(name, fragment)| {
        !left.fragments.contains(name)
            && left.nothing(&fragment.node.selection_set.node)
            && left.fragments.insert(name.clone())
    }) {}
    left.keep(&mut operation.selection_set.node);
    for fragment in document.fragments.values_mut() {
        left.keep_below(&mut fragment.node.selection_set.node);
    }
}

fn default_conditions(operation: &OperationDefinition, variables: &mut Variables) {
    for definition in &operation.variable_definitions {
        let default = definition.node.default_value.as_ref().map(|default| &default.node);
        if let Some(Value::Boolean(said)) = default {
            variables.entry(definition.node.name.node.clone()).or_insert(Value::Boolean(*said));
        }
    }
}

/// What conditions leave.
struct Left<'a> {
    variables: &'a Variables,
    /// The fragments of which nothing is left.
    fragments: HashSet<Name>,
}

impl Left<'_> {
    fn nothing(&self, set: &SelectionSet) -> bool {
        set.items.iter().all(|item| {
            let below = match &item.node {
                Selection::Field(_) => false,
                Selection::InlineFragment(inline) => self.nothing(&inline.node.selection_set.node),
                Selection::FragmentSpread(spread) => self.fragments.contains(&spread.node.fragment_name.node),
            };
            below || item.node.directives().iter().any(|directive| self.skips(&directive.node))
        })
    }

    fn skips(&self, directive: &Directive) -> bool {
        let Some(skips_if) = skips_if(directive) else { return false };
        let said = directive.get_argument("if").map(|said| said.node.clone());
        let value = said
            .and_then(|said| said.into_const_with(|name| self.variables.get(&name).cloned().ok_or(())).ok());
        value == Some(Value::Boolean(skips_if))
    }

    fn keep(&self, set: &mut SelectionSet) {
        self.keep_below(set);
        if self.nothing(set) {
            set.items.push(Positioned::new(Selection::Field(kept()), Pos::default()));
        }
    }

    fn keep_below(&self, set: &mut SelectionSet) {
        for item in &mut set.items {
            match &mut item.node {
                // What has no selection is no object.
                Selection::Field(field) if field.node.selection_set.node.items.is_empty() => {}
                Selection::Field(field) => self.keep(&mut field.node.selection_set.node),
                Selection::InlineFragment(inline) => self.keep_below(&mut inline.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }
}

/// Of `@skip` and `@include`: which value of `if` leaves out.
fn skips_if(directive: &Directive) -> Option<bool> {
    match directive.name.node.as_str() {
        "skip" => Some(true),
        "include" => Some(false),
        _ => None,
    }
}

fn kept() -> Positioned<Field> {
    let at = |name| Positioned::new(Name::new(name), Pos::default());
    let field = Field {
        alias: Some(at(KEPT)),
        name: at("__typename"),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    };
    Positioned::new(field, Pos::default())
}

#[cfg(test)]
mod tests {
    use async_graphql::{EmptyMutation, EmptySubscription, Object, Request, Schema, parser::parse_query};
    use serde_json::json;

    use super::*;
    use crate::graphql::arrange::Plan;

    struct Thing;

    #[Object]
    impl Thing {
        async fn id(&self) -> i32 {
            1
        }

        async fn none(&self) -> Option<Thing> {
            None
        }

        async fn one(&self) -> Option<Thing> {
            Some(Thing)
        }

        async fn two(&self) -> Vec<Thing> {
            vec![Thing, Thing]
        }
    }

    async fn answered(query: &str, variables: serde_json::Value) -> serde_json::Value {
        let mut document = parse_query(query).unwrap();
        assert!(conditional(&document), "{query}");
        let plan = Plan::of(&document, None);
        let mut variables = Variables::from_json(variables);
        keep(&mut document, None, &mut variables);
        let mut request = Request::new("").variables(variables);
        request.set_parsed_query(document);
        let mut executed = Schema::new(Thing, EmptyMutation, EmptySubscription).execute(request).await;
        plan.arrange(&mut executed.data);
        assert!(executed.errors.is_empty(), "{query}: {:?}", executed.errors);
        executed.data.into_json().unwrap()
    }

    #[tokio::test]
    async fn an_object_of_no_fields_is_an_object() {
        for (query, expected) in [
            ("{ one @skip(if: true) { id } }", json!({})),
            ("{ one { id @skip(if: true) } }", json!({"one": {}})),
            ("{ two { id @include(if: false) } }", json!({"two": [{}, {}]})),
            ("{ none { id @skip(if: true) } id }", json!({"none": null, "id": 1})),
            ("{ one { ... @skip(if: true) { id } } }", json!({"one": {}})),
            (
                "{ one { ... { id @skip(if: true) } ...F } } fragment F on Thing { ...G } fragment G on Thing { id @skip(if: true) }",
                json!({"one": {}}),
            ),
            ("{ one { id @skip(if: true) } one { id } }", json!({"one": {"id": 1}})),
            (
                "{ one { ...F } } fragment F on Thing { two { id @skip(if: true) } }",
                json!({"one": {"two": [{}, {}]}}),
            ),
            ("{ one { id @skip(if: false) } }", json!({"one": {"id": 1}})),
        ] {
            assert_eq!(answered(query, json!({})).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn conditions_are_variables_or_their_defaults() {
        let query = "query($s: Boolean = true) { one { id @skip(if: $s) } }";
        assert_eq!(answered(query, json!({})).await, json!({"one": {}}));
        assert_eq!(answered(query, json!({"s": false})).await, json!({"one": {"id": 1}}));
    }
}
