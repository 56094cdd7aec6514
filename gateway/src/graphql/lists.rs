//! How many of a thing there may be, as the schema says it: the directives `@listSize` and `@cost` of IBM's *GraphQL Cost
//! Directives*, and what stands for them where a field says nothing.
//!
//! A list is as long as its slicing argument says (`first` and `last` unless other arguments are named), else as it is assumed
//! to be, else [`UNSAID`]. What has a slicing argument and is no list is a page: its argument counts for the lists directly in
//! it. Not here: what a document costs by that (`price.rs`).

#![allow(missing_docs, reason = "the macro leaves the types that it makes without any")]

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, TypeDirective, Value,
    parser::types::{
        BaseType, ConstDirective, FieldDefinition, InputValueDefinition, ServiceDocument, Type, TypeKind,
        TypeSystemDefinition,
    },
};

use super::lenient::base;

/// How long a list is taken to be that nothing is said of.
pub(super) const UNSAID: u64 = 10;
/// What says how much of a list is wanted, where a field has such arguments (GraphQL Cursor Connections, section 4).
const SLICING: [&str; 2] = ["first", "last"];

/// How long a list is: as one of these arguments says, else as assumed. With `sizedFields` that is said of these lists in it.
#[TypeDirective(name = "listSize", location = "FieldDefinition")]
pub fn list_size(
    assumed_size: Option<i32>,
    slicing_arguments: Option<Vec<String>>,
    sized_fields: Option<Vec<String>>,
) {
}

/// What a field costs by itself, 1 unless it is said.
#[TypeDirective(name = "cost", location = "FieldDefinition")]
pub fn cost(weight: i32) {}

/// What the schema says of each field, by type and name.
#[derive(Debug, Default)]
pub(super) struct Lists(HashMap<Name, HashMap<Name, Rule>>);

/// What it says of one.
#[derive(Debug)]
pub(super) struct Rule {
    /// The name behind lists and `!`.
    pub(super) ty: Name,
    /// What the field costs by itself.
    pub(super) weight: u64,
    /// How many lists are in one another; 0 where it is none.
    pub(super) levels: usize,
    /// Arguments that say how many are wanted, each with its default.
    pub(super) slicing: Vec<(Name, Option<u64>)>,
    /// The lists in it that its size is that of; all that say nothing themselves where it names none.
    pub(super) sized: Vec<Name>,
    assumed: Option<u64>,
    /// For how many keys one call suffices, where the field asks a service.
    pub(super) keys: Option<u64>,
}

impl Lists {
    pub(super) fn of(schema: &ServiceDocument) -> Self {
        let mut lists = HashMap::new();
        for definition in &schema.definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let fields = match &ty.node.kind {
                TypeKind::Object(object) => &object.fields,
                TypeKind::Interface(interface) => &interface.fields,
                _ => continue,
            };
            let rule =
                |field: &Positioned<FieldDefinition>| (field.node.name.node.clone(), Rule::of(&field.node));
            lists.insert(ty.node.name.node.clone(), fields.iter().map(rule).collect());
        }
        Lists(lists)
    }

    /// The fields of a type, by their names.
    pub(super) fn fields(&self, ty: &str) -> Vec<(&Name, &Rule)> {
        let mut fields: Vec<_> = self.0.get(ty).into_iter().flatten().collect();
        fields.sort_unstable_by_key(|(name, _)| *name);
        fields
    }

    pub(super) fn rule(&self, ty: &str, field: &str) -> Option<&Rule> {
        self.0.get(ty)?.get(field)
    }
}

impl Rule {
    fn of(field: &FieldDefinition) -> Self {
        let said = |directive, argument| said(&field.directives, directive, argument);
        let named = said("listSize", "slicingArguments").map(names);
        let is_slicing = |argument: &InputValueDefinition| match &named {
            Some(named) => named.contains(&argument.name.node),
            None => SLICING.contains(&argument.name.node.as_str()) && is_int(&argument.ty.node),
        };
        let slicing = field.arguments.iter().map(|argument| &argument.node).filter(|one| is_slicing(one));
        let default = |argument: &InputValueDefinition| whole(&argument.default_value.as_ref()?.node);
        Rule {
            ty: base(&field.ty.node).clone(),
            weight: said("cost", "weight").and_then(whole).unwrap_or(1),
            levels: levels(&field.ty.node),
            slicing: slicing.map(|argument| (argument.name.node.clone(), default(argument))).collect(),
            sized: said("listSize", "sizedFields").map(names).unwrap_or_default(),
            assumed: said("listSize", "assumedSize").and_then(whole),
            keys: said("loads", "keys").and_then(whole),
        }
    }

    /// How long it is where no argument says it.
    pub(super) fn fallback(&self) -> u64 {
        let defaults = self.slicing.iter().filter_map(|(_, default)| *default);
        defaults.max().or(self.assumed).unwrap_or(UNSAID)
    }

    /// Whether it says something of a size.
    pub(super) fn speaks(&self) -> bool {
        self.assumed.is_some() || !self.slicing.is_empty()
    }

    /// Whether that is the size of lists in it, and not its own.
    pub(super) fn is_page(&self) -> bool {
        self.speaks() && (self.levels == 0 || !self.sized.is_empty())
    }
}

/// A number of things. Nothing else is one, and below zero there is none; what no number holds is as many as there can be.
pub(super) fn whole(value: &Value) -> Option<u64> {
    let Value::Number(number) = value else { return None };
    let beyond = || number.as_f64().filter(|number| *number > 0.0).map(|number| number as u64);
    number.as_u64().or_else(beyond)
}

fn said<'a>(all: &'a [Positioned<ConstDirective>], directive: &str, argument: &str) -> Option<&'a Value> {
    let found = all.iter().find(|one| one.node.name.node == directive)?;
    found.node.get_argument(argument).map(|value| &value.node).filter(|value| **value != Value::Null)
}

fn names(value: &Value) -> Vec<Name> {
    let name = |value: &Value| match value {
        Value::String(name) => Some(Name::new(name)),
        _ => None,
    };
    match value {
        Value::List(items) => items.iter().filter_map(name).collect(),
        one => name(one).into_iter().collect(),
    }
}

fn is_int(ty: &Type) -> bool {
    matches!(&ty.base, BaseType::Named(name) if name == "Int")
}

fn levels(ty: &Type) -> usize {
    match &ty.base {
        BaseType::Named(_) => 0,
        BaseType::List(item) => 1 + levels(item),
    }
}
