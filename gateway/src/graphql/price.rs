//! What an operation costs: how many fields its answer has if every list is as long as the schema says (`lists.rs`).
//!
//! `cost(field) = weight + size * cost(what is selected below it)`: leaves cost 1 as objects do, so that the number bounds the
//! answer as well as the work. It is an upper bound: alternatives of an interface or a union are added up, fields that are
//! asked for twice count twice, `@skip` and `@include` are as if they were not there. What the schema does not know, which is
//! introspection or will be refused, is no list.
//!
//! It is worked out once for each document. What is left are sums of products, one for each list whose size a variable says
//! or that has one below, and none at all where no variable says a size. Not here: who pays it (`handler.rs`).

use std::{collections::HashMap, convert::Infallible};

use async_graphql::{
    Name, Positioned, Value, Variables,
    parser::{
        parse_query, parse_schema,
        types::{
            ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet, VariableDefinition,
        },
    },
};

use super::{
    Limits, limits,
    lists::{Lists, Rule, UNSAID, whole},
    variables::root,
};

/// What one operation costs.
#[derive(Debug)]
pub(super) enum Price {
    /// The same, whatever is sent.
    Fixed(u32),
    /// Variables say how long lists are.
    Open(Open),
}

/// What there is to add up when the variables are known.
#[derive(Debug)]
pub(super) struct Open {
    /// Sums that others have in them: each only those before it.
    sums: Vec<Sum>,
    total: Sum,
}

#[derive(Debug, Clone, Default)]
struct Sum {
    fixed: u64,
    terms: Vec<Term>,
}

/// So many times the sum of that index.
#[derive(Debug, Clone)]
struct Term {
    size: Size,
    sum: usize,
}

/// How many there are of something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Size {
    Fixed(u64),
    Sent(Sent),
}

/// The largest of what is known and what these variables say; where they say nothing, the fallback.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Sent {
    known: Option<u64>,
    /// Each with what it says when nothing is sent for it.
    variables: Vec<(Name, Option<u64>)>,
    fallback: u64,
}

/// The size that a page has for the lists directly in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Page<'a> {
    size: Size,
    lists: &'a [Name],
}

/// What the only operation of a document, or its first one, costs over a schema that is written down as `sdl`; none where one
/// of them cannot be read. For tests of a schema: what the screens of an app cost.
#[must_use]
pub fn price(sdl: &str, document: &str, variables: &Variables) -> Option<u32> {
    let (schema, document) = (parse_schema(sdl).ok()?, parse_query(document).ok()?);
    limits::check(&document, &Limits::none()).ok()?;
    let (_, operation) = document.operations.iter().next()?;
    Some(Price::of(&Lists::of(&schema), &document, &operation.node).with(variables))
}

impl Price {
    /// The document is within the limits: its fragments are not in one another too deep, nor in circles.
    pub(super) fn of(lists: &Lists, document: &ExecutableDocument, operation: &OperationDefinition) -> Self {
        let variables = &operation.variable_definitions;
        let mut walk = Walk { lists, document, variables, sums: Vec::new(), fragments: HashMap::new() };
        let total = walk.set(&operation.selection_set.node, root(operation.ty), None);
        match total.terms.is_empty() {
            true => Price::Fixed(rounded(total.fixed)),
            false => Price::Open(Open { sums: walk.sums, total }),
        }
    }

    /// What it is with these variables.
    pub(super) fn with(&self, variables: &Variables) -> u32 {
        match self {
            Price::Fixed(cost) => *cost,
            Price::Open(open) => rounded(open.with(variables)),
        }
    }
}

fn rounded(cost: u64) -> u32 {
    u32::try_from(cost).unwrap_or(u32::MAX)
}

impl Open {
    fn with(&self, variables: &Variables) -> u64 {
        let mut known = Vec::with_capacity(self.sums.len());
        for sum in &self.sums {
            let cost = sum.with(&known, variables);
            known.push(cost);
        }
        self.total.with(&known, variables)
    }
}

impl Sum {
    fn with(&self, known: &[u64], variables: &Variables) -> u64 {
        let products =
            self.terms.iter().map(|term| term.size.with(variables).saturating_mul(known[term.sum]));
        products.fold(self.fixed, u64::saturating_add)
    }

    fn and(mut self, more: Sum) -> Sum {
        self.fixed = self.fixed.saturating_add(more.fixed);
        self.terms.extend(more.terms);
        self
    }

    fn fixed(fixed: u64) -> Sum {
        Sum { fixed, terms: Vec::new() }
    }
}

impl Size {
    fn with(&self, variables: &Variables) -> u64 {
        match self {
            Size::Fixed(size) => *size,
            Size::Sent(sent) => {
                let said = sent.variables.iter().filter_map(|(name, unsent)| match variables.get(name) {
                    Some(value) => whole(value),
                    None => *unsent,
                });
                said.chain(sent.known).max().unwrap_or(sent.fallback)
            }
        }
    }
}

impl Page<'_> {
    fn sizes(&self, name: &Name, rule: &Rule) -> bool {
        if self.lists.is_empty() { !rule.speaks() } else { self.lists.contains(name) }
    }
}

struct Walk<'a> {
    lists: &'a Lists,
    document: &'a ExecutableDocument,
    variables: &'a [Positioned<VariableDefinition>],
    sums: Vec<Sum>,
    /// What was spread before, by what it was spread in: nothing is walked twice.
    fragments: HashMap<(&'a Name, Option<Page<'a>>), Sum>,
}

impl<'a> Walk<'a> {
    fn set(&mut self, set: &'a SelectionSet, ty: &'a str, page: Option<&Page<'a>>) -> Sum {
        let costs = set.items.iter().map(|item| match &item.node {
            Selection::Field(field) => self.field(&field.node, ty, page),
            Selection::InlineFragment(inline) => {
                let on = inline.node.type_condition.as_ref().map(|on| on.node.on.node.as_str());
                self.set(&inline.node.selection_set.node, on.unwrap_or(ty), page)
            }
            Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, page),
        });
        costs.fold(Sum::default(), Sum::and)
    }

    fn fragment(&mut self, name: &'a Name, page: Option<&Page<'a>>) -> Sum {
        let Some(fragment) = self.document.fragments.get(name) else { return Sum::fixed(1) };
        let key = (name, page.cloned());
        if let Some(known) = self.fragments.get(&key) {
            return known.clone();
        }
        let on = fragment.node.type_condition.node.on.node.as_str();
        let whole = self.set(&fragment.node.selection_set.node, on, page);
        let once = if whole.terms.is_empty() { whole } else { self.term(Size::Fixed(1), whole) };
        self.fragments.insert(key, once.clone());
        once
    }

    fn field(&mut self, field: &'a Field, ty: &'a str, page: Option<&Page<'a>>) -> Sum {
        let (name, below) = (&field.name.node, &field.selection_set.node);
        let Some(rule) = self.lists.rule(ty, name) else {
            return self.set(below, "", None).and(Sum::fixed(1));
        };
        let own = self.size(rule, field);
        let inner = rule.is_page().then(|| Page { size: own.clone(), lists: &rule.sized });
        let mut sum = self.set(below, &rule.ty, inner.as_ref());
        for level in (0..rule.levels).rev() {
            let size = match page.filter(|page| page.sizes(name, rule)) {
                _ if level > 0 || inner.is_some() => Size::Fixed(UNSAID),
                Some(page) => page.size.clone(),
                None => own.clone(),
            };
            sum = self.times(size, sum);
        }
        sum.and(Sum::fixed(rule.weight))
    }

    /// So many items, each of which is something.
    fn times(&mut self, size: Size, item: Sum) -> Sum {
        let item = Sum { fixed: item.fixed.max(1), ..item };
        match size {
            Size::Fixed(size) if item.terms.is_empty() => Sum::fixed(item.fixed.saturating_mul(size)),
            size => self.term(size, item),
        }
    }

    fn term(&mut self, size: Size, sum: Sum) -> Sum {
        self.sums.push(sum);
        Sum { fixed: 0, terms: vec![Term { size, sum: self.sums.len() - 1 }] }
    }

    /// What the field's arguments say.
    fn size(&self, rule: &Rule, field: &Field) -> Size {
        let (mut known, mut variables) = (None, Vec::new());
        for (name, default) in &rule.slicing {
            let Some(value) = field.get_argument(name) else {
                known = known.max(*default);
                continue;
            };
            let mut named = None;
            let Ok(said) = value.node.clone().into_const_with(|name| {
                named = Some(name);
                Ok::<_, Infallible>(Value::Null)
            });
            match named.filter(|_| said == Value::Null) {
                Some(variable) => {
                    let unsent = self.unsent(&variable, *default);
                    variables.push((variable, unsent));
                }
                None => known = known.max(whole(&said)),
            }
        }
        match variables.is_empty() {
            true => Size::Fixed(known.unwrap_or_else(|| rule.fallback())),
            false => Size::Sent(Sent { known, variables, fallback: rule.fallback() }),
        }
    }

    /// What a variable says that is not sent: its own default, else that of the argument where it stands.
    fn unsent(&self, variable: &Name, argument: Option<u64>) -> Option<u64> {
        let declared = self.variables.iter().find(|declared| declared.node.name.node == *variable);
        match declared.and_then(|declared| declared.node.default_value.as_ref()) {
            Some(default) => whole(&default.node),
            None => argument,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use serde_json::json;

    use super::*;

    const SCHEMA: &str = "
        interface Node { id: ID children: [Node] @listSize(assumedSize: 2) }
        type Query {
          thing: Thing node: Node tags: [String] grid: [[Thing]]
          things(first: Int = 20, last: Int): [Thing]
          some(first: Int): [Thing] @listSize(assumedSize: 7)
          named(limit: Int, first: Int): [Thing] @listSize(slicingArguments: [\"limit\"])
          words(first: String): [Thing]
          page(first: Int = 20, after: String): Page
          half(size: Int): Page @listSize(assumedSize: 4, slicingArguments: [\"size\"], sizedFields: [\"nodes\"])
          dear: Thing @cost(weight: 100)
        }
        type Mutation { write: Thing }
        type Page { edges: [Edge] nodes: [Thing] total: Int own: [Thing] @listSize(assumedSize: 3) }
        type Edge { cursor: String node: Thing }
        type Thing implements Node { id: ID children: [Node] parts: [Thing] @listSize(assumedSize: 5) one: Thing }";

    fn with(query: &str, variables: serde_json::Value) -> u32 {
        price(SCHEMA, query, &Variables::from_json(variables)).expect(query)
    }

    #[test]
    fn a_field_costs_one_and_a_list_what_is_below_it_for_each_item() {
        for (query, cost) in [
            ("{ __typename }", 1),
            ("{ thing { id } }", 2),
            ("mutation { write { id } }", 2),
            ("{ thing { one { one { id } } parts { id __typename } } }", 1 + 3 + 1 + 5 * 2),
            ("{ thing { parts { parts { parts { id } } } } }", 2 + 5 * (1 + 5 * (1 + 5))),
            ("{ tags }", 1 + 10),
            ("{ grid { id } }", 1 + 10 * 10),
            ("{ dear { id } }", 101),
            ("{ a: thing { id } b: thing { id } thing { id } }", 6),
            ("{ thing @skip(if: true) { id } }", 2),
            ("{ __schema { types { fields { args { name } } } } }", 5),
            ("{ unknown { things { id } } }", 3),
        ] {
            assert_eq!(with(query, json!({})), cost, "{query}");
        }
    }

    #[test]
    fn a_slicing_argument_says_how_long_a_list_is() {
        for (query, cost) in [
            ("{ things { id } }", 1 + 20),
            ("{ things(first: 3) { id } }", 1 + 3),
            ("{ things(first: 0) { id } }", 1),
            ("{ things(last: 30) { id } }", 1 + 30),
            ("{ things(first: 2, last: 3) { id } }", 1 + 3),
            ("{ things(first: -3) { id } }", 1 + 20),
            ("{ things(first: null) { id } }", 1 + 20),
            ("{ things(first: \"3\") { id } }", 1 + 20),
            ("{ some { id } }", 1 + 7),
            ("{ some(first: 2) { id } }", 1 + 2),
            ("{ named(first: 3) { id } }", 1 + 10),
            ("{ named(first: 3, limit: 4) { id } }", 1 + 4),
            ("{ words(first: \"3\") { id } }", 1 + 10),
            ("{ things(first: 99999999999999999999999999) { id } }", u32::MAX),
            ("{ things(first: 9223372036854775807) { parts { parts { id } } } }", u32::MAX),
        ] {
            assert_eq!(with(query, json!({})), cost, "{query}");
        }
    }

    #[test]
    fn a_page_has_its_lists_sizes_and_nothing_below_them() {
        for (query, cost) in [
            ("{ page { nodes { id } } }", 1 + 1 + 20),
            ("{ page(first: 3) { total nodes { id parts { id } } } }", 1 + 1 + 1 + 3 * (1 + 1 + 5)),
            ("{ page(first: 3) { edges { cursor node { id } } } }", 1 + 1 + 3 * 3),
            ("{ page(first: 3) { own { id } } }", 1 + 1 + 3),
            ("{ page(first: 9) { own { id } } }", 1 + 1 + 3),
            ("{ half { nodes { id } edges { cursor } } }", 1 + (1 + 4) + (1 + 10)),
            ("{ half(size: 2) { nodes { id } edges { cursor } } }", 1 + (1 + 2) + (1 + 10)),
            ("{ page(first: 3) { ...F } } fragment F on Page { ... on Page { nodes { id } } }", 1 + 1 + 3),
            (
                "{ a: page(first: 3) { ...F } b: page(first: 4) { ...F } } fragment F on Page { nodes { id } }",
                (1 + 1 + 3) + (1 + 1 + 4),
            ),
        ] {
            assert_eq!(with(query, json!({})), cost, "{query}");
        }
    }

    #[test]
    fn variables_say_it_too_when_they_are_known() {
        let things = "query($n: Int) { things(first: $n) { id } }";
        let defaulted = "query($n: Int = 4) { things(first: $n) { id } }";
        let both =
            "query($n: Int, $m: Int) { things(first: $n, last: $m) { ...F } } fragment F on Thing { id }";
        let nested = "query($n: Int) { page(first: $n) { ...F } thing { parts { id } } }
            fragment F on Page { nodes { id ...G } } fragment G on Thing { children { id } parts { id } }";
        for (query, sent, cost) in [
            (things, json!({"n": 3}), 1 + 3),
            (things, json!({}), 1 + 20),
            (things, json!({"n": null}), 1 + 20),
            (things, json!({"n": -1}), 1 + 20),
            (things, json!({"n": "3"}), 1 + 20),
            (things, json!({"n": u64::MAX}), u32::MAX),
            (defaulted, json!({}), 1 + 4),
            (defaulted, json!({"n": 2}), 1 + 2),
            (both, json!({"n": 2, "m": 5}), 1 + 5),
            (both, json!({"m": 5}), 1 + 20),
            (nested, json!({"n": 2}), 1 + 1 + 2 * (1 + (1 + 10) + (1 + 5)) + 1 + 1 + 5),
            (nested, json!({"n": 0}), 1 + 1 + 1 + 1 + 5),
        ] {
            assert_eq!(with(query, sent.clone()), cost, "{query} {sent}");
        }
    }

    #[test]
    fn alternatives_are_added_up() {
        let query = "{ node { id ... on Thing { parts { id } } ... on Node { children { id } } } }";
        assert_eq!(with(query, json!({})), 1 + 1 + (1 + 5) + (1 + 2));
    }

    fn doubling(levels: usize, last: &str) -> String {
        let mut query = "query($n: Int) { page(first: $n) { nodes { ...F0 } } } ".to_owned();
        for n in 0..levels {
            write!(query, "fragment F{n} on Thing {{ ...F{next} ...F{next} }} ", next = n + 1).unwrap();
        }
        write!(query, "fragment F{levels} on Thing {{ {last} }}").unwrap();
        query
    }

    #[test]
    fn fragments_that_double_one_another_are_walked_once_each() {
        assert_eq!(with(&doubling(10, "id"), json!({"n": 3})), 2 + 3 * (1 << 10));
        assert_eq!(with(&doubling(27, "id"), json!({"n": 1})), 2 + (1 << 27));
        assert_eq!(with(&doubling(25, "id parts { parts { id } }"), json!({"n": 1_000})), u32::MAX);
        let sized = "a: one { parts { id } }";
        assert_eq!(with(&doubling(25, sized), json!({"n": 0})), 2);
    }

    #[test]
    fn only_what_variables_decide_is_left_for_requests() {
        let open = |query: &str| {
            let (schema, document) = (parse_schema(SCHEMA).unwrap(), parse_query(query).unwrap());
            let (_, operation) = document.operations.iter().next().unwrap();
            match Price::of(&Lists::of(&schema), &document, &operation.node) {
                Price::Fixed(_) => None,
                Price::Open(open) => Some(open.sums.len()),
            }
        };
        assert_eq!(open("query($n: Int) { named(first: $n) { id } thing { parts { id } } }"), None);
        assert_eq!(open("query($n: Int) { things(first: $n) { parts { id } one { id } } }"), Some(1));
        assert_eq!(open(&doubling(27, "id")), Some(1));
    }
}
