//! Words into a rule, by recursive descent over at most [`DEEPEST`] levels.
//!
//! Not here: whether a path parameter or a part of that name exists; whoever loads the route asks [`Policy::inputs`].

use super::{
    Comparison, Input, Operand, Policy, PolicyError, Rule,
    scan::{Kind, Word, scan},
};

/// Far deeper than anybody can read, far from the end of any stack: parsing, evaluating and dropping recurse.
const DEEPEST: usize = 32;

const OPERANDS: &str = "a 'text', an integer, or claims.*, path.*, query.*, body.*, PART.*";

pub(super) fn parse(text: &str) -> Result<Policy, PolicyError> {
    let mut parser = Parser { words: scan(text)?, next: 0, depth: 0, inputs: Vec::new() };
    let rule = parser.any()?;
    let word = parser.peek();
    if word.kind != Kind::End {
        return Err(word.error(format!("{} is not expected here", word.named()), "`and`, `or`, or the end"));
    }
    Ok(Policy { rule, inputs: parser.inputs })
}

struct Parser<'t> {
    words: Vec<Word<'t>>,
    next: usize,
    depth: usize,
    inputs: Vec<Input>,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Word<'t> {
        self.words[self.next]
    }

    /// The next word, which is passed; the end is never passed.
    fn take(&mut self) -> Word<'t> {
        let word = self.peek();
        if word.kind != Kind::End {
            self.next += 1;
        }
        word
    }

    fn took(&mut self, kind: Kind<'_>) -> bool {
        let found = self.peek().kind == kind;
        if found {
            self.next += 1;
        }
        found
    }

    fn any(&mut self) -> Result<Rule, PolicyError> {
        let mut branches = vec![self.all()?];
        while self.took(Kind::Or) {
            branches.push(self.all()?);
        }
        Ok(one_or(branches, Rule::Any))
    }

    fn all(&mut self) -> Result<Rule, PolicyError> {
        let mut branches = vec![self.not()?];
        while self.took(Kind::And) {
            branches.push(self.not()?);
        }
        Ok(one_or(branches, Rule::All))
    }

    fn not(&mut self) -> Result<Rule, PolicyError> {
        let word = self.peek();
        match word.kind {
            Kind::Not => {
                self.take();
                self.deeper(word, Self::not).map(|rule| Rule::Not(Box::new(rule)))
            }
            Kind::Open => {
                self.take();
                let rule = self.deeper(word, Self::any)?;
                self.close(word)?;
                Ok(rule)
            }
            _ => self.comparison(),
        }
    }

    /// One level down, unless that is one too many.
    fn deeper<T>(
        &mut self,
        from: Word<'_>,
        read: impl FnOnce(&mut Self) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        if self.depth == DEEPEST {
            return Err(from.error("the rule is nested too deeply", format!("at most {DEEPEST} levels")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn close(&mut self, open: Word<'_>) -> Result<(), PolicyError> {
        if self.took(Kind::Close) {
            return Ok(());
        }
        let word = self.peek();
        let expected = format!("`)` for the `(` at offset {}", open.offset);
        Err(word.error(format!("{} stands where a parenthesis should close", word.named()), expected))
    }

    fn comparison(&mut self) -> Result<Rule, PolicyError> {
        let left = self.operand()?;
        let word = self.take();
        let by = match word.kind {
            Kind::Equal => Comparison::Equal,
            Kind::NotEqual => Comparison::NotEqual,
            Kind::In => Comparison::In,
            _ => {
                let message = format!("{} stands where a comparison should be", word.named());
                return Err(word.error(message, "`==`, `!=` or `in`"));
            }
        };
        let list = self.peek();
        let right = self.operand()?;
        if by == Comparison::In && !matches!(right, Operand::Input(_)) {
            return Err(list.error(format!("{} is no list", list.named()), "an input, such as claims.roles"));
        }
        Ok(Rule::Compare { left, by, right })
    }

    fn operand(&mut self) -> Result<Operand, PolicyError> {
        let mut atoms = vec![self.atom()?];
        while self.took(Kind::Plus) {
            atoms.push(self.atom()?);
        }
        Ok(one_or(atoms, Operand::Joined))
    }

    fn atom(&mut self) -> Result<Operand, PolicyError> {
        let word = self.take();
        match word.kind {
            Kind::Text(text) => Ok(Operand::Text(text.to_owned())),
            Kind::Integer(number) => Ok(Operand::Text(number.to_string())),
            Kind::Name(name) => {
                let input = input(word, name)?;
                self.inputs.push(input.clone());
                Ok(Operand::Input(input))
            }
            _ => Err(word.error(format!("{} stands where a value should be", word.named()), OPERANDS)),
        }
    }
}

/// The only one, or all of them together.
fn one_or<T>(mut many: Vec<T>, together: impl FnOnce(Vec<T>) -> T) -> T {
    match many.pop() {
        Some(only) if many.is_empty() => only,
        last => {
            many.extend(last);
            together(many)
        }
    }
}

/// An input that stands alone.
pub(super) fn lone(name: &str) -> Result<Input, PolicyError> {
    input(Word { kind: Kind::Name(name), offset: 0, typed: name }, name)
}

fn input(word: Word<'_>, name: &str) -> Result<Input, PolicyError> {
    let mut steps = name.split('.').map(str::to_owned);
    let first = steps.next().unwrap_or_default();
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() || steps.iter().any(String::is_empty) {
        return Err(word.error(format!("`{name}` names no field"), OPERANDS));
    }
    match first.as_str() {
        "claims" => Ok(Input::Claim(steps)),
        "body" => Ok(Input::Body(steps)),
        "path" => single(word, steps).map(Input::Path),
        "query" => single(word, steps).map(Input::Query),
        _ => Ok(Input::Part { part: first, field: steps }),
    }
}

/// Path and query parameters have no fields.
fn single(word: Word<'_>, mut steps: Vec<String>) -> Result<String, PolicyError> {
    match steps.pop() {
        Some(name) if steps.is_empty() => Ok(name),
        _ => Err(word
            .error(format!("`{}` goes too deep: a parameter is text", word.typed), "one name after the dot")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> PolicyError {
        Policy::parse(text).unwrap_err()
    }

    #[test]
    fn and_binds_tighter_than_or_and_not_tighter_than_both() {
        let same = |a: &str, b: &str| assert_eq!(parse(a).unwrap().rule, parse(b).unwrap().rule, "{a}");
        same("1 == 1 or 2 == 2 and 3 == 3", "1 == 1 or (2 == 2 and 3 == 3)");
        same("not 1 == 1 and 2 == 2", "(not 1 == 1) and 2 == 2");
        same("  1==1   or(2==2)", "1 == 1 or 2 == 2");
    }

    #[test]
    fn a_rule_tells_what_it_reads() {
        let policy =
            Policy::parse("claims.sub == 'restaurant-' + orderInfo.restaurantId or query.q == body.a.b")
                .unwrap();
        let inputs: Vec<String> = policy.inputs().iter().map(ToString::to_string).collect();
        assert_eq!(inputs, ["claims.sub", "orderInfo.restaurantId", "query.q", "body.a.b"]);
        assert_eq!(policy.parts().collect::<Vec<_>>(), ["orderInfo"]);
        assert!(policy.reads_body());
    }

    #[test]
    fn a_mistake_is_underlined_where_it_is() {
        for (text, offset, words, expected) in [
            ("claims.sub = path.id", 11, "=", "`==`"),
            ("claims.sub == \"5\"", 14, "\"", "a text between single quotes"),
            ("claims.sub == 'abc", 14, "'abc", "a second `'`"),
            ("claims.sub", 10, "", "`==`, `!=` or `in`"),
            ("claims.sub == ", 14, "", OPERANDS),
            ("claims == 5", 0, "claims", OPERANDS),
            ("claims. == 5", 0, "claims.", OPERANDS),
            ("path.a.b == 5", 0, "path.a.b", "one name after the dot"),
            ("claims.n == 007", 12, "007", "digits only, without a leading zero, up to 63 bits"),
            ("claims.n == 5 claims.m == 6", 14, "claims.m", "`and`, `or`, or the end"),
            ("(claims.n == 5", 14, "", "`)` for the `(` at offset 0"),
            ("claims.sub in 'abc'", 14, "'abc'", "an input, such as claims.roles"),
            ("claims.a == 'x' && claims.b == 'y'", 16, "&", "`and`"),
            ("", 0, "", OPERANDS),
        ] {
            let error = error(text);
            assert_eq!((error.offset, error.words.as_str()), (offset, words), "{text}: {error}");
            assert_eq!(error.expected, expected, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_length_is_not_nesting() {
        let nested = |levels: usize| format!("{}1 == 1{}", "(".repeat(levels), ")".repeat(levels));
        assert!(Policy::parse(&nested(DEEPEST)).is_ok());
        assert!(Policy::parse(&nested(DEEPEST + 1)).is_err());
        assert!(Policy::parse(&nested(1_000_000)).is_err());
        assert!(Policy::parse(&format!("{}1 == 1", "not ".repeat(1_000_000))).is_err());
        assert!(Policy::parse(&vec!["1 == 1"; 10_000].join(" or ")).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,60}") {
            let _ = Policy::parse(&text);
        }

        #[test]
        fn no_mix_of_words_makes_it_panic_and_errors_point_into_the_text(
            words in prop::collection::vec(prop::sample::select(vec![
                "or", "and", "not", "in", "==", "!=", "+", "(", ")", "'t'", "'é", "-5", "claims.a", "path.b", "x", "ü",
            ]), 0..20),
        ) {
            let text = words.join(" ");
            if let Err(error) = Policy::parse(&text) {
                prop_assert!(text[error.offset..].starts_with(&error.words));
            }
        }
    }
}
