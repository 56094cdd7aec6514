//! The schema as it is published: written down beside the code, so that a change of it is seen in review, and described throughout.
//!
//! Not here: what it must never lose (`promised.graphql`).

use async_graphql::parser::{
    parse_schema,
    types::{InputValueDefinition, TypeKind, TypeSystemDefinition},
};
use gateway::graphql::changes::breaking;

const PUBLISHED: &str = include_str!("../../schema.graphql");

#[test]
fn the_published_schema_is_that_of_the_code() {
    let changes = breaking(PUBLISHED, &crate::sdl()).unwrap();
    assert!(
        PUBLISHED == crate::sdl(),
        "run `cargo run -p bff-mobile -- schema > bff-mobile/schema.graphql`; for clients this breaks: {changes:#?}"
    );
}

#[test]
fn everything_is_described() {
    let mut bare = Vec::new();
    for definition in parse_schema(crate::sdl()).unwrap().definitions {
        let TypeSystemDefinition::Type(ty) = definition else { continue };
        let name = ty.node.name.node.to_string();
        let mut look = |described: bool, at: String| {
            if !described {
                bare.push(at)
            }
        };
        look(ty.node.description.is_some(), name.clone());
        match ty.node.kind {
            TypeKind::Object(object) => {
                for field in object.fields.iter().map(|field| &field.node) {
                    look(field.description.is_some(), format!("{name}.{}", field.name.node));
                    for argument in field.arguments.iter().map(|argument| &argument.node) {
                        look(
                            described(argument),
                            format!("{name}.{}:{}", field.name.node, argument.name.node),
                        );
                    }
                }
            }
            TypeKind::InputObject(input) => {
                for field in input.fields.iter().map(|field| &field.node) {
                    look(described(field), format!("{name}.{}", field.name.node));
                }
            }
            TypeKind::Enum(values) => {
                for value in values.values.iter().map(|value| &value.node) {
                    look(value.description.is_some(), format!("{name}.{}", value.value.node));
                }
            }
            _ => {}
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}

fn described(input: &InputValueDefinition) -> bool {
    input.description.is_some()
}

#[test]
fn what_is_null_only_with_an_error_says_so() {
    let sdl = crate::sdl();
    assert!(sdl.contains("directive @semanticNonNull(levels: [Int!]! = [0]) on FIELD_DEFINITION"), "{sdl}");
    for field in
        ["orderId: ID @semanticNonNull(levels: [0])", "orders: [Order] @semanticNonNull(levels: [0, 1])"]
    {
        assert!(sdl.contains(field), "{field}: {sdl}");
    }
}
