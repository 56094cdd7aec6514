//! When validation would say nothing new. A document that was found valid once is valid: the schema does not change below it,
//! and of all rules only that on the values of arguments (GraphQL, section 5.6.1) looks at what is sent for the variables. A
//! proven document needs no other look than one at those, and where a glance does not do, validation is asked again.
//!
//! Not here: limits that depend on variables, which are checked for proven documents, too.

use std::convert::Infallible;

use async_graphql::{
    Positioned, Value, Variables,
    parser::types::{
        BaseType, Directive, ExecutableDocument, Field, Selection, SelectionSet, VariableDefinition,
    },
};

/// Whether what is said about the document once holds for it with other variables. Validation passes an argument over that has a
/// variable inside a list or an object for which nothing was sent, so what else is in it may not have been looked at.
pub(super) fn provable(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|(_, operation)| &operation.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node);
    operations.into_iter().all(|one| directives(&one.directives) && set(&one.selection_set.node))
        && fragments.into_iter().all(|one| directives(&one.directives) && set(&one.selection_set.node))
}

fn set(set: &SelectionSet) -> bool {
    set.items.iter().all(|item| {
        directives(item.node.directives())
            && match &item.node {
                Selection::Field(field) => is_field_provable(&field.node),
                Selection::InlineFragment(inline) => self::set(&inline.node.selection_set.node),
                Selection::FragmentSpread(_) => true,
            }
    })
}

fn is_field_provable(field: &Field) -> bool {
    let mut arguments = field.arguments.iter();
    arguments.all(|(_, value)| !is_mixed(|marker| value.node.clone().into_const_with(marker)))
        && set(&field.selection_set.node)
}

fn directives(all: &[Positioned<Directive>]) -> bool {
    let mut arguments = all.iter().flat_map(|directive| &directive.node.arguments);
    arguments.all(|(_, value)| !is_mixed(|marker| value.node.clone().into_const_with(marker)))
}

/// Whether a value is no variable, but has one in it.
fn is_mixed(
    read: impl FnOnce(
        &mut dyn FnMut(async_graphql::Name) -> Result<Value, Infallible>,
    ) -> Result<Value, Infallible>,
) -> bool {
    let mut variable = false;
    let Ok(value) = read(&mut |_| {
        variable = true;
        Ok(Value::Null)
    });
    variable && matches!(value, Value::List(_) | Value::Object(_))
}

/// Whether all that is sent for these variables is of their types at the first glance. That each variable may stand where it does
/// is known (`variables.rs`); what is of its type is then of the argument's.
pub(super) fn plain(declared: &[Positioned<VariableDefinition>], sent: &Variables) -> bool {
    declared.iter().all(|declared| {
        let VariableDefinition { name, var_type, .. } = &declared.node;
        sent.get(&name.node).is_none_or(|value| is_plain(&var_type.node.base, value))
    })
}

/// Null, enums, input objects and the schema's own scalars are left to validation.
fn is_plain(ty: &BaseType, value: &Value) -> bool {
    match (ty, value) {
        (BaseType::List(item), Value::List(items)) => items.iter().all(|value| is_plain(&item.base, value)),
        (BaseType::Named(name), Value::String(_)) => matches!(name.as_str(), "ID" | "String"),
        (BaseType::Named(name), Value::Number(number)) => {
            matches!(name.as_str(), "ID" | "Int") && number.is_i64()
        }
        (BaseType::Named(name), Value::Boolean(_)) => name == "Boolean",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_variable_inside_a_value_leaves_what_is_beside_it_unproven() {
        for fine in [
            "query($a: ID!) { x(a: $a) @skip(if: $b) { y(b: [1, {c: 2}]) } }",
            "{ ...F } fragment F on T { x(a: $a) }",
        ] {
            assert!(provable(&parse_query(fine).unwrap()), "{fine}");
        }
        for mixed in [
            "query($a: ID!) { x(a: [$a]) }",
            "{ ... { z { x(a: 1, b: {c: [$a]}) } } }",
            "{ ...F } fragment F on T { x(a: {b: $a}) }",
            "{ x @skip(if: [$a]) }",
        ] {
            assert!(!provable(&parse_query(mixed).unwrap()), "{mixed}");
        }
    }

    #[test]
    fn what_is_sent_is_plain_where_its_type_is_seen_at_a_glance() {
        let is_plain = |ty: &str, value: serde_json::Value| {
            let document = parse_query(format!("query($v: {ty}) {{ a }}")).unwrap();
            let (_, operation) = document.operations.iter().next().unwrap();
            plain(&operation.node.variable_definitions, &Variables::from_json(json!({ "v": value })))
        };
        for (ty, value) in [
            ("ID!", json!("7")),
            ("ID", json!(7)),
            ("Int!", json!(-7)),
            ("String", json!("")),
            ("Boolean!", json!(true)),
            ("[ID!]!", json!(["7", 8])),
            ("[[Int]]", json!([[1], []])),
        ] {
            assert!(is_plain(ty, value.clone()), "{ty} {value}");
        }
        for (ty, value) in [
            ("ID!", json!(null)),
            ("ID", json!(null)),
            ("ID", json!(7.5)),
            ("ID", json!(u64::MAX)),
            ("ID", json!(true)),
            ("ID", json!(["7"])),
            ("Int", json!("7")),
            ("String", json!(7)),
            ("Boolean", json!("true")),
            ("[ID!]", json!("7")),
            ("[ID]", json!(["7", null])),
            ("[ID!]", json!([["7"]])),
            ("OrderState", json!("APPROVED")),
            ("LocalDateTime", json!("2026-11-21T18:30:00")),
            ("Filter", json!({})),
        ] {
            assert!(!is_plain(ty, value.clone()), "{ty} {value}");
        }
    }
}
