//! Documents, parsed, checked against the limits and planned once for each text, and kept.
//!
//! Not here: the rest of validation, which depends on what is sent for the variables and is the schema's.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_graphql::{
    Name, Pos, Positioned, ServerError, Value, Variables,
    parser::{
        Error as ParseError, parse_query,
        types::{
            Directive, DocumentOperations, ExecutableDocument, InlineFragment, OperationDefinition,
            OperationType, Selection, SelectionSet, VariableDefinition,
        },
    },
};
use moka::sync::Cache;

use super::{
    Limits, Refusal, arrange::Plan, emptied, freshness::Ages, lenient::Shapes, lexer, limits, lists::Lists,
    overlap, price::Price, proven, variables,
};

/// A document that was let in.
pub(super) struct Document {
    pub(super) text: Arc<str>,
    parsed: ExecutableDocument,
    /// What each operation costs, in their order, and the most that one may.
    prices: Vec<Price>,
    most: u32,
    /// For how many seconds the answer to each may be kept, in their order; none where nothing ever is.
    ages: Vec<Option<u32>>,
    /// The order of the answer's fields, of the only operation. Documents of several are rare, and each of their plans
    /// may be as large as the limits allow: those are made when they are needed.
    plan: Option<Plan>,
    /// Whether anything in it is left out by `@skip` or `@include`.
    conditional: bool,
    /// Whether a document that was found valid once stays so while its variables are plain (`proven.rs`).
    provable: bool,
    /// Whether it was.
    proven: AtomicBool,
}

/// The root fields of an operation: how many, and whether `@skip` or `@include` decides about any.
#[derive(Clone, Copy, Default)]
struct Roots {
    fields: usize,
    conditional: bool,
}

/// Documents by their text.
pub(super) struct Documents {
    known: Cache<Arc<str>, Arc<Document>>,
    limits: Limits,
    shapes: Shapes,
    lists: Lists,
    ages: Ages,
    introspection: bool,
}

/// What the kept texts may weigh, in bytes; parsed they weigh some ten times as much.
const MOST: u64 = 4 << 20;
/// What a field of a plan weighs beside them: fragments make a plan longer than its text.
const FIELD: usize = 8;

impl Documents {
    pub(super) fn new(limits: Limits, shapes: Shapes, lists: Lists, ages: Ages, introspection: bool) -> Self {
        let weight = |text: &Arc<str>, document: &Arc<Document>| {
            u32::try_from(text.len() + FIELD * document.plan.as_ref().map_or(0, Plan::fields))
                .unwrap_or(u32::MAX)
        };
        let known = Cache::builder().max_capacity(MOST).weigher(weight).build();
        Documents { known, limits, shapes, lists, ages, introspection }
    }

    /// The document of that text. Of many who bring it at once one reads it; for the others it takes no longer to wait than it
    /// would to read it themselves.
    pub(super) fn get(&self, query: &str) -> Result<Arc<Document>, ServerError> {
        if let Some(known) = self.known.get(query) {
            return Ok(known);
        }
        lexer::measure(query, &self.limits).map_err(invalid)?; // before anything of its size is made
        let document = self.known.try_get_with(query.into(), || self.read(query).map(Arc::new));
        document.map_err(|wrong: Arc<ServerError>| Arc::unwrap_or_clone(wrong))
    }

    /// Reads a document that is kept elsewhere.
    pub(super) fn read(&self, query: &str) -> Result<Document, ServerError> {
        lexer::measure(query, &self.limits).map_err(invalid)?;
        let mut parsed = parse_query(query).map_err(|wrong| unparsed(&wrong))?;
        limits::check(&parsed, &self.limits).map_err(invalid)?;
        let prices = self.prices(&parsed)?;
        if !self.introspection && limits::introspects(&parsed) {
            return Err(invalid("Introspection is not offered here."));
        }
        overlap::check(&self.shapes, &parsed)?;
        variables::check(&self.shapes, &parsed)?;
        self.shapes.loosen(&mut parsed);
        let plan = (parsed.operations.iter().count() == 1).then(|| Plan::of(&parsed, None));
        let conditional = emptied::conditional(&parsed);
        let ages = self.ages.of(&self.shapes, &parsed);
        let provable = !limits::introspects(&parsed) && proven::provable(&parsed);
        let proven = AtomicBool::new(false);
        let (text, most) = (query.into(), self.limits.cost);
        Ok(Document { text, parsed, prices, most, ages, plan, conditional, provable, proven })
    }

    /// What each operation costs, if none costs too much whatever is sent.
    fn prices(&self, parsed: &ExecutableDocument) -> Result<Vec<Price>, ServerError> {
        let price = |operation: &Positioned<OperationDefinition>| {
            let price = Price::of(&self.lists, parsed, &operation.node);
            match price {
                Price::Fixed(cost) if cost > self.limits.cost => {
                    Err(dear(cost, self.limits.cost, operation.pos))
                }
                price => Ok(price),
            }
        };
        parsed.operations.iter().map(|(_, operation)| price(operation)).collect()
    }
}

impl Document {
    /// A copy that can be executed with those variables.
    pub(super) fn ready(
        &self,
        operation_name: Option<&str>,
        variables: &mut Variables,
    ) -> ExecutableDocument {
        let mut parsed = self.parsed.clone();
        if self.conditional {
            emptied::keep(&mut parsed, operation_name, variables);
        }
        parsed
    }

    /// Whether all of it is known to be valid, with those variables.
    pub(super) fn is_proven(&self, operation_name: Option<&str>, variables: &Variables) -> bool {
        self.proven.load(Ordering::Relaxed)
            && self
                .operation(operation_name)
                .is_some_and(|(_, operation)| proven::plain(&operation.variable_definitions, variables))
    }

    /// Validation had nothing to say against it.
    pub(super) fn prove(&self) {
        if self.provable {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    /// In which order the operation's fields are answered.
    pub(super) fn plan(&self, operation_name: Option<&str>) -> Cow<'_, Plan> {
        match &self.plan {
            Some(plan) => Cow::Borrowed(plan),
            None => Cow::Owned(Plan::of(&self.parsed, operation_name)),
        }
    }

    /// What kind the operation is that would be executed; none when there is none of that name.
    pub(super) fn kind(&self, operation_name: Option<&str>) -> Option<OperationType> {
        self.operation(operation_name).map(|(_, operation)| operation.ty)
    }

    /// What the operation costs that would be executed, with those variables; 1 when there is none of that name.
    pub(super) fn cost(
        &self,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<u32, ServerError> {
        let Some((index, operation)) = self.find(operation_name) else { return Ok(1) };
        let cost = self.prices[index].with(variables);
        if cost > self.most { Err(dear(cost, self.most, operation.pos)) } else { Ok(cost) }
    }

    /// All that the operation needs of its variables is sent, or nothing of it is executed (GraphQL section 6.1.2): what writes
    /// must not be done by halves.
    pub(super) fn check_sent(
        &self,
        operation_name: Option<&str>,
        variables: &Variables,
    ) -> Result<(), ServerError> {
        let Some((_, operation)) = self.operation(operation_name) else { return Ok(()) };
        let missing = operation.variable_definitions.iter().find(|declared| {
            let VariableDefinition { name, var_type, default_value, .. } = &declared.node;
            !var_type.node.nullable && default_value.is_none() && !variables.contains_key(&name.node)
        });
        let Some(missing) = missing else { return Ok(()) };
        let name = &missing.node.name.node;
        let mut error = Refusal::bad_input(format!("The variable `${name}` is needed.")).into_server_error();
        error.locations = vec![missing.pos];
        Err(error)
    }

    /// A subscription tells of one thing, whatever its variables are (GraphQL section 5.2.4.1).
    pub(super) fn check_root(&self, operation_name: Option<&str>) -> Result<(), ServerError> {
        match self.operation(operation_name) {
            Some((_, operation)) if operation.ty == OperationType::Subscription => {
                let roots = self.roots(&operation.selection_set.node, 0);
                match roots.conditional {
                    _ if roots.fields != 1 => Err(invalid("A subscription must have one root field.")),
                    true => Err(invalid(
                        "`@skip` and `@include` must not decide about the root field of a subscription.",
                    )),
                    false => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// The fields of a selection, those of its fragments too. Fragments that are in each other have been refused already.
    fn roots(&self, set: &SelectionSet, depth: usize) -> Roots {
        const DEEPEST: usize = 10;
        if depth > DEEPEST {
            return Roots { fields: usize::MAX / 2, conditional: false };
        }
        let counts = set.items.iter().map(|item| {
            let found = match &item.node {
                Selection::Field(_) => Roots { fields: 1, conditional: false },
                Selection::InlineFragment(inline) => self.roots(&inline.node.selection_set.node, depth + 1),
                Selection::FragmentSpread(spread) => {
                    let fragment = self.parsed.fragments.get(&spread.node.fragment_name.node);
                    fragment.map_or_else(Roots::default, |found| {
                        self.roots(&found.node.selection_set.node, depth + 1)
                    })
                }
            };
            let decides =
                |on: &Positioned<Directive>| matches!(on.node.name.node.as_str(), "skip" | "include");
            Roots { conditional: found.conditional || item.node.directives().iter().any(decides), ..found }
        });
        counts.fold(Roots::default(), |all, more| Roots {
            fields: all.fields.saturating_add(more.fields),
            conditional: all.conditional || more.conditional,
        })
    }

    /// The name of its only operation.
    pub(super) fn only_name(&self) -> Option<&str> {
        let mut names = self.parsed.operations.iter().map(|(name, _)| name);
        let only = names.next().flatten()?;
        names.next().is_none().then_some(only.as_str())
    }

    /// The names of its operations, as they are executed.
    pub(super) fn names(&self) -> Vec<Option<String>> {
        self.parsed.operations.iter().map(|(name, _)| name.map(ToString::to_string)).collect()
    }

    /// A copy that is as valid as this and asks for nothing: each operation's fields are in a fragment that is skipped.
    pub(super) fn asking_nothing(&self) -> ExecutableDocument {
        let mut parsed = self.parsed.clone();
        match &mut parsed.operations {
            DocumentOperations::Single(operation) => skip_all(&mut operation.node.selection_set),
            DocumentOperations::Multiple(all) => {
                all.values_mut().for_each(|operation| skip_all(&mut operation.node.selection_set));
            }
        }
        parsed
    }

    /// For how many seconds the answer to the operation may be kept that would be executed.
    pub(super) fn age(&self, operation_name: Option<&str>) -> Option<u32> {
        let (index, _) = self.operation(operation_name).filter(|_| !self.ages.is_empty())?;
        self.ages[index]
    }

    fn operation(&self, name: Option<&str>) -> Option<(usize, &OperationDefinition)> {
        self.find(name).map(|(index, operation)| (index, &operation.node))
    }

    fn find(&self, name: Option<&str>) -> Option<(usize, &Positioned<OperationDefinition>)> {
        let mut operations = self.parsed.operations.iter().enumerate();
        let of_name =
            |known: Option<&Name>| name.is_none_or(|name| known.is_some_and(|known| known.as_str() == name));
        let found = operations.find(|(_, (known, _))| of_name(*known));
        found.map(|(index, (_, operation))| (index, operation))
    }
}

/// `{ a }` becomes `{ ... @skip(if: true) { a } }`.
fn skip_all(set: &mut Positioned<SelectionSet>) {
    fn at<T>(node: T) -> Positioned<T> {
        Positioned::new(node, Pos::default())
    }
    let always = (at(Name::new("if")), at(Value::Boolean(true).into_value()));
    let skip = Directive { name: at(Name::new("skip")), arguments: vec![always] };
    let selection_set = std::mem::replace(set, at(SelectionSet::default()));
    let all = InlineFragment { type_condition: None, directives: vec![at(skip)], selection_set };
    set.node.items.push(at(Selection::InlineFragment(at(all))));
}

/// The operation of that name; the only one when none is given.
pub(super) fn operation_mut<'a>(
    operations: &'a mut DocumentOperations,
    name: Option<&str>,
) -> Option<&'a mut OperationDefinition> {
    match (operations, name) {
        (DocumentOperations::Single(operation), _) => Some(&mut operation.node),
        (DocumentOperations::Multiple(all), Some(name)) => all.get_mut(name).map(|found| &mut found.node),
        (DocumentOperations::Multiple(all), None) => all.values_mut().next().map(|found| &mut found.node),
    }
}

/// Names that clash are found by the parser, but are the validation's to tell (GraphQL, sections 5.2 and 5.5.1). The
/// parser's own words are a drawing of several lines, and speak of its grammar.
fn unparsed(wrong: &ParseError) -> ServerError {
    const CLASH: &str = "GRAPHQL_VALIDATION_FAILED";
    const UNREAD: &str = "GRAPHQL_PARSE_FAILED";
    let (code, message) = match wrong {
        ParseError::OperationDuplicated { operation, .. } => {
            (CLASH, format!("There are two operations of the name `{operation}`."))
        }
        ParseError::FragmentDuplicated { fragment, .. } => {
            (CLASH, format!("There are two fragments of the name `{fragment}`."))
        }
        ParseError::MultipleOperations { .. } => {
            (CLASH, "An operation without a name must be the only one.".to_owned())
        }
        ParseError::MissingOperation => (UNREAD, "The document has no operation.".to_owned()),
        ParseError::Syntax { start, .. } => {
            (UNREAD, format!("This is no GraphQL at line {}, column {}.", start.line, start.column))
        }
        _ => (UNREAD, "The document cannot be read.".to_owned()),
    };
    let mut error = Refusal { code, message: message.into() }.into_server_error();
    error.locations = wrong.positions().collect();
    error
}

pub(super) fn invalid(why: impl Into<Cow<'static, str>>) -> ServerError {
    Refusal { code: "GRAPHQL_VALIDATION_FAILED", message: why.into() }.into_server_error()
}

fn dear(cost: u32, most: u32, at: Pos) -> ServerError {
    let mut error = invalid(format!("The operation costs {cost}, and {most} is the most."));
    error.locations = vec![at];
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(introspection: bool) -> Documents {
        Documents::new(Limits::default(), Shapes::default(), Lists::default(), Ages::default(), introspection)
    }

    #[test]
    fn a_text_is_parsed_once_however_many_bring_it() {
        let documents = documents(true);
        let (first, second) = (documents.get("{ a }").ok().unwrap(), documents.get("{ a }").ok().unwrap());
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_plan_of_an_only_operation_is_made_once() {
        let query = "query A { a ...F } fragment F on T { b c }";
        let document = documents(true).get(query).ok().unwrap();
        let plan = document.plan(Some("A"));
        assert!(matches!(plan, Cow::Borrowed(_)) && plan.fields() == 3);
        let several = documents(true).get("query A { a } query B { b c }").ok().unwrap();
        assert_eq!((several.plan(Some("A")).fields(), several.plan(Some("B")).fields()), (1, 2));
    }

    fn refused(query: &str) -> ServerError {
        documents(false).get(query).err().unwrap()
    }

    #[test]
    fn what_is_refused_says_by_which_step() {
        let code = |query: &str| refused(query).extensions.unwrap().get("code").unwrap().to_string();
        assert_eq!(code("{ a"), "\"GRAPHQL_PARSE_FAILED\"");
        assert_eq!(code(""), "\"GRAPHQL_PARSE_FAILED\"");
        assert_eq!(code("query A { a } query A { a }"), "\"GRAPHQL_VALIDATION_FAILED\"");
        assert_eq!(code(&"{ a ".repeat(2_000)), "\"GRAPHQL_VALIDATION_FAILED\"");
        assert_eq!(code("{ __schema { types { name } } }"), "\"GRAPHQL_VALIDATION_FAILED\"");
    }

    #[test]
    fn what_cannot_be_read_is_told_in_one_line_with_its_place() {
        for (query, message, places) in [
            ("{ a(b: ) }", "This is no GraphQL at line 1, column 8.", vec![(1, 8)]),
            ("{\n  a\n", "This is no GraphQL at line 3, column 1.", vec![(3, 1)]),
            ("", "This is no GraphQL at line 1, column 1.", vec![(1, 1)]),
            ("{ a } { b }", "An operation without a name must be the only one.", vec![(1, 7), (1, 1)]),
            (
                "query A { a }\nquery A { a }",
                "There are two operations of the name `A`.",
                vec![(2, 1), (1, 1)],
            ),
            ("fragment F on T { a }", "The document has no operation.", vec![]),
        ] {
            let error = refused(query);
            let told: Vec<_> = error.locations.iter().map(|at| (at.line, at.column)).collect();
            assert_eq!((error.message.as_str(), told), (message, places), "{query}");
        }
    }

    #[test]
    fn the_kind_is_that_of_the_operation_asked_for() {
        let document = documents(true).get("query A { a } mutation B { b }").ok().unwrap();
        assert_eq!(document.kind(Some("A")), Some(OperationType::Query));
        assert_eq!(document.kind(Some("B")), Some(OperationType::Mutation));
        assert_eq!(document.kind(Some("C")), None);
        let document = documents(true).get("query A { a } query B { b { c } }").ok().unwrap();
        let cost = |name| document.cost(Some(name), &Variables::default()).ok().unwrap();
        assert_eq!((cost("A"), cost("B"), cost("C")), (1, 2, 1));
    }
}
