//! A rule's text cut into words. Not here: what the words mean together (`parse.rs`).

use super::PolicyError;

/// One word, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) offset: usize,
    /// As typed, quotes included; empty at the end.
    pub(super) typed: &'t str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'t> {
    Or,
    And,
    Not,
    In,
    Equal,
    NotEqual,
    Plus,
    Open,
    Close,
    /// Between quotes, without them.
    Text(&'t str),
    Integer(i64),
    /// `claims.sub`: a name, or names joined by dots.
    Name(&'t str),
    End,
}

impl Word<'_> {
    pub(super) fn error(&self, message: impl Into<String>, expected: impl Into<String>) -> PolicyError {
        PolicyError {
            offset: self.offset,
            words: self.typed.to_owned(),
            message: message.into(),
            expected: expected.into(),
        }
    }

    /// As one would name it in a sentence.
    pub(super) fn named(&self) -> String {
        if self.kind == Kind::End { "the rule's end".to_owned() } else { format!("`{}`", self.typed) }
    }
}

/// All words of a text, the last one being [`Kind::End`].
pub(super) fn scan(text: &str) -> Result<Vec<Word<'_>>, PolicyError> {
    let mut words = Vec::new();
    let mut offset = 0;
    loop {
        offset += text[offset..].len() - text[offset..].trim_start().len();
        let word = word(text, offset)?;
        offset += word.typed.len();
        words.push(word);
        if word.kind == Kind::End {
            return Ok(words);
        }
    }
}

/// The word that begins at `offset`.
fn word(text: &str, offset: usize) -> Result<Word<'_>, PolicyError> {
    let rest = &text[offset..];
    let made = |kind, length| Ok(Word { kind, offset, typed: &rest[..length] });
    for (sign, kind) in SIGNS {
        if rest.starts_with(sign) {
            return made(*kind, sign.len());
        }
    }
    match rest.bytes().next() {
        None => made(Kind::End, 0),
        Some(b'\'') => quoted(rest, offset),
        Some(b'0'..=b'9' | b'-') => integer(rest, offset),
        Some(first) if first.is_ascii_alphabetic() || first == b'_' => {
            let length = rest.find(|c: char| !in_name(c)).unwrap_or(rest.len());
            made(keyword(&rest[..length]), length)
        }
        Some(_) => Err(stray(rest, offset)),
    }
}

const SIGNS: &[(&str, Kind<'static>)] =
    &[("==", Kind::Equal), ("!=", Kind::NotEqual), ("+", Kind::Plus), ("(", Kind::Open), (")", Kind::Close)];

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn keyword(name: &str) -> Kind<'_> {
    match name {
        "or" => Kind::Or,
        "and" => Kind::And,
        "not" => Kind::Not,
        "in" => Kind::In,
        _ => Kind::Name(name),
    }
}

fn quoted(rest: &str, offset: usize) -> Result<Word<'_>, PolicyError> {
    match rest[1..].find('\'') {
        Some(length) => Ok(Word { kind: Kind::Text(&rest[1..=length]), offset, typed: &rest[..length + 2] }),
        None => {
            let open = Word { kind: Kind::End, offset, typed: rest };
            Err(open.error("a text is not closed", "a second `'`"))
        }
    }
}

fn integer(rest: &str, offset: usize) -> Result<Word<'_>, PolicyError> {
    let length = 1 + rest[1..].find(|c: char| !in_name(c)).unwrap_or(rest.len() - 1);
    let typed = &rest[..length];
    let number = typed.parse::<i64>().ok().filter(|number| number.to_string() == typed);
    let word = Word { kind: Kind::Integer(number.unwrap_or_default()), offset, typed };
    number.map(|_| word).ok_or_else(|| {
        word.error(format!("`{typed}` is no integer"), "digits only, without a leading zero, up to 63 bits")
    })
}

/// A sign that the language does not have, with what was probably meant.
fn stray(rest: &str, offset: usize) -> PolicyError {
    let length = rest.chars().next().map_or(0, char::len_utf8);
    let sign = Word { kind: Kind::End, offset, typed: &rest[..length] };
    let expected = match sign.typed {
        "=" => "`==`",
        "!" => "`not` or `!=`",
        "&" => "`and`",
        "|" => "`or`",
        "\"" => "a text between single quotes",
        _ => "",
    };
    sign.error(format!("`{}` means nothing in a rule", sign.typed), expected)
}
