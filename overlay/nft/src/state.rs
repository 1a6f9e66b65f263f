//! Tables condensed to what a comparison needs: as the kernel has them, and as they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;
use tweed_model::SharedSet;

use super::element_bytes::ElementBytes;
use super::fingerprint::rule_fingerprint;
use super::ruleset::{Chain, Ruleset, Set};

/// What an nftables table holds, condensed to what a comparison needs. Observed and desired states share this type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableState {
    /// Chains by name.
    pub chains: BTreeMap<String, ChainState>,
    /// Sets and maps by name.
    pub sets: BTreeMap<String, SetState>,
}

/// A chain, condensed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainState {
    /// For a base chain: type, hook, priority, policy, as text such as `nat postrouting 100 accept`.
    pub hook: Option<String>,
    /// One fingerprint a rule, in order. We store it in the rule's user data; a foreign rule shows as 0.
    pub rules: Vec<u64>,
}

/// A set, condensed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetState {
    /// The key type, such as `ipv4_addr`; in a map the value's too, and `interval` where elements are ranges.
    pub key: String,
    /// Elements in the kernel's byte form, as in [`Set`].
    pub elements: SharedSet<ElementBytes>,
}

/// Accept rules of ours in another program's FORWARD chain (`ip filter FORWARD`, `ip6 filter FORWARD`), which is looked
/// at only where its policy is drop, as Docker leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignForward {
    /// Networks accepted as source and as destination, one rule each way, inserted at the head of the chain.
    pub accept: BTreeSet<IpNet>,
}

impl fmt::Display for ForeignForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nets: Vec<String> = self.accept.iter().map(ToString::to_string).collect();
        write!(f, "accept [{}]", nets.join(", "))
    }
}

impl Ruleset {
    /// What the kernel shows of this ruleset once it is in place.
    pub fn state(&self) -> TableState {
        TableState {
            chains: self
                .chains
                .iter()
                .map(|(name, chain)| (name.clone(), chain.state()))
                .collect(),
            sets: self
                .sets
                .iter()
                .map(|(name, set)| (name.clone(), set.state()))
                .collect(),
        }
    }
}

impl Chain {
    /// The chain, condensed.
    pub fn state(&self) -> ChainState {
        ChainState {
            hook: self.hook.map(|hook| hook.to_string()),
            rules: self.rules.iter().map(rule_fingerprint).collect(),
        }
    }
}

impl Set {
    /// The set, condensed.
    pub fn state(&self) -> SetState {
        SetState {
            key: self.type_text(),
            elements: self.elements.clone(),
        }
    }
}
