//! Counts the tokens of a document and how deep its brackets nest, before a parser that recurses sees it.
//!
//! Not a parser: what is no GraphQL is counted too, and refused by the parser later.

use super::limits::Limits;

/// Bytes of a name or a number. Who looks for what a wrong name may have meant does so in the square of its length.
const WORD: usize = 256;

/// Whether the text stays within the limits on tokens and nesting; else which one it breaks.
pub(super) fn measure(query: &str, limits: &Limits) -> Result<(), &'static str> {
    let bytes = query.as_bytes();
    let (mut at, mut tokens, mut open) = (0, 0usize, 0usize);
    while at < bytes.len() {
        let byte = bytes[at];
        let end = end(bytes, at);
        if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b'#') {
            tokens += 1;
        }
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        if end - at > WORD && is_word(&byte) {
            return Err("A name or a number in the document is too long.");
        }
        if tokens > limits.tokens {
            return Err("The document has too many tokens.");
        }
        if open > limits.nesting {
            return Err("The document is nested too deep.");
        }
        at = end;
    }
    Ok(())
}

/// Where what begins at `at` ends.
fn end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let run =
        |belongs: fn(&u8) -> bool| rest.iter().position(|byte| !belongs(byte)).unwrap_or(rest.len()).max(1);
    at + match rest[0] {
        b'#' => run(|byte| !matches!(byte, b'\n' | b'\r')),
        b'"' if rest.starts_with(b"\"\"\"") => block_string(rest),
        b'"' => string(rest),
        byte if is_word(&byte) => run(is_word),
        _ => 1,
    }
}

fn is_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+')
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' | b'\n' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn block_string(rest: &[u8]) -> usize {
    let mut at = 3;
    while at < rest.len() {
        if rest[at..].starts_with(b"\\\"\"\"") {
            at += 4;
        } else if rest[at..].starts_with(b"\"\"\"") {
            return at + 3;
        } else {
            at += 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(query: &str, tokens: usize, nesting: usize) -> bool {
        measure(query, &Limits { tokens, nesting, ..Limits::default() }).is_ok()
    }

    #[test]
    fn tokens_are_names_numbers_strings_and_signs() {
        let query = "{ a(b: \"{ c } \\\" {\", c: 12) # { { {\n }";
        assert!(within(query, 11, 2) && !within(query, 10, 2));
        assert!(within("\"\"\"{ \" \\\"\"\" {{{\"\"\"", 1, 0));
        assert!(within("\"\\", 1, 0), "an escape at the very end");
    }

    #[test]
    fn words_end_somewhere_and_texts_may_be_long() {
        let word = |length: usize| within(&format!("{{ {} }}", "a".repeat(length)), 9, 9);
        assert!(word(WORD) && !word(WORD + 1));
        assert!(!within(&"1".repeat(WORD + 1), 9, 9));
        assert!(within(&format!("{{ a(b: \"{0}\") }} # {0}", "c".repeat(WORD + 1)), 9, 9));
    }

    #[test]
    fn brackets_of_all_kinds_nest() {
        assert!(within("{a(b:[1])}", 99, 3));
        assert!(!within("{a(b:[1])}", 99, 2));
        assert!(!within(&"[".repeat(100_000), usize::MAX, 64));
    }
}
