//! What happens with a packet: to a peer, to the pods, back as an ICMP error, or nowhere. Total over all bytes, and the
//! only place where that is decided. Nothing is changed here; the caller decrements the hop limit.

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use tweed_model::Family;

use super::icmp::{self, IcmpError};
use super::packet::Packet;
use super::reason::Reason;
use super::scope::{Scope, is_broadcast_of};
use super::segment::Segment;
use super::table::{Peer, PeerId, Table};
use super::virtio::Offload;

/// What happens with a packet from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// It goes to a peer, with a hop limit one lower. Where it is longer than the peer's MTU all the same, the
    /// underlay must fragment the datagram: IPv6 has to carry 1,280 bytes (RFC 2473 §7.1), IPv4 68.
    Send(Packet, PeerId),
    /// It goes to a peer, in fragments of the peer's MTU, with a hop limit one lower.
    Fragment(Packet, PeerId),
    /// It goes nowhere, for a reason, and its sender is told.
    Answer(Packet, IcmpError, Reason),
    /// It goes nowhere.
    Drop(Reason),
}

/// What happens with a packet from the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// It goes to the device as it is. The peer is the one whose subnet its source is in, if any.
    Deliver(Packet, Option<PeerId>),
    /// It goes nowhere.
    Drop(Reason),
}

/// What a packet from the network must prove. Addresses of the underlay can be forged where the underlay lets them:
/// this is a filter, not a proof of identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The sender is the peer in whose subnet the inner source is.
    #[default]
    Subnets,
    /// The sender is a peer.
    Peers,
    /// Nothing, as with flannel.
    Anyone,
}

/// The smallest MTU that a link may have (RFC 8200 §5, RFC 791 §3.2).
fn least_mtu(family: Family) -> u16 {
    match family {
        Family::V4 => 68,
        Family::V6 => 1280,
    }
}

/// Decides about a packet from the device. `offload` is what its virtio-net header asks for.
pub fn outbound(table: &Table, offload: &Offload, bytes: &[u8]) -> Outbound {
    let packet = match Packet::parse(bytes) {
        Ok(packet) => packet,
        Err(malformed) => return Outbound::Drop(malformed.into()),
    };
    let Some(longest) = longest(&packet, offload, bytes) else {
        return Outbound::Drop(Reason::Offload);
    };
    let (peer, mtu) = match route(table, &packet) {
        Ok(id) => (id, mtu(table.peer(id), packet.family())),
        Err(reason) => return refuse(&packet, bytes, reason, 0),
    };
    if longest <= usize::from(mtu) {
        Outbound::Send(packet, peer)
    } else if packet.dont_fragment {
        refuse(&packet, bytes, Reason::TooBig, mtu)
    } else {
        Outbound::Fragment(packet, peer)
    }
}

/// Decides about a packet from the network. `sender` is the source address of the datagram that brought it.
pub fn inbound(table: &Table, trust: Trust, sender: IpAddr, bytes: &[u8]) -> Inbound {
    let checked = Packet::parse(bytes).map_err(Reason::from);
    let checked = checked.and_then(|packet| {
        let peer = check_source(table, trust, sender.to_canonical(), &packet)?;
        check_destination(table, &packet)?;
        Ok((packet, peer))
    });
    match checked {
        Ok((packet, peer)) => Inbound::Deliver(packet, peer),
        Err(reason) => Inbound::Drop(reason),
    }
}

/// Bytes of the longest packet that will be on the wire. None if the packet is not what its header says.
fn longest(packet: &Packet, offload: &Offload, bytes: &[u8]) -> Option<usize> {
    let Offload::Segments { size, .. } = *offload else {
        return Some(usize::from(packet.len));
    };
    let segment = Segment::of(packet, bytes)?;
    Some(segment.payload + segment.payload_len().min(usize::from(size)))
}

/// The largest packet that is sent to a peer without asking its sender for smaller ones.
fn mtu(peer: &Peer, family: Family) -> u16 {
    peer.mtu.max(least_mtu(family))
}

fn route(table: &Table, packet: &Packet) -> Result<PeerId, Reason> {
    check_scopes(packet)?;
    let Some(id) = table.lookup(packet.destination) else {
        let own = table.is_own(packet.destination);
        return Err(if own {
            Reason::OwnSubnet
        } else {
            Reason::NoRoute
        });
    };
    let subnets = &table.peer(id).subnets;
    if subnets
        .get(packet.family())
        .is_some_and(|net| is_broadcast_of(net, packet.destination))
    {
        return Err(Reason::Broadcast);
    }
    if packet.hop_limit <= 1 {
        return Err(Reason::HopLimit);
    }
    Ok(id)
}

/// Neither end may be anything but a single host.
fn check_scopes(packet: &Packet) -> Result<(), Reason> {
    if Scope::of(packet.source) != Scope::Unicast {
        return Err(Reason::MartianSource);
    }
    match Scope::of(packet.destination) {
        Scope::Unicast => Ok(()),
        Scope::Multicast => Err(Reason::Multicast),
        Scope::Broadcast => Err(Reason::Broadcast),
        Scope::Martian => Err(Reason::MartianDestination),
    }
}

/// The peer whose subnet the source is in, once the sender has proved what it must.
fn check_source(
    table: &Table,
    trust: Trust,
    sender: IpAddr,
    packet: &Packet,
) -> Result<Option<PeerId>, Reason> {
    let owner = table.lookup(packet.source);
    let is_sender = |id: PeerId| table.peer(id).addresses.get(Family::of(&sender)) == Some(&sender);
    match trust {
        Trust::Anyone => Ok(owner),
        Trust::Peers if table.knows_sender(sender) => Ok(owner),
        Trust::Subnets if owner.is_some_and(is_sender) => Ok(owner),
        Trust::Subnets if table.knows_sender(sender) => Err(Reason::SpoofedSource),
        Trust::Peers | Trust::Subnets => Err(Reason::UnknownSender),
    }
}

/// Only what is for this node's pods is let in: a packet for somebody else would leave this node again, and might come
/// back.
fn check_destination(table: &Table, packet: &Packet) -> Result<(), Reason> {
    check_scopes(packet)?;
    let own = table.own().get(packet.family());
    match own.filter(|net| net.contains(&packet.destination)) {
        Some(net) if is_broadcast_of(net, packet.destination) => Err(Reason::Broadcast),
        Some(_) if packet.hop_limit == 0 => Err(Reason::HopLimit),
        Some(_) => Ok(()),
        None if table.lookup(packet.destination).is_some() => Err(Reason::Looped),
        None => Err(Reason::NotForUs),
    }
}

/// A refusal with its answer, where there may be one.
fn refuse(packet: &Packet, bytes: &[u8], reason: Reason, mtu: u16) -> Outbound {
    match reason.answer(mtu) {
        Some(error) if icmp::may_answer(packet, bytes) => Outbound::Answer(*packet, error, reason),
        _ => Outbound::Drop(reason),
    }
}
