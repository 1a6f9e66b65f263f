//! A rule as values: what a packet must be like, and what happens to it then.

use std::net::{Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use tweed_model::Family;

/// A rule: all matches must hold, then the packet is counted if asked, then the verdict falls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Conditions, tested in order.
    pub matches: Vec<Match>,
    /// Count packets and bytes.
    pub counter: bool,
    /// What happens.
    pub verdict: Verdict,
    /// Shown by `nft list`; at most 127 bytes reach the kernel.
    pub comment: String,
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Source,
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
        port: u16,
    },
    /// The source port of a transport protocol.
    SourcePort {
        /// The protocol, matched too.
        proto: L4Proto,
        port: u16,
    },
    /// Raw bytes counted from the start of the transport header.
    Transport {
        /// Distance in bytes.
        offset: u8,
        /// The wanted bytes; 1 to 8 of them.
        bytes: Vec<u8>,
    },
    /// The source, and the first bits of the source of the packet inside a VXLAN packet, are together in a set.
    InnerInSet {
        /// The family of both.
        family: Family,
        /// How many bits of the inner one count; the others are zero in the set.
        bits: u8,
        /// The set's name.
        set: String,
    },
    /// An ICMP error of the network's family: a packet of UDP to outside of it is too big for its path.
    TooBig { outside: IpNet },
    /// The destination is an address of this host.
    LocalDestination,
    /// The connection's destination has been translated.
    Translated,
    /// An answer, within a connection whose destination was this prefix before any translation.
    AnswerOf(Ipv4Net),
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
    /// In a table of family bridge: the name of the port that the frame came in by is in a set.
    PortInSet(String),
    /// In a table of family bridge: that name and the frame's source address together are not in a set.
    SourceNotInSet(String),
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
    Tcp,
    Udp,
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
    /// The packet's source becomes what a map says, which is asked for the destination: address or not, transport protocol
    /// and port. Connection tracking doesn't learn of it. Without an entry the next rule follows.
    WriteSource {
        /// What the map is asked.
        key: MapKey,
        /// The map's name; its value is an IPv4 address.
        map: String,
    },
    /// The packet's destination becomes this one, and the next rule follows. Connection tracking doesn't learn of it.
    WriteDestination(Ipv4Addr),
    /// The destination becomes this one. The rule must match a transport protocol too, or nft can't read it back.
    Dnat(SocketAddr),
    /// The destination becomes what a map says; without an entry the packet goes on.
    DnatMap {
        /// The family of the address that the map leads to.
        family: Family,
        /// What the map is asked.
        key: MapKey,
        /// The map's name; its value is address and port.
        map: String,
    },
}

/// The key of a map that is asked about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKey {
    /// Transport protocol and destination port.
    ProtoPort,
    /// Destination address, transport protocol and destination port.
    AddrProtoPort,
    /// Source and destination address, transport protocol and destination port. The rule must match a transport protocol
    /// too, or nft can't read it back where the map has ranges.
    Flow,
}

/// All multicast addresses of a family.
pub fn multicast(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
        Family::V6 => Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
    }
}

/// A rule that doesn't count.
pub fn rule(matches: Vec<Match>, verdict: Verdict, comment: &str) -> Rule {
    Rule {
        matches,
        counter: false,
        verdict,
        comment: comment.to_owned(),
    }
}

/// A rule that drops, and counts what it has dropped.
pub(crate) fn dropped(matches: Vec<Match>, comment: &str) -> Rule {
    Rule {
        counter: true,
        ..rule(matches, Verdict::Drop, comment)
    }
}

/// The source lies in this prefix.
pub fn from(net: IpNet) -> Match {
    net_match(Side::Source, false, net)
}

pub(crate) fn not_from(net: IpNet) -> Match {
    net_match(Side::Source, true, net)
}

/// The destination lies in this prefix.
pub fn to(net: IpNet) -> Match {
    net_match(Side::Destination, false, net)
}

pub(crate) fn not_to(net: IpNet) -> Match {
    net_match(Side::Destination, true, net)
}

fn net_match(side: Side, not: bool, net: IpNet) -> Match {
    Match::Net { side, not, net }
}
