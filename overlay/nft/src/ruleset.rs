//! A ruleset as values: what an nftables table of ours should hold, free of netlink. `text` prints it in nft's
//! words, `render` turns it into messages, `state` condenses it to what a comparison needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tweed_model::{Family, SharedSet};

use super::element_bytes::ElementBytes;

pub use super::rule::{L4Proto, MapKey, Match, Rule, Side, Verdict};

/// The table we want: family inet, sets first, then chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Table name, family inet.
    pub table: String,
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// UDP ports whose flows are forgotten when the table is written: rules that see only the first packet of a flow
    /// shall see it of those too that there were before.
    pub fresh: BTreeSet<u16>,
}

/// A named set, or a map where `value` is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The parts of the key; more than one is a concatenation.
    pub key: Vec<DataType>,
    /// The parts of the value a map leads to; empty for a set.
    pub value: Vec<DataType>,
    /// Whether an element is a range (a prefix) in each part rather than a single key.
    pub interval: bool,
    /// Elements in the kernel's byte form, each part padded to four bytes: the key; in a map followed by the value, in
    /// an interval set by the last key of the range.
    pub elements: SharedSet<ElementBytes>,
}

/// The types of keys and values that we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// An IPv4 address, 4 bytes.
    Ipv4Addr,
    /// An IPv6 address, 16 bytes.
    Ipv6Addr,
    /// A transport protocol number, 1 byte.
    InetProto,
    /// A port, 2 bytes in network order.
    InetService,
    /// The name of an interface, 16 bytes.
    IfName,
    /// An Ethernet address, 6 bytes.
    EtherAddr,
    /// The source of the packet inside a VXLAN packet, of a family; nft has no type of its own for it.
    InnerSource(Family),
}

impl DataType {
    /// The address type of a family.
    pub fn addr(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ipv4Addr,
            Family::V6 => Self::Ipv6Addr,
        }
    }

    /// Length in bytes, unpadded.
    pub fn width(self) -> usize {
        match self {
            Self::Ipv4Addr => 4,
            Self::Ipv6Addr => 16,
            Self::InetProto => 1,
            Self::InetService => 2,
            Self::IfName => libc::IFNAMSIZ,
            Self::EtherAddr => 6,
            Self::InnerSource(family) => usize::from(family.bits()) / 8,
        }
    }

    /// Length in bytes as part of a concatenation, which the kernel pads to whole registers of four bytes.
    pub(crate) fn padded_len(self) -> usize {
        self.width().next_multiple_of(4)
    }
}

/// Length in bytes of a key or value of these parts: a single part is not padded, a concatenation is.
pub(crate) fn data_len(parts: &[DataType]) -> usize {
    match parts {
        [single] => single.width(),
        parts => parts.iter().map(|part| part.padded_len()).sum(),
    }
}

/// The name of an interface as a set stores it; what is longer than a name may be is cut off.
pub fn name_bytes(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut padded = [0; libc::IFNAMSIZ];
    for (to, from) in padded[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// An address as a set stores it.
pub fn addr_bytes(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

impl Set {
    /// A set of addresses; those of the other family are left out.
    pub fn of_addrs(family: Family, addrs: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            key: vec![DataType::addr(family)],
            elements: addrs
                .into_iter()
                .filter(|addr| Family::of(addr) == family)
                .map(|addr| addr_bytes(addr).into())
                .collect(),
            ..Self::default()
        }
    }

    /// Whether an element is nothing but its key, so that adding and removing one needs no more than its bytes.
    pub fn is_plain(&self) -> bool {
        self.value.is_empty() && !self.interval
    }
}

/// A chain and its rules in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it; none for a chain that is only jumped to.
    pub hook: Option<Hook>,
    /// The rules in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What the chain may do.
    pub kind: ChainKind,
    /// Where on a packet's path.
    pub point: HookPoint,
    /// Order among the chains at that point, lowest first.
    pub priority: i32,
    /// Whether a packet that meets no verdict is dropped.
    pub drop: bool,
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// Accept and drop.
    Filter,
    /// Address translation; sees the first packet of a connection only.
    Nat,
}

/// Where on a packet's path a base chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Every packet that arrives.
    Prerouting,
    /// Packets for this host.
    Input,
    /// Packets for somebody else.
    Forward,
    /// Packets of this host.
    Output,
    /// Every packet that leaves.
    Postrouting,
}

impl Ruleset {
    /// Whether it asks for nothing, so that no table is needed.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty()
    }

    /// Adds a chain that packets enter by a hook; none where it would have no rules.
    pub(crate) fn add_base_chain(&mut self, name: &str, hook: Hook, rules: Vec<Rule>) {
        if !rules.is_empty() {
            let hook = Some(hook);
            self.chains.insert(name.to_owned(), Chain { hook, rules });
        }
    }

    /// Adds a chain that rules of others lead to.
    pub(crate) fn add_chain(&mut self, name: &str, rules: Vec<Rule>) {
        let chain = Chain { hook: None, rules };
        self.chains.insert(name.to_owned(), chain);
    }
}

impl Hook {
    /// A hook whose chain accepts what meets no verdict.
    pub fn new(kind: ChainKind, point: HookPoint, priority: i32) -> Self {
        Self {
            kind,
            point,
            priority,
            drop: false,
        }
    }
}
