//! `{ get: order/orders/{orderId} }`: braces of a parameter or a variable inside a flow mapping, without quotes.
//!
//! YAML takes such braces for the begin and end of a mapping. Templates are what this configuration is made of, so they
//! are hidden from the YAML parser behind two characters that nobody types, one for one: lines and columns stay right.
//! Hidden is only what cannot be YAML's own: a brace glued to the text before it, closed on the same line, with no blank,
//! comma or quote between.

const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';

/// `text` with the braces of templates hidden.
pub(super) fn hide(text: &str) -> String {
    if text.contains([OPEN, CLOSE]) {
        return text.to_owned();
    }
    let mut hidden = String::with_capacity(text.len() + 64);
    let mut left = text;
    while let Some(open) = left.find('{') {
        hidden.push_str(&left[..open]);
        let glued = hidden.chars().next_back().is_some_and(|c| !c.is_whitespace() && !"{[,:'\"".contains(c));
        let inner = &left[open + 1..];
        match inner.find(|c: char| c.is_whitespace() || "{},'\"".contains(c)) {
            Some(end) if glued && end > 0 && inner[end..].starts_with('}') => {
                hidden.push(OPEN);
                hidden.push_str(&inner[..end]);
                hidden.push(CLOSE);
                left = &inner[end + 1..];
            }
            _ => {
                hidden.push('{');
                left = inner;
            }
        }
    }
    hidden.push_str(left);
    hidden
}

/// A scalar of such a text, as it was typed.
pub(super) fn shown(scalar: String) -> String {
    if scalar.contains([OPEN, CLOSE]) { scalar.replace(OPEN, "{").replace(CLOSE, "}") } else { scalar }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_braces_that_cannot_be_yamls_own_are_hidden_and_all_come_back() {
        let text = "{ get: order/orders/{orderId}?a={b}, url: ${X:-http://h:1}, c: {d: 1}, e: {f}, g:{h}, i: j{k, l: m} }";
        let hidden = hide(text);
        assert_eq!(hidden.matches(OPEN).count(), 3, "{hidden}");
        assert_eq!(hidden.chars().count(), text.chars().count());
        assert_eq!(shown(hidden), text);
    }
}
