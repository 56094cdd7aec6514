//! How much a document may ask for: depth, fields, aliases, all counted with fragments spread out.
//!
//! Each fragment is counted once and its count added where it is spread, so that fragments which double one another cost
//! nothing to refuse. Not here: what a field costs, which the schema knows (`limit_complexity`).

use std::collections::HashMap;

use async_graphql::{
    Name,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

/// What one request may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Operations in one batch.
    pub batch: usize,
    /// Tokens of a document: it is parsed in a time that grows with them.
    pub tokens: usize,
    /// Brackets within brackets: the parser recurses into them.
    pub nesting: usize,
    /// Fields within fields.
    pub depth: usize,
    /// Fields, all in all.
    pub fields: usize,
    /// Aliases: the way to ask for the same thing many times.
    pub aliases: usize,
}

/// Generous to an app's screen and to the introspection of editors, which is 13 deep.
impl Default for Limits {
    fn default() -> Self {
        Limits { batch: 10, tokens: 2_000, nesting: 64, depth: 15, fields: 500, aliases: 30 }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    depth: usize,
    fields: usize,
    aliases: usize,
}

impl Count {
    fn and(self, more: Count) -> Count {
        Count {
            depth: self.depth.max(more.depth),
            fields: self.fields.saturating_add(more.fields),
            aliases: self.aliases.saturating_add(more.aliases),
        }
    }
}

/// Whether every operation stays within the limits; else why not.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<(), &'static str> {
    let mut counter = Counter { document, counted: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let count = counter.set(&operation.node.selection_set.node)?;
        let over = [
            (count.depth > limits.depth, "The query is nested too deep."),
            (count.fields > limits.fields, "The query asks for too many fields."),
            (count.aliases > limits.aliases, "The query has too many aliases."),
        ];
        if let Some((_, why)) = over.into_iter().find(|(over, _)| *over) {
            return Err(why);
        }
    }
    Ok(())
}

/// What each operation costs, in their order: its fields and its depth, with fragments spread out.
pub(super) fn costs(document: &ExecutableDocument) -> Vec<u32> {
    let mut counter = Counter { document, counted: HashMap::new() };
    let operations = document.operations.iter();
    let counts = operations.map(|(_, operation)| counter.set(&operation.node.selection_set.node));
    let cost = |count: Count| u32::try_from(count.fields.saturating_add(count.depth)).unwrap_or(u32::MAX);
    counts.map(|count| count.map_or(1, cost)).collect()
}

/// Whether a document asks what the schema is.
pub(super) fn introspects(document: &ExecutableDocument) -> bool {
    let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
    let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
    operations.chain(fragments).any(names_schema)
}

fn names_schema(set: &SelectionSet) -> bool {
    set.items.iter().any(|item| match &item.node {
        Selection::Field(field) => matches!(field.node.name.node.as_str(), "__schema" | "__type"),
        Selection::InlineFragment(inline) => names_schema(&inline.node.selection_set.node),
        Selection::FragmentSpread(_) => false,
    })
}

struct Counter<'a> {
    document: &'a ExecutableDocument,
    /// None while a fragment is being counted: meeting it again means it holds itself.
    counted: HashMap<&'a Name, Option<Count>>,
}

impl<'a> Counter<'a> {
    fn set(&mut self, set: &'a SelectionSet) -> Result<Count, &'static str> {
        let mut sum = Count::default();
        for item in &set.items {
            sum = sum.and(self.item(&item.node)?);
        }
        Ok(sum)
    }

    fn item(&mut self, item: &'a Selection) -> Result<Count, &'static str> {
        match item {
            Selection::Field(field) => {
                let below = self.set(&field.node.selection_set.node)?;
                let aliases = usize::from(field.node.alias.is_some());
                Ok(Count { depth: below.depth + 1, ..below.and(Count { depth: 0, fields: 1, aliases }) })
            }
            Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node),
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node),
        }
    }

    fn fragment(&mut self, name: &'a Name) -> Result<Count, &'static str> {
        match self.counted.get(name) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => return Err("A fragment must not spread itself."),
            None => {}
        }
        // An unknown fragment is the validation's to tell.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Count::default()) };
        self.counted.insert(name, None);
        let count = self.set(&fragment.node.selection_set.node)?;
        self.counted.insert(name, Some(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use async_graphql::parser::parse_query;

    use super::*;

    fn verdict(query: &str, limits: &Limits) -> Result<(), &'static str> {
        check(&parse_query(query).unwrap(), limits)
    }

    #[test]
    fn depth_fields_and_aliases_are_counted_through_fragments() {
        let query = "{ a { ...F } } fragment F on T { x: b { c } ... on T { d } }";
        let tight = Limits { depth: 3, fields: 4, aliases: 1, ..Limits::default() };
        assert_eq!(verdict(query, &tight), Ok(()));
        assert!(verdict(query, &Limits { depth: 2, ..tight }).is_err());
        assert!(verdict(query, &Limits { fields: 3, ..tight }).is_err());
        assert!(verdict(query, &Limits { aliases: 0, ..tight }).is_err());
    }

    #[test]
    fn an_operation_costs_its_fields_and_its_depth() {
        let costs = |query: &str| costs(&parse_query(query).unwrap());
        assert_eq!(costs("{ a }"), [2]);
        assert_eq!(costs("{ a { ...F } } fragment F on T { b { c } ... on T { d } }"), [4 + 3]);
        let mut several = costs("query A { a } query B { b { c } }");
        several.sort_unstable();
        assert_eq!(several, [2, 4]);
    }

    #[test]
    fn fragments_that_double_one_another_are_refused_at_once() {
        let mut query = "{ ...F0 } ".to_owned();
        for n in 0..60 {
            let next = n + 1;
            write!(query, "fragment F{n} on T {{ a: x {{ ...F{next} }} b: x {{ ...F{next} }} }} ").unwrap();
        }
        query.push_str("fragment F60 on T { x }");
        let deep = Limits { depth: 1_000, ..Limits::default() };
        assert_eq!(verdict(&query, &deep), Err("The query asks for too many fields."));
    }

    #[test]
    fn a_fragment_that_holds_itself_is_refused() {
        let query = "{ ...A } fragment A on T { a { ...B } } fragment B on T { ...A }";
        assert_eq!(verdict(query, &Limits::default()), Err("A fragment must not spread itself."));
    }

    #[test]
    fn introspection_is_seen_in_fragments_too() {
        let asks = |query: &str| introspects(&parse_query(query).unwrap());
        assert!(asks("{ __schema { types { name } } }"));
        assert!(asks("{ ...A } fragment A on Query { ... on Query { x: __type(name: \"T\") { name } } }"));
        assert!(!asks("{ __typename a }"));
    }
}
