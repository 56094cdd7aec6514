//! How much a document may ask for: depth, fields, aliases, directives, all counted with fragments spread out.
//!
//! Each fragment is counted once and its count added where it is spread, so that fragments which double one another cost
//! nothing to refuse. Not here: how long lists are, and what an operation costs by that (`price.rs`).

use std::collections::{HashMap, HashSet};

use async_graphql::{
    Name, Positioned,
    parser::types::{Directive, ExecutableDocument, OperationDefinition, Selection, SelectionSet},
};

use super::config::GraphqlConfig;

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
    /// Fields of the operation itself: each is a question of its own to some service.
    pub root_fields: usize,
    /// Aliases: the way to ask for the same thing many times.
    pub aliases: usize,
    /// Directives, on whatever they stand.
    pub directives: usize,
    /// Fields of the answer, with lists as long as the schema says.
    pub cost: u32,
}

impl Limits {
    /// As much as walks that recurse can bear.
    #[must_use]
    pub fn none() -> Self {
        let most = usize::MAX;
        Limits {
            batch: most,
            tokens: most,
            nesting: NESTING,
            depth: most,
            fields: most,
            root_fields: most,
            aliases: most,
            directives: most,
            cost: u32::MAX,
        }
    }
}

/// What a parser and walks that recurse take of a thread's stack is bounded by it, so it is not for the configuration.
const NESTING: usize = 64;
/// Operations of one document. One request executes one of them, but all are validated, each with the fragments it spreads.
const OPERATIONS: usize = 20;
/// The same of fragments that lead to one another; async-graphql executes no more.
const SETS: usize = 32;

/// Generous to an app's screen and to the introspection of editors.
impl Default for Limits {
    fn default() -> Self {
        let typed = GraphqlConfig::default();
        Limits {
            batch: typed.max_batch as usize,
            tokens: typed.max_tokens as usize,
            nesting: NESTING,
            depth: typed.max_depth as usize,
            fields: typed.max_fields as usize,
            root_fields: typed.max_root_fields as usize,
            aliases: typed.max_aliases as usize,
            directives: typed.max_directives as usize,
            cost: typed.max_cost,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    depth: usize,
    /// Selection sets within selection sets, those of fragments with them: walks recurse into them.
    sets: usize,
    fields: usize,
    /// Fields of the set itself, those of its fragments with them.
    roots: usize,
    aliases: usize,
    directives: usize,
}

impl Count {
    fn directives(directives: &[Positioned<Directive>]) -> Self {
        Count { directives: directives.len(), ..Count::default() }
    }

    fn and(self, more: Count) -> Count {
        Count {
            depth: self.depth.max(more.depth),
            sets: self.sets.max(more.sets),
            fields: self.fields.saturating_add(more.fields),
            roots: self.roots.saturating_add(more.roots),
            directives: self.directives.saturating_add(more.directives),
            aliases: self.aliases.saturating_add(more.aliases),
        }
    }
}

/// Whether each operation is within the limits, its fragments spread out; else which limit is broken.
pub(super) fn check(document: &ExecutableDocument, limits: &Limits) -> Result<(), &'static str> {
    let counter = Counter::of(document)?;
    let count = |operation: &OperationDefinition| {
        let variables = &operation.variable_definitions;
        let own = Count::directives(&operation.directives);
        let variables: Count = variables.iter().map(|one| Count::directives(&one.node.directives)).sum();
        counter.set(&operation.selection_set.node).and(own).and(variables)
    };
    if document.operations.iter().nth(OPERATIONS).is_some() {
        return Err("The document has too many operations.");
    }
    let mut fields = 0_usize;
    document.operations.iter().try_for_each(|(_, operation)| {
        let count = count(&operation.node);
        fields = fields.saturating_add(count.fields);
        within(Count { fields, ..count }, limits)
    })
}

fn within(count: Count, limits: &Limits) -> Result<(), &'static str> {
    let over = [
        (count.depth > limits.depth, "The query is nested too deep."),
        (count.fields > limits.fields, "The query asks for too many fields."),
        (count.roots > limits.root_fields, "The query asks for too many things at once."),
        (count.aliases > limits.aliases, "The query has too many aliases."),
        (count.directives > limits.directives, "The query has too many directives."),
        (count.sets > SETS, "The query is nested too deep."),
    ];
    over.into_iter().find(|(over, _)| *over).map_or(Ok(()), |(_, why)| Err(why))
}

impl std::iter::Sum for Count {
    fn sum<I: Iterator<Item = Count>>(counts: I) -> Count {
        counts.fold(Count::default(), Count::and)
    }
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

/// Counts of fragments, each made once, when those of the fragments that it spreads are there.
struct Counter<'a> {
    counted: HashMap<&'a Name, Count>,
}

impl<'a> Counter<'a> {
    /// Walks from fragment to fragment without recursing: however many lead to one another, no stack grows.
    fn of(document: &'a ExecutableDocument) -> Result<Self, &'static str> {
        let mut counter = Counter { counted: HashMap::with_capacity(document.fragments.len()) };
        let (mut open, mut entered) = (Vec::new(), HashSet::new());
        for name in document.fragments.keys() {
            open.push(name);
            while let Some(&name) = open.last() {
                let fragment = document.fragments.get(name).filter(|_| !counter.counted.contains_key(name));
                // An unknown fragment is the validation's to tell.
                let Some(fragment) = fragment else {
                    open.pop();
                    continue;
                };
                let set = &fragment.node.selection_set.node;
                if !entered.insert(name) {
                    // All that it spreads is counted, or it was met again below itself.
                    let mut missing = false;
                    spreads(set, &mut |spread| {
                        missing |=
                            document.fragments.contains_key(spread) && !counter.counted.contains_key(spread);
                    });
                    if missing {
                        return Err("A fragment must not spread itself.");
                    }
                    let count = counter.set(set).and(Count::directives(&fragment.node.directives));
                    counter.counted.insert(name, count);
                    open.pop();
                    continue;
                }
                spreads(set, &mut |spread| {
                    open.extend((!counter.counted.contains_key(spread)).then_some(spread))
                });
            }
        }
        Ok(counter)
    }

    fn set(&self, set: &SelectionSet) -> Count {
        let sum: Count = set.items.iter().map(|item| self.item(&item.node)).sum();
        Count { sets: sum.sets + 1, ..sum }
    }

    /// Recurses into brackets, which were counted before they were parsed.
    fn item(&self, item: &Selection) -> Count {
        let directives = Count::directives(item.directives());
        match item {
            Selection::Field(field) => {
                let below = self.set(&field.node.selection_set.node);
                let aliases = usize::from(field.node.alias.is_some());
                let count = below.and(Count { fields: 1, aliases, ..directives });
                Count { depth: below.depth + 1, roots: 1, ..count }
            }
            Selection::InlineFragment(inline) => self.set(&inline.node.selection_set.node).and(directives),
            Selection::FragmentSpread(spread) => {
                // An unknown fragment is the validation's to tell. Until then it counts, so that fragments which double one
                // another have something to double.
                let unknown = Count { fields: 1, ..Count::default() };
                let counted = self.counted.get(&spread.node.fragment_name.node).copied();
                counted.unwrap_or(unknown).and(directives)
            }
        }
    }
}

/// The fragments that a set spreads, at any depth of its own brackets.
fn spreads<'a>(set: &'a SelectionSet, found: &mut dyn FnMut(&'a Name)) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => spreads(&field.node.selection_set.node, found),
            Selection::InlineFragment(inline) => spreads(&inline.node.selection_set.node, found),
            Selection::FragmentSpread(spread) => found(&spread.node.fragment_name.node),
        }
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
    fn fragments_that_double_one_another_are_refused_at_once() {
        let mut query = "{ ...F0 } ".to_owned();
        for n in 0..60 {
            let next = n + 1;
            write!(query, "fragment F{n} on T {{ a: x {{ ...F{next} }} b: x {{ ...F{next} }} }} ").unwrap();
        }
        let deep = Limits { depth: 1_000, ..Limits::default() };
        for last in ["fragment F60 on T { x }", ""] {
            assert_eq!(verdict(&format!("{query}{last}"), &deep), Err("The query asks for too many fields."));
        }
    }

    #[test]
    fn a_fragment_that_holds_itself_is_refused() {
        let query = "{ ...A } fragment A on T { a { ...B } } fragment B on T { ...A }";
        assert_eq!(verdict(query, &Limits::default()), Err("A fragment must not spread itself."));
    }

    #[test]
    fn what_is_asked_for_side_by_side_and_directives_are_counted_through_fragments() {
        let query = "query($a: B @x) @x { a @x ...F @x ... @x { b } } fragment F on Query @x { c { d } }";
        let tight = Limits { root_fields: 3, directives: 6, ..Limits::default() };
        assert_eq!(verdict(query, &tight), Ok(()));
        assert!(verdict(query, &Limits { root_fields: 2, ..tight }).is_err());
        assert!(verdict(query, &Limits { directives: 5, ..tight }).is_err());
    }

    #[test]
    fn a_chain_of_fragments_takes_no_stack() {
        let mut query = "{ ...F0 } ".to_owned();
        for n in 0..20_000 {
            write!(query, "fragment F{n} on T {{ ...F{} }} ", n + 1).unwrap();
        }
        query.push_str("fragment F20000 on T { x }");
        assert_eq!(verdict(&query, &Limits::default()), Err("The query is nested too deep."));
    }

    #[test]
    fn introspection_is_seen_in_fragments_too() {
        let asks = |query: &str| introspects(&parse_query(query).unwrap());
        assert!(asks("{ __schema { types { name } } }"));
        assert!(asks("{ ...A } fragment A on Query { ... on Query { x: __type(name: \"T\") { name } } }"));
        assert!(!asks("{ __typename a }"));
    }
}
