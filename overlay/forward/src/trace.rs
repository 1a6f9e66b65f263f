//! A look at single decisions, for debugging: of the packets to or from a prefix, one in so many, as long as somebody
//! asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::packet::Packet;
use super::reason::Reason;

/// Which packets are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Source or destination is in here.
    pub prefix: IpNet,
    /// Of these, one in so many; at least 1.
    pub every: u64,
}

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a pod to a peer.
    Out,
    /// From a peer to a pod.
    In,
}

impl Direction {
    /// The direction of answers.
    pub fn other(self) -> Self {
        match self {
            Self::Out => Self::In,
            Self::In => Self::Out,
        }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceVerdict {
    /// Sent to a peer.
    Sent(SocketAddr),
    /// Sent to a peer in fragments.
    Fragmented(SocketAddr),
    /// Given to the device.
    Delivered,
    /// Dropped, and its sender told.
    Answered(Reason),
    Dropped(Reason),
}

/// One packet, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// From a pod, or to one.
    pub direction: Direction,
    /// Inner source.
    pub source: IpAddr,
    /// Inner destination.
    pub destination: IpAddr,
    /// Its protocol's number.
    pub protocol: u8,
    /// Its length in bytes: of a super-packet, that of the whole.
    pub len: u16,
    /// For one from the network, the address that sent the datagram.
    pub sender: Option<IpAddr>,
    /// Sent, delivered or dropped.
    pub verdict: TraceVerdict,
}

impl Filter {
    /// Whether a packet is to or from the prefix.
    pub fn matches(&self, source: IpAddr, destination: IpAddr) -> bool {
        self.prefix.contains(&source) || self.prefix.contains(&destination)
    }
}

impl Traced {
    /// A decision about a packet.
    pub fn new(
        direction: Direction,
        packet: &Packet,
        sender: Option<IpAddr>,
        verdict: TraceVerdict,
    ) -> Self {
        Self {
            direction,
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            len: packet.len,
            sender,
            verdict,
        }
    }
}

impl fmt::Display for TraceVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent(peer) => write!(f, "sent to {peer}"),
            Self::Fragmented(peer) => write!(f, "sent to {peer} in fragments"),
            Self::Delivered => f.write_str("given to the device"),
            Self::Answered(reason) => write!(f, "dropped, and its sender told: {reason}"),
            Self::Dropped(reason) => write!(f, "dropped: {reason}"),
        }
    }
}
