//! The names that Go's plugins give to what they make: they end with digits of a hash.

use sha2::{Digest, Sha512};

/// The first digits of a text's SHA-512.
pub fn sha512_hex(text: &str, digits: usize) -> String {
    let mut hex: String = Sha512::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        // The vector that the reference's own tests have for this name.
        assert_eq!(sha512_hex("test1234", 24), "2bbe0c48b91a7d1b8a6753a8");
    }
}
