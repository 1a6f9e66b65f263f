//! The name of one network's agent on a host. Two agents with different networks get different names, and with them
//! their own lock, socket, state folder and nftables table.

use std::fmt;

use sha2::{Digest, Sha256};

/// The name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// What a name given by hand may look like.
    pub const ALLOWED: &'static str = "a name of at most 32 lower-case letters, digits and dashes that starts with a letter, and not tweed-cni, which is the plugins' table";

    /// A name given by hand. It becomes a file name and the name of an nftables table.
    pub fn named(text: &str) -> Option<Self> {
        let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fine = starts && text.len() <= 32 && text.chars().all(allowed) && text != "tweed-cni";
        fine.then(|| Self(text.to_owned()))
    }

    /// `tweed` for the default network, `tweed-` and 8 hexadecimal digits for any other.
    pub fn derived(network: &str, default: &str) -> Self {
        if network == default {
            return Self("tweed".to_owned());
        }
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(network));
        Self(format!("tweed-{a:02x}{b:02x}{c:02x}{d:02x}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is that of the default network.
    pub fn is_usual(&self) -> bool {
        self.0 == "tweed"
    }

    /// The agent's nftables table, family inet.
    pub fn table(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_network_is_plain_tweed_and_others_get_a_stable_suffix() {
        let name = |network| Instance::derived(network, "/a/config").to_string();
        assert_eq!(name("/a/config"), "tweed");
        assert_eq!(name("/hostgw/network/config"), "tweed-d4686d65");
        assert_ne!(name("/b/config"), name("/c/config"));
    }

    #[test]
    fn a_derived_name_may_be_given_by_hand_too() {
        let derived = Instance::derived("/b/config", "/a/config");
        assert_eq!(Instance::named(derived.as_str()), Some(derived));
    }

    #[test]
    fn names_that_are_no_file_or_table_are_refused() {
        for text in [
            "",
            "a/b",
            "..",
            "-a",
            "1a",
            "A",
            "ä",
            "tweed-cni",
            &"a".repeat(33),
        ] {
            assert_eq!(Instance::named(text), None, "{text}");
        }
    }
}
