//! Puts an answer's fields in the order in which the document asks for them (GraphQL, section 7.2.2): resolvers that run
//! side by side leave them in the order in which they came.
//!
//! Not here: which fragments apply. What they would bring is not in the answer, so its place stays empty.

use async_graphql::{
    Name, Value,
    indexmap::IndexMap,
    parser::types::{ExecutableDocument, Selection, SelectionSet},
};

use super::emptied::KEPT;

/// The fields in their order, each with those below it.
#[derive(Debug, Default, Clone)]
pub(super) struct Plan(Vec<(Name, Plan)>);

/// The selection sets that one field's answer merges.
type Merged<'a> = IndexMap<&'a Name, Vec<&'a SelectionSet>>;

impl Plan {
    /// Of the operation that is executed. The document is within the limits, so its fragments spread out are not large.
    pub(super) fn of(document: &ExecutableDocument, operation_name: Option<&str>) -> Self {
        let mut operations = document.operations.iter();
        let operation = match operation_name {
            Some(wanted) => operations.find(|(name, _)| name.is_some_and(|name| name.as_str() == wanted)),
            None => operations.next(),
        };
        operation.map(|(_, found)| merged(document, &[&found.node.selection_set.node])).unwrap_or_default()
    }

    /// How many fields it names.
    pub(super) fn fields(&self) -> usize {
        self.0.iter().map(|(_, below)| 1 + below.fields()).sum()
    }

    /// Arranges what was answered.
    pub(super) fn arrange(&self, value: &mut Value) {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| self.arrange(item)),
            Value::Object(fields) => self.object(fields),
            _ => {}
        }
    }

    fn object(&self, fields: &mut IndexMap<Name, Value>) {
        if self.names_in_order(fields) {
            return self
                .0
                .iter()
                .zip(fields.values_mut())
                .for_each(|((_, below), value)| below.arrange(value));
        }
        let mut arranged = IndexMap::with_capacity(fields.len());
        for (key, below) in &self.0 {
            let Some(mut value) = fields.swap_remove(key) else { continue };
            below.arrange(&mut value);
            arranged.insert(key.clone(), value);
        }
        fields.swap_remove(KEPT);
        arranged.append(fields);
        *fields = arranged;
    }

    /// Whether all of it is there and in order: the usual case, for which nothing has to be moved.
    fn names_in_order(&self, fields: &IndexMap<Name, Value>) -> bool {
        self.0.len() == fields.len() && self.0.iter().map(|(key, _)| key).eq(fields.keys())
    }
}

fn merged(document: &ExecutableDocument, sets: &[&SelectionSet]) -> Plan {
    let mut keys = Merged::new();
    sets.iter().for_each(|set| collect(document, set, &mut keys));
    Plan(keys.into_iter().map(|(key, sets)| (key.clone(), merged(document, &sets))).collect())
}

fn collect<'a>(document: &'a ExecutableDocument, set: &'a SelectionSet, keys: &mut Merged<'a>) {
    for item in &set.items {
        match &item.node {
            Selection::Field(field) => {
                let below = keys.entry(&field.node.response_key().node).or_default();
                below.push(&field.node.selection_set.node);
            }
            Selection::InlineFragment(inline) => collect(document, &inline.node.selection_set.node, keys),
            Selection::FragmentSpread(spread) => {
                let fragment = document.fragments.get(&spread.node.fragment_name.node);
                if let Some(fragment) = fragment {
                    collect(document, &fragment.node.selection_set.node, keys);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn arranged(query: &str, operation: Option<&str>, answer: &str) -> String {
        let mut value: Value = serde_json::from_str(answer).unwrap();
        Plan::of(&parse_query(query).unwrap(), operation).arrange(&mut value);
        serde_json::to_string(&value).unwrap()
    }

    #[test]
    fn fields_stand_where_they_were_first_asked_for() {
        let query = "{ z: a { c ...F } b a { d } z: a { e } } fragment F on T { f ... { g } }";
        let answer = r#"{"a":{"d":1},"b":2,"z":{"e":5,"g":4,"f":3,"c":null}}"#;
        let expected = r#"{"z":{"c":null,"f":3,"g":4,"e":5},"b":2,"a":{"d":1}}"#;
        assert_eq!(arranged(query, None, answer), expected);
    }

    #[test]
    fn the_items_of_lists_are_arranged_each() {
        let answer = r#"{"l":[{"b":1,"a":2},null,[{"b":3,"a":4}]]}"#;
        let expected = r#"{"l":[{"a":2,"b":1},null,[{"a":4,"b":3}]]}"#;
        assert_eq!(arranged("{ l { a b } }", None, answer), expected);
    }

    #[test]
    fn the_operation_asked_for_gives_the_order() {
        let query = "query A { a b } query B { b a }";
        assert_eq!(arranged(query, Some("B"), r#"{"a":1,"b":2}"#), r#"{"b":2,"a":1}"#);
        assert_eq!(arranged(query, Some("C"), r#"{"a":1,"x":2}"#), r#"{"a":1,"x":2}"#);
    }
}
