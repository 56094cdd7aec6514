//! The schema as a whole, and the handler that executes it.
//!
//! Not here: what its fields say.

use std::sync::Arc;

use async_graphql::{Schema, SchemaBuilder};
use gateway::{
    graphql::{Call, GraphqlHandler, Settings},
    handler::{Handler, Services, Unmade},
};

use crate::{
    mutation::Mutation,
    query::Query,
    services::{Backends, Session},
    subscription::Subscriptions,
};

pub(crate) type Mobile = Schema<Query, Mutation, Subscriptions>;

pub(crate) fn schema() -> Mobile {
    built().finish()
}

pub(crate) fn built() -> SchemaBuilder<Query, Mutation, Subscriptions> {
    Schema::build(Query, Mutation, Subscriptions)
}

/// The handler for an app.
pub(crate) fn closed(services: &Services) -> Result<Arc<dyn Handler>, Unmade> {
    handler(services, &services.graphql)
}

/// The handler for development: it tells its schema and brings GraphiQL.
pub(crate) fn open(services: &Services) -> Result<Arc<dyn Handler>, Unmade> {
    let mut settings = services.graphql.clone();
    (settings.introspection, settings.graphiql) = (true, true);
    handler(services, &settings)
}

fn handler(services: &Services, settings: &Settings) -> Result<Arc<dyn Handler>, Unmade> {
    let backends = Arc::new(Backends::of(services)?);
    let open = move |call: &Arc<Call>| Arc::new(Session::new(call, &backends));
    Ok(Arc::new(GraphqlHandler::new(built, settings, open)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use async_graphql::{
        Positioned,
        parser::{
            parse_schema,
            types::{FieldDefinition, InputValueDefinition, TypeKind, TypeSystemDefinition},
        },
    };

    use super::*;

    /// Every type with its members, as text that can be compared.
    fn members(sdl: &str) -> BTreeMap<String, Vec<String>> {
        let mut types = BTreeMap::new();
        for definition in parse_schema(sdl).unwrap().definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            types.insert(ty.node.name.node.to_string(), of_kind(ty.node.kind));
        }
        types
    }

    fn of_kind(kind: TypeKind) -> Vec<String> {
        let mut all: Vec<String> = match kind {
            TypeKind::Scalar => vec!["scalar".to_owned()],
            TypeKind::Object(object) => {
                let implements = object.implements.iter().map(|name| format!("implements {}", name.node));
                implements.chain(object.fields.into_iter().map(field)).collect()
            }
            TypeKind::Interface(interface) => interface.fields.into_iter().map(field).collect(),
            TypeKind::InputObject(object) => object.fields.into_iter().map(input).collect(),
            TypeKind::Enum(values) => {
                values.values.into_iter().map(|value| value.node.value.node.to_string()).collect()
            }
            TypeKind::Union(_) => vec!["union".to_owned()],
        };
        all.sort();
        all
    }

    fn field(field: Positioned<FieldDefinition>) -> String {
        let arguments: Vec<String> = field.node.arguments.into_iter().map(input).collect();
        format!("{}({}): {}", field.node.name.node, arguments.join(", "), field.node.ty.node)
    }

    fn input(input: Positioned<InputValueDefinition>) -> String {
        let default = input.node.default_value.map(|value| format!(" = {}", value.node)).unwrap_or_default();
        format!("{}: {}{default}", input.node.name.node, input.node.ty.node)
    }

    #[test]
    fn the_schema_is_what_apps_are_promised() {
        let promised = members(include_str!("promised.graphql"));
        let ours = members(&schema().sdl());
        for (name, members) in &promised {
            assert_eq!(ours.get(name), Some(members), "{name}");
        }
        assert_eq!(ours.keys().collect::<Vec<_>>(), promised.keys().collect::<Vec<_>>());
    }
}
