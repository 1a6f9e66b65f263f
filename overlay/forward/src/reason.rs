//! Why a packet goes no further. Every drop has one, and every reason has a label to be counted by.

use super::icmp::IcmpError;
use super::packet::Malformed;

/// Why a packet is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// It is no packet.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// A super-packet that is not what its virtio-net header says.
    #[error("the packet is not what its virtio-net header says")]
    Offload,
    /// To a group. There is no group membership between the nodes.
    #[error("multicast")]
    Multicast,
    /// To all hosts of a link, or of a subnet.
    #[error("broadcast")]
    Broadcast,
    /// From an address that no host has.
    #[error("the source is not a host's address")]
    MartianSource,
    /// To an address that is never forwarded to.
    #[error("the destination is not forwarded to")]
    MartianDestination,
    /// To no peer's subnet.
    #[error("no peer has the destination")]
    NoRoute,
    /// From the device, to this node's own subnet: the pods' bridge has no route to it.
    #[error("the destination is in our own subnet, which has no route to it")]
    OwnSubnet,
    /// The hop limit is used up.
    #[error("the hop limit is used up")]
    HopLimit,
    /// Too big for the path, and not to be fragmented.
    #[error("too big for the path")]
    TooBig,
    /// From the network, by a sender that is no peer.
    #[error("the sender is no peer")]
    UnknownSender,
    /// From a peer, with an inner source of somebody else's.
    #[error("the source is not in the sender's subnet")]
    SpoofedSource,
    /// From the network, to another peer's subnet.
    #[error("the destination is another peer's")]
    Looped,
    /// From the network, to no subnet we know.
    #[error("the destination is not ours")]
    NotForUs,
}

impl Reason {
    /// All of them, each in the place of its [`index`](Self::index).
    pub const ALL: [Self; 21] = [
        Self::Malformed(Malformed::Empty),
        Self::Malformed(Malformed::Version),
        Self::Malformed(Malformed::HeaderCutOff),
        Self::Malformed(Malformed::HeaderLength),
        Self::Malformed(Malformed::Length),
        Self::Malformed(Malformed::Checksum),
        Self::Malformed(Malformed::Fragment),
        Self::Malformed(Malformed::ExtensionHeaders),
        Self::Offload,
        Self::Multicast,
        Self::Broadcast,
        Self::MartianSource,
        Self::MartianDestination,
        Self::NoRoute,
        Self::OwnSubnet,
        Self::HopLimit,
        Self::TooBig,
        Self::UnknownSender,
        Self::SpoofedSource,
        Self::Looped,
        Self::NotForUs,
    ];

    /// A place in an array of counters.
    pub fn index(self) -> usize {
        match self {
            Self::Malformed(malformed) => malformed as usize,
            Self::Offload => 8,
            Self::Multicast => 9,
            Self::Broadcast => 10,
            Self::MartianSource => 11,
            Self::MartianDestination => 12,
            Self::NoRoute => 13,
            Self::OwnSubnet => 14,
            Self::HopLimit => 15,
            Self::TooBig => 16,
            Self::UnknownSender => 17,
            Self::SpoofedSource => 18,
            Self::Looped => 19,
            Self::NotForUs => 20,
        }
    }

    /// The label in metrics and status.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed(Malformed::Empty) => "empty",
            Self::Malformed(Malformed::Version) => "version",
            Self::Malformed(Malformed::HeaderCutOff) => "header_cut_off",
            Self::Malformed(Malformed::HeaderLength) => "header_length",
            Self::Malformed(Malformed::Length) => "length",
            Self::Malformed(Malformed::Checksum) => "checksum",
            Self::Malformed(Malformed::Fragment) => "fragment",
            Self::Malformed(Malformed::ExtensionHeaders) => "extension_headers",
            Self::Offload => "offload",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::MartianSource => "martian_source",
            Self::MartianDestination => "martian_destination",
            Self::NoRoute => "no_route",
            Self::OwnSubnet => "own_subnet",
            Self::HopLimit => "hop_limit",
            Self::TooBig => "too_big",
            Self::UnknownSender => "unknown_sender",
            Self::SpoofedSource => "spoofed_source",
            Self::Looped => "looped",
            Self::NotForUs => "not_for_us",
        }
    }

    /// What its sender is told, if it may be told anything.
    pub fn answer(self, mtu: u16) -> Option<IcmpError> {
        match self {
            Self::NoRoute => Some(IcmpError::NoRoute),
            Self::OwnSubnet => Some(IcmpError::AddressUnreachable),
            Self::HopLimit => Some(IcmpError::HopLimit),
            Self::TooBig => Some(IcmpError::TooBig { mtu }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_label_of_its_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place, "{reason:?}");
        }
        let labels: BTreeSet<&str> = Reason::ALL.into_iter().map(Reason::label).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
    }
}
