//! What should be decided about a packet: told from the nodes that a target has made up, by going through all of them,
//! and from the packet's bytes at their places. Of the code under test it relies on that a packet is one, where its
//! headers end, and which errors may be answered; targets of their own are about those.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_forward::decide::{Inbound, Outbound, Trust};
use tweed_forward::icmp::{IcmpError, may_answer};
use tweed_forward::packet::{Fragment, Packet};
use tweed_forward::reason::Reason;
use tweed_forward::table::Peer;
use tweed_forward::virtio::Offload;
use tweed_model::Dual;

use crate::oracle::{TCP, UDP, word};

/// A node and all that it knows of the others.
pub(crate) struct Node {
    pub(crate) own: Dual<IpNet>,
    pub(crate) peers: Vec<Peer>,
}

/// The place of the longest subnet that an address is in; of two that are alike, the first.
pub(crate) fn scan<'a>(nets: impl Iterator<Item = &'a IpNet>, addr: IpAddr) -> Option<usize> {
    let mut best: Option<(u8, usize)> = None;
    for (place, net) in nets.enumerate() {
        if net.contains(&addr) && best.is_none_or(|(len, _)| net.prefix_len() > len) {
            best = Some((net.prefix_len(), place));
        }
    }
    best.map(|(_, place)| place)
}

/// What a packet's bytes say.
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    hops: u8,
    may_be_fragmented: bool,
    len: usize,
}

fn see(bytes: &[u8]) -> Seen {
    let v4 = |at: usize| IpAddr::from(*bytes[at..].first_chunk::<4>().unwrap());
    let v6 = |at: usize| IpAddr::from(*bytes[at..].first_chunk::<16>().unwrap());
    if bytes[0] >> 4 == 6 {
        return Seen {
            source: v6(8),
            destination: v6(24),
            hops: bytes[7],
            may_be_fragmented: false,
            len: 40 + usize::from(word(bytes, 4)),
        };
    }
    Seen {
        source: v4(12),
        destination: v4(16),
        hops: bytes[8],
        may_be_fragmented: bytes[6] & 0x40 == 0,
        len: usize::from(word(bytes, 2)),
    }
}

/// Whether an address may be a single host's.
fn is_host(addr: IpAddr) -> bool {
    let special = |addr: &str| addr.parse::<IpNet>().unwrap();
    let never = match addr {
        IpAddr::V4(_) => &["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"][..],
        IpAddr::V6(_) => &[
            "::/128",
            "::1/128",
            "::ffff:0:0/96",
            "fe80::/10",
            "ff00::/8",
        ],
    };
    !never.iter().any(|net| special(net).contains(&addr))
}

/// Whether an address is the last of an IPv4 subnet of more than two.
fn is_last_of(net: &IpNet, addr: IpAddr) -> bool {
    addr.is_ipv4() && net.prefix_len() < 31 && net.broadcast() == addr
}

/// The longest packet on the wire: the whole one, or the headers and a segment. None if there are no such segments.
fn longest(packet: &Packet, offload: &Offload, bytes: &[u8]) -> Option<usize> {
    let Offload::Segments { size, .. } = offload else {
        return Some(see(bytes).len);
    };
    let start = usize::from(packet.header_len);
    let transport = &bytes[start..see(bytes).len];
    let header = match packet.protocol {
        TCP if transport.len() >= 20 => usize::from(transport[12] >> 4) * 4,
        UDP if transport.len() >= 8 && usize::from(word(transport, 4)) == transport.len() => 8,
        _ => return None,
    };
    let good = packet.fragment == Fragment::No && (8..=transport.len()).contains(&header);
    let good = good && (packet.protocol == UDP || header >= 20);
    good.then(|| start + header + usize::from(*size).min(transport.len() - header))
}

impl Node {
    /// The peer that an address belongs to.
    fn owner(&self, addr: IpAddr) -> Option<usize> {
        // A subnet that contains nothing keeps the places those of the peers.
        let nobody: IpNet = "255.255.255.255/32".parse().unwrap();
        let net = |peer: &Peer| {
            if addr.is_ipv4() {
                peer.subnets.v4
            } else {
                peer.subnets.v6
            }
        };
        let nets: Vec<IpNet> = self
            .peers
            .iter()
            .map(|peer| net(peer).unwrap_or(nobody))
            .collect();
        scan(nets.iter(), addr).filter(|_| is_host(addr))
    }

    fn own(&self, addr: IpAddr) -> Option<&IpNet> {
        let net = if addr.is_ipv4() {
            &self.own.v4
        } else {
            &self.own.v6
        };
        net.as_ref().filter(|net| net.contains(&addr))
    }

    /// Asserts that a packet from the device gets the one decision that is right. Says whether it goes to a peer.
    pub(crate) fn judge_outbound(
        &self,
        offload: &Offload,
        bytes: &[u8],
        decided: &Outbound,
    ) -> bool {
        let Ok(packet) = Packet::parse(bytes) else {
            assert!(matches!(decided, Outbound::Drop(Reason::Malformed(_))));
            return false;
        };
        let expected = self.outbound(offload, bytes, &packet);
        let (reason, told) = match (decided, &expected) {
            (Outbound::Send(seen, to), Ok((peer, mtu, longest))) => {
                assert!(longest <= mtu, "{longest} bytes fit into {mtu}");
                assert_eq!((seen, to.index()), (&packet, *peer));
                return true;
            }
            (Outbound::Fragment(seen, to), Ok((peer, mtu, longest))) => {
                assert!(longest > mtu && see(bytes).may_be_fragmented);
                assert_eq!((seen, to.index()), (&packet, *peer));
                return true;
            }
            (Outbound::Answer(_, told, reason), _) => (*reason, Some(*told)),
            (Outbound::Drop(reason), _) => (*reason, None),
            (went, Err(reason)) => panic!("{went:?}, and not dropped: {reason}"),
        };
        let mut mtu = 0;
        let why = expected.map_or_else(
            |reason| reason,
            |(_, most, longest)| {
                assert!(longest > most && !see(bytes).may_be_fragmented, "{reason}");
                mtu = most as u16;
                Reason::TooBig
            },
        );
        assert_eq!(reason, why);
        let error = match why {
            Reason::NoRoute => Some(IcmpError::NoRoute),
            Reason::OwnSubnet => Some(IcmpError::AddressUnreachable),
            Reason::HopLimit => Some(IcmpError::HopLimit),
            Reason::TooBig => Some(IcmpError::TooBig { mtu }),
            _ => None,
        };
        assert_eq!(told, error.filter(|_| may_answer(&packet, bytes)));
        false
    }

    /// The peer that gets it, what fits into a datagram to it, and how long its longest packet is; or why nobody does.
    fn outbound(
        &self,
        offload: &Offload,
        bytes: &[u8],
        packet: &Packet,
    ) -> Result<(usize, usize, usize), Reason> {
        let seen = see(bytes);
        let longest = longest(packet, offload, bytes).ok_or(Reason::Offload)?;
        check_ends(&seen)?;
        let Some(peer) = self.owner(seen.destination) else {
            let own = self.own(seen.destination).is_some();
            return Err(if own {
                Reason::OwnSubnet
            } else {
                Reason::NoRoute
            });
        };
        let Peer { subnets, mtu, .. } = &self.peers[peer];
        if subnets
            .v4
            .is_some_and(|net| is_last_of(&net, seen.destination))
        {
            return Err(Reason::Broadcast);
        }
        if seen.hops < 2 {
            return Err(Reason::HopLimit);
        }
        let least = if seen.destination.is_ipv4() { 68 } else { 1280 };
        Ok((peer, usize::from(*mtu).max(least), longest))
    }

    /// Asserts that a packet from the network gets the one decision that is right. Says whether it is let in.
    pub(crate) fn judge_inbound(
        &self,
        trust: Trust,
        sender: IpAddr,
        bytes: &[u8],
        decided: &Inbound,
    ) -> bool {
        let Ok(packet) = Packet::parse(bytes) else {
            assert!(matches!(decided, Inbound::Drop(Reason::Malformed(_))));
            return false;
        };
        match (decided, self.inbound(trust, sender, bytes)) {
            (Inbound::Deliver(seen, from), Ok(peer)) => {
                assert_eq!((seen, from.map(|id| id.index())), (&packet, peer));
                true
            }
            (Inbound::Drop(reason), Err(why)) => {
                assert_eq!(*reason, why);
                false
            }
            (decided, expected) => panic!("{decided:?}, right is {expected:?}"),
        }
    }

    /// The peer whose pod sent it, if any, or why it is not let in.
    fn inbound(&self, trust: Trust, sender: IpAddr, bytes: &[u8]) -> Result<Option<usize>, Reason> {
        let seen = see(bytes);
        let sender = match sender {
            IpAddr::V6(addr) => addr.to_ipv4_mapped().map_or(sender, IpAddr::V4),
            IpAddr::V4(_) => sender,
        };
        let is = |peer: &Peer| [peer.addresses.v4, peer.addresses.v6].contains(&Some(sender));
        let known = self.peers.iter().any(is);
        let owner = self.owner(seen.source);
        let theirs = owner.is_some_and(|place| is(&self.peers[place]));
        match trust {
            Trust::Anyone => {}
            Trust::Peers | Trust::Subnets if !known => return Err(Reason::UnknownSender),
            Trust::Subnets if !theirs => return Err(Reason::SpoofedSource),
            Trust::Peers | Trust::Subnets => {}
        }
        check_ends(&seen)?;
        match self.own(seen.destination) {
            Some(net) if is_last_of(net, seen.destination) => Err(Reason::Broadcast),
            Some(_) if seen.hops == 0 => Err(Reason::HopLimit),
            Some(_) => Ok(owner),
            None if self.owner(seen.destination).is_some() => Err(Reason::Looped),
            None => Err(Reason::NotForUs),
        }
    }
}

fn check_ends(seen: &Seen) -> Result<(), Reason> {
    if !is_host(seen.source) {
        return Err(Reason::MartianSource);
    }
    match seen.destination {
        addr if is_host(addr) => Ok(()),
        addr if addr.is_multicast() => Err(Reason::Multicast),
        IpAddr::V4(addr) if addr.is_broadcast() => Err(Reason::Broadcast),
        _ => Err(Reason::MartianDestination),
    }
}
