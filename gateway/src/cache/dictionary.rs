//! Dictionaries of structured fields (RFC 9651 section 3.2), as far as directives need them: keys, integers, texts, truth.
//!
//! Not here: what the members mean (`directives.rs`).

/// A member of a dictionary. Its parameters have been read over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    pub(super) value: Value<'a>,
}

/// A value, as far as it is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Integer(i64),
    /// A string without escapes, or a token.
    Text(&'a str),
    /// A key alone, or `?1`.
    True,
    /// Anything else that is well-formed.
    Other,
}

/// The members of one line, each `None` where the line is no dictionary. Nothing for a line that is not even a begin of one.
pub(super) fn members(line: &str) -> Option<Vec<Option<Member<'_>>>> {
    let mut reader = Reader { rest: line.trim_matches(' ') };
    let mut all = Vec::new();
    while !reader.rest.is_empty() {
        let member = reader.member();
        all.push(member);
        member?;
        reader.blanks();
        if reader.rest.is_empty() {
            break;
        }
        reader.take(',')?;
        reader.blanks();
        if reader.rest.is_empty() {
            return None; // a comma at the end
        }
    }
    Some(all)
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn take(&mut self, expected: char) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    fn span(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (span, rest) = self.rest.split_at(end);
        self.rest = rest;
        span
    }

    fn key(&mut self) -> Option<&'a str> {
        let begins = self.rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        let fits =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*');
        begins.then(|| self.span(fits))
    }

    fn member(&mut self) -> Option<Member<'a>> {
        let key = self.key()?;
        let value = if self.take('=').is_some() { self.value()? } else { Value::True };
        self.parameters()?;
        Some(Member { key, value })
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(';').is_some() {
            self.rest = self.rest.trim_start_matches(' ');
            self.key()?;
            if self.take('=').is_some() {
                self.item()?;
            }
        }
        Some(())
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if self.take('(').is_none() {
            return self.item();
        }
        loop {
            self.rest = self.rest.trim_start_matches(' ');
            if self.take(')').is_some() {
                return Some(Value::Other);
            }
            self.item()?;
            self.parameters()?;
            if !self.rest.starts_with([' ', ')']) {
                return None;
            }
        }
    }

    fn item(&mut self) -> Option<Value<'a>> {
        match self.rest.chars().next()? {
            '"' => self.text(),
            '?' => {
                let value = self.rest.get(..2)?;
                self.rest = &self.rest[2..];
                match value {
                    "?1" => Some(Value::True),
                    "?0" => Some(Value::Other),
                    _ => None,
                }
            }
            ':' => {
                self.take(':')?;
                self.span(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
                self.take(':')?;
                Some(Value::Other)
            }
            '-' | '0'..='9' => self.number(),
            c if c.is_ascii_alphabetic() || c == '*' => {
                let fits = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
                Some(Value::Text(self.span(fits)))
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let sign = if self.take('-').is_some() { -1 } else { 1 };
        let digits = self.span(|c| c.is_ascii_digit());
        if digits.is_empty() || digits.len() > 15 {
            return None;
        }
        if self.take('.').is_some() {
            let fraction = self.span(|c| c.is_ascii_digit());
            return (1..=3).contains(&fraction.len()).then_some(Value::Other);
        }
        Some(Value::Integer(sign * digits.parse::<i64>().ok()?))
    }

    fn text(&mut self) -> Option<Value<'a>> {
        self.take('"')?;
        let (mut escaped, mut escapes) = (false, false);
        for (at, byte) in self.rest.bytes().enumerate() {
            match byte {
                b'"' | b'\\' if escaped => escaped = false,
                _ if escaped => return None,
                b'\\' => (escaped, escapes) = (true, true),
                b'"' => {
                    let text = &self.rest[..at];
                    self.rest = &self.rest[at + 1..];
                    return Some(if escapes { Value::Other } else { Value::Text(text) });
                }
                0x20..=0x7e => {}
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_keys_with_or_without_values() {
        let line = r#"a, b=5;x="y;,", c="d, e" , f=?1, g=?0, h=(1 "x";y 2), i=tok/en, j=-3, k=1.5, l=:aGk=:"#;
        let all: Vec<_> = members(line).unwrap().into_iter().map(|m| m.map(|m| (m.key, m.value))).collect();
        let expected = [
            ("a", Value::True),
            ("b", Value::Integer(5)),
            ("c", Value::Text("d, e")),
            ("f", Value::True),
            ("g", Value::Other),
            ("h", Value::Other),
            ("i", Value::Text("tok/en")),
            ("j", Value::Integer(-3)),
            ("k", Value::Other),
            ("l", Value::Other),
        ];
        assert_eq!(all, expected.map(Some));
        assert_eq!(members(" "), Some(vec![]));
    }

    #[test]
    fn what_is_no_dictionary_has_a_member_that_is_none_or_is_none() {
        for wrong in
            ["A=1", "a=", "a= 1", "a =1", "a=1 b=2", "a=1,", "a=\"x", "a=?2", "a=(1", "a=&", "a;B", "a=1."]
        {
            assert!(members(wrong).is_none_or(|all| all.contains(&None)), "{wrong}");
        }
    }
}
