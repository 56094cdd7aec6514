//! What a new version of a schema breaks for clients that were written for an older one.
//!
//! What may be added stays unsaid: types, nullable arguments, values of enums, which clients must bear. Not here: whether a client
//! uses what is gone; the trusted documents are checked with every configuration (`trusted.rs`).

use std::collections::BTreeMap;

use async_graphql::{
    Positioned,
    parser::{
        parse_schema,
        types::{BaseType, FieldDefinition, InputValueDefinition, Type, TypeKind, TypeSystemDefinition},
    },
};

type Types = BTreeMap<String, TypeKind>;

/// One line for each way in which a client of the schema `before` may fail on `after`, both as SDL.
///
/// # Errors
/// Which of the two cannot be read, and where.
pub fn breaking(before: &str, after: &str) -> Result<Vec<String>, String> {
    let (before, after) = (types("the older schema", before)?, types("the schema", after)?);
    let mut found = Vec::new();
    for (name, kind) in &before {
        match after.get(name) {
            Some(now) => of_kind(name, kind, now, &mut found),
            None => found.push(format!("type `{name}` is gone")),
        }
    }
    Ok(found)
}

fn types(whose: &str, sdl: &str) -> Result<Types, String> {
    let read = parse_schema(sdl).map_err(|wrong| format!("{whose} cannot be read: {wrong}"))?;
    let types = read.definitions.into_iter().filter_map(|definition| match definition {
        TypeSystemDefinition::Type(ty) => Some((ty.node.name.node.to_string(), ty.node.kind)),
        _ => None,
    });
    Ok(types.collect())
}

fn of_kind(name: &str, before: &TypeKind, after: &TypeKind, found: &mut Vec<String>) {
    match (before, after) {
        (TypeKind::Scalar, TypeKind::Scalar) => {}
        (TypeKind::Object(before), TypeKind::Object(after)) => {
            gone(name, "implements", words(&before.implements), &words(&after.implements), found);
            fields(name, &before.fields, &after.fields, found);
        }
        (TypeKind::Interface(before), TypeKind::Interface(after)) => {
            fields(name, &before.fields, &after.fields, found);
        }
        (TypeKind::Union(before), TypeKind::Union(after)) => {
            gone(name, "has the member", words(&before.members), &words(&after.members), found);
        }
        (TypeKind::Enum(before), TypeKind::Enum(after)) => {
            let values = |all: &[Positioned<async_graphql::parser::types::EnumValueDefinition>]| {
                all.iter().map(|value| value.node.value.node.to_string()).collect::<Vec<_>>()
            };
            gone(name, "has the value", values(&before.values), &values(&after.values), found);
        }
        (TypeKind::InputObject(before), TypeKind::InputObject(after)) => {
            inputs(&format!("{name}."), &before.fields, &after.fields, found);
        }
        _ => found.push(format!("type `{name}` is of another kind")),
    }
}

fn words(all: &[Positioned<async_graphql::Name>]) -> Vec<String> {
    all.iter().map(|word| word.node.to_string()).collect()
}

fn gone(name: &str, what: &str, before: Vec<String>, after: &[String], found: &mut Vec<String>) {
    let gone = before.into_iter().filter(|word| !after.contains(word));
    found.extend(gone.map(|word| format!("type `{name}` no longer {what} `{word}`")));
}

fn fields(
    name: &str,
    before: &[Positioned<FieldDefinition>],
    after: &[Positioned<FieldDefinition>],
    found: &mut Vec<String>,
) {
    for field in before.iter().map(|field| &field.node) {
        let at = format!("{name}.{}", field.name.node);
        let Some(now) = after.iter().map(|now| &now.node).find(|now| now.name.node == field.name.node) else {
            found.push(format!("field `{at}` is gone"));
            continue;
        };
        if !gives(&field.ty.node, &now.ty.node) {
            found.push(format!("field `{at}` was `{}` and is `{}`", field.ty.node, now.ty.node));
        }
        inputs(&format!("{at}:"), &field.arguments, &now.arguments, found);
    }
}

/// Arguments of a field, or fields of an input object.
fn inputs(
    at: &str,
    before: &[Positioned<InputValueDefinition>],
    after: &[Positioned<InputValueDefinition>],
    found: &mut Vec<String>,
) {
    let named = |all: &[Positioned<InputValueDefinition>], name: &str| {
        all.iter().map(|one| &one.node).find(|one| one.name.node == name).cloned()
    };
    for input in before.iter().map(|input| &input.node) {
        let name = &input.name.node;
        match named(after, name) {
            None => found.push(format!("input `{at}{name}` is gone")),
            Some(now) if !takes(&now.ty.node, &input.ty.node) || required(&now) && !required(input) => {
                found
                    .push(format!("input `{at}{name}` took `{}` and takes `{}`", input.ty.node, now.ty.node));
            }
            Some(_) => {}
        }
    }
    let new = after.iter().map(|input| &input.node).filter(|input| named(before, &input.name.node).is_none());
    let new = new.filter(|input| required(input));
    found.extend(new.map(|input| format!("input `{at}{}` is new and required", input.name.node)));
}

fn required(input: &InputValueDefinition) -> bool {
    !input.ty.node.nullable && input.default_value.is_none()
}

/// Whether clients that expect `before` can read `after`.
fn gives(before: &Type, after: &Type) -> bool {
    (before.nullable || !after.nullable)
        && match (&before.base, &after.base) {
            (BaseType::Named(before), BaseType::Named(after)) => before == after,
            (BaseType::List(before), BaseType::List(after)) => gives(before, after),
            _ => false,
        }
}

/// Whether what fits `before` may be sent where `after` is taken.
fn takes(after: &Type, before: &Type) -> bool {
    (after.nullable || !before.nullable)
        && match (&after.base, &before.base) {
            (BaseType::Named(after), BaseType::Named(before)) => after == before,
            (BaseType::List(after), BaseType::List(before)) => takes(after, before),
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "type Query { order(id: ID!, first: Int = 20): Order orders: [Order!] } \
        type Order implements Node { id: ID! state: State total(in: String): String } \
        interface Node { id: ID! } enum State { OPEN CLOSED } \
        input Wish { id: ID! note: String } scalar Money union Any = Order | Other type Other { a: Int }";

    fn after(from: &str, to: &str) -> Vec<String> {
        assert!(BEFORE.contains(from), "{from}");
        breaking(BEFORE, &BEFORE.replace(from, to)).unwrap()
    }

    #[test]
    fn what_clients_can_bear_breaks_nothing() {
        for (from, to) in [
            ("OPEN", "NEW OPEN"),
            ("first: Int = 20", "first: Int = 20, more: Int"),
            ("first: Int = 20", "more: Int! = 1, first: Int = 20"),
            ("order(id: ID!", "order(id: ID"),
            ("state: State", "state: State! since: String"),
            ("orders: [Order!]", "orders: [Order!]!"),
            ("note: String", "note: String, other: Int"),
            ("scalar Money", "scalar Money scalar Time"),
            ("= Order | Other", "= Other | Order | Query"),
        ] {
            assert_eq!(after(from, to), Vec::<String>::new(), "{to}");
        }
    }

    #[test]
    fn what_breaks_a_client_is_told_in_a_line() {
        for (from, to, told) in [
            ("state: State ", "", "field `Order.state` is gone"),
            ("state: State ", "status: State ", "field `Order.state` is gone"),
            ("state: State", "state: String", "field `Order.state` was `State` and is `String`"),
            ("[Order!]", "[Order]", "field `Query.orders` was `[Order!]` and is `[Order]`"),
            ("[Order!]", "Order", "field `Query.orders` was `[Order!]` and is `Order`"),
            ("scalar Money", "", "type `Money` is gone"),
            ("scalar Money", "enum Money { A }", "type `Money` is of another kind"),
            ("OPEN ", "", "type `State` no longer has the value `OPEN`"),
            ("= Order | Other", "= Other", "type `Any` no longer has the member `Order`"),
            (" implements Node", "", "type `Order` no longer implements `Node`"),
            (", first: Int = 20", "", "input `Query.order:first` is gone"),
            ("first: Int = 20", "first: Int!", "input `Query.order:first` took `Int` and takes `Int!`"),
            ("first: Int = 20", "first: [Int]", "input `Query.order:first` took `Int` and takes `[Int]`"),
            ("first: Int = 20", "first: Int, to: Int!", "input `Query.order:to` is new and required"),
            ("note: String", "note: String, to: Int!", "input `Wish.to` is new and required"),
            ("note: String", "note: String!", "input `Wish.note` took `String` and takes `String!`"),
        ] {
            assert_eq!(after(from, to), [told], "{to}");
        }
    }

    #[test]
    fn what_is_no_schema_is_told_with_whose_it_is() {
        let told = |before: &str, after: &str| breaking(before, after).unwrap_err();
        assert!(told("type {", BEFORE).starts_with("the older schema cannot be read: "));
        assert!(told(BEFORE, "{ a }").starts_with("the schema cannot be read: "));
    }
}
