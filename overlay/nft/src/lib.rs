//! The firewall as values: what our nftables table should hold, and how that differs from what it holds.
//! Rendering to nfnetlink messages is in `render`; sending them is the kernel module's (or the plugin's) affair.

mod diff;
pub mod fingerprint;
mod guard;
mod inner;
pub mod legacy;
pub mod live;
pub mod passage;
pub mod policy;
pub mod render;
mod rule;
pub mod ruleset;
mod sources;
mod text;
mod tunnel;
pub mod userdata;
pub mod xt;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

pub use diff::diff;
pub use fingerprint::rule_fingerprint;
pub use policy::{Masquerade, PolicyInput, PolicyNetwork, agent_ruleset};
pub use render::{Element, Message, change_messages};
pub use ruleset::{HookPoint, Ruleset};
pub use tunnel::{INPUT_CHAIN, Mark, POD_BRIDGE, Tunnels, peer_set, tunnel_chain};

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
    /// Elements in the kernel's byte form, as in [`ruleset::Set`].
    pub elements: BTreeSet<Vec<u8>>,
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

/// One transaction on our table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Delete the table if it is there and create it afresh.
    Replace(Ruleset),
    /// Add and remove elements of sets that are otherwise right.
    Elements {
        /// Table name.
        table: String,
        /// Elements to add, by set.
        add: BTreeMap<String, BTreeSet<Vec<u8>>>,
        /// Elements to remove, by set.
        remove: BTreeMap<String, BTreeSet<Vec<u8>>>,
    },
    /// Delete the table.
    Delete(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace(ruleset) => write!(f, "replace nftables table inet {}", ruleset.table),
            Self::Elements { table, add, remove } => {
                let count = |sets: &BTreeMap<String, BTreeSet<Vec<u8>>>| -> usize {
                    sets.values().map(BTreeSet::len).sum()
                };
                let (add, remove) = (count(add), count(remove));
                write!(
                    f,
                    "nftables table inet {table}: add {add}, remove {remove} set elements"
                )
            }
            Self::Delete(table) => write!(f, "delete nftables table inet {table}"),
        }
    }
}
