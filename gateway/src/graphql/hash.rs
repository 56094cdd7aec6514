//! The hash by which clients name a document: SHA-256 of its text, in hexadecimal digits.
//!
//! Not here: what is known by it (`persisted.rs`, `trusted.rs`).

use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of a document's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    pub(super) fn of(text: &str) -> Self {
        Hash::of_bytes(text.as_bytes())
    }

    pub(super) fn of_bytes(text: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, text).as_ref());
        Hash(bytes)
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(typed: &str) -> Option<Self> {
        let digits = typed.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Hash(bytes))
    }

    /// As much of it as tells texts apart that nobody made up to look alike.
    pub(super) fn short(&self) -> String {
        self.0[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_in_either_case_and_nothing_else_is() {
        let typed = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38"; // Apollo's own example
        assert_eq!(Hash::parse(typed), Some(Hash::of("{__typename}")));
        assert_eq!(Hash::parse(&typed.to_uppercase()), Hash::parse(typed));
        assert_eq!(Hash::of("{__typename}").short(), "ecf4edb46db40b5132295c02");
        for wrong in ["", "ecf4", &typed[1..], &typed.replace('e', "g"), &format!("{typed}0")] {
            assert_eq!(Hash::parse(wrong), None, "{wrong}");
        }
    }
}
