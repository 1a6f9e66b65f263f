//! A ruleset as values: what an nftables table of ours should hold, free of netlink. `text` prints it in nft's
//! words, `render` turns it into messages, [`Ruleset::state`] condenses it to what a comparison needs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::fingerprint::rule_fingerprint;
use super::{ChainState, SetState, TableState};
use crate::model::Family;

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
    pub elements: BTreeSet<Vec<u8>>,
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
        }
    }

    /// Length in bytes as part of a concatenation, which the kernel pads to whole registers of four bytes.
    pub fn padded_len(self) -> usize {
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
                .map(addr_bytes)
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

/// A rule: all matches must hold, then the packet is counted if asked, then the verdict falls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, tested in order.
    pub matches: Vec<Match>,
    /// Count packets and bytes.
    pub counter: bool,
    /// What happens.
    pub verdict: Verdict,
    /// Why, for whoever lists the table; at most 127 bytes reach the kernel.
    pub comment: String,
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The source.
    Source,
    /// The destination.
    Destination,
}

/// One condition. `not` negates it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The address lies in a prefix.
    Net {
        /// Which address.
        side: Side,
        /// Negated. A packet of the other family matches neither way.
        not: bool,
        /// The prefix.
        net: IpNet,
    },
    /// The address is in a set.
    InSet {
        /// Which address.
        side: Side,
        /// The family of the set's key.
        family: Family,
        /// Negated. A packet of the other family matches neither way.
        not: bool,
        /// The set's name.
        set: String,
    },
    /// Source and destination together are in a set of pairs.
    PairInSet {
        /// The family of both parts of the set's key.
        family: Family,
        /// Negated. A packet of the other family matches neither way.
        not: bool,
        /// The set's name.
        set: String,
    },
    /// Source, destination, transport protocol and destination port together are in a set.
    FlowInSet {
        /// The family of the addresses in the set's key.
        family: Family,
        /// The set's name.
        set: String,
    },
    /// `mark & mask == value`.
    Mark {
        /// The wanted bits.
        value: u32,
        /// The bits looked at.
        mask: u32,
    },
    /// The transport protocol.
    L4Proto(L4Proto),
    /// The destination port of a transport protocol.
    DestPort {
        /// The protocol, matched too.
        proto: L4Proto,
        /// The port.
        port: u16,
    },
    /// Raw bytes counted from the start of the transport header.
    Transport {
        /// Distance in bytes.
        offset: u8,
        /// The wanted bytes; 1 to 8 of them.
        bytes: Vec<u8>,
    },
    /// The destination is an address of this host.
    LocalDestination,
    /// The connection's destination has been translated.
    Translated,
    /// The name of the interface that the packet came in by.
    InInterface {
        /// Negated.
        not: bool,
        /// Interface name, at most 15 bytes.
        name: String,
    },
    /// The kind of the interface that the packet came in by, such as `bridge`. A network card has none. While a packet
    /// leaves, kernels before 5.7 have forgotten where it came from.
    InKind(String),
    /// What goes back to the packet's source would not leave by the interface that it came in by.
    NoWayBack,
    /// The name of the interface that the packet leaves by.
    OutInterface {
        /// Negated.
        not: bool,
        /// Interface name, at most 15 bytes.
        name: String,
    },
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum L4Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl L4Proto {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of a number.
    pub fn of_number(number: u8) -> Option<Self> {
        let all = [Self::Tcp, Self::Udp, Self::Sctp];
        all.into_iter().find(|proto| proto.number() == number)
    }
}

/// What happens to a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Through with this base chain.
    Accept,
    /// Gone.
    Drop,
    /// Back to the calling chain; in a base chain its policy holds.
    Return,
    /// To another chain, and back after it.
    Jump(String),
    /// To another chain, not back.
    Goto(String),
    /// These bits of the packet's mark are set; the next rule follows.
    Mark(u32),
    /// The source becomes an address of the outgoing interface.
    Masquerade {
        /// Choose the source port at random, which avoids most clashes between parallel connections.
        fully_random: bool,
    },
    /// The destination becomes this one. The rule must match a transport protocol too, or nft can't read it back.
    Dnat(SocketAddr),
    /// The destination becomes what a map says; without an entry the packet goes on.
    DnatMap {
        /// The family of the address that the map leads to.
        family: Family,
        /// What the map is asked.
        key: DnatKey,
        /// The map's name; its value is address and port.
        map: String,
    },
}

/// The key of a map of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnatKey {
    /// Transport protocol and destination port.
    ProtoPort,
    /// Destination address, transport protocol and destination port.
    AddrProtoPort,
}

impl Ruleset {
    /// Whether it asks for nothing, so that no table is needed.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty()
    }

    /// This ruleset with every element that is there already, in sets of the same name and type: what to want while
    /// nothing may be removed yet.
    pub fn keeping(&self, there: &TableState) -> Self {
        let mut kept = self.clone();
        for (name, set) in &mut kept.sets {
            if let Some(there) = there
                .sets
                .get(name)
                .filter(|there| there.key == set.state().key)
            {
                set.elements.extend(there.elements.iter().cloned());
            }
        }
        kept
    }

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
